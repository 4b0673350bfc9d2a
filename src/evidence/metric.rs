//! The closed vocabulary of what can be measured: one line per metric; those of recall tests and canaries follow
//! from their own table. A ledger that names
//! anything else is unreadable, so a misspelt metric can never pass for a missing one.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::recall_tests::{Canary, RecallScore, RecallTest};

/// Which way a metric improves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Less is better.
    Lower,
    /// More is better.
    Higher,
    /// Neither is better by itself.
    Neither,
}

macro_rules! metrics {
    (
        $($first:ident, $first_id:literal, $first_unit:literal, $first_way:ident, $first_doc:literal;)*
        [recall tests]
        $($middle:ident, $middle_id:literal, $middle_unit:literal, $middle_way:ident, $middle_doc:literal;)*
        [canaries]
        $($last:ident, $last_id:literal, $last_unit:literal, $last_way:ident, $last_doc:literal;)*
    ) => {
        /// Everything that can be measured.
        ///
        /// # Example
        ///
        /// ```
        /// use v5gate::evidence::{Direction, Metric};
        ///
        /// let loss = Metric::find("validation_loss").expect("a metric");
        /// assert_eq!(loss, Metric::ValidationLoss);
        /// assert_eq!((loss.unit(), loss.direction()), ("nats/token", Direction::Lower));
        ///
        /// // The unit says which values are possible.
        /// let accuracy = Metric::find("three_turn_memory_accuracy").expect("a metric");
        /// assert!(accuracy.can_be(1.0) && !accuracy.can_be(1.1) && !accuracy.can_be(f64::NAN));
        ///
        /// // A misspelt metric is not a missing one.
        /// assert!(serde_json::from_str::<Metric>("\"validation_los\"").is_err());
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric {
            $(#[doc = $first_doc] $first,)*
            /// A figure of a recall test.
            Recall(RecallTest, RecallScore),
            $(#[doc = $middle_doc] $middle,)*
            /// The accuracy of a canary.
            Canary(Canary),
            $(#[doc = $last_doc] $last,)*
        }

        impl Metric {
            /// Every metric, in the order of the table.
            pub const ALL: &'static [Metric] = &all(
                &[$(Metric::$first,)*],
                &[$(Metric::$middle,)*],
                &[$(Metric::$last,)*],
            );

            /// The name used in ledgers and on the command line.
            pub const fn id(self) -> &'static str {
                match self {
                    $(Metric::$first => $first_id,)*
                    Metric::Recall(test, score) => test.metric_id(score),
                    $(Metric::$middle => $middle_id,)*
                    Metric::Canary(canary) => canary.metric_id(),
                    $(Metric::$last => $last_id,)*
                }
            }

            /// The unit of the number.
            pub const fn unit(self) -> &'static str {
                match self {
                    $(Metric::$first => $first_unit,)*
                    Metric::Recall(_, score) => score.unit(),
                    $(Metric::$middle => $middle_unit,)*
                    Metric::Canary(_) => RecallScore::Accuracy.unit(),
                    $(Metric::$last => $last_unit,)*
                }
            }

            /// Which way the metric improves.
            pub const fn direction(self) -> Direction {
                match self {
                    $(Metric::$first => Direction::$first_way,)*
                    Metric::Recall(..) | Metric::Canary(_) => Direction::Higher,
                    $(Metric::$middle => Direction::$middle_way,)*
                    $(Metric::$last => Direction::$last_way,)*
                }
            }

            /// What the number is, in one line.
            pub const fn doc(self) -> &'static str {
                match self {
                    $(Metric::$first => $first_doc,)*
                    Metric::Recall(test, score) => test.metric_doc(score),
                    $(Metric::$middle => $middle_doc,)*
                    Metric::Canary(canary) => canary.metric_doc(),
                    $(Metric::$last => $last_doc,)*
                }
            }
        }

        /// How many metrics there are.
        const COUNT: usize = [$($first_id,)* $($middle_id,)* $($last_id,)*].len()
            + RecallTest::SCORES
            + Canary::ALL.len();
    };
}

