//! Whether larger models are better, and along which law.

use super::families::{COMPARING, GATE, NOWHERE};
use crate::evidence::Metric as M;
use crate::gate::citation::Citation::{R, Section, Test};
use crate::gate::criterion::Criterion;
use crate::gate::rule::Rule;

const SCALING: Criterion =
    Criterion { group: "scaling", metrics: &[M::ValidationLoss], informs: NOWHERE, ..COMPARING };

pub(super) const ROWS: &[Criterion] = &[
    Criterion {
        id: "scaling",
        claim: "8M improves on 3.5M by at least 80 % of GPT-2's improvement",
        why: "Red line: scaling violation. Checklist of 8M: outperforms 3.5M by the expected margin.",
        source: &[Test("Scaling"), Section("Red Line Thresholds")],
        scales: &["8M"],
        rule: Rule::falls_like("3.5M", 0.8),
        ..SCALING
    },
    Criterion {
        id: "scaling-law-fits",
        claim: "Both models follow a scaling law",
        why: "Predictable curves: L = a·N^(-b) + c, a pure power law below four sizes.",
        source: &[Test("Laws"), Section("Scaling Laws Validation")],
        scales: &["125M"],
        rule: Rule::law_fits(0.95),
        ..SCALING
    },
    Criterion {
        id: "scaling-law-so-far",
        claim: "The scaling curves are parallel as far as they are known",
        why: "A pure power law through the sizes up to this one; with two of them it is a line.",
        source: &[Test("Laws"), Section("Scaling Laws Validation")],
        required: NOWHERE,
        informs: GATE,
        scales: &["8M", "30M"],
        rule: Rule::law_parallel(0.20),
        ..SCALING
    },
    Criterion {
        id: "scaling-law-parallel",
        claim: "The scaling curves are parallel",
        why: "A different exponent means a different architecture at scale.",
        source: &[Test("Laws"), Section("Scaling Laws Validation")],
        scales: &["125M"],
        rule: Rule::law_parallel(0.20),
        ..SCALING
    },
    Criterion {
        id: "scaling-law-steeper",
        claim: "GroundThink's scaling law is at least as steep",
        why: "Steeper: more parameter-efficient. Flatter: a limit of the architecture.",
        source: &[R(8), Section("Scaling Laws Validation")],
        required: NOWHERE,
        informs: GATE,
        scales: &["125M"],
        rule: Rule::LAW_STEEPER,
        ..SCALING
    },
];
