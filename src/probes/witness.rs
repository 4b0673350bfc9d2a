//! Stands between a probe and the model that it questions, and takes down what is put to the model and what it says
//! (ruling R22): a probe's own account of which windows it read, and what came of them, is compared with that.
//!
//! Digests become numbers: the first 48 bits, which a float64 holds exactly. Two that differ agree in these by an
//! accident of 2^-48.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use candle_core::Tensor;
use sha2::{Digest, Sha256};

use super::probe::Reading;
use crate::evidence::Metric as M;
use crate::models::{Branch, Config, Hybrid, LanguageModel, ModelStats, Network, Params, State};
use crate::ops::{Tape, Var, to_vec_f64};
use crate::statistics::mean;

/// Positions of the first text whose losses are computed once more, from logits.
const POSITIONS: usize = 64;

/// A model that is watched.
pub struct Witness<'a> {
    model: &'a dyn LanguageModel,
    /// Of every sequence so many tokens, the last ones, are taken down.
    kept: usize,
    notes: Mutex<Notes>,
}

/// What was seen.
#[derive(Default)]
struct Notes {
    /// Every sequence that was put to the model, by digest, and how often.
    sequences: BTreeMap<[u8; 32], u64>,
    /// Tokens that were read.
    tokens: u64,
    /// When the model was first asked something in this turn.
    asked: Option<Instant>,
    /// Digest chained over inputs and targets of every loss.
    taught: Sha256,
    /// Every loss that was given, in nats.
    losses: Vec<f64>,
    /// Relative distance of the first losses from those that their logits mean.
    from_logits: Option<f64>,
}

impl<'a> Witness<'a> {
    /// Watches a model; of long sequences the last `kept` tokens, which every model's window holds.
    pub fn of(model: &'a dyn LanguageModel, kept: usize) -> Self {
        Self { model, kept, notes: Mutex::default() }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, tokens: &[u32], batch: usize) {
        let mut notes = self.notes();
        notes.asked.get_or_insert_with(Instant::now);
        notes.tokens += tokens.len() as u64;
        for row in tokens.chunks((tokens.len() / batch.max(1)).max(1)) {
            let mut hash = Sha256::new();
            let last = &row[row.len().saturating_sub(self.kept)..];
            last.iter().for_each(|id| hash.update(id.to_le_bytes()));
            *notes.sequences.entry(hash.finalize().into()).or_default() += 1;
        }
    }

    /// A digest of all sequences, in whatever order and company they were read.
    pub fn sequences(&self, metric: M) -> Reading {
        let (notes, mut hash, mut count) = (self.notes(), Sha256::new(), 0);
        for (sequence, times) in &notes.sequences {
            hash.update(sequence);
            hash.update(times.to_le_bytes());
            count += times;
        }
        Reading { n: Some(count), ..Reading::new(metric, number(hash)) }
    }

    /// Begins a turn.
    pub fn begin_turn(&self) {
        let mut notes = self.notes();
        (notes.tokens, notes.asked) = (0, None);
    }

    /// Tokens that were read, in this turn where there are turns.
    pub fn tokens(&self) -> u64 {
        self.notes().tokens
    }

    /// When the model was first asked something in this turn.
    pub fn asked(&self) -> Option<Instant> {
        self.notes().asked
    }

    /// What is to be compared with a probe's account of the validation loss.
    pub fn validation(&self, told: &[Reading]) -> Vec<Reading> {
        let notes = self.notes();
        let seen = mean(&notes.losses);
        let of = |metric| told.iter().find(|r| r.metric == metric).map_or(f64::NAN, |r| r.value);
        let loss = (of(M::ValidationLoss) - seen).abs() / seen;
        let perplexity = (of(M::ValidationPerplexity).ln() - seen).abs() / seen;
        let error = if loss.is_nan() || loss > perplexity { loss } else { perplexity };
        vec![
            Reading::new(M::WindowsSeen, number(notes.taught.clone())),
            Reading::new(M::TokensScored, notes.losses.len() as f64),
            Reading::new(M::ValidationLossError, error),
            Reading::new(M::LossFromLogitsError, notes.from_logits.unwrap_or(f64::NAN)),
        ]
    }

