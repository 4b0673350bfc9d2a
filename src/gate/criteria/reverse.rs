//! Whether GPT-2 as trained here equals GPT-2 as trained elsewhere.

use super::families::{GATE, NOWHERE, ROW};
use crate::evidence::Metric as M;
use crate::gate::citation::Citation::{R, Section, Test};
use crate::gate::criterion::{Criterion, ModelScope};
use crate::gate::rule::Rule;

/// Another program has to train first (`v5gate reference`): these rows stay unproven until one has, in every trial.
const REVERSE: Criterion =
    Criterion { group: "training", scope: ModelScope::Gpt2, metrics: &[M::ReferenceLossRatio], ..ROW };

pub(super) const ROWS: &[Criterion] = &[
    Criterion {
        id: "reverse-equivalent",
        claim: "GPT-2 trained here equals GPT-2 trained elsewhere within 5 %",
        why: "A weak baseline would flatter the contender. Same weights, same batches, same recipe.",
        source: &[Test("Reverse"), Section("Reverse Testing")],
        required: GATE,
        informs: NOWHERE,
        rule: Rule::equivalent(0.05),
        ..REVERSE
    },
    Criterion {
        id: "reverse-no-bug",
        claim: "GPT-2 trained here is at most 10 % worse than elsewhere",
        why: "More is a defect of the training loop here.",
        source: &[Test("Reverse"), Section("Reverse Testing")],
        required: GATE,
        informs: NOWHERE,
        rule: Rule::at_most(1.10),
        ..REVERSE
    },
    Criterion {
        id: "reverse-not-better",
        claim: "GPT-2 trained here is at most 5 % better than elsewhere",
        why: "More must be explained and documented.",
        source: &[Test("Reverse"), Section("Reverse Testing")],
        required: NOWHERE,
        informs: GATE,
        rule: Rule::at_least(0.95),
        ..REVERSE
    },
    Criterion {
        id: "reverse-follows",
        claim: "Both trainings of GPT-2 have the same loss within 0.5 % at every hundredth step",
        why: "Two programs that do the same part by rounding alone; a mistake shows on the way before it does at the end.",
        source: &[Test("Reverse"), Section("Reverse Testing")],
        required: NOWHERE,
        informs: GATE,
        metrics: &[M::ReferenceDeparture],
        rule: Rule::at_most(0.005),
        ..REVERSE
    },
    Criterion {
        id: "reverse-independent",
        claim: "The losses of the training elsewhere are its own",
        why: "Programs that part by rounding rarely write the same number: losses 1e-4 apart coincide at one step in several thousand. More is this program's record in the other's place.",
        source: &[Test("Reverse"), R(22)],
        required: GATE,
        informs: NOWHERE,
        metrics: &[M::ReferenceIdentical],
        rule: Rule::at_most(0.01),
        ..REVERSE
    },
];
