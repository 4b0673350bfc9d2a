//! The canaries one by one, their suites and their categories. Which canaries there are, with their
//! limits and suites, is said in `evidence/recall_tests.rs`.

use super::families::{GATE, NOWHERE, SHOWN};
use super::recall_metrics::{
    CATEGORY_C1, CATEGORY_C2, CATEGORY_C3, CATEGORY_C4, CATEGORY_C5, CATEGORY_C6, EXTENDED, LIMITED, MINIMAL,
    STANDARD, TINY,
};
use crate::evidence::Metric;
use crate::gate::citation::Citation::{Canaries, Pass, R, Suites};
use crate::gate::criterion::{Criterion, ModelScope};
use crate::gate::rule::Rule;

const CANARY: Criterion = Criterion { group: "canaries", scope: ModelScope::GroundThink, ..SHOWN };
/// The mean of a suite decides, and so does that of a category.
const SUITE: Criterion = Criterion { source: &[Suites, Pass(1)], required: GATE, informs: NOWHERE, ..CANARY };

/// Every canary that has a limit, by itself.
pub(super) const CANARIES: &[Criterion] = &{
    let mut rows = [CANARY; LIMITED.len()];
    let mut i = 0;
    while i < LIMITED.len() {
        rows[i] = row(LIMITED.split_at(i).1.split_at(1).0);
        i += 1;
    }
    rows
};

/// The row of one canary.
const fn row(metrics: &'static [Metric]) -> Criterion {
    let Metric::Canary(canary) = metrics[0] else { panic!("a canary's accuracy") };
    let Some(limit) = canary.limit() else { panic!("a canary with a limit") };
    Criterion {
        id: canary.name(),
        claim: canary.claim(),
        why: why(limit),
        source: &[R(16), Canaries],
        metrics,
        rule: Rule::at_least(limit),
        ..CANARY
    }
}

/// Why a canary is asked, with its limit in whole per cent.
const fn why(limit: f64) -> &'static str {
    macro_rules! limits {
        ($($percent:literal)*) => {
            match (100.0 * limit + 0.5) as u32 {
                $($percent => concat!("Canary, limit ", $percent, " %; decided through the suites."),)*
                _ => panic!("a limit that is named here"),
            }
        };
    }
    limits!(60 70 75 80 85 90 95)
}

/// The suites and the categories.
pub(super) const SUITES: &[Criterion] = &[
    Criterion {
        id: "suite-tiny",
        claim: "The two canaries of the Tiny suite pass",
        why: "With S0 to S4 the quickest look at a checkpoint; no average is required.",
        source: &[Suites],
        metrics: TINY,
        rule: Rule::mean_at_least(0.85),
        ..CANARY
    },
    Criterion {
        id: "suite-minimal-85",
        claim: "The Minimal suite averages at least 85 %",
        why: "Graduation test of these scales.",
        scales: &["3.5M"],
        metrics: MINIMAL,
        rule: Rule::mean_at_least(0.85),
        ..SUITE
    },
    Criterion {
        id: "suite-minimal-90",
        claim: "The Minimal suite averages at least 90 %",
        why: "Graduation test of these scales.",
        scales: &["8M", "30M", "125M"],
        metrics: MINIMAL,
        rule: Rule::mean_at_least(0.90),
        ..SUITE
    },
    Criterion {
        id: "suite-standard-80",
        claim: "The Standard suite averages at least 80 %",
        why: "Graduation test of these scales.",
        scales: &["8M"],
        metrics: STANDARD,
        rule: Rule::mean_at_least(0.80),
        ..SUITE
    },
    Criterion {
        id: "suite-standard-85",
        claim: "The Standard suite averages at least 85 %",
        why: "Graduation test of these scales.",
        scales: &["30M"],
        metrics: STANDARD,
        rule: Rule::mean_at_least(0.85),
        ..SUITE
    },
    Criterion {
        id: "suite-standard-90",
        claim: "The Standard suite averages at least 90 %",
        why: "Graduation test of these scales.",
        scales: &["125M"],
        metrics: STANDARD,
        rule: Rule::mean_at_least(0.90),
        ..SUITE
    },
    Criterion {
        id: "suite-extended-75",
        claim: "The Extended suite averages at least 75 %",
        why: "Graduation test of these scales.",
        scales: &["30M"],
        metrics: EXTENDED,
        rule: Rule::mean_at_least(0.75),
        ..SUITE
    },
    Criterion {
        id: "suite-extended-85",
        claim: "The Extended suite averages at least 85 %",
        why: "Graduation test of these scales.",
        scales: &["125M"],
        metrics: EXTENDED,
        rule: Rule::mean_at_least(0.85),
        ..SUITE
    },
    Criterion {
        id: "category-C1",
        claim: "Canary category C1 (recall) averages at least 50 %",
        why: "Any category below 50 stops.",
        metrics: CATEGORY_C1,
        rule: Rule::mean_at_least(0.50),
        ..SUITE
    },
    Criterion {
        id: "category-C2",
        claim: "Canary category C2 (synthesis) averages at least 50 %",
        why: "Any category below 50 stops.",
        metrics: CATEGORY_C2,
        rule: Rule::mean_at_least(0.50),
        ..SUITE
    },
    Criterion {
        id: "category-C3",
        claim: "Canary category C3 (preferences) averages at least 50 %",
        why: "Any category below 50 stops.",
        metrics: CATEGORY_C3,
        rule: Rule::mean_at_least(0.50),
        ..SUITE
    },
    Criterion {
        id: "category-C4",
        claim: "Canary category C4 (instructions) averages at least 50 %",
        why: "Any category below 50 stops.",
        metrics: CATEGORY_C4,
        rule: Rule::mean_at_least(0.50),
        ..SUITE
    },
    Criterion {
        id: "category-C5",
        claim: "Canary category C5 (personas) averages at least 50 %",
        why: "Any category below 50 stops.",
        metrics: CATEGORY_C5,
        rule: Rule::mean_at_least(0.50),
        ..SUITE
    },
    Criterion {
        id: "category-C6",
        claim: "Canary category C6 (separation) averages at least 50 %",
        why: "Any category below 50 stops.",
        metrics: CATEGORY_C6,
        rule: Rule::mean_at_least(0.50),
        ..SUITE
    },
];
