//! Benchmarks of language modelling: put to any checkpoint by `v5gate eval`, and to trained models by a
//! protocol whose data folder has their files.
//!
//! To add one: a file with its `TASK` and `PROBE`, and rows in `TASKS` and `PROBES`.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde_json::Value;

use crate::data::cache::TokenFile;
use crate::data::corpora::TextFile;
use crate::data::published::benchmarks::BenchmarkError;
use crate::data::tokenizer::Tokenizer;
use crate::evidence::Metric;
use crate::files::sha256;
use crate::probes::eval_data::EvalData;
use crate::probes::overlap::shared_ngrams;
use crate::probes::probe::{ProbeError, Reading, Result, TrainedModel};
use crate::probes::scoring::likelihood::{Request, Scorer, ScoringOptions, TokenLosses};
use crate::probes::scoring::model::ModelScorer;
use crate::progress::Screen;
use crate::statistics::{bootstrap_interval, mean, percentile_interval, ratio_bootstrap_interval};

/// A row of the table of tasks.
pub struct Task {
    /// The name, which is also its probe's.
    pub id: &'static str,
    /// Version of the definition, in the EleutherAI harness where it has one.
    pub version: f64,
    /// Its file below the data folder.
    pub file: &'static str,
    /// The share of its n-grams that training text contains.
    pub overlap: Metric,
    /// Asks.
    pub examine: fn(&EvalContext<'_>, &TextFile) -> Result<TaskResult>,
}

/// The model that is asked, and how it is asked.
pub struct EvalContext<'a> {
    /// What scores and generates.
    pub scorer: &'a dyn Scorer,
    /// What makes tokens.
    pub tokenizer: &'a Tokenizer,
    /// Positions that are seen at a time.
    pub window: usize,
    /// Only so many of the first items.
    pub limit: Option<usize>,
    /// Also what no criterion asks about: windows with a stride, a state carried on, drawn replies.
    pub variants: bool,
}

/// A number under the name that users of the harness know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TaskMetric {
    /// The name.
    pub name: &'static str,
    /// The number.
    pub value: f64,
    /// 95 % interval over documents or items.
    pub interval: Option<[f64; 2]>,
    /// Standard error of a mean over items.
    pub standard_error: Option<f64>,
    /// Which way it improves.
    pub higher_is_better: bool,
}

/// What came of it.
pub struct TaskResult {
    /// Items of the file.
    pub original: usize,
    /// Items that were asked.
    pub effective: usize,
    /// Requests that lost their left end to the window.
    pub truncated: usize,
    /// Numbers for people.
    pub figures: Vec<TaskMetric>,
    /// Numbers for the ledger.
    pub readings: Vec<Reading>,
    /// One object per item.
    pub samples: Vec<Value>,
    /// The tokens of every document, for the search in training text.
    pub texts: Vec<Vec<u32>>,
    /// What was decided that the numbers depend on, by name.
    pub notes: Vec<(&'static str, String)>,
}

impl TaskMetric {
    pub(in crate::probes) fn new(name: &'static str, value: f64, interval: Option<[f64; 2]>) -> Self {
        // Resamples may miss what is not a number; the number itself does not.
        let interval = interval.filter(|_| !value.is_nan());
        Self { name, value, interval, standard_error: None, higher_is_better: false }
    }

    pub(in crate::probes) fn share(name: &'static str, items: &[f64]) -> Self {
        let deviation = crate::statistics::sd(items);
        Self {
            standard_error: deviation.map(|sd| sd / (items.len() as f64).sqrt()),
            higher_is_better: true,
            ..Self::new(name, mean(items), interval(items))
        }
    }

    /// Of the mean of a figure to that of the ledger, in the same unit.
    pub(in crate::probes) fn reading(&self, metric: Metric, n: usize) -> Reading {
        Reading { n: Some(n as u64), interval: self.interval, ..Reading::new(metric, self.value) }
    }

    /// The same through a rising function.
    pub(in crate::probes) fn through(self, name: &'static str, f: impl Fn(f64) -> f64) -> Self {
        Self { name, value: f(self.value), interval: self.interval.map(|ends| ends.map(f)), ..self }
    }
}

/// Resamples of every interval; the seed is always the same.
const RESAMPLES: usize = 1000;

fn interval(items: &[f64]) -> Option<[f64; 2]> {
    bootstrap_interval(items, RESAMPLES, 0)
}

/// Of any number that is made of so many documents, each counted so many times.
pub(in crate::probes) fn interval_over(
    documents: usize,
    number: impl FnMut(&[f64]) -> f64,
) -> Option<[f64; 2]> {
    percentile_interval(documents, RESAMPLES, 0, number)
}

/// Σ numerators / Σ denominators over documents.
pub(in crate::probes) fn ratio(documents: &[(f64, f64)]) -> TaskMetric {
    let (above, below) = documents.iter().fold((0.0, 0.0), |(a, b), (x, d)| (a + x, b + d));
    TaskMetric::new("", above / below, ratio_bootstrap_interval(documents, RESAMPLES, 0))
}

/// The first so many.
pub(in crate::probes) fn first<T>(mut items: Vec<T>, limit: Option<usize>) -> (usize, Vec<T>) {
    let original = items.len();
    items.truncate(limit.unwrap_or(original));
    (original, items)
}

impl Task {
    /// Its file: the path itself, or below it if that is a folder.
    pub fn file_at(&self, data: &Path) -> PathBuf {
        if data.is_dir() { data.join(self.file) } else { data.to_owned() }
    }

