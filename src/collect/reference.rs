//! The reverse test: a training of the baseline handed to another program, and what that program made of it as
//! evidence. It gets the initial weights, the batches and the recipe, so that nothing but its own code can differ.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::collector::{Collector, Options};
use super::error::CollectError;
use super::measure::{to_measurement, training_curve};
use super::trial::{Trained, Trial};
use crate::evidence::{Condition, CurveKind, Line, Metric, Provenance};
use crate::files::{hex, sha256, write_atomically};
use crate::models::{LanguageModel, MODELS};
use crate::probes::Reading;
use crate::protocol::Protocol;
use crate::scale::Scale;
use crate::statistics::mean;
use crate::train::{CheckpointError, Ending, Recipe, StepRecord, TrainJob, save_model};

/// What the numbers of an import are known by.
pub(crate) const REFERENCE: &str = "reference";
/// What is to be trained, in a folder of the exchange.
pub(super) const TASK: &str = "task.json";
/// The tokens, in the same folder.
pub(super) const BATCHES: &str = "batches.npy";
/// What the other program writes there.
pub(super) const LOG: &str = "log.jsonl";

/// What another program is to train, beside the weights and the tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceTask {
    /// The model.
    pub model: String,
    /// Its size.
    pub scale: String,
    /// The trial.
    pub seed: u64,
    /// Optimizer steps.
    pub steps: u64,
    /// The recipe, word for word.
    pub recipe: Recipe,
    /// What its precision comes to where the training ran.
    pub precision: String,
    /// Digest of the initial weights.
    pub weights: String,
    /// SHA-256 of the file of batches.
    pub batches: String,
    /// Digest of the data set.
    pub data: String,
}

/// The first line of a log: who trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceHeader {
    /// SHA-256 of the task that was followed.
    pub task: String,
    /// The program and what it is built on, with versions.
    pub software: String,
    /// What computed.
    pub device: String,
    /// In which arithmetic.
    pub precision: String,
}

/// Every other line of a log: one step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceStep {
    /// Counted from one.
    pub step: u64,
    /// Mean loss of the step's batch before its update, nats per token.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Learning rate of the update.
    pub lr: f64,
}

/// How both trainings compare.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceComparison {
    /// Who trained elsewhere.
    pub header: ReferenceHeader,
    /// Final loss here over final loss there.
    pub ratio: f64,
    /// The largest relative difference of the losses at every hundredth step and the last.
    pub departure: f64,
    /// The step of that difference.
    pub farthest: u64,
    /// The share of the steps after the first at which both losses are the same number.
    pub identical: f64,
    /// SHA-256 of the other's log.
    pub log: String,
}

/// The last hundredth of the steps, and at least ten.
fn last(steps: usize) -> usize {
    (steps / 100).max(10).min(steps)
}

