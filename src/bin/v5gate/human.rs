//! `v5gate human`: arguments, the page and its key as files, and what ratings say.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result, anyhow, bail};
use v5gate::collect::{CollectError, Options, keep_ratings};
use v5gate::device::current;
use v5gate::evaluate::{ReplyComparison, human_preference};
use v5gate::evidence::{Key, Ledger, Line, Tally, Value, read_ratings};
use v5gate::files::{folder_of, sha256, write_atomically};
use v5gate::probes::find_task;
use v5gate::progress::Screen;
use v5gate::report::rating_page;

/// What `human` does.
#[derive(clap::Subcommand)]
pub enum HumanCommand {
    /// Write a page on which people compare two models' replies, and the key that opens its blinding.
    Export {
        /// A checkpoint directory, with its tokenizer.
        #[arg(long)]
        a: PathBuf,
        /// Another.
        #[arg(long)]
        b: PathBuf,
        /// dailydialog or personachat.
        #[arg(long, default_value = "dailydialog")]
        task: String,
        /// The benchmark's file, or a data folder.
        #[arg(long, env = "V5_DATA")]
        data: PathBuf,
        /// How many pairs, each of another dialogue.
        #[arg(long, default_value_t = 50)]
        pairs: usize,
        /// Draws dialogues, sides and replies; a page for a ledger has the default.
        #[arg(long, default_value_t = Key::SEED)]
        seed: u64,
        /// Replies are drawn from the likeliest tokens with this share of the probability, 0 is greedy; a page for a ledger
        /// has the default.
        #[arg(long, default_value_t = Key::TOP_P)]
        top_p: f64,
        /// The page, for raters.
        #[arg(long)]
        out: PathBuf,
        /// Which side was whose, not for raters; beside the page where absent, named after it.
        #[arg(long)]
        key: Option<PathBuf>,
    },
    /// What the ratings say: preference for A with interval, and how far raters agree.
    Import {
        /// The page's key.
        #[arg(long)]
        key: PathBuf,
        /// The tables that raters downloaded.
        #[arg(required = true)]
        ratings: Vec<PathBuf>,
        /// Append the preference to this ledger, whose checkpoints were compared on the device that measured them.
        #[arg(long)]
        ledger: Option<PathBuf>,
        /// One JSON document on stdout.
        #[arg(long)]
        json: bool,
    },
}

/// Exports or imports, and returns what to print.
pub fn run(command: &HumanCommand, stop: &AtomicBool) -> Result<String> {
    match command {
        HumanCommand::Export { a, b, task, data, pairs, seed, top_p, out, key } => {
            let Some(task) = find_task(task) else {
                bail!("--task: expected dailydialog or personachat, got {task:?}")
            };
            if !(0.0..=1.0).contains(top_p) {
                bail!("--top-p: expected 0 to 1, got {top_p}")
            }
            let (pairs, seed, top_p, screen) = (*pairs, *seed, *top_p, Screen::default());
            let made = ReplyComparison {
                a,
                b,
                task,
                data,
                pairs,
                seed,
                top_p,
                compute: current(),
                screen: &screen,
                stop,
            };
            let (page, opens) = page(&made)?;
            let key = key.clone().unwrap_or_else(|| out.with_extension("key.json"));
            write(out, &page)?;
            write(&key, &(serde_json::to_string_pretty(&opens)? + "\n"))?;
            Ok(format!(
                "{}: for raters\n{}: which side is whose, not for raters\n",
                out.display(),
                key.display()
            ))
        }
        HumanCommand::Import { key, ratings, ledger, json } => import(key, ratings, ledger.as_deref(), *json),
    }
}

/// The page that raters get, and its key.
fn page(made: &ReplyComparison<'_>) -> Result<(String, Key), CollectError> {
    let (pairs, key) = made.run()?;
    let page = rating_page(&key.page, &pairs);
    let file = sha256(page.as_bytes());
    Ok((page, Key { file, ..key }))
}

