//! The practical thresholds: Good Enough, Promising and Excellent.

use super::families::AT_8M;
use crate::evidence::Metric as M;
use crate::gate::citation::Citation::{R, Section};
use crate::gate::criterion::Criterion;
use crate::gate::rule::Rule;

const BAND: Criterion = Criterion { group: "practical thresholds", ..AT_8M };

pub(super) const ROWS: &[Criterion] = &[
    Criterion {
        id: "loss-good-enough",
        claim: "GroundThink's loss is within 15 %",
        why: "\"Good Enough\" in the table of practical thresholds.",
        source: &[R(9), Section("Practical Thresholds")],
        metrics: &[M::ValidationLoss],
        rule: Rule::ratio_at_most(1.15),
        ..BAND
    },
    Criterion {
        id: "loss-promising",
        claim: "GroundThink's loss is within 5 %",
        why: "\"Promising\" in the table of practical thresholds.",
        source: &[R(9), Section("Practical Thresholds")],
        metrics: &[M::ValidationLoss],
        rule: Rule::ratio_at_most(1.05),
        ..BAND
    },
    Criterion {
        id: "loss-excellent",
        claim: "GroundThink's loss is better",
        why: "\"Excellent\" in the table of practical thresholds.",
        source: &[R(9), Section("Practical Thresholds")],
        metrics: &[M::ValidationLoss],
        rule: Rule::ratio_below(1.0),
        ..BAND
    },
    Criterion {
        id: "statefulness-good-enough",
        claim: "GroundThink's statefulness score is 10 % better",
        why: "\"Good Enough\" in the table of practical thresholds.",
        source: &[R(9), R(17), Section("Practical Thresholds")],
        metrics: &[M::StatefulnessScore],
        rule: Rule::ratio_at_least(1.10),
        ..BAND
    },
    Criterion {
        id: "statefulness-promising",
        claim: "GroundThink's statefulness score is 25 % better",
        why: "\"Promising\" in the table of practical thresholds.",
        source: &[R(9), R(17), Section("Practical Thresholds")],
        metrics: &[M::StatefulnessScore],
        rule: Rule::ratio_at_least(1.25),
        ..BAND
    },
    Criterion {
        id: "statefulness-excellent",
        claim: "GroundThink's statefulness score is 50 % better",
        why: "\"Excellent\" in the table of practical thresholds.",
        source: &[R(9), R(17), Section("Practical Thresholds")],
        metrics: &[M::StatefulnessScore],
        rule: Rule::ratio_at_least(1.50),
        ..BAND
    },
    Criterion {
        id: "speed-good-enough",
        claim: "GroundThink generates 20 % faster",
        why: "\"Good Enough\" in the table of practical thresholds.",
        source: &[R(9), Section("Practical Thresholds")],
        metrics: &[M::GenerationTokensPerSecond],
        rule: Rule::ratio_at_least(1.2),
        ..BAND
    },
    Criterion {
        id: "speed-promising",
        claim: "GroundThink generates 50 % faster",
        why: "\"Promising\" in the table of practical thresholds.",
        source: &[R(9), Section("Practical Thresholds")],
        metrics: &[M::GenerationTokensPerSecond],
        rule: Rule::ratio_at_least(1.5),
        ..BAND
    },
    Criterion {
        id: "speed-excellent",
        claim: "GroundThink generates twice as fast",
        why: "\"Excellent\" in the table of practical thresholds.",
        source: &[R(9), Section("Practical Thresholds")],
        metrics: &[M::GenerationTokensPerSecond],
        rule: Rule::ratio_at_least(2.0),
        ..BAND
    },
    Criterion {
        id: "memory-good-enough",
        claim: "GroundThink needs no more memory",
        why: "\"Good Enough\" in the table of practical thresholds.",
        source: &[R(9), Section("Practical Thresholds")],
        metrics: &[M::PeakBytes],
        rule: Rule::ratio_at_most(1.0),
        ..BAND
    },
    Criterion {
        id: "memory-promising",
        claim: "GroundThink needs 20 % less memory",
        why: "\"Promising\" in the table of practical thresholds.",
        source: &[R(9), Section("Practical Thresholds")],
        metrics: &[M::PeakBytes],
        rule: Rule::ratio_at_most(0.8),
        ..BAND
    },
    Criterion {
        id: "memory-excellent",
        claim: "GroundThink needs 50 % less memory",
        why: "\"Excellent\" in the table of practical thresholds.",
        source: &[R(9), Section("Practical Thresholds")],
        metrics: &[M::PeakBytes],
        rule: Rule::ratio_at_most(0.5),
        ..BAND
    },
];
