//! Every hyper-parameter of a run (ruling R12). There is no default: a recipe says everything, and
//! its digest says which recipe it was. Names are the V5 document's (§Config Alignment).

use serde::{Deserialize, Serialize};

use crate::device::Precision;
use crate::files::sha256;

/// How the learning rate moves after warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Half a cosine from `max_lr` to `min_lr`.
    Cosine,
}

/// What turns gradients into steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Optimizer {
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
    AdamW,
}

/// Every hyper-parameter of a run.
///
/// # Example
///
/// ```
/// use v5gate::train::{Optimizer, Precision, Recipe, Schedule};
///
/// let recipe = Recipe {
///     token_count: 819_200,
///     batch_size: 8,
///     micro_batch_size: 4,
///     context_length: 1024,
///     learning_rate_schedule: Schedule::Cosine,
///     warmup_steps: 10,
///     max_lr: 1e-3,
///     min_lr: 1e-4,
///     weight_decay: 0.1,
///     optimizer: Optimizer::AdamW,
///     betas: [0.9, 0.95],
///     eps: 1e-8,
///     grad_clip: 1.0,
///     precision: Precision::Float32,
/// };
/// assert_eq!((recipe.tokens_per_step(), recipe.steps()), (8_192, 100));
/// assert_eq!(recipe.learning_rate(4), 5e-4, "half way up");
/// assert_eq!(recipe.learning_rate(10), 1e-3, "the highest");
/// assert!(recipe.learning_rate(99) < 1.01e-4, "nearly the lowest");
///
/// // Another recipe has another digest, and one that no run can follow is refused.
/// let other = Recipe { micro_batch_size: 3, ..recipe.clone() };
/// assert_ne!(recipe.digest(), other.digest());
/// assert!(recipe.check().is_ok() && other.check().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Tokens to train on; whole batches of them.
    pub token_count: u64,
    /// Sequences in a step.
    pub batch_size: usize,
    /// Sequences in a forward pass; divides `batch_size`. Gradients add up over a step.
    pub micro_batch_size: usize,
    /// Tokens in a sequence.
    pub context_length: usize,
    /// Shape of the learning rate after warm-up.
    pub learning_rate_schedule: Schedule,
    /// Steps of linear warm-up.
    pub warmup_steps: u64,
    /// Highest learning rate.
    pub max_lr: f64,
    /// Learning rate at the last step.
    pub min_lr: f64,
    /// Decoupled decay, on matrices only.
    pub weight_decay: f64,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// Decay of the first and second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Largest global gradient norm.
    pub grad_clip: f64,
    /// Arithmetic.
    pub precision: Precision,
}

/// Why a recipe cannot be followed.
#[derive(Debug, thiserror::Error)]
#[error("recipe: {field}: expected {expected}, got {got}")]
pub struct RecipeError {
    field: &'static str,
    expected: &'static str,
    got: String,
}

impl Recipe {
    /// Optimizer steps.
    pub fn steps(&self) -> u64 {
        self.token_count / self.tokens_per_step()
    }

    /// Tokens of one step.
    pub fn tokens_per_step(&self) -> u64 {
        (self.batch_size * self.context_length) as u64
    }

    /// Learning rate of `step`, counted from zero.
    pub fn learning_rate(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.max_lr * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let span = self.steps().saturating_sub(self.warmup_steps).max(1) as f64;
        let along = ((step - self.warmup_steps) as f64 / span).min(1.0);
        let Schedule::Cosine = self.learning_rate_schedule;
        let height = 0.5 * (1.0 + (std::f64::consts::PI * along).cos());
        self.min_lr + (self.max_lr - self.min_lr) * height
    }

    /// Digest of every field.
    pub fn digest(&self) -> String {
        // A struct of numbers and names: serialising it cannot fail.
        sha256(serde_json::to_string(self).unwrap_or_default().as_bytes())
    }

    /// Refuses what no run can follow.
    pub fn check(&self) -> Result<(), RecipeError> {
        let rule = |ok: bool, field, expected, got: String| {
            if ok { Ok(()) } else { Err(RecipeError { field, expected, got }) }
        };
        let text = |x: f64| x.to_string();
        rule(self.context_length > 0, "context_length", "at least 1", self.context_length.to_string())?;
        rule(self.batch_size > 0, "batch_size", "at least 1", self.batch_size.to_string())?;
        let micro = self.micro_batch_size;
        let divides = micro > 0 && self.batch_size.is_multiple_of(micro);
        rule(divides, "micro_batch_size", "a divisor of batch_size", micro.to_string())?;
        rule(self.steps() > 0, "token_count", "at least one step", self.token_count.to_string())?;
        rule(self.max_lr > 0.0, "max_lr", "a positive number", text(self.max_lr))?;
        let low = self.min_lr >= 0.0 && self.min_lr <= self.max_lr;
        rule(low, "min_lr", "between 0 and max_lr", text(self.min_lr))?;
        rule(self.weight_decay >= 0.0, "weight_decay", "not negative", text(self.weight_decay))?;
        rule(self.eps > 0.0, "eps", "a positive number", text(self.eps))?;
        rule(self.grad_clip > 0.0, "grad_clip", "a positive number", text(self.grad_clip))?;
        let betas = self.betas.iter().all(|b| (0.0..1.0).contains(b));
        rule(betas, "betas", "two numbers in [0, 1)", format!("{:?}", self.betas))
    }
}
