//! Whether the two models are of one size and one effort.

use super::families::{ALL, GATE, NOWHERE, ROW, SMALLER};
use crate::evidence::Metric as M;
use crate::gate::citation::Citation::{Pillar, R, Section};
use crate::gate::criterion::{Criterion, ModelScope};
use crate::gate::rule::Rule;

const MATCHING: Criterion = Criterion { group: "matching", scope: ModelScope::Pair, ..ROW };

pub(super) const ROWS: &[Criterion] = &[
    Criterion {
        id: "size-3M5",
        claim: "The GPT-2 of 3.5M has the size of the ruling's table",
        why: "The label is a name; the dimensions, and what they add up to, are the specification.",
        source: &[R(1), R(2)],
        required: GATE,
        informs: NOWHERE,
        scales: &["3.5M"],
        scope: ModelScope::Gpt2,
        metrics: &[M::TotalParameters],
        rule: Rule::within(15_497_728.0, 15_497_728.0),
        ..MATCHING
    },
    Criterion {
        id: "size-8M",
        claim: "The GPT-2 of 8M has the size of the ruling's table",
        why: "The label is a name; the dimensions, and what they add up to, are the specification.",
        source: &[R(1), R(2)],
        required: GATE,
        informs: NOWHERE,
        scales: &["8M"],
        scope: ModelScope::Gpt2,
        metrics: &[M::TotalParameters],
        rule: Rule::within(30_339_456.0, 30_339_456.0),
        ..MATCHING
    },
    Criterion {
        id: "size-30M",
        claim: "The GPT-2 of 30M has the size of the ruling's table",
        why: "The label is a name; the dimensions, and what they add up to, are the specification.",
        source: &[R(1), R(2)],
        required: GATE,
        informs: NOWHERE,
        scales: &["30M"],
        scope: ModelScope::Gpt2,
        metrics: &[M::TotalParameters],
        rule: Rule::within(64_085_504.0, 64_085_504.0),
        ..MATCHING
    },
    Criterion {
        id: "size-125M",
        claim: "The GPT-2 of 125M has the size of the ruling's table",
        why: "The label is a name; the dimensions, and what they add up to, are the specification.",
        source: &[R(1), R(2)],
        required: GATE,
        informs: NOWHERE,
        scales: &["125M"],
        scope: ModelScope::Gpt2,
        metrics: &[M::TotalParameters],
        rule: Rule::within(124_439_808.0, 124_439_808.0),
        ..MATCHING
    },
    Criterion {
        id: "total-matched",
        claim: "Total parameters differ by at most 1 %",
        why: "Models of different size are not compared.",
        source: &[R(1), R(3), Section("Parameter-Matched Comparisons")],
        metrics: &[M::TotalParameters],
        rule: Rule::matched(0.01),
        ..MATCHING
    },
    Criterion {
        id: "non-embedding-matched",
        claim: "Non-embedding parameters differ by at most 5 %",
        why: "At small scales the embedding hides the rest.",
        source: &[R(2), R(3)],
        metrics: &[M::NonEmbeddingParameters],
        rule: Rule::matched(0.05),
        ..MATCHING
    },
    Criterion {
        id: "tokens-matched",
        claim: "Both models were trained on the same number of tokens",
        why: "More data is an advantage of its own.",
        source: &[Pillar(2)],
        metrics: &[M::TrainTokens],
        rule: Rule::matched(0.0),
        ..MATCHING
    },
    Criterion {
        id: "same-batch-size",
        claim: "Both models were trained with the same batch size",
        why: "A larger batch is another optimizer.",
        source: &[Section("Training Protocol"), Section("Fair Comparison Rules")],
        metrics: &[M::BatchSize],
        rule: Rule::matched(0.0),
        ..MATCHING
    },
    Criterion {
        id: "compute-6nd-matched",
        claim: "6·N·D differs by at most 1 %",
        why: "Pillar 1 as the document counts it.",
        source: &[Pillar(1)],
        metrics: &[M::Compute6nd],
        rule: Rule::matched(0.01),
        ..MATCHING
    },
    Criterion {
        id: "flops-alike",
        claim: "Forward FLOPs per token differ by less than a fifth",
        why: "6·N·D hides head, attention and scan; these are counted. The limit is ruling R7's for speed.",
        source: &[R(3), R(7), Pillar(1)],
        required: GATE,
        informs: SMALLER,
        metrics: &[M::ForwardFlopsPerToken],
        rule: Rule::ratio_within(1.0 / 1.2, 1.2),
        ..MATCHING
    },
    Criterion {
        id: "compute-alike",
        claim: "Counted training FLOPs differ by less than a fifth",
        why: "Pillar 1 with everything counted. The limit is ruling R7's for speed.",
        source: &[R(3), R(7), Pillar(1)],
        required: GATE,
        informs: SMALLER,
        metrics: &[M::TrainFlops],
        rule: Rule::ratio_within(1.0 / 1.2, 1.2),
        ..MATCHING
    },
    Criterion {
        id: "hours-alike",
        claim: "Training takes the same time within a fifth",
        why: "Pillar 1: same hours. The limit is ruling R7's for speed.",
        source: &[R(7), Pillar(1)],
        required: NOWHERE,
        informs: ALL,
        metrics: &[M::TrainSeconds],
        rule: Rule::ratio_within(1.0 / 1.2, 1.2),
        ..MATCHING
    },
    Criterion {
        id: "training-memory-alike",
        claim: "Training takes the same memory within 30 %",
        why: "Pillar 1: same memory budget. The limit is ruling R7's for memory.",
        source: &[R(7), Pillar(1)],
        required: NOWHERE,
        informs: ALL,
        metrics: &[M::TrainPeakBytes],
        rule: Rule::ratio_within(1.0 / 1.3, 1.3),
        ..MATCHING
    },
];
