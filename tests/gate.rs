//! The gate as trials: criterion × scale, on the evidence of a protocol (`V5_PROTOCOL`, smoke where
//! unset). That the gate can fail is seen in `tests/mutants/`.
//!
//! Evidence is collected when the first trial asks for it and reused ever after; it lies in
//! `V5_OUT`, or `out/NAME`. Filters work as everywhere: `cargo test --test gate -- statefulness`.

#[path = "common/world.rs"]
mod world;

use std::path::PathBuf;

use libtest_mimic::{Arguments, Failed, Trial};
use v5gate::gate::{CRITERIA, Finding, Role, Status, cited};
use v5gate::report;
use v5gate::scale::{SCALES, Scale};
use world::World;

/// Met, or why not.
pub fn check(finding: Option<&Finding>) -> Result<(), Failed> {
    let finding = finding.ok_or("no finding: the criterion was not judged at this scale")?;
    if finding.status == Status::Met {
        return Ok(());
    }
    let mut text =
        format!("{:?}: {}\n  found:    {}\n", finding.status, finding.claim, report::found(finding));
    text += &format!("  demanded: {}\n", report::demanded(finding.rule));
    if let Some(lacking) = report::lacking(finding) {
        text += &format!("  lacking:  {lacking}\n");
    }
    Err(format!("{text}  because:  {} ({})", finding.why, cited(finding.source)).into())
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
    if let Err(error) = v5gate::device::choose() {
        eprintln!("error: {error}");
        std::process::exit(2);
    }
    let name = std::env::var("V5_PROTOCOL").unwrap_or_else(|_| "smoke".to_owned());
    let world: &'static World = match World::new(&name, std::env::var_os("V5_OUT").map(PathBuf::from)) {
        Ok(world) => Box::leak(Box::new(world)),
        Err(error) => {
            eprintln!("error: {error}");
            std::process::exit(2);
        }
    };
    let required = |c: &'static v5gate::gate::Criterion| {
        let scales = SCALES.iter().filter(move |s| c.role(s) == Some(Role::Required));
        scales.map(move |s| trial(world, c.id, &c.group.replace(' ', "-"), s))
    };
    let trials = CRITERIA.iter().flat_map(required).collect();
    libtest_mimic::run(&arguments, trials).exit();
}
