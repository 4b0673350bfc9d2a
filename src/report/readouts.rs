//! What people read off such a comparison beside its verdict: nothing here decides. Everything follows from numbers and
//! curves that count.

use std::collections::HashMap;

use super::table::Table;
use crate::evidence::{Condition, Curve, CurveKind, Direction, Ledger, Metric, Value};
use crate::gate::{Evidence, GPT2, GROUNDTHINK, Judgement, Role, Status};
use crate::statistics::{mean, sd, t_interval};

/// One part in so many of a training's points is what a level or a running mean is taken over.
const SHARE: usize = 20;

/// Every table that has a row.
pub(super) fn readouts(curves: &Curves<'_>, judgement: &Judgement) -> Vec<Table> {
    let mut all = Vec::new();
    for scale in curves.evidence.scales() {
        all.push(curves.tokens_to_baseline(scale));
        all.push(curves.parts(scale));
        all.push(signal_to_noise(curves.evidence, scale));
    }
    all.push(decisions(judgement));
    all
}

/// The first place from which on the first curve lies below the second, place by place.
fn crossing(one: &Curve, other: &Curve) -> Option<u64> {
    let below: Vec<(u64, bool)> = one
        .points()
        .zip(other.points())
        .map(|((x, a), (there, b))| (x, x == there && a.raw() < b.raw()))
        .collect();
    let last_above = below.iter().rposition(|(_, is_below)| !is_below);
    below.get(last_above.map_or(0, |at| at + 1)).map(|(x, _)| *x)
}

/// Where GroundThink's running mean comes down to GPT-2's level at the end, in shares of all tokens; infinite where it
/// never does, and `None` where the two were not trained alike.
fn reached(one: &Curve, other: &Curve) -> Option<f64> {
    let (xs, losses): (Vec<u64>, Vec<f64>) = one.points().map(|(x, y)| (x, y.raw())).unzip();
    let (there, baseline): (Vec<u64>, Vec<f64>) = other.points().map(|(x, y)| (x, y.raw())).unzip();
    let some = (xs.len() / SHARE).max(1);
    if xs != there || xs.len() < 2 * some {
        return None;
    }
    let level = mean(&baseline[baseline.len() - some..]);
    let at = losses.windows(some).position(|window| mean(window) <= level);
    Some(at.map_or(f64::INFINITY, |at| xs[at + some - 1] as f64 / xs[xs.len() - 1] as f64))
}

/// The curves of both trained models that count, by kind, scale, model and trial; those that contradict themselves are
/// none.
pub(super) struct Curves<'e> {
    evidence: &'e Evidence<'e>,
    all: HashMap<(CurveKind, &'e str, &'e str, u64), Option<&'e Curve>>,
}

impl<'e> Curves<'e> {
    pub(super) fn of(ledger: &'e Ledger, evidence: &'e Evidence<'e>) -> Self {
        let mut all = HashMap::new();
        for curve in ledger.curves() {
            let of = curve.subject();
            if of.condition == Condition::Trained && evidence.counts(of, curve.provenance()) {
                let key = (curve.kind(), of.scale.as_str(), of.model.as_str(), of.seed);
                let known = all.entry(key).or_insert(Some(curve));
                *known = known.filter(|other| other.agrees(curve));
            }
        }
        Self { evidence, all }
    }

    /// Trials of which both models have a curve, GroundThink's first.
    fn pairs(&self, kind: CurveKind, scale: &str) -> impl Iterator<Item = (&'e Curve, &'e Curve)> {
        let one = |model, seed| self.all.get(&(kind, scale, model, seed)).copied().flatten();
        let both = |&seed: &u64| Some((one(GROUNDTHINK, seed)?, one(GPT2, seed)?));
        self.evidence.seeds().iter().filter_map(both).collect::<Vec<_>>().into_iter()
    }

    /// The context from which on a trial's GroundThink takes less time for a token: a time, and so no part of
    /// [`readouts`].
    pub(super) fn faster_from(&self, scale: &str) -> Option<String> {
        let pairs = self.pairs(CurveKind::TimeByContext, scale);
        let places: Vec<Option<u64>> = pairs.map(|(one, other)| crossing(one, other)).collect();
        let reached: Vec<f64> = places.iter().flatten().map(|&x| x as f64).collect();
        let middle = || Value::from(mean(&reached)).to_string();
        match (reached.is_empty(), places.len() - reached.len()) {
            (true, 0) => None,
            (true, _) => Some("not within what was measured".to_owned()),
            (false, 0) => Some(middle()),
            (false, never) => Some(format!("{} ({never} of {} trials never)", middle(), places.len())),
        }
    }