/// The metrics of the table, with those of the recall tests and the canaries in between.
const fn all(first: &[Metric], middle: &[Metric], last: &[Metric]) -> [Metric; COUNT] {
    let (mut all, mut n) = ([first[0]; COUNT], 0);
    let mut i = 0;
    while i < first.len() {
        (all[n], n, i) = (first[i], n + 1, i + 1);
    }
    let mut test = 0;
    while test < RecallTest::ALL.len() {
        let (of, mut score) = (RecallTest::ALL[test], 0);
        while score < of.scores().len() {
            all[n] = Metric::Recall(of, of.scores()[score]);
            (n, score) = (n + 1, score + 1);
        }
        test += 1;
    }
    let mut i = 0;
    while i < middle.len() {
        (all[n], n, i) = (middle[i], n + 1, i + 1);
    }
    let mut i = 0;
    while i < Canary::ALL.len() {
        (all[n], n, i) = (Metric::Canary(Canary::ALL[i]), n + 1, i + 1);
    }
    let mut i = 0;
    while i < last.len() {
        (all[n], n, i) = (last[i], n + 1, i + 1);
    }
    all
}

metrics! {
    TotalParameters, "total_parameters", "parameters", Neither, "All parameters, tied ones counted once.";
    EmbeddingParameters, "embedding_parameters", "parameters", Neither, "Parameters of the token embedding (and the tied head).";
    PositionalParameters, "positional_parameters", "parameters", Neither, "Parameters of the position embedding.";
    NonEmbeddingParameters, "non_embedding_parameters", "parameters", Neither, "Parameters of blocks and final norm.";
    ForwardFlopsPerToken, "forward_flops_per_token", "FLOP/token", Neither, "Forward FLOPs per token with head, attention and scan.";
    StateBytes, "state_bytes", "bytes", Lower, "Bytes carried from one call to the next.";
    Compute6nd, "compute_6nd", "FLOP", Neither, "6·N·D: six times parameters times training tokens, as the document counts.";
    TrainFlops, "train_flops", "FLOP", Neither, "Counted training FLOPs: three times the forward FLOPs of every token, head, attention and scan included.";

    RunCompleted, "run_completed", "yes/no", Higher, "1 when training reached its last step without diverging.";
    TrainTokens, "train_tokens", "tokens", Neither, "Tokens consumed in training.";
    BatchSize, "batch_size", "sequences", Neither, "Sequences in a training step.";
    WarmupShare, "warmup_share", "share", Neither, "Steps of warm-up divided by all steps (ruling R12).";
    DecayOnVectors, "decay_on_vectors", "share", Lower, "Largest relative change that weight decay alone makes to a bias, norm or per-channel vector.";
    LeastMovement, "least_movement", "share", Neither, "Smallest relative change of a parameter tensor from its initial values to its trained ones.";
    ValidationOverlap, "validation_overlap", "share", Lower, "Share of the 64-token windows of the held-out (validation) split that training text contains word for word.";
    TrainLoss, "train_loss", "nats/token", Lower, "Mean training loss of the last 100 steps, or of the last tenth of fewer than 1,000.";
    LossFell, "loss_fell", "ratio", Lower, "Final training loss divided by the mean of the first steps.";
    GradientNorm, "gradient_norm", "norm", Neither, "Mean gradient norm before clipping over the last 100 steps.";
    GradientNormMedian, "gradient_norm_median", "norm", Neither, "Median gradient norm before clipping over the run.";
    BranchGradientRatio, "branch_gradient_ratio", "ratio", Neither, "Mean gradient norm of the RWKV-6 branch divided by that of Mamba-2.";
    LossSlope, "loss_slope", "nats/ln token", Neither, "Slope of the training loss against the logarithm of tokens.";
    LargestSpike, "largest_spike", "ratio", Lower, "Largest loss divided by its trailing 100-step mean, after warm-up.";
    TrainSeconds, "train_seconds", "s", Neither, "Wall-clock seconds of training.";
    TrainTokensPerSecond, "train_tokens_per_second", "tokens/s", Higher, "Training throughput.";
    TrainPeakBytes, "train_peak_bytes", "bytes", Lower, "Peak memory of training.";
    MemorisedLoss, "memorised_loss", "nats/token", Lower, "Loss on 10,000 tokens trained on until learnt by heart.";
    PlateauImprovement, "plateau_improvement", "share", Neither, "Relative fall of the validation loss over the last 10 % of tokens.";
    ReferenceLossRatio, "reference_loss_ratio", "ratio", Neither, "Final loss of GPT-2 trained here divided by that of a reference GPT-2 trained elsewhere from the same weights and batches.";
    ReferenceDeparture, "reference_departure", "share", Lower, "Largest relative difference of the losses of these two trainings at every hundredth step and the last.";
    ReferenceIdentical, "reference_identical", "share", Lower, "Steps after the first at which both losses are the same number to the last bit, as a share of all.";

    ValidationLoss, "validation_loss", "nats/token", Lower, "Mean negative log-likelihood on the held-out split, which is the validation split.";
    HeldOutByShares, "held_out_by_shares", "nats/token", Lower, "Held-out loss in which every part of a mixture weighs what it does in training; of a single text its held-out loss.";
    ValidationPerplexity, "validation_perplexity", "perplexity", Lower, "Exponential of the validation loss.";
    UniformLoss, "uniform_loss", "nats/token", Neither, "ln V: the loss of a uniform guess.";
    UnigramLoss, "unigram_loss", "nats/token", Neither, "Held-out loss of a unigram model of the training text.";
    BigramLoss, "bigram_loss", "nats/token", Neither, "Held-out loss of a bigram model of the training text.";
    WikitextLoss, "wikitext_loss", "nats/word", Lower, "WikiText page text: negative log-likelihood per word of the original page; its exponential is the word perplexity.";
    WikitextBitsPerByte, "wikitext_bits_per_byte", "bits/byte", Lower, "WikiText page text: bits per byte of the original page.";
    PtbLoss, "ptb_loss", "nats/word", Lower, "Penn Treebank: negative log-likelihood per word.";
    LambadaAccuracy, "lambada_accuracy", "accuracy", Higher, "LAMBADA (OpenAI): every token of the last word is the likeliest.";
    LambadaLoss, "lambada_loss", "nats/word", Lower, "LAMBADA (OpenAI): negative log-likelihood of the last word.";
    HellaswagAccuracy, "hellaswag_accuracy", "accuracy", Higher, "HellaSwag by summed log-likelihood.";
    HellaswagAccuracyNorm, "hellaswag_accuracy_norm", "accuracy", Higher, "HellaSwag by log-likelihood per character.";
    WikitextOverlap, "wikitext_overlap", "share", Lower, "Share of WikiText's 13-grams of tokens that training text contains.";
    PtbOverlap, "ptb_overlap", "share", Lower, "Share of the Penn Treebank's 13-grams of tokens that training text contains.";
    LambadaOverlap, "lambada_overlap", "share", Lower, "Share of LAMBADA's 13-grams of tokens that training text contains.";
    HellaswagOverlap, "hellaswag_overlap", "share", Lower, "Share of HellaSwag's 13-grams of tokens (true endings) that training text contains.";
    DailydialogOverlap, "dailydialog_overlap", "share", Lower, "Share of DailyDialog's 13-grams of tokens that training text contains.";
    PersonachatOverlap, "personachat_overlap", "share", Lower, "Share of PersonaChat's 13-grams of tokens that training text contains.";
    HellaswagMargin, "hellaswag_margin", "nats/byte", Higher, "HellaSwag: log-likelihood per byte of the true ending above the mean of the others.";

    DailydialogLoss, "dailydialog_loss", "nats/token", Lower, "DailyDialog: loss of replies given the dialogue so far.";
    DailydialogBleu, "dailydialog_bleu", "BLEU", Higher, "DailyDialog: BLEU of greedy replies (sacreBLEU, 13a, corpus level).";
    PersonachatLoss, "personachat_loss", "nats/token", Lower, "PersonaChat: loss of replies given the dialogue so far.";
    PersonachatBleu, "personachat_bleu", "BLEU", Higher, "PersonaChat: BLEU of greedy replies (sacreBLEU, 13a, corpus level).";
    HumanPreference, "human_preference", "share", Higher, "Share of blinded comparisons in which raters prefer the model's reply; ties count half.";

    OverfitLoss, "overfit_loss", "nats/token", Lower, "Loss after 500 steps on 10 samples of 64 tokens.";
    ResumeIdentical, "resume_identical", "yes/no", Higher, "1 when save, kill, load and go on gives a bit-identical loss curve.";

    StateShapesRight, "state_shapes_right", "yes/no", Higher, "S0: 1 when every layer has both states with the declared shapes.";
    StateFinite, "state_finite", "yes/no", Higher, "S1: 1 when every element of every state is finite.";
    StateRmsMin, "state_rms_min", "rms", Neither, "S1: smallest root-mean-square per element of any state.";
    StateRmsMax, "state_rms_max", "rms", Neither, "S1: largest root-mean-square per element of any state.";
    StateDifference, "state_difference", "ratio", Higher, "S2: smallest relative difference that two texts leave, over layers and branches.";
    StateRepeats, "state_repeats", "yes/no", Higher, "S3: 1 when the same text leaves a bit-identical state.";
    StateHalvesError, "state_halves_error", "ratio", Lower, "S3: relative error of two halves carried over against the whole.";
    StateGrowth, "state_growth", "ratio", Lower, "D1: norm of the state after 512 tokens divided by that after 64, the largest over layers and branches.";
    StateVariance, "state_variance", "ratio", Higher, "D2: variance of the state over inputs relative to its mean square, the smallest over layers and branches.";
    FirstTokenInfluence, "first_token_influence", "ratio", Higher, "D4: relative change of the last logits when the first token changes.";
    DecaySpread, "decay_spread", "ratio", Higher, "Relative variance over tokens of RWKV-6's decay and Mamba-2's step size, the smallest over layers.";
    Causal, "causal", "yes/no", Higher, "1 when no logit changes with a token that comes after it.";
    CarriedError, "carried_error", "ratio", Lower, "Relative error, in float32, of hidden states and carried state where a text is read in pieces and steps, against the whole; the largest over positions.";
    CarriedErrorRounded, "carried_error_rounded", "ratio", Lower, "The same in the precision of the run.";
    CarriedRepeats, "carried_repeats", "yes/no", Higher, "1 when reading the same again gives the same bits, one sequence and several.";
    EvaluationError, "evaluation_error", "ratio", Lower, "Relative error of hidden states of a pass as evaluation makes it against one that is recorded for training; the largest over positions.";
    LearntSavedOrder, "learnt_saved_order", "yes/no", Higher, "1 when the tokens looked up and the targets of the loss were, in every step, those of the order that the seed stands for.";
    MixtureError, "mixture_error", "share", Lower, "Largest distance of a part's share of the tokens that were learnt from, as the saved order has it, from the share declared; 0 where the text is no mixture.";
    RateError, "rate_error", "share", Lower, "Largest distance of a learning rate that the optimizer applied from the recipe's, as a share of the highest.";
    SettingsError, "settings_error", "ratio", Lower, "Largest relative distance of decay, betas, epsilon or clipping that the optimizer applied from the recipe's.";
    PartWeightError, "part_weight_error", "ratio", Lower, "Largest distance from one of the weights with which a step's micro-batches entered its gradient, summed.";
    StartsFromSeed, "starts_from_seed", "yes/no", Higher, "1 when training began with the weights that the seed gives.";
    WeightsOfTheRun, "weights_of_the_run", "yes/no", Higher, "1 when the weights that are questioned are those that the training ended with.";
    CountedParameters, "counted_parameters", "parameters", Neither, "Elements of all parameter tensors.";
    WindowsSeen, "windows_seen", "digest", Neither, "First 48 bits of the digest of inputs and targets that the model was given for the validation loss.";
    TokensScored, "tokens_scored", "tokens", Neither, "Tokens whose loss the model gave for the validation loss.";
    ValidationLossError, "validation_loss_error", "ratio", Lower, "Relative distance of validation loss and log-perplexity from the mean of all losses that the model gave.";
    LossFromLogitsError, "loss_from_logits_error", "ratio", Lower, "Relative distance of the model's first losses from the negative log-softmax, in nats, of its logits.";
    LongReadsPerToken, "long_reads_per_token", "ratio", Neither, "Tokens that the model read for the long documents, those read again included, divided by the tokens that they have.";
    PromptsSeen, "prompts_seen", "digest", Neither, "First 48 bits of the digest of the prompts of all recall items as the model got them, of each the last tokens that every window holds.";
    CanaryPromptsSeen, "canary_prompts_seen", "digest", Neither, "The same of the canaries.";
    CutTokensMean, "cut_tokens_mean", "tokens", Neither, "Tokens that were cut off a recall item on the left because the window holds no more, on average over the items.";
    CutTokensMost, "cut_tokens_most", "tokens", Neither, "The same of the item that lost most.";
    AblationRwkvRise, "ablation_rwkv_rise", "nats/token", Higher, "S4: rise of the validation loss with the RWKV-6 output zeroed.";
    AblationMambaRise, "ablation_mamba_rise", "nats/token", Higher, "S4: rise of the validation loss with the Mamba-2 output zeroed.";
    AblationSmallerShare, "ablation_smaller_share", "ratio", Higher, "S4: the smaller rise divided by the sum of both.";
    ForwardFinite, "forward_finite", "yes/no", Higher, "G1: 1 when the logits are finite and have the right shape.";
    InitialEntropyShare, "initial_entropy_share", "ratio", Higher, "G2: entropy of the predictions divided by ln V.";

    [recall tests]
    StatefulnessScore, "statefulness_score", "accuracy", Higher, "Mean accuracy over the statefulness tests (ruling R17).";
    StatefulnessChance, "statefulness_chance", "accuracy", Neither, "1/K: the accuracy of a guess among K candidates.";
    DocumentWordingAccuracy, "document_wording_accuracy", "accuracy", Higher, "Accuracy with the document's question wording; reported, never gated (ruling R16).";
    StatePersistence, "sps", "turns", Higher, "State persistence score: largest distance whose lower bound of bits retained stays above half of the one-turn value (ruling R19).";
    MqarAccuracy, "mqar_accuracy", "accuracy", Higher, "Multi-query associative recall, trained from scratch, best of the learning rates.";
    RepeatedBigramLoss, "repeated_bigram_loss", "nats/token", Lower, "Loss on tokens that complete a bigram seen earlier in the document.";
    RepeatedBigramLoss16, "repeated_bigram_loss_16", "nats/token", Lower, "The same where the bigram was last seen 1 to 16 tokens before.";
    RepeatedBigramLoss64, "repeated_bigram_loss_64", "nats/token", Lower, "The same where the bigram was last seen 17 to 64 tokens before.";
    RepeatedBigramLoss256, "repeated_bigram_loss_256", "nats/token", Lower, "The same where the bigram was last seen 65 to 256 tokens before.";
    RepeatedBigramLoss1024, "repeated_bigram_loss_1024", "nats/token", Lower, "The same where the bigram was last seen 257 to 1,024 tokens before.";
    RepeatedBigramLossFar, "repeated_bigram_loss_far", "nats/token", Lower, "The same where the bigram was last seen more than 1,024 tokens before.";

    [canaries]

    LongContextLoss, "long_context_loss", "nats/token", Lower, "Loss on tokens beyond the first 2K of documents of at least 32K (ruling R20).";
    LongContextRise, "long_context_rise", "nats/token", Lower, "Loss of the farthest position bucket above that of the bucket that ends at 2K, paired by document.";
    LongContextWorstRise, "long_context_worst_rise", "nats/token", Lower, "The same of that bucket beyond 2K whose 95 % bound is highest (ruling R20).";
    LongContextOverlap, "long_context_overlap", "share", Lower, "Share of the long documents' 13-grams of tokens that training text contains.";
    UsefulContext, "ucw", "tokens", Higher, "Useful context window: end of the last context bucket up to which none is worse than the trained length: perplexity at most 5 % higher with 95 % confidence, paired (rulings R6, R19).";
    CostTimeGrowth, "cost_time_growth", "ratio", Lower, "Time per token at 8K of context divided by that at 2K.";
    CostMemoryGrowth, "cost_memory_growth", "ratio", Lower, "Memory per conversation at 8K of context divided by that at 2K.";
    ConversationRead, "conversation_read", "share", Higher, "Tokens that the state of a conversation holds whose cost is measured, over those that its context asks for: the least of all contexts.";
    TimedTokens, "timed_tokens", "tokens", Neither, "Tokens that a model has read in one turn of everything that is timed.";
    TimedBefore, "timed_before", "share", Lower, "By which share of a timed turn the model was asked later than the clock began, or earlier: the median over turns, the most of everything that is timed.";

    PrefillSeconds, "prefill_seconds", "s", Lower, "Time to process 1,024 tokens, batch 1, median of 100.";
    GenerationTokensPerSecond, "generation_tokens_per_second", "tokens/s", Higher, "Tokens per second while generating 256, batch 1, median of 10.";
    TokenLatency, "token_latency", "s", Lower, "Time per generated token at batch 1.";
    PeakBytes, "peak_bytes", "bytes", Lower, "Peak memory of inference at 1,024 tokens.";
    TimeExponent, "time_exponent", "exponent", Lower, "Exponent of the growth of prefill time with context, fitted over 256 to 2,048 tokens.";
    ComputeEfficiency, "cer", "1/s", Higher, "Compute-efficiency ratio: 1 / (perplexity × seconds of prefill) (ruling R10).";
    AuditInitialWeights, "audit_initial_weights", "tolerances", Lower, "Initial weights drawn again from the seed: the largest difference over its tolerance (ruling R23).";
    AuditTraining, "audit_training", "tolerances", Lower, "Steps of the training made again in float64: the largest difference from the record over its tolerance (ruling R23).";
    AuditEvaluation, "audit_evaluation", "tolerances", Lower, "Losses of drawn windows of held-out text measured again in float64: the largest difference from the record over its tolerance (ruling R23).";
    AuditParameters, "audit_parameters", "tolerances", Lower, "Numbers in the tensors of the checkpoint beside the ledger's count: the difference, of which none is tolerated (ruling R23).";
    AuditItems, "audit_items", "tolerances", Lower, "Means over items, their counts and intervals computed again from the items: the largest difference from the ledger over its tolerance (rulings R22, R23).";
    AuditAnswers, "audit_answers", "tolerances", Lower, "Items of recall tests and canaries and parts of long documents asked again in float64: the largest difference from the record over its tolerance (ruling R23).";
    AuditConfiguration, "audit_configuration", "tolerances", Lower, "Keys of the checkpoint's configuration beside the size that the rulings name: 0 where all agree (rulings R1, R23).";
    AuditData, "audit_data", "tolerances", Lower, "Tokenizer and documents made again from the text, and how often the order reads each window: 0 where all agree (rulings R13, R23).";
    AuditStretches, "audit_stretches", "tolerances", Lower, "Steps of the training after every kept state made again by the trainer: 0 where the record has them bit for bit (rulings R22, R23).";
    AuditProbes, "audit_probes", "tolerances", Lower, "A probe, drawn at the time of the audit, put again as a whole: 0 where the ledger has its numbers bit for bit (rulings R22, R23).";
    AuditCosts, "audit_costs", "tolerances", Lower, "Times and memory measured again, one model against the other: largest difference over its tolerance (rulings R22, R23).";
    ComputeEfficiencyAsWritten, "cer_as_written", "1/s", Neither, "Perplexity ÷ seconds of prefill: the document's formula, which rewards being worse; shown for traceability (ruling R10).";
}

