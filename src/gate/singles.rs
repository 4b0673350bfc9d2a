//! Rules about one model by itself: every promised trial of every model asked must satisfy them.
//! Each comparison is written so that NaN falls on the failing side.

use super::criterion::{Criterion, Rule};
use super::lookup::{Evidence, Lack};
use super::verdict::{Answer, SeedValue, Status};
use crate::evidence::{Condition, Measurement, Metric, Value};

/// The answer to a rule that does not compare models.
pub(super) fn answer(criterion: &Criterion, evidence: &Evidence<'_>, scale: &str) -> Answer {
    let mut answer = Answer::default();
    for &model in criterion.of.models() {
        for &metric in criterion.metrics {
            for seed in evidence.seeds() {
                let trial = Trial { evidence, scale, seed, model, condition: criterion.condition };
                answer.take(trial.ask(metric, criterion.rule));
            }
        }
    }
    answer.found = found(&answer.values);
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
pub(super) type Said = (Status, Option<SeedValue>, Option<String>);

impl Trial<'_, '_> {
    fn find(&self, metric: Metric) -> Result<&Measurement, Lack> {
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
            interval: measured.interval().filter(|_| rule == Rule::AboveChance),
        };
        // Ruling R14: a value that is not finite is evidence, whatever else is lacking.
        if value.value.finite().is_none() {
            return (Status::Unmet, Some(value), None);
        }
        let limit = match (against, other) {
            (Some(metric), Some(Err(lack))) => {
                return (Status::Unproven, Some(value), Some(self.lacking(metric, &lack)));
            }
            (_, Some(Ok(limit))) => limit.raw(),
            _ => f64::NAN,
        };
        match holds(rule, measured, limit) {
            Some(met) => (Status::of(met), Some(value), None),
            None => (Status::Unproven, Some(value), Some(self.no_interval(metric))),
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
        _ => None,
    }
}

/// The numbers in short: for each model their range over trials (and metrics, if several).
fn found(values: &[SeedValue]) -> String {
    let mut parts = Vec::new();
    for group in values.chunk_by(|a, b| a.model == b.model) {
        let mut text = format!("{} {}", group[0].model, range(group.iter().map(|v| v.value)));
        let lower: Vec<Value> = group.iter().filter_map(|v| Some(v.interval?[0])).collect();
        if !lower.is_empty() {
            text += &format!(", lower bound {}", range(lower.into_iter()));
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
