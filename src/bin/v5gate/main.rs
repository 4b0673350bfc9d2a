//! The command line: thin. Exit codes: 0 pass (or done), 10 fail, 11 incomplete, 2 could not run, 75 asked to stop:
//! the same command goes on.

mod audit;
mod data;
mod eval;
mod fleet;
mod human;
mod list;
mod options;
mod output;
mod reference;
mod text;
mod verdict;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::{Result, bail};

use clap::{Parser, Subcommand};

use options::{Collect, STOP, on_signal, with_options};
use output::print;
use v5gate::collect::{self, Depth, Options, collect};
use v5gate::data::dataset::prepare_with;
use v5gate::data::vocabulary::Patience;
use v5gate::device;
use v5gate::evidence::{Ledger, Line};
use v5gate::fleet::RESUMABLE;
use v5gate::gate::{self, judge};
use v5gate::models::{self, MODELS};
use v5gate::progress::Screen;
use v5gate::protocol::Protocol;
use v5gate::scale::{self, SCALES};
use v5gate::train::{Ending, RunDir};
use verdict::{diff, explain, items, judge_and_report, judge_beside, open};

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
    Run {
        #[command(flatten)]
        collect: Collect,
        /// Only the task of that number in the list of `fleet`, with a ledger of its own and no verdict; from
        /// SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX where one of them is set.
        #[arg(long)]
        task: Option<usize>,
        /// A task of a scale above 8M ends at once where a required row of the others is unmet.
        #[arg(long)]
        stop_for_futility: bool,
    },
    /// Tasks of a protocol for other machines: what they cost, how far they are, and what starts them.
    Fleet(fleet::FleetArguments),
    /// Train and question what the ledger still lacks.
    Collect(Collect),
    /// Make a part of every training and evaluation again with a second implementation in float64, and compare.
    Audit {
        /// The folder of evidence; as `--out` where absent.
        evidence: Option<PathBuf>,
        #[command(flatten)]
        collect: Collect,
        /// Put every probe again, not some that are drawn, and make every step again that lies between kept states: takes
        /// as long as trainings and probes did.
        #[arg(long)]
        whole: bool,
        /// Where another program left the log of its training, of each trial that has one: that it was imported as it is.
        #[arg(long, value_name = "FOLDER")]
        reference: Vec<PathBuf>,
        /// A rater's own table, once for every rater of a page: that all were counted as they are, and no others.
        #[arg(long, value_name = "CSV")]
        ratings: Vec<PathBuf>,
        /// One JSON document on stdout instead of the tables: every comparison with difference and tolerance.
        #[arg(long)]
        json: bool,
    },
    /// Judge a ledger; reads nothing else.
    Judge {
        /// The ledger, or the folder of evidence.
        ledger: PathBuf,
        /// One JSON document on stdout instead of the report.
        #[arg(long)]
        json: bool,
    },
    /// Write the report of a ledger as HTML, Markdown, JSON and JUnit XML.
    Report {
        /// The ledger, or the folder of evidence.
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
    /// Both models item by item, from the items beside their runs.
    Items {
        /// The folder of evidence.
        evidence: PathBuf,
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
    /// A training of GPT-2 for another program to make, and what it made of it as evidence.
    #[command(subcommand)]
    Reference(reference::ReferenceCommand),
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

fn main() -> ExitCode {
    v5gate::keep_freed_memory();
    match run(Cli::parse().command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Where not even stderr can be written there is nobody left to tell.
            let _ = writeln!(io::stderr(), "error: {}", message(&error));
            ExitCode::from(if STOP.load(Ordering::Relaxed) { RESUMABLE } else { 2 })
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

/// Whether a command computes, and so needs a device; the others work anywhere.
fn computes(command: &Command) -> bool {
    use Command as C;
    matches!(
        command,
        C::Run { .. }
            | C::Collect(_)
            | C::Audit { .. }
            | C::Train { .. }
            | C::Score { .. }
            | C::Eval(_)
            | C::Generate { .. }
            | C::Human(_)
            | C::Reference(_)
    )
}

fn run(command: Command) -> Result<u8> {
    if computes(&command) {
        device::choose()?;
    }
    match command {
        Command::Run { collect, task, stop_for_futility } => {
            if let Some(number) = fleet::number(task)? {
                let one = |protocol: &Protocol, options: &Options<'_>| {
                    fleet::run_one(protocol, options, number, stop_for_futility)
                };
                return with_options(&collect, one);
            }
            let (ledger, out) = gather(&collect)?;
            // What is ruled on this iteration at 8M is kept for the next ones.
            if let Some(iteration) = gate::iteration(&ledger, &judge(&ledger)) {
                Ledger::open_or_empty(ledger.path())?.append(&[Line::Iteration(iteration)])?;
            }
            judge_and_report(&Ledger::open_below(&out)?, &out)
        }
        Command::Fleet(arguments) => fleet::run(&arguments),
        Command::Collect(c) => gather(&c).map(|_| 0),
        Command::Audit { evidence, collect, whole, reference, ratings, json } => {
            // The ledger's path stands for the folder that it lies in.
            let folder = |path: PathBuf| if path.is_dir() { path } else { path.with_file_name("") };
            let collect = Collect { out: evidence.map(folder).or(collect.out), ..collect };
            let depth =
                Depth { whole, exchanges: &reference, tables: &ratings, page: Some(human::page_again) };
            with_options(&collect, |protocol, options| audit::run(protocol, options, depth, json))
        }
        Command::Judge { ledger, json } => judge_beside(&ledger, json),
        Command::Report { ledger, out } => {
            let beside = if ledger.is_dir() { Some(ledger.as_path()) } else { ledger.parent() };
            let beside = beside.map(Path::to_owned).unwrap_or_default();
            judge_and_report(&open(&ledger)?, &out.unwrap_or(beside))
        }
        Command::Explain { id } => explain(&id),
        Command::Diff { old, new, json } => diff(&old, &new, json),
        Command::Items { evidence, json } => items(&evidence, json),
        Command::List { what, json } => print(&list::show(what, json)?).map(|()| 0),
        Command::Train { model, scale, seed, recipe, data, out } => {
            train(&model, &scale, seed, &recipe, data.as_deref(), out)
        }
        Command::Score { checkpoint, tokens, json } => {
            print(&text::score(&checkpoint, &tokens, json)?).map(|()| 0)
        }
        Command::Eval(arguments) => print(&eval::run(&arguments, on_signal()?)?).map(|()| 0),
        Command::Data(command) => {
            let (text, code) = data::run(&command)?;
            print(&text).map(|()| code)
        }
        Command::Human(command) => print(&human::run(&command, on_signal()?)?).map(|()| 0),
        Command::Reference(command) => reference::run(&command).map(|()| 0),
        Command::Generate { checkpoint, prompt, tokens } => {
            print(&text::generate(&checkpoint, &prompt, tokens)?).map(|()| 0)
        }
    }
}

fn gather(c: &Collect) -> Result<(Ledger, PathBuf)> {
    with_options(c, |protocol, options| Ok((collect(protocol, options)?, options.out.to_owned())))
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
    let needed = protocol.recipe.steps() as usize * protocol.recipe.batch_size;
    let path = out.join(format!("order-seed-{seed}.npy"));
    let order = dataset.order(protocol.recipe.context_length, needed, seed)?.save_or_verify(&path)?;
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
