//! Speed, memory and compute beside GPT-2's.

use super::families::{GATE, MEMORY, NOWHERE, SHOWN, SPEED};
use crate::evidence::Metric as M;
use crate::gate::citation::Citation::{R, Section, Test};
use crate::gate::criterion::{Criterion, ModelScope};
use crate::gate::rule::Rule;

const EFFICIENCY: Criterion = Criterion { group: "efficiency", scope: ModelScope::Pair, ..SHOWN };

pub(super) const ROWS: &[Criterion] = &[
    Criterion {
        id: "prefill-significantly-better",
        claim: "GroundThink processes 1,024 tokens significantly faster",
        why: "Significant: 20 %.",
        source: &[R(7), Section("Inference Speed Protocol")],
        metrics: &[M::PrefillSeconds],
        rule: Rule::significantly_better(SPEED),
        ..EFFICIENCY
    },
    Criterion {
        id: "speed-significantly-better",
        claim: "GroundThink generates significantly faster",
        why: "Significant: 20 %.",
        source: &[R(7), Section("Inference Speed Protocol")],
        metrics: &[M::GenerationTokensPerSecond],
        rule: Rule::significantly_better(SPEED),
        ..EFFICIENCY
    },
    Criterion {
        id: "speed-at-same-quality",
        claim: "GroundThink generates significantly faster at the same quality",
        why: "The document counts speed only \"at same quality\".",
        source: &[R(6), R(7), Section("Statistical Significance")],
        rule: Rule::all(&["speed-significantly-better", "perplexity-non-inferior"]),
        ..EFFICIENCY
    },
    Criterion {
        id: "speed-not-worse",
        claim: "GroundThink does not generate significantly slower",
        why: "A slower twin is a worse model.",
        source: &[R(7), Section("Inference Speed Protocol")],
        metrics: &[M::GenerationTokensPerSecond],
        rule: Rule::not_significantly_worse(SPEED),
        ..EFFICIENCY
    },
    Criterion {
        id: "memory-significantly-better",
        claim: "GroundThink's peak memory at 1,024 tokens is significantly lower",
        why: "Significant: 30 %.",
        source: &[R(7), Section("Inference Speed Protocol")],
        metrics: &[M::PeakBytes],
        rule: Rule::significantly_better(MEMORY),
        ..EFFICIENCY
    },
    Criterion {
        id: "state-bytes-significantly-better",
        claim: "GroundThink carries significantly fewer bytes per conversation",
        why: "Significant: 30 %.",
        source: &[R(7), R(21)],
        metrics: &[M::StateBytes],
        rule: Rule::significantly_better(MEMORY),
        ..EFFICIENCY
    },
    Criterion {
        id: "context-scaling",
        claim: "GroundThink's time grows with a smaller power of the context",
        why: "Linear against quadratic growth, fitted.",
        source: &[Section("Inference Speed Protocol"), Section("Evaluation Suite")],
        metrics: &[M::TimeExponent],
        rule: Rule::MEASURABLY_BETTER,
        ..EFFICIENCY
    },
    Criterion {
        id: "cer",
        claim: "GroundThink's compute-efficiency ratio is measurably better",
        why: "1 / (perplexity × seconds): higher is better in both factors.",
        source: &[R(10), Section("Compute-Efficiency Ratio")],
        metrics: &[M::ComputeEfficiency],
        rule: Rule::MEASURABLY_BETTER,
        ..EFFICIENCY
    },
    Criterion {
        id: "cer-as-written",
        claim: "The compute-efficiency ratio as the document writes it",
        why: "Perplexity ÷ time rewards being worse: printed once, for traceability.",
        source: &[R(10), Section("Compute-Efficiency Ratio")],
        scope: ModelScope::Each,
        metrics: &[M::ComputeEfficiencyAsWritten],
        rule: Rule::FINITE,
        ..EFFICIENCY
    },
    Criterion {
        id: "efficiency-stable",
        claim: "Efficiency metrics are stable at 8M",
        why: "Checklist of 8M: they scatter too little to hide ruling R7's effect for speed.",
        source: &[R(7), Section("Validation Checklist Per Scale")],
        required: GATE,
        informs: NOWHERE,
        scales: &["8M"],
        scope: ModelScope::Each,
        metrics: &[M::PrefillSeconds, M::GenerationTokensPerSecond, M::PeakBytes],
        rule: Rule::steady(0.20),
        ..EFFICIENCY
    },
    Criterion {
        id: "speed-within-30",
        claim: "GroundThink generates at least 70 % as fast at 8M",
        why: "Matching GPT-2-8M's efficiency within 30 %: speed.",
        source: &[Test("Iterations"), Section("The Red Line")],
        required: NOWHERE,
        informs: GATE,
        scales: &["8M"],
        metrics: &[M::GenerationTokensPerSecond],
        rule: Rule::ratio_at_least(0.7),
        ..EFFICIENCY
    },
    Criterion {
        id: "memory-within-30",
        claim: "GroundThink's peak memory is at most 30 % higher at 8M",
        why: "Matching GPT-2-8M's efficiency within 30 %: memory.",
        source: &[Test("Iterations"), Section("The Red Line")],
        required: NOWHERE,
        informs: GATE,
        scales: &["8M"],
        metrics: &[M::PeakBytes],
        rule: Rule::ratio_at_most(1.3),
        ..EFFICIENCY
    },
];
