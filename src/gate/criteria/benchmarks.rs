//! Language modelling: the standard benchmarks.

use super::families::{ACCURACY, ALL, COMPARING, NOWHERE, PERPLEXITY};
use crate::evidence::Metric as M;
use crate::gate::citation::Citation::{R, Section};
use crate::gate::criterion::Criterion;
use crate::gate::rule::Rule;

const LANGUAGE: Criterion = Criterion { group: "language modelling", ..COMPARING };
/// Where accuracies sit at the floor.
const SMALL_SCALES: &[&str] = &["smoke", "study", "3.5M", "8M", "30M"];

pub(super) const ROWS: &[Criterion] = &[
    Criterion {
        id: "wikitext-non-inferior",
        claim: "GroundThink's WikiText word perplexity is at most 5 % above GPT-2's",
        why: "PASS 3 on the standard benchmark (WikiText-103 and WikiText-2 share their test text).",
        source: &[R(6), Section("Standard Language Modeling")],
        metrics: &[M::WikitextLoss],
        rule: Rule::non_inferior(1.05),
        ..LANGUAGE
    },
    Criterion {
        id: "ptb-non-inferior",
        claim: "GroundThink's Penn Treebank word perplexity is at most 5 % above GPT-2's",
        why: "PASS 3 on the standard benchmark.",
        source: &[R(6), Section("Standard Language Modeling")],
        metrics: &[M::PtbLoss],
        rule: Rule::non_inferior(1.05),
        ..LANGUAGE
    },
    Criterion {
        id: "wikitext-bits-per-byte",
        claim: "GroundThink's WikiText bits per byte are not measurably worse",
        why: "The same text, whatever the tokenizer.",
        source: &[R(7), Section("Evaluation Suite")],
        required: NOWHERE,
        informs: ALL,
        metrics: &[M::WikitextBitsPerByte],
        rule: Rule::NOT_MEASURABLY_WORSE,
        ..LANGUAGE
    },
    Criterion {
        id: "lambada-loss",
        claim: "GroundThink does not predict LAMBADA's last words significantly worse",
        why: "Below 125M accuracies sit at the floor; the likelihood does not.",
        source: &[R(7), Section("Evaluation Suite")],
        scales: SMALL_SCALES,
        metrics: &[M::LambadaLoss],
        rule: Rule::not_significantly_worse(PERPLEXITY),
        ..LANGUAGE
    },
    Criterion {
        id: "lambada-accuracy",
        claim: "GroundThink's LAMBADA accuracy is not significantly worse",
        why: "Evaluation suite; decides at 125M.",
        source: &[R(7), Section("Evaluation Suite")],
        scales: &["125M"],
        metrics: &[M::LambadaAccuracy],
        rule: Rule::not_significantly_worse(ACCURACY),
        ..LANGUAGE
    },
    Criterion {
        id: "lambada-accuracy-shown",
        claim: "GroundThink's LAMBADA accuracy is not significantly worse, below 125M",
        why: "Shown where it does not decide.",
        source: &[R(7), Section("Evaluation Suite")],
        required: NOWHERE,
        informs: ALL,
        scales: SMALL_SCALES,
        metrics: &[M::LambadaAccuracy],
        rule: Rule::not_significantly_worse(ACCURACY),
        ..LANGUAGE
    },
    Criterion {
        id: "hellaswag-margin",
        claim: "GroundThink's HellaSwag margin is not measurably worse",
        why: "Below 125M accuracies sit at the floor; the margin of the true ending does not.",
        source: &[R(7), Section("Evaluation Suite")],
        scales: SMALL_SCALES,
        metrics: &[M::HellaswagMargin],
        rule: Rule::NOT_MEASURABLY_WORSE,
        ..LANGUAGE
    },
    Criterion {
        id: "hellaswag-accuracy",
        claim: "GroundThink's HellaSwag accuracies are not significantly worse",
        why: "Evaluation suite; decide at 125M.",
        source: &[R(7), Section("Evaluation Suite")],
        scales: &["125M"],
        metrics: &[M::HellaswagAccuracy, M::HellaswagAccuracyNorm],
        rule: Rule::not_significantly_worse(ACCURACY),
        ..LANGUAGE
    },
    Criterion {
        id: "hellaswag-accuracy-shown",
        claim: "GroundThink's HellaSwag accuracies are not significantly worse, below 125M",
        why: "Shown where they do not decide.",
        source: &[R(7), Section("Evaluation Suite")],
        required: NOWHERE,
        informs: ALL,
        scales: SMALL_SCALES,
        metrics: &[M::HellaswagAccuracy, M::HellaswagAccuracyNorm],
        rule: Rule::not_significantly_worse(ACCURACY),
        ..LANGUAGE
    },
];
