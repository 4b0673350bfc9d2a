//! Long contexts: loss beyond 2K tokens, and what they cost.

use super::families::{ALL, COMPARING, GATE, NOWHERE, PERPLEXITY, SMALLER};
use crate::evidence::Metric as M;
use crate::gate::citation::Citation::{Pass, R};
use crate::gate::criterion::{Criterion, ModelScope};
use crate::gate::rule::Rule;

const LONG: Criterion = Criterion { group: "long context", required: NOWHERE, informs: ALL, ..COMPARING };

pub(super) const ROWS: &[Criterion] = &[
    Criterion {
        id: "long-context-loss",
        claim: "Beyond 2K tokens GroundThink's perplexity is significantly better",
        why: "First way to PASS 5: ruling R7, documents of at least 32K tokens.",
        source: &[R(7), R(20), Pass(5)],
        metrics: &[M::LongContextLoss],
        rule: Rule::significantly_better(PERPLEXITY),
        ..LONG
    },
    Criterion {
        id: "long-context-flat",
        claim: "GroundThink's cost is flat where GPT-2's grows, and its loss neither rises nor is worse",
        why: "Second way to PASS 5: being flat and worse is no advantage.",
        source: &[R(20), Pass(5)],
        rule: Rule::all(&[
            "cost-time-flat",
            "cost-memory-flat",
            "gpt2-cost-grows",
            "long-context-no-rise",
            "long-context-non-inferior",
        ]),
        ..LONG
    },
    Criterion {
        id: "cost-time-flat",
        claim: "GroundThink's time per token grows by at most a fifth from 2K to 8K",
        why: "Flat: less than ruling R7's effect for speed.",
        source: &[R(7), R(20)],
        scope: ModelScope::GroundThink,
        metrics: &[M::CostTimeGrowth],
        rule: Rule::at_most(1.2),
        ..LONG
    },
    Criterion {
        id: "cost-memory-flat",
        claim: "GroundThink's memory grows by at most 30 % from 2K to 8K",
        why: "Flat: less than ruling R7's effect for memory.",
        source: &[R(7), R(20)],
        scope: ModelScope::GroundThink,
        metrics: &[M::CostMemoryGrowth],
        rule: Rule::at_most(1.3),
        ..LONG
    },
    Criterion {
        id: "cost-of-whole-context",
        claim: "Conversations whose cost is measured have read all of their context",
        why: "Less memory for fewer tokens is no saving. Counted in the state itself, at every context up to 8K.",
        source: &[R(20), R(22)],
        required: GATE,
        informs: SMALLER,
        scope: ModelScope::Each,
        metrics: &[M::ConversationRead],
        rule: Rule::within(1.0, 1.0),
        ..LONG
    },
    Criterion {
        id: "same-work-timed",
        claim: "Both models have read as many tokens while they were timed",
        why: "Half of a text takes half of the time. Counted by who stands between the clock and the model.",
        source: &[R(20), R(22)],
        required: GATE,
        informs: SMALLER,
        metrics: &[M::TimedTokens],
        rule: Rule::matched(0.0),
        ..LONG
    },
    Criterion {
        id: "timed-from-the-start",
        claim: "The clock starts when the model is asked",
        why: "What a model does before it is timed is no part of its time. A twentieth is room for making a state.",
        source: &[R(20), R(22)],
        required: GATE,
        informs: SMALLER,
        scope: ModelScope::Each,
        metrics: &[M::TimedBefore],
        rule: Rule::at_most(0.05),
        ..LONG
    },
    Criterion {
        id: "gpt2-cost-grows",
        claim: "GPT-2's time or memory grows from 2K to 8K",
        why: "Otherwise being flat is no advantage.",
        source: &[R(20)],
        scope: ModelScope::Gpt2,
        rule: Rule::at_least_of(1, &["gpt2-time-grows", "gpt2-memory-grows"]),
        ..LONG
    },
    Criterion {
        id: "gpt2-time-grows",
        claim: "GPT-2's time per token grows by more than a fifth from 2K to 8K",
        why: "More than ruling R7's effect for speed.",
        source: &[R(7), R(20)],
        scope: ModelScope::Gpt2,
        metrics: &[M::CostTimeGrowth],
        rule: Rule::above(1.2),
        ..LONG
    },
    Criterion {
        id: "gpt2-memory-grows",
        claim: "GPT-2's memory grows by more than 30 % from 2K to 8K",
        why: "More than ruling R7's effect for memory.",
        source: &[R(7), R(20)],
        scope: ModelScope::Gpt2,
        metrics: &[M::CostMemoryGrowth],
        rule: Rule::above(1.3),
        ..LONG
    },
    Criterion {
        id: "long-context-no-rise",
        claim: "GroundThink's loss does not rise from 2K to 32K",
        why: "Its perplexity in the farthest bucket, and in the worst of all beyond 2K, is with 95 % confidence at most 5 % above that of the bucket that ends there: ruling R6's margin.",
        source: &[R(6), R(20)],
        scope: ModelScope::GroundThink,
        metrics: &[M::LongContextRise, M::LongContextWorstRise],
        rule: Rule::upper_at_most(0.048_790_164_169_432),
        ..LONG
    },
    Criterion {
        id: "long-context-non-inferior",
        claim: "Beyond 2K tokens GroundThink's perplexity is at most 5 % above that of GPT-2 with a sliding window",
        why: "Ruling R6, on tokens beyond 2K: a cost that is flat does not make up for a worse model.",
        source: &[R(6), R(20), Pass(5)],
        metrics: &[M::LongContextLoss],
        rule: Rule::non_inferior(1.05),
        ..LONG
    },
];
