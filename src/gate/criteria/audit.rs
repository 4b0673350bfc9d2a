//! What the referee found when it made a part of everything again.

use super::families::{GATE, ROW, SMALLER};
use crate::evidence::Metric as M;
use crate::gate::citation::Citation::R;
use crate::gate::criterion::Criterion;
use crate::gate::rule::Rule;

const AUDIT: Criterion = Criterion { group: "audit", source: &[R(23)], rule: Rule::at_most(1.0), ..ROW };

pub(super) const ROWS: &[Criterion] = &[
    Criterion {
        id: "audit-initial-weights",
        claim: "Every training started from the weights of its seed",
        why: "Weights that are drawn otherwise than the record says make another training of it. Without an audit nothing is proven.",
        metrics: &[M::AuditInitialWeights],
        ..AUDIT
    },
    Criterion {
        id: "audit-training",
        claim: "Steps of every training, made again by a second implementation in float64, agree with its record",
        why: "Trainer and record are one program: only what does not share its code can see that it trains on other tokens, with another learning rate or along another gradient than it says.",
        metrics: &[M::AuditTraining],
        ..AUDIT
    },
    Criterion {
        id: "audit-evaluation",
        claim: "Losses measured again by a second implementation in float64 agree with the ledger",
        why: "A probe that reads other text, other weights or in another unit than it says shows nowhere else.",
        metrics: &[M::AuditEvaluation],
        ..AUDIT
    },
    Criterion {
        id: "audit-parameters",
        claim: "The tensors of every checkpoint hold as many numbers as the ledger says",
        why: "Models are matched by a count; a matrix that is not counted is an advantage.",
        metrics: &[M::AuditParameters],
        ..AUDIT
    },
    Criterion {
        id: "audit-items",
        claim: "Means over items, their counts and intervals follow from the items beside the ledger",
        why: "A mean from which the worst items were left out, or an interval over others, is seen in no number but those of the items.",
        metrics: &[M::AuditItems],
        ..AUDIT
    },
    Criterion {
        id: "audit-answers",
        claim: "Questions that are drawn from every test, asked again by a second implementation in float64, get the answers on record",
        why: "A prompt cut on the wrong side, a state that is not carried on or another text for one model shows only to who makes the prompt and the answer again.",
        metrics: &[M::AuditAnswers],
        ..AUDIT
    },
    Criterion {
        id: "audit-configuration",
        claim: "Every network is the one that the rulings name for its scale: blocks, heads, width, epsilon and switches",
        why: "A baseline with one head or another epsilon has as many parameters, and is not GPT-2.",
        source: &[R(1), R(3), R(23)],
        metrics: &[M::AuditConfiguration],
        ..AUDIT
    },
    Criterion {
        id: "audit-data",
        claim: "Tokenizer and tokens are what the text makes, and every window is read as often as any other",
        why: "A kept file of tokens is checked against itself; documents that suit one model, or a part of the text read again and again, show only beside the text.",
        source: &[R(13), R(23)],
        metrics: &[M::AuditData],
        ..AUDIT
    },
    Criterion {
        id: "audit-stretches",
        claim: "After every kept state the training goes on as its record says, step by step and bit for bit",
        why: "What happens to a training only between the steps that are looked at shows where it is made again from there.",
        source: &[R(22), R(23)],
        metrics: &[M::AuditStretches],
        ..AUDIT
    },
    Criterion {
        id: "audit-probes",
        claim: "A probe that is drawn afterwards gives the numbers on record when it is put again",
        why: "Numbers of which no items are kept, such as those of benchmarks, can be written by anybody.",
        source: &[R(22), R(23)],
        metrics: &[M::AuditProbes],
        ..AUDIT
    },
    Criterion {
        id: "audit-costs",
        claim: "Times and memory, measured again in turns, are as the ledger says: what one model gained on the other, growths, and how long a training took beside its own steps",
        why: "A model that does needless work while it is timed, or whose blocks of memory are not counted, loses a race that it was not in.",
        source: &[R(20), R(22), R(23)],
        required: GATE,
        informs: SMALLER,
        metrics: &[M::AuditCosts],
        ..AUDIT
    },
];
