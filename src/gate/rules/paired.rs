//! Rules that compare GroundThink with GPT-2, trial by trial: trial k of both models has the same
//! seed, data order and evaluation items (ruling R7). A comparison over trials needs every
//! promised trial of both, so that none can be left out because it disappoints.

use crate::evidence::{Condition, Direction, Metric, Value};
use crate::gate::criterion::{Criterion, Effect, Rule};
use crate::gate::evidence_index::Evidence;
use crate::gate::judge::{Answer, FULL, SeedValue, Status};
use crate::gate::{GPT2, GROUNDTHINK};
use crate::statistics::{detectable, document_rule, mean, sd, t_interval, trials_needed};

/// The answer to a rule that compares the models.
pub(in crate::gate) fn answer(criterion: &Criterion, evidence: &Evidence<'_>, scale: &str) -> Answer {
    let mut answer = Answer::default();
    for &metric in criterion.metrics {
        let pairs = Pairs::gather(evidence, scale, criterion.condition, metric, &mut answer);
        match criterion.rule {
            Rule::Matched(_) | Rule::RatioWithin(..) => pairs.trial_by_trial(criterion.rule, &mut answer),
            rule => pairs.over_trials(rule, evidence, &mut answer),
        }
    }
    answer
}

struct Pairs<'s> {
    scale: &'s str,
    condition: Condition,
    metric: Metric,
    seeds: Vec<u64>,
    /// Values of the trials that both models have.
    ours: Vec<f64>,
    theirs: Vec<f64>,
    diverged: bool,
    complete: bool,
}

impl<'s> Pairs<'s> {
    fn gather(
        evidence: &Evidence<'_>,
        scale: &'s str,
        condition: Condition,
        metric: Metric,
        answer: &mut Answer,
    ) -> Self {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let (mut diverged, mut complete) = (false, true);
        let seeds = evidence.seeds().to_vec();
        for &seed in &seeds {
            let both = [GROUNDTHINK, GPT2].map(|model| {
                let found = evidence.find(scale, seed, model, condition, metric);
                let found = found.map_err(|lack| {
                    answer.lacks.push(format!("{model} seed {seed} {}: {lack}", metric.id()));
                });
                let value = found.ok()?.value();
                answer.values.push(SeedValue { model, seed, metric, value, against: None, interval: None });
                diverged |= !metric.can_be(value.raw());
                Some(value.raw())
            });
            match both {
                [Some(our), Some(their)] => {
                    ours.push(our);
                    theirs.push(their);
                }
                _ => complete = false,
            }
        }
        Pairs { scale, condition, metric, seeds, ours, theirs, diverged, complete }
    }

    fn trial_by_trial(&self, rule: Rule, answer: &mut Answer) {
        let pairs = self.ours.iter().zip(&self.theirs);
        let ratios: Vec<f64> = pairs.clone().map(|(our, their)| our / their).collect();
        for ((our, their), ratio) in pairs.zip(&ratios) {
            answer.status.push(Status::of(match rule {
                Rule::Matched(share) => (our - their).abs() <= share * their.abs(),
                Rule::RatioWithin(low, high) => low <= *ratio && *ratio <= high,
                _ => false,
            }));
        }
        answer.status.extend(self.diverged.then_some(Status::Unmet));
        answer.status.extend((!self.complete).then_some(Status::Unproven));
        let (our, their) = (Value::from(mean(&self.ours)), Value::from(mean(&self.theirs)));
        if let Some((low, high)) = extremes(&ratios) {
            let ratio = if low == high { low } else { format!("{low} to {high}") };
            answer.say(format!("{our} against {their}, ratio {ratio}"));
        }
    }

