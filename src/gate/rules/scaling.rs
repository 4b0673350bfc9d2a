//! Rules that look at several scales: does a model improve as it grows, by how much, and along
//! which law? (Rulings R8 and §4, Scaling and Laws.)

use crate::evidence::{Condition, Metric, Value};
use crate::gate::criterion::{Criterion, GPT2, GROUNDTHINK};
use crate::gate::evidence_index::Evidence;
use crate::gate::fact::{Decisive, Estimate, Fact, FittedLaw};
use crate::gate::gap::{Gap, ModelTrial};
use crate::gate::manifest::least_trials;
use crate::gate::outcome::{Outcome, Status};
use crate::gate::question::Query;
use crate::gate::rule::{LawRule, ScalingRule, Threshold};
use crate::scale::{SCALES, Tier};
use crate::statistics::{Law, fit, mean};

/// What a rule about several scales, asked at the last of them, comes to.
pub(in crate::gate) fn evaluate(
    rule: ScalingRule,
    criterion: &Criterion,
    evidence: &Evidence<'_>,
    scale: &'static str,
) -> Outcome {
    let mut outcome = Outcome::default();
    for &metric in criterion.metrics {
        let means = MeansByScale { evidence, condition: criterion.condition, metric };
        let status = match rule {
            ScalingRule::FallsLike(from, share) => means.falls_like(from, scale, share, &mut outcome),
            ScalingRule::Law(rule) => means.laws(rule, scale, &mut outcome),
        };
        outcome.statuses.push(status);
    }
    outcome
}

struct MeansByScale<'e, 'a> {
    evidence: &'e Evidence<'a>,
    condition: Condition,
    metric: Metric,
}

impl MeansByScale<'_, '_> {
    /// The mean over all trials of the manifest; not a number if one of them diverged.
    fn mean(&self, scale: &'static str, model: &'static str, metric: Metric) -> Result<f64, Gap> {
        let condition = self.condition;
        let one = |&seed: &u64| {
            let found = self.evidence.find(Query { scale, seed, model, condition, metric });
            found.map(|m| m.value().raw()).map_err(|reason| {
                let trial = ModelTrial { model, seed, scale: Some(scale) };
                Gap::Measurement { trial, condition, metric, reason: reason.owned() }
            })
        };
        let values = self.evidence.seeds().iter().map(one).collect::<Vec<_>>();
        // Ruling R14: what is not finite is evidence, whatever else is lacking.
        if values.iter().flatten().any(|x| !metric.can_be(*x)) {
            return Ok(f64::NAN);
        }
        let values = values.into_iter().collect::<Result<Vec<_>, _>>()?;
        let (trials, least) = (values.len(), least_trials(self.evidence));
        if trials < least {
            return Err(Gap::Trials { model: None, metric, trials, least });
        }
        Ok(mean(&values))
    }

    fn falls_like(&self, from: &'static str, to: &'static str, share: f64, outcome: &mut Outcome) -> Status {
        let mut falls = Vec::new();
        for model in [GROUNDTHINK, GPT2] {
            let ends = [from, to].map(|scale| self.mean(scale, model, self.metric));
            outcome.gaps.extend(ends.iter().filter_map(|end| end.as_ref().err()).cloned());
            if let [Ok(before), Ok(after)] = ends {
                let (low, high) = (Value::from(after), Value::from(before));
                outcome.facts.push(Fact::Fall { model, from, to, before: high, after: low });
                falls.push(before - after);
            } else if ends.iter().flatten().any(|x| x.is_nan()) {
                falls.push(f64::NAN);
            }
        }
        if falls.iter().any(|x| !x.is_finite()) {
            return Status::Unmet;
        }
        let [candidate, baseline] = falls[..] else { return Status::Unproven };
        let estimate = Estimate::of(candidate / baseline, Threshold::AtLeast(share));
        outcome.facts.push(Fact::FallShare { estimate });
        // A baseline that does not improve sets no margin; the model must improve all the same.
        Status::of(candidate > 0.0 && Threshold::AtLeast(share * baseline).admits(candidate))
    }

    fn laws(&self, rule: LawRule, upto: &str, outcome: &mut Outcome) -> Status {
        let mut laws = Vec::new();
        let mut worst = Status::Met;
        for model in [GROUNDTHINK, GPT2] {
            match self.law(model, upto) {
                Ok(law) => laws.push((model, law)),
                Err((status, gap)) => {
                    outcome.gaps.push(gap);
                    worst = status;
                    if status == Status::Unmet {
                        break;
                    }
                }
            }
        }
        let baseline = laws.iter().find(|(model, _)| *model == GPT2).map(|(_, law)| law.b);
        outcome.facts.extend(laws.iter().map(|(model, law)| Fact::ScalingLaw {
            model,
            law: FittedLaw::from(law),
            estimate: held(rule, model, law, baseline),
        }));
        let [(_, candidate), (_, baseline)] = &laws[..] else {
            return if worst == Status::Unmet { Status::Unmet } else { Status::Unproven };
        };
        // A law by which models get worse as they grow is none.
        let falls = candidate.b > 0.0 && baseline.b > 0.0;
        Status::of(
            falls
                && match rule {
                    LawRule::Fits(least) => candidate.r_squared > least && baseline.r_squared > least,
                    LawRule::Parallel(share) => {
                        Threshold::AtMost(share * baseline.b.abs()).admits((candidate.b - baseline.b).abs())
                    }
                    LawRule::Steeper => Threshold::AtLeast(baseline.b).admits(candidate.b),
                },
        )
    }

    /// Through the gated scales up to this one.
    fn law(&self, model: &'static str, upto: &str) -> Result<Law, (Status, Gap)> {
        let missing = |gap| (Status::Unproven, gap);
        let mut points = Vec::new();
        let last = SCALES.iter().position(|s| s.name == upto).unwrap_or_default();
        for scale in SCALES[..=last].iter().filter(|s| s.tier == Tier::Gate) {
            let size = self.mean(scale.name, model, Metric::NonEmbeddingParameters).map_err(missing)?;
            points.push((size, self.mean(scale.name, model, self.metric).map_err(missing)?));
        }
        if points.iter().any(|(n, loss)| !(n.is_finite() && loss.is_finite())) {
            return Err((Status::Unmet, Gap::FiniteTrials { model }));
        }
        fit(&points).ok_or((Status::Unmet, Gap::Law { model }))
    }
}

/// What of a model's law the rule holds against a limit.
fn held(rule: LawRule, model: &str, law: &Law, baseline: Option<f64>) -> Option<Estimate> {
    let exponent = |good| Estimate::of(law.b, good).with(law.b_interval, Decisive::Value);
    let baseline = baseline.filter(|_| model == GROUNDTHINK);
    match rule {
        LawRule::Fits(least) => Some(Estimate::of(law.r_squared, Threshold::Above(least))),
        LawRule::Parallel(share) => baseline.map(|b| {
            let most = share * b.abs();
            exponent(Threshold::Within(b - most, b + most))
        }),
        LawRule::Steeper => baseline.map(|b| exponent(Threshold::AtLeast(b))),
    }
}
