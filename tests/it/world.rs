//! A made-up world in which everything that is measured satisfies every criterion, to be spoilt
//! one number at a time.

use std::collections::BTreeMap;

use v5gate::evidence::{
    Condition, Context, Expected, Ledger, Line, Measurement, Metric, Provenance, RECALL_TESTS, SCHEMA,
    Subject,
};
use v5gate::gate::{GPT2, GROUNDTHINK};

pub const CHANCE: f64 = 0.125;

/// Scale, model, condition, metric, seed.
pub type Key = (String, &'static str, Condition, Metric, u64);

#[derive(Clone, Debug)]
pub struct Fact {
    pub value: f64,
    pub interval: Option<[f64; 2]>,
    pub provenance: Provenance,
}

#[derive(Clone, Debug)]
pub struct World {
    pub context: Context,
    pub facts: BTreeMap<Key, Fact>,
}

impl World {
    pub fn good(protocol: &str, scales: &[&str], trials: u64) -> Self {
        let seeds: Vec<u64> = (0..trials).collect();
        let expected = scales.iter().flat_map(|scale| seeds.iter().map(|&seed| expected(scale, seed)));
        let context = Context {
            schema: SCHEMA,
            protocol: protocol.to_owned(),
            models: vec![GROUNDTHINK.to_owned(), GPT2.to_owned()],
            scales: scales.iter().map(|s| s.to_string()).collect(),
            seeds: seeds.clone(),
            revision: "code-1".to_owned(),
            expected: expected.collect(),
        };
        let mut world = World { context, facts: BTreeMap::new() };
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

    fn learn(&mut self, scale: &str, seed: u64, model: &'static str, condition: Condition, metric: Metric) {
        let Some(value) = good(model, condition, metric, seed) else {
            return;
        };
        let accuracy = RECALL_TESTS.iter().any(|t| t.accuracy == metric);
        let interval = accuracy.then_some([value - 0.05, value + 0.05]);
        let provenance = provenance(scale, seed);
        let key = (scale.to_owned(), model, condition, metric, seed);
        self.facts.insert(key, Fact { value, interval, provenance });
    }

    /// The facts about these, over all models and seeds unless named.
    pub fn select(
        &mut self,
        scale: &str,
        model: Option<&str>,
        condition: Condition,
        metric: Metric,
        seed: Option<u64>,
    ) -> impl Iterator<Item = (&Key, &mut Fact)> {
        self.facts.iter_mut().filter(move |(key, _)| {
            key.0 == scale
                && model.is_none_or(|m| m == key.1)
                && key.2 == condition
                && key.3 == metric
                && seed.is_none_or(|s| s == key.4)
        })
    }

    pub fn lines(&self) -> Vec<Line> {
        let mut lines = vec![Line::Context(self.context.clone())];
        lines.extend(self.facts.iter().map(|(key, fact)| Line::Measurement(measured(key, fact))));
        lines
    }

    pub fn ledger(&self) -> Ledger {
        Ledger::from_lines(self.lines())
    }
}

pub fn measured(key: &Key, fact: &Fact) -> Measurement {
    let (scale, model, condition, metric, seed) = key.clone();
    let subject = Subject { model: model.to_owned(), scale, seed, condition };
    let n = fact.interval.map(|_| 96);
    Measurement::new(subject, metric, fact.value, n, fact.interval, fact.provenance.clone())
}

fn expected(scale: &str, seed: u64) -> Expected {
    let p = provenance(scale, seed);
    Expected {
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

pub fn provenance(scale: &str, seed: u64) -> Provenance {
    Provenance {
        recipe: format!("recipe-{scale}"),
        data: "data".to_owned(),
        order: format!("order-{seed}"),
        fed: format!("fed-{seed}"),
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

fn good(model: &str, condition: Condition, metric: Metric, seed: u64) -> Option<f64> {
    let ours = model == GROUNDTHINK;
    // Scatter that differs between trials and a little between the models.
    let jitter = 0.01 * (seed % 3) as f64 + if ours { 0.001 * (seed % 2) as f64 } else { 0.0 };
    let recall = RECALL_TESTS.iter().any(|t| t.accuracy == metric);
    let score = metric == Metric::StatefulnessScore;
    if metric == Metric::StatefulnessChance {
        return Some(CHANCE);
    }
    match condition {
        Condition::Published => None,
        Condition::Uniform | Condition::StateReset => (recall || score).then_some(CHANCE),
        Condition::CopyOracle => (recall || score).then_some(1.0),
        Condition::WindowMatched => (!ours && (recall || score)).then_some(0.3 + jitter),
        Condition::Untrained => untrained(metric, recall || score),
        Condition::Trained if recall || score => Some(if ours { 0.7 + jitter } else { 0.4 + jitter }),
        Condition::Trained => trained(ours, metric, jitter),
    }
}

fn untrained(metric: Metric, recall: bool) -> Option<f64> {
    match metric {
        Metric::InitialEntropyShare => Some(0.99),
        Metric::StateFinite | Metric::StateRepeats => Some(1.0),
        Metric::StateDifference => Some(0.4),
        _ => recall.then_some(CHANCE + 0.01),
    }
}

fn trained(ours: bool, metric: Metric, jitter: f64) -> Option<f64> {
    use Metric as M;
    let value = match metric {
        M::TotalParameters => 1_000_000.0 + if ours { 1_000.0 } else { 0.0 },
        M::NonEmbeddingParameters => 300_000.0 + if ours { 1_000.0 } else { 0.0 },
        M::EmbeddingParameters => 600_000.0,
        M::PositionalParameters => {
            if ours {
                0.0
            } else {
                100_000.0
            }
        }
        M::ForwardFlopsPerToken => 2.5e6,
        M::StateBytes => 65_536.0,
        M::TrainTokens => 2_000_000.0,
        M::TrainSeconds => 60.0 + jitter,
        M::TrainTokensPerSecond => 33_333.3 + jitter,
        M::TrainLoss => 4.1 + jitter,
        M::LossFell => 0.4,
        M::GradientNorm | M::GradientNormMedian | M::BranchGradientRatio => 0.8 + jitter,
        M::LossSlope => -0.9 - jitter,
        M::LargestSpike => 1.2,
        M::ValidationLoss => (if ours { 4.0 } else { 4.05 }) + jitter,
        M::ValidationPerplexity => (if ours { 4.0 } else { 4.05 } + jitter).exp(),
        M::UniformLoss => 10.82,
        M::UnigramLoss => 7.2,
        M::BigramLoss => 5.6,
        M::OverfitLoss => 0.05,
        M::StateRmsMin => 0.1,
        M::StateRmsMax => 3.0,
        M::StateDifference => 0.5,
        M::StateHalvesError => 1e-6,
        M::AblationRwkvRise | M::AblationMambaRise => 0.3,
        M::AblationSmallerShare => 0.4,
        M::RunCompleted | M::ResumeIdentical | M::StateShapesRight | M::StateFinite => 1.0,
        M::StateRepeats | M::ForwardFinite => 1.0,
        _ => return None,
    };
    Some(value)
}
