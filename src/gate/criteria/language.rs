//! Language modelling: held-out perplexity beside GPT-2's.

use super::families::{ALL, COMPARING, NOWHERE, PERPLEXITY};
use crate::evidence::Metric as M;
use crate::gate::citation::Citation::{Pass, R, Section};
use crate::gate::criterion::Criterion;
use crate::gate::rule::Rule;

const LANGUAGE: Criterion = Criterion { group: "language modelling", ..COMPARING };

pub(super) const ROWS: &[Criterion] = &[
    Criterion {
        id: "perplexity-non-inferior",
        claim: "GroundThink's held-out perplexity is at most 5 % above GPT-2's",
        why: "PASS 3: \"matches or exceeds\" is non-inferiority.",
        source: &[R(5), R(6), Pass(3)],
        metrics: &[M::ValidationLoss],
        rule: Rule::non_inferior(1.05),
        ..LANGUAGE
    },
    Criterion {
        id: "perplexity-exceeds",
        claim: "GroundThink's held-out perplexity is provably below GPT-2's",
        why: "\"Exceeds\" in PASS 3.",
        source: &[R(6)],
        required: NOWHERE,
        informs: ALL,
        metrics: &[M::ValidationLoss],
        rule: Rule::non_inferior(1.0),
        ..LANGUAGE
    },
    Criterion {
        id: "perplexity-significantly-better",
        claim: "GroundThink's held-out perplexity is significantly better",
        why: "The document's significant improvement: 10 %.",
        source: &[R(7), Section("Statistical Significance")],
        required: NOWHERE,
        informs: ALL,
        metrics: &[M::ValidationLoss],
        rule: Rule::significantly_better(PERPLEXITY),
        ..LANGUAGE
    },
    Criterion {
        id: "perplexity-not-outperformed",
        claim: "GPT-2 does not significantly outperform GroundThink in perplexity",
        why: "FAIL trigger: an optimisation problem.",
        source: &[R(7), R(15), Section("V5 FAIL Triggers")],
        metrics: &[M::ValidationLoss],
        rule: Rule::not_significantly_worse(PERPLEXITY),
        ..LANGUAGE
    },
    Criterion {
        id: "loss-ratio-red-line",
        claim: "GroundThink's loss is at most 1.30 times GPT-2's",
        why: "Red line: stop and fix.",
        source: &[R(8), Section("Red Line Thresholds")],
        metrics: &[M::ValidationLoss],
        rule: Rule::ratio_at_most(1.30),
        ..LANGUAGE
    },
    Criterion {
        id: "loss-ratio-debug",
        claim: "GroundThink's loss is at most 1.20 times GPT-2's at 8M",
        why: "Above, stop and debug; checklist of 8M and interpretation guide.",
        source: &[R(8), Section("Interpretation Guide"), Section("Validation Checklist Per Scale")],
        scales: &["8M"],
        metrics: &[M::ValidationLoss],
        rule: Rule::ratio_at_most(1.20),
        ..LANGUAGE
    },
    Criterion {
        id: "loss-ratio-viable",
        claim: "GroundThink's loss is at most 1.15 times GPT-2's",
        why: "Above, the architecture is not viable and should_scale says no.",
        source: &[R(8), Section("Decision Logic")],
        metrics: &[M::ValidationLoss],
        rule: Rule::ratio_at_most(1.15),
        ..LANGUAGE
    },
    Criterion {
        id: "loss-ratio-proceed",
        claim: "GroundThink's loss is at most 1.10 times GPT-2's at 8M",
        why: "Allows work on 30M to begin.",
        source: &[R(8), Section("Pragmatic Approach")],
        scales: &["8M"],
        metrics: &[M::ValidationLoss],
        rule: Rule::ratio_at_most(1.10),
        ..LANGUAGE
    },
];
