//! Times and memory again, as they were measured: both models of a trial in turns. A machine is never as quick twice,
//! so times are compared as a race: by how much one model gained on the other since. Memory is the same again, and what
//! is computed from other numbers has to follow from them.
//!
//! How long a training took cannot be made again, but no training was quicker than its own steps are.

use std::collections::{BTreeMap, BTreeSet};

use super::collector::Collector;
use super::costs::{
    CostInterval, Costs, MEMORY, MeasuredCost, agree, beside_costs, better, find, is_time, memory_apart,
    of_curve, of_measurement, race,
};
use super::disturbance::disturbed;
use super::efficiency::{TIMES, measured_by_us, ratios, whose};
use super::error::CollectError;
use super::item_file::ItemFile;
use super::measure::ProbeAnswers;
use super::recorded::RecordedNumber;
use super::trial::{Trained, Trial};
use crate::evidence::{Condition, CurveKind, ItemValues, Line, Measurement, Metric, Provenance, Subject};
use crate::models;
use crate::probes::Reading;
use crate::probes::efficiency::{GROWTH, SAMPLED, quickest_step};
use crate::progress::ProgressTask;
use crate::referee::Deviation;
use crate::scale::Scale;
use crate::statistics::growth_exponent;
use crate::train::Run;

/// By how much quicker than its quickest steps a training may have been: up to 44 % were seen of trainings of seconds.
const QUICKER: f64 = 0.6;
/// By how much a stopwatch and the machine's clock may differ, as a share.
const CLOCKS: f64 = 0.02;
/// And in seconds for every start, which writes before it looks at the clock.
const START: f64 = 0.1;
/// How often times, and a training's memory, are measured again before they are others.
const TRIES: usize = 3;
/// Of the rounds of a measurement one in so many is run again, and at least so many.
const ROUNDS: (usize, usize) = (10, 6);

