//! THE LIST of defects that the gate is tried with: each with the criterion that must turn red.

use libtest_mimic::Failed;
use v5gate::evidence::Line;
use v5gate::gate::Status::{self, Unmet, Unproven};

use crate::lab::Lab;
use crate::{in_evidence, in_models, in_training};

/// The evidence without the defect, where the criterion is met, and with it.
pub struct Case {
    /// Without.
    pub sound: Vec<Line>,
    /// With.
    pub broken: Vec<Line>,
}

/// A defect.
#[derive(Clone, Copy)]
pub struct Mutant {
    /// Its name.
    pub name: &'static str,
    /// What is wrong, in one sentence.
    pub defect: &'static str,
    /// Where it is planted.
    pub planted: &'static str,
    /// What must turn red.
    pub criterion: &'static str,
    /// How.
    pub expected: Status,
    /// Plants it and questions what becomes of it.
    pub plant: fn(&Lab) -> Result<Case, Failed>,
    /// Why it goes unnoticed, where it is known to: such a row stays in the table and in the figure.
    pub survives: Option<&'static str>,
}

const fn row(
    name: &'static str,
    defect: &'static str,
    planted: &'static str,
    criterion: &'static str,
    expected: Status,
    plant: fn(&Lab) -> Result<Case, Failed>,
) -> Mutant {
    Mutant { name, defect, planted, criterion, expected, plant, survives: None }
}

const MODEL: &str = "the model";
const TRAINING: &str = "the training";
const DATA: &str = "the data";
const EVALUATION: &str = "the evaluation";
const EVIDENCE: &str = "the evidence";

