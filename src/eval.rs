//! `v5gate eval`: arguments, and what is printed and written.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Result, anyhow, bail};
use v5gate::collect::Evaluation;
use v5gate::data::files::write_atomically;
use v5gate::evidence::Value;
use v5gate::probes::{Figure, TASKS, find_task};
use v5gate::progress::Screen;

/// What `eval` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// A checkpoint directory, with its tokenizer.
    #[arg(long)]
    checkpoint: PathBuf,
    /// wikitext, ptb, lambada_openai, hellaswag, dailydialog or personachat.
    #[arg(long)]
    task: String,
    /// The benchmark's file, or a data folder.
    #[arg(long, env = "V5_DATA")]
    data: PathBuf,
    /// One JSON document on stdout, in the layout of the EleutherAI harness.
    #[arg(long)]
    json: bool,
    /// Write one JSON object per item to this file.
    #[arg(long)]
    samples: Option<PathBuf>,
    /// Only so many items, from the first.
    #[arg(long)]
    limit: Option<usize>,
    /// Positions seen at a time; the model's own where absent, 1024 where it has no limit.
    #[arg(long)]
    window: Option<usize>,
    /// Requests in a forward pass; changes no number.
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Keep answers in this folder, and give those again that are there.
    #[arg(long)]
    cache: Option<PathBuf>,
    /// A token file that was trained on: the share of the benchmark's 13-grams in it is told.
    #[arg(long)]
    training: Option<PathBuf>,
}

/// Evaluates, and returns what to print.
pub fn run(arguments: &Arguments, stop: &AtomicBool) -> Result<String> {
    let Some(task) = find_task(&arguments.task) else {
        let names: Vec<_> = TASKS.iter().map(|task| task.id).collect();
        bail!("--task: expected one of {}, got {:?}", names.join(", "), arguments.task)
    };
    if arguments.limit == Some(0) {
        bail!("--limit: expected at least 1, got 0")
    }
    let screen = Screen::default();
    let evaluation = Evaluation {
        checkpoint: &arguments.checkpoint,
        task,
        data: &arguments.data,
        limit: arguments.limit,
        window: arguments.window,
        batch: arguments.batch,
        cache: arguments.cache.as_deref(),
        training: arguments.training.as_deref(),
        screen: &screen,
        stop,
    };
    let done = evaluation.run()?;
    if let Some(path) = &arguments.samples {
        write_samples(path, done.samples)?;
    }
    if arguments.json {
        return Ok(serde_json::to_string_pretty(&done.document)? + "\n");
    }
    let mut text: String = done.figures.iter().map(line).collect();
    if let Some(share) = done.overlap {
        text += &format!("{:28} {}\n", "overlap", Value::from(share));
    }
    if done.truncated > 0 {
        text += &format!("{:28} {}\n", "truncated", done.truncated);
    }
    for (name, note) in &done.notes {
        text += &format!("{name:28} {note}\n");
    }
    Ok(text)
}

fn line(figure: &Figure) -> String {
    let interval = figure.interval.map(|ends| ends.map(Value::from));
    let interval = interval.map_or_else(String::new, |[low, high]| format!("   95 %: {low} to {high}"));
    format!("{:28} {}{interval}\n", figure.name, Value::from(figure.value))
}

fn write_samples(path: &Path, samples: Vec<serde_json::Value>) -> Result<()> {
    let io = |error: std::io::Error| anyhow!("{}: {error}", path.display());
    write_atomically(path, io, |file| {
        for (i, mut sample) in samples.into_iter().enumerate() {
            sample["doc_id"] = i.into();
            writeln!(file, "{sample}").map_err(io)?;
        }
        Ok(())
    })
}