/// Writes the exchange's folder for the baseline of a protocol at a scale: `initial/` (a checkpoint), `batches.npy`
/// (a row for each window, in the order in which they are read) and `task.json`.
///
/// # Errors
/// Whatever [`super::collect`] refuses before it trains, and a folder that cannot be written.
pub fn export_reference(
    protocol: &Protocol,
    options: &Options<'_>,
    (scale, seed): (&'static Scale, u64),
    folder: &Path,
) -> Result<ReferenceTask, CollectError> {
    let collector = Collector::open(protocol, options)?;
    let (job, _) = collector.place(Trial { spec: &MODELS[0], scale, seed })?;
    let initial = job.config.init(seed)?;
    let task = task(&job, initial.as_ref(), scale)?;
    save_model(&folder.join("initial"), &job.config, initial.params(), job.tokenizer)?;
    let path = folder.join(BATCHES);
    let io = CheckpointError::io(&path);
    write_atomically(&path, &io, |file| {
        job.batches.write_npy(job.tokenizer.vocab_size(), &mut |bytes| file.write_all(bytes)).map_err(&io)
    })?;
    // Last: where it is, the others are.
    let path = folder.join(TASK);
    let io = CheckpointError::io(&path);
    write_atomically(&path, &io, |file| file.write_all(&bytes(&task)).map_err(&io))?;
    Ok(task)
}

pub(super) fn task(
    job: &TrainJob<'_>,
    initial: &dyn LanguageModel,
    scale: &Scale,
) -> Result<ReferenceTask, CollectError> {
    let mut hash = Sha256::new();
    let mut update = |bytes: &[u8]| {
        hash.update(bytes);
        Ok(())
    };
    let written = job.batches.write_npy(job.tokenizer.vocab_size(), &mut update);
    written.map_err(CheckpointError::io(Path::new(BATCHES)))?;
    Ok(ReferenceTask {
        model: MODELS[0].name.to_owned(),
        scale: scale.name.to_owned(),
        seed: job.seed,
        steps: job.recipe.steps(),
        recipe: job.recipe.clone(),
        precision: job.recipe.precision.name(job.compute).to_owned(),
        weights: initial.params().digest()?,
        batches: hex(hash),
        data: job.data.clone(),
    })
}

pub(super) fn bytes(task: &ReferenceTask) -> Vec<u8> {
    // Words and numbers alone: writing them cannot fail.
    let mut text = serde_json::to_vec_pretty(task).unwrap_or_default();
    text.push(b'\n');
    text
}

/// Reads the log beside an exported task and makes it evidence about the trial, which is trained here first where it
/// is not yet.
///
/// # Errors
/// A task that is not this protocol's, a log of another task, in another arithmetic, by other learning rates, or of
/// fewer steps or losses that are no numbers: such a training is no reference.
pub fn import_reference(
    protocol: &Protocol,
    options: &Options<'_>,
    folder: &Path,
) -> Result<ReferenceComparison, CollectError> {
    let path = folder.join(TASK);
    let unfit = |what: String| CollectError::Unfit { path: path.clone(), what };
    let asked = fs::read(&path).map_err(CheckpointError::io(&path))?;
    let told: ReferenceTask =
        serde_json::from_slice(&asked).map_err(|e| unfit(format!("expected an exported task, got {e}")))?;
    let scale =
        crate::scale::find(&told.scale).filter(|scale| protocol.scales.iter().any(|s| s == scale.name));
    let seed = protocol.seeds.iter().find(|seed| **seed == told.seed).copied();
    let (Some(scale), Some(seed)) = (scale, seed) else {
        let [scales, seeds] = [protocol.scales.join(", "), format!("{:?}", protocol.seeds)];
        let what = format!("expected a scale of {scales} and a seed of {seeds}");
        return Err(unfit(format!("{what}, got {} and {}", told.scale, told.seed)));
    };
    let collector = Collector::open(protocol, options)?;
    let trial = Trial { spec: &MODELS[0], scale, seed };
    let (job, _) = collector.place(trial)?;
    let own = task(&job, job.config.init(seed)?.as_ref(), scale)?;
    let [expected, got] = [bytes(&own), asked].map(|text| sha256(&text));
    if expected != got {
        let what = "expected the task that this protocol, data and program export";
        return Err(unfit(format!("{what} ({expected}), got {got}")));
    }
    let path = folder.join(LOG);
    let log = fs::read(&path).map_err(CheckpointError::io(&path))?;
    let read = parse(&log).and_then(|(header, steps)| {
        follows(&own, &expected, &header, &steps)?;
        Ok((header, steps))
    });
    let (header, steps) = read.map_err(|(line, expected, got)| CollectError::Unfit {
        path,
        what: format!("line {line}: expected {expected}, got {got}"),
    })?;
    let trained = collector.train(trial)?;
    let comparison = compare(&trained, header, &steps, &log);
    record(&collector, &trained, &log, (&comparison, &steps))?;
    Ok(comparison)
}

/// What a log says, line by line.
///
/// # Errors
/// The number of a line, what it should be, and what it is.
pub(super) fn parse(log: &[u8]) -> Result<(ReferenceHeader, Vec<ReferenceStep>), (usize, String, String)> {
    let text = String::from_utf8_lossy(log);
    let mut lines = text.lines();
    let wrong = |line, expected: &str, got: serde_json::Error| (line, expected.to_owned(), got.to_string());
    let header = serde_json::from_str(lines.next().unwrap_or_default());
    let header = header.map_err(|e| wrong(1, "who trained what", e))?;
    let step = |(i, line): (usize, &str)| serde_json::from_str(line).map_err(|e| wrong(i + 2, "a step", e));
    Ok((header, lines.enumerate().map(step).collect::<Result<_, _>>()?))
}

/// That a log is one of this task from the first step to the last; else the line, what it should say, and what it says.
pub(super) fn follows(
    task: &ReferenceTask,
    digest: &str,
    header: &ReferenceHeader,
    steps: &[ReferenceStep],
) -> Result<(), (usize, String, String)> {
    if header.task != digest {
        return Err((1, format!("a training of the task {digest}"), header.task.clone()));
    }
    if header.precision != task.precision {
        let expected = format!("a training in {} (ruling R28)", task.precision);
        return Err((1, expected, header.precision.clone()));
    }
    for (i, step) in steps.iter().enumerate() {
        if step.step != i as u64 + 1 {
            return Err((i + 2, format!("step {}", i + 1), step.step.to_string()));
        }
        let rate = task.recipe.learning_rate(i as u64);
        // Twelve digits of a formula in float64.
        let same_rate = (step.lr - rate).abs() <= 1e-12 * rate.abs();
        if !same_rate {
            return Err((i + 2, format!("the recipe's learning rate {rate:e}"), step.lr.to_string()));
        }
    }
    if steps.len() as u64 != task.steps {
        let expected = format!("{} steps, all of the training", task.steps);
        return Err((steps.len() + 1, expected, steps.len().to_string()));
    }
    Ok(())
}

/// What the losses say. A training that did not end here compares with nothing: its ratio is no number.
pub(super) fn compare(
    trained: &Trained<'_>,
    header: ReferenceHeader,
    there: &[ReferenceStep],
    log: &[u8],
) -> ReferenceComparison {
    let log = sha256(log);
    let here = &trained.run.curve;
    if trained.run.ending != Ending::Completed || here.len() != there.len() {
        return ReferenceComparison {
            header,
            ratio: f64::NAN,
            departure: f64::NAN,
            farthest: here.len() as u64,
            identical: f64::NAN,
            log,
        };
    }
    let looked_at = |i: &usize| (i + 1).is_multiple_of(100) || i + 1 == there.len();
    let apart = |i: usize| ((here[i].loss - there[i].loss) / there[i].loss).abs();
    let farthest = (0..there.len()).filter(looked_at).max_by(|&a, &b| apart(a).total_cmp(&apart(b)));
    let from = there.len() - last(there.len());
    // The first step's losses come from the same weights and may agree.
    let same = here.iter().zip(there).skip(1).filter(|(a, b)| a.loss.to_bits() == b.loss.to_bits()).count();
    let of_here: Vec<f64> = here[from..].iter().map(|s: &StepRecord| s.loss).collect();
    let of_there: Vec<f64> = there[from..].iter().map(|s| s.loss).collect();
    ReferenceComparison {
        header,
        ratio: mean(&of_here) / mean(&of_there),
        departure: farthest.map_or(f64::NAN, apart),
        farthest: farthest.map_or(0, |i| i as u64 + 1),
        identical: same as f64 / (there.len() - 1) as f64,
        log,
    }
}

/// Where a run keeps the log that its reference was read from: as it was written, by its digest.
pub(super) fn kept(trained: &Trained<'_>, digest: &str) -> PathBuf {
    trained.folder.0.join(format!("reference-{}.jsonl", digest.get(..16).unwrap_or(digest)))
}

/// Keeps the log beside the run, and adds the numbers and the reference's curves to the ledger, unless they are there.
fn record(
    collector: &Collector<'_>,
    trained: &Trained<'_>,
    log: &[u8],
    (found, steps): (&ReferenceComparison, &[ReferenceStep]),
) -> Result<(), CollectError> {
    let source =
        Provenance { probe: REFERENCE.to_owned(), validation: sha256(log), ..trained.source.clone() };
    let path = kept(trained, &source.validation);
    let io = CheckpointError::io(&path);
    write_atomically(&path, &io, |file| file.write_all(log).map_err(&io))?;
    // What is there already is not added again, and what contradicts it is.
    collector.append(&lines(trained, found, steps, &source)?)
}

/// The numbers, and the curves of the other program's training.
pub(super) fn lines(
    trained: &Trained<'_>,
    found: &ReferenceComparison,
    steps: &[ReferenceStep],
    source: &Provenance,
) -> Result<Vec<Line>, CollectError> {
    let of = trained.trial.of(Condition::Trained);
    let n = Some(steps.len() as u64);
    let number = |metric, value| {
        to_measurement(of.clone(), Reading { n, ..Reading::new(metric, value) }, source.clone())
    };
    let points: Vec<(u64, [f64; 2])> = steps
        .iter()
        .map(|s| (s.step * trained.job.recipe.tokens_per_step(), [s.loss, s.grad_norm]))
        .collect();
    let elsewhere = trained.trial.of(Condition::Reference);
    let curve = |kind, which: usize| {
        let points = points.iter().map(|(tokens, both)| (*tokens, both[which]));
        training_curve(&elsewhere, kind, points, source)
    };
    Ok(vec![
        number(Metric::ReferenceLossRatio, found.ratio),
        number(Metric::ReferenceDeparture, found.departure),
        number(Metric::ReferenceIdentical, found.identical),
        curve(CurveKind::TrainingLoss, 0)?,
        curve(CurveKind::GradientNorm, 1)?,
    ])
}
