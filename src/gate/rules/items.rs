//! The rule that both models' numbers are means over as many items, trial by trial (ruling R22).

use super::paired::extremes;
use crate::evidence::{Condition, Metric, Value};
use crate::gate::criterion::{Criterion, GPT2, GROUNDTHINK};
use crate::gate::evidence_index::Evidence;
use crate::gate::fact::{Estimate, Fact};
use crate::gate::gap::{Gap, ModelTrial};
use crate::gate::outcome::{Outcome, Status};
use crate::gate::question::Query;
use crate::gate::rule::Threshold;
use crate::statistics::mean;

/// What the rule comes to for every metric of a row.
pub(in crate::gate) fn evaluate(criterion: &Criterion, evidence: &Evidence<'_>, scale: &str) -> Outcome {
    let mut outcome = Outcome::default();
    for &metric in criterion.metrics {
        let condition = criterion.condition;
        let mut pairs = Vec::new();
        for &seed in evidence.seeds() {
            let both = [GROUNDTHINK, GPT2].map(|model| {
                items(evidence, Query { scale, seed, model, condition, metric }, model, &mut outcome)
            });
            if let [Some(one), Some(other)] = both {
                outcome.statuses.push(Status::of(one == other));
                pairs.push([one as f64, other as f64]);
            } else {
                outcome.statuses.push(Status::Unproven);
            }
        }
        outcome.facts.extend(ratios(metric, &pairs));
    }
    outcome
}

/// Over how many items a model's number is a mean; what is not finite is evidence of a run gone wrong, whatever it is
/// a mean over.
fn items(evidence: &Evidence<'_>, of: Query<'_>, model: &'static str, outcome: &mut Outcome) -> Option<u64> {
    let trial = ModelTrial { model, seed: of.seed, scale: None };
    let (condition, metric): (Condition, Metric) = (of.condition, of.metric);
    match evidence.find(of) {
        Ok(m) if !metric.can_be(m.value().raw()) => outcome.statuses.push(Status::Unmet),
        Ok(m) if m.n().is_some() => return m.n(),
        Ok(_) => outcome.gaps.push(Gap::Items { trial, metric }),
        Err(reason) => {
            outcome.gaps.push(Gap::Measurement { trial, condition, metric, reason: reason.owned() });
        }
    }
    None
}

fn ratios(metric: Metric, pairs: &[[f64; 2]]) -> Option<Fact> {
    let ratios: Vec<f64> = pairs.iter().map(|[one, other]| one / other).collect();
    let [candidate, baseline] =
        [0, 1].map(|i| Value::from(mean(&pairs.iter().map(|pair| pair[i]).collect::<Vec<_>>())));
    let good = Threshold::Within(1.0, 1.0);
    extremes(&ratios).map(|range| Fact::TrialRatios {
        metric,
        candidate,
        baseline,
        range,
        worst: Estimate::worst(ratios.iter().map(|&ratio| Estimate::of(ratio, good))),
    })
}
