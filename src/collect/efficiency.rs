//! Time and memory of every trial, both models at once: what `cargo bench` adds to a ledger.
//!
//! Invariant: what the ledger has from this very code, weights and recipe is not measured again, because
//! times differ from run to run and two different numbers would contradict each other. Whoever wants new
//! ones sets the old ledger aside ([`archive_timings`]).

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::collector::{Collector, LOCK, lock};
use super::disturbance::disturbed;
use super::error::CollectError;
use super::measure::{ProbeAnswers, items_of, to_lines};
use super::trial::{Trained, Trial};
use crate::device::Compute;
use crate::evidence::{Condition, Ledger, Line, Measurement, Metric, Provenance, Subject};
use crate::files::FileLock;
use crate::models::{self, LanguageModel, with_positions};
use crate::probes::efficiency::{Driver, TimedModel, compare, training_peak};
use crate::probes::{ProbeError, Reading};
use crate::statistics::{compute_efficiency, compute_efficiency_as_written};

/// Who asked, in provenances.
pub const TIMES: &str = "efficiency";

/// How often the memory of a training is measured.
const TRIES: usize = 3;

/// A model that is measured beside others.
pub struct Candidate<'a> {
    /// Who it is.
    pub of: Subject,
    /// Where numbers about it come from.
    pub source: &'a Provenance,
    /// The model.
    pub model: &'a dyn LanguageModel,
    /// Its perplexity on the held-out split, where that is known.
    pub perplexity: Option<f64>,
}

