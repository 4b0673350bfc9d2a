//! How large is the model, and how many bytes does a conversation cost it?

use super::{Probe, Reading, Result, Subject};
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
    ask,
};

fn ask(s: &Subject<'_>) -> Result<Vec<Reading>> {
    let census = s.model.census();
    let mut state = s.model.new_state(1)?;
    let tokens: Vec<u32> =
        s.dataset.valid.tokens(0..s.recipe.context_length.min(s.dataset.valid.len())).collect();
    s.model.hidden(&tokens, &mut state)?;
    let count = |metric, n: usize| Reading::new(metric, n as f64);
    Ok(vec![
        count(M::TotalParameters, census.total),
        count(M::EmbeddingParameters, census.embedding),
        count(M::PositionalParameters, census.positional),
        count(M::NonEmbeddingParameters, census.non_embedding),
        Reading::new(M::ForwardFlopsPerToken, census.forward_flops_per_token),
        count(M::StateBytes, state.bytes()),
    ])
}
