//! How well does it predict held-out text? (Ruling R5: nats per token; perplexity is the
//! exponential of the mean, never a mean of perplexities.)

use super::{Probe, Reading, Result, Subject, bigram_loss, unigram_loss};
use crate::data::batches::{Batches, window_count};
use crate::data::cache::TokenFile;
use crate::evidence::Metric as M;
use crate::models::LanguageModel;
use crate::statistics::{mean, t_interval};

pub(super) const PROBE: Probe = Probe {
    id: "language-modeling",
    about: "loss on held-out text in disjoint windows, beside what counting achieves",
    metrics: &[M::ValidationLoss, M::ValidationPerplexity, M::UniformLoss, M::UnigramLoss, M::BigramLoss],
    ask,
};

/// Windows in a forward pass.
const BATCH: usize = 8;

fn ask(s: &Subject<'_>) -> Result<Vec<Reading>> {
    let vocab = s.dataset.tokenizer.vocab_size();
    let windows = window_losses(s.model, &s.dataset.valid, s.recipe.context_length, usize::MAX)?;
    let loss = mean(&windows);
    let n = Some((windows.len() * s.recipe.context_length) as u64);
    let interval = t_interval(&windows);
    let with = |metric, value, interval| Reading { n, interval, ..Reading::new(metric, value) };
    let (train, valid) = (&s.dataset.train, &s.dataset.valid);
    Ok(vec![
        with(M::ValidationLoss, loss, interval),
        with(M::ValidationPerplexity, loss.exp(), interval.map(|i| i.map(f64::exp))),
        Reading::new(M::UniformLoss, (vocab as f64).ln()),
        Reading::new(M::UnigramLoss, unigram_loss(train, valid, vocab)),
        Reading::new(M::BigramLoss, bigram_loss(train, valid, vocab)),
    ])
}

/// Mean loss of each of the first `most` disjoint windows, every one from an empty state.
pub(super) fn window_losses(
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
