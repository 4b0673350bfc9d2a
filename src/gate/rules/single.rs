//! Rules about one model by itself: every trial of the manifest, of every model asked, must satisfy them.
//! Each comparison is written so that NaN falls on the failing side.

use std::f64::consts::SQRT_2;

use crate::evidence::{Condition, Measurement, Metric, Value};
use crate::gate::criterion::Criterion;
use crate::gate::evidence_index::Evidence;
use crate::gate::fact::{Decisive, Estimate, Fact};
use crate::gate::gap::{Gap, ModelTrial};
use crate::gate::manifest::least_trials;
use crate::gate::outcome::{Outcome, SeedValue, Status, TrialResult};
use crate::gate::question::{Missing, Query};
use crate::gate::rule::{EXACT, Identity, MeanRule, SingleRule, Threshold, TrialRule, TrialsRule};
use crate::statistics::{equivalence, mean, sd};

/// What a rule that does not compare models comes to.
pub(in crate::gate) fn evaluate(
    rule: SingleRule,
    criterion: &Criterion,
    evidence: &Evidence<'_>,
    scale: &str,
) -> Outcome {
    let mut outcome = Outcome::default();
    for &model in criterion.scope.models() {
        let trial = |seed| ModelAtSeed { evidence, scale, seed, model, condition: criterion.condition };
        match rule {
            SingleRule::Mean(rule) => {
                for &seed in evidence.seeds() {
                    trial(seed).mean(criterion.metrics, rule, &mut outcome);
                }
            }
            SingleRule::Identity(identity) => {
                let seeds = evidence.seeds().iter();
                let of_trial = |&seed| trial(seed).identity(criterion.metrics, identity, &mut outcome);
                let worst = Estimate::worst(seeds.filter_map(of_trial).collect::<Vec<_>>().into_iter());
                let metric = criterion.metrics.first().copied();
                let fact = worst.zip(metric);
                outcome.facts.extend(fact.map(|(estimate, metric)| Fact::Identity {
                    model,
                    metric,
                    estimate,
                }));
            }
            SingleRule::Trial(rule) => {
                for &metric in criterion.metrics {
                    evidence.seeds().iter().for_each(|&seed| outcome.merge(trial(seed).ask(metric, rule)));
                }
            }
            SingleRule::Trials(rule) => {
                for &metric in criterion.metrics {
                    // Decided over the trials; here each of them must be a number.
                    let seeds = evidence.seeds().iter();
                    seeds.for_each(|&seed| outcome.merge(trial(seed).ask(metric, TrialRule::Finite)));
                    over_trials(rule, evidence, model, metric, &mut outcome);
                }
            }
        }
    }
    let of_trials = match rule {
        SingleRule::Trial(rule) => rule,
        SingleRule::Mean(_) | SingleRule::Trials(_) | SingleRule::Identity(_) => TrialRule::Finite,
    };
    if matches!(rule, SingleRule::Identity(_)) {
        // Different metrics have no range in common.
        return outcome;
    }
    let groups = outcome.values.chunk_by(|a, b| a.model == b.model);
    let values: Vec<Fact> = groups.filter_map(|group| values(of_trials, group)).collect();
    outcome.facts.splice(0..0, values);
    outcome
}

struct ModelAtSeed<'e, 'a> {
    evidence: &'e Evidence<'a>,
    scale: &'e str,
    seed: u64,
    model: &'static str,
    condition: Condition,
}

