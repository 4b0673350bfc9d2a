//! How well does it predict held-out text? (Ruling R5: nats per token; perplexity is the
//! exponential of the mean, never a mean of perplexities.)

use super::probe::{Probe, ProbeData, Reading, Result, TrainedModel};
use super::scoring::ngram::bigram_loss;
use super::scoring::ngram::unigram_loss;
use crate::data::batches::{Batches, window_count};
use crate::data::cache::TokenFile;
use crate::data::dataset::{TextPart, windows_in};
use crate::evidence::{CurveKind, ItemValues, Metric as M};
use crate::models::LanguageModel;
use crate::statistics::{mean, t_interval};
use crate::train::load_model;

pub(super) const PROBE: Probe = Probe {
    id: "language-modeling",
    about: "loss on held-out text in disjoint windows, beside what counting achieves",
    metrics: &[
        M::ValidationLoss,
        M::ValidationPerplexity,
        M::HeldOutByShares,
        M::UniformLoss,
        M::UnigramLoss,
        M::BigramLoss,
        M::PlateauImprovement,
        M::WindowsSeen,
        M::TokensScored,
        M::ValidationLossError,
        M::LossFromLogitsError,
    ],
    data: ProbeData::HeldOut,
    measure,
    only: None,
    measure_checkpoint: None,
};

/// Ruling table, row Plateau: asked from so many tokens on; before, a loss has no reason to be level.
const PLATEAU_TOKENS: u64 = 500_000_000;
/// Windows in a forward pass.
const BATCH: usize = 8;

fn measure(s: &TrainedModel<'_>) -> Result<Vec<Reading>> {
    let vocab = s.dataset.tokenizer.vocab_size();
    let context = s.recipe.context_length;
    let windows = window_losses(s.model, &s.dataset.valid, context, usize::MAX)?;
    let items = ItemValues::independent(context as u64, &windows);
    let measured = Reading::over(M::ValidationLoss, items);
    let (loss, train, valid) = (measured.value, &s.dataset.train, &s.dataset.valid);
    let perplexity = Reading {
        n: measured.n,
        interval: measured.interval.map(|ends| ends.map(f64::exp)),
        ..Reading::new(M::ValidationPerplexity, loss.exp())
    };
    let mut readings = vec![
        measured,
        perplexity,
        Reading::new(M::UniformLoss, (vocab as f64).ln()),
        Reading::new(M::UnigramLoss, unigram_loss(train, valid, vocab)),
        Reading::new(M::BigramLoss, bigram_loss(train, valid, vocab)),
    ];
    let parts = &s.dataset.parts;
    let of_part = |part: &TextPart| &windows[windows_in(&part.valid, valid.len(), context)];
    if parts.len() > 1 {
        readings.extend((1..).zip(parts).map(|(number, part)| Reading {
            place: Some((CurveKind::LossByPart, number)),
            interval: t_interval(of_part(part)),
            ..Reading::new(M::ValidationLoss, mean(of_part(part)))
        }));
    }
    let by_shares: f64 = parts.iter().map(|part| part.share * mean(of_part(part))).sum();
    readings.push(Reading::new(M::HeldOutByShares, if parts.len() > 1 { by_shares } else { loss }));
    if s.run.curve.last().is_some_and(|r| r.tokens >= PLATEAU_TOKENS) {
        let earlier = window_losses(
            load_model(&s.earlier)?.to_device(s.compute, s.recipe.precision)?.as_ref(),
            valid,
            context,
            usize::MAX,
        )?;
        readings.push(Reading::new(M::PlateauImprovement, fall(mean(&earlier), loss)));
    }
    Ok(readings)
}

/// The share of a loss by which it has fallen.
fn fall(before: f64, after: f64) -> f64 {
    (before - after) / before
}

/// Mean loss of each of the first `most` disjoint windows, every one from an empty state.
pub fn window_losses(
    model: &dyn LanguageModel,
    file: &TokenFile,
    context: usize,
    most: usize,
) -> Result<Vec<f64>> {
    let batches = Batches::in_sequence(file, context)?;
    let windows = window_count(file.len(), context).min(most);
    let mut losses = Vec::with_capacity(windows);
    for first in (0..windows).step_by(BATCH) {
        let batch = batches.get(first, BATCH.min(windows - first))?;
        let mut state = model.new_state(batch.batch_size)?;
        let tokens = model.losses(&batch.inputs, &batch.targets, &mut state)?;
        losses.extend(tokens.chunks(context).map(mean));
    }
    Ok(losses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fall_is_a_share_of_what_it_was() {
        assert!((fall(2.0, 1.97) - 0.015).abs() < 1e-15);
        assert!(fall(2.0, 2.1) < 0.0);
        assert!(fall(f64::NAN, 2.0).is_nan());
    }
}