/// The key of a page that is made again, by the checkpoints in these folders.
///
/// # Errors
/// Where the page was made on another device, or its dialogues or checkpoints are not here.
pub fn page_again(key: &Key, [a, b]: [&Path; 2], options: &Options<'_>) -> Result<Key, CollectError> {
    let unfit = |what: String| CollectError::Unfit { path: a.to_owned(), what };
    let here = options.compute.name();
    if key.device != here {
        return Err(unfit(format!("expected a page that was made on {here}, got on {:?}", key.device)));
    }
    let task = find_task(&key.task).ok_or_else(|| unfit(format!("expected a task, got {:?}", key.task)))?;
    let data = options.data.ok_or_else(|| unfit("expected a data folder (--data), got none".to_owned()))?;
    let Options { compute, screen, stop, .. } = *options;
    let (pairs, seed, top_p) = (key.a_is_left.len(), key.seed, key.top_p);
    Ok(page(&ReplyComparison { a, b, task, data, pairs, seed, top_p, compute, screen, stop })?.1)
}

fn import(path: &Path, ratings: &[PathBuf], ledger: Option<&Path>, as_json: bool) -> Result<String> {
    let read = |path: &Path| fs::read_to_string(path).with_context(|| path.display().to_string());
    let opens = read(path)?;
    let key: Key = serde_json::from_str(&opens)
        .with_context(|| format!("{}: expected the key of a page", path.display()))?;
    let files: Vec<(String, String)> =
        ratings.iter().map(|path| Ok((path.display().to_string(), read(path)?))).collect::<Result<_>>()?;
    let tally = Tally::of(&key, &read_ratings(&key, &files)?);
    let mut added = String::new();
    if let Some(path) = ledger {
        let mut ledger = Ledger::open(path)?;
        let line = human_preference(&ledger, &key, &tally)?;
        keep_ratings(folder_of(path), &key.page, &opens, &files)?;
        if let Line::Measurement(m) = &line {
            let (of, value) = (m.subject(), m.value());
            added =
                format!("added to {}: {} {} seed {}, {value}\n", path.display(), of.model, of.scale, of.seed);
        }
        ledger.append(&[line])?;
    }
    if as_json {
        let document = serde_json::json!({
            "page": key.page, "task": key.task, "a": key.a, "b": key.b, "ratings": tally,
        });
        return Ok(serde_json::to_string_pretty(&document)? + "\n");
    }
    Ok(told(&key, &tally) + &added)
}

fn told(key: &Key, tally: &Tally) -> String {
    let number = |x: Option<f64>| x.map_or("not defined".to_owned(), |x| Value::from(x).to_string());
    let interval = tally.interval.map(|ends| ends.map(Value::from));
    let interval = interval.map_or_else(String::new, |[low, high]| format!("   95 %: {low} to {high}"));
    let raters: Vec<String> = tally.raters.iter().map(|(who, n)| format!("{who} {n}")).collect();
    [
        ("A", format!("{} ({})", key.a.checkpoint, key.a.model)),
        ("B", format!("{} ({})", key.b.checkpoint, key.b.model)),
        ("preference for A", format!("{}{interval}", Value::from(tally.preference))),
        ("for A, for B, ties", format!("{}, {}, {}", tally.for_a, tally.for_b, tally.ties)),
        ("Krippendorff's alpha", number(tally.alpha)),
        ("raters and ratings", raters.join(", ")),
        ("pairs, rated", format!("{}, {}", tally.pairs, tally.rated)),
        ("missing ratings", tally.missing.to_string()),
        ("share of the left side", Value::from(tally.left).to_string()),
    ]
    .map(|(name, text)| format!("{name:24} {text}\n"))
    .concat()
}

fn write(path: &Path, text: &str) -> Result<()> {
    let io = |error: std::io::Error| anyhow!("{}: {error}", path.display());
    write_atomically(path, io, |file| file.write_all(text.as_bytes()).map_err(io))
}
