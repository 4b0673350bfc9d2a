//! What a training records of itself; the same whether it was interrupted or not, but for the seconds.

use serde::{Deserialize, Serialize};

/// What one step recorded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Counted from one.
    pub step: u64,
    /// Tokens read so far.
    pub tokens: u64,
    /// Mean loss of the step, nats per token.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Its part in the RWKV-6 branches.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rwkv_norm: Option<f64>,
    /// Its part in the Mamba-2 branches.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mamba_norm: Option<f64>,
    /// Learning rate.
    pub lr: f64,
}

/// How a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// All steps were made.
    Completed,
    /// Loss or gradient was not finite at this step; nothing moved since.
    Diverged(u64),
    /// Somebody asked to stop; it can go on.
    Interrupted,
}

/// A training that has ended, or stands where it was interrupted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// [`super::TrainJob::identity`].
    pub identity: String,
    /// How it ended.
    pub ending: Ending,
    /// Finite steps.
    pub curve: Vec<StepRecord>,
    /// Digest chained over the very tokens that were fed, inputs and targets.
    pub fed: String,
    /// Next window in the order: the data position.
    pub position: u64,
    /// Optimizer steps made.
    pub optimizer_steps: u64,
    /// Time spent, over all starts.
    pub seconds: f64,
    /// Digest of the final weights.
    pub weights: String,
}
