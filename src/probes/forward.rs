//! Does a forward pass work at all, does it look only back, and does an untrained model start
//! undecided? (G1, G2)

use super::causality::{blind_to_later_tokens, pieces, with_room};
use super::probe::{Probe, ProbeData, Reading, Result, TrainedModel};
use crate::evidence::{Condition, Metric as M};
use crate::models::LanguageModel;
use crate::ops::to_vec_f64;

pub(super) const PROBE: Probe = Probe {
    id: "forward",
    about: "finite logits of the right shape that no later token changes, and the entropy an untrained model starts with",
    metrics: &[M::ForwardFinite, M::Causal, M::InitialEntropyShare],
    data: ProbeData::HeldOut,
    measure,
    only: None,
    measure_checkpoint: None,
};

/// Tokens looked at.
const TOKENS: usize = 64;
/// Tokens between two places from which on the text is replaced: no divisor of a block that an
/// implementation might read at once.
const STRIDE: usize = 5;

fn measure(s: &TrainedModel<'_>) -> Result<Vec<Reading>> {
    let length = TOKENS.min(s.recipe.context_length).min(s.dataset.valid.len());
    let tokens: Vec<u32> = s.dataset.valid.tokens(0..length).collect();
    let vocab = s.dataset.tokenizer.vocab_size();
    let logits = |m: &dyn LanguageModel| m.forward(&tokens, &mut m.new_state(1)?);
    let trained = logits(s.model)?;
    let shape = trained.dims() == [length, vocab];
    let finite = to_vec_f64(&trained)?.iter().all(|x| x.is_finite());
    let start = to_vec_f64(&logits(s.untrained)?)?;
    let entropies: Vec<f64> = start.chunks(vocab).map(entropy).collect();
    let mean = entropies.iter().sum::<f64>() / entropies.len() as f64;
    Ok(vec![
        Reading::holds(M::ForwardFinite, shape && finite),
        Reading::holds(M::Causal, causal(s.model, &tokens, vocab as u32)? && causal_across_edges(s)?),
        Reading::new(M::InitialEntropyShare, mean / (vocab as f64).ln()).under(Condition::Untrained),
    ])
}

/// Whether neither logits nor losses change in one bit where only later tokens change.
fn causal(model: &dyn LanguageModel, text: &[u32], vocab: u32) -> Result<bool> {
    // What is asked about ends one token early, so that every position has a target.
    let length = text.len().saturating_sub(1);
    let bits = |xs: &[f64]| xs.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let read = |text: &[u32]| -> Result<(Vec<u64>, Vec<u64>)> {
        let (inputs, targets) = (&text[..length], &text[1..]);
        let logits = to_vec_f64(&model.forward(inputs, &mut model.new_state(1)?)?)?;
        let losses = model.losses(inputs, targets, &mut model.new_state(1)?)?;
        Ok((bits(&logits), bits(&losses)))
    };
    let (logits, losses) = read(text)?;
    let width = logits.len() / length.max(1);
    for first in (1..length).step_by(STRIDE) {
        let mut changed = text.to_vec();
        changed[first..].iter_mut().for_each(|id| *id = (*id + 1) % vocab);
        let (new_logits, new_losses) = read(&changed)?;
        // The token at `first` is an input there and the target of the position before.
        let same_logits = logits[..first * width] == new_logits[..first * width];
        if !same_logits || losses[..first - 1] != new_losses[..first - 1] {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The same across the edges of blocks; where the window is shorter than that, with room for it, too.
fn causal_across_edges(s: &TrainedModel<'_>) -> Result<bool> {
    let vocab = s.dataset.tokenizer.vocab_size() as u32;
    let text: Vec<u32> = s.dataset.valid.tokens(0..s.dataset.valid.len().min(1024)).collect();
    let (texts, longer) = (pieces(&text), with_room(s.model)?);
    let longer = longer.map_or(Ok(true), |model| blind_to_later_tokens(model.as_ref(), &texts, vocab))?;
    Ok(longer && blind_to_later_tokens(s.model, &texts, vocab)?)
}

/// Entropy of softmax(logits) in nats.
fn entropy(logits: &[f64]) -> f64 {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|z| (z - max).exp()).sum();
    let mean: f64 = logits.iter().map(|z| (z - max).exp() * (z - max)).sum::<f64>() / sum;
    sum.ln() - mean
}

#[cfg(test)]
mod tests {
    use candle_core::Tensor;

    use super::*;
    use crate::models::{Config, MODELS, Network, Params, State};
    use crate::ops::{Tape, Var};
    use crate::scale;

    fn text() -> Vec<u32> {
        (0..40).map(|t| t * t % 300).collect()
    }

    #[test]
    fn every_model_is_causal() {
        for spec in MODELS {
            let model = (spec.config)(scale::find("smoke").unwrap(), 300, 64).init(1).unwrap();
            assert!(causal(model.as_ref(), &text(), 300).unwrap(), "{}", spec.name);
        }
    }

    /// Adds to every position a little of the one that follows, or only shifts the losses.
    struct Peeks(Box<dyn LanguageModel>, bool);

    impl LanguageModel for Peeks {
        fn config(&self) -> Config {
            self.0.config()
        }
        fn losses(
            &self,
            tokens: &[u32],
            targets: &[u32],
            state: &mut State,
        ) -> candle_core::Result<Vec<f64>> {
            let mut losses = self.0.losses(tokens, targets, state)?;
            losses.rotate_left(1);
            Ok(losses)
        }
    }

    impl Network for Peeks {
        fn with_params(&self, params: Params) -> Box<dyn Network> {
            Box::new(Peeks(self.0.over(params), self.1))
        }
        fn params(&self) -> &Params {
            self.0.params()
        }
        fn new_state(&self, batch: usize) -> candle_core::Result<State> {
            self.0.new_state(batch)
        }
        fn head(&self) -> &'static str {
            self.0.head()
        }
        fn window(&self) -> Option<usize> {
            self.0.window()
        }
        fn backbone(&self, tape: &Tape, tokens: &[u32], state: &mut State) -> candle_core::Result<Var> {
            let hidden = self.0.backbone(tape, tokens, state)?;
            if !self.1 {
                return Ok(hidden);
            }
            let (h, rows) = (hidden.tensor(), tokens.len());
            let next = Tensor::cat(&[h.narrow(0, 1, rows - 1)?, h.narrow(0, 0, 1)?], 0)?;
            Ok(Var::constant((h + (next * 1e-3)?)?))
        }
    }

    #[test]
    fn a_peek_is_seen_in_logits_and_in_losses() {
        let config = (MODELS[1].config)(scale::find("smoke").unwrap(), 300, 64);
        for in_backbone in [true, false] {
            let model = Peeks(config.init(1).unwrap(), in_backbone);
            assert!(!causal(&model, &text(), 300).unwrap());
        }
    }
}
