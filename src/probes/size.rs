//! How large is the model, and how many bytes does a conversation cost it?

use super::probe::{Probe, ProbeData, Reading, Result, TrainedModel};
use crate::evidence::Metric as M;

pub(super) const PROBE: Probe = Probe {
    id: "size",
    about: "parameters, work per token, and bytes of state after one trained context",
    metrics: &[
        M::TotalParameters,
        M::EmbeddingParameters,
        M::PositionalParameters,
        M::NonEmbeddingParameters,
        M::ForwardFlopsPerToken,
        M::StateBytes,
    ],
    data: ProbeData::HeldOut,
    measure,
    only: None,
    measure_checkpoint: None,
};

fn measure(s: &TrainedModel<'_>) -> Result<Vec<Reading>> {
    let model_stats = s.model.model_stats();
    let mut state = s.model.new_state(1)?;
    let tokens: Vec<u32> =
        s.dataset.valid.tokens(0..s.recipe.context_length.min(s.dataset.valid.len())).collect();
    s.model.hidden(&tokens, &mut state)?;
    let count = |metric, n: usize| Reading::new(metric, n as f64);
    Ok(vec![
        count(M::TotalParameters, model_stats.total),
        count(M::EmbeddingParameters, model_stats.embedding),
        count(M::PositionalParameters, model_stats.positional),
        count(M::NonEmbeddingParameters, model_stats.non_embedding),
        Reading::new(M::ForwardFlopsPerToken, model_stats.forward_flops_per_token),
        count(M::StateBytes, state.bytes()),
    ])
}
