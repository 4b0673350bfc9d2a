//! The gate as trials: criterion × scale, on the evidence of a protocol (`V5_PROTOCOL`, smoke where
//! unset), and the defects planted to see that the gate can fail.
//!
//! Evidence is collected when the first trial asks for it and reused ever after; it lies in
//! `V5_OUT`, or `out/NAME`. Filters work as everywhere: `cargo test --test gate -- statefulness`.

#[path = "gate/planted.rs"]
mod planted;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use libtest_mimic::{Arguments, Failed, Trial};
use v5gate::collect::{Options, collect};
use v5gate::gate::{CRITERIA, Finding, Judgement, Status, Weight, judge};
use v5gate::progress::Screen;
use v5gate::protocol::Protocol;
use v5gate::scale::{SCALES, Scale};

/// What every trial looks at.
pub struct World {
    /// What to collect.
    pub protocol: Protocol,
    /// Where evidence lies.
    pub out: PathBuf,
    /// Where data paths start from.
    pub data: Option<PathBuf>,
    judgement: OnceLock<Result<Judgement, String>>,
}

impl World {
    fn new() -> Result<Self, String> {
        let name = std::env::var("V5_PROTOCOL").unwrap_or_else(|_| "smoke".to_owned());
        let protocol = Protocol::load(&name).map_err(|e| e.to_string())?;
        let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("out").join(&protocol.name);
        let out = std::env::var_os("V5_OUT").map_or_else(beside, PathBuf::from);
        let data = std::env::var_os("V5_DATA").map(PathBuf::from);
        Ok(Self { protocol, out, data, judgement: OnceLock::new() })
    }

    /// Collects what is lacking, once, and judges it.
    pub fn judgement(&self) -> Result<&Judgement, Failed> {
        let judged = self.judgement.get_or_init(|| {
            let (screen, stop) = (Screen::default(), AtomicBool::new(false));
            let options = Options {
                out: &self.out,
                data: self.data.as_deref(),
                jobs: None,
                screen: &screen,
                stop: &stop,
            };
            collect(&self.protocol, &options).map(|ledger| judge(&ledger)).map_err(|e| e.to_string())
        });
        judged.as_ref().map_err(|e| Failed::from(e.clone()))
    }
}

/// Met, or why not.
pub fn check(finding: Option<&Finding>) -> Result<(), Failed> {
    let finding = finding.ok_or("no finding: the criterion was not judged at this scale")?;
    if finding.status == Status::Met {
        return Ok(());
    }
    let mut text = format!("{:?}: {}\n  found:    {}\n", finding.status, finding.claim, finding.found);
    text += &format!("  demanded: {}\n", finding.demanded);
    if let Some(lacking) = &finding.lacking {
        text += &format!("  lacking:  {lacking}\n");
    }
    Err(format!("{text}  because:  {} ({})", finding.why, finding.source).into())
}

fn trial(world: &'static World, criterion: &'static str, group: &str, scale: &'static Scale) -> Trial {
    let run = move || {
        let judgement = world.judgement()?;
        check(judgement.findings.iter().find(|f| f.criterion == criterion && f.scale == scale.name))
    };
    let asked = world.protocol.scales.iter().any(|name| name == scale.name);
    Trial::test(format!("{group}::{criterion}::{}", scale.name), run).with_ignored_flag(!asked)
}

fn main() {
    v5gate::keep_freed_memory();
    let arguments = Arguments::from_args();
    let world: &'static World = match World::new() {
        Ok(world) => Box::leak(Box::new(world)),
        Err(error) => {
            eprintln!("error: {error}");
            std::process::exit(2);
        }
    };
    let required = |c: &'static v5gate::gate::Criterion| {
        let scales = SCALES.iter().filter(move |s| c.weight(s) == Some(Weight::Required));
        scales.map(move |s| trial(world, c.id, &c.group.replace(' ', "-"), s))
    };
    let mut trials: Vec<Trial> = CRITERIA.iter().flat_map(required).collect();
    trials.extend(planted::trials(world));
    libtest_mimic::run(&arguments, trials).exit();
}
