//! A language model: a network that knows its configuration, with logits, losses and continuations.

use candle_core::{Result, Tensor};

use super::architectures::Config;
use super::model_stats::ModelStats;
use super::network::{Branch, Hybrid, Network};
use super::params::Params;
use super::state::State;
use crate::device::{Compute, Precision};
use crate::ops::{Layout, Tape, Var, likeliest, linear, on_two_workers, on_worker, token_losses};

/// A language model: tokens and state in, hidden states, logits or losses out.
///
/// # Example
///
/// A model that has learnt nothing is about as good as a uniform guess, and reading a text in two halves is reading
/// it in one piece:
///
/// ```
/// use v5gate::{models, scale};
///
/// let scale = scale::find("smoke").expect("a scale");
/// let (vocab_size, context) = (256, 64);
/// let config = models::find("groundthink").expect("a model").config;
/// let model = config(scale, vocab_size, context).init(1)?;
///
/// let tokens: Vec<u32> = (0..33).map(|i| i * 7 % 256).collect();
/// let (inputs, targets) = (&tokens[..32], &tokens[1..]);
/// let losses = model.losses(inputs, targets, &mut model.new_state(1)?)?;
/// let mean = losses.iter().sum::<f64>() / 32.0;
/// assert!((mean - (vocab_size as f64).ln()).abs() < 0.5, "{mean} nats per token");
///
/// let mut state = model.new_state(1)?;
/// let mut halves = model.losses(&inputs[..16], &targets[..16], &mut state)?;
/// halves.extend(model.losses(&inputs[16..], &targets[16..], &mut state)?);
/// assert_eq!(state.position(), 32);
/// assert!(losses.iter().zip(&halves).all(|(whole, half)| (whole - half).abs() < 1e-4));
/// # Ok::<(), candle_core::Error>(())
/// ```
pub trait LanguageModel: Network {
    /// Its configuration.
    fn config(&self) -> Config;

    /// Its network over other parameters, with the same configuration.
    fn over(&self, params: Params) -> Box<dyn LanguageModel> {
        Box::new(Model { config: self.config(), network: self.with_params(params) })
    }

    /// Its parameter and work counts.
    fn model_stats(&self) -> ModelStats {
        self.config().model_stats()
    }

    /// The same model with one branch's output zeroed, if it has branches (state test S4).
    fn without(&self, branch: Branch) -> Option<Box<dyn LanguageModel>> {
        let network = self.as_hybrid()?.without(branch);
        Some(Box::new(Model { config: self.config(), network }))
    }

    /// The same model on a device, for computing in this precision there.
    fn to_device(&self, on: &Compute, precision: Precision) -> Result<Box<dyn LanguageModel>> {
        Ok(self.over(self.params().to_device(on, precision)?))
    }

    /// Hidden states of every position without a record of how they came to be.
    ///
    /// # Shapes
    /// - `tokens`: [B, T], flat, where B is the state's batch
    /// - result: [B·T, d]
    fn hidden(&self, tokens: &[u32], state: &mut State) -> Result<Tensor> {
        on_worker(|| Ok(self.backbone(&Tape::no_grad(), tokens, state)?.tensor().clone()))
    }

    /// Logits of every position.
    ///
    /// # Shapes
    /// - `tokens`: [B, T], flat, where B is the state's batch
    /// - result: [B·T, V]
    fn forward(&self, tokens: &[u32], state: &mut State) -> Result<Tensor> {
        let hidden = self.hidden(tokens, state)?;
        self.logits(hidden)
    }

    /// Logits of the last position of every sequence.
    ///
    /// # Shapes
    /// - `tokens`: [B, T], flat, where B is the state's batch
    /// - result: [B, V]
    fn last_logits(&self, tokens: &[u32], state: &mut State) -> Result<Tensor> {
        let (rows, batch) = (tokens.len(), state.batch());
        let hidden = self.hidden(tokens, state)?;
        let width = hidden.dim(1)?;
        let last = hidden.reshape((batch, rows / batch, width))?.narrow(1, rows / batch - 1, 1)?;
        self.logits(last.squeeze(1)?.contiguous()?)
    }

