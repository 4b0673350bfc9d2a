//! What commands that collect have in common: their options, and being stopped.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use v5gate::collect::Options;
use v5gate::device;
use v5gate::fleet::{GRACE_SECONDS, RESUMABLE};
use v5gate::progress::Screen;
use v5gate::protocol::Protocol;

/// What to collect, where it lies and where it goes.
#[derive(clap::Args)]
pub struct Collect {
    /// smoke, pilot, quick, full, or a TOML file.
    #[arg(long, default_value = "smoke", env = "V5_PROTOCOL")]
    pub protocol: String,
    /// Folder for evidence and reports; out/NAME where absent.
    #[arg(long, env = "V5_OUT")]
    pub out: Option<PathBuf>,
    /// Folder that the protocol's data paths start from.
    #[arg(long, env = "V5_DATA")]
    pub data: Option<PathBuf>,
    /// Trials at a time; by size and cores where absent. Changes no number.
    #[arg(long)]
    pub jobs: Option<usize>,
}

/// Is set when somebody asks for an end.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// Makes work that goes on where it was end after its present step, or where a step takes longer, without it:
/// whoever asks for an end kills before long. Everything else just ends.
pub fn on_signal() -> Result<&'static AtomicBool> {
    let leave = || std::process::exit(i32::from(RESUMABLE));
    let handled = ctrlc::set_handler(move || {
        // The first signal asks for an orderly end, the second does not ask.
        if STOP.swap(true, Ordering::Relaxed) {
            leave();
        }
        eprintln!("stopping after this step; once more to stop at once");
        std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_secs(GRACE_SECONDS));
            eprintln!("error: stopped within a step that takes longer than {GRACE_SECONDS} s");
            leave();
        });
    });
    handled.context("signal handler").map(|()| &STOP)
}

/// Does something with a protocol and the options that were given.
pub fn with_options<T>(c: &Collect, work: impl FnOnce(&Protocol, &Options<'_>) -> Result<T>) -> Result<T> {
    let stop = on_signal()?;
    let protocol = Protocol::load(&c.protocol)?;
    let out = c.out.clone().unwrap_or_else(|| Path::new("out").join(protocol.folder(device::current())));
    let screen = Screen::default();
    let options = Options {
        out: &out,
        data: c.data.as_deref(),
        jobs: c.jobs,
        compute: device::current(),
        screen: &screen,
        stop,
    };
    work(&protocol, &options)
}
