//! Whether both trainings are sound: they end, learn, are stable and leave nothing untrained.

use super::families::{ALL, GATE, NOWHERE, ROW};
use crate::evidence::Metric as M;
use crate::gate::citation::Citation::{Pass, R, Section, Test};
use crate::gate::criterion::{Criterion, ModelScope};
use crate::gate::rule::{Identity, Rule};

const TRAINING: Criterion = Criterion { group: "training", ..ROW };

pub(super) const ROWS: &[Criterion] = &[
    Criterion {
        id: "run-completed",
        claim: "Training of both models reached its last step",
        why: "A run that diverged or stopped is no baseline and no contender.",
        source: &[R(14), Pass(2)],
        metrics: &[M::RunCompleted],
        rule: Rule::HOLDS,
        ..TRAINING
    },
    Criterion {
        id: "losses-finite",
        claim: "Final training and validation losses are finite",
        why: "NaN and infinity are evidence of a diverged run.",
        source: &[R(14)],
        metrics: &[M::TrainLoss, M::ValidationLoss],
        rule: Rule::FINITE,
        ..TRAINING
    },
    Criterion {
        id: "naive-uniform",
        claim: "Both models beat a uniform guess",
        why: "A model that does not has learnt nothing.",
        source: &[Test("Naive")],
        metrics: &[M::ValidationLoss],
        rule: Rule::less_than(M::UniformLoss),
        ..TRAINING
    },
    Criterion {
        id: "naive-unigram",
        claim: "Both models beat counting words",
        why: "Comparing two models that have only learnt frequencies says nothing about either.",
        source: &[Test("Naive")],
        metrics: &[M::ValidationLoss],
        rule: Rule::less_than(M::UnigramLoss),
        ..TRAINING
    },
    Criterion {
        id: "naive-bigram",
        claim: "Both models beat counting word pairs",
        why: "A model that does not makes no use of context.",
        source: &[Test("Naive")],
        metrics: &[M::ValidationLoss],
        rule: Rule::less_than(M::BigramLoss),
        ..TRAINING
    },
    Criterion {
        id: "held-out-no-easier",
        claim: "Held-out loss is not below training loss",
        why: "Training text is read at most as often as it is learnt, held-out text never: it can be easier only by what the last steps still learn and by chance, if parts of a mixture weigh alike. Where that is more than ruling R6's margin, ln 1.05, the model was trained on held-out text, measured on training text, or R6 decides nothing.",
        source: &[R(6), R(22)],
        metrics: &[M::TrainLoss, M::HeldOutByShares],
        rule: Rule::identity(Identity::AtMost(0.048_790_164_169_432)),
        ..TRAINING
    },
    Criterion {
        id: "overfit",
        claim: "Both models learn ten short samples by heart",
        why: "A model that cannot has a defect in its gradients.",
        source: &[Test("Overfit"), Section("Smoke Test Protocol")],
        metrics: &[M::OverfitLoss],
        rule: Rule::below(0.5),
        ..TRAINING
    },
    Criterion {
        id: "memorised",
        claim: "Both 3.5M models memorise 10,000 tokens",
        why: "Checklist of 3.5M: capacity and gradients suffice to store a text.",
        source: &[Test("Overfit"), Section("Validation Checklist Per Scale")],
        required: GATE,
        informs: NOWHERE,
        scales: &["3.5M"],
        metrics: &[M::MemorisedLoss],
        rule: Rule::below(0.1),
        ..TRAINING
    },
    Criterion {
        id: "stability",
        claim: "No loss exceeds twice its trailing mean after warm-up",
        why: "Red line: training instability. Checklist of 3.5M: curves are smooth.",
        source: &[Test("Stability"), Section("Red Line Thresholds")],
        metrics: &[M::LargestSpike],
        rule: Rule::at_most(2.0),
        ..TRAINING
    },
    Criterion {
        id: "plateau",
        claim: "Validation loss has levelled off",
        why: "A difference before the plateau may be one of speed. Measured from 500M tokens on.",
        source: &[Test("Plateau"), Section("Validation Checklist Per Scale")],
        required: GATE,
        informs: NOWHERE,
        metrics: &[M::PlateauImprovement],
        rule: Rule::within(-0.01, 0.01),
        ..TRAINING
    },
    Criterion {
        id: "resume",
        claim: "An interrupted training goes on bit-identically",
        why: "Otherwise an interrupted run is a different experiment.",
        source: &[Test("Resume")],
        metrics: &[M::ResumeIdentical],
        rule: Rule::HOLDS,
        ..TRAINING
    },
    Criterion {
        id: "gradient-norms-alike",
        claim: "The models' median gradient norms are of one magnitude",
        why: "One clipping limit and one learning rate would mean different things to the two models.",
        source: &[Test("GradNorm"), Section("Smoke Test Protocol")],
        scope: ModelScope::Pair,
        metrics: &[M::GradientNormMedian],
        rule: Rule::ratio_within(0.1, 10.0),
        ..TRAINING
    },
    Criterion {
        id: "slopes-alike",
        claim: "Both models' losses fall at a similar rate",
        why: "A much flatter curve at 1 % of the data is a defect worth finding before spending the rest.",
        source: &[Test("Slope"), Section("Smoke Test Protocol")],
        scope: ModelScope::Pair,
        metrics: &[M::LossSlope],
        rule: Rule::ratio_within(0.5, 2.0),
        ..TRAINING
    },
    Criterion {
        id: "slopes-fall",
        claim: "Both models' losses fall over the first 1 % of the data",
        why: "Rising alike is alike, too.",
        source: &[Test("Slope"), Section("Smoke Test Protocol")],
        metrics: &[M::LossSlope],
        rule: Rule::below(0.0),
        ..TRAINING
    },
    Criterion {
        id: "warmup-share",
        claim: "Warm-up takes at most a tenth of the steps",
        why: "The document's 2,000 steps are 52 % of FULL's; kept as written and said here.",
        source: &[R(12), Section("Config Alignment")],
        required: NOWHERE,
        informs: ALL,
        metrics: &[M::WarmupShare],
        rule: Rule::at_most(0.1),
        ..TRAINING
    },
    Criterion {
        id: "decay-matrices-only",
        claim: "Weight decay leaves biases, norms and per-channel vectors alone",
        why: "Decaying them changes what the two architectures can represent, and not alike.",
        source: &[R(12)],
        metrics: &[M::DecayOnVectors],
        rule: Rule::at_most(0.0),
        ..TRAINING
    },
    Criterion {
        id: "every-tensor-moves",
        claim: "Training moved every parameter tensor of both models",
        why: "A tensor that stays as it was initialised is frozen: what follows learns to live with it, so nothing else shows it.",
        source: &[R(14), Pass(2)],
        metrics: &[M::LeastMovement],
        rule: Rule::above(0.0),
        ..TRAINING
    },
    Criterion {
        id: "held-out-not-in-training",
        claim: "Held-out text does not occur in the training text",
        why: "At most 1 % of its 64-token windows: learnt by heart, they could lower the loss by 1 %, a fifth of ruling R6's margin.",
        source: &[R(5), R(14)],
        metrics: &[M::ValidationOverlap],
        rule: Rule::at_most(0.01),
        ..TRAINING
    },
];