/// What is said of a trial: every comparison, and why there are not more.
pub(super) type CostsAgain = (Vec<Deviation>, Option<String>);

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
        let foreign: Vec<Vec<Deviation>> = trained.iter().map(|t| self.of_another_source(t)).collect();
        if foreign.iter().any(|all| !all.is_empty()) {
            return Ok(Some(foreign.into_iter().map(|all| (all, None)).collect()));
        }
        if recorded.iter().any(Vec::is_empty) {
            let elsewhere = trained.iter().map(|t| self.device_of_costs(t)).collect::<Vec<_>>();
            if elsewhere.iter().all(Option::is_none) {
                return Ok(None);
            }
            let here = self.options.compute.name();
            let of = |device: Option<String>| {
                let there = device.unwrap_or_default();
                (Vec::new(), Some(format!("times and memory: measured on {there}, not {here}")))
            };
            return Ok(Some(elsewhere.into_iter().map(of).collect()));
        }
        let name = trained.first().map_or_else(String::new, whose);
        let task = self.options.screen.task(&format!("{name}: times again"), 0, 13);
        let (again, disturbed) = disturbed(|| self.measured_again(trained, &task));
        let mut again = again?;
        for ((then, now), trained) in recorded.iter().zip(&mut again).zip(trained) {
            self.training_memory_again(trained, then, now)?;
        }
        let mut compared: Vec<Vec<Deviation>> =
            recorded.iter().zip(&again).map(|(then, now)| beside_costs(then, now)).collect();
        for ((all, then), trained) in compared.iter_mut().zip(&recorded).zip(trained) {
            all.extend(self.follow(trained, then));
            all.extend(self.samples_again(trained));
            all.push(stopwatch_beside_clock(&trained.run));
        }
        if let Some(share) = disturbed {
            let what = "times: other work took";
            let problem = format!("{what} {:.0} % of the processor from their measuring", 100.0 * share);
            // What differs differs all the same; what agrees is not all that was to be looked at.
            let differs = |all: Vec<Deviation>| {
                let differing = all.into_iter().filter(|d| d.share().is_nan() || d.share() > 1.0);
                (differing.collect(), Some(problem.clone()))
            };
            return Ok(Some(compared.into_iter().map(differs).collect()));
        }
        let (mut raced, slower) = race(&recorded, &again);
        for _ in 1..TRIES {
            if agree(&raced) {
                break;
            }
            raced = better(raced, race(&recorded, &self.measured_again(trained, &task)?).0);
        }
        for ((all, trained), raced) in compared.iter_mut().zip(trained).zip(raced) {
            all.extend(raced);
            let quickest = self.quickest_step(trained)?;
            all.extend(quickest.and_then(|seconds| quicker_than_its_steps(trained, seconds, slower)));
        }
        Ok(Some(compared.into_iter().map(|all| (all, None)).collect()))
    }

    /// How much memory a small training needs at most depends on whether two of its threads need theirs at once: where it
    /// was another amount, some more tries.
    fn training_memory_again(
        &self,
        trained: &Trained<'_>,
        then: &[(MeasuredCost, CostInterval)],
        now: &mut Costs,
    ) -> Result<(), CollectError> {
        let cost = MeasuredCost::Number(Metric::TrainPeakBytes);
        let Some(recorded) = find(then, cost) else { return Ok(()) };
        for _ in 0..TRIES {
            if find(now, cost).is_some_and(|again| memory_apart(recorded, again) <= MEMORY) {
                break;
            }
            let reading = self.training_memory(trained)?;
            now.retain(|(other, _)| *other != cost);
            now.push((cost, CostInterval::new(reading.value, None)));
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

    /// Times and memory by this very program that are of another source than the trial, but for the device: nobody would
    /// measure them again.
    fn of_another_source(&self, trained: &Trained<'_>) -> Vec<Deviation> {
        let (of, own) = (trained.trial.of(Condition::Trained), measured_by_us(&trained.source));
        let is_foreign = |of_one: &Subject, source: &Provenance| {
            let expected = Provenance { device: source.device.clone(), ..own.clone() };
            let of_ours = source.probe == TIMES && source.revision == own.revision;
            *of_one == of && of_ours && *source != expected
        };
        let numbers = self.all_told(|m| is_foreign(m.subject(), m.provenance()));
        let curves = self.all_curves(|c| is_foreign(c.subject(), c.provenance()));
        let names = numbers.iter().map(|m| m.metric().id()).chain(curves.iter().map(|c| c.kind().y_axis()));
        names
            .map(|name| Deviation::fact(format!("{name}: of another source than the trial"), false))
            .collect()
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
        let answers = self.measure(trained, &mut |name, times, round| {
            task.at(done, || name.to_owned());
            done += 1;
            (0..(times / ROUNDS.0).max(ROUNDS.1)).for_each(|_| round());
        })?;
        let of = |answers: &ProbeAnswers| {
            let costs = answers.lines.iter().flat_map(|line| match line {
                Line::Measurement(m) => vec![of_measurement(m)],
                Line::Curve(c) => of_curve(c),
                Line::Manifest(_) | Line::Iteration(_) => Vec::new(),
            });
            costs.collect()
        };
        Ok(answers.iter().map(of).collect())
    }

    /// What is computed from other numbers on record.
    fn follow(&self, trained: &Trained<'_>, then: &[(MeasuredCost, CostInterval)]) -> Vec<Deviation> {
        let (of, source) = (trained.trial.of(Condition::Trained), measured_by_us(&trained.source));
        let told = |metric| {
            self.told(|m| {
                (m.metric() == metric && *m.subject() == of && *m.provenance() == source).then(|| m.clone())
            })
        };
        let found = |cost| find(then, cost).map_or(f64::NAN, |measured| measured.value);
        let prefills: Vec<(f64, f64)> = (then.iter())
            .filter_map(|(cost, measured)| match cost {
                MeasuredCost::Point(CurveKind::PrefillByContext, x) => Some((*x as f64, measured.value)),
                _ => None,
            })
            .collect();
        let mut expected = vec![Reading::new(Metric::TimeExponent, growth_exponent(&prefills))];
        for (metric, kind) in [
            (Metric::CostTimeGrowth, CurveKind::TimeByContext),
            (Metric::CostMemoryGrowth, CurveKind::MemoryByContext),
        ] {
            let at = |context: usize| found(MeasuredCost::Point(kind, context as u64));
            expected.push(Reading::new(metric, at(GROWTH[1]) / at(GROWTH[0])));
        }
        expected.extend(told(Metric::TokenLatency).map(|latency| speed(&latency)));
        let prefill = found(MeasuredCost::Number(Metric::PrefillSeconds));
        if let Some(perplexity) = self.perplexity(trained) {
            expected.extend(ratios(&[Reading::new(Metric::PrefillSeconds, prefill)], perplexity));
        }
        let whole = [Metric::TimedTokens, Metric::TimedBefore, Metric::ConversationRead, Metric::PeakBytes];
        let counted = whole.map(|metric| {
            let alone = told(metric).is_none_or(|m| m.n().is_none() && m.interval().is_none());
            Deviation::fact(format!("{}: one number", metric.id()), alone)
        });
        let beside = |reading: &Reading| match told(reading.metric) {
            Some(recorded) => RecordedNumber::of(&recorded)
                .beside(reading.metric.id(), (reading.value, reading.interval, reading.n)),
            None => vec![Deviation::fact(format!("{}: not on record", reading.metric.id()), false)],
        };
        expected.iter().flat_map(beside).chain(counted).collect()
    }

    /// Medians and intervals again from the samples that are kept, which no other trial has.
    fn samples_again(&self, trained: &Trained<'_>) -> Vec<Deviation> {
        let (of, source) = (trained.trial.of(Condition::Trained), measured_by_us(&trained.source));
        let numbers = self
            .all_told(|m| SAMPLED.contains(&m.metric()) && *m.subject() == of && *m.provenance() == source);
        let curves = self.all_curves(|c| *c.subject() == of && *c.provenance() == source);
        let mut compared = Vec::new();
        let mut files = BTreeMap::<&str, ItemFile>::new();
        for m in &numbers {
            let others =
                |o: &Measurement| o.metric() == m.metric() && *o.subject() != of && o.value() == m.value();
            let what = format!("{}: not that of another trial", m.metric().id());
            compared.push(Deviation::fact(what, self.all_told(others).is_empty()));
            let Some(digest) = m.items() else {
                compared.push(Deviation::fact(format!("{}: no samples on record", m.metric().id()), false));
                continue;
            };
            match ItemFile::read(&trained.folder.0, TIMES, digest) {
                Ok(file) => {
                    let samples = file.of(m.metric(), of.condition);
                    compared.extend(RecordedNumber::of(m).beside_samples(m.metric().id(), samples));
                    files.insert(digest, file);
                }
                Err(error) => compared.push(Deviation::fact(error.to_string(), false)),
            }
        }
        for curve in curves.iter().filter(|curve| is_time(curve.kind())) {
            for (i, (x, value)) in curve.points().enumerate() {
                let place = (curve.kind(), x);
                let samples = files.values().find_map(|file| file.at(place, of.condition));
                let interval = curve.intervals().get(i).copied();
                let recorded = RecordedNumber { value, interval, n: samples.map(ItemValues::count) };
                let what = format!("{} of {x}", curve.kind().y_axis());
                compared.extend(recorded.beside_samples(&what, samples));
            }
        }
        compared
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

/// Tokens per second, by the seconds that a token takes.
fn speed(latency: &Measurement) -> Reading {
    let interval = latency.interval().map(|[low, high]| [high, low].map(|seconds| 1.0 / seconds.raw()));
    let value = 1.0 / latency.value().raw();
    Reading { n: latency.n(), interval, ..Reading::new(Metric::GenerationTokensPerSecond, value) }
}

/// How long a training took by its stopwatch beside the machine's clock at its starts and ends.
fn stopwatch_beside_clock(run: &Run) -> Deviation {
    let what = "seconds of training beside the clock";
    if run.starts.is_empty() {
        return Deviation::fact(format!("{what}: no starts on record"), false);
    }
    let clock: f64 = run.starts.iter().map(|start| start.to - start.from).sum();
    Deviation::new(what, (run.seconds - clock).abs(), CLOCKS * clock.abs() + START * run.starts.len() as f64)
}

/// The training beside its own steps, on a machine that is so many times slower now.
fn quicker_than_its_steps(trained: &Trained<'_>, quickest: f64, slower: f64) -> Option<Deviation> {
    let tokens = trained.run.curve.last()?.tokens as f64;
    let quicker = (quickest / slower) / (trained.run.seconds / tokens) - 1.0;
    // Slower it may have been: there was other work.
    let quicker = if quicker < 0.0 { 0.0 } else { quicker };
    Some(Deviation::new("quicker training than its steps are", quicker, QUICKER))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stopwatch of a training stood still for some of its steps.
    #[test]
    fn a_clock_that_stops_is_seen() {
        let start = |from: f64, to: f64| format!(r#"{{"from":{from},"to":{to}}}"#);
        let share = |seconds: f64, starts: &[String]| {
            let text = format!(
                r#"{{"identity":"","ending":"completed","curve":[],"fed":"","position":0,"optimizer_steps":0,
                "seconds":{seconds},"starts":[{}],"weights":""}}"#,
                starts.join(",")
            );
            stopwatch_beside_clock(&serde_json::from_str(&text).unwrap()).share()
        };
        let two = [start(1000.0, 1002.0), start(5000.0, 5001.0)];
        assert!(share(3.0, &two) < 0.1 && share(2.9, &two) < 1.0 && share(2.0, &two) > 1.0);
        assert!(share(4.0, &two) > 1.0 && share(3.0, &[]) > 1.0);
    }
}
