//! Times and memory beside those of another measuring: times as a race, memory as it is.

use crate::evidence::{Curve, CurveKind, Measurement, Metric, Value};
use crate::referee::Deviation;
use crate::statistics::{mean, median};

/// By how much a time may have changed beside the same time of another model, beyond the intervals of both medians, in the
/// best of some tries. Models take turns; where a shared machine changed its speed between the two measurings, or amid
/// one, up to 0.21 was seen, where it did not, 0.06.
const CHANGED: f64 = 0.25;
/// And beside most of the times, which are measured one after the other: up to 0.43 was seen so.
const CHANGED_ALONE: f64 = 0.6;
/// So much of an interval on record counts, as a share of its time on either side.
const SLACK: f64 = 0.1;
/// By how much the memory may differ, as a share: on one machine by what a vector's growth leaves.
pub(super) const MEMORY: f64 = 0.002;

/// What was measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum MeasuredCost {
    /// A number.
    Number(Metric),
    /// A point of a curve.
    Point(CurveKind, u64),
}

impl MeasuredCost {
    fn label(self) -> String {
        match self {
            Self::Number(metric) => metric.id().to_owned(),
            Self::Point(kind, context) => format!("{} of {context}", kind.y_axis()),
        }
    }

    fn is_time(self) -> bool {
        matches!(self, Self::Number(Metric::PrefillSeconds | Metric::TokenLatency))
            || matches!(self, Self::Point(kind, _) if is_time(kind))
    }

    fn is_memory(self) -> bool {
        matches!(
            self,
            Self::Number(Metric::PeakBytes | Metric::TrainPeakBytes)
                | Self::Point(CurveKind::MemoryByContext, _)
        )
    }
}

/// Whether a curve is one of times.
pub(super) fn is_time(kind: CurveKind) -> bool {
    matches!(kind, CurveKind::TimeByContext | CurveKind::PrefillByContext)
}

/// A number with the ends of its interval, which it is itself where it has none.
#[derive(Clone, Copy)]
pub(super) struct CostInterval {
    pub(super) value: f64,
    low: f64,
    high: f64,
}

impl CostInterval {
    pub(super) fn new(value: f64, interval: Option<[Value; 2]>) -> Self {
        let [low, high] = interval.map_or([value; 2], |ends| ends.map(Value::raw));
        Self { value, low, high }
    }

    /// Half of the interval as a share of the value.
    fn slack(self) -> f64 {
        (self.high - self.low) / (2.0 * self.value)
    }
}

/// Everything that was measured of a trial.
pub(super) type Costs = Vec<(MeasuredCost, CostInterval)>;

pub(super) fn of_measurement(m: &Measurement) -> (MeasuredCost, CostInterval) {
    (MeasuredCost::Number(m.metric()), CostInterval::new(m.value().raw(), m.interval()))
}

pub(super) fn of_curve(curve: &Curve) -> Costs {
    let intervals = curve.intervals().iter().copied().map(Some).chain(std::iter::repeat(None));
    let of = |((x, y), interval): ((u64, Value), _)| {
        (MeasuredCost::Point(curve.kind(), x), CostInterval::new(y.raw(), interval))
    };
    curve.points().zip(intervals).map(of).collect()
}

pub(super) fn find(costs: &[(MeasuredCost, CostInterval)], cost: MeasuredCost) -> Option<CostInterval> {
    costs.iter().find(|(c, _)| *c == cost).map(|(_, measured)| *measured)
}

/// By which share the memory is another.
pub(super) fn memory_apart(recorded: CostInterval, again: CostInterval) -> f64 {
    (recorded.value / again.value - 1.0).abs()
}

/// Numbers that are the same again, or nearly, and that all are there.
pub(super) fn beside_costs(
    then: &[(MeasuredCost, CostInterval)],
    now: &[(MeasuredCost, CostInterval)],
) -> Vec<Deviation> {
    let lacking = |(cost, _): &&(MeasuredCost, CostInterval)| find(then, *cost).is_none();
    let mut all: Vec<Deviation> = (now.iter().filter(lacking))
        .map(|(cost, _)| Deviation::fact(format!("{}: not on record", cost.label()), false))
        .collect();
    for &(cost, recorded) in then {
        let Some(again) = find(now, cost) else {
            all.push(Deviation::fact(format!("{}, which nobody measures", cost.label()), false));
            continue;
        };
        if cost.is_memory() {
            all.push(Deviation::new(cost.label(), memory_apart(recorded, again), MEMORY));
        } else if cost.is_time() {
            let inside = recorded.low <= recorded.value && recorded.value <= recorded.high;
            all.push(Deviation::fact(format!("{} lies in its interval", cost.label()), inside));
        } else if let MeasuredCost::Number(Metric::ConversationRead | Metric::TimedTokens) = cost {
            all.push(Deviation::fact(cost.label(), recorded.value == again.value));
        }
    }
    all
}

/// A time of a model, then and now.
struct Lap {
    model: usize,
    cost: MeasuredCost,
    /// The logarithm of how many times slower it is now.
    slower: f64,
    /// By how much that may be otherwise, as both intervals say.
    slack: f64,
}

