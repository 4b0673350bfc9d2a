//! The statefulness score beside GPT-2's.

use super::families::{ACCURACY, ALL, COMPARING, NOWHERE};
use super::recall_metrics::SCORED;
use crate::evidence::Metric as M;
use crate::gate::citation::Citation::{Pass, R, Section};
use crate::gate::criterion::{Criterion, ModelScope};
use crate::gate::rule::Rule;

const STATEFUL: Criterion = Criterion { group: "statefulness", ..COMPARING };

pub(super) const ROWS: &[Criterion] = &[
    Criterion {
        id: "statefulness-significantly-better",
        claim: "GroundThink's statefulness score is significantly better",
        why: "PASS 4: by ruling R7, 5 points of accuracy.",
        source: &[R(7), R(17), Pass(4)],
        metrics: &[M::StatefulnessScore],
        rule: Rule::significantly_better(ACCURACY),
        ..STATEFUL
    },
    Criterion {
        id: "statefulness-not-below",
        claim: "GroundThink's statefulness score is not below GPT-2's",
        why: "Red line: stop and fix.",
        source: &[R(17), Section("Red Line Thresholds")],
        metrics: &[M::StatefulnessScore],
        rule: Rule::ratio_at_least(1.0),
        ..STATEFUL
    },
    Criterion {
        id: "statefulness-advantage",
        claim: "GroundThink has a measurable statefulness advantage",
        why: "FAIL trigger: the architecture's hypothesis failed.",
        source: &[R(15), R(17), Section("V5 FAIL Triggers")],
        metrics: &[M::StatefulnessScore],
        rule: Rule::MEASURABLY_BETTER,
        ..STATEFUL
    },
    Criterion {
        id: "statefulness-is-mean",
        claim: "The statefulness score is the mean of its tests",
        why: "A score that says otherwise than its parts was not measured.",
        source: &[R(14), R(17)],
        required: ALL,
        informs: NOWHERE,
        scope: ModelScope::Each,
        metrics: SCORED,
        rule: Rule::mean_is(M::StatefulnessScore),
        ..STATEFUL
    },
    Criterion {
        id: "statefulness-off-the-floor",
        claim: "At least one model's statefulness score lies above chance",
        why: "Both models at the floor is not a draw.",
        source: &[R(17)],
        metrics: &[M::StatefulnessScore],
        rule: Rule::EITHER_ABOVE_CHANCE,
        ..STATEFUL
    },
];
