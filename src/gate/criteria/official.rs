//! The published GPT-2 checkpoint: a check on the harness, gates nothing (ruling R4).

use super::families::{GATE, NOWHERE, ROW};
use crate::evidence::Condition::Published;
use crate::evidence::Metric as M;
use crate::gate::citation::Citation::{R, Section};
use crate::gate::criterion::{Criterion, ModelScope};
use crate::gate::rule::Rule;

/// Nothing measures a published checkpoint as evidence yet: these rows stay unproven until something does.
const OFFICIAL: Criterion = Criterion {
    group: "industry reference, not gated",
    scope: ModelScope::Gpt2,
    condition: Published,
    required: NOWHERE,
    informs: GATE,
    scales: &["125M"],
    ..ROW
};

pub(super) const ROWS: &[Criterion] = &[
    Criterion {
        id: "official-lambada",
        claim: "The published GPT-2 reaches its LAMBADA accuracy here",
        why: "Anchor 0.3256 ± 0.0065.",
        source: &[R(4), R(11), Section("Official References")],
        metrics: &[M::LambadaAccuracy],
        rule: Rule::within(0.3191, 0.3321),
        ..OFFICIAL
    },
    Criterion {
        id: "official-lambada-loss",
        claim: "The published GPT-2 reaches its LAMBADA perplexity here",
        why: "Anchor 40.06 per word, within 0.1 %: logarithms of 40.02 and 40.10.",
        source: &[R(4), R(11), Section("Official References")],
        metrics: &[M::LambadaLoss],
        rule: Rule::within(3.689_38, 3.691_38),
        ..OFFICIAL
    },
    Criterion {
        id: "official-hellaswag",
        claim: "The published GPT-2 reaches its HellaSwag accuracy here",
        why: "Anchor 0.2892; one item in a thousand may fall the other way.",
        source: &[R(4), R(11), Section("Official References")],
        metrics: &[M::HellaswagAccuracy],
        rule: Rule::within(0.2882, 0.2902),
        ..OFFICIAL
    },
    Criterion {
        id: "official-hellaswag-norm",
        claim: "The published GPT-2 reaches its normalised HellaSwag accuracy here",
        why: "Anchor 0.3114; one item in a thousand may fall the other way.",
        source: &[R(4), R(11), Section("Official References")],
        metrics: &[M::HellaswagAccuracyNorm],
        rule: Rule::within(0.3104, 0.3124),
        ..OFFICIAL
    },
    Criterion {
        id: "official-wikitext",
        claim: "The published GPT-2 reaches its WikiText perplexity here",
        why: "Anchor 37.37 per word, within 0.1 %: logarithms of 37.33 and 37.41.",
        source: &[R(4), R(11), Section("Official References")],
        metrics: &[M::WikitextLoss],
        rule: Rule::within(3.619_87, 3.621_87),
        ..OFFICIAL
    },
];