impl<'a> ModelAtSeed<'_, 'a> {
    fn find(&self, metric: Metric) -> Result<&'a Measurement, Missing<&'a str>> {
        let Self { scale, seed, model, condition, .. } = *self;
        self.evidence.find(Query { scale, seed, model, condition, metric })
    }

    /// What one number comes to.
    fn ask(&self, metric: Metric, rule: TrialRule) -> TrialResult {
        let measured = match self.find(metric) {
            Ok(measured) => measured,
            Err(reason) => return (Status::Unproven, None, Some(self.missing(metric, reason))),
        };
        let against = match rule {
            TrialRule::LessThan(other) => Some(other),
            TrialRule::AboveChance | TrialRule::AtChance(_) => Some(Metric::StatefulnessChance),
            TrialRule::Holds | TrialRule::Finite | TrialRule::Value(_) => None,
            TrialRule::LowerAbove(_) | TrialRule::UpperAtMost(_) => None,
        };
        let other = against.map(|other| (other, self.find(other).map(Measurement::value)));
        let value = SeedValue {
            model: self.model,
            seed: self.seed,
            metric,
            value: measured.value(),
            against: other.as_ref().and_then(|(_, o)| o.as_ref().ok()).copied(),
            interval: measured.interval().filter(|_| decisive(rule) != Decisive::Value),
        };
        // Ruling R14: a value that is not finite is evidence, whatever else is lacking.
        if !metric.can_be(value.value.raw()) {
            return (Status::Unmet, Some(value), None);
        }
        match other {
            Some((metric, Err(reason))) => {
                return (Status::Unproven, Some(value), Some(self.missing(metric, reason)));
            }
            // Being below infinity is no achievement.
            Some((_, Ok(limit))) if limit.finite().is_none() => return (Status::Unmet, Some(value), None),
            Some((_, Ok(_))) | None => {}
        }
        if value.interval.is_some_and(|ends| !contains(ends, value.value) || !possible(metric, ends)) {
            return (
                Status::Unmet,
                Some(value),
                Some(Gap::ContainingInterval { trial: self.named(), metric }),
            );
        }
        match holds(rule, &value) {
            Some(met) => (Status::of(met), Some(value), None),
            None => (Status::Unproven, Some(value), Some(Gap::Interval { trial: self.named(), metric })),
        }
    }

    /// Whether the first of several metrics is what the others make of it, and what it is held against.
    fn identity(&self, metrics: &[Metric], identity: Identity, outcome: &mut Outcome) -> Option<Estimate> {
        let mut values = Vec::new();
        for &metric in metrics {
            let result = self.ask(metric, TrialRule::Finite);
            values.extend(result.1.as_ref().map(|v| v.value.raw()));
            outcome.merge(result);
        }
        let (&value, others) = values.split_first().filter(|_| values.len() == metrics.len())?;
        let good = identity.good(identity.expected(others));
        outcome.statuses.push(Status::of(good.admits(value)));
        Some(Estimate::of(value, good))
    }

    /// One demand of the mean of several metrics.
    fn mean(&self, metrics: &[Metric], rule: MeanRule, outcome: &mut Outcome) {
        let mut values = Vec::new();
        for &metric in metrics {
            let result = self.ask(metric, TrialRule::Finite);
            values.extend(result.1.as_ref().map(|v| v.value.raw()));
            outcome.merge(result);
        }
        if values.len() < metrics.len() {
            return;
        }
        let mean = mean(&values);
        let good = match rule {
            MeanRule::Is(other) => {
                let result = self.ask(other, TrialRule::Finite);
                let other = result.1.as_ref().map(|v| v.value.raw());
                outcome.statuses.extend(other.map(|x| Status::of((x - mean).abs() <= EXACT)));
                outcome.merge(result);
                other.map(|x| Threshold::Within(x - EXACT, x + EXACT))
            }
            MeanRule::AtLeast(least) => {
                let good = Threshold::AtLeast(least);
                outcome.statuses.push(Status::of(good.admits(mean)));
                Some(good)
            }
        };
        let estimate =
            Estimate { value: Value::from(mean), interval: None, decided_by: Decisive::Value, good };
        outcome.facts.push(Fact::Mean { model: self.model, seed: self.seed, estimate });
    }

    fn named(&self) -> ModelTrial {
        ModelTrial { model: self.model, seed: self.seed, scale: None }
    }

    fn missing(&self, metric: Metric, reason: Missing<&str>) -> Gap {
        Gap::Measurement { trial: self.named(), condition: self.condition, metric, reason: reason.owned() }
    }
}

/// What of a number a rule looks at.
fn decisive(rule: TrialRule) -> Decisive {
    match rule {
        TrialRule::AboveChance | TrialRule::LowerAbove(_) => Decisive::LowerEnd,
        TrialRule::UpperAtMost(_) => Decisive::UpperEnd,
        TrialRule::Holds | TrialRule::Finite | TrialRule::Value(_) => Decisive::Value,
        TrialRule::LessThan(_) | TrialRule::AtChance(_) => Decisive::Value,
    }
}

/// Whether an interval is one, and of this value; bounds may round.
fn contains([low, high]: [Value; 2], x: Value) -> bool {
    let slack = 1e-9 * (1.0 + x.raw().abs());
    low.finite().is_some()
        && high.finite().is_some()
        && low.raw() - slack <= x.raw()
        && x.raw() <= high.raw() + slack
}

/// Whether the ends of an interval are values that a share can have (ruling R25); of anything else they may be any.
fn possible(metric: Metric, ends: [Value; 2]) -> bool {
    let [least, most] = metric.domain();
    let is_share = (least, most) == (0.0, 1.0);
    !is_share || ends.iter().all(|end| least - EXACT <= end.raw() && end.raw() <= most + EXACT)
}

/// Whether one value satisfies a rule; `None` when the number that would tell is not there.
fn holds(rule: TrialRule, value: &SeedValue) -> Option<bool> {
    let x = value.value.raw();
    let against = value.against.map_or(f64::NAN, Value::raw);
    match rule {
        TrialRule::Holds => Some(x == 1.0),
        TrialRule::Finite => Some(x.is_finite()),
        TrialRule::Value(good) => Some(good.admits(x)),
        TrialRule::LessThan(_) => Some(x < against),
        TrialRule::AboveChance => value.interval.map(|[low, _]| low.raw() > against),
        TrialRule::AtChance(within) => Some((x - against).abs() <= within),
        TrialRule::LowerAbove(limit) => value.interval.map(|[low, _]| low.raw() > limit),
        TrialRule::UpperAtMost(limit) => {
            value.interval.map(|[_, high]| Threshold::AtMost(limit).admits(high.raw()))
        }
    }
}

