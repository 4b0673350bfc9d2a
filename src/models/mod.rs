//! The architectures under comparison, all behind [`LanguageModel`].
//!
//! A model is a [`Config`] (what `config.json` says), [`Params`] under public names, and a
//! function from tokens and [`State`] to hidden states. Training, prefill and single steps are
//! that one function.
//!
//! To add a model: a file with its configuration, parameters and `trunk`, a variant of
//! [`Config`], and a row in [`MODELS`].

mod gpt2;
mod groundthink;
mod mamba2;
mod mamba2_mixer;
mod params;
mod rwkv6;
mod rwkv6_time_mix;
mod state;

use candle_core::{Result, Tensor, bail};
use serde::{Deserialize, Serialize};

use crate::device::{self, Precision};
use crate::ops::{Layout, Tape, Var, likeliest, linear, on_two_workers, on_worker, token_losses};
use crate::scale::Scale;

pub use gpt2::{Gpt2, Gpt2Config};
pub use groundthink::{GroundThink, GroundThinkConfig};
pub use mamba2::{Mamba2, Mamba2Config};
pub use mamba2_mixer::MambaShape;
pub use params::{Declared, Entry, Init, Params, Scope};
pub use rwkv6::{Rwkv6, Rwkv6Config};
pub use rwkv6_time_mix::RwkvShape;
pub use state::State;

/// What a mixing layer gives back.
struct Mixed {
    /// Its output, [B·T, d].
    y: Var,
    /// The new state.
    state: Vec<(&'static str, Tensor)>,
    /// What decides how much of the state stays, before its nonlinearity: ω or δ, [B·T, channels].
    pace: Tensor,
}

/// One of GroundThink's parallel branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Branch {
    /// The RWKV-6 time mixing.
    Rwkv,
    /// The Mamba-2 layer.
    Mamba,
}

/// What `config.json` says: the architecture and its dimensions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "model_type", rename_all = "lowercase")]
pub enum Config {
    /// GPT-2 (Radford et al. 2019).
    Gpt2(Gpt2Config),
    /// Mamba-2 (Dao & Gu 2024).
    Mamba2(Mamba2Config),
    /// RWKV-6 (Peng et al. 2024).
    Rwkv6(Rwkv6Config),
    /// GroundThink.
    Groundthink(GroundThinkConfig),
}

impl Config {
    /// Refuses dimensions that do not divide as they must; the others show in the tensors.
    pub fn check(&self) -> Result<()> {
        let divides = |field: &str, part: usize, whole: usize| match part > 0 && whole.is_multiple_of(part) {
            true => Ok(()),
            false => bail!("{field} {part}, which is no divisor of {whole}"),
        };
        match self {
            Self::Gpt2(c) => {
                c.check()?;
                divides("n_head", c.n_head, c.n_embd)
            }
            Self::Mamba2(c) => c.check(),
            Self::Rwkv6(c) => c.check(),
            Self::Groundthink(c) => {
                divides("rwkv.head_size", c.rwkv.head_size, c.d_model)?;
                let inner = c.mamba.expand.saturating_mul(c.d_model);
                divides("mamba.head_dim", c.mamba.head_dim, inner)?;
                divides("mamba.n_groups", c.mamba.n_groups, inner / c.mamba.head_dim)
            }
        }
    }

    /// The name by which a tensor of a checkpoint is declared: published GPT-2 checkpoints come with and
    /// without a prefix.
    pub fn public_name<'a>(&self, name: &'a str) -> &'a str {
        match self {
            Self::Gpt2(_) => name.strip_prefix("transformer.").unwrap_or(name),
            _ => name,
        }
    }

    /// Completes a configuration by what only the shapes of a checkpoint's tensors tell.
    pub fn fit(&mut self, dims: &dyn Fn(&str) -> Option<Vec<usize>>) {
        if let Self::Rwkv6(c) = self {
            c.fit(dims);
        }
    }

    /// The parameters of such a model, with their initialisation.
    pub fn declare(&self) -> Vec<Declared> {
        match self {
            Self::Gpt2(c) => c.declare(),
            Self::Mamba2(c) => c.declare(),
            Self::Rwkv6(c) => c.declare(),
            Self::Groundthink(c) => c.declare(),
        }
    }

    /// A model of this configuration over given parameters.
    pub fn build(&self, params: Params) -> Box<dyn LanguageModel> {
        match self {
            Self::Gpt2(c) => Box::new(Gpt2::new(c.clone(), params)),
            Self::Mamba2(c) => Box::new(Mamba2::new(c.clone(), params)),
            Self::Rwkv6(c) => Box::new(Rwkv6::new(c.clone(), params)),
            Self::Groundthink(c) => Box::new(GroundThink::new(c.clone(), params)),
        }
    }

    /// A freshly initialised model (float32), determined by `seed`.
    pub fn init(&self, seed: u64) -> Result<Box<dyn LanguageModel>> {
        Ok(self.build(Params::init(&self.declare(), seed)?))
    }

    /// Parameter and work counts, from the dimensions alone.
    pub fn census(&self) -> Census {
        match self {
            Self::Gpt2(c) => c.census(),
            Self::Mamba2(c) => c.census(),
            Self::Rwkv6(c) => c.census(),
            Self::Groundthink(c) => c.census(),
        }
    }

    /// The name under which the model is listed.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Gpt2(_) => "gpt2",
            Self::Mamba2(_) => "mamba2",
            Self::Rwkv6(_) => "rwkv6",
            Self::Groundthink(_) => "groundthink",
        }
    }
}

