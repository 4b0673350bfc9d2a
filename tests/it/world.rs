//! A made-up world in which everything that is measured satisfies every criterion, to be spoilt
//! one number at a time.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use v5gate::evidence::{
    Condition, ExpectedRun, Iteration, Ledger, Line, Manifest, Measurement, Metric, PROGRAM_REVISION,
    Provenance, RecallScore, SCHEMA, Subject,
};
use v5gate::gate::{CRITERIA, FULL, FULL_SEED, GPT2, GROUNDTHINK};
use v5gate::protocol::Protocol;

pub const CHANCE: f64 = 0.125;
/// Items that everything is a mean over.
pub const ITEMS: u64 = 96;

/// Scale, model, condition, metric, seed.
pub type Key = (String, &'static str, Condition, Metric, u64);

#[derive(Clone, Debug)]
pub struct Fact {
    pub value: f64,
    pub interval: Option<[f64; 2]>,
    /// Items that it is a mean over.
    pub n: u64,
    pub provenance: Provenance,
}

#[derive(Clone, Debug)]
pub struct World {
    pub manifest: Manifest,
    pub facts: BTreeMap<Key, Fact>,
    pub iterations: Vec<Iteration>,
}

impl World {
    pub fn good(protocol: &str, scales: &[&str], trials: u64) -> Self {
        let first = first_seed(protocol);
        let seeds: Vec<u64> = (first..first + trials).collect();
        let expected = scales.iter().flat_map(|scale| seeds.iter().map(|&seed| expected(scale, seed)));
        let manifest = Manifest {
            parts: Vec::new(),
            schema: SCHEMA,
            material: Default::default(),
            number: 1,
            protocol: protocol.to_owned(),
            models: vec![GROUNDTHINK.to_owned(), GPT2.to_owned()],
            scales: scales.iter().map(|s| s.to_string()).collect(),
            seeds: seeds.clone(),
            revision: "code-1".to_owned(),
            expected: expected.collect(),
        };
        let iterations = vec![iteration(1, &[])];
        let mut world = World { manifest, facts: BTreeMap::new(), iterations };
        for scale in scales {
            for &seed in &seeds {
                for model in [GROUNDTHINK, GPT2] {
                    for &condition in Condition::ALL {
                        for &metric in Metric::ALL {
                            world.learn(scale, seed, model, condition, metric);
                        }
                    }
                }
            }
        }
        world
    }

    /// The same as measured by the very program that judges.
    pub fn of_this_program(mut self) -> Self {
        self.manifest.revision = PROGRAM_REVISION.to_owned();
        self.facts.values_mut().for_each(|f| f.provenance.revision = PROGRAM_REVISION.to_owned());
        self
    }

    fn learn(&mut self, scale: &str, seed: u64, model: &'static str, condition: Condition, metric: Metric) {
        let Some(value) = good(scale, model, condition, metric, seed) else {
            return;
        };
        let interval = match metric {
            Metric::HumanPreference | Metric::LongContextRise | Metric::LongContextWorstRise => Some(0.02),
            _ => is_accuracy(metric).then_some(0.05),
        };
        let share = metric.domain() == [0.0, 1.0];
        let bound = |x: f64| if share { x.clamp(0.0, 1.0) } else { x };
        let interval = interval.map(|half| [bound(value - half), bound(value + half)]);
        let weights = format!("weights-{model}-{scale}-{seed}");
        let provenance = Provenance { weights, ..provenance(scale, seed) };
        let key = (scale.to_owned(), model, condition, metric, seed);
        self.facts.insert(key, Fact { value, interval, n: ITEMS, provenance });
    }

    /// The facts about these, over all models and trials (counted from 0) unless named.
    pub fn select(
        &mut self,
        scale: &str,
        model: Option<&str>,
        condition: Condition,
        metric: Metric,
        trial: Option<u64>,
    ) -> impl Iterator<Item = (&Key, &mut Fact)> {
        let first = first_seed(&self.manifest.protocol);
        self.facts.iter_mut().filter(move |(key, _)| {
            key.0 == scale
                && model.is_none_or(|m| m == key.1)
                && key.2 == condition
                && key.3 == metric
                && trial.is_none_or(|trial| first + trial == key.4)
        })
    }

    pub fn lines(&self) -> Vec<Line> {
        let mut lines = vec![Line::Manifest(self.manifest.clone())];
        lines.extend(self.facts.iter().map(|(key, fact)| Line::Measurement(measured(key, fact))));
        lines.extend(self.iterations.iter().cloned().map(Line::Iteration));
        lines
    }

    pub fn ledger(&self) -> Ledger {
        Ledger::from_lines(self.lines())
    }
}

/// The seed of the first trial: FULL's are ruled.
fn first_seed(protocol: &str) -> u64 {
    if protocol == FULL { FULL_SEED } else { 0 }
}

pub fn measured(key: &Key, fact: &Fact) -> Measurement {
    let (scale, model, condition, metric, seed) = key.clone();
    let subject = Subject { model: model.to_owned(), scale, seed, condition };
    Measurement::new(subject, metric, fact.value, Some(fact.n), fact.interval, fact.provenance.clone())
}

fn expected(scale: &str, seed: u64) -> ExpectedRun {
    let p = provenance(scale, seed);
    ExpectedRun {
        scale: scale.to_owned(),
        seed,
        recipe: p.recipe,
        data: p.data,
        order: p.order,
        tokenizer: p.tokenizer,
        device: p.device,
        precision: p.precision,
    }
}

/// The recipe of FULL, which the gate knows.
fn recipe(scale: &str) -> String {
    // Asked for every fact of every world.
    static DIGESTS: LazyLock<BTreeMap<&str, String>> = LazyLock::new(|| {
        let full = Protocol::load("full").unwrap();
        v5gate::scale::SCALES.iter().map(|scale| (scale.name, full.recipe_digest(scale))).collect()
    });
    DIGESTS.get(scale).cloned().unwrap_or_default()
}

pub fn provenance(scale: &str, seed: u64) -> Provenance {
    Provenance {
        recipe: recipe(scale),
        data: "data".to_owned(),
        order: format!("order-{seed}"),
        consumed: format!("fed-{seed}"),
        tokenizer: "tokenizer".to_owned(),
        weights: format!("weights-{scale}-{seed}"),
        revision: "code-1".to_owned(),
        device: "cpu".to_owned(),
        precision: "f32".to_owned(),
        validation: "validation".to_owned(),
        preprocessing: "preprocessing".to_owned(),
        tuning: "0".to_owned(),
        stopping: "last step".to_owned(),
        probe: "synthetic".to_owned(),
    }
}

/// A ruling that met everything but these.
pub fn iteration(number: u64, lacking: &[&str]) -> Iteration {
    let met = CRITERIA.iter().map(|c| c.id).filter(|id| !lacking.contains(id));
    Iteration {
        number,
        measurements: 1_000,
        revision: format!("code-{number}"),
        protocol: "test".to_owned(),
        met: met.map(str::to_owned).collect(),
    }
}

fn is_accuracy(metric: Metric) -> bool {
    metric.unit() == "accuracy" && metric != Metric::StatefulnessChance
}

fn good(scale: &str, model: &str, condition: Condition, metric: Metric, seed: u64) -> Option<f64> {
    let is_candidate = model == GROUNDTHINK;
    // Scatter that differs between trials and a little between the models.
    let jitter = 0.01 * (seed % 3) as f64 + if is_candidate { 0.001 * (seed % 2) as f64 } else { 0.0 };
    let canary = matches!(metric, Metric::Canary(_));
    let recall = canary || matches!(metric, Metric::Recall(_, RecallScore::Accuracy));
    let score = metric == Metric::StatefulnessScore;
    if metric == Metric::StatefulnessChance && condition != Condition::Reference {
        return Some(CHANCE);
    }
    match condition {
        Condition::Published => published(is_candidate, metric),
        Condition::Reference => None,
        Condition::Uniform | Condition::StateReset => (recall || score).then_some(CHANCE),
        Condition::CopyOracle => (recall || score).then_some(1.0),
        Condition::NamedFirst | Condition::NamedLast | Condition::NamedMost => {
            matches!(metric, Metric::Recall(_, RecallScore::WithRivals)).then_some(0.2)
        }
        Condition::WindowMatched => (!is_candidate && (recall || score)).then_some(0.3 + jitter),
        Condition::Untrained => untrained(metric, recall || score),
        Condition::Trained if is_accuracy(metric) => {
            Some(if is_candidate { 0.95 + jitter } else { 0.3 + jitter })
        }
        Condition::Trained => {
            sized(scale, is_candidate, metric, jitter).or_else(|| trained(is_candidate, metric, jitter))
        }
    }
}

fn published(is_candidate: bool, metric: Metric) -> Option<f64> {
    let value = match metric {
        Metric::LambadaAccuracy => 0.3256,
        Metric::LambadaLoss => 40.06_f64.ln(),
        Metric::HellaswagAccuracy => 0.2892,
        Metric::HellaswagAccuracyNorm => 0.3114,
        Metric::WikitextLoss => 37.37_f64.ln(),
        _ => return None,
    };
    (!is_candidate).then_some(value)
}

fn untrained(metric: Metric, recall: bool) -> Option<f64> {
    match metric {
        Metric::InitialEntropyShare => Some(0.99),
        Metric::StateFinite | Metric::StateRepeats => Some(1.0),
        Metric::StateDifference => Some(0.4),
        _ => recall.then_some(CHANCE + 0.01),
    }
}

/// What depends on the size: both models follow laws of nearly the same exponent.
fn sized(scale: &str, is_candidate: bool, metric: Metric, jitter: f64) -> Option<f64> {
    use Metric as M;
    let size: f64 = match scale {
        "smoke" => 1e5,
        "study" => 5e5,
        "3.5M" => 2_369_792.0,
        "8M" => 10_647_552.0,
        "30M" => 37_829_632.0,
        _ => 85_056_000.0,
    };
    let total = match scale {
        "3.5M" => 15_497_728.0,
        "8M" => 30_339_456.0,
        "30M" => 64_085_504.0,
        "125M" => 124_439_808.0,
        _ => 2.0 * size,
    };
    let loss =
        if is_candidate { 8.0 * size.powf(-0.105) + 0.95 } else { 8.0 * size.powf(-0.1) + 1.0 } + jitter;
    let more = if is_candidate { 1_000.0 } else { 0.0 };
    // As the gate recomputes it, operation by operation.
    let seconds = prefill(is_candidate, jitter);
    let value = match metric {
        M::TotalParameters | M::CountedParameters => total + more,
        M::NonEmbeddingParameters => size + more,
        M::EmbeddingParameters => total - size - positions(is_candidate),
        M::Compute6nd => 6.0 * (total + more) * TOKENS,
        M::ForwardFlopsPerToken => 2.5 * size,
        M::TrainFlops => 3.0 * 2.5 * size * TOKENS,
        M::ComputeEfficiency => 1.0 / (loss.exp() * seconds),
        M::ValidationLoss | M::TrainLoss | M::HeldOutByShares | M::LongContextLoss => loss,
        M::WikitextLoss | M::PtbLoss => loss,
        M::LambadaLoss | M::DailydialogLoss | M::PersonachatLoss | M::RepeatedBigramLoss => loss,
        M::RepeatedBigramLoss16 | M::RepeatedBigramLoss64 | M::RepeatedBigramLoss256 => loss,
        M::RepeatedBigramLoss1024 | M::RepeatedBigramLossFar => loss,
        M::ValidationPerplexity => loss.exp(),
        _ => return None,
    };
    Some(value)
}

/// Tokens of a training.
const TOKENS: f64 = 2e9;

/// Parameters of the position embedding.
fn positions(is_candidate: bool) -> f64 {
    if is_candidate { 0.0 } else { 100_000.0 }
}

fn prefill(is_candidate: bool, jitter: f64) -> f64 {
    0.1 * if is_candidate { 0.4 } else { 1.0 } * (1.0 + jitter)
}

fn trained(is_candidate: bool, metric: Metric, jitter: f64) -> Option<f64> {
    use Metric as M;
    // Better for GroundThink by `factor`, and scattering by about one per cent.
    let better = |base: f64, factor: f64| base * if is_candidate { factor } else { 1.0 } * (1.0 + jitter);
    let value = match metric {
        M::PositionalParameters => positions(is_candidate),
        M::StateBytes => better(65_536.0, 0.4),
        M::TrainTokens => TOKENS,
        M::BatchSize => 8.0,
        M::WarmupShare | M::LeastMovement => 0.05,
        M::DecayOnVectors | M::ValidationOverlap | M::MixtureError => 0.0,
        M::WikitextOverlap | M::PtbOverlap | M::LambadaOverlap | M::HellaswagOverlap => 0.001,
        M::DailydialogOverlap | M::PersonachatOverlap | M::LongContextOverlap => 0.001,
        M::TrainSeconds => 60.0 + jitter,
        M::TrainTokensPerSecond => TOKENS / (60.0 + jitter),
        M::TrainPeakBytes => 1e9,
        M::MemorisedLoss => 0.05,
        M::PlateauImprovement => 0.004,
        M::ReferenceLossRatio => 1.0 + 0.1 * jitter,
        M::ReferenceDeparture => 0.001 + 1e-5 * jitter,
        M::ReferenceIdentical => 0.0,
        M::ConversationRead => 1.0,
        M::TimedTokens => 6_000.0,
        M::TimedBefore => 0.002 + 1e-4 * jitter,
        M::LossFell => 0.4,
        M::GradientNorm | M::GradientNormMedian | M::BranchGradientRatio => 0.8 + jitter,
        M::LossSlope => -0.9 - jitter,
        M::LargestSpike => 1.2,
        M::UniformLoss => 10.82,
        M::UnigramLoss => 7.2,
        M::BigramLoss => 5.6,
        M::WikitextBitsPerByte => better(1.3, 0.95),
        M::HellaswagMargin => better(0.02, 1.2),
        M::DailydialogBleu | M::PersonachatBleu => better(1.5, 1.2),
        M::HumanPreference => 0.6,
        M::OverfitLoss => 0.05,
        M::AuditInitialWeights
        | M::AuditTraining
        | M::AuditEvaluation
        | M::AuditItems
        | M::AuditAnswers
        | M::AuditCosts => 0.2,
        M::AuditParameters | M::AuditConfiguration | M::AuditData | M::AuditStretches | M::AuditProbes => 0.0,
        M::StateRmsMin => 0.1,
        M::StateRmsMax => 3.0,
        M::StateDifference => 0.5,
        M::StateHalvesError | M::CarriedError | M::CarriedErrorRounded | M::EvaluationError => 1e-6,
        M::RateError | M::SettingsError | M::PartWeightError | M::ValidationLossError => 0.0,
        M::LossFromLogitsError => 1e-4,
        M::LearntSavedOrder | M::StartsFromSeed | M::WeightsOfTheRun => 1.0,
        M::WindowsSeen | M::PromptsSeen | M::CanaryPromptsSeen => 123_456_789_012.0,
        M::TokensScored => 100_000.0,
        M::LongReadsPerToken => {
            if is_candidate {
                1.0
            } else {
                1.97
            }
        }
        M::CutTokensMean | M::CutTokensMost => 3.0,
        M::StateGrowth => 1.4,
        M::StateVariance => 0.2,
        M::FirstTokenInfluence => 0.1,
        M::DecaySpread => 0.01,
        M::AblationRwkvRise | M::AblationMambaRise => 0.3,
        M::AblationSmallerShare => 0.5,
        M::RunCompleted | M::ResumeIdentical | M::StateShapesRight | M::StateFinite => 1.0,
        M::StateRepeats | M::ForwardFinite | M::Causal | M::CarriedRepeats => 1.0,
        M::StatePersistence => better(10.0, 4.0),
        M::UsefulContext => better(1_024.0, 16.0),
        M::LongContextRise => -0.03,
        M::LongContextWorstRise => -0.02,
        M::CostTimeGrowth | M::CostMemoryGrowth => better(3.0, 0.33),
        M::PrefillSeconds => prefill(is_candidate, jitter),
        M::TokenLatency => 1.0 / better(100.0, 2.5),
        M::GenerationTokensPerSecond => better(100.0, 2.5),
        M::PeakBytes => better(1e8, 0.4),
        M::TimeExponent => better(1.6, 0.6),
        M::ComputeEfficiencyAsWritten => 28.0,
        _ => return None,
    };
    Some(value)
}
