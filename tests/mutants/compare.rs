//! GPT-2 against GPT-2: runs that differ by chance alone, and comparisons of them by the real judge.
//!
//! SMOKE's three GPT-2s are shaken, each weight by noise of a fifth of its tensor's size, and go on
//! learning with twelve orders, two of them with each order: 24 runs in 12 pairs, a pair being what a
//! trial is elsewhere. (From scratch they would take an hour to remember anything.) A comparison takes
//! some pairs, calls one run of each GroundThink by the toss of a coin, and hands the ledger to the judge.

use std::path::Path;

use candle_core::{Device, Tensor};
use libtest_mimic::Failed;
use v5gate::collect::{REVISION, Trial};
use v5gate::evidence::{Condition, ExpectedRun, Ledger, Line, Manifest, Measurement, Metric, SCHEMA};
use v5gate::files::sha256;
use v5gate::gate::{
    AgreementRule, CRITERIA, ContrastRule, Criterion, GPT2, GROUNDTHINK, PairedRule, RatioThreshold, Rule,
    Status, judge,
};
use v5gate::models::{self, LanguageModel};
use v5gate::random::Random;
use v5gate::report::found;
use v5gate::scale;

use crate::faulty::{Fault, faulty};
use crate::lab::{
    Finished, Lab, SCALE, Training, brief, fail, measurements, order, relabel, side_by_side, trial,
};

/// Orders, each with two runs.
const PAIRS: usize = 12;
/// Steps that a run goes on for.
const STEPS: u64 = 250;
/// Noise on the weights before that, relative to each tensor's root mean square.
const SHAKE: f32 = 0.2;
/// Probability of a shrug that lowers the scores by about these amounts.
pub const LOWERED: [f64; 4] = [0.02, 0.05, 0.1, 0.2];
/// Perplexities of the worse model, divided by those of the sound one.
pub const RATIOS: [f64; 6] = [1.02, 1.05, 1.10, 1.15, 1.2, 1.3];

/// What comparisons are made of.
const KNOWN: [Metric; 4] =
    [Metric::ValidationLoss, Metric::StatefulnessScore, Metric::GradientNormMedian, Metric::LossSlope];

/// What is known of every run.
pub struct Pool {
    runs: Vec<Vec<Measurement>>,
    /// Scores of run r with answers replaced, by effect.
    lowered: Vec<Vec<f64>>,
}

/// What is done to one side of a comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Handicap {
    /// Nothing.
    None,
    /// Perplexity is so many times as high.
    Perplexity(f64),
    /// The score is lower by that effect of [`LOWERED`].
    Score(usize),
}

/// A pair and whether its runs change sides.
pub type Pick = (usize, bool);

impl Pool {
    /// Trains and asks, or reads what an earlier time has left.
    pub fn make(lab: &Lab) -> Result<Self, Failed> {
        let protocol = brief(lab.protocol(), STEPS);
        let key = format!("{REVISION} {} {PAIRS} {SHAKE} {LOWERED:?}", protocol.recipe.digest());
        let folder = lab.out.join(format!("equals-{}", &sha256(key.as_bytes())[..12]));
        std::fs::create_dir_all(&folder).map_err(fail)?;
        let ask = |run: usize| keep(&folder.join(format!("{run:02}.jsonl")), || answers(lab, run));
        let asked = side_by_side((0..2 * PAIRS).collect(), ask)?;
        let score = |lines: &[Line], run: usize, effect: usize| {
            let seed = shrug_seed(run, effect);
            let mut found = measurements(lines)
                .filter(|m| m.subject().seed == seed && m.metric() == Metric::StatefulnessScore);
            Ok(found.next().ok_or("a score is missing")?.value().raw())
        };
        let mut pool = Self { runs: Vec::new(), lowered: Vec::new() };
        for (run, lines) in asked.iter().enumerate() {
            let wanted =
                |m: &&Measurement| KNOWN.contains(&m.metric()) || m.metric() == Metric::StatefulnessChance;
            let own = measurements(lines).filter(|m| m.subject().seed == run as u64).filter(wanted);
            pool.runs.push(own.cloned().collect());
            let lowered = (0..LOWERED.len()).map(|effect| score(lines, run, effect));
            pool.lowered.push(lowered.collect::<Result<_, Failed>>()?);
        }
        Ok(pool)
    }

