//! Does a forward pass work at all, and does an untrained model start undecided? (G1, G2)

use super::{Probe, Reading, Result, Subject};
use crate::evidence::{Condition, Metric as M};
use crate::models::LanguageModel;
use crate::ops::to_vec_f64;

pub(super) const PROBE: Probe = Probe {
    id: "forward",
    about: "finite logits of the right shape, and the entropy an untrained model starts with",
    metrics: &[M::ForwardFinite, M::InitialEntropyShare],
    ask,
};

/// Tokens looked at.
const TOKENS: usize = 64;

fn ask(s: &Subject<'_>) -> Result<Vec<Reading>> {
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
        Reading::new(M::InitialEntropyShare, mean / (vocab as f64).ln()).under(Condition::Untrained),
    ])
}

/// Entropy of softmax(logits) in nats.
fn entropy(logits: &[f64]) -> f64 {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|z| (z - max).exp()).sum();
    let mean: f64 = logits.iter().map(|z| (z - max).exp() * (z - max)).sum::<f64>() / sum;
    sum.ln() - mean
}
