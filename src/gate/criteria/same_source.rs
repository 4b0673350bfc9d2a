//! Whether both models come from the same data, batches, recipe and code, and each trial from a training of its own.

use super::families::{GATE, ROW, SMALLER};
use crate::evidence::Condition::Untrained;
use crate::evidence::{Field, Metric as M};
use crate::gate::citation::Citation::{Pillar, R, Section};
use crate::gate::criterion::{Criterion, ModelScope};
use crate::gate::rule::Rule;

const MATCHING: Criterion = Criterion { group: "matching", scope: ModelScope::Pair, ..ROW };
/// Checks on provenance look at a number of the training and at one of the trained model.
const BOTH_ENDS: &[M] = &[M::TrainLoss, M::ValidationLoss];

pub(super) const ROWS: &[Criterion] = &[
    Criterion {
        id: "same-data",
        claim: "Both models saw the same data set",
        why: "A different text is a different task.",
        source: &[Pillar(2)],
        metrics: BOTH_ENDS,
        rule: Rule::same(Field::Data),
        ..MATCHING
    },
    Criterion {
        id: "same-order",
        claim: "Both models were given the same saved order",
        why: "Trials are paired by their order.",
        source: &[R(13), Section("Critical: Same Data Order")],
        metrics: BOTH_ENDS,
        rule: Rule::same(Field::Order),
        ..MATCHING
    },
    Criterion {
        id: "same-batches",
        claim: "Both trainers consumed the very same batches",
        why: "A saved order that is shuffled again is lost.",
        source: &[R(13), Section("Critical: Same Data Order")],
        metrics: BOTH_ENDS,
        rule: Rule::same(Field::Fed),
        ..MATCHING
    },
    Criterion {
        id: "same-preprocessing",
        claim: "Both models saw the text prepared in the same way",
        why: "Pillar 2: same preprocessing pipeline.",
        source: &[Pillar(2)],
        metrics: BOTH_ENDS,
        rule: Rule::same(Field::Preprocessing),
        ..MATCHING
    },
    Criterion {
        id: "same-tokenizer",
        claim: "Both models use the same tokenizer",
        why: "Losses per token are comparable only per the same token.",
        source: &[Section("Architecture Design")],
        metrics: BOTH_ENDS,
        rule: Rule::same(Field::Tokenizer),
        ..MATCHING
    },
    Criterion {
        id: "same-recipe",
        claim: "Both models were trained by the same recipe",
        why: "Same steps, batch, schedule and optimizer: tuning one model only decides the comparison.",
        source: &[R(12), Section("Training Protocol")],
        metrics: BOTH_ENDS,
        rule: Rule::same(Field::Recipe),
        ..MATCHING
    },
    Criterion {
        id: "same-validation",
        claim: "Both models were measured on the same held-out split",
        why: "Pillar 3: same validation set.",
        source: &[R(5), Pillar(3)],
        metrics: BOTH_ENDS,
        rule: Rule::same(Field::Validation),
        ..MATCHING
    },
    Criterion {
        id: "same-tuning",
        claim: "Both models had the same tuning budget",
        why: "Pillar 3: whoever is tuned longer looks better.",
        source: &[R(12), Pillar(3)],
        required: GATE,
        informs: SMALLER,
        metrics: BOTH_ENDS,
        rule: Rule::same(Field::Tuning),
        ..MATCHING
    },
    Criterion {
        id: "same-stopping",
        claim: "Both trainings end by the same rule",
        why: "Pillar 3: same early stopping criteria.",
        source: &[Pillar(3)],
        metrics: BOTH_ENDS,
        rule: Rule::same(Field::Stopping),
        ..MATCHING
    },
    Criterion {
        id: "same-device",
        claim: "Both models ran on the same kind of device",
        why: "Fair comparison: same hardware.",
        source: &[Section("Fair Comparison Rules")],
        metrics: BOTH_ENDS,
        rule: Rule::same(Field::Device),
        ..MATCHING
    },
    Criterion {
        id: "same-precision",
        claim: "Both models used the same arithmetic",
        why: "Fair comparison: same precision.",
        source: &[Section("Fair Comparison Rules")],
        metrics: BOTH_ENDS,
        rule: Rule::same(Field::Precision),
        ..MATCHING
    },
    Criterion {
        id: "same-code",
        claim: "Both models were trained and measured by the same code",
        why: "Fair comparison: same software stack.",
        source: &[R(14), Section("Fair Comparison Rules")],
        metrics: BOTH_ENDS,
        rule: Rule::same(Field::Revision),
        ..MATCHING
    },
    Criterion {
        id: "weights-distinct",
        claim: "Every trial of either model has weights of its own",
        why: "A seed that is copied is one trial, and one model under two names is no comparison.",
        source: &[R(7), R(14)],
        metrics: &[M::ValidationLoss],
        rule: Rule::distinct(Field::Weights),
        ..MATCHING
    },
    Criterion {
        id: "orders-distinct",
        claim: "Every trial reads the data in an order of its own",
        why: "Ten trials in one order are closer to one trial than to ten.",
        source: &[R(7), R(13)],
        metrics: &[M::ValidationLoss],
        rule: Rule::distinct(Field::Order),
        ..MATCHING
    },
    Criterion {
        id: "initial-weights-distinct",
        claim: "Every trial of either model begins with weights of its own",
        why: "Ten trials from one initialisation are closer to one trial than to ten.",
        source: &[R(7), R(25)],
        condition: Untrained,
        metrics: &[M::InitialEntropyShare],
        rule: Rule::distinct(Field::Weights),
        ..MATCHING
    },
    Criterion {
        id: "batches-distinct",
        claim: "Every trial of a model consumed a stream of tokens of its own",
        why: "Ten trials on one stream are closer to one trial than to ten.",
        source: &[R(13), R(25)],
        metrics: &[M::ValidationLoss],
        rule: Rule::distinct(Field::Fed),
        ..MATCHING
    },
    Criterion {
        id: "one-set-of-weights",
        claim: "Everything measured of a trained model comes from one set of weights",
        why: "Losses of one checkpoint and recall of another describe no model.",
        source: &[R(14)],
        metrics: &[M::ValidationLoss],
        rule: Rule::one_source(Field::Weights),
        ..MATCHING
    },
    Criterion {
        id: "one-set-of-batches",
        claim: "Everything measured of a trained model comes from one training",
        why: "The digest of what the trainer consumed is the same for all of it.",
        source: &[R(13), R(14)],
        metrics: &[M::ValidationLoss],
        rule: Rule::one_source(Field::Fed),
        ..MATCHING
    },
    Criterion {
        id: "same-benchmarks",
        claim: "Both models were measured on the same benchmark files and items",
        why: "Otherwise one model's number may come from an easier file.",
        source: &[R(7), Section("Evaluation Protocol")],
        required: GATE,
        informs: SMALLER,
        metrics: &[M::WikitextLoss, M::PtbLoss, M::LambadaLoss, M::HellaswagMargin, M::LongContextLoss],
        rule: Rule::same(Field::Validation),
        ..MATCHING
    },
];
