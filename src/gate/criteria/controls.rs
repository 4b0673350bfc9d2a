//! Controls on how recall is scored.

use super::families::{GATE, ROW};
use super::recall_metrics::{CLOZE, WITH_RIVALS};
use crate::evidence::Condition::{
    CopyOracle, NamedFirst, NamedLast, NamedMost, StateReset, Uniform, Untrained,
};
use crate::evidence::Metric as M;
use crate::gate::citation::Citation::R;
use crate::gate::criterion::Criterion;
use crate::gate::rule::{EXACT, Rule};

const CONTROL: Criterion = Criterion { group: "controls", ..ROW };

/// A reader without understanding on items that name other candidates: below the midpoint between chance and 1
/// (ruling R16), of which the most candidates that are allowed give the lowest.
const READER: Criterion = Criterion {
    why: "Otherwise the place or the number of mentions gives the answer away.",
    source: &[R(16)],
    required: GATE,
    metrics: WITH_RIVALS,
    rule: Rule::below((1.0 + 1.0 / 16.0) / 2.0),
    ..CONTROL
};

pub(super) const ROWS: &[Criterion] = &[
    Criterion {
        id: "candidates",
        claim: "Recall is scored over 8 to 16 candidates",
        why: "Chance is what every recall is held against.",
        source: &[R(16)],
        metrics: &[M::StatefulnessChance],
        rule: Rule::within(1.0 / 16.0, 1.0 / 8.0),
        ..CONTROL
    },
    Criterion {
        id: "control-uniform",
        claim: "A uniform guess scores exactly chance on every test",
        why: "Otherwise the scoring itself is biased.",
        source: &[R(16), R(18)],
        condition: Uniform,
        metrics: CLOZE,
        rule: Rule::at_chance(EXACT),
        ..CONTROL
    },
    Criterion {
        id: "control-untrained",
        claim: "Randomly initialised models score at chance",
        why: "Otherwise the items give their answers away. The tolerance is ruling R7's least effect.",
        source: &[R(16), R(18)],
        condition: Untrained,
        metrics: &[M::StatefulnessScore],
        rule: Rule::at_chance(0.05),
        ..CONTROL
    },
    Criterion {
        id: "control-state-reset",
        claim: "With the state reset before the question, recall falls to exactly chance",
        why: "Otherwise something other than the state carries the answer.",
        source: &[R(16), R(18)],
        condition: StateReset,
        metrics: CLOZE,
        rule: Rule::at_chance(EXACT),
        ..CONTROL
    },
    Criterion {
        id: "control-copy-oracle",
        claim: "An oracle that copies the stated fact is perfect on every test",
        why: "Otherwise the items cannot be solved.",
        source: &[R(16), R(18)],
        condition: CopyOracle,
        metrics: CLOZE,
        rule: Rule::at_least(1.0),
        ..CONTROL
    },
    Criterion {
        id: "control-named-first",
        claim: "Answering with the candidate that is named first is below the midpoint of chance and 1",
        condition: NamedFirst,
        ..READER
    },
    Criterion {
        id: "control-named-last",
        claim: "Answering with the candidate that is named last is below the midpoint of chance and 1",
        condition: NamedLast,
        ..READER
    },
    Criterion {
        id: "control-named-most",
        claim: "Answering with the candidate that is named most often is below the midpoint of chance and 1",
        condition: NamedMost,
        ..READER
    },
];