    /// How much of the tokens GroundThink needs to come to the training loss with which GPT-2 ends.
    fn tokens_to_baseline(&self, scale: &str) -> Table {
        let shares: Vec<f64> = self
            .pairs(CurveKind::TrainingLoss, scale)
            .filter_map(|(one, other)| reached(one, other))
            .collect();
        let ends = t_interval(&shares).filter(|ends| ends.iter().all(|end| end.is_finite()));
        let row = || {
            let interval = ends.map_or_else(String::new, |[low, high]| {
                format!("[{}, {}]", Value::from(low), Value::from(high))
            });
            let never = shares.iter().filter(|share| share.is_infinite()).count();
            vec![
                Value::from(mean(&shares)).to_string(),
                interval,
                shares.len().to_string(),
                if never == 0 { String::new() } else { format!("{never} never") },
            ]
        };
        Table {
            title: format!("Tokens that GroundThink needs to GPT-2's last training loss, {scale}"),
            head: ["share of all tokens", "95 % over trials", "trials", ""].map(str::to_owned).to_vec(),
            rows: if shares.is_empty() { Vec::new() } else { vec![row()] },
        }
    }

    /// Held-out loss of every part of a mixture, the worst for GroundThink first.
    fn parts(&self, scale: &str) -> Table {
        let pairs: Vec<_> = self.pairs(CurveKind::LossByPart, scale).collect();
        let names = self.evidence.promise().map_or(&[][..], |promise| &promise.latest().parts);
        let of_part = |i: usize| {
            let losses = |second: bool| -> Vec<f64> {
                let curves = pairs.iter().map(|(one, other)| if second { *other } else { *one });
                curves.filter_map(|curve| curve.points().nth(i)).map(|(_, y)| y.raw()).collect()
            };
            let (one, other) = (losses(false), losses(true));
            let ratios: Vec<f64> = one.iter().zip(&other).map(|(a, b)| (a - b).exp()).collect();
            (mean(&ratios), [mean(&one), mean(&other)])
        };
        let mut parts: Vec<_> = names.iter().enumerate().map(|(i, name)| (name, of_part(i))).collect();
        parts.retain(|(_, (ratio, _))| !ratio.is_nan());
        parts.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
        let row = |(name, (ratio, losses)): &(&String, (f64, [f64; 2]))| {
            let [one, other] = losses.map(|loss| Value::from(loss).to_string());
            vec![(*name).clone(), one, other, Value::from(*ratio).to_string()]
        };
        Table {
            title: format!("Held-out loss by part, the worst for GroundThink first, {scale}"),
            head: ["part", GROUNDTHINK, GPT2, "perplexity ratio"].map(str::to_owned).to_vec(),
            rows: parts.iter().map(row).collect(),
        }
    }
}

