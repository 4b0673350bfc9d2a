//! Times and memory again, as they were measured: both models of a trial in turns. A machine is never as quick twice,
//! so times are compared as a race: by how much one model gained on the other since. Memory is the same again, and what
//! is computed from other numbers has to follow from them.
//!
//! How long a training took cannot be made again, but no training was quicker than its own steps are.

use std::collections::{BTreeMap, BTreeSet};

use super::audit::AuditReport;
use super::collector::Collector;
use super::disturbance::disturbed;
use super::efficiency::{TIMES, measured_by_us, ratios, whose};
use super::error::CollectError;
use super::trial::{Trained, Trial};
use crate::evidence::{Condition, Curve, CurveKind, Line, Measurement, Metric, Provenance, Value};
use crate::models;
use crate::probes::Reading;
use crate::probes::efficiency::{GROWTH, quickest_step};
use crate::progress::ProgressTask;
use crate::referee::Deviation;
use crate::scale::Scale;
use crate::statistics::{growth_exponent, mean};

/// By how much more than before one model may be slower than the other, beyond the intervals of their medians: on a machine
/// that others use too up to 23 % were seen; a pass that is computed twice makes 100 %.
const GAINED: f64 = 0.5;
/// By how much the memory may differ, as a share: on one machine not by a byte, with more threads by their buffers.
const MEMORY: f64 = 0.02;
/// By how much quicker than its quickest steps a training may have been: up to 44 % were seen of trainings of seconds.
const QUICKER: f64 = 0.6;
/// Sums and quotients in float64.
const ROUNDING: f64 = 1e-9;
/// How often a training's memory is measured again before it is another amount.
const TRIES: usize = 8;
/// Of the rounds of a measurement one in so many is run again, and at least so many.
const ROUNDS: (usize, usize) = (10, 6);

/// What was measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cost {
    /// A number.
    Number(Metric),
    /// A point of a curve.
    Point(CurveKind, u64),
}

impl Cost {
    fn label(self) -> String {
        match self {
            Self::Number(metric) => metric.id().to_owned(),
            Self::Point(kind, context) => format!("{} of {context}", kind.y_axis()),
        }
    }

    fn is_time(self) -> bool {
        matches!(
            self,
            Self::Number(Metric::PrefillSeconds | Metric::TokenLatency)
                | Self::Point(CurveKind::TimeByContext | CurveKind::PrefillByContext, _)
        )
    }

    fn is_memory(self) -> bool {
        matches!(
            self,
            Self::Number(Metric::PeakBytes | Metric::TrainPeakBytes)
                | Self::Point(CurveKind::MemoryByContext, _)
        )
    }
}

/// A number with the ends of its interval, which it is itself where it has none.
#[derive(Clone, Copy)]
struct Measured {
    value: f64,
    low: f64,
    high: f64,
}

impl Measured {
    fn new(value: f64, interval: Option<[Value; 2]>) -> Self {
        let [low, high] = interval.map_or([value; 2], |ends| ends.map(Value::raw));
        Self { value, low, high }
    }
}

/// Everything that was measured of a trial.
type Costs = Vec<(Cost, Measured)>;

fn of_measurement(m: &Measurement) -> (Cost, Measured) {
    (Cost::Number(m.metric()), Measured::new(m.value().raw(), m.interval()))
}

fn of_curve(curve: &Curve) -> Costs {
    let intervals = curve.intervals().iter().copied().map(Some).chain(std::iter::repeat(None));
    let of = |((x, y), interval): ((u64, Value), _)| {
        (Cost::Point(curve.kind(), x), Measured::new(y.raw(), interval))
    };
    curve.points().zip(intervals).map(of).collect()
}

fn find(costs: &[(Cost, Measured)], cost: Cost) -> Option<Measured> {
    costs.iter().find(|(c, _)| *c == cost).map(|(_, measured)| *measured)
}

/// What is said of a trial: every comparison, or why there is none.
pub(super) type CostsAgain = Result<Vec<Deviation>, String>;

