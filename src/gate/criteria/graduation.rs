//! Graduation tests: the model runs, is undecided at first, learns, and keeps its state in bounds.

use super::families::{ALL, GATE, NOWHERE, ROW, SMALLER};
use crate::evidence::Condition::Untrained;
use crate::evidence::Metric as M;
use crate::gate::citation::Citation::{Pass, R, Test};
use crate::gate::criterion::{Criterion, ModelScope};
use crate::gate::rule::Rule;

const GRADUATION: Criterion = Criterion { group: "graduation", scope: ModelScope::GroundThink, ..ROW };

pub(super) const ROWS: &[Criterion] = &[
    Criterion {
        id: "G1",
        claim: "The forward pass is finite and of the right shape",
        why: "The model runs at all.",
        source: &[Test("G1"), Pass(1)],
        metrics: &[M::ForwardFinite],
        rule: Rule::HOLDS,
        ..GRADUATION
    },
    Criterion {
        id: "causal",
        claim: "No prediction changes with a token that comes after it",
        why: "A model that sees the future needs no memory and no modelling.",
        source: &[R(5), R(14)],
        scope: ModelScope::Each,
        metrics: &[M::Causal],
        rule: Rule::HOLDS,
        ..GRADUATION
    },
    Criterion {
        id: "G2",
        claim: "The untrained model is undecided",
        why: "An initialisation with opinions costs training to undo.",
        source: &[Test("G2"), Pass(1)],
        condition: Untrained,
        metrics: &[M::InitialEntropyShare],
        rule: Rule::at_least(0.9),
        ..GRADUATION
    },
    Criterion {
        id: "G3-loss-falls",
        claim: "Training lowers the loss of both models",
        why: "A model that does not learn is not judged further.",
        source: &[Test("G3"), Pass(1)],
        scope: ModelScope::Each,
        metrics: &[M::LossFell],
        rule: Rule::below(1.0),
        ..GRADUATION
    },
    Criterion {
        id: "G3-gradient-norm",
        claim: "Gradients neither vanish nor explode",
        why: "Outside, clipping or rounding decides the update.",
        source: &[Test("G3"), Pass(1)],
        metrics: &[M::GradientNorm],
        rule: Rule::within(0.05, 5.0),
        ..GRADUATION
    },
    Criterion {
        id: "G4",
        claim: "Both branches receive gradients of one magnitude",
        why: "A branch without gradient does not learn.",
        source: &[Test("G4"), Pass(1)],
        metrics: &[M::BranchGradientRatio],
        rule: Rule::within(0.1, 10.0),
        ..GRADUATION
    },
    Criterion {
        id: "G4-balanced",
        claim: "The branches' gradients are balanced",
        why: "The narrower band of the ruling, shown.",
        source: &[Test("G4")],
        required: NOWHERE,
        informs: ALL,
        metrics: &[M::BranchGradientRatio],
        rule: Rule::within(0.3, 3.0),
        ..GRADUATION
    },
    Criterion {
        id: "D1",
        claim: "The state does not grow with the text",
        why: "A state that grows tenfold from 64 to 512 tokens will not hold 32K.",
        source: &[Test("D1"), Pass(1)],
        metrics: &[M::StateGrowth],
        rule: Rule::below(10.0),
        ..GRADUATION
    },
    Criterion {
        id: "D1-stable",
        claim: "The state is stable",
        why: "The narrower band of the ruling, shown.",
        source: &[Test("D1")],
        required: NOWHERE,
        informs: ALL,
        metrics: &[M::StateGrowth],
        rule: Rule::below(2.0),
        ..GRADUATION
    },
    Criterion {
        id: "D2",
        claim: "States vary over inputs",
        why: "A state that does not vary carries no information.",
        source: &[Test("D2"), Pass(1)],
        metrics: &[M::StateVariance],
        rule: Rule::above(1e-6),
        ..GRADUATION
    },
    Criterion {
        id: "D4",
        claim: "The first token still influences the last logits",
        why: "Otherwise the context is shorter than it seems.",
        source: &[Test("D4"), Pass(1)],
        required: GATE,
        informs: SMALLER,
        metrics: &[M::FirstTokenInfluence],
        rule: Rule::at_least(0.01),
        ..GRADUATION
    },
];
