//! Replies in published conversations, and what people prefer.

use super::families::{PERPLEXITY, SHOWN};
use crate::evidence::Metric as M;
use crate::gate::citation::Citation::{R, Section};
use crate::gate::criterion::{Criterion, ModelScope};
use crate::gate::rule::Rule;

const CONVERSATION: Criterion = Criterion { group: "conversation", scope: ModelScope::Pair, ..SHOWN };

pub(super) const ROWS: &[Criterion] = &[
    Criterion {
        id: "dailydialog-perplexity",
        claim: "GroundThink predicts DailyDialog's replies not significantly worse",
        why: "Benchmark category 2; no PASS requirement names it.",
        source: &[R(7), Section("Conversational Ability")],
        metrics: &[M::DailydialogLoss],
        rule: Rule::not_significantly_worse(PERPLEXITY),
        ..CONVERSATION
    },
    Criterion {
        id: "personachat-perplexity",
        claim: "GroundThink predicts PersonaChat's replies not significantly worse",
        why: "Benchmark category 2; no PASS requirement names it.",
        source: &[R(7), Section("Conversational Ability")],
        metrics: &[M::PersonachatLoss],
        rule: Rule::not_significantly_worse(PERPLEXITY),
        ..CONVERSATION
    },
    Criterion {
        id: "dailydialog-bleu",
        claim: "GroundThink's DailyDialog BLEU is not measurably worse",
        why: "Benchmark category 2; no PASS requirement names it.",
        source: &[R(7), Section("Conversational Ability")],
        metrics: &[M::DailydialogBleu],
        rule: Rule::NOT_MEASURABLY_WORSE,
        ..CONVERSATION
    },
    Criterion {
        id: "personachat-bleu",
        claim: "GroundThink's PersonaChat BLEU is not measurably worse",
        why: "Benchmark category 2; no PASS requirement names it.",
        source: &[R(7), Section("Conversational Ability")],
        metrics: &[M::PersonachatBleu],
        rule: Rule::NOT_MEASURABLY_WORSE,
        ..CONVERSATION
    },
    Criterion {
        id: "human-preference",
        claim: "Raters prefer GroundThink's replies",
        why: "Benchmark category 2; no PASS requirement names it.",
        source: &[R(7), Section("Conversational Ability")],
        scope: ModelScope::GroundThink,
        metrics: &[M::HumanPreference],
        rule: Rule::lower_above(0.5),
        ..CONVERSATION
    },
];
