//! What numbers must be in terms of each other: figures that contradict their own parts were not measured (ruling R22).

use super::families::{ALL, GATE, NOWHERE, ROW, SMALLER};
use super::recall_metrics::SCORED;
use crate::evidence::Metric as M;
use crate::gate::citation::Citation::{Pillar, R};
use crate::gate::criterion::{Criterion, ModelScope};
use crate::gate::rule::{Identity, Rule};

const IDENTITY: Criterion = Criterion { group: "identities", source: &[R(22)], ..ROW };
const PAIR: Criterion = Criterion { scope: ModelScope::Pair, ..IDENTITY };

pub(super) const ROWS: &[Criterion] = &[
    Criterion {
        id: "perplexity-of-loss",
        claim: "Perplexity is the exponential of the loss",
        why: "Ruling R5: a mean of perplexities, or a loss in another unit, is another number.",
        source: &[R(5), R(22)],
        metrics: &[M::ValidationPerplexity, M::ValidationLoss],
        rule: Rule::identity(Identity::Exponential),
        ..IDENTITY
    },
    Criterion {
        id: "parameters-add-up",
        claim: "All parameters are those of embedding, positions, blocks and final norm",
        why: "What is counted nowhere is matched nowhere.",
        source: &[R(1), R(22)],
        metrics: &[
            M::TotalParameters,
            M::EmbeddingParameters,
            M::PositionalParameters,
            M::NonEmbeddingParameters,
        ],
        rule: Rule::identity(Identity::Sum),
        ..IDENTITY
    },
    Criterion {
        id: "compute-is-6nd",
        claim: "6·N·D is six times parameters times tokens",
        why: "Pillar 1 is held against this figure.",
        source: &[R(22), Pillar(1)],
        metrics: &[M::Compute6nd, M::TotalParameters, M::TrainTokens],
        rule: Rule::identity(Identity::Product(6)),
        ..IDENTITY
    },
    Criterion {
        id: "training-flops-counted",
        claim: "Training FLOPs are three forward passes for every token",
        why: "One forwards, and twice its work backwards.",
        source: &[R(3), R(22)],
        metrics: &[M::TrainFlops, M::ForwardFlopsPerToken, M::TrainTokens],
        rule: Rule::identity(Identity::Product(3)),
        ..IDENTITY
    },
    Criterion {
        id: "latency-is-inverse-speed",
        claim: "Tokens per second are the inverse of the time per token",
        why: "Both are read off the same samples.",
        required: GATE,
        informs: SMALLER,
        metrics: &[M::GenerationTokensPerSecond, M::TokenLatency],
        rule: Rule::identity(Identity::Inverse),
        ..IDENTITY
    },
    Criterion {
        id: "efficiency-of-its-parts",
        claim: "The compute-efficiency ratio is 1 / (perplexity × seconds of prefill)",
        why: "Ruling R10's formula, from the ledger's own perplexity and time.",
        source: &[R(10), R(22)],
        required: GATE,
        informs: SMALLER,
        metrics: &[M::ComputeEfficiency, M::ValidationPerplexity, M::PrefillSeconds],
        rule: Rule::identity(Identity::Inverse),
        ..IDENTITY
    },
    Criterion {
        id: "state-rms-ordered",
        claim: "The smallest root-mean-square of a state is no more than the largest",
        why: "Least and most of the same states.",
        scope: ModelScope::GroundThink,
        metrics: &[M::StateRmsMin, M::StateRmsMax],
        rule: Rule::identity(Identity::AtMost(0.0)),
        ..IDENTITY
    },
    Criterion {
        id: "ablation-share-of-rises",
        claim: "The smaller rise of the ablations is the share that S4 looks at",
        why: "A share is that of its parts.",
        scope: ModelScope::GroundThink,
        metrics: &[M::AblationSmallerShare, M::AblationRwkvRise, M::AblationMambaRise],
        rule: Rule::identity(Identity::SmallerShare),
        ..IDENTITY
    },
    Criterion {
        id: "same-counting",
        claim: "Counting words and pairs gives the same losses beside both models",
        why: "They depend on the texts alone: another loss is another text, vocabulary or unit.",
        metrics: &[M::UniformLoss, M::UnigramLoss, M::BigramLoss],
        rule: Rule::matched(0.0),
        ..PAIR
    },
    Criterion {
        id: "same-items",
        claim: "Both models' held-out losses are means over as many tokens",
        why: "Leaving out what is hard lowers a loss.",
        metrics: &[M::ValidationLoss, M::ValidationPerplexity],
        rule: Rule::SAME_ITEMS,
        ..PAIR
    },
    Criterion {
        id: "same-recall-items",
        claim: "Both models' recall accuracies are means over as many items",
        why: "Leaving out what is hard raises an accuracy.",
        source: &[R(16), R(22)],
        metrics: SCORED,
        rule: Rule::SAME_ITEMS,
        ..PAIR
    },
    Criterion {
        id: "same-benchmark-items",
        claim: "Both models' benchmarks are means over as many items",
        why: "Leaving out what is hard lowers a loss.",
        required: GATE,
        informs: SMALLER,
        metrics: &[M::WikitextLoss, M::PtbLoss, M::LambadaLoss, M::HellaswagMargin, M::LongContextLoss],
        rule: Rule::SAME_ITEMS,
        ..PAIR
    },
    Criterion {
        id: "trials-scatter",
        claim: "No two trials end with the same loss",
        why: "Three or more that differ by less than 1e-9 of their mean are one trial, copied.",
        source: &[R(7), R(25)],
        required: ALL,
        informs: NOWHERE,
        metrics: &[M::TrainLoss, M::ValidationLoss],
        rule: Rule::scatters(1e-9),
        ..IDENTITY
    },
];
