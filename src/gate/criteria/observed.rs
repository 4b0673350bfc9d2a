//! What was seen where it happened, and not what was said about it (ruling R22): what is carried on, what was learnt
//! from and how, and what the models were asked.

use super::families::{GATE, ROW, SMALLER};
use crate::evidence::Metric as M;
use crate::gate::citation::Citation::{R, Test};
use crate::gate::criterion::{Criterion, ModelScope};
use crate::gate::rule::{EXACT, Rule};

const OBSERVED: Criterion = Criterion { group: "observed", ..ROW };
const PAIR: Criterion = Criterion { scope: ModelScope::Pair, ..OBSERVED };

pub(super) const ROWS: &[Criterion] = &[
    Criterion {
        id: "carried-on",
        claim: "Reading on is reading at once, for both models, in pieces and in single steps",
        why: "A state or cache that loses something between calls is another model wherever it is asked. The limit is that of S3's halves.",
        source: &[Test("S3"), R(22)],
        metrics: &[M::CarriedError],
        rule: Rule::at_most(1e-3),
        ..OBSERVED
    },
    Criterion {
        id: "carried-on-rounded",
        claim: "Reading on is reading at once in the precision of the run, too",
        why: "bfloat16 rounds by 2^-9; over the ten roundings of each of twelve blocks, adding as squares, that is 0.02, and five times as much is no rounding.",
        source: &[Test("S3"), R(22)],
        metrics: &[M::CarriedErrorRounded],
        rule: Rule::at_most(0.1),
        ..OBSERVED
    },
    Criterion {
        id: "carried-repeats",
        claim: "The same text read again gives the same bits, for both models, one sequence and several",
        why: "Otherwise an answer depends on what was asked before.",
        source: &[Test("S3"), R(22)],
        metrics: &[M::CarriedRepeats],
        rule: Rule::HOLDS,
        ..OBSERVED
    },
    Criterion {
        id: "evaluated-as-trained",
        claim: "What is evaluated computes what was trained",
        why: "A pass without gradients takes other paths; where it computes something else, another model is measured. The limit is that of S3's halves.",
        source: &[Test("S3"), R(22)],
        metrics: &[M::EvaluationError],
        rule: Rule::at_most(1e-3),
        ..OBSERVED
    },
    Criterion {
        id: "loss-is-observed",
        claim: "What reached the loss is the saved order, token by token, for both models",
        why: "Tokens that are swapped behind the digest of what was read make another training.",
        source: &[R(13), R(22)],
        metrics: &[M::LearntSavedOrder],
        rule: Rule::HOLDS,
        ..OBSERVED
    },
    Criterion {
        id: "mixture-as-declared",
        claim: "Of every part of a mixture both models learnt from the share declared, within half a point",
        why: "Half a point is the ruling's limit. That both learnt from the same of it is what the rows about order and loss say, token by token.",
        source: &[R(27)],
        metrics: &[M::MixtureError],
        rule: Rule::at_most(0.005),
        ..OBSERVED
    },
    Criterion {
        id: "rate-as-recipe",
        claim: "The optimizer applied the recipe's learning rates",
        why: "A recipe is what was done, not what was written down.",
        source: &[R(12), R(22)],
        metrics: &[M::RateError],
        rule: Rule::at_most(EXACT),
        ..OBSERVED
    },
    Criterion {
        id: "settings-as-recipe",
        claim: "The optimizer applied the recipe's decay, betas, epsilon and clipping",
        why: "A weakened baseline would lose by them.",
        source: &[R(12), R(22)],
        metrics: &[M::SettingsError],
        rule: Rule::at_most(EXACT),
        ..OBSERVED
    },
    Criterion {
        id: "mean-over-parts",
        claim: "A step's gradient is the mean over its micro-batches",
        why: "A sum is another learning rate where a step has several parts.",
        source: &[R(12), R(22)],
        metrics: &[M::PartWeightError],
        rule: Rule::at_most(EXACT),
        ..OBSERVED
    },
    Criterion {
        id: "starts-from-seed",
        claim: "Both trainings began with the weights that the seed gives",
        why: "Other weights are another initialisation, or another training's.",
        source: &[R(12), R(22)],
        metrics: &[M::StartsFromSeed],
        rule: Rule::HOLDS,
        ..OBSERVED
    },
    Criterion {
        id: "weights-of-the-run",
        claim: "The weights that are questioned are those that the training ended with",
        why: "Rounded, replaced or earlier weights are another model.",
        source: &[R(14), R(22)],
        metrics: &[M::WeightsOfTheRun],
        rule: Rule::HOLDS,
        ..OBSERVED
    },
    Criterion {
        id: "parameters-counted",
        claim: "The tensors have as many elements as parameters are counted",
        why: "What the count leaves out is size that is not compared.",
        source: &[R(1), R(22)],
        metrics: &[M::CountedParameters],
        rule: Rule::mean_is(M::TotalParameters),
        ..OBSERVED
    },
    Criterion {
        id: "same-windows",
        claim: "Both models were given the very same windows for the validation loss",
        why: "An easier text is no better model.",
        source: &[R(5), R(22)],
        metrics: &[M::WindowsSeen],
        rule: Rule::matched(0.0),
        ..PAIR
    },
    Criterion {
        id: "same-tokens-scored",
        claim: "Both models' validation losses are over equally many tokens",
        why: "The mean over the easier ones is another mean.",
        source: &[R(5), R(22)],
        metrics: &[M::TokensScored],
        rule: Rule::matched(0.0),
        ..PAIR
    },
    Criterion {
        id: "loss-is-the-mean",
        claim: "Validation loss and perplexity are the mean of all losses that the model gave, and its exponential",
        why: "Never average perplexities, and leave no window out.",
        source: &[R(5), R(22)],
        metrics: &[M::ValidationLossError],
        rule: Rule::at_most(EXACT),
        ..OBSERVED
    },
    Criterion {
        id: "loss-in-nats",
        claim: "The losses that both models give are the negative log-softmax of their logits, in nats",
        why: "Rounding of bfloat16 logits, averaged over 64 positions, stays below a hundredth; bits are off by 44 %.",
        source: &[R(5), R(22)],
        metrics: &[M::LossFromLogitsError],
        rule: Rule::at_most(1e-2),
        ..OBSERVED
    },
    Criterion {
        id: "same-prompts",
        claim: "Both models got the same prompts of the recall tests, as far as every window holds them",
        why: "GPT-2 reads the most recent tokens, as many as its window holds.",
        source: &[R(17), R(22)],
        metrics: &[M::PromptsSeen],
        rule: Rule::matched(0.0),
        ..PAIR
    },
    Criterion {
        id: "same-canary-prompts",
        claim: "Both models got the same prompts of the canaries, as far as every window holds them",
        why: "GPT-2 reads the most recent tokens, as many as its window holds.",
        source: &[R(17), R(22)],
        metrics: &[M::CanaryPromptsSeen],
        rule: Rule::matched(0.0),
        ..PAIR
    },
    Criterion {
        id: "long-documents-slid",
        claim: "GPT-2's window slides over long documents by half or less",
        why: "In disjoint windows a token has too little before it. Half of a window twice is two reads of a token, less one for the first window: a 32nd of a document.",
        source: &[R(20), R(22)],
        required: GATE,
        informs: SMALLER,
        scope: ModelScope::Gpt2,
        metrics: &[M::LongReadsPerToken],
        rule: Rule::at_least(1.9),
        ..OBSERVED
    },
    Criterion {
        id: "cut-tokens-recorded",
        claim: "How much of each recall item a window cut off is on record",
        why: "A memory that a window could hold is none that a state is needed for.",
        source: &[R(17)],
        metrics: &[M::CutTokensMean, M::CutTokensMost],
        rule: Rule::FINITE,
        ..OBSERVED
    },
];
