//! The verdict itself: the five PASS requirements and the two FAIL triggers, each made of other rows.

use super::families::COMPARING;
use crate::gate::citation::Citation::{Pass, R, Section};
use crate::gate::criterion::Criterion;
use crate::gate::rule::Rule;

const V5: Criterion = Criterion { group: "V5 gate", ..COMPARING };

pub(super) const ROWS: &[Criterion] = &[
    Criterion {
        id: "PASS-1",
        claim: "The model passes its graduation tests",
        why: "PASS requirement 1: the models of all four sizes pass graduation.",
        source: &[R(14), Pass(1), Section("V5 Gate Criteria")],
        rule: Rule::all(&[
            "state-tests",
            "D1",
            "D2",
            "D4",
            "G1",
            "G2",
            "G3-loss-falls",
            "G3-gradient-norm",
            "G4",
            "overfit",
            "memorised",
            "naive-uniform",
            "naive-unigram",
            "naive-bigram",
            "resume",
            "slopes-alike",
            "slopes-fall",
            "gradient-norms-alike",
            "stability",
            "plateau",
            "scaling",
            "scaling-law-fits",
            "scaling-law-parallel",
            "emergent-reasoning",
            "suite-minimal-85",
            "suite-minimal-90",
            "suite-standard-80",
            "suite-standard-85",
            "suite-standard-90",
            "suite-extended-75",
            "suite-extended-85",
            "category-C1",
            "category-C2",
            "category-C3",
            "category-C4",
            "category-C5",
            "category-C6",
        ]),
        ..V5
    },
    Criterion {
        id: "PASS-2",
        claim: "A GPT-2 baseline was trained at the matching scale",
        why: "PASS requirement 2: without a fair baseline there is nothing to compare with.",
        source: &[R(3), R(4), Pass(2), Section("V5 Gate Criteria")],
        rule: Rule::all(&[
            "run-completed",
            "losses-finite",
            "total-matched",
            "non-embedding-matched",
            "tokens-matched",
            "compute-6nd-matched",
            "same-batch-size",
            "same-data",
            "same-order",
            "same-batches",
            "same-tokenizer",
            "same-recipe",
            "same-device",
            "same-precision",
            "same-validation",
            "same-preprocessing",
            "same-tuning",
            "same-stopping",
            "weights-distinct",
            "orders-distinct",
            "one-set-of-weights",
            "one-set-of-batches",
            "same-benchmarks",
            "decay-matrices-only",
            "every-tensor-moves",
            "held-out-not-in-training",
            "reverse-equivalent",
        ]),
        ..V5
    },
    Criterion {
        id: "PASS-3",
        claim: "GroundThink matches or exceeds GPT-2 on language modelling perplexity",
        why: "PASS requirement 3: state must not be bought with language modelling.",
        source: &[R(6), Pass(3), Section("V5 Gate Criteria")],
        rule: Rule::all(&["perplexity-non-inferior", "wikitext-non-inferior", "ptb-non-inferior"]),
        ..V5
    },
    Criterion {
        id: "PASS-4",
        claim: "GroundThink significantly outperforms GPT-2 on statefulness",
        why: "PASS requirement 4: what the architecture is for.",
        source: &[R(7), R(17), Pass(4), Section("V5 Gate Criteria")],
        rule: Rule::all(&[
            "statefulness-significantly-better",
            "statefulness-not-below",
            "statefulness-off-the-floor",
            "persona-consistency",
            "topic-threading",
        ]),
        ..V5
    },
    Criterion {
        id: "PASS-5",
        claim: "GroundThink has a demonstrated advantage in long contexts",
        why: "PASS requirement 5: better loss beyond 2K, or flat cost and a loss that does not rise.",
        source: &[R(20), Pass(5), Section("V5 Gate Criteria")],
        rule: Rule::at_least_of(1, &["long-context-loss", "long-context-flat"]),
        ..V5
    },
    Criterion {
        id: "FAIL-1",
        claim: "GPT-2 does not significantly outperform GroundThink at the same scale",
        why: "FAIL trigger 1: an optimisation problem.",
        source: &[R(15), Section("V5 FAIL Triggers")],
        rule: Rule::all(&["perplexity-not-outperformed"]),
        ..V5
    },
    Criterion {
        id: "FAIL-2",
        claim: "A statefulness advantage over GPT-2 is measurable",
        why: "FAIL trigger 2: the architecture's hypothesis failed.",
        source: &[R(15), R(17), Section("V5 FAIL Triggers")],
        rule: Rule::all(&["statefulness-advantage", "statefulness-off-the-floor"]),
        ..V5
    },
];