/// As many layers as bring a model nearest to the parameters of a scale's GPT-2.
fn layers_to_match(target: usize, total: impl Fn(usize) -> usize) -> usize {
    let limit = 4 + target / (total(2) - total(1)).max(1);
    (1..=limit).min_by_key(|&layers| total(layers).abs_diff(target)).unwrap_or(1)
}

/// Elements of all parameters.
fn count(declared: &[Declared]) -> usize {
    declared.iter().map(|d| d.shape.iter().product::<usize>()).sum()
}

/// How a model's parameters and work divide (rulings R1 and R3).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Census {
    /// All parameters; a tied head counts once.
    pub total: usize,
    /// Token embedding, and the head where it is not tied.
    pub embedding: usize,
    /// Learned positions.
    pub positional: usize,
    /// Blocks and final norm.
    pub non_embedding: usize,
    /// Multiply-adds times two of one token's forward pass, with head and with attention or scan
    /// at half the trained context (the mean over positions).
    pub forward_flops_per_token: f64,
}

impl Census {
    /// The counts of a model without positions, from its tensors and the multiply-adds of its layers.
    fn of(declared: &[Declared], embedding: &str, head: &str, layers: usize) -> Self {
        let len = |name: &str| {
            let named = declared.iter().find(|d| d.name == name);
            named.map_or(0, |d| d.shape.iter().product())
        };
        let embedding = if embedding == head { len(head) } else { len(embedding) + len(head) };
        let total = count(declared);
        let forward_flops_per_token = 2.0 * (layers + len(head)) as f64;
        Self { total, embedding, positional: 0, non_embedding: total - embedding, forward_flops_per_token }
    }
}

/// A row of [`MODELS`].
pub struct ModelSpec {
    /// Name on the command line and in ledgers.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Its configuration at a scale, for a vocabulary and a trained context length.
    pub config: fn(&Scale, usize, usize) -> Config,
}

/// Every model. The first is the baseline.
pub const MODELS: &[ModelSpec] = &[
    ModelSpec {
        name: "gpt2",
        about: "GPT-2: pre-norm transformer, learned positions, tied head (Radford et al. 2019)",
        config: |scale, vocab, context| Config::Gpt2(Gpt2Config::of(scale, vocab, context)),
    },
    ModelSpec {
        name: "groundthink",
        about: "RWKV-6 and Mamba-2 in parallel in every block, fused by a learned gate",
        config: |scale, vocab, context| Config::Groundthink(GroundThinkConfig::of(scale, vocab, context)),
    },
    ModelSpec {
        name: "mamba2",
        about: "Mamba-2 alone (Dao & Gu 2024)",
        config: |scale, vocab, context| Config::Mamba2(Mamba2Config::of(scale, vocab, context)),
    },
    ModelSpec {
        name: "rwkv6",
        about: "RWKV-6 alone (Peng et al. 2024)",
        config: |scale, vocab, context| Config::Rwkv6(Rwkv6Config::of(scale, vocab, context)),
    },
];

/// The model of that name.
pub fn find(name: &str) -> Option<&'static ModelSpec> {
    MODELS.iter().find(|m| m.name == name)
}

/// A language model: tokens and state in, hidden states, logits or losses out.
pub trait LanguageModel: Send + Sync {
    /// Its configuration.
    fn config(&self) -> Config;

    /// Its parameters.
    fn params(&self) -> &Params;

    /// The state before any token, for `batch` sequences.
    fn new_state(&self, batch: usize) -> Result<State>;

    /// Runs `tokens` ([B, T] flat, B = the state's batch) from `state`, which is carried forward.
    /// Returns the normed hidden states that the head reads, [B·T, d].
    fn trunk(&self, tape: &Tape, tokens: &[u32], state: &mut State) -> Result<Var>;

    /// The name of the output embedding.
    fn head(&self) -> &'static str;

    /// Its parameter and work counts.
    fn census(&self) -> Census {
        self.config().census()
    }

    /// The most positions it can hold in its state, if limited.
    fn window(&self) -> Option<usize>;

    /// The branch that a parameter belongs to.
    fn branch_of(&self, _name: &str) -> Option<Branch> {
        None
    }

    /// The same model with one branch's output zeroed, if it has branches (S4).
    fn without(&self, _branch: Branch) -> Option<Box<dyn LanguageModel>> {
        None
    }