/// One value beside what it is held against, as numbers.
fn estimate(rule: TrialRule, value: &SeedValue) -> Option<Estimate> {
    let against = value.against.map(Value::raw);
    let good = match rule {
        TrialRule::Holds => Some(Threshold::Within(1.0, 1.0)),
        TrialRule::Finite => return None,
        TrialRule::Value(good) => Some(good),
        TrialRule::LessThan(_) => against.map(Threshold::Below),
        TrialRule::AboveChance => against.map(Threshold::Above),
        TrialRule::AtChance(within) => against.map(|x| Threshold::Within(x - within, x + within)),
        TrialRule::LowerAbove(limit) => Some(Threshold::Above(limit)),
        TrialRule::UpperAtMost(limit) => Some(Threshold::AtMost(limit)),
    };
    Some(Estimate { value: value.value, interval: value.interval, decided_by: decisive(rule), good })
}

/// Rules about the trials of one model together. What is missing is on record already.
fn over_trials(
    rule: TrialsRule,
    evidence: &Evidence<'_>,
    model: &'static str,
    metric: Metric,
    outcome: &mut Outcome,
) {
    let of = |v: &&SeedValue| v.model == model && v.metric == metric;
    let values: Vec<f64> = outcome.values.iter().filter(of).map(|v| v.value.raw()).collect();
    if values.iter().any(|x| !x.is_finite()) {
        return;
    }
    let least = least_trials(evidence);
    if values.len() < evidence.seeds().len() || values.len() < least {
        outcome.gaps.push(Gap::Trials { model: Some(model), metric, trials: values.len(), least });
        outcome.statuses.push(Status::Unproven);
        return;
    }
    let found = match rule {
        TrialsRule::Steady(effect) => {
            let scatter = sd(&values).map(|s| 2.0 * SQRT_2 * s / mean(&values).abs());
            scatter.map(|scatter| {
                let good = Threshold::AtMost(effect);
                let estimate = Estimate::of(scatter, good);
                (good.admits(scatter), Fact::Scatter { model, metric, estimate })
            })
        }
        TrialsRule::Scatters(share) => {
            let scatter = sd(&values).map(|s| s / mean(&values).abs());
            let fact = scatter.map(|scatter| {
                let estimate = Estimate::of(scatter, Threshold::AtLeast(share));
                Fact::Scatter { model, metric, estimate }
            });
            outcome.facts.extend(fact);
            // Of no certainty, but of a copy: that is no evidence against the model, and none for it.
            let measured_anew = scatter.is_some_and(|scatter| scatter >= share);
            outcome.statuses.push(if measured_anew { Status::Met } else { Status::Unproven });
            outcome.gaps.extend((!measured_anew).then_some(Gap::Scatter { model, metric }));
            return;
        }
        TrialsRule::Equivalent(share) => {
            let logs: Vec<f64> = values.iter().map(|x| x.ln()).collect();
            let margin = share.ln_1p();
            equivalence(&logs, [-margin, margin]).map(|e| {
                let [low, high] = e.interval;
                let ends = [low.exp(), high.exp()];
                outcome.interval = Some(ends.map(Value::from));
                let good = Threshold::Within((-margin).exp(), margin.exp());
                let estimate = Estimate::of(mean(&logs).exp(), good).with(Some(ends), Decisive::BothEnds);
                (-margin < low && high < margin, Fact::Equivalence { model, metric, estimate })
            })
        }
    };
    outcome.statuses.push(found.as_ref().map_or(Status::Unproven, |(met, _)| Status::of(*met)));
    outcome.facts.extend(found.map(|(_, fact)| fact));
}

/// The numbers of one model in short: their range over trials (and metrics, if several).
fn values(rule: TrialRule, group: &[SeedValue]) -> Option<Fact> {
    let upper = decisive(rule) == Decisive::UpperEnd;
    Some(Fact::Values {
        model: group.first()?.model,
        range: range(group.iter().map(|v| v.value))?,
        bounds: range(group.iter().filter_map(|v| Some(v.interval?[usize::from(upper)]))),
        against: range(group.iter().filter_map(|v| v.against)),
        worst: Estimate::worst(group.iter().filter_map(|v| estimate(rule, v))),
    })
}

/// The smallest and the largest value; what is not finite counts, so that it is always shown.
fn range(values: impl Iterator<Item = Value>) -> Option<[Value; 2]> {
    let mut all: Vec<Value> = values.collect();
    all.sort_by(|a, b| a.raw().total_cmp(&b.raw()));
    Some([*all.first()?, *all.last()?])
}
