//! Questions put to a trained model. A probe declares the metrics it answers with and knows no
//! threshold: what an answer is worth is decided elsewhere.
//!
//! To add a probe: a file, and a row in [`PROBES`].

mod benchmarks;
pub mod efficiency;
mod forward;
mod language_modeling;
mod long_context;
mod material;
mod optimizer;
mod overfit;
mod overlap;
mod resume;
mod scoring;
mod size;
mod statefulness;
mod training;

use std::path::PathBuf;

use crate::data::batches::OrderError;
use crate::data::dataset::Dataset;
use crate::data::published::benchmarks::BenchmarkError;
use crate::evidence::{Condition, CurveKind, Metric};
use crate::models::LanguageModel;
use crate::scale::Scale;
use crate::train::{CheckpointError, Recipe, Run, TrainError};
use benchmarks::{dailydialog, hellaswag, lambada, personachat, ptb, wikitext};
use statefulness::{ablation, canaries, mqar, recall, repeated_bigram, state};

pub use benchmarks::dialogue::{one_turn, prompt};
pub use benchmarks::task::{Exam, Figure, Outcome, TASKS, Task, find_task, overlap};
pub use long_context::{LongTexts, long_context_readings, losses_by_token};
pub use material::Material;
pub use scoring::bleu::{BLEU_SIGNATURE, BleuCounts, distinct, tokens_13a};
pub use scoring::cache::Kept;
pub use scoring::decoding::{Decoding, Nucleus, turn_ends};
pub use scoring::likelihood::{Answer, How, ModelRespondent, Request, Respondent, whole, windows};
pub use scoring::ngram::{bigram_loss, unigram_loss};
pub use statefulness::canaries::canaries_over;
pub use statefulness::mqar::Grid;
pub use statefulness::recall::{ItemsOf, Scores, Who, copy_oracle, recall_over, uniform};

/// A trained model, and all that may be asked about how it came to be.
pub struct Subject<'a> {
    /// The model with its trained weights.
    pub model: &'a dyn LanguageModel,
    /// The same model as it was before the first step.
    pub untrained: &'a dyn LanguageModel,
    /// Its checkpoint from before the last tenth of the steps.
    pub earlier: PathBuf,
    /// How it was trained.
    pub run: &'a Run,
    /// With what recipe.
    pub recipe: &'a Recipe,
    /// On what, and on what it is measured.
    pub dataset: &'a Dataset,
    /// Its size.
    pub scale: &'a Scale,
    /// The trial.
    pub seed: u64,
    /// What may be asked about beyond the held-out split.
    pub material: Material,
}

/// One answer.
#[derive(Clone, Copy, Debug, PartialEq)]
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
}

impl Reading {
    /// A number about the trained model.
    pub fn new(metric: Metric, value: f64) -> Self {
        Self { metric, condition: Condition::Trained, value, n: None, interval: None, place: None }
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
pub enum ProbeError {
    /// A tensor operation failed.
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The data do not suffice.
    #[error(transparent)]
    Data(#[from] OrderError),
    /// Training failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A checkpoint could not be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] crate::data::tokenizer::TokenizerError),
    /// A scratch folder could not be made.
    #[error("scratch folder: {0}")]
    Scratch(#[from] std::io::Error),
    /// A benchmark could not be read.
    #[error(transparent)]
    Benchmark(#[from] BenchmarkError),
    /// A benchmark's file, or kept answers, cannot be read or written.
    #[error("{path}: {error}", path = .path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Somebody answered something else.
    #[error("expected {expected} answers, got {got}")]
    Answers {
        /// As many as were asked for.
        expected: usize,
        /// As many as there are.
        got: usize,
    },
    /// Somebody only scores.
    #[error("expected somebody who replies, got one who only says how likely replies are")]
    Silent,
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
}

type Result<T> = std::result::Result<T, ProbeError>;

/// A row of [`PROBES`].
pub struct Probe {
    /// Stable name.
    pub id: &'static str,
    /// The question.
    pub about: &'static str,
    /// What it may answer with.
    pub metrics: &'static [Metric],
    /// Asks.
    pub ask: fn(&Subject<'_>) -> Result<Vec<Reading>>,
}

/// Probes that ask nothing but a model and its tokenizer, so that any checkpoint can be asked.
pub const INQUIRIES: [&str; 2] = [recall::PROBE.id, canaries::PROBE.id];

/// The answers to one of [`INQUIRIES`]; `None` for another name.
pub fn inquire(id: &str, who: &Who<'_>) -> Option<Result<Vec<Reading>>> {
    match id {
        _ if id == recall::PROBE.id => Some(who.recall(&crate::data::synthetic::cloze::items)),
        _ if id == canaries::PROBE.id => {
            Some(who.canaries(&|canary| crate::data::synthetic::canaries::items(canary, who.tokenizer)))
        }
        _ => None,
    }
}

/// Every probe.
pub const PROBES: &[Probe] = &[
    size::PROBE,
    training::PROBE,
    optimizer::PROBE,
    overlap::PROBE,
    language_modeling::PROBE,
    wikitext::PROBE,
    ptb::PROBE,
    lambada::PROBE,
    hellaswag::PROBE,
    dailydialog::PROBE,
    personachat::PROBE,
    long_context::PROBE,
    forward::PROBE,
    state::PROBE,
    ablation::PROBE,
    recall::PROBE,
    canaries::PROBE,
    repeated_bigram::PROBE,
    mqar::PROBE,
    overfit::PROBE,
    resume::PROBE,
];