    /// How fast each layer's branches forget at every position of a text read from an empty state, [T, channels]:
    /// RWKV-6's decay w and Mamba-2's step size Δ. None for a model that has no such thing.
    fn paces(&self, _tokens: &[u32]) -> Result<Vec<(Branch, Tensor)>> {
        Ok(Vec::new())
    }

    /// The same model on the device that was chosen, for computing in this precision there.
    fn placed(&self, precision: Precision) -> Result<Box<dyn LanguageModel>> {
        Ok(self.with_params(self.params().placed(device::current(), precision)?))
    }

    /// The same model over other parameters.
    fn with_params(&self, params: Params) -> Box<dyn LanguageModel> {
        self.config().build(params)
    }

    /// Hidden states of every position without a record of how they came to be, [B·T, d].
    fn hidden(&self, tokens: &[u32], state: &mut State) -> Result<Tensor> {
        on_worker(|| Ok(self.trunk(&Tape::off(), tokens, state)?.tensor().clone()))
    }

    /// Logits of every position, [B·T, V].
    fn forward(&self, tokens: &[u32], state: &mut State) -> Result<Tensor> {
        let hidden = self.hidden(tokens, state)?;
        self.logits(hidden)
    }

    /// Logits of the last position of every sequence, [B, V].
    fn last_logits(&self, tokens: &[u32], state: &mut State) -> Result<Tensor> {
        let (rows, batch) = (tokens.len(), state.batch());
        let hidden = self.hidden(tokens, state)?;
        let width = hidden.dim(1)?;
        let last = hidden.reshape((batch, rows / batch, width))?.narrow(1, rows / batch - 1, 1)?;
        self.logits(last.squeeze(1)?.contiguous()?)
    }

    /// The likeliest continuation of `prompt`: at most `limit` tokens, as many as the window has room for,
    /// up to but without `end`.
    fn continue_greedily(&self, prompt: &[u32], limit: usize, end: Option<u32>) -> Result<Vec<u32>> {
        let room = self.window().map_or(limit, |w| limit.min((w + 1).saturating_sub(prompt.len())));
        let (mut state, mut new) = (self.new_state(1)?, Vec::new());
        let mut fed = prompt.to_vec();
        on_two_workers(|| {
            while new.len() < room {
                let best = likeliest(&self.last_logits(&fed, &mut state)?)?;
                if Some(best) == end {
                    break;
                }
                new.push(best);
                fed = vec![best];
            }
            Ok(new)
        })
    }

    /// The head: hidden states [N, d] to logits [N, V].
    fn logits(&self, hidden: Tensor) -> Result<Tensor> {
        let head = Var::constant(self.params().tensor(self.head())?);
        let hidden = Var::constant(hidden);
        on_worker(|| Ok(linear(&Tape::off(), &hidden, &head, None, Layout::OutIn)?.tensor().clone()))
    }

    /// The loss of every position in nats, given what follows each token.
    fn losses(&self, tokens: &[u32], targets: &[u32], state: &mut State) -> Result<Vec<f64>> {
        let hidden = self.hidden(tokens, state)?;
        let head = self.params().tensor(self.head())?;
        on_worker(|| token_losses(&hidden, &head, targets))
    }
}

/// The same model with weights of its own and room for at least so many positions: learned ones that it lacks
/// are those it has, repeated. To measure what a longer context costs, never how well it is predicted.
pub fn with_positions(model: &dyn LanguageModel, positions: usize) -> Result<Box<dyn LanguageModel>> {
    match model.config() {
        Config::Gpt2(config) if config.n_positions < positions => {
            let longer = Config::Gpt2(Gpt2Config { n_positions: positions, ..config.clone() });
            let tensor = |name: &str| {
                let own = model.params().exact_of(name).ok()?;
                if name != gpt2::POSITIONS {
                    return Some(own);
                }
                let repeated = vec![own; positions.div_ceil(config.n_positions)];
                Tensor::cat(&repeated, 0).and_then(|all| all.narrow(0, 0, positions)).ok()
            };
            let dtype = model.params().flat().dtype();
            let params = Params::from_tensors(&longer.declare(), dtype, tensor)?;
            Ok(longer.build(params.like(model.params())?))
        }
        _ => Ok(model.with_params(model.params().deep_clone()?)),
    }
}

/// Checks what every `trunk` needs: whole sequences, and room for them.
pub(crate) fn check_tokens(model: &dyn LanguageModel, tokens: &[u32], state: &State) -> Result<()> {
    let batch = state.batch();
    if tokens.is_empty() || !tokens.len().is_multiple_of(batch) {
        bail!("{} tokens are not {batch} whole sequences", tokens.len());
    }
    let end = state.position() + tokens.len() / batch;
    match model.window() {
        Some(window) if end > window => bail!(
            "{} positions do not fit the window of {window} ({} are in the state)",
            end,
            state.position()
        ),
        _ => Ok(()),
    }
}
