//! What is decided at 8M: viable, exciting, a breakthrough, or to be reconsidered.

use super::families::{AT_8M, GATE, NOWHERE};
use crate::evidence::Metric as M;
use crate::gate::citation::Citation::{R, Section, Test};
use crate::gate::criterion::Criterion;
use crate::gate::rule::Rule;

const DECISION: Criterion = Criterion { group: "decisions", ..AT_8M };

pub(super) const ROWS: &[Criterion] = &[
    Criterion {
        id: "viable",
        claim: "The architecture is viable",
        why: "Not over 15 % worse on loss, and an advantage of over 20 % somewhere.",
        source: &[R(8), Section("The Bottom Line")],
        rule: Rule::all(&["loss-ratio-viable", "viable-advantage"]),
        ..DECISION
    },
    Criterion {
        id: "viable-advantage",
        claim: "An advantage of over 20 % in statefulness, speed, memory or context scaling",
        why: "Half of \"viable\".",
        source: &[Section("The Bottom Line")],
        rule: Rule::at_least_of(
            1,
            &["viable-statefulness", "viable-speed", "viable-memory", "viable-context"],
        ),
        ..DECISION
    },
    Criterion {
        id: "viable-statefulness",
        claim: "Statefulness is over 20 % better",
        why: "Counts towards \"viable\".",
        source: &[Section("The Bottom Line")],
        metrics: &[M::StatefulnessScore],
        rule: Rule::ratio_above(1.2),
        ..DECISION
    },
    Criterion {
        id: "viable-speed",
        claim: "Generation is over 20 % faster",
        why: "Counts towards \"viable\".",
        source: &[Section("The Bottom Line")],
        metrics: &[M::GenerationTokensPerSecond],
        rule: Rule::ratio_above(1.2),
        ..DECISION
    },
    Criterion {
        id: "viable-memory",
        claim: "Peak memory is over 20 % lower",
        why: "Counts towards \"viable\".",
        source: &[Section("The Bottom Line")],
        metrics: &[M::PeakBytes],
        rule: Rule::ratio_below(0.8),
        ..DECISION
    },
    Criterion {
        id: "viable-context",
        claim: "Time per token grows over 20 % less from 2K to 8K",
        why: "Counts towards \"viable\": context scaling.",
        source: &[Section("The Bottom Line")],
        metrics: &[M::CostTimeGrowth],
        rule: Rule::ratio_below(0.8),
        ..DECISION
    },
    Criterion {
        id: "exciting",
        claim: "The architecture is exciting",
        why: "Loss matched or beaten, statefulness over 40 %, efficiency over 50 % better.",
        source: &[Section("The Bottom Line")],
        rule: Rule::all(&["exciting-loss", "exciting-statefulness", "exciting-speed", "exciting-memory"]),
        ..DECISION
    },
    Criterion {
        id: "exciting-loss",
        claim: "GroundThink's loss is at most GPT-2's",
        why: "Counts towards \"exciting\".",
        source: &[Section("The Bottom Line")],
        metrics: &[M::ValidationLoss],
        rule: Rule::ratio_at_most(1.0),
        ..DECISION
    },
    Criterion {
        id: "exciting-statefulness",
        claim: "Statefulness is over 40 % better",
        why: "Counts towards \"exciting\".",
        source: &[Section("The Bottom Line")],
        metrics: &[M::StatefulnessScore],
        rule: Rule::ratio_above(1.4),
        ..DECISION
    },
    Criterion {
        id: "exciting-speed",
        claim: "Generation is over 50 % faster",
        why: "Counts towards \"exciting\".",
        source: &[Section("The Bottom Line")],
        metrics: &[M::GenerationTokensPerSecond],
        rule: Rule::ratio_above(1.5),
        ..DECISION
    },
    Criterion {
        id: "exciting-memory",
        claim: "Peak memory is over 50 % lower",
        why: "Counts towards \"exciting\".",
        source: &[Section("The Bottom Line")],
        metrics: &[M::PeakBytes],
        rule: Rule::ratio_below(0.5),
        ..DECISION
    },
    Criterion {
        id: "breakthrough",
        claim: "The architecture is a breakthrough",
        why: "Within 10 % on loss and twice as good on statefulness.",
        source: &[Section("The Bottom Line")],
        rule: Rule::all(&["loss-ratio-proceed", "breakthrough-statefulness"]),
        ..DECISION
    },
    Criterion {
        id: "breakthrough-statefulness",
        claim: "Statefulness is at least twice as good",
        why: "Counts towards \"breakthrough\".",
        source: &[Section("The Bottom Line")],
        metrics: &[M::StatefulnessScore],
        rule: Rule::ratio_at_least(2.0),
        ..DECISION
    },
    Criterion {
        id: "retention-advantage",
        claim: "GroundThink remembers over a measurably larger distance",
        why: "A clear state retention advantage.",
        source: &[R(19), Test("Iterations"), Section("The Red Line")],
        metrics: &[M::StatePersistence],
        rule: Rule::MEASURABLY_BETTER,
        ..DECISION
    },
    Criterion {
        id: "iterations",
        claim: "No three iterations in a row at 8M miss efficiency, retention or scaling",
        why: "Unmet means: reconsider the architecture fundamentally.",
        source: &[Test("Iterations"), Section("The Red Line")],
        required: GATE,
        informs: NOWHERE,
        rule: Rule::not_in_a_row(
            3,
            &["speed-within-30", "memory-within-30", "retention-advantage", "scaling"],
        ),
        ..DECISION
    },
];
