//! The recurrent state: its shapes, its size, and whether it depends on the text.

use super::families::{ALL, GATE, NOWHERE, ROW, SMALLER};
use crate::evidence::Condition::Untrained;
use crate::evidence::Metric as M;
use crate::gate::citation::Citation::{Pass, Suites, Test};
use crate::gate::criterion::{Criterion, ModelScope};
use crate::gate::rule::Rule;

const STATE: Criterion = Criterion { group: "state", scope: ModelScope::GroundThink, ..ROW };
const INITIAL: Criterion = Criterion { required: NOWHERE, informs: ALL, condition: Untrained, ..STATE };
/// Why rows about the random model are there.
const BESIDE: &str = "Shown beside the trained model, so that nobody takes a property of the initialiser for something learnt.";

pub(super) const ROWS: &[Criterion] = &[
    Criterion {
        id: "state-tests",
        claim: "The state tests S0 to S4 pass",
        why: "Required at 100 % at every scale.",
        source: &[Suites, Pass(1)],
        required: GATE,
        informs: SMALLER,
        rule: Rule::all(&[
            "S0",
            "S1-finite",
            "S1-not-vanishing",
            "S1-not-exploding",
            "S2",
            "S3-repeats",
            "S3-halves",
            "S4-both-needed",
            "S4-share",
        ]),
        ..STATE
    },
    Criterion {
        id: "S0",
        claim: "Both states exist with the declared shapes in every layer",
        why: "Everything else about the state presupposes it.",
        source: &[Test("S0")],
        metrics: &[M::StateShapesRight],
        rule: Rule::HOLDS,
        ..STATE
    },
    Criterion {
        id: "S1-finite",
        claim: "States are finite",
        why: "A state that is not poisons whatever follows.",
        source: &[Test("S1")],
        metrics: &[M::StateFinite],
        rule: Rule::HOLDS,
        ..STATE
    },
    Criterion {
        id: "S1-not-vanishing",
        claim: "No state vanishes",
        why: "A state near zero carries nothing.",
        source: &[Test("S1")],
        metrics: &[M::StateRmsMin],
        rule: Rule::within(1e-4, 1e2),
        ..STATE
    },
    Criterion {
        id: "S1-not-exploding",
        claim: "No state explodes",
        why: "A state that grows without bound is lost in the end.",
        source: &[Test("S1")],
        metrics: &[M::StateRmsMax],
        rule: Rule::within(1e-4, 1e2),
        ..STATE
    },
    Criterion {
        id: "S2",
        claim: "Different texts leave different states, in every layer and both branches",
        why: "A state that does not depend on the text is no memory.",
        source: &[Test("S2")],
        metrics: &[M::StateDifference],
        rule: Rule::above(0.01),
        ..STATE
    },
    Criterion {
        id: "S3-repeats",
        claim: "The same text leaves a bit-identical state",
        why: "Otherwise the state depends on something else.",
        source: &[Test("S3")],
        metrics: &[M::StateRepeats],
        rule: Rule::HOLDS,
        ..STATE
    },
    Criterion {
        id: "S3-halves",
        claim: "A text read in two halves leaves the state of the whole",
        why: "Carrying the state on must be exact up to rounding.",
        source: &[Test("S3")],
        metrics: &[M::StateHalvesError],
        rule: Rule::at_most(1e-3),
        ..STATE
    },
    Criterion {
        id: "S4-both-needed",
        claim: "Zeroing either branch raises the validation loss",
        why: "A branch that can be left out is not part of the architecture.",
        source: &[Test("S4")],
        metrics: &[M::AblationRwkvRise, M::AblationMambaRise],
        rule: Rule::above(0.0),
        ..STATE
    },
    Criterion {
        id: "S4-share",
        claim: "The lesser branch contributes at least 5 %",
        why: "Below, one branch does all the work.",
        source: &[Test("S4")],
        required: GATE,
        informs: SMALLER,
        metrics: &[M::AblationSmallerShare],
        rule: Rule::at_least(0.05),
        ..STATE
    },
    Criterion {
        id: "decay-depends-on-data",
        claim: "RWKV-6's decay and Mamba-2's step size depend on the data, in every layer",
        why: "Without it RWKV-6 is RWKV-5. The limit is that of D2.",
        source: &[Test("D2")],
        metrics: &[M::DecaySpread],
        rule: Rule::above(1e-6),
        ..STATE
    },
    Criterion {
        id: "S1-untrained",
        claim: "States of a random model are finite",
        why: BESIDE,
        source: &[Test("S1")],
        metrics: &[M::StateFinite],
        rule: Rule::HOLDS,
        ..INITIAL
    },
    Criterion {
        id: "S2-untrained",
        claim: "Different texts leave different states in a random model",
        why: BESIDE,
        source: &[Test("S2")],
        metrics: &[M::StateDifference],
        rule: Rule::above(0.01),
        ..INITIAL
    },
    Criterion {
        id: "S3-untrained",
        claim: "The same text leaves a bit-identical state in a random model",
        why: BESIDE,
        source: &[Test("S3")],
        metrics: &[M::StateRepeats],
        rule: Rule::HOLDS,
        ..INITIAL
    },
];