    /// How many pairs there are.
    pub fn pairs(&self) -> usize {
        self.runs.len() / 2
    }

    /// All values of a metric.
    pub fn values(&self, metric: Metric) -> Vec<f64> {
        let own = self.runs.iter().flatten().filter(|m| m.metric() == metric);
        own.map(|m| m.value().raw()).collect()
    }

    /// By how much an effect has lowered the scores on average.
    pub fn fall(&self, effect: usize) -> f64 {
        let lowered: Vec<f64> = self.lowered.iter().map(|l| l[effect]).collect();
        mean(&self.values(Metric::StatefulnessScore)) - mean(&lowered)
    }

    /// The judge's word on a comparison: per criterion its status, and whether GroundThink "exceeds".
    pub fn judged(
        &self,
        picks: &[Pick],
        candidate: Handicap,
        baseline: Handicap,
    ) -> Result<Vec<Word>, Failed> {
        let mut lines = Vec::new();
        let mut expected = Vec::new();
        for (k, &(pair, turned)) in picks.iter().enumerate() {
            let (a, b) = (2 * pair + usize::from(turned), 2 * pair + usize::from(!turned));
            for (run, name, handicap) in [(a, GROUNDTHINK, candidate), (b, GPT2, baseline)] {
                lines.extend(self.runs[run].iter().map(|m| {
                    let value = match (handicap, m.metric()) {
                        (Handicap::Perplexity(ratio), Metric::ValidationLoss) => m.value().raw() + ratio.ln(),
                        (Handicap::Score(effect), Metric::StatefulnessScore) => self.lowered[run][effect],
                        _ => m.value().raw(),
                    };
                    let mut subject = m.subject().clone();
                    (subject.model, subject.seed) = (name.to_owned(), k as u64);
                    let source = m.provenance().clone();
                    Line::Measurement(Measurement::new(subject, m.metric(), value, m.n(), None, source))
                }));
            }
            expected.push(expected_run(&self.runs[a], k)?);
        }
        let revision = REVISION.to_owned();
        let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect();
        lines.push(Line::Manifest(Manifest {
            parts: Vec::new(),
            schema: SCHEMA,
            material: Default::default(),
            number: 0,
            protocol: "smoke".to_owned(),
            models: names(&[GPT2, GROUNDTHINK]),
            scales: names(&[SCALE]),
            seeds: (0..picks.len() as u64).collect(),
            revision,
            expected,
        }));
        let judgement = judge(&Ledger::from_lines(lines));
        let of = |c: &'static Criterion| {
            let finding = judgement.findings.iter().find(|f| f.criterion == c.id && f.scale == SCALE)?;
            Some(Word {
                criterion: c,
                status: finding.status,
                exceeds: found(finding).ends_with(", exceeds"),
            })
        };
        Ok(comparing().filter_map(of).collect())
    }
}

/// What the judge says of a criterion.
pub struct Word {
    /// Which.
    pub criterion: &'static Criterion,
    /// Met, unmet, unproven.
    pub status: Status,
    /// Whether the finding says so.
    pub exceeds: bool,
}

