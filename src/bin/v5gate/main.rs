//! The command line: thin. Exit codes: 0 pass (or done), 10 fail, 11 incomplete, 2 could not run.

mod data;
mod eval;
mod human;
mod list;
mod text;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use serde_json::json;

use v5gate::collect::{self, Options, collect};
use v5gate::data::batches::{Order, window_count};
use v5gate::data::dataset::prepare_with;
use v5gate::data::vocabulary::Patience;
use v5gate::device;
use v5gate::evidence::{Ledger, Line};
use v5gate::gate::{self, Judgement, judge};
use v5gate::models::{self, MODELS};
use v5gate::probes::produced_by;
use v5gate::progress::Screen;
use v5gate::protocol::Protocol;
use v5gate::report;
use v5gate::scale::{self, SCALES};
use v5gate::train::{Ending, RunDir};

/// Decides whether a language-model architecture may be released: GroundThink against GPT-2, same
/// data, same order, same recipe.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Collect, judge and report: the main job.
    Run(Collect),
    /// Train and question what the ledger still lacks.
    Collect(Collect),
    /// Judge a ledger; reads nothing else.
    Judge {
        /// The ledger.
        ledger: PathBuf,
        /// One JSON document on stdout instead of the report.
        #[arg(long)]
        json: bool,
    },
    /// Write the report of a ledger as HTML, Markdown, JSON and JUnit XML.
    Report {
        /// The ledger.
        ledger: PathBuf,
        /// Folder to write to; beside the ledger where absent.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// What a criterion asks, why, and what would meet it.
    Explain {
        /// An id of `list criteria`.
        id: String,
    },
    /// What changed between two ledgers.
    Diff {
        /// The earlier one.
        old: PathBuf,
        /// The later one.
        new: PathBuf,
        /// One JSON document on stdout.
        #[arg(long)]
        json: bool,
    },
    /// Print one of the tables.
    List {
        /// Which.
        what: list::Listing,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// One training, resumable.
    Train {
        /// A model of `list models`.
        #[arg(long)]
        model: String,
        /// A scale of `list scales`.
        #[arg(long)]
        scale: String,
        /// Initialises the weights and draws the order.
        #[arg(long)]
        seed: u64,
        /// A protocol, built in or a TOML file: its recipe and data are used.
        #[arg(long)]
        recipe: String,
        /// Folder that the protocol's data paths start from.
        #[arg(long)]
        data: Option<PathBuf>,
        /// Folder of the run.
        #[arg(long)]
        out: PathBuf,
    },
    /// Negative log-likelihood of every given token under a checkpoint.
    Score {
        /// A checkpoint directory.
        #[arg(long)]
        checkpoint: PathBuf,
        /// A JSON list of token ids.
        #[arg(long)]
        tokens: PathBuf,
        /// One JSON document on stdout.
        #[arg(long)]
        json: bool,
    },
    /// A benchmark of language modelling on a checkpoint.
    Eval(eval::Arguments),
    /// Which data sets are there, and fetching those that are not.
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Blinded pairs of replies for people to compare: a page for raters, and what their ratings say.
    #[command(subcommand)]
    Human(human::HumanCommand),
    /// Text from a checkpoint, the likeliest token every time.
    Generate {
        /// A checkpoint directory.
        #[arg(long)]
        checkpoint: PathBuf,
        /// What to continue.
        #[arg(long)]
        prompt: String,
        /// Most tokens to add.
        #[arg(long, default_value_t = 64)]
        tokens: usize,
    },
}

#[derive(clap::Args)]
struct Collect {
    /// smoke, quick, full, or a TOML file.
    #[arg(long, default_value = "smoke", env = "V5_PROTOCOL")]
    protocol: String,
    /// Folder for evidence and reports; out/NAME where absent.
    #[arg(long, env = "V5_OUT")]
    out: Option<PathBuf>,
    /// Folder that the protocol's data paths start from.
    #[arg(long, env = "V5_DATA")]
    data: Option<PathBuf>,
    /// Trials at a time; by size and cores where absent. Changes no number.
    #[arg(long)]
    jobs: Option<usize>,
}

fn main() -> ExitCode {
    v5gate::keep_freed_memory();
    match run(Cli::parse().command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Where not even stderr can be written there is nobody left to tell.
            let _ = writeln!(io::stderr(), "error: {}", message(&error));
            ExitCode::from(2)
        }
    }
}

