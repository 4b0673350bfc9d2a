//! What a probe is: a question put to a trained model, its answers, and why there may be none.

use std::path::PathBuf;
use std::sync::Arc;

use super::contrast::Contrast;
use super::eval_data::EvalData;
use crate::data::batches::OrderError;
use crate::data::dataset::Dataset;
use crate::data::published::benchmarks::BenchmarkError;
use crate::device::Compute;
use crate::evidence::{Condition, CurveKind, ItemValues, Metric};
use crate::models::LanguageModel;
use crate::scale::Scale;
use crate::statistics::{mean, t_interval};
use crate::train::{CheckpointError, Recipe, Run, TrainError};

/// A trained model, how it came to be, and what it may be questioned about.
pub struct TrainedModel<'a> {
    /// The model with its trained weights.
    pub model: &'a dyn LanguageModel,
    /// The same model as it was before the first step.
    pub untrained: &'a dyn LanguageModel,
    /// Its checkpoint from before the last tenth of the steps.
    pub earlier: PathBuf,
    /// The record of its training.
    pub run: &'a Run,
    /// With what recipe.
    pub recipe: &'a Recipe,
    /// On what, and on what it is measured.
    pub dataset: &'a Dataset,
    /// Its size.
    pub scale: &'a Scale,
    /// The trial.
    pub seed: u64,
    /// What computes.
    pub compute: &'a Compute,
    /// What may be asked about beyond the held-out split.
    pub data: EvalData,
}

/// A number that a probe read off a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// What was measured.
    pub metric: Metric,
    /// In which state of the model.
    pub condition: Condition,
    /// The number.
    pub value: f64,
    /// Items behind it.
    pub n: Option<u64>,
    /// 95 % interval over those items.
    pub interval: Option<[f64; 2]>,
    /// Where on a curve it lies; such a number is drawn, and nothing is judged by it.
    pub place: Option<(CurveKind, u64)>,
    /// The values of those items, where it is a mean over them.
    pub items: Option<Arc<ItemValues>>,
}

impl Reading {
    /// A number about the trained model.
    pub fn new(metric: Metric, value: f64) -> Self {
        Self {
            metric,
            condition: Condition::Trained,
            value,
            n: None,
            interval: None,
            place: None,
            items: None,
        }
    }

    /// The mean over groups of items, with the interval that the groups give.
    pub fn over(metric: Metric, items: ItemValues) -> Self {
        let means = items.group_means();
        Self { interval: t_interval(&means), ..Self::new(metric, mean(&means)) }.of(items)
    }

    /// The same with the items that it is a mean over.
    pub fn of(self, items: ItemValues) -> Self {
        Self { n: Some(items.count()), items: Some(Arc::new(items)), ..self }
    }

    /// Yes is 1, no is 0.
    pub fn holds(metric: Metric, yes: bool) -> Self {
        Self::new(metric, if yes { 1.0 } else { 0.0 })
    }

    /// The same under another condition.
    pub fn under(self, condition: Condition) -> Self {
        Self { condition, ..self }
    }
}

/// Why a probe got no answer.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "said by the message")]
pub enum ProbeError {
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
    #[error(transparent)]
    Data(#[from] OrderError),
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Tokenizer(#[from] crate::data::tokenizer::TokenizerError),
    #[error("scratch folder: {0}")]
    Scratch(#[from] std::io::Error),
    #[error(transparent)]
    Benchmark(#[from] BenchmarkError),
    #[error("{path}: {error}", path = .path.display())]
    File { path: PathBuf, error: std::io::Error },
    #[error("expected {expected} answers, got {got}")]
    Answers { expected: usize, got: usize },
    #[error("expected a scorer that generates replies, got one that only gives their likelihood")]
    CannotGenerate,
    #[error(
        "{what}: expected at least one token to score after {context:?}, got none: the vocabulary joins {continuation:?} to what stands before"
    )]
    NothingToScore { what: String, context: String, continuation: String },
    #[error("{what}: expected at most {window} tokens to score, which is the window, got {got}")]
    LongerThanWindow { what: String, window: usize, got: usize },
    #[error("interrupted")]
    Interrupted,
}

/// What a probe gives back.
pub(in crate::probes) type Result<T> = std::result::Result<T, ProbeError>;

/// What a probe measures on.
pub enum ProbeData {
    /// The held-out split, or nothing but the model: there in every protocol.
    HeldOut,
    /// Something of its own, which a protocol may lack.
    Own {
        /// Whether the protocol has it.
        available: fn(&EvalData) -> bool,
        /// A digest of it and of how much of it is used.
        digest: fn(&EvalData) -> Result<String>,
    },
}

/// Measures a checkpoint without a protocol.
pub type MeasureCheckpoint = fn(&Contrast<'_>) -> Result<Vec<Reading>>;

/// A row of the table of probes.
pub struct Probe {
    /// Stable name.
    pub id: &'static str,
    /// The question.
    pub about: &'static str,
    /// What it may answer with.
    pub metrics: &'static [Metric],
    /// What it measures on.
    pub data: ProbeData,
    /// The one model that it is a question to, where it asks for what others do not have.
    pub only: Option<&'static str>,
    /// Measures a model that a protocol has trained.
    pub measure: fn(&TrainedModel<'_>) -> Result<Vec<Reading>>,
    /// Measures any checkpoint, for a probe that needs nothing but a model and its tokenizer.
    pub measure_checkpoint: Option<MeasureCheckpoint>,
}

impl Probe {
    /// Whether it is a question to the model of that name.
    pub fn concerns(&self, model: &str) -> bool {
        self.only.is_none_or(|only| only == model)
    }

    /// Whether a protocol has what it measures on.
    pub fn is_available(&self, data: &EvalData) -> bool {
        match self.data {
            ProbeData::HeldOut => true,
            ProbeData::Own { available, .. } => available(data),
        }
    }

    /// A digest of what it measures on; `None` for the held-out split.
    pub fn data_digest(&self, data: &EvalData) -> Result<Option<String>> {
        match self.data {
            ProbeData::Own { available, digest } if available(data) => digest(data).map(Some),
            ProbeData::Own { .. } | ProbeData::HeldOut => Ok(None),
        }
    }
}