/// The criteria that compare numbers of both models at the smoke scale, and on which of them runs here
/// have something to say.
pub fn comparing() -> impl Iterator<Item = &'static Criterion> {
    let smoke = scale::find(SCALE);
    CRITERIA.iter().filter(move |c| {
        smoke.is_some_and(|s| c.role(s).is_some())
            && matches!(
                c.rule,
                Rule::Paired(
                    PairedRule::Trial(AgreementRule::RatioWithin(..))
                        | PairedRule::Trials(
                            ContrastRule::Ratio(_)
                                | ContrastRule::NonInferior(_)
                                | ContrastRule::SignificantlyBetter(_)
                                | ContrastRule::NotSignificantlyWorse(_)
                                | ContrastRule::MeasurablyBetter
                                | ContrastRule::NotMeasurablyWorse
                        )
                )
            )
            && c.condition == Condition::Trained
            && c.metrics.iter().all(|m| KNOWN.contains(m))
    })
}

/// Where a rule says that the models differ: the status that says so, and whether GroundThink is then
/// the worse one.
pub fn verdict(rule: Rule) -> Option<(Status, bool)> {
    use RatioThreshold::{RatioAbove, RatioAtLeast, RatioAtMost, RatioBelow};
    let Rule::Paired(PairedRule::Trials(rule)) = rule else { return None };
    match rule {
        ContrastRule::SignificantlyBetter(_) | ContrastRule::MeasurablyBetter => Some((Status::Met, false)),
        ContrastRule::NotSignificantlyWorse(_) | ContrastRule::NotMeasurablyWorse => {
            Some((Status::Unmet, true))
        }
        ContrastRule::NonInferior(x) | ContrastRule::Ratio(RatioAtMost(x) | RatioBelow(x)) if x > 1.0 => {
            Some((Status::Unmet, true))
        }
        ContrastRule::NonInferior(_) | ContrastRule::Ratio(RatioAtMost(_) | RatioBelow(_)) => {
            Some((Status::Met, false))
        }
        ContrastRule::Ratio(RatioAtLeast(x)) if x <= 1.0 => Some((Status::Unmet, true)),
        ContrastRule::Ratio(RatioAtLeast(_) | RatioAbove(_)) => Some((Status::Met, false)),
        ContrastRule::EitherAboveChance => None,
    }
}

fn expected_run(run: &[Measurement], k: usize) -> Result<ExpectedRun, Failed> {
    let source = run.first().ok_or("a run without answers")?.provenance().clone();
    Ok(ExpectedRun {
        scale: SCALE.to_owned(),
        seed: k as u64,
        recipe: source.recipe,
        data: source.data,
        order: source.order,
        tokenizer: source.tokenizer,
        device: source.device,
        precision: source.precision,
    })
}

/// The arithmetic mean.
pub fn mean(xs: &[f64]) -> f64 {
    xs.iter().sum::<f64>() / xs.len() as f64
}

fn shrug_seed(run: usize, effect: usize) -> u64 {
    (1000 * (effect + 1) + run) as u64
}

/// What is in the file, or what is made and put there.
fn keep(path: &Path, make: impl FnOnce() -> Result<Vec<Line>, Failed>) -> Result<Vec<Line>, Failed> {
    let mut ledger = Ledger::open_or_empty(path).map_err(fail)?;
    if ledger.lines().is_empty() {
        ledger.append(&make()?).map_err(fail)?;
    }
    Ok(ledger.lines().to_vec())
}

/// The model with noise on its weights.
fn shaken(model: &dyn LanguageModel, seed: u64) -> Result<Box<dyn LanguageModel>, Failed> {
    let mut normal = normals(Random::new(seed, 5));
    let params = model.params();
    let mut values = params.flat().to_vec1::<f32>().map_err(fail)?;
    for entry in params.entries() {
        let tensor = &mut values[entry.offset..entry.offset + entry.len];
        let size = (tensor.iter().map(|x| x * x).sum::<f32>() / entry.len as f32).sqrt();
        tensor.iter_mut().for_each(|x| *x += SHAKE * size * normal() as f32);
    }
    let flat = Tensor::new(values, &Device::Cpu).map_err(fail)?;
    Ok(model.over(params.replaced(flat).map_err(fail)?))
}

