//! How many parameters a model has and how much work a token is, from its dimensions alone (rulings R1 and R3).

use serde::Serialize;

use super::params::Declared;

/// As many layers as bring a model nearest to the parameters of a scale's GPT-2.
pub(super) fn layers_to_match(target: usize, total: impl Fn(usize) -> usize) -> usize {
    let limit = 4 + target / (total(2) - total(1)).max(1);
    (1..=limit).min_by_key(|&layers| total(layers).abs_diff(target)).unwrap_or(1)
}

/// Elements of all parameters.
pub(super) fn count(declared: &[Declared]) -> usize {
    declared.iter().map(|d| d.shape.iter().product::<usize>()).sum()
}

/// How a model's parameters and work divide (rulings R1 and R3).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ModelStats {
    /// All parameters; a tied head counts once.
    pub total: usize,
    /// Token embedding, and the head where it is not tied.
    pub embedding: usize,
    /// Learned positions.
    pub positional: usize,
    /// Blocks and final norm.
    pub non_embedding: usize,
    /// Multiply-adds times two of one token's forward pass, with head and with attention or scan
    /// at half the trained context (the mean over positions).
    pub forward_flops_per_token: f64,
}

impl ModelStats {
    /// The counts of a model without positions, from its tensors and the multiply-adds of its layers.
    pub(super) fn of(declared: &[Declared], embedding: &str, head: &str, layers: usize) -> Self {
        let len = |name: &str| {
            let named = declared.iter().find(|d| d.name == name);
            named.map_or(0, |d| d.shape.iter().product())
        };
        let embedding = if embedding == head { len(head) } else { len(embedding) + len(head) };
        let total = count(declared);
        let forward_flops_per_token = 2.0 * (layers + len(head)) as f64;
        Self { total, embedding, positional: 0, non_embedding: total - embedding, forward_flops_per_token }
    }
}