/// An error and its causes in one message: what an error already tells of its cause is not
/// repeated, and no backtrace follows.
fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        let cause = cause.split("\n   0: ").next().unwrap_or_default().trim_end();
        if !text.contains(cause) {
            text += if text.is_empty() { "" } else { ": " };
            text += cause;
        }
    }
    text
}

/// Writes to stdout; a full disk or a closed pipe is an error like any other.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("stdout")
}

/// Is set when somebody asks for an end: work that goes on where it was ends after its present step.
/// Everything else just ends.
fn on_signal() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let handled = ctrlc::set_handler(move || {
        // The first signal asks for an orderly end, the second does not ask.
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(2);
        }
        eprintln!("stopping after this step; once more to stop at once");
    });
    handled.context("signal handler").map(|()| stop)
}

/// Whether a command computes, and so needs a device; the others work anywhere.
fn computes(command: &Command) -> bool {
    use Command as C;
    matches!(
        command,
        C::Run(_)
            | C::Collect(_)
            | C::Train { .. }
            | C::Score { .. }
            | C::Eval(_)
            | C::Generate { .. }
            | C::Human(_)
    )
}

fn run(command: Command) -> Result<u8> {
    if computes(&command) {
        device::choose()?;
    }
    match command {
        Command::Run(c) => {
            let (mut ledger, out) = gather(&c)?;
            // What is ruled on this iteration at 8M is kept for the next ones.
            if let Some(iteration) = gate::iteration(&ledger, &judge(&ledger)) {
                ledger.append(&[Line::Iteration(iteration)])?;
            }
            judge_and_report(&ledger, &out)
        }
        Command::Collect(c) => gather(&c).map(|_| 0),
        Command::Judge { ledger, json } => judge_only(&Ledger::open_broken(&ledger)?, json, false),
        Command::Report { ledger, out } => {
            let beside = ledger.parent().map(Path::to_owned).unwrap_or_default();
            judge_and_report(&Ledger::open_broken(&ledger)?, &out.unwrap_or(beside))
        }
        Command::Explain { id } => explain(&id),
        Command::Diff { old, new, json } => diff(&old, &new, json),
        Command::List { what, json } => print(&list::show(what, json)?).map(|()| 0),
        Command::Train { model, scale, seed, recipe, data, out } => {
            train(&model, &scale, seed, &recipe, data.as_deref(), out)
        }
        Command::Score { checkpoint, tokens, json } => {
            print(&text::score(&checkpoint, &tokens, json)?).map(|()| 0)
        }
        Command::Eval(arguments) => print(&eval::run(&arguments, on_signal()?.as_ref())?).map(|()| 0),
        Command::Data(command) => {
            let (text, code) = data::run(&command)?;
            print(&text).map(|()| code)
        }
        Command::Human(command) => print(&human::run(&command, on_signal()?.as_ref())?).map(|()| 0),
        Command::Generate { checkpoint, prompt, tokens } => {
            print(&text::generate(&checkpoint, &prompt, tokens)?).map(|()| 0)
        }
    }
}

fn gather(c: &Collect) -> Result<(Ledger, PathBuf)> {
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
        stop: &stop,
    };
    Ok((collect(&protocol, &options)?, out))
}

fn judge_only(ledger: &Ledger, as_json: bool, brief: bool) -> Result<u8> {
    let judgement = judge(ledger);
    if as_json {
        print_json(&report::json(ledger, &judgement))?;
    } else {
        let screen = report::TerminalStyle { brief, ..report::TerminalStyle::of(&console::Term::stdout()) };
        print(&report::terminal(ledger, &judgement, screen))?;
    }
    tell_github(ledger, &judgement)?;
    Ok(judgement.verdict.exit_code())
}

fn judge_and_report(ledger: &Ledger, out: &Path) -> Result<u8> {
    let judgement = judge(ledger);
    write(&out.join("report.md"), &report::markdown(ledger, &judgement))?;
    let document = serde_json::to_string_pretty(&report::json(ledger, &judgement))?;
    write(&out.join("report.json"), &document)?;
    write(&out.join("report.html"), &report::html(ledger, &judgement))?;
    write(&out.join("junit.xml"), &report::junit(&judgement)?)?;
    judge_only(ledger, false, true)?;
    eprintln!(
        "report: {}, and report.md, report.json, junit.xml beside it",
        out.join("report.html").display()
    );
    Ok(judgement.verdict.exit_code())
}

