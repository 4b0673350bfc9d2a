//! Rules about one model by itself: every promised trial of every model asked must satisfy them.
//! Each comparison is written so that NaN falls on the failing side.

use std::f64::consts::SQRT_2;

use super::paired::least_trials;
use crate::evidence::{Condition, Measurement, Metric, Value};
use crate::gate::criterion::{Criterion, EXACT, Rule};
use crate::gate::evidence_index::{Evidence, Lack};
use crate::gate::judge::{Answer, SeedValue, Status};
use crate::statistics::{equivalence, mean, sd};

/// The answer to a rule that does not compare models.
pub(in crate::gate) fn answer(criterion: &Criterion, evidence: &Evidence<'_>, scale: &str) -> Answer {
    let mut answer = Answer::default();
    for &model in criterion.of.models() {
        let trial = |seed| Trial { evidence, scale, seed, model, condition: criterion.condition };
        match criterion.rule {
            Rule::MeanAtLeast(_) | Rule::MeanIs(_) => {
                for &seed in evidence.seeds() {
                    trial(seed).mean(criterion.metrics, criterion.rule, &mut answer);
                }
            }
            _ => {
                for &metric in criterion.metrics {
                    for &seed in evidence.seeds() {
                        answer.take(trial(seed).ask(metric, criterion.rule));
                    }
                    if matches!(criterion.rule, Rule::Steady(_) | Rule::Equivalent(_)) {
                        over_trials(criterion.rule, evidence, model, metric, &mut answer);
                    }
                }
            }
        }
    }
    let upper = matches!(criterion.rule, Rule::UpperAtMost(_));
    answer.found = found(&answer.values, upper);
    for note in std::mem::take(&mut answer.notes) {
        answer.say(note);
    }
    answer
}

struct Trial<'e, 'a> {
    evidence: &'e Evidence<'a>,
    scale: &'e str,
    seed: u64,
    model: &'static str,
    condition: Condition,
}

/// What one trial says: whether the rule is satisfied, and the number; or what is lacking.
pub(in crate::gate) type Said = (Status, Option<SeedValue>, Option<String>);

