//! Rules that look at several scales: does a model improve as it grows, by how much, and along
//! which law? (Rulings R8 and §4, Scaling and Laws.)

use super::paired::least_trials;
use crate::evidence::{Condition, Metric, Value};
use crate::gate::criterion::{Criterion, Rule};
use crate::gate::evidence_index::{Evidence, Lack};
use crate::gate::judge::{Answer, Status};
use crate::gate::{GPT2, GROUNDTHINK};
use crate::scale::{SCALES, Tier};
use crate::statistics::{Law, fit, mean};

/// The answer to a rule about several scales, asked at the last of them.
pub(in crate::gate) fn answer(criterion: &Criterion, evidence: &Evidence<'_>, scale: &str) -> Answer {
    let mut answer = Answer::default();
    for &metric in criterion.metrics {
        let asked = Asked { evidence, condition: criterion.condition, metric };
        let status = match criterion.rule {
            Rule::FallsLike(from, share) => asked.falls_like(from, scale, share, &mut answer),
            rule => asked.laws(rule, scale, &mut answer),
        };
        answer.status.push(status);
    }
    answer
}

struct Asked<'e, 'a> {
    evidence: &'e Evidence<'a>,
    condition: Condition,
    metric: Metric,
}

impl Asked<'_, '_> {
    /// The mean over all promised trials; not a number if one of them diverged.
    fn mean(&self, scale: &str, model: &str, metric: Metric) -> Result<f64, String> {
        let seeds = self.evidence.seeds();
        let one = |&seed: &u64| {
            let found = self.evidence.find(scale, seed, model, self.condition, metric);
            found
                .map(|m| m.value().raw())
                .map_err(|lack: Lack<'_>| format!("{model} at {scale} seed {seed}: {lack}"))
        };
        let values = seeds.iter().map(one).collect::<Vec<_>>();
        // Ruling R14: what is not finite is evidence, whatever else is lacking.
        if values.iter().flatten().any(|x| !metric.can_be(*x)) {
            return Ok(f64::NAN);
        }
        let values = values.into_iter().collect::<Result<Vec<_>, _>>()?;
        let least = least_trials(self.evidence);
        if values.len() < least {
            return Err(format!("{} trials of at least {least}", values.len()));
        }
        Ok(mean(&values))
    }

    fn falls_like(&self, from: &str, to: &str, share: f64, answer: &mut Answer) -> Status {
        let mut fell = Vec::new();
        for model in [GROUNDTHINK, GPT2] {
            let ends = [from, to].map(|scale| self.mean(scale, model, self.metric));
            for lack in ends.iter().filter_map(|end| end.as_ref().err()) {
                answer.lacks.push(lack.clone());
            }
            if let [Ok(before), Ok(after)] = ends {
                let (low, high) = (Value::from(after), Value::from(before));
                answer.say(format!("{model} from {high} at {from} to {low} at {to}"));
                fell.push(before - after);
            } else if ends.iter().flatten().any(|x| x.is_nan()) {
                fell.push(f64::NAN);
            }
        }
        if fell.iter().any(|x| !x.is_finite()) {
            return Status::Unmet;
        }
        let [ours, theirs] = fell[..] else { return Status::Unproven };
        answer.say(format!("{} of GPT-2's fall", Value::from(ours / theirs)));
        // A baseline that does not improve sets no margin; the model must improve all the same.
        Status::of(ours > 0.0 && ours >= share * theirs)
    }

    fn laws(&self, rule: Rule, upto: &str, answer: &mut Answer) -> Status {
        let mut found = Vec::new();
        for model in [GROUNDTHINK, GPT2] {
            match self.law(model, upto) {
                Ok(law) => {
                    answer.say(format!("{model} {}", text(&law)));
                    found.push(law);
                }
                Err((status, lack)) => {
                    answer.lacks.push(lack);
                    if status == Status::Unmet {
                        return status;
                    }
                }
            }
        }
        let [ours, theirs] = &found[..] else { return Status::Unproven };
        // A law by which models get worse as they grow is none.
        let falls = ours.b > 0.0 && theirs.b > 0.0;
        Status::of(
            falls
                && match rule {
                    Rule::LawFits(least) => ours.r_squared > least && theirs.r_squared > least,
                    Rule::LawParallel(share) => (ours.b - theirs.b).abs() <= share * theirs.b.abs(),
                    Rule::LawSteeper => ours.b >= theirs.b,
                    _ => false,
                },
        )
    }

    /// Through the gated scales up to this one.
    fn law(&self, model: &str, upto: &str) -> Result<Law, (Status, String)> {
        let lacking = |lack| (Status::Unproven, lack);
        let mut points = Vec::new();
        let last = SCALES.iter().position(|s| s.name == upto).unwrap_or_default();
        for scale in SCALES[..=last].iter().filter(|s| s.tier == Tier::Gate) {
            let size = self.mean(scale.name, model, Metric::NonEmbeddingParameters).map_err(lacking)?;
            points.push((size, self.mean(scale.name, model, self.metric).map_err(lacking)?));
        }
        if points.iter().any(|(n, loss)| !(n.is_finite() && loss.is_finite())) {
            return Err((Status::Unmet, format!("{model}: a trial diverged")));
        }
        fit(&points).ok_or_else(|| (Status::Unmet, format!("{model}: no law goes through its losses")))
    }
}

/// A law in words.
pub fn text(law: &Law) -> String {
    let [a, b, c, r2] = [law.a, law.b, law.c, law.r_squared].map(Value::from);
    let interval = law.b_interval.map_or_else(String::new, |ends| {
        let [low, high] = ends.map(Value::from);
        format!(" [{low}, {high}]")
    });
    let offset = if law.parameters > 2 { format!(" + {c}") } else { String::new() };
    format!("L = {a}·N^-b{offset}, b = {b}{interval}, R² {r2}")
}
