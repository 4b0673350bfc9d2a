//! What a model's own file gives: a function from tokens and state to hidden states, over named parameters.

use candle_core::{Result, Tensor, bail};
use serde::{Deserialize, Serialize};

use super::params::Params;
use super::state::State;
use crate::ops::{LayerOutput, Tape, Var};

/// A network over its parameters. Training, prefill and single steps are all [`Network::backbone`].
pub trait Network: Send + Sync {
    /// Its parameters.
    fn params(&self) -> &Params;

    /// The same network over other parameters.
    fn with_params(&self, params: Params) -> Box<dyn Network>;

    /// The state before any token, for `batch` sequences.
    ///
    /// # Shapes
    /// - result: for every layer tensors of [B, …], see the model's file
    fn new_state(&self, batch: usize) -> Result<State>;

    /// Runs tokens from `state`, which is carried forward, and returns the normed hidden states that the head reads.
    ///
    /// # Shapes
    /// - `tokens`: [B, T], flat, where B is the state's batch
    /// - result: [B·T, d]
    fn backbone(&self, tape: &Tape, tokens: &[u32], state: &mut State) -> Result<Var>;

    /// The name of the output embedding.
    ///
    /// # Shapes
    /// - the parameter of that name: [V, d]
    fn head(&self) -> &'static str;

    /// The most positions that its state can hold, if limited.
    fn window(&self) -> Option<usize> {
        None
    }

    /// Its branches, where every block runs several kinds of layer in parallel.
    fn as_hybrid(&self) -> Option<&dyn Hybrid> {
        None
    }

    /// Checks what every backbone needs: whole sequences, and room for them.
    fn check_tokens(&self, tokens: &[u32], state: &State) -> Result<()> {
        let batch = state.batch();
        if tokens.is_empty() || !tokens.len().is_multiple_of(batch) {
            bail!("{} tokens are not {batch} whole sequences", tokens.len());
        }
        let end = state.position() + tokens.len() / batch;
        match self.window() {
            Some(window) if end > window => bail!(
                "{} positions do not fit the window of {window} ({} are in the state)",
                end,
                state.position()
            ),
            _ => Ok(()),
        }
    }
}

/// A network whose blocks run several branches in parallel.
pub trait Hybrid {
    /// The branch that a parameter belongs to; none for what the branches share.
    fn branch_of(&self, parameter: &str) -> Option<Branch>;

    /// The same network with one branch's output zeroed (state test S4).
    fn without(&self, branch: Branch) -> Box<dyn Network>;

    /// How fast each layer's branches forget at every position of a text that is read from an empty state: RWKV-6's
    /// decay w and Mamba-2's step size Δ.
    ///
    /// # Shapes
    /// - `tokens`: [1, T], flat
    /// - result: [T, channels] for every layer and branch
    fn decays(&self, tokens: &[u32]) -> Result<Vec<(Branch, Tensor)>>;
}

/// A kind of layer that runs beside others in the blocks of a [`Hybrid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Branch {
    /// The RWKV-6 time mixing.
    Rwkv,
    /// The Mamba-2 layer.
    Mamba,
}

impl Branch {
    /// The name that records and checkpoints use.
    pub const fn name(self) -> &'static str {
        match self {
            Branch::Rwkv => "rwkv",
            Branch::Mamba => "mamba",
        }
    }
}

/// What a layer that mixes positions gives back.
pub(super) struct MixerOutput {
    /// Its output, [B·T, d].
    pub y: LayerOutput,
    /// The new state.
    pub state: Vec<(&'static str, Tensor)>,
    /// What decides how much of the state stays, before its nonlinearity: ω or δ, [B·T, channels].
    pub decay_logits: Tensor,
}
