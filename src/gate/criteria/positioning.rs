//! The headline figures of "our X or Y".

use super::families::{MEMORY, SHOWN, SPEED};
use crate::evidence::Metric as M;
use crate::gate::citation::Citation::{R, Section};
use crate::gate::criterion::{Criterion, ModelScope};
use crate::gate::rule::Rule;

const POSITION: Criterion = Criterion { group: "positioning", scope: ModelScope::Pair, ..SHOWN };

pub(super) const ROWS: &[Criterion] = &[
    Criterion {
        id: "position-long-context",
        claim: "GroundThink uses longer contexts",
        why: "X or Y: long context. Useful context window.",
        source: &[R(19), R(21), Section("Find Our X or Y")],
        metrics: &[M::UsefulContext],
        rule: Rule::MEASURABLY_BETTER,
        ..POSITION
    },
    Criterion {
        id: "position-real-time",
        claim: "GroundThink answers faster, token by token",
        why: "X or Y: real-time inference.",
        source: &[R(7), R(21), Section("Find Our X or Y")],
        metrics: &[M::TokenLatency],
        rule: Rule::significantly_better(SPEED),
        ..POSITION
    },
    Criterion {
        id: "position-edge",
        claim: "GroundThink needs less memory at 1,024 tokens",
        why: "X or Y: edge deployment.",
        source: &[R(7), R(21), Section("Find Our X or Y")],
        metrics: &[M::PeakBytes],
        rule: Rule::significantly_better(MEMORY),
        ..POSITION
    },
    Criterion {
        id: "position-state",
        claim: "GroundThink remembers over longer distances",
        why: "X or Y: state persistence. State persistence score.",
        source: &[R(19), R(21), Section("Find Our X or Y")],
        metrics: &[M::StatePersistence],
        rule: Rule::MEASURABLY_BETTER,
        ..POSITION
    },
];