    /// The likeliest continuation of `prompt`: at most `limit` tokens, as many as the window has room for, up to but
    /// without `end`.
    ///
    /// # Shapes
    /// - `prompt`: [1, T]
    /// - result: [1, at most `limit`]
    fn continue_greedily(&self, prompt: &[u32], limit: usize, end: Option<u32>) -> Result<Vec<u32>> {
        let room = self.window().map_or(limit, |w| limit.min((w + 1).saturating_sub(prompt.len())));
        let (mut state, mut new) = (self.new_state(1)?, Vec::new());
        let mut input = prompt.to_vec();
        on_two_workers(|| {
            while new.len() < room {
                let best = likeliest(&self.last_logits(&input, &mut state)?)?;
                if Some(best) == end {
                    break;
                }
                new.push(best);
                input = vec![best];
            }
            Ok(new)
        })
    }

    /// The head.
    ///
    /// # Shapes
    /// - `hidden`: [N, d]
    /// - result: [N, V]
    fn logits(&self, hidden: Tensor) -> Result<Tensor> {
        let head = Var::constant(self.params().tensor(self.head())?);
        let hidden = Var::constant(hidden);
        on_worker(|| Ok(linear(&Tape::no_grad(), &hidden, &head, None, Layout::OutIn)?.tensor().clone()))
    }

    /// The cross-entropy of what follows each token, in nats.
    ///
    /// # Shapes
    /// - `tokens`, `targets`: [B, T], flat, where B is the state's batch
    /// - result: B·T numbers
    fn losses(&self, tokens: &[u32], targets: &[u32], state: &mut State) -> Result<Vec<f64>> {
        let hidden = self.hidden(tokens, state)?;
        let head = self.params().tensor(self.head())?;
        on_worker(|| token_losses(&hidden, &head, targets))
    }
}

/// A network with its configuration.
struct Model {
    config: Config,
    network: Box<dyn Network>,
}

impl Network for Model {
    fn params(&self) -> &Params {
        self.network.params()
    }

    fn with_params(&self, params: Params) -> Box<dyn Network> {
        self.network.with_params(params)
    }

    fn new_state(&self, batch: usize) -> Result<State> {
        self.network.new_state(batch)
    }

    fn backbone(&self, tape: &Tape, tokens: &[u32], state: &mut State) -> Result<Var> {
        self.network.backbone(tape, tokens, state)
    }

    fn head(&self) -> &'static str {
        self.network.head()
    }

    fn window(&self) -> Option<usize> {
        self.network.window()
    }

    fn as_hybrid(&self) -> Option<&dyn Hybrid> {
        self.network.as_hybrid()
    }
}

impl LanguageModel for Model {
    fn config(&self) -> Config {
        self.config.clone()
    }
}

impl Config {
    /// A model of this configuration over given parameters.
    pub fn build(&self, params: Params) -> Box<dyn LanguageModel> {
        Box::new(Model { config: self.clone(), network: self.network(params) })
    }

    /// A freshly initialised model (float32), determined by `seed`.
    pub fn init(&self, seed: u64) -> Result<Box<dyn LanguageModel>> {
        Ok(self.build(Params::init(&self.declare(), seed)?))
    }
}

/// The same model with weights of its own and room for at least so many positions: learned ones that it lacks
/// are those it has, repeated. To measure what a longer context costs, never how well it is predicted.
pub fn with_positions(model: &dyn LanguageModel, positions: usize) -> Result<Box<dyn LanguageModel>> {
    let Some((longer, parameter)) = model.config().with_positions(positions) else {
        return Ok(model.over(model.params().deep_clone()?));
    };
    let tensor = |name: &str| {
        let own = model.params().exact_of(name).ok()?;
        if name != parameter {
            return Some(own);
        }
        let repeated = vec![own.clone(); positions.div_ceil(own.dim(0).ok()?)];
        Tensor::cat(&repeated, 0).and_then(|all| all.narrow(0, 0, positions)).ok()
    };
    let dtype = model.params().flat().dtype();
    let params = Params::from_tensors(&longer.declare(), dtype, tensor)?;
    Ok(longer.build(params.like(model.params())?))
}