/// Normal numbers (Box and Muller).
pub fn normals(mut random: Random) -> impl FnMut() -> f64 {
    let mut uniform = move || (random.below(1 << 53) as f64 + 0.5) / (1u64 << 53) as f64;
    move || (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()
}

/// Trains a run and asks it.
fn answers(lab: &Lab, run: usize) -> Result<Vec<Line>, Failed> {
    let pair = run / 2;
    let start = lab.trained(GPT2, 1 + (pair % 3) as u64)?;
    let protocol = brief(lab.protocol(), STEPS);
    let dataset = lab.smoke()?.dataset();
    let spec = models::find(GPT2).ok_or("no such model")?;
    let trial = Trial { spec, seed: run as u64, ..trial(GPT2, 1)? };
    let order = order(&protocol, dataset, 100 + pair as u64)?;
    let training = Training {
        protocol: &protocol,
        dataset,
        trial,
        recorded: order.clone(),
        order,
        wrap: None,
        start: Some(shaken(start.model.as_ref(), run as u64)?),
        recipe: None,
        tamper: None,
    };
    let mut finished = training.run(&|_, _| Ok(()))?;
    let mut lines = Vec::new();
    for probe in ["training", "language-modeling", "recall"] {
        lines.extend(finished.ask(probe)?);
    }
    check_shift(&mut finished, &lines)?;
    let score = value(&lines, Metric::StatefulnessScore)?;
    let chance = value(&lines, Metric::StatefulnessChance)?;
    let sound = finished.model.over(finished.model.params().clone());
    for (effect, fall) in LOWERED.iter().enumerate() {
        let often = (1000.0 * fall / (TYPICAL - chance)).clamp(0.0, 1000.0);
        finished.model = faulty(sound.as_ref(), Fault::Shrugs(often as u64));
        let answers = finished.ask("recall")?;
        let lower = measurements(&answers).filter(|m| m.metric() == Metric::StatefulnessScore);
        lines.extend(lower.map(|m| relabel(m, |subject, _| subject.seed = shrug_seed(run, effect))));
    }
    if !(score.is_finite() && chance.is_finite()) {
        return Err("a score that is not finite".into());
    }
    let trained =
        |line: &Line| matches!(line, Line::Measurement(m) if m.subject().condition == Condition::Trained);
    lines.retain(trained);
    Ok(lines)
}

/// About what these runs score: how often to shrug follows from it, the same for all.
const TYPICAL: f64 = 0.38;

fn value(lines: &[Line], metric: Metric) -> Result<f64, Failed> {
    let mut found =
        measurements(lines).filter(|m| m.metric() == metric && m.subject().condition == Condition::Trained);
    Ok(found.next().ok_or_else(|| format!("no {}", metric.id()))?.value().raw())
}

/// A model that adds so much to every loss is measured as that much worse: seen once, by the real
/// probe, and added up ever after.
fn check_shift(finished: &mut Finished<'_>, lines: &[Line]) -> Result<(), Failed> {
    if finished.trial.seed != 0 {
        return Ok(());
    }
    let sound = finished.model.over(finished.model.params().clone());
    for ratio in [RATIOS[0], RATIOS[RATIOS.len() - 1]] {
        finished.model = faulty(sound.as_ref(), Fault::Worse(ratio.ln()));
        let worse = value(&finished.ask("language-modeling")?, Metric::ValidationLoss)?;
        let off = worse - value(lines, Metric::ValidationLoss)? - ratio.ln();
        if off.abs() > 1e-9 {
            return Err(format!("a loss worse by {} is measured {off} off", ratio.ln()).into());
        }
    }
    finished.model = sound;
    Ok(())
}

/// Pairs for a comparison: so many different places among those given, each side by the toss of a coin.
pub fn draw(random: &mut Random, places: &[usize], n: usize) -> Vec<Pick> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    random.shuffle(&mut order);
    order[..n].iter().map(|&place| (places[place], random.chance(50))).collect()
}
