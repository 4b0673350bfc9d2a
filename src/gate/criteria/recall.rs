//! The recall tests one by one, and tests of memory that need no question.

use super::families::{GATE, NOWHERE, SHOWN, SMALLER};
use crate::evidence::Condition::WindowMatched;
use crate::evidence::{Metric as M, RecallScore, RecallTest};
use crate::gate::citation::Citation::{R, Section, Test};
use crate::gate::criterion::{Criterion, ModelScope};
use crate::gate::rule::Rule;
use crate::scale::Tier;

const RECALLS: Criterion = Criterion { group: "statefulness", ..SHOWN };

pub(super) const ROWS: &[Criterion] = &[
    Criterion {
        id: "three-turn-memory",
        claim: RecallTest::ThreeTurnMemory.claim(),
        why: RecallTest::ThreeTurnMemory.why(),
        source: &[R(16), R(17), Section("Tier 1: Short-Term Memory")],
        required: &[Tier::Smoke, Tier::Gate],
        informs: &[Tier::Study],
        metrics: &[M::Recall(RecallTest::ThreeTurnMemory, RecallScore::Accuracy)],
        rule: Rule::ABOVE_CHANCE,
        ..RECALLS
    },
    Criterion {
        id: "contextual-correction",
        claim: RecallTest::ContextualCorrection.claim(),
        why: RecallTest::ContextualCorrection.why(),
        source: &[R(16), R(17), Section("Tier 1: Short-Term Memory")],
        required: &[Tier::Smoke, Tier::Gate],
        informs: &[Tier::Study],
        metrics: &[M::Recall(RecallTest::ContextualCorrection, RecallScore::Accuracy)],
        rule: Rule::ABOVE_CHANCE,
        ..RECALLS
    },
    Criterion {
        id: "interrupted-dialogue",
        claim: RecallTest::InterruptedDialogue.claim(),
        why: RecallTest::InterruptedDialogue.why(),
        source: &[R(16), R(17), Section("Tier 2: Medium-Term Memory")],
        metrics: &[M::Recall(RecallTest::InterruptedDialogue, RecallScore::Accuracy)],
        rule: Rule::ABOVE_CHANCE,
        ..RECALLS
    },
    Criterion {
        id: "multi-fact-composition",
        claim: RecallTest::MultiFactComposition.claim(),
        why: RecallTest::MultiFactComposition.why(),
        source: &[R(16), R(17), Section("Tier 2: Medium-Term Memory")],
        metrics: &[M::Recall(RecallTest::MultiFactComposition, RecallScore::Accuracy)],
        rule: Rule::ABOVE_CHANCE,
        ..RECALLS
    },
    Criterion {
        id: "persona-consistency",
        claim: RecallTest::PersonaConsistency.claim(),
        why: RecallTest::PersonaConsistency.why(),
        source: &[R(16), R(17), Section("Tier 3: Conversational")],
        required: GATE,
        informs: SMALLER,
        metrics: &[M::Recall(RecallTest::PersonaConsistency, RecallScore::Accuracy)],
        rule: Rule::FINITE,
        ..RECALLS
    },
    Criterion {
        id: "topic-threading",
        claim: RecallTest::TopicThreading.claim(),
        why: RecallTest::TopicThreading.why(),
        source: &[R(16), R(17), Section("Tier 3: Conversational")],
        required: GATE,
        informs: SMALLER,
        metrics: &[M::Recall(RecallTest::TopicThreading, RecallScore::Accuracy)],
        rule: Rule::FINITE,
        ..RECALLS
    },
    Criterion {
        id: "retention-1",
        claim: RecallTest::Retention1.claim(),
        why: RecallTest::Retention1.why(),
        source: &[R(16), R(19), Section("Evaluation Suite")],
        metrics: &[M::Recall(RecallTest::Retention1, RecallScore::Accuracy)],
        rule: Rule::ABOVE_CHANCE,
        ..RECALLS
    },
    Criterion {
        id: "retention-5",
        claim: RecallTest::Retention5.claim(),
        why: RecallTest::Retention5.why(),
        source: &[R(16), R(19), Section("Evaluation Suite")],
        metrics: &[M::Recall(RecallTest::Retention5, RecallScore::Accuracy)],
        rule: Rule::ABOVE_CHANCE,
        ..RECALLS
    },
    Criterion {
        id: "retention-10",
        claim: RecallTest::Retention10.claim(),
        why: RecallTest::Retention10.why(),
        source: &[R(16), R(19), Section("Evaluation Suite")],
        metrics: &[M::Recall(RecallTest::Retention10, RecallScore::Accuracy)],
        rule: Rule::ABOVE_CHANCE,
        ..RECALLS
    },
    Criterion {
        id: "retention-20",
        claim: RecallTest::Retention20.claim(),
        why: RecallTest::Retention20.why(),
        source: &[R(16), R(19), Section("Evaluation Suite")],
        metrics: &[M::Recall(RecallTest::Retention20, RecallScore::Accuracy)],
        rule: Rule::ABOVE_CHANCE,
        ..RECALLS
    },
    Criterion {
        id: "retention-50",
        claim: RecallTest::Retention50.claim(),
        why: RecallTest::Retention50.why(),
        source: &[R(16), R(19), Section("Evaluation Suite")],
        metrics: &[M::Recall(RecallTest::Retention50, RecallScore::Accuracy)],
        rule: Rule::ABOVE_CHANCE,
        ..RECALLS
    },
    Criterion {
        id: "document-wording",
        claim: "The document's own questions are scored",
        why: "Reported, never gated: models of this size do not answer questions.",
        source: &[R(16)],
        metrics: &[M::DocumentWordingAccuracy],
        rule: Rule::FINITE,
        ..RECALLS
    },
    Criterion {
        id: "window-matched",
        claim: "GPT-2 with a window of GroundThink's bytes is scored",
        why: "What the same memory buys a cache.",
        source: &[R(18)],
        scope: ModelScope::Gpt2,
        condition: WindowMatched,
        metrics: &[M::StatefulnessScore],
        rule: Rule::FINITE,
        ..RECALLS
    },
    Criterion {
        id: "mqar",
        claim: "GroundThink recalls associations not measurably worse",
        why: "Needs no question: trained from scratch on key-value pairs, the best of several learning rates.",
        source: &[R(16), Section("Statefulness Tests")],
        scope: ModelScope::Pair,
        metrics: &[M::MqarAccuracy],
        rule: Rule::NOT_MEASURABLY_WORSE,
        ..RECALLS
    },
    Criterion {
        id: "repeated-bigrams",
        claim: "GroundThink predicts repeated pairs not measurably worse",
        why: "Needs no question: what completes a pair seen earlier.",
        source: &[R(16), Section("Statefulness Tests")],
        scope: ModelScope::Pair,
        metrics: &[M::RepeatedBigramLoss],
        rule: Rule::NOT_MEASURABLY_WORSE,
        ..RECALLS
    },
    Criterion {
        id: "repeated-bigrams-1024",
        claim: "GroundThink predicts pairs seen 257 to 1,024 tokens ago not measurably worse",
        why: "Needs no question: partly beyond a window of attention that slides on.",
        source: &[R(16), R(18), Section("Statefulness Tests")],
        scope: ModelScope::Pair,
        metrics: &[M::RepeatedBigramLoss1024],
        rule: Rule::NOT_MEASURABLY_WORSE,
        ..RECALLS
    },
    Criterion {
        id: "repeated-bigrams-far",
        claim: "GroundThink predicts pairs seen over 1,024 tokens ago not measurably worse",
        why: "Needs no question: where a window of attention has slid on and a state must have kept it.",
        source: &[R(16), R(18), Section("Statefulness Tests")],
        scope: ModelScope::Pair,
        metrics: &[M::RepeatedBigramLossFar],
        rule: Rule::NOT_MEASURABLY_WORSE,
        ..RECALLS
    },
    Criterion {
        id: "emergent-reasoning",
        claim: "GroundThink composes two facts at 8M",
        why: "Checklist of 8M: emergent simple reasoning. Each item names two candidates: whoever picks one of them without comparing is right half the time, so that is the chance that counts.",
        source: &[Test("Reasoning"), Section("Validation Checklist Per Scale")],
        required: GATE,
        informs: NOWHERE,
        scales: &["8M"],
        scope: ModelScope::GroundThink,
        metrics: &[M::Recall(RecallTest::MultiFactComposition, RecallScore::Accuracy)],
        rule: Rule::lower_above(0.5),
        ..RECALLS
    },
];
