//! What the referee found when it made a part of everything again.

use super::families::ROW;
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
];