    /// The mean of the first losses of one sequence beside the mean of those that the logits mean.
    fn check(&self, tokens: &[u32], targets: &[u32], losses: &[f64]) -> candle_core::Result<f64> {
        let n = tokens.len().min(POSITIONS);
        let logits = self.model.forward(&tokens[..n], &mut self.model.new_state(1)?)?;
        let vocab = logits.dim(1)?;
        let rows = to_vec_f64(&logits)?;
        let own: Vec<f64> =
            rows.chunks(vocab).zip(targets).map(|(z, target)| nats(z, *target as usize)).collect();
        Ok((mean(&losses[..n]) - mean(&own)).abs() / mean(&own))
    }
}

/// −ln softmax(logits)[target].
fn nats(logits: &[f64], target: usize) -> f64 {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|z| (z - max).exp()).sum();
    sum.ln() + max - logits.get(target).copied().unwrap_or(f64::NAN)
}

/// The first 48 bits of a digest.
fn number(hash: Sha256) -> f64 {
    let bytes: [u8; 32] = hash.finalize().into();
    bytes[..6].iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte)) as f64
}

impl LanguageModel for Witness<'_> {
    fn config(&self) -> Config {
        self.model.config()
    }
    fn over(&self, params: Params) -> Box<dyn LanguageModel> {
        self.model.over(params)
    }
    fn model_stats(&self) -> ModelStats {
        self.model.model_stats()
    }
    fn without(&self, branch: Branch) -> Option<Box<dyn LanguageModel>> {
        self.model.without(branch)
    }
    fn hidden(&self, tokens: &[u32], state: &mut State) -> candle_core::Result<Tensor> {
        self.note(tokens, state.batch());
        self.model.hidden(tokens, state)
    }
    fn forward(&self, tokens: &[u32], state: &mut State) -> candle_core::Result<Tensor> {
        self.note(tokens, state.batch());
        self.model.forward(tokens, state)
    }
    fn last_logits(&self, tokens: &[u32], state: &mut State) -> candle_core::Result<Tensor> {
        self.note(tokens, state.batch());
        self.model.last_logits(tokens, state)
    }
    fn logits(&self, hidden: Tensor) -> candle_core::Result<Tensor> {
        self.model.logits(hidden)
    }
    fn losses(&self, tokens: &[u32], targets: &[u32], state: &mut State) -> candle_core::Result<Vec<f64>> {
        self.note(tokens, state.batch());
        let (fresh, row) = (state.position() == 0, tokens.len() / state.batch().max(1));
        let losses = self.model.losses(tokens, targets, state)?;
        if fresh && self.notes().from_logits.is_none() {
            let error = self.check(&tokens[..row], targets, &losses)?;
            self.notes().from_logits = Some(error);
        }
        let mut notes = self.notes();
        for id in tokens.iter().chain(targets) {
            notes.taught.update(id.to_le_bytes());
        }
        notes.losses.extend_from_slice(&losses);
        Ok(losses)
    }
}

impl Network for Witness<'_> {
    fn params(&self) -> &Params {
        self.model.params()
    }
    fn with_params(&self, params: Params) -> Box<dyn Network> {
        self.model.with_params(params)
    }
    fn new_state(&self, batch: usize) -> candle_core::Result<State> {
        self.model.new_state(batch)
    }
    fn backbone(&self, tape: &Tape, tokens: &[u32], state: &mut State) -> candle_core::Result<Var> {
        self.note(tokens, state.batch());
        self.model.backbone(tape, tokens, state)
    }
    fn head(&self) -> &'static str {
        self.model.head()
    }
    fn window(&self) -> Option<usize> {
        self.model.window()
    }
    fn as_hybrid(&self) -> Option<&dyn Hybrid> {
        self.model.as_hybrid()
    }
}