impl Metric {
    /// The metric of that id.
    pub fn find(id: &str) -> Option<Metric> {
        static BY_ID: LazyLock<HashMap<&'static str, Metric>> =
            LazyLock::new(|| Metric::ALL.iter().map(|metric| (metric.id(), *metric)).collect());
        BY_ID.get(id).copied()
    }

    /// The values that the metric can take, ends included, where its unit limits them.
    pub fn domain(self) -> [f64; 2] {
        let signed = [
            Metric::LossSlope,
            Metric::LongContextRise,
            Metric::LongContextWorstRise,
            Metric::AblationRwkvRise,
            Metric::AblationMambaRise,
            Metric::HellaswagMargin,
            Metric::PlateauImprovement,
        ];
        match self.unit() {
            _ if signed.contains(&self) => [f64::NEG_INFINITY, f64::INFINITY],
            "accuracy" | "share" | "yes/no" | "reciprocal rank" => [0.0, 1.0],
            "bits" | "exponent" => [f64::NEG_INFINITY, f64::INFINITY],
            _ => [0.0, f64::INFINITY],
        }
    }

    /// Whether the metric can have this value: a finite one of its domain.
    pub fn can_be(self, x: f64) -> bool {
        let [least, most] = self.domain();
        x.is_finite() && least <= x && x <= most
    }

    /// Whether the number is a time, and so differs from one run of the same code to the next.
    pub fn is_time(self) -> bool {
        matches!(self.unit(), "s" | "tokens/s" | "1/s")
    }
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = String::deserialize(deserializer)?;
        Metric::find(&id).ok_or_else(|| {
            D::Error::custom(format!("unknown metric {id:?} (`v5gate list metrics` names them all)"))
        })
    }
}
