//! `cargo bench`: time and memory of every trial of a protocol (`V5_PROTOCOL`, smoke where unset), and what
//! the gate finds in them. `V5_OUT` and `V5_DATA` as everywhere; what the ledger has is used again unless
//! `V5_FRESH` is set, which sets the old ledger aside and measures anew. Exit codes: 0 pass, 10 fail,
//! 11 incomplete, 2 could not run.
//!
//! Criterion runs the rounds: it warms up, repeats, shows what a round takes and how that changed since the
//! last time. A round is one turn of every model, and each turn is timed by itself: Criterion would time one
//! model after the other, and what else the machine does meanwhile would look like a difference between them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use criterion::{Criterion, SamplingMode};
use v5gate::collect::{Collector, Options, archive_timings, collect};
use v5gate::gate::{CRITERIA, Criterion as Row, Judgement, judge};
use v5gate::probes::efficiency::EFFICIENCY;
use v5gate::progress::Screen;
use v5gate::protocol::Protocol;
use v5gate::report;

/// Criterion takes no fewer samples.
const FEWEST: usize = 10;

/// Rounds under Criterion, unless one takes so long that Criterion's warming up and repeating would double
/// minutes.
fn drive(criterion: &mut Criterion, name: &str, times: usize, round: &mut dyn FnMut()) {
    const LONG: Duration = Duration::from_millis(100);
    let start = Instant::now();
    round();
    let one = start.elapsed();
    if one > LONG || times < FEWEST {
        (1..times).for_each(|_| round());
        eprintln!("{name:48} {times} rounds of {:.3} s", start.elapsed().as_secs_f64() / times as f64);
        return;
    }
    let mut group = criterion.benchmark_group("gate");
    group.sampling_mode(SamplingMode::Flat).sample_size(times);
    // Two rounds in each sample, so that a first one that was quick does not make the time too short.
    group.warm_up_time(one).measurement_time((2 * one * times as u32).max(Duration::from_millis(1)));
    group.bench_function(name, |b| b.iter(&mut *round));
    group.finish();
}

/// Whether a row asks for what is measured here, or is made of rows that do.
fn about_efficiency(row: &Row) -> bool {
    let parts = row.rule.parts().iter().filter_map(|id| CRITERIA.iter().find(|c| c.id == *id));
    row.metrics.iter().any(|metric| EFFICIENCY.contains(metric)) || parts.into_iter().any(about_efficiency)
}

/// Times and memory of every trial of a protocol, and what the gate finds in them. V5_PROTOCOL names the protocol
/// (smoke where unset), V5_OUT the folder of its evidence, V5_DATA that of its data; V5_FRESH=1 measures anew.
#[derive(Parser)]
#[command(name = "gate")]
struct Arguments {
    /// Measures only if this is part of the name that --list shows: all models are measured together.
    filter: Option<String>,
    /// Prints the name of what is measured, and does nothing else.
    #[arg(long)]
    list: bool,
    /// FILTER is the whole name.
    #[arg(long)]
    exact: bool,
    /// Saves Criterion's rounds under this name.
    #[arg(long, value_name = "NAME")]
    save_baseline: Option<String>,
    /// Compares Criterion's rounds with those saved under this name, and leaves them as they are.
    #[arg(long, value_name = "NAME", conflicts_with = "save_baseline")]
    baseline: Option<String>,
    /// Measures; `cargo bench` gives it, and `cargo test` does not.
    #[arg(long)]
    bench: bool,
    /// Measures nothing.
    #[arg(long)]
    test: bool,
    // What whoever lists or runs tests may add.
    #[arg(long, hide = true)]
    format: Option<String>,
    #[arg(long, hide = true)]
    ignored: bool,
    #[arg(long, hide = true)]
    nocapture: bool,
    #[arg(long, hide = true)]
    no_capture: bool,
}

impl Arguments {
    fn wants(&self, name: &str) -> bool {
        let fits = |filter: &String| if self.exact { name == filter } else { name.contains(filter.as_str()) };
        self.bench && !self.test && self.filter.as_ref().is_none_or(fits)
    }

    fn criterion(&self) -> Criterion {
        let criterion = Criterion::default().without_plots();
        match (&self.save_baseline, &self.baseline) {
            (Some(name), _) => criterion.save_baseline(name.clone()),
            (None, Some(name)) => criterion.retain_baseline(name.clone(), true),
            (None, None) => criterion,
        }
    }
}

fn run() -> Result<u8> {
    let arguments = Arguments::parse();
    let protocol = Protocol::load(&std::env::var("V5_PROTOCOL").unwrap_or_else(|_| "smoke".to_owned()))?;
    let name = format!("gate/{}", protocol.name);
    if arguments.list {
        // Nothing here is ignored, so a list of what is ignored is empty.
        (!arguments.ignored).then(|| println!("{name}: benchmark"));
        return Ok(0);
    }
    if !arguments.wants(&name) {
        return Ok(0);
    }
    v5gate::device::choose()?;
    let beside =
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("out").join(protocol.folder(v5gate::device::current()));
    let out = std::env::var_os("V5_OUT").map_or_else(beside, PathBuf::from);
    let data = std::env::var_os("V5_DATA").map(PathBuf::from);
    if std::env::var_os("V5_FRESH").is_some()
        && let Some(old) = archive_timings(&out)?
    {
        eprintln!("the old ledger is {}", old.display());
    }
    let (screen, stop) = (Screen::default(), AtomicBool::new(false));
    let options = Options {
        out: &out,
        data: data.as_deref(),
        jobs: None,
        compute: v5gate::device::current(),
        screen: &screen,
        stop: &stop,
    };
    collect(&protocol, &options)?;
    let collector = Collector::open(&protocol, &options)?;
    let mut criterion = arguments.criterion();
    collector.efficiency(&mut |name: &str, times: usize, round: &mut dyn FnMut()| {
        drive(&mut criterion, name, times, round);
    })?;
    let ledger = collector.close();
    let judgement = judge(&ledger);
    let of_efficiency = |id: &str| CRITERIA.iter().find(|row| row.id == id).is_some_and(about_efficiency);
    let findings = judgement.findings.iter().filter(|f| of_efficiency(f.criterion)).cloned().collect();
    let shown = Judgement { findings, ..judgement.clone() };
    let screen = report::TerminalStyle { brief: true, ..report::TerminalStyle::of(&console::Term::stdout()) };
    print!("{}", report::findings(&shown, screen));
    Ok(judgement.verdict.exit_code())
}

fn main() -> ExitCode {
    v5gate::keep_freed_memory();
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