/// By how much every time changed since beside the same time of the others, and beside most times: a machine that is
/// slower now is slower at everything. And how many times slower everything is now, at most.
pub(super) fn race(then: &[Costs], now: &[Costs]) -> (Vec<Vec<Deviation>>, f64) {
    let mut laps = Vec::new();
    for (model, (then, now)) in then.iter().zip(now).enumerate() {
        for &(cost, recorded) in then.iter().filter(|(cost, _)| cost.is_time()) {
            if let Some(again) = find(now, cost) {
                let slower = (again.value / recorded.value).ln();
                // A wide interval on record is no excuse.
                laps.push(Lap { model, cost, slower, slack: recorded.slack().min(SLACK) + again.slack() });
            }
        }
    }
    let usual = median(&laps.iter().map(|lap| lap.slower).collect::<Vec<_>>());
    // NaN, where there is one, wins.
    let worst = |x: f64, y: f64| if y.is_nan() || y > x { y } else { x };
    let mut raced = vec![Vec::new(); then.len()];
    for lap in &laps {
        let others = laps.iter().filter(|other| other.cost == lap.cost && other.model != lap.model);
        let beside = others.map(|other| (lap.slower - other.slower).abs() - lap.slack - other.slack);
        let changed = |apart: f64| if apart < 0.0 { 0.0 } else { apart.exp_m1() };
        let beside = Deviation::new(lap.cost.label(), changed(beside.fold(0.0, worst)), CHANGED);
        let alone = (lap.slower - usual).abs() - lap.slack;
        let alone =
            Deviation::new(format!("{} beside other times", lap.cost.label()), changed(alone), CHANGED_ALONE);
        raced[lap.model].extend([beside, alone]);
    }
    let most: Vec<f64> = laps.iter().map(|lap| lap.slower + lap.slack).collect();
    (raced, mean(&most).exp())
}

/// Whether nothing changed more than may be.
pub(super) fn agree(raced: &[Vec<Deviation>]) -> bool {
    raced.iter().flatten().all(|changed| changed.share() <= 1.0)
}

/// Of two tries the better, for every time.
pub(super) fn better(first: Vec<Vec<Deviation>>, second: Vec<Vec<Deviation>>) -> Vec<Vec<Deviation>> {
    let of = |(a, b): (Deviation, Deviation)| if b.share() < a.share() { b } else { a };
    first.into_iter().zip(second).map(|(a, b)| a.into_iter().zip(b).map(of).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn farthest(all: &[Deviation]) -> f64 {
        crate::referee::farthest(all).map_or(f64::NAN, Deviation::share)
    }

    fn of(cost: MeasuredCost, value: f64, around: f64) -> Costs {
        vec![(cost, CostInterval { value, low: value * (1.0 - around), high: value * (1.0 + around) })]
    }

    fn raced(then: [f64; 2], now: [f64; 2], around: f64) -> ([f64; 2], f64) {
        let of = |x: f64| of(MeasuredCost::Number(Metric::PrefillSeconds), x, around);
        let (raced, slower) = race(&then.map(of), &now.map(of));
        ([farthest(&raced[0]), farthest(&raced[1])], slower)
    }

    #[test]
    fn a_slower_machine_is_no_gain_of_one_model() {
        let ([a, b], slower) = raced([1.0, 2.0], [3.0, 6.0], 0.0);
        assert!(a < 1e-12 && b < 1e-12 && (slower - 3.0).abs() < 1e-12);
        let ([a, b], _) = raced([1.0, 2.0], [1.1, 2.0], 0.0);
        assert!(a < 1.0 && b < 1.0);
        // One was measured with half of its work.
        let ([a, b], _) = raced([1.0, 0.7], [1.0, 1.4], 0.05);
        assert!(a > 1.0 && b > 1.0);
        // Among so much other work nobody can say.
        let ([a, b], _) = raced([1.0, 0.7], [1.0, 1.4], 0.4);
        assert!(a < 1.0 && b < 1.0);
        let ([a, b], _) = raced([1.0, f64::NAN], [1.0, 2.0], 0.0);
        assert!(a.is_nan() && b.is_nan());
    }

    /// What both models have in common is seen beside other times; a wide interval hides nothing.
    #[test]
    fn a_time_that_changed_for_both_is_seen() {
        let times = |points: f64, around: f64| {
            let at = |context| MeasuredCost::Point(CurveKind::TimeByContext, context);
            let other = |metric| of(MeasuredCost::Number(metric), 1.0, 0.0);
            let all = [other(Metric::PrefillSeconds), other(Metric::TokenLatency), of(at(256), 1.0, 0.0)];
            let mut all = all.concat();
            all.extend(of(at(8192), points, around));
            all
        };
        let share = |points: f64, around: f64| {
            let (then, now) = (times(points, around), times(1.0, 0.01));
            let (raced, _) = race(&[then.clone(), then], &[now.clone(), now]);
            raced.iter().map(|all| farthest(all)).fold(0.0, f64::max)
        };
        assert!(share(1.02, 0.0) < 0.1 && share(1.8, 0.0) > 1.0 && share(2.0, 0.4) > 1.0);
    }

    #[test]
    fn memory_is_the_same_again_and_nothing_is_lacking() {
        let of = |bytes: f64| of(MeasuredCost::Number(Metric::PeakBytes), bytes, 0.0);
        assert!(farthest(&beside_costs(&of(1e6), &of(1.001e6))) < 1.0);
        assert!(farthest(&beside_costs(&of(1e6), &of(1.01e6))) > 1.0);
        assert!(farthest(&beside_costs(&of(f64::NAN), &of(1e6))).is_nan());
        assert!(farthest(&beside_costs(&of(1e6), &[])) > 1.0);
        assert!(farthest(&beside_costs(&[], &of(1e6))) > 1.0);
    }
}