    /// Its file among what a protocol has, if it is there.
    pub(crate) fn file_in(&self, data: &EvalData) -> Option<PathBuf> {
        Some(data.folder.as_deref()?.join(self.file)).filter(|path| path.is_file())
    }

    /// Whether a protocol has its file.
    pub(super) fn is_in(&self, data: &EvalData) -> bool {
        self.file_in(data).is_some()
    }

    /// A digest of its file and of how many items are asked.
    pub(super) fn digest(&self, data: &EvalData) -> Result<String> {
        let path = self.file_in(data).unwrap_or_else(|| PathBuf::from(self.file));
        let bytes = std::fs::read(&path).map_err(|error| ProbeError::File { path, error })?;
        let asked = data.items.map_or("all".to_owned(), |n| n.to_string());
        Ok(sha256(format!("{} {asked}", sha256(&bytes)).as_bytes()))
    }
}

/// The share of a benchmark's 13-grams that training text contains; `None` of texts without any.
pub fn overlap(train: &TokenFile, texts: &[Vec<u32>]) -> Option<f64> {
    let (found, all) = shared_ngrams(train, texts);
    (all > 0).then(|| found as f64 / all as f64)
}

/// What a trained model makes of a benchmark; nothing where its file is absent.
pub(in crate::probes) fn run_task(s: &TrainedModel<'_>, task: &Task) -> Result<Vec<Reading>> {
    /// Requests in a forward pass.
    const BATCH: usize = 8;
    let Some(path) = task.file_in(&s.data) else { return Ok(Vec::new()) };
    let (screen, stop) = (Screen::quiet(), AtomicBool::new(false));
    let scorer = ModelScorer { model: s.model, batch: BATCH, screen: &screen, stop: &stop };
    let exam = EvalContext {
        scorer: &scorer,
        tokenizer: &s.dataset.tokenizer,
        window: s.recipe.context_length,
        limit: s.data.items,
        variants: false,
    };
    let outcome = (task.examine)(&exam, &TextFile::read(&path).map_err(BenchmarkError::from)?)?;
    let share = overlap(&s.dataset.train, &outcome.texts).map(|share| Reading::new(task.overlap, share));
    Ok(outcome.readings.into_iter().chain(share).collect())
}

/// The name of `not_finite`'s note.
pub const NOT_FINITE: &str = "not_finite";

/// Says how many answers are no finite numbers, if any: every figure of theirs is `nan` then.
pub(in crate::probes) fn not_finite(answers: &[TokenLosses]) -> Option<(&'static str, String)> {
    not_finite_losses(&answers.iter().map(|a| -a.log_likelihood()).collect::<Vec<_>>())
}

/// The same of the sums of losses.
pub(in crate::probes) fn not_finite_losses(losses: &[f64]) -> Option<(&'static str, String)> {
    let bad = losses.iter().filter(|loss| !loss.is_finite()).count();
    (bad > 0).then(|| (NOT_FINITE, format!("{bad} of {} likelihoods are not finite numbers", losses.len())))
}

/// A scorer that is asked and has no answer.
struct Silent;

impl Scorer for Silent {
    fn loglikelihood(&self, _: &[Request], _: ScoringOptions) -> Result<Vec<TokenLosses>> {
        Ok(Vec::new())
    }

    fn carries(&self) -> bool {
        false
    }
}

impl Task {
    /// Reads the task's file, if a protocol has it, and makes every request of it: whatever is wrong with the file, or
    /// does not fit the vocabulary or the window, is found without a model.
    pub fn rehearse(&self, data: &EvalData, tokenizer: &Tokenizer, window: usize) -> Result<()> {
        let Some(path) = self.file_in(data) else { return Ok(()) };
        let file = TextFile::read(&path).map_err(BenchmarkError::from)?;
        let exam = EvalContext { scorer: &Silent, tokenizer, window, limit: data.items, variants: false };
        match (self.examine)(&exam, &file) {
            Ok(_) | Err(ProbeError::Answers { got: 0, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// As many answers as requests.
pub(in crate::probes) fn expect_all<T>(answers: &[T], requests: usize) -> Result<()> {
    if answers.len() == requests {
        return Ok(());
    }
    Err(ProbeError::Answers { expected: requests, got: answers.len() })
}