    fn over_trials(&self, rule: Rule, evidence: &Evidence<'_>, answer: &mut Answer) {
        let paired = self.paired();
        answer.interval = paired.interval.map(|ends| ends.map(Value::from));
        if !self.ours.is_empty() {
            answer.say(self.means());
        }
        if self.diverged {
            answer.status.push(Status::Unmet);
            return;
        }
        let least = least_trials(evidence);
        if self.seeds.len() < least {
            answer.lacks.push(format!("{} trials of at least {least}", self.seeds.len()));
        }
        if !self.complete || self.seeds.len() < least {
            answer.status.push(Status::Unproven);
            return;
        }
        let said = match rule {
            Rule::EitherAboveChance => self.either_above_chance(evidence, answer),
            rule => self.decide(rule, &paired, answer),
        };
        answer.status.push(said.map_or(Status::Unproven, Status::of));
    }

    /// The differences of each trial, as an advantage: positive is better for GroundThink.
    fn paired(&self) -> Paired {
        let sign = match self.metric.direction() {
            Direction::Lower => -1.0,
            Direction::Higher => 1.0,
            Direction::Neither => f64::NAN,
        };
        let pairs = self.ours.iter().zip(&self.theirs);
        let advantages: Vec<f64> = pairs.map(|(our, their)| sign * (our - their)).collect();
        Paired { interval: t_interval(&advantages), detectable: detectable(&advantages), advantages }
    }

    fn decide(&self, rule: Rule, paired: &Paired, answer: &mut Answer) -> Option<bool> {
        let (our, their) = (mean(&self.ours), mean(&self.theirs));
        // Finite numbers can still overflow in the mean, and inf <= inf would hold.
        if !(our.is_finite() && their.is_finite()) {
            return Some(false);
        }
        match rule {
            Rule::RatioAtMost(_) | Rule::RatioAtLeast(_) | Rule::RatioBelow(_) | Rule::RatioAbove(_) => {
                answer.say(format!("ratio {}", Value::from(our / their)));
                Some(ratio_holds(rule, our, their))
            }
            Rule::NonInferior(limit) => {
                // The advantage is of losses: a loss lower by x is a perplexity of exp(-x) times.
                let [low, high] = paired.interval?;
                let (best, worst) = ((-high).exp(), (-low).exp());
                let ratio = Value::from((-mean(&paired.advantages)).exp());
                let ends = [best, worst].map(Value::from);
                let exceeds = if worst < 1.0 { ", exceeds" } else { "" };
                answer.interval = Some(ends);
                answer.say(format!("perplexity ratio {ratio} [{}, {}]{exceeds}", ends[0], ends[1]));
                // "Exceeds" is strict: equal models do not exceed each other.
                Some(if limit > 1.0 { worst <= limit } else { worst < limit })
            }
            Rule::MeasurablyBetter => {
                answer.say(paired.text());
                paired.interval.map(|[low, _]| low > 0.0)
            }
            Rule::NotMeasurablyWorse => {
                answer.say(paired.text());
                paired.interval.map(|[_, high]| high >= 0.0)
            }
            Rule::SignificantlyBetter(effect) => {
                let (difference, limit) = self.scatter(paired, answer)?;
                let (gain, least) = self.gain(effect, our, their);
                self.say_needed(paired, effect, their, answer);
                Some(difference > limit && gain > least)
            }
            Rule::NotSignificantlyWorse(effect) => {
                let (difference, limit) = self.scatter(paired, answer)?;
                let (loss, least) = self.gain(effect, their, our);
                Some(difference <= limit || loss <= least)
            }
            _ => None,
        }
    }

    /// Ruling R7, statistical half: the difference of the means and what it must exceed.
    fn scatter(&self, paired: &Paired, answer: &mut Answer) -> Option<(f64, f64)> {
        let (difference, limit) = document_rule(&self.ours, &self.theirs)?;
        let shown = [difference, limit].map(Value::from);
        answer.say(paired.text());
        answer.say(format!("means differ by {}, scatter 2·√(s₁²+s₂²) = {}", shown[0], shown[1]));
        Some((difference, limit))
    }