/// On GitHub's machines a verdict is also told in GitHub's way. Not on stdout, which may be a
/// document: commands are read from stderr as well.
fn tell_github(ledger: &Ledger, judgement: &Judgement) -> Result<()> {
    if std::env::var_os("GITHUB_ACTIONS").is_none_or(|value| value != "true") {
        return Ok(());
    }
    eprint!("{}", report::annotations(judgement));
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let text = report::job_summary(ledger, judgement);
    let file = fs::OpenOptions::new().create(true).append(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| Path::new(&path).display().to_string())
}

fn explain(id: &str) -> Result<u8> {
    let Some(criterion) = report::find_criterion(id) else {
        let similar = report::similar_ids(id);
        let hint =
            if similar.is_empty() { String::new() } else { format!("; similar: {}", similar.join(", ")) };
        bail!("explain: expected an id of `v5gate list criteria`, got {id:?}{hint}")
    };
    let collected_by = |metric| produced_by(metric, criterion.condition);
    let screen = report::TerminalStyle::of(&console::Term::stdout());
    print(&report::show_rows(&report::explain(criterion, &collected_by), screen)).map(|()| 0)
}

fn diff(old: &Path, new: &Path, as_json: bool) -> Result<u8> {
    let [old, new] = [Ledger::open_broken(old)?, Ledger::open_broken(new)?];
    let [before, after] = [judge(&old), judge(&new)];
    let difference = report::Difference::between((&old, &before), (&new, &after));
    if as_json {
        return print_json(&json!(difference));
    }
    let [was, is] = difference.verdict;
    print(&if was == is {
        format!("verdict: {is}, as before\n")
    } else {
        format!("verdict: {was} before, {is} now\n")
    })?;
    if difference.is_empty() {
        return print("nothing that counts has changed\n").map(|()| 0);
    }
    let screen = report::TerminalStyle::of(&console::Term::stdout());
    print(&report::show_tables(&difference.tables(), screen)).map(|()| 0)
}

fn write(path: &Path, text: &str) -> Result<()> {
    let io = |e: io::Error| anyhow::anyhow!("{}: {e}", path.display());
    v5gate::files::write_atomically(path, io, |file| file.write_all(text.as_bytes()).map_err(io))
}

fn print_json(value: &serde_json::Value) -> Result<u8> {
    print(&list::pretty(value)?).map(|()| 0)
}

fn train(model: &str, scale: &str, seed: u64, recipe: &str, data: Option<&Path>, out: PathBuf) -> Result<u8> {
    let stop = on_signal()?;
    let protocol = Protocol::load(recipe)?;
    let names = |all: Vec<&str>| all.join(", ");
    let Some(spec) = models::find(model) else {
        bail!("--model: expected one of {}, got {model:?}", names(MODELS.iter().map(|m| m.name).collect()))
    };
    let Some(size) = scale::find(scale) else {
        bail!("--scale: expected one of {}, got {scale:?}", names(SCALES.iter().map(|s| s.name).collect()))
    };
    let stopping = || stop.load(Ordering::Relaxed);
    let patience = Patience { screen: Screen::default(), stopping: &stopping, limit: Patience::LIMIT };
    let dataset = prepare_with(&protocol.data, data, &out.join("cache"), &patience)?;
    dataset.expect_windows(protocol.recipe.context_length)?;
    let windows = window_count(dataset.train.len(), protocol.recipe.context_length);
    let needed = protocol.recipe.steps() as usize * protocol.recipe.batch_size;
    let path = out.join(format!("order-seed-{seed}.npy"));
    let order = Order::draw(windows, needed, seed)?.save_or_verify(&path)?;
    let job = collect::job(&protocol, &dataset, spec, size, (seed, order), device::current())?;
    let run = RunDir(out).train(&job, &Screen::default(), &|_| stop.load(Ordering::Relaxed))?;
    let loss = run.curve.last().map_or(f64::NAN, |r| r.loss);
    match run.ending {
        Ending::Completed => eprintln!("completed: {} steps, last loss {loss:.4}", run.curve.len()),
        Ending::Diverged(step) => bail!("step {step}: loss or gradient is not finite; nothing moved since"),
        Ending::Interrupted => bail!("interrupted after step {}; the same command goes on", run.curve.len()),
    }
    Ok(0)
}