/// Every defect.
pub const MUTANTS: &[Mutant] = &[
    row(
        "untrained-model",
        "GPT-2 is measured as it was before its first step.",
        MODEL,
        "naive-bigram",
        Unmet,
        in_models::untrained,
    ),
    row(
        "state-zeroed-every-token",
        "GroundThink's state is emptied before every token.",
        MODEL,
        "three-turn-memory",
        Unmet,
        in_models::forgetting,
    ),
    row(
        "state-leaks",
        "A new conversation begins with the state that the last one left.",
        MODEL,
        "S3-repeats",
        Unmet,
        in_models::leaking_state,
    ),
    row(
        "weights-tremble",
        "Weights differ a little from call to call, as with dropout left on.",
        MODEL,
        "S3-repeats",
        Unmet,
        in_models::trembling_weights,
    ),
    row(
        "convolution-tail-dropped",
        "The convolution's tail is not carried from call to call.",
        MODEL,
        "S3-halves",
        Unmet,
        in_models::dropped_tail,
    ),
    row(
        "future-visible",
        "Every position sees a hundredth of what the next one sees.",
        MODEL,
        "causal",
        Unmet,
        in_models::peeking,
    ),
    row("head-too-narrow", "The head lacks one word.", MODEL, "G1", Unmet, in_models::narrow_head),
    row(
        "larger-model",
        "GroundThink has twice the feed-forward width under the same label.",
        MODEL,
        "total-matched",
        Unmet,
        in_models::larger,
    ),
    row(
        "not-a-number",
        "One weight of GPT-2 is not a number.",
        MODEL,
        "losses-finite",
        Unmet,
        in_models::not_a_number,
    ),
    row(
        "labels-shifted-in-evaluation",
        "The loss of a position is taken at the next one's target.",
        EVALUATION,
        "naive-bigram",
        Unmet,
        in_models::shifted_losses,
    ),
    row(
        "labels-shifted-seen-at-once",
        "The same shift, looked for where causality is.",
        EVALUATION,
        "causal",
        Unmet,
        in_models::shifted_losses_seen_at_once,
    ),
    row(
        "needle-not-shown",
        "The items never state the fact they ask for.",
        EVALUATION,
        "control-copy-oracle",
        Unmet,
        in_models::needle_hidden,
    ),
    row(
        "conversation-not-shown",
        "GroundThink is asked about conversations that only GPT-2 is shown.",
        EVALUATION,
        "statefulness-not-below",
        Unmet,
        in_models::untold,
    ),
    row(
        "labels-shuffled",
        "The items of a test have each other's labels.",
        EVALUATION,
        "three-turn-memory",
        Unmet,
        in_models::labels_shuffled,
    ),
    row(
        "unequal-priors",
        "Each template comes with one truth only.",
        EVALUATION,
        "control-state-reset",
        Unmet,
        in_models::one_truth,
    ),
    row(
        "canary-not-shown",
        "The canaries never state the fact they ask for.",
        EVALUATION,
        "control-copy-oracle",
        Unmet,
        in_models::canary_hidden,
    ),
    row(
        "canary-unequal-priors",
        "Each variant of a canary comes with one truth only.",
        EVALUATION,
        "control-state-reset",
        Unmet,
        in_models::canary_one_truth,
    ),
    row(
        "canary-target-off-by-one",
        "The candidate after the true one counts as the true one.",
        EVALUATION,
        "control-copy-oracle",
        Unmet,
        in_models::canary_next,
    ),
    row(
        "canary-answer-in-stem",
        "The stem of a canary says its answer.",
        EVALUATION,
        "control-state-reset",
        Unmet,
        in_models::canary_told,
    ),
    row(
        "canary-state-not-reset",
        "The state that one canary left is there when the next is asked.",
        EVALUATION,
        "control-state-reset",
        Unmet,
        in_models::canary_not_reset,
    ),
    row(
        "answers-shrugged",
        "Every answer is replaced by a uniform guess.",
        EVALUATION,
        "three-turn-memory",
        Unmet,
        in_models::shrugging,
    ),
    row(
        "other-validation",
        "One model is measured on another held-out split.",
        EVALUATION,
        "same-validation",
        Unmet,
        in_training::other_validation,
    ),
    row(
        "mixed-precision",
        "One model computes in bfloat16.",
        EVALUATION,
        "same-precision",
        Unmet,
        in_models::mixed_precision,
    ),
    row(
        "slower-twin",
        "GroundThink sleeps for three milliseconds in every pass.",
        EVALUATION,
        "speed-not-worse",
        Unmet,
        in_evidence::slower_twin,
    ),
    row(
        "labels-shifted-in-training",
        "Every position is taught the token after the next.",
        TRAINING,
        "naive-unigram",
        Unmet,
        in_training::shifted_teaching,
    ),
    row(
        "other-order",
        "One model reads another order.",
        TRAINING,
        "same-order",
        Unmet,
        in_training::other_order,
    ),
    row(
        "shuffled-again",
        "The saved order is shuffled again before one model reads it.",
        TRAINING,
        "same-batches",
        Unmet,
        in_training::shuffled_again,
    ),
    row(
        "fewer-steps",
        "One model makes half the steps.",
        TRAINING,
        "tokens-matched",
        Unmet,
        in_training::fewer_steps,
    ),
    row(
        "early-stopping",
        "One model is stopped by a rule of its own.",
        TRAINING,
        "same-stopping",
        Unmet,
        in_training::early_stopping,
    ),
    row(
        "half-batch",
        "One model reads half the sequences in a step, in twice the steps.",
        TRAINING,
        "same-batch-size",
        Unmet,
        in_training::half_batch,
    ),
    row(
        "doubled-rate",
        "The baseline is trained with twice the learning rate.",
        TRAINING,
        "same-recipe",
        Unmet,
        in_training::double_rate,
    ),
    row(
        "decay-on-norms",
        "Weight decay applies to norms and biases too.",
        TRAINING,
        "decay-matrices-only",
        Unmet,
        in_models::decay_on_norms,
    ),
    row(
        "frozen-rwkv",
        "The RWKV-6 branch is put back to its start after each step.",
        TRAINING,
        "S4-both-needed",
        Unmet,
        in_training::frozen_rwkv,
    ),
    row(
        "frozen-mamba",
        "The Mamba-2 branch is put back to its start after each step.",
        TRAINING,
        "every-tensor-moves",
        Unmet,
        in_training::frozen_mamba,
    ),
    row(
        "frozen-norms",
        "The norms are put back to their start after each step.",
        TRAINING,
        "every-tensor-moves",
        Unmet,
        in_training::frozen_norms,
    ),
    row(
        "gate-shut",
        "The gate is put to 0 after each step.",
        TRAINING,
        "S4-both-needed",
        Unmet,
        in_training::gate_shut,
    ),
    row(
        "gate-open",
        "The gate is put to 1 after each step.",
        TRAINING,
        "S4-both-needed",
        Unmet,
        in_training::gate_open,
    ),
    row(
        "constant-decay",
        "The part of RWKV-6's decay that depends on the data is put to 0 after each step.",
        TRAINING,
        "decay-depends-on-data",
        Unmet,
        in_training::constant_decay,
    ),
    row(
        "more-tuning",
        "GroundThink's recipe was tuned with three times as many trainings.",
        TRAINING,
        "same-tuning",
        Unmet,
        in_training::more_tuning,
    ),
    row(
        "held-out-text-in-training",
        "Held-out documents stand inside training documents.",
        DATA,
        "held-out-not-in-training",
        Unmet,
        in_training::leaked_text,
    ),
    row(
        "other-tokenizer",
        "One model reads tokens of another vocabulary.",
        DATA,
        "same-tokenizer",
        Unmet,
        in_training::other_tokenizer,
    ),
    row(
        "other-data",
        "One model reads other conversations.",
        DATA,
        "same-data",
        Unmet,
        in_training::other_data,
    ),
    row(
        "other-preprocessing",
        "One model's text was prepared differently.",
        DATA,
        "same-preprocessing",
        Unmet,
        in_training::other_preprocessing,
    ),
    row(
        "other-models-answers",
        "GPT-2's answers stand under GroundThink's name.",
        EVIDENCE,
        "weights-distinct",
        Unmet,
        in_models::other_models_answers,
    ),
    row(
        "two-checkpoints",
        "Perplexity comes from another checkpoint than everything else.",
        EVIDENCE,
        "one-set-of-weights",
        Unmet,
        in_models::two_checkpoints,
    ),
    row(
        "one-seed-ten-times",
        "One trial is handed in as ten.",
        EVIDENCE,
        "weights-distinct",
        Unmet,
        in_evidence::one_seed_ten_times,
    ),
    row(
        "stale-evidence",
        "The code has changed since the evidence was collected.",
        EVIDENCE,
        "losses-finite",
        Unproven,
        in_evidence::stale,
    ),
    row(
        "other-recipe-promised",
        "The evidence comes from another recipe than the one that the manifest names.",
        EVIDENCE,
        "losses-finite",
        Unproven,
        in_evidence::other_recipe,
    ),
    row(
        "missing-trial",
        "One trial of one model is missing.",
        EVIDENCE,
        "losses-finite",
        Unproven,
        in_evidence::missing_trial,
    ),
    row(
        "missing-measurement",
        "One measurement is missing.",
        EVIDENCE,
        "naive-bigram",
        Unproven,
        in_evidence::missing_measurement,
    ),
    row(
        "contradiction",
        "A second measurement of GPT-2's loss says something worse.",
        EVIDENCE,
        "naive-bigram",
        Unmet,
        in_evidence::contradiction,
    ),
];