    /// How many trials the paired test needs to see the least effect that counts.
    fn say_needed(&self, paired: &Paired, effect: Effect, their: f64, answer: &mut Answer) {
        let wanted = match effect {
            Effect::Absolute(least) => least,
            Effect::Perplexity(share) => -(-share).ln_1p(),
            Effect::Relative(share) => share * their.abs(),
        };
        if let Some(n) = sd(&paired.advantages).and_then(|sd| trials_needed(sd, wanted)) {
            answer.say(format!("{n} trials would see {}", Value::from(wanted)));
        }
    }

    /// Ruling R7, practical half: by how much `one` is better than `other`, and the least gain
    /// that counts.
    fn gain(&self, effect: Effect, one: f64, other: f64) -> (f64, f64) {
        let gain = match self.metric.direction() {
            Direction::Higher => one - other,
            Direction::Lower => other - one,
            Direction::Neither => f64::NAN,
        };
        match effect {
            Effect::Absolute(least) => (gain, least),
            Effect::Perplexity(share) => (1.0 - (-gain).exp(), share),
            // Faster by a fifth is one thing, told in seconds or in tokens per second.
            Effect::Relative(share) if self.metric.unit() == "s" => (other / one - 1.0, share),
            Effect::Relative(share) => (if other > 0.0 { gain / other } else { f64::NAN }, share),
        }
    }

    fn either_above_chance(&self, evidence: &Evidence<'_>, answer: &mut Answer) -> Option<bool> {
        let mut above = false;
        for (model, scores) in [(GROUNDTHINK, &self.ours), (GPT2, &self.theirs)] {
            let mut margins = Vec::new();
            for (&seed, score) in self.seeds.iter().zip(scores) {
                let metric = Metric::StatefulnessChance;
                match evidence.find(self.scale, seed, model, self.condition, metric) {
                    Ok(chance) => margins.push(score - chance.value().raw()),
                    Err(lack) => {
                        answer.lacks.push(format!("{model} seed {seed} {}: {lack}", metric.id()));
                        return None;
                    }
                }
            }
            let [low, high] = t_interval(&margins)?;
            answer.say(format!("{model} above chance by [{}, {}]", Value::from(low), Value::from(high)));
            above |= low > 0.0;
        }
        Some(above)
    }

    fn means(&self) -> String {
        let side = |xs: &[f64]| match sd(xs) {
            Some(sd) => format!("{} ± {}", Value::from(mean(xs)), Value::from(sd)),
            None => Value::from(mean(xs)).to_string(),
        };
        format!("{} against {}", side(&self.ours), side(&self.theirs))
    }
}

struct Paired {
    advantages: Vec<f64>,
    interval: Option<[f64; 2]>,
    detectable: Option<f64>,
}

impl Paired {
    fn text(&self) -> String {
        let [low, high] = self.interval.unwrap_or([f64::NAN; 2]).map(Value::from);
        let n = self.advantages.len();
        let gain = Value::from(mean(&self.advantages));
        let least = Value::from(self.detectable.unwrap_or(f64::NAN));
        format!("paired advantage {gain} [{low}, {high}], {n} trials could detect {least}")
    }
}

fn extremes(xs: &[f64]) -> Option<(String, String)> {
    let mut sorted = xs.to_vec();
    sorted.sort_by(f64::total_cmp);
    let text = |x: &f64| Value::from(*x).to_string();
    Some((text(sorted.first()?), text(sorted.last()?)))
}

/// Whether means stand in the demanded ratio; below zero there is none.
fn ratio_holds(rule: Rule, our: f64, their: f64) -> bool {
    their >= 0.0
        && match rule {
            Rule::RatioAtMost(limit) => our <= limit * their,
            Rule::RatioAtLeast(limit) => our >= limit * their,
            Rule::RatioBelow(limit) => our < limit * their,
            Rule::RatioAbove(limit) => our > limit * their,
            _ => false,
        }
}

/// How many trials a comparison over trials needs (ruling R7).
pub(in crate::gate) fn least_trials(evidence: &Evidence<'_>) -> usize {
    match evidence.context() {
        Some(context) if context.protocol == FULL => 10,
        _ => 3,
    }
}
