//! Every hyper-parameter of a run (ruling R12). There is no default: a recipe says everything, and
//! its digest says which recipe it was. Names are the V5 document's (§Config Alignment).

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

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
    #[serde(deserialize_with = "exactly_two")]
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Largest global gradient norm.
    pub grad_clip: f64,
    /// Arithmetic.
    pub precision: Precision,
}

/// Reading a list as an array of two would drop what follows.
fn exactly_two<'de, D: Deserializer<'de>>(from: D) -> Result<[f64; 2], D::Error> {
    let all = Vec::<f64>::deserialize(from)?;
    let count = all.len();
    all.try_into().map_err(|_| D::Error::custom(format!("expected two numbers, got {count}")))
}

/// Most tokens of a sequence: longer ones are no longer trained on in one piece.
const LONGEST: usize = 1 << 20;
/// Most tokens of a forward pass: their activations fill the largest memory.
const MOST_AT_ONCE: usize = 1 << 22;
/// Most sequences of a training: the order of so many takes 1 GiB.
const MOST_SEQUENCES: u64 = 1 << 28;

/// Why a recipe cannot be followed.
#[derive(Debug, thiserror::Error)]
#[error("recipe: {field}: expected {expected}, got {got}")]
pub struct RecipeError {
    field: &'static str,
    expected: String,
    got: String,
}

impl Recipe {
    /// Optimizer steps.
    pub fn steps(&self) -> u64 {
        self.token_count / self.tokens_per_step()
    }

    /// Tokens of one step.
    pub fn tokens_per_step(&self) -> u64 {
        (self.batch_size as u64).saturating_mul(self.context_length as u64)
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
        let rule = |ok: bool, field, expected: String, got: String| {
            if ok { Ok(()) } else { Err(RecipeError { field, expected, got }) }
        };
        let (context, batch, micro) = (self.context_length, self.batch_size, self.micro_batch_size);
        let within = |n: usize, most: u64| n > 0 && n as u64 <= most;
        let range = |most: u64| format!("1 to {most}");
        rule(within(context, LONGEST as u64), "context_length", range(LONGEST as u64), context.to_string())?;
        rule(within(batch, MOST_SEQUENCES), "batch_size", range(MOST_SEQUENCES), batch.to_string())?;
        let divides = micro > 0 && batch.is_multiple_of(micro);
        rule(divides, "micro_batch_size", "a divisor of batch_size".to_owned(), micro.to_string())?;
        let most = MOST_AT_ONCE / context;
        let expected = format!("at most {most} sequences of {context} tokens in a forward pass");
        rule(micro <= most, "micro_batch_size", expected, micro.to_string())?;
        let (tokens, got) = (self.token_count, self.token_count.to_string());
        let expected = format!("at least one step of {} tokens", self.tokens_per_step());
        rule(self.steps() > 0, "token_count", expected, got.clone())?;
        let most = MOST_SEQUENCES * context as u64;
        let expected = format!("at most {most}, {MOST_SEQUENCES} sequences of {context} tokens");
        rule(tokens <= most, "token_count", expected, got)?;
        self.check_numbers()
    }

    /// The numbers that are not counts; JSON, of which the digest is made, has none that is not finite.
    fn check_numbers(&self) -> Result<(), RecipeError> {
        let rule = |ok: bool, field, expected: &str, got: String| {
            let expected = expected.to_owned();
            if ok { Ok(()) } else { Err(RecipeError { field, expected, got }) }
        };
        let text = |x: f64| x.to_string();
        let positive =
            |field, x: f64| rule(x > 0.0 && x.is_finite(), field, "a positive finite number", text(x));
        positive("max_lr", self.max_lr)?;
        let low = self.min_lr >= 0.0 && self.min_lr <= self.max_lr;
        rule(low, "min_lr", "between 0 and max_lr", text(self.min_lr))?;
        let decay = self.weight_decay >= 0.0 && self.weight_decay.is_finite();
        rule(decay, "weight_decay", "a finite number, not negative", text(self.weight_decay))?;
        positive("eps", self.eps)?;
        positive("grad_clip", self.grad_clip)?;
        let betas = self.betas.iter().all(|b| (0.0..1.0).contains(b));
        rule(betas, "betas", "two numbers in [0, 1)", format!("{:?}", self.betas))
    }
}