/// Measures models in turns and stamps the numbers of each with their source; the items are samples of times.
pub fn measure_interleaved(
    compute: &Compute,
    candidates: &[Candidate<'_>],
    drive: &mut Driver<'_>,
) -> Result<Vec<ProbeAnswers>, CollectError> {
    let failed = |error| CollectError::Probe {
        probe: TIMES,
        subject: candidates.iter().map(|e| e.of.model.clone()).collect::<Vec<_>>().join(" and "),
        error: Box::new(error),
    };
    let loads: Vec<_> = candidates
        .iter()
        .map(|e| move |positions| with_positions(e.model, positions).map_err(ProbeError::from))
        .collect();
    let measured: Vec<_> = loads.iter().map(|load| TimedModel { load }).collect();
    let all = compare(compute, &measured, drive).map_err(failed)?;
    let tell = |(candidate, mut readings): (&Candidate<'_>, Vec<Reading>)| {
        let ratios = candidate.perplexity.map(|perplexity| ratios(&readings, perplexity));
        readings.extend(ratios.into_iter().flatten());
        stamped(&readings, &candidate.of, candidate.source)
    };
    candidates.iter().zip(all).map(tell).collect()
}

/// The compute-efficiency ratio and, for traceability, the document's (ruling R10).
pub(super) fn ratios(readings: &[Reading], perplexity: f64) -> Vec<Reading> {
    let prefill = readings.iter().find(|r| r.metric == Metric::PrefillSeconds);
    let both = prefill.map(|prefill| {
        [
            Reading::new(Metric::ComputeEfficiency, compute_efficiency(perplexity, prefill.value)),
            Reading::new(
                Metric::ComputeEfficiencyAsWritten,
                compute_efficiency_as_written(perplexity, prefill.value),
            ),
        ]
    });
    both.into_iter().flatten().collect()
}

fn stamped(readings: &[Reading], of: &Subject, source: &Provenance) -> Result<ProbeAnswers, CollectError> {
    let source = measured_by_us(source);
    let of = |condition| Subject { condition, ..of.clone() };
    let lines = to_lines(readings, of, |_| source.clone())?;
    Ok(ProbeAnswers { lines, items: items_of(readings) })
}

pub(super) fn measured_by_us(source: &Provenance) -> Provenance {
    Provenance { probe: TIMES.to_owned(), ..source.clone() }
}

impl Collector<'_> {
    /// Measures time and memory of every trial of which the ledger lacks them; trains what was not trained.
    /// For a process that does nothing else meanwhile.
    pub fn efficiency(&self, drive: &mut Driver<'_>) -> Result<(), CollectError> {
        let _held = self.exclusively(&self.options.out.join(LOCK))?;
        for scale in self.protocol.scales() {
            for &seed in &self.protocol.seeds {
                let specs = self.protocol.models.iter().filter_map(|name| models::find(name));
                let trained = specs.map(|spec| self.train(Trial { spec, scale, seed }));
                self.times(&trained.collect::<Result<Vec<_>, _>>()?, drive)?;
            }
        }
        Ok(())
    }

    /// Measures the models of a trial in turns and audits that, unless it was done before.
    pub(super) fn times(&self, trained: &[Trained<'_>], drive: &mut Driver<'_>) -> Result<(), CollectError> {
        let known = trained.iter().filter(|t| self.has_times(t)).count();
        if known == 0 {
            let (answers, disturbed) = disturbed(|| self.measure(trained, drive));
            if let Some(share) = disturbed {
                let screen = self.options.screen;
                screen.say(&format!(
                    "times: other work took {:.0} % of the processor meanwhile; V5_FRESH=1 measures anew",
                    100.0 * share
                ));
            }
            let mut lines = Vec::new();
            for (t, answers) in trained.iter().zip(answers?) {
                answers.items.write(&t.folder.0, TIMES).map_err(CollectError::Items)?;
                lines.extend(answers.lines);
            }
            self.append(&lines)?;
        } else if known < trained.len() {
            // Measuring the others again would contradict what is there; alone, they take no turns.
            let what = "expected times of all models of a trial or of none; V5_FRESH=1 measures anew";
            let path = lock(&self.ledger).path().to_owned();
            return Err(CollectError::Unfit { path, what: what.to_owned() });
        }
        self.audit_costs(trained)
    }

    /// Of every model of a trial what is told of it.
    pub(super) fn measure(
        &self,
        trained: &[Trained<'_>],
        drive: &mut Driver<'_>,
    ) -> Result<Vec<ProbeAnswers>, CollectError> {
        let mut peaks = Vec::new();
        for t in trained {
            self.go_on()?;
            let peak = self.training_memory(t)?;
            peaks.push(stamped(&[peak], &t.trial.of(Condition::Trained), &t.source)?.lines);
        }
        let models = trained.iter().map(Trained::model).collect::<Result<Vec<_>, _>>()?;
        let candidates = trained.iter().zip(&models).map(|(t, model)| Candidate {
            of: t.trial.of(Condition::Trained),
            source: &t.source,
            model: model.as_ref(),
            perplexity: self.perplexity(t),
        });
        let candidates: Vec<_> = candidates.collect();
        let mut interruptible = |name: &str, times: usize, round: &mut dyn FnMut()| {
            if self.go_on().is_ok() {
                drive(&format!("{name}, {}", trained.first().map_or_else(String::new, whose)), times, round);
            }
        };
        let mut answers = measure_interleaved(self.options.compute, &candidates, &mut interruptible)?;
        answers.iter_mut().zip(peaks).for_each(|(answers, peak)| answers.lines.extend(peak));
        self.go_on()?;
        Ok(answers)
    }

    /// The most memory that a step of a trial's training needs.
    pub(super) fn training_memory(&self, trained: &Trained<'_>) -> Result<Reading, CollectError> {
        let failed = |error| CollectError::Probe {
            probe: TIMES,
            subject: trained.trial.label(),
            error: Box::new(error),
        };
        // Whether two threads need their memory at once is chance: the least of some tries is what is needed.
        let peak = || training_peak(self.place(trained.trial)?.0).map_err(failed);
        let mut least = peak()?;
        for _ in 1..TRIES {
            let next = peak()?;
            least = if next.value < least.value { next } else { least };
        }
        Ok(least)
    }

    fn go_on(&self) -> Result<(), CollectError> {
        match self.options.stop.load(Ordering::Relaxed) {
            true => Err(CollectError::Interrupted),
            false => Ok(()),
        }
    }

    /// What the ledger has of a trial that tells it.
    fn of_trial<T>(&self, trained: &Trained<'_>, tell: impl Fn(&Measurement) -> Option<T>) -> Option<T> {
        let of = trained.trial.of(Condition::Trained);
        self.told(|m| (*m.subject() == of).then(|| tell(m)).flatten())
    }

    fn has_times(&self, trained: &Trained<'_>) -> bool {
        let wanted = measured_by_us(&trained.source);
        self.of_trial(trained, |m| (*m.provenance() == wanted).then_some(())).is_some()
    }

    pub(super) fn perplexity(&self, trained: &Trained<'_>) -> Option<f64> {
        let tell = |m: &Measurement| {
            let same = Provenance { probe: m.provenance().probe.clone(), ..trained.source.clone() };
            let found = m.metric() == Metric::ValidationPerplexity && *m.provenance() == same;
            found.then(|| m.value().raw())
        };
        self.of_trial(trained, tell)
    }
}

/// The trial, but for the model.
pub(super) fn whose(trained: &Trained<'_>) -> String {
    format!("{} seed {}", trained.trial.scale.name, trained.trial.seed)
}

/// Sets a ledger aside and begins a new one with all of it but times and memory. Returns where the old one
/// is, if there was one: a ledger is only ever added to.
pub fn archive_timings(out: &Path) -> Result<Option<PathBuf>, CollectError> {
    let (path, say) = (out.join("ledger.jsonl"), |line: &str| eprintln!("{line}"));
    let held = FileLock::acquire(&out.join(LOCK), "setting the old ledger aside", &say, &|| false);
    let _held = held.map_err(|error| CollectError::Lock { path: out.to_owned(), error })?;
    let old = Ledger::open_or_empty(&path)?;
    if old.lines().is_empty() {
        return Ok(None);
    }
    let kept = |line: &&Line| match line {
        Line::Measurement(m) => m.provenance().probe != TIMES && m.metric() != Metric::AuditCosts,
        Line::Curve(c) => c.provenance().probe != TIMES,
        Line::Manifest(_) | Line::Iteration(_) => true,
    };
    let kept: Vec<Line> = old.lines().iter().filter(kept).cloned().collect();
    let free = |n: &usize| !out.join(format!("ledger-{n}.jsonl")).exists();
    let aside = out.join(format!("ledger-{}.jsonl", (1..).find(free).unwrap_or_default()));
    let io = |error| CollectError::SetAside { path: aside.clone(), error };
    // The old one stays where it is until the new one is whole.
    let new = out.join("ledger-new.jsonl");
    if new.exists() {
        std::fs::remove_file(&new).map_err(io)?;
    }
    Ledger::open_or_empty(&new)?.append(&kept)?;
    std::fs::rename(&path, &aside).map_err(io)?;
    std::fs::rename(&new, &path).map_err(io)?;
    Ok(Some(aside))
}