impl Collector<'_> {
    /// Times and memory of every trial of which the ledger has them, by the trial's name. For a process that does nothing
    /// else meanwhile.
    pub(super) fn all_costs_again(&self) -> Result<BTreeMap<String, CostsAgain>, CollectError> {
        let mut all = BTreeMap::new();
        for scale in self.protocol.scales() {
            for &seed in &self.protocol.seeds {
                let trained = self.models_of(scale, seed)?;
                let again = self.costs_again(&trained)?.into_iter().flatten();
                all.extend(trained.iter().map(|t| t.trial.label()).zip(again));
            }
        }
        Ok(all)
    }

    /// The trained models of a trial.
    pub(super) fn models_of(
        &self,
        scale: &'static Scale,
        seed: u64,
    ) -> Result<Vec<Trained<'_>>, CollectError> {
        let specs = self.protocol.models.iter().filter_map(|name| models::find(name));
        specs.map(|spec| self.trained(Trial { spec, scale, seed })).collect()
    }

    /// Times and memory of the models of a trial again, unless the ledger has none.
    pub(super) fn costs_again(
        &self,
        trained: &[Trained<'_>],
    ) -> Result<Option<Vec<CostsAgain>>, CollectError> {
        let recorded: Vec<Costs> = trained.iter().map(|t| self.costs_of(t)).collect();
        if recorded.iter().any(Vec::is_empty) {
            let elsewhere = trained.iter().map(|t| self.device_of_costs(t)).collect::<Vec<_>>();
            if elsewhere.iter().all(Option::is_none) {
                return Ok(None);
            }
            let here = self.options.compute.name();
            let of = |device: Option<String>| {
                Err(format!("times and memory: measured on {}, not {here}", device.unwrap_or_default()))
            };
            return Ok(Some(elsewhere.into_iter().map(of).collect()));
        }
        let name = trained.first().map_or_else(String::new, whose);
        let task = self.options.screen.task(&format!("{name}: times again"), 0, 13);
        let (again, disturbed) = disturbed(|| self.measured_again(trained, &task));
        let mut again = again?;
        if let Some(share) = disturbed {
            let what = "times and memory: other work took";
            let problem = format!("{what} {:.0} % of the processor from their measuring", 100.0 * share);
            return Ok(Some(vec![Err(problem); trained.len()]));
        }
        for ((then, now), trained) in recorded.iter().zip(&mut again).zip(trained) {
            self.training_memory_again(trained, then, now)?;
        }
        let mut compared: Vec<Vec<Deviation>> =
            recorded.iter().zip(&again).map(|(then, now)| beside_costs(then, now)).collect();
        let slower = race(&recorded, &again, &mut compared);
        for ((all, then), trained) in compared.iter_mut().zip(&recorded).zip(trained) {
            all.extend(self.follow(trained, then));
            let quickest = self.quickest_step(trained)?;
            all.extend(quickest.and_then(|seconds| quicker_than_its_steps(trained, seconds, slower)));
        }
        Ok(Some(compared.into_iter().map(Ok).collect()))
    }

    /// How much memory a small training needs at most depends on whether two of its threads need theirs at once: where it
    /// was another amount, some more tries.
    fn training_memory_again(
        &self,
        trained: &Trained<'_>,
        then: &[(Cost, Measured)],
        now: &mut Costs,
    ) -> Result<(), CollectError> {
        let cost = Cost::Number(Metric::TrainPeakBytes);
        let Some(recorded) = find(then, cost) else { return Ok(()) };
        for _ in 0..TRIES {
            if find(now, cost).is_some_and(|again| memory_apart(recorded, again) <= MEMORY) {
                break;
            }
            let reading = self.training_memory(trained)?;
            now.retain(|(other, _)| *other != cost);
            now.push((cost, Measured::new(reading.value, None)));
        }
        Ok(())
    }

    /// What the ledger has of a trial from this very source.
    fn costs_of(&self, trained: &Trained<'_>) -> Costs {
        let (of, source) = (trained.trial.of(Condition::Trained), measured_by_us(&trained.source));
        let numbers = self.all_told(|m| *m.subject() == of && *m.provenance() == source);
        let curves = self.all_curves(|c| *c.subject() == of && *c.provenance() == source);
        numbers.iter().map(of_measurement).chain(curves.iter().flat_map(of_curve)).collect()
    }

    /// On what times and memory of these weights were measured, if not here.
    fn device_of_costs(&self, trained: &Trained<'_>) -> Option<String> {
        let of = trained.trial.of(Condition::Trained);
        self.told(|m| {
            let source: &Provenance = m.provenance();
            let same = source.weights == trained.source.weights && source.revision == trained.source.revision;
            (*m.subject() == of && source.probe == TIMES && same).then(|| source.device.clone())
        })
    }

    fn measured_again(
        &self,
        trained: &[Trained<'_>],
        task: &ProgressTask,
    ) -> Result<Vec<Costs>, CollectError> {
        let mut done = 0;
        let lines = self.measure(trained, &mut |name, times, round| {
            task.at(done, || name.to_owned());
            done += 1;
            (0..(times / ROUNDS.0).max(ROUNDS.1)).for_each(|_| round());
        })?;
        let of = |t: &Trained<'_>| {
            let of = t.trial.of(Condition::Trained);
            let costs = lines.iter().flat_map(|line| match line {
                Line::Measurement(m) if *m.subject() == of => vec![of_measurement(m)],
                Line::Curve(c) if *c.subject() == of => of_curve(c),
                _ => Vec::new(),
            });
            costs.collect()
        };
        Ok(trained.iter().map(of).collect())
    }

    /// What is computed from other numbers on record.
    fn follow(&self, trained: &Trained<'_>, then: &[(Cost, Measured)]) -> Vec<Deviation> {
        let found = |cost| find(then, cost).map_or(f64::NAN, |measured| measured.value);
        let prefills: Vec<(f64, f64)> = (then.iter())
            .filter_map(|(cost, measured)| match cost {
                Cost::Point(CurveKind::PrefillByContext, x) => Some((*x as f64, measured.value)),
                _ => None,
            })
            .collect();
        let mut expected = vec![(Metric::TimeExponent, growth_exponent(&prefills))];
        for (metric, kind) in [
            (Metric::CostTimeGrowth, CurveKind::TimeByContext),
            (Metric::CostMemoryGrowth, CurveKind::MemoryByContext),
        ] {
            let at = |context: usize| found(Cost::Point(kind, context as u64));
            expected.push((metric, at(GROWTH[1]) / at(GROWTH[0])));
        }
        let prefill = found(Cost::Number(Metric::PrefillSeconds));
        if let Some(perplexity) = self.perplexity(trained) {
            let ratios = ratios(&[Reading::new(Metric::PrefillSeconds, prefill)], perplexity);
            expected.extend(ratios.iter().map(|reading| (reading.metric, reading.value)));
        }
        let beside = |(metric, expected): (Metric, f64)| {
            Deviation::new(metric.id(), (found(Cost::Number(metric)) / expected - 1.0).abs(), ROUNDING)
        };
        expected.into_iter().map(beside).collect()
    }

    /// The least seconds that a token takes in some steps of this training, on one thread and on all: as a task of its
    /// own it had all of them, beside others maybe one.
    fn quickest_step(&self, trained: &Trained<'_>) -> Result<Option<f64>, CollectError> {
        let failed = |error| CollectError::Probe {
            probe: TIMES,
            subject: trained.trial.label(),
            error: Box::new(error),
        };
        let mut least: Option<f64> = None;
        let all = std::thread::available_parallelism().map_or(1, usize::from);
        for threads in BTreeSet::from([1, all]) {
            let (job, _) = self.place(trained.trial)?;
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
            let seconds = pool.install(|| quickest_step(job)).map_err(failed)?;
            least = seconds.map(|seconds| least.map_or(seconds, |least| least.min(seconds)));
        }
        Ok(least)
    }
}

