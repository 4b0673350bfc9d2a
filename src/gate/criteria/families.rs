//! What the rows of the table have in common. `required` rows decide; rows that inform cannot change
//! the verdict, unless a required row is made of them, which reports say.

use crate::evidence::Condition::Trained;
use crate::gate::criterion::{Criterion, ModelScope};
use crate::gate::rule::{Effect, Rule};
use crate::scale::Tier;

pub(super) const ALL: &[Tier] = &[Tier::Smoke, Tier::Study, Tier::Gate];
pub(super) const GATE: &[Tier] = &[Tier::Gate];
pub(super) const SMALLER: &[Tier] = &[Tier::Smoke, Tier::Study];
pub(super) const NOWHERE: &[Tier] = &[];

/// Ruling R7: the least differences that count in practice.
pub(super) const PERPLEXITY: Effect = Effect::Perplexity(0.10);
pub(super) const ACCURACY: Effect = Effect::Absolute(0.05);
pub(super) const SPEED: Effect = Effect::Relative(0.20);
pub(super) const MEMORY: Effect = Effect::Relative(0.30);

/// What a row is unless it says otherwise: asked of each trained model, required everywhere.
pub(super) const ROW: Criterion = Criterion {
    id: "",
    group: "",
    claim: "",
    why: "",
    source: &[],
    required: ALL,
    informs: NOWHERE,
    scales: &[],
    scope: ModelScope::Each,
    condition: Trained,
    metrics: &[],
    rule: Rule::FINITE,
};
/// Comparisons decide only at the gated scales; below, they inform.
pub(super) const COMPARING: Criterion =
    Criterion { scope: ModelScope::Pair, required: GATE, informs: SMALLER, ..ROW };
/// Shown, and decides nothing by itself.
pub(super) const SHOWN: Criterion = Criterion { required: NOWHERE, informs: ALL, ..ROW };
/// The practical thresholds and what is decided by them, at 8M.
pub(super) const AT_8M: Criterion =
    Criterion { scope: ModelScope::Pair, required: NOWHERE, informs: GATE, scales: &["8M"], ..ROW };
