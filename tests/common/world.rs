//! A protocol's evidence, collected when somebody first asks for it and reused ever after: it lies
//! in `V5_OUT`, or `out/NAME`.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use libtest_mimic::Failed;
use v5gate::collect::{Options, collect};
use v5gate::gate::{Judgement, judge};
use v5gate::progress::Screen;
use v5gate::protocol::Protocol;

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
    /// The evidence of the protocol of that name; `out` where it lies, if somebody said so.
    pub fn new(name: &str, out: Option<PathBuf>) -> Result<Self, String> {
        let protocol = Protocol::load(name).map_err(|e| e.to_string())?;
        let beside = || {
            Path::new(env!("CARGO_MANIFEST_DIR")).join("out").join(protocol.folder(v5gate::device::current()))
        };
        let out = out.unwrap_or_else(beside);
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
                compute: v5gate::device::current(),
                screen: &screen,
                stop: &stop,
            };
            collect(&self.protocol, &options).map(|ledger| judge(&ledger)).map_err(|e| e.to_string())
        });
        judged.as_ref().map_err(|e| Failed::from(e.clone()))
    }
}