/// How far apart the two models lie, in deviations over trials: the metrics that tell models of this size apart stand
/// first (after Heineman et al. 2025, "Signal and Noise", whose noise is that of the last checkpoints; here it is that of
/// seeds and orders).
fn signal_to_noise(evidence: &Evidence<'_>, scale: &str) -> Table {
    let of = |model, metric| -> Vec<f64> {
        evidence.values(scale, model, Condition::Trained, metric).into_values().collect()
    };
    let mut rows = Vec::new();
    for &metric in Metric::ALL.iter().filter(|m| !m.is_time() && m.direction() != Direction::Neither) {
        let (one, other) = (of(GROUNDTHINK, metric), of(GPT2, metric));
        let (Some(a), Some(b)) = (sd(&one), sd(&other)) else { continue };
        let (signal, noise) =
            ((mean(&one) - mean(&other)).abs(), (a.powi(2) + b.powi(2)).sqrt() / 2_f64.sqrt());
        // What does not scatter was counted, not measured.
        if noise > 1e-9 * mean(&other).abs() && signal.is_finite() {
            let cells = [signal, noise, signal / noise].map(|x| Value::from(x).to_string());
            rows.push((signal / noise, [vec![metric.id().to_owned()], cells.to_vec()].concat()));
        }
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    Table {
        title: format!("Signal to noise, {scale}"),
        head: ["metric", "between models", "between trials", "ratio"].map(str::to_owned).to_vec(),
        rows: rows.into_iter().map(|(_, row)| row).collect(),
    }
}

/// How often what a smaller scale decided is what the next larger one decides.
fn decisions(judgement: &Judgement) -> Table {
    let scales: Vec<&str> = {
        let mut all: Vec<&str> = judgement.findings.iter().map(|f| f.scale).collect();
        all.dedup();
        crate::scale::SCALES.iter().map(|scale| scale.name).filter(|name| all.contains(name)).collect()
    };
    let decided = |scale: &str, criterion: &str| {
        let found = judgement.findings.iter().find(|f| f.scale == scale && f.criterion == criterion)?;
        let is_decided = matches!(found.status, Status::Met | Status::Unmet) && found.role == Role::Required;
        is_decided.then_some(found.status)
    };
    let mut rows = Vec::new();
    for pair in scales.windows(2) {
        let criteria = judgement.findings.iter().filter(|f| f.scale == pair[0]).map(|f| f.criterion);
        let both: Vec<(&str, bool)> =
            criteria.filter_map(|id| Some((id, decided(pair[0], id)? == decided(pair[1], id)?))).collect();
        let other: Vec<&str> = both.iter().filter(|(_, same)| !same).map(|(id, _)| *id).collect();
        if !both.is_empty() {
            rows.push(vec![
                pair[0].to_owned(),
                pair[1].to_owned(),
                format!("{} of {}", both.len() - other.len(), both.len()),
                other.join(", "),
            ]);
        }
    }
    Table {
        title: "Decisions of a smaller scale that the larger one makes too".to_owned(),
        head: ["smaller", "larger", "same", "others"].map(str::to_owned).to_vec(),
        rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Provenance, Subject};

    fn curve(points: impl Iterator<Item = (u64, f64)>) -> Curve {
        let (x, y) = points.map(|(x, y)| (x, Value::from(y))).unzip();
        let of = Subject {
            model: GPT2.to_owned(),
            scale: "smoke".to_owned(),
            seed: 1,
            condition: Condition::Trained,
        };
        Curve::new(of, CurveKind::TrainingLoss, x, y, Provenance::default()).unwrap()
    }

    #[test]
    fn the_level_is_reached_where_the_running_mean_is() {
        let falling = |slope: f64| curve((1..=100).map(|i| (10 * i, 5.0 - slope * i as f64)));
        // The last five of GPT-2's hundred points have mean 5 − 98·0.01; GroundThink falls twice as fast and is there
        // where its own five have: points 47 to 51.
        assert_eq!(reached(&falling(0.02), &falling(0.01)), Some(0.51));
        assert_eq!(reached(&falling(0.01), &falling(0.01)), Some(1.0));
        assert_eq!(reached(&falling(0.005), &falling(0.01)), Some(f64::INFINITY));
        let elsewhere = curve((1..=100).map(|i| (20 * i, 1.0)));
        assert_eq!(reached(&falling(0.01), &elsewhere), None);
        let broken = curve((1..=100).map(|i| (10 * i, f64::NAN)));
        assert_eq!(reached(&broken, &falling(0.01)), Some(f64::INFINITY));
    }

    #[test]
    fn faster_is_faster_from_there_on() {
        let of = |ys: [f64; 4]| curve([1_u64, 2, 4, 8].into_iter().zip(ys));
        let baseline = of([1.0, 2.0, 4.0, 8.0]);
        assert_eq!(crossing(&of([2.0, 2.0, 2.0, 2.0]), &baseline), Some(4));
        assert_eq!(crossing(&of([0.5, 3.0, 2.0, 2.0]), &baseline), Some(4));
        assert_eq!(crossing(&of([0.5, 0.5, 2.0, 9.0]), &baseline), None);
        assert_eq!(crossing(&of([0.5, 0.5, f64::NAN, 2.0]), &baseline), Some(8));
        assert_eq!(crossing(&of([0.5, 0.5, 0.5, 0.5]), &baseline), Some(1));
    }
}