impl Trial<'_, '_> {
    fn find(&self, metric: Metric) -> Result<&Measurement, Lack<'_>> {
        self.evidence.find(self.scale, self.seed, self.model, self.condition, metric)
    }

    fn ask(&self, metric: Metric, rule: Rule) -> Said {
        let measured = match self.find(metric) {
            Ok(measured) => measured,
            Err(lack) => return (Status::Unproven, None, Some(self.lacking(metric, &lack))),
        };
        let against = match rule {
            Rule::LessThan(other) => Some(other),
            Rule::AboveChance | Rule::AtChance(_) => Some(Metric::StatefulnessChance),
            _ => None,
        };
        let other = against.map(|other| self.find(other).map(Measurement::value));
        let value = SeedValue {
            model: self.model,
            seed: self.seed,
            metric,
            value: measured.value(),
            against: other.as_ref().and_then(|o| o.as_ref().ok()).copied(),
            interval: measured
                .interval()
                .filter(|_| matches!(rule, Rule::AboveChance | Rule::LowerAbove(_) | Rule::UpperAtMost(_))),
        };
        // Ruling R14: a value that is not finite is evidence, whatever else is lacking.
        if !metric.can_be(value.value.raw()) {
            return (Status::Unmet, Some(value), None);
        }
        let limit = match (against, other) {
            (Some(metric), Some(Err(lack))) => {
                return (Status::Unproven, Some(value), Some(self.lacking(metric, &lack)));
            }
            // Being below infinity is no achievement.
            (_, Some(Ok(limit))) if limit.finite().is_none() => return (Status::Unmet, Some(value), None),
            (_, Some(Ok(limit))) => limit.raw(),
            _ => f64::NAN,
        };
        if value.interval.is_some_and(|ends| !contains(ends, value.value)) {
            let lack = format!(
                "{} seed {} {}: its interval does not contain it",
                self.model,
                self.seed,
                metric.id()
            );
            return (Status::Unmet, Some(value), Some(lack));
        }
        match holds(rule, measured, limit) {
            Some(met) => (Status::of(met), Some(value), None),
            None => (Status::Unproven, Some(value), Some(self.no_interval(metric))),
        }
    }

    /// One demand of the mean of several metrics.
    fn mean(&self, metrics: &[Metric], rule: Rule, answer: &mut Answer) {
        let mut values = Vec::new();
        for &metric in metrics {
            let (status, value, lack) = self.ask(metric, Rule::Finite);
            values.extend(value.as_ref().map(|v| v.value.raw()));
            answer.take((status, value, lack));
        }
        if values.len() == metrics.len() {
            let mean = mean(&values);
            answer.notes.push(format!("seed {} mean {}", self.seed, Value::from(mean)));
            match rule {
                Rule::MeanIs(other) => {
                    let (status, value, lack) = self.ask(other, Rule::Finite);
                    let same = |v: SeedValue| (v.value.raw() - mean).abs() <= EXACT;
                    answer.status.extend(value.map(|v| Status::of(same(v))));
                    answer.take((status, value, lack));
                }
                Rule::MeanAtLeast(least) => answer.status.push(Status::of(mean >= least)),
                _ => {}
            }
        }
    }

    fn lacking(&self, metric: Metric, lack: &Lack) -> String {
        let (model, seed, condition) = (self.model, self.seed, self.condition.name());
        format!("{model} ({condition}) seed {seed} {}: {lack}", metric.id())
    }

    fn no_interval(&self, metric: Metric) -> String {
        format!("{} seed {} {}: no 95 % interval", self.model, self.seed, metric.id())
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

/// Whether one value satisfies a rule; `None` when the number that would tell is not there.
fn holds(rule: Rule, measured: &Measurement, limit: f64) -> Option<bool> {
    let x = measured.value().raw();
    match rule {
        Rule::Holds => Some(x == 1.0),
        Rule::Finite => Some(x.is_finite()),
        Rule::AtLeast(least) => Some(x >= least),
        Rule::AtMost(most) => Some(x <= most),
        Rule::Above(least) => Some(x > least),
        Rule::Below(most) => Some(x < most),
        Rule::Within(low, high) => Some(low <= x && x <= high),
        Rule::LessThan(_) => Some(x < limit),
        Rule::AboveChance => measured.interval().map(|[low, _]| low.raw() > limit),
        Rule::AtChance(within) => Some((x - limit).abs() <= within),
        Rule::LowerAbove(limit) => measured.interval().map(|[low, _]| low.raw() > limit),
        Rule::UpperAtMost(limit) => measured.interval().map(|[_, high]| high.raw() <= limit),
        // Decided over the trials; here each of them must be a number.
        Rule::Steady(_) | Rule::Equivalent(_) => Some(x.is_finite()),
        _ => None,
    }
}

/// Rules about the trials of one model together. What is lacking is said already.
fn over_trials(rule: Rule, evidence: &Evidence<'_>, model: &str, metric: Metric, answer: &mut Answer) {
    let of = |v: &&SeedValue| v.model == model && v.metric == metric;
    let values: Vec<f64> = answer.values.iter().filter(of).map(|v| v.value.raw()).collect();
    if values.iter().any(|x| !x.is_finite()) {
        return;
    }
    let least = least_trials(evidence);
    if values.len() < evidence.seeds().len() || values.len() < least {
        answer.lacks.push(format!("{model} {}: {} trials of at least {least}", metric.id(), values.len()));
        answer.status.push(Status::Unproven);
        return;
    }
    let said = match rule {
        Rule::Steady(effect) => {
            let scatter = sd(&values).map(|s| 2.0 * SQRT_2 * s / mean(&values).abs());
            scatter.map(|scatter| {
                (scatter <= effect, format!("{model} {} scatters by {}", metric.id(), Value::from(scatter)))
            })
        }
        Rule::Equivalent(share) => {
            let logs: Vec<f64> = values.iter().map(|x| x.ln()).collect();
            let margin = share.ln_1p();
            equivalence(&logs, [-margin, margin]).map(|e| {
                let [low, high] = e.interval;
                let ends = [low.exp(), high.exp()].map(Value::from);
                answer.interval = Some(ends);
                (-margin < low && high < margin, format!("90 % interval [{}, {}]", ends[0], ends[1]))
            })
        }
        _ => None,
    };
    match said {
        Some((met, text)) => {
            answer.status.push(Status::of(met));
            answer.notes.push(text);
        }
        None => answer.status.push(Status::Unproven),
    }
}

/// The numbers in short: for each model their range over trials (and metrics, if several).
fn found(values: &[SeedValue], upper: bool) -> String {
    let mut parts = Vec::new();
    for group in values.chunk_by(|a, b| a.model == b.model) {
        let mut text = format!("{} {}", group[0].model, range(group.iter().map(|v| v.value)));
        let bounds: Vec<Value> = group.iter().filter_map(|v| Some(v.interval?[usize::from(upper)])).collect();
        if !bounds.is_empty() {
            let which = if upper { "upper" } else { "lower" };
            text += &format!(", {which} bound {}", range(bounds.into_iter()));
        }
        let against: Vec<Value> = group.iter().filter_map(|v| v.against).collect();
        if !against.is_empty() {
            text += &format!(" against {}", range(against.into_iter()));
        }
        parts.push(text);
    }
    parts.join("; ")
}

/// The smallest and the largest value; what is not finite is always shown.
fn range(values: impl Iterator<Item = Value>) -> String {
    let mut all: Vec<Value> = values.collect();
    all.sort_by(|a, b| a.raw().total_cmp(&b.raw()));
    match (all.first(), all.last()) {
        (Some(low), Some(high)) if low.to_string() == high.to_string() => low.to_string(),
        (Some(low), Some(high)) => format!("{low} to {high}"),
        _ => String::new(),
    }
}
