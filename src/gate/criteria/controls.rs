//! Controls on how recall is scored.

use super::families::ROW;
use super::recall_metrics::CLOZE;
use crate::evidence::Condition::{CopyOracle, StateReset, Uniform, Untrained};
use crate::evidence::Metric as M;
use crate::gate::citation::Citation::R;
use crate::gate::criterion::Criterion;
use crate::gate::rule::{EXACT, Rule};

const CONTROL: Criterion = Criterion { group: "controls", ..ROW };

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
];