/// By which share the memory is another.
fn memory_apart(recorded: Measured, again: Measured) -> f64 {
    (recorded.value / again.value - 1.0).abs()
}

/// Numbers that are the same again, or nearly, and that all are there.
fn beside_costs(then: &[(Cost, Measured)], now: &[(Cost, Measured)]) -> Vec<Deviation> {
    let lacking = |(cost, _): &&(Cost, Measured)| find(then, *cost).is_none();
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
        } else if cost == Cost::Number(Metric::ConversationRead) {
            all.push(Deviation::fact(cost.label(), recorded.value == again.value));
        }
    }
    all
}

/// By how much every model gained on the others since, at least, for every time; returns how many times slower everything
/// is now, at most.
fn race(then: &[Costs], now: &[Costs], compared: &mut [Vec<Deviation>]) -> f64 {
    // How many times slower each model is now, at least and at most.
    let mut slower: BTreeMap<Cost, Vec<(usize, [f64; 2])>> = BTreeMap::new();
    for (model, (then, now)) in then.iter().zip(now).enumerate() {
        for &(cost, recorded) in then.iter().filter(|(cost, _)| cost.is_time()) {
            if let Some(again) = find(now, cost) {
                let factor = [again.low / recorded.high, again.high / recorded.low];
                slower.entry(cost).or_default().push((model, factor));
            }
        }
    }
    for (cost, all) in &slower {
        // NaN, where there is one, wins.
        let worst = |x: f64, y: f64| if y.is_nan() || y > x { y } else { x };
        for (model, [least, most]) in all {
            let gained = all.iter().map(|(_, [low, high])| (low / most).max(least / high) - 1.0);
            let gained = if least.is_nan() || most.is_nan() { f64::NAN } else { gained.fold(0.0, worst) };
            compared[*model].push(Deviation::new(cost.label(), gained, GAINED));
        }
    }
    let logs: Vec<f64> = slower.values().flatten().map(|(_, [_, most])| most.ln()).collect();
    mean(&logs).exp()
}

