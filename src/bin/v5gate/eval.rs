//! `v5gate eval`: arguments, and what is printed and written.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result, anyhow, bail};
use v5gate::device::current;
use v5gate::evaluate::{Evaluation, measure_checkpoint};
use v5gate::evidence::Value;
use v5gate::files::write_atomically;
use v5gate::probes::{PROBES, Probe, Reading, TASKS, TaskMetric, find_task};
use v5gate::progress::Screen;

/// What `eval` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// A checkpoint directory, with its tokenizer.
    #[arg(long)]
    checkpoint: PathBuf,
    /// wikitext, ptb, lambada_openai (or lambada), hellaswag, dailydialog, personachat; or recall or canaries, which need no
    /// data.
    #[arg(long)]
    task: String,
    /// The benchmark's file, which may be a pipe, or a data folder; recall and canaries need none.
    #[arg(long, env = "V5_DATA")]
    data: Option<PathBuf>,
    /// One JSON document on stdout, in the layout of the EleutherAI harness.
    #[arg(long)]
    json: bool,
    /// Write one JSON object per item to this file; a pipe or a device is written to.
    #[arg(long)]
    samples: Option<PathBuf>,
    /// Only so many items, from the first.
    #[arg(long)]
    limit: Option<usize>,
    /// Positions seen at a time; the model's own where absent, 1024 where it has no limit.
    #[arg(long)]
    window: Option<usize>,
    /// Requests in a forward pass. Another batch sums in another order: losses agree to about six digits, and an
    /// accuracy changes only where two likelihoods agree as closely.
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
    let of_checkpoints = PROBES.iter().filter(|probe| probe.measure_checkpoint.is_some());
    if let Some(probe) = of_checkpoints.clone().find(|probe| probe.id == arguments.task) {
        return measure(arguments, probe);
    }
    let Some(task) = find_task(&arguments.task) else {
        let others = of_checkpoints.map(|probe| probe.id);
        let names: Vec<_> = TASKS.iter().map(|task| task.id).chain(others).collect();
        bail!("--task: expected one of {}, got {:?}", names.join(", "), arguments.task)
    };
    let data = arguments.data.as_deref().with_context(|| format!("--data: {} needs its file", task.id))?;
    if arguments.limit == Some(0) {
        bail!("--limit: expected at least 1, got 0")
    }
    let screen = Screen::default();
    let evaluation = Evaluation {
        checkpoint: &arguments.checkpoint,
        task,
        data,
        limit: arguments.limit,
        window: arguments.window,
        batch: arguments.batch,
        cache: arguments.cache.as_deref(),
        training: arguments.training.as_deref(),
        compute: current(),
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

/// What a checkpoint remembers: questions of our own, all of them, each in full.
fn measure(arguments: &Arguments, probe: &'static Probe) -> Result<String> {
    let id = probe.id;
    let unfit = [
        ("--samples", arguments.samples.is_some()),
        ("--limit", arguments.limit.is_some()),
        ("--window", arguments.window.is_some()),
        ("--cache", arguments.cache.is_some()),
        ("--training", arguments.training.is_some()),
    ];
    if let Some((name, _)) = unfit.iter().find(|(_, given)| *given) {
        bail!("{name}: the task {id} does not take it")
    }
    let done = measure_checkpoint(&arguments.checkpoint, current(), probe)?
        .with_context(|| format!("{id}: not asked"))?;
    if arguments.json {
        return Ok(serde_json::to_string_pretty(&done.document)? + "\n");
    }
    let row = |r: &Reading| {
        format!(
            "{:34} {:14} {}{}\n",
            r.metric.id(),
            r.condition.name(),
            Value::from(r.value),
            ends(r.interval)
        )
    };
    Ok(done.readings.iter().map(row).collect())
}

fn ends(interval: Option<[f64; 2]>) -> String {
    let interval = interval.map(|ends| ends.map(Value::from));
    interval.map_or_else(String::new, |[low, high]| format!("   95 %: {low} to {high}"))
}

fn line(figure: &TaskMetric) -> String {
    format!("{:28} {}{}\n", figure.name, Value::from(figure.value), ends(figure.interval))
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
