//! Models with a fault in them; everything that the fault leaves alone is passed on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use candle_core::{Result, Tensor};
use v5gate::models::{Config, Hybrid, LanguageModel, ModelStats, Network, Params, State};
use v5gate::ops::{Tape, Var, add, token_shift};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// The state is emptied before every token.
    ForgetsEveryToken,
    /// A new conversation begins where the last one ended.
    Leaks,
    /// Every position sees a little of the next.
    Peeks,
    /// The loss of a position is taken at the next one's target.
    ShiftsLosses,
    /// In training, every position is taught the token after the next.
    ShiftsTeaching,
    /// Every pass takes three milliseconds more.
    Dawdles,
    /// Weights tremble, as with dropout left on.
    Trembles,
    /// The convolution's tail is not carried on.
    DropsTail,
    /// One word is missing from the head.
    Narrow,
    /// So many nats are added to every loss that is asked for as such; benchmarks and recall, which score from
    /// logits, are left alone.
    Worse(f64),
    /// From this position on every position sees a little of the next; before it, nothing is wrong.
    PeeksFrom(usize),
    /// Every position sees a little of the next where several sequences are read at once.
    PeeksInBatches,
    /// Positions are counted from zero again in every call.
    PositionsFromZero,
    /// The older half of the cache is forgotten in every call.
    ForgetsKeys,
    /// The newest place of the cache is forgotten where several sequences are read at once.
    ForgetsNewestInBatches,
    /// A named part of the state is not carried on where several sequences are read at once.
    DropsInBatches(&'static str),
    /// A named part of the state is not carried on once so many tokens were read.
    DropsFrom(&'static str, usize),
    /// RWKV-6's state does not decay where tokens come one by one.
    UndecayedSteps,
    /// RWKV-6's bonus is ignored where no gradients are wanted.
    BonusIgnored,
    /// The model counts its parameters as if the head were the embedding.
    HidesHead,
    /// Losses are in bits.
    Bits,
    /// The window is said to be so long.
    Window(usize),
    /// The gate's map is ignored where no gradients are wanted.
    GateIgnored,
    /// A new conversation begins where the last one ended, where several are read at once.
    LeaksInBatches,
    /// Instead of an answer a shrug, in so many cases of a thousand.
    Shrugs(u64),
}

/// A model with a fault.
pub struct Faulty {
    sound: Box<dyn LanguageModel>,
    fault: Fault,
    left: Mutex<HashMap<usize, State>>,
    calls: AtomicU64,
}

/// That model with that fault.
pub fn faulty(sound: &dyn LanguageModel, fault: Fault) -> Box<dyn LanguageModel> {
    over(sound.over(sound.params().clone()), fault)
}

fn over(sound: Box<dyn LanguageModel>, fault: Fault) -> Box<dyn LanguageModel> {
    Box::new(Faulty { sound, fault, left: Mutex::default(), calls: AtomicU64::new(0) })
}

impl Faulty {
    fn left(&self) -> std::sync::MutexGuard<'_, HashMap<usize, State>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Token by token from nothing.
    fn forgetting(&self, tokens: &[u32], state: &mut State) -> Result<Var> {
        let (batch, time) = (state.batch(), tokens.len() / state.batch());
        let mut steps = Vec::new();
        for t in 0..time {
            let column: Vec<u32> = (0..batch).map(|b| tokens[b * time + t]).collect();
            *state = self.sound.new_state(batch)?;
            steps.push(self.sound.backbone(&Tape::no_grad(), &column, state)?.tensor().clone());
        }
        let width = steps[0].dim(1)?;
        Ok(Var::constant(Tensor::stack(&steps, 1)?.reshape((batch * time, width))?))
    }

    /// What this position sees, and a hundredth of what the next one does.
    fn peeking(&self, tape: &Tape, tokens: &[u32], state: &mut State) -> Result<Var> {
        let hidden = self.sound.backbone(tape, tokens, state)?;
        let (h, rows) = (hidden.tensor(), tokens.len());
        let next = Tensor::cat(&[h.narrow(0, 1, rows - 1)?, h.narrow(0, rows - 1, 1)?], 0)?;
        Ok(Var::constant((h + (next * 0.01)?)?))
    }

    /// What the position before sees.
    fn late(&self, tape: &Tape, tokens: &[u32], state: &mut State) -> Result<Var> {
        let hidden = self.sound.backbone(tape, tokens, state)?;
        let (batch, width) = (state.batch(), hidden.dims()[1]);
        let nothing = Tensor::zeros((batch, width), hidden.tensor().dtype(), hidden.tensor().device())?;
        let back = token_shift(tape, &hidden, &nothing)?;
        add(tape, &hidden, &back)
    }

    fn trembling(&self, tape: &Tape, tokens: &[u32], state: &mut State) -> Result<Var> {
        let off = 1e-3 * (self.calls.fetch_add(1, Ordering::Relaxed) % 7) as f64;
        let params = self.params().replaced(self.params().flat().affine(1.0 + off, 0.0)?)?;
        self.sound.with_params(params).backbone(tape, tokens, state)
    }

    /// What this position sees, and from `first` on a hundredth of what the next one does.
    fn peeking_from(&self, tape: &Tape, tokens: &[u32], state: &mut State, first: usize) -> Result<Var> {
        let (batch, start) = (state.batch(), state.position());
        let hidden = self.sound.backbone(tape, tokens, state)?;
        let (h, time) = (hidden.tensor(), tokens.len() / batch);
        let sees: Vec<f32> = (0..tokens.len())
            .map(|i| if i % time + 1 < time && start + i % time >= first { 0.01 } else { 0.0 })
            .collect();
        let next = Tensor::cat(&[h.narrow(0, 1, h.dim(0)? - 1)?, h.narrow(0, 0, 1)?], 0)?;
        let sees = Tensor::from_vec(sees, (tokens.len(), 1), h.device())?.to_dtype(h.dtype())?;
        Ok(Var::constant((h + next.broadcast_mul(&sees)?)?))
    }

    /// The parameters with some of them all one number.
    fn with(&self, number: impl Fn(&str) -> Option<f64>) -> Result<Box<dyn Network>> {
        let (params, mut parts) = (self.params(), Vec::new());
        for entry in params.entries() {
            let own = params.flat().narrow(0, entry.offset, entry.len)?;
            parts.push(number(&entry.name).map_or_else(|| Ok(own.clone()), |x| own.affine(0.0, x))?);
        }
        Ok(self.sound.with_params(params.replaced(Tensor::cat(&parts, 0)?)?))
    }

    /// The learned positions moved, so that the next token stands on the first of them.
    fn restarted(&self, tape: &Tape, tokens: &[u32], state: &mut State) -> Result<Var> {
        let (params, start) = (self.params(), state.position());
        let mut parts = Vec::new();
        for entry in params.entries() {
            let own = params.flat().narrow(0, entry.offset, entry.len)?;
            let moved = start * entry.shape.last().copied().unwrap_or(1);
            parts.push(match entry.name == "wpe.weight" && start > 0 {
                true => Tensor::cat(&[own.narrow(0, 0, moved)?, own.narrow(0, 0, entry.len - moved)?], 0)?,
                false => own,
            });
        }
        let params = params.replaced(Tensor::cat(&parts, 0)?)?;
        self.sound.with_params(params).backbone(tape, tokens, state)
    }

    /// The cache without some of its places.
    fn forgetful(&self, tape: &Tape, tokens: &[u32], state: &mut State, newest: bool) -> Result<Var> {
        let kept = state.position();
        if kept > 1 && (!newest || state.batch() > 1) {
            let gone = if newest { kept - 1..kept } else { 0..kept / 2 };
            *state = state.map(|_, t| {
                let keep: Vec<f32> = (0..kept).map(|p| if gone.contains(&p) { 0.0 } else { 1.0 }).collect();
                t.broadcast_mul(&Tensor::from_vec(keep, (1, kept, 1), t.device())?.to_dtype(t.dtype())?)
            })?;
        }
        self.sound.backbone(tape, tokens, state)
    }

    /// A part of the state emptied.
    fn dropping(&self, tape: &Tape, tokens: &[u32], state: &mut State, part: &str) -> Result<Var> {
        *state = state.map(|name, t| if name == part { t.zeros_like() } else { Ok(t.clone()) })?;
        self.sound.backbone(tape, tokens, state)
    }

    fn undecayed(&self, tape: &Tape, tokens: &[u32], state: &mut State) -> Result<Var> {
        // w = exp(-exp(ω)) with ω far below zero is one.
        let stays = |name: &str| match name {
            _ if name.ends_with("rwkv.time_decay") => Some(-30.0),
            _ if name.ends_with("rwkv.time_decay_w2") => Some(0.0),
            _ => None,
        };
        self.with(stays)?.backbone(tape, tokens, state)
    }

    fn without_tail(&self, tape: &Tape, tokens: &[u32], state: &mut State) -> Result<Var> {
        let cut = |(name, t): &(&'static str, Tensor)| {
            Ok((*name, if *name == "mamba.conv" { t.zeros_like()? } else { t.clone() }))
        };
        let layers = (0..state.n_layer()).map(|i| state.layer(i).iter().map(cut).collect::<Result<_>>());
        *state = State::new(state.batch(), layers.collect::<Result<_>>()?);
        self.sound.backbone(tape, tokens, state)
    }
}

impl LanguageModel for Faulty {
    fn config(&self) -> Config {
        self.sound.config()
    }
    fn model_stats(&self) -> ModelStats {
        match self.config() {
            Config::Gpt2(config) if self.fault == Fault::HidesHead => {
                Config::Gpt2(v5gate::models::Gpt2Config { tie_word_embeddings: true, ..config }).model_stats()
            }
            _ => self.sound.model_stats(),
        }
    }
    fn over(&self, params: Params) -> Box<dyn LanguageModel> {
        over(self.sound.over(params), self.fault)
    }

    fn forward(&self, tokens: &[u32], state: &mut State) -> Result<Tensor> {
        let hidden = self.hidden(tokens, state)?;
        let logits = self.logits(hidden)?;
        if self.fault == Fault::Narrow {
            return logits.narrow(1, 0, logits.dim(1)? - 1)?.contiguous();
        }
        Ok(logits)
    }

    fn last_logits(&self, tokens: &[u32], state: &mut State) -> Result<Tensor> {
        let hidden = self.hidden(tokens, state)?;
        let (batch, width) = (state.batch(), hidden.dim(1)?);
        let time = hidden.dim(0)? / batch;
        let last = hidden.reshape((batch, time, width))?.narrow(1, time - 1, 1)?.squeeze(1)?;
        let logits = self.logits(last.contiguous()?)?;
        let Fault::Shrugs(often) = self.fault else { return Ok(logits) };
        // Which answers are shrugs is drawn from what was asked, so that it repeats.
        let row = |b: usize| {
            let asked = tokens[b * time..(b + 1) * time].iter();
            let draw = asked.fold(0u64, |h, &id| {
                h.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(u64::from(id) + 1)
            });
            let row = logits.narrow(0, b, 1)?;
            if draw.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32 < often * (1 << 32) / 1000 {
                row.zeros_like()
            } else {
                Ok(row)
            }
        };
        Tensor::cat(&(0..batch).map(row).collect::<Result<Vec<_>>>()?, 0)
    }

    fn losses(&self, tokens: &[u32], targets: &[u32], state: &mut State) -> Result<Vec<f64>> {
        let mut targets = targets.to_vec();
        if self.fault == Fault::ShiftsLosses {
            targets.rotate_left(1);
        }
        // As the sound model does it, but over this trunk.
        let hidden = self.hidden(tokens, state)?;
        let head = self.params().tensor(self.head())?;
        let mut losses = v5gate::ops::token_losses(&hidden, &head, &targets)?;
        if self.fault == Fault::Bits {
            losses.iter_mut().for_each(|loss| *loss /= std::f64::consts::LN_2);
        }
        if let Fault::Worse(nats) = self.fault {
            losses.iter_mut().for_each(|loss| *loss += nats);
        }
        Ok(losses)
    }
}

impl Network for Faulty {
    fn params(&self) -> &Params {
        self.sound.params()
    }
    fn head(&self) -> &'static str {
        self.sound.head()
    }
    fn window(&self) -> Option<usize> {
        match self.fault {
            Fault::Window(tokens) => Some(tokens),
            _ => self.sound.window(),
        }
    }
    fn as_hybrid(&self) -> Option<&dyn Hybrid> {
        self.sound.as_hybrid()
    }
    fn with_params(&self, params: Params) -> Box<dyn Network> {
        self.over(params)
    }

    fn new_state(&self, batch: usize) -> Result<State> {
        match self.left().get(&batch) {
            Some(old) if self.fault == Fault::Leaks => Ok(old.clone()),
            Some(old) if self.fault == Fault::LeaksInBatches && batch > 1 => Ok(old.clone()),
            _ => self.sound.new_state(batch),
        }
    }

    fn backbone(&self, tape: &Tape, tokens: &[u32], state: &mut State) -> Result<Var> {
        match self.fault {
            Fault::ForgetsEveryToken => self.forgetting(tokens, state),
            Fault::Peeks => self.peeking(tape, tokens, state),
            Fault::ShiftsTeaching => self.late(tape, tokens, state),
            Fault::Trembles => self.trembling(tape, tokens, state),
            Fault::DropsTail => self.without_tail(tape, tokens, state),
            Fault::PeeksFrom(first) => self.peeking_from(tape, tokens, state, first),
            Fault::PeeksInBatches if state.batch() > 1 => self.peeking_from(tape, tokens, state, 0),
            Fault::PositionsFromZero => self.restarted(tape, tokens, state),
            Fault::ForgetsKeys => self.forgetful(tape, tokens, state, false),
            Fault::ForgetsNewestInBatches => self.forgetful(tape, tokens, state, true),
            Fault::DropsInBatches(part) if state.batch() > 1 => self.dropping(tape, tokens, state, part),
            Fault::DropsFrom(part, from) if state.position() >= from => {
                self.dropping(tape, tokens, state, part)
            }
            Fault::UndecayedSteps if tokens.len() == state.batch() => self.undecayed(tape, tokens, state),
            Fault::BonusIgnored if !tape.is_recording() => {
                let bonus = |name: &str| name.ends_with("time_faaaa").then_some(0.0);
                self.with(bonus)?.backbone(tape, tokens, state)
            }
            Fault::GateIgnored if !tape.is_recording() => {
                let gate =
                    |name: &str| (name.ends_with(".gate.weight") && !name.contains("rwkv")).then_some(0.0);
                self.with(gate)?.backbone(tape, tokens, state)
            }
            Fault::Leaks | Fault::LeaksInBatches => {
                let hidden = self.sound.backbone(tape, tokens, state)?;
                self.left().insert(state.batch(), state.clone());
                Ok(hidden)
            }
            Fault::Dawdles => {
                std::thread::sleep(std::time::Duration::from_millis(3));
                self.sound.backbone(tape, tokens, state)
            }
            _ => self.sound.backbone(tape, tokens, state),
        }
    }
}