/// The training beside its own steps, on a machine that is so many times slower now.
fn quicker_than_its_steps(trained: &Trained<'_>, quickest: f64, slower: f64) -> Option<Deviation> {
    let tokens = trained.run.curve.last()?.tokens as f64;
    let quicker = (quickest / slower) / (trained.run.seconds / tokens) - 1.0;
    // Slower it may have been: there was other work.
    let quicker = if quicker < 0.0 { 0.0 } else { quicker };
    Some(Deviation::new("quicker training than its steps are", quicker, QUICKER))
}

/// What an audit says of a trial's times and memory.
pub(super) fn tell(costs: CostsAgain, report: &mut AuditReport) {
    match costs {
        Ok(compared) => {
            report.covered.push(format!("times and memory: {} numbers measured again", compared.len()));
            report.questions.push((Metric::AuditCosts, compared));
        }
        Err(problem) => report.not_covered.push(problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn farthest(all: &[Deviation]) -> f64 {
        crate::referee::farthest(all).map_or(f64::NAN, Deviation::share)
    }

    fn of(cost: Cost, value: f64, around: f64) -> Costs {
        vec![(cost, Measured { value, low: value * (1.0 - around), high: value * (1.0 + around) })]
    }

    fn raced(then: [f64; 2], now: [f64; 2], around: f64) -> ([f64; 2], f64) {
        let of = |x: f64| of(Cost::Number(Metric::PrefillSeconds), x, around);
        let mut compared = vec![Vec::new(); 2];
        let slower = race(&then.map(of), &now.map(of), &mut compared);
        ([farthest(&compared[0]), farthest(&compared[1])], slower)
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

    #[test]
    fn memory_is_the_same_again_and_nothing_is_lacking() {
        let of = |bytes: f64| of(Cost::Number(Metric::PeakBytes), bytes, 0.0);
        assert!(farthest(&beside_costs(&of(1e6), &of(1.01e6))) < 1.0);
        assert!(farthest(&beside_costs(&of(1e6), &of(1.1e6))) > 1.0);
        assert!(farthest(&beside_costs(&of(f64::NAN), &of(1e6))).is_nan());
        assert!(farthest(&beside_costs(&of(1e6), &[])) > 1.0);
        assert!(farthest(&beside_costs(&[], &of(1e6))) > 1.0);
    }
}
