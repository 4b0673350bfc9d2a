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
        self.sound.model_stats()
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
        self.sound.window()
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
            Fault::Leaks => {
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
