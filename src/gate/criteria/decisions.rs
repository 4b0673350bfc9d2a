//! What is decided at 8M: graduation to 30M, and should_scale.

use super::families::{AT_8M, GATE, NOWHERE};
use crate::evidence::Metric as M;
use crate::gate::citation::Citation::{R, Section};
use crate::gate::criterion::Criterion;
use crate::gate::rule::Rule;

const DECISION: Criterion = Criterion { group: "decisions", ..AT_8M };

pub(super) const ROWS: &[Criterion] = &[
    Criterion {
        id: "graduation-8m",
        claim: "GO from 8M to 30M",
        why: "One Excellent or two Promising, no red line, and should_scale agrees: GO needs all.",
        source: &[R(9), Section("Graduation Criteria")],
        required: GATE,
        informs: NOWHERE,
        rule: Rule::all(&["graduation-rule", "no-red-line", "should-scale"]),
        ..DECISION
    },
    Criterion {
        id: "graduation-rule",
        claim: "At least one Excellent or two Promising",
        why: "The rule's text governs, not its first example.",
        source: &[R(9), Section("Graduation Criteria")],
        rule: Rule::at_least_of(1, &["graduation-excellent", "graduation-promising"]),
        ..DECISION
    },
    Criterion {
        id: "graduation-excellent",
        claim: "At least one practical threshold is Excellent",
        why: "Half of the graduation rule.",
        source: &[R(9), Section("Graduation Criteria")],
        rule: Rule::at_least_of(
            1,
            &["loss-excellent", "statefulness-excellent", "speed-excellent", "memory-excellent"],
        ),
        ..DECISION
    },
    Criterion {
        id: "graduation-promising",
        claim: "At least two practical thresholds are Promising",
        why: "Half of the graduation rule.",
        source: &[R(9), Section("Graduation Criteria")],
        rule: Rule::at_least_of(
            2,
            &["loss-promising", "statefulness-promising", "speed-promising", "memory-promising"],
        ),
        ..DECISION
    },
    Criterion {
        id: "no-red-line",
        claim: "No red line is crossed",
        why: "Stop and fix: loss, statefulness, stability, scaling.",
        source: &[R(8), R(9), R(17), Section("Red Line Thresholds")],
        rule: Rule::all(&["loss-ratio-red-line", "statefulness-not-below", "stability", "scaling"]),
        ..DECISION
    },
    Criterion {
        id: "should-scale",
        claim: "should_scale says yes",
        why: "Computed as the document writes it.",
        source: &[R(8), R(9), Section("Decision Logic")],
        rule: Rule::all(&["loss-ratio-viable", "should-scale-advantage"]),
        ..DECISION
    },
    Criterion {
        id: "should-scale-advantage",
        claim: "Two clear advantages, or one and a loss ratio below 1.05",
        why: "Rule 2 of should_scale.",
        source: &[R(9), Section("Decision Logic")],
        rule: Rule::at_least_of(1, &["should-scale-two", "should-scale-trade"]),
        ..DECISION
    },
    Criterion {
        id: "should-scale-two",
        claim: "At least two clear advantages",
        why: "Branch of should_scale.",
        source: &[R(9), Section("Decision Logic")],
        rule: Rule::at_least_of(2, &["advantage-statefulness", "advantage-speed", "advantage-memory"]),
        ..DECISION
    },
    Criterion {
        id: "should-scale-trade",
        claim: "One clear advantage and a loss ratio below 1.05",
        why: "Branch of should_scale: \"balanced trade-off\".",
        source: &[R(9), Section("Decision Logic")],
        rule: Rule::all(&["should-scale-one", "loss-close"]),
        ..DECISION
    },
    Criterion {
        id: "should-scale-one",
        claim: "At least one clear advantage",
        why: "Branch of should_scale.",
        source: &[R(9), Section("Decision Logic")],
        rule: Rule::at_least_of(1, &["advantage-statefulness", "advantage-speed", "advantage-memory"]),
        ..DECISION
    },
    Criterion {
        id: "loss-close",
        claim: "GroundThink's loss is below 1.05 times GPT-2's",
        why: "Strict, as should_scale writes it.",
        source: &[R(9), Section("Decision Logic")],
        metrics: &[M::ValidationLoss],
        rule: Rule::ratio_below(1.05),
        ..DECISION
    },
    Criterion {
        id: "advantage-statefulness",
        claim: "The statefulness ratio is above 1.1",
        why: "A clear advantage in should_scale.",
        source: &[R(9), Section("Decision Logic")],
        metrics: &[M::StatefulnessScore],
        rule: Rule::ratio_above(1.1),
        ..DECISION
    },
    Criterion {
        id: "advantage-speed",
        claim: "The speed ratio is above 1.1",
        why: "A clear advantage in should_scale.",
        source: &[R(9), Section("Decision Logic")],
        metrics: &[M::GenerationTokensPerSecond],
        rule: Rule::ratio_above(1.1),
        ..DECISION
    },
    Criterion {
        id: "advantage-memory",
        claim: "The memory ratio, GPT-2 over GroundThink, is above 1.1",
        why: "A clear advantage in should_scale.",
        source: &[R(9), Section("Decision Logic")],
        metrics: &[M::PeakBytes],
        rule: Rule::ratio_below(1.0 / 1.1),
        ..DECISION
    },
];
