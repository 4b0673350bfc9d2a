//! `SCALES`: the named sizes. A scale fixes the baseline's dimensions (ruling R1: the labels are
//! names, the dimensions are the specification); every model derives its own from these by code
//! (ruling R3). To add a scale, add a row.

use serde::Serialize;

/// What a scale is for, which decides the criteria that apply to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Seconds to minutes on a laptop: proves the path, not the architecture.
    Smoke,
    /// Real text on a CPU: proves that both models learn more than counting.
    Study,
    /// One of the four sizes that the V5 document gates.
    Gate,
}

/// A named size: the dimensions of its GPT-2.
///
/// # Example
///
/// ```
/// use v5gate::scale::{self, SCALES, Tier};
///
/// let scale = scale::find("8M").expect("a scale");
/// assert_eq!((scale.n_layer, scale.n_head, scale.d_model, scale.d_ff), (6, 6, 384, 1536));
///
/// let gated = SCALES.iter().filter(|scale| scale.tier == Tier::Gate).map(|scale| scale.name);
/// assert_eq!(gated.collect::<Vec<_>>(), ["3.5M", "8M", "30M", "125M"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Scale {
    /// The label, as used on the command line and in ledgers.
    pub name: &'static str,
    /// What the scale is for.
    pub tier: Tier,
    /// Transformer blocks.
    pub n_layer: usize,
    /// Attention heads; divides `d_model`.
    pub n_head: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Width of the feed-forward layer.
    pub d_ff: usize,
}

const fn row(name: &'static str, tier: Tier, n_layer: usize, n_head: usize, d_model: usize) -> Scale {
    Scale { name, tier, n_layer, n_head, d_model, d_ff: 4 * d_model }
}

/// Every scale, smallest first. Ruling R1 fixes the last four; ruling R2 gives 30M eight heads.
pub const SCALES: &[Scale] = &[
    row("smoke", Tier::Smoke, 2, 2, 64),
    row("study", Tier::Study, 3, 4, 192),
    row("3.5M", Tier::Gate, 3, 4, 256),
    row("8M", Tier::Gate, 6, 6, 384),
    row("30M", Tier::Gate, 12, 8, 512),
    row("125M", Tier::Gate, 12, 12, 768),
];

/// The scale of that name.
pub fn find(name: &str) -> Option<&'static Scale> {
    SCALES.iter().find(|s| s.name == name)
}
