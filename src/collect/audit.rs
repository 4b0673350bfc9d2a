//! What the referee finds about a trial, as evidence (ruling R23).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use rayon::prelude::*;

use super::collector::{Collector, Options, lock};
use super::error::CollectError;
use super::measure::to_lines;
use super::trial::{REVISION, Trained, Trial, trials};
use crate::evidence::{Condition, Key, Measurement, Metric, Provenance};
use crate::probes::Reading;
use crate::protocol::Protocol;
use crate::referee::{
    Brief, Deviation, Fault, LARGEST_STEP, Number, RunFiles, SavedModel, audit_training, farthest,
};
use crate::train::Precision;

/// The name that the provenance of an audit has.
pub const AUDIT: &str = "audit";

/// What was found about one trial.
#[derive(Debug)]
pub struct AuditReport {
    /// Model, scale and seed.
    pub trial: String,
    /// Each question with its comparisons.
    pub questions: Vec<(Metric, Vec<Deviation>)>,
    /// What was looked at, in words.
    pub covered: Vec<String>,
    /// What was not, and why.
    pub not_covered: Vec<String>,
}

impl AuditReport {
    fn of(trained: &Trained<'_>) -> Self {
        let trial = trained.trial.label();
        Self { trial, questions: Vec::new(), covered: Vec::new(), not_covered: Vec::new() }
    }

    /// What is said of times and memory: every comparison, and why there are not more.
    fn add_costs(&mut self, (compared, problem): (Vec<Deviation>, Option<String>)) {
        if !compared.is_empty() {
            self.covered.push(format!("times and memory: {} numbers measured again", compared.len()));
            self.questions.push((Metric::AuditCosts, compared));
        }
        self.not_covered.extend(problem);
    }

    /// The answer to every question that was looked at: the largest difference over its tolerance.
    fn readings(&self) -> Vec<Reading> {
        let answered = self.questions.iter().filter_map(|(metric, all)| Some((metric, all, farthest(all)?)));
        let reading = |(metric, all, worst): (&Metric, &Vec<Deviation>, &Deviation)| Reading {
            n: Some(all.len() as u64),
            ..Reading::new(*metric, worst.share())
        };
        answered.map(reading).collect()
    }
}

/// How far an audit goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Depth<'a> {
    /// Every probe is put again, not some that are drawn, and every step made again that lies between kept states.
    pub whole: bool,
    /// Folders in which other programs left the logs of their trainings, as they are with whoever ran those.
    pub exchanges: &'a [PathBuf],
    /// Tables of ratings, as raters have them: of a page all or none.
    pub tables: &'a [PathBuf],
    /// How a page of replies is made again, where every probe is put again.
    pub page: Option<PageAgain>,
}

/// Makes the page of a key again, from the checkpoints in the folders of its two models.
pub type PageAgain = fn(&Key, [&Path; 2], &Options<'_>) -> Result<Key, CollectError>;

/// Audits every trained trial of a protocol, adds to the ledger what it lacks, and tells what was found.
///
/// # Errors
/// Whatever [`super::collect`] refuses, and a trial that is not trained.
pub fn audit(
    protocol: &Protocol,
    options: &Options<'_>,
    depth: Depth<'_>,
) -> Result<Vec<AuditReport>, CollectError> {
    let collector = Collector::open(protocol, options)?;
    let _held = collector.exclusively(&options.out.join(super::collector::LOCK))?;
    let all: Vec<Trial> = trials(protocol).into();
    let others: Vec<Option<AuditReport>> =
        all.iter().map(|trial| collector.of_another_run(*trial)).collect::<Result<_, _>>()?;
    if others.iter().any(Option::is_some) {
        // Nothing can be made again of a training that the protocol does not make.
        return Ok(others.into_iter().flatten().collect());
    }
    // Before anything else is at work.
    let costs = Mutex::new(collector.all_costs_again()?);
    // Before its threads may wait for each other.
    let _ = collector.beside_text(depth.whole);
    all.into_par_iter()
        .map(|trial| {
            let trained = collector.trained(trial)?;
            let mut report = collector.examine(&trained, None)?;
            collector.examine_again(&trained, depth, &mut report)?;
            if let Some(costs) = lock(&costs).remove(&report.trial) {
                report.add_costs(costs);
            }
            collector.append_report(&trained, &report)?;
            Ok(report)
        })
        .collect()
}

impl Collector<'_> {
    /// Audits a trained trial, unless the ledger has the audit of this very source.
    pub(super) fn audit(&self, trained: &Trained<'_>) -> Result<(), CollectError> {
        let (trial, wanted) = (&trained.trial, source(trained));
        let same = |m: &Measurement| {
            let about = trial.of(Condition::Trained);
            let is_of_training = m.metric() != Metric::AuditCosts;
            (is_of_training && *m.subject() == about && *m.provenance() == wanted).then_some(())
        };
        if self.told(same).is_some() {
            return Ok(());
        }
        if self.options.stop.load(Ordering::Relaxed) {
            return Err(CollectError::Interrupted);
        }
        let mut report = self.examine(trained, None)?;
        self.examine_again(trained, Depth::default(), &mut report)?;
        report
            .not_covered
            .iter()
            .for_each(|what| self.options.screen.say(&format!("{}: not audited: {what}", report.trial)));
        self.append_report(trained, &report)
    }

    /// What is to be said of a trial whose numbers are on record and whose training is another than the protocol's.
    fn of_another_run(&self, trial: Trial) -> Result<Option<AuditReport>, CollectError> {
        let (_, own) = self.place(trial)?;
        let Some(other) = other_folder(&own.0) else { return Ok(None) };
        let of = trial.of(Condition::Trained);
        let recorded = |m: &Measurement| {
            let is_own = *m.subject() == of && m.provenance().revision == REVISION;
            is_own.then(|| m.provenance().clone())
        };
        let Some(source) = self.told(recorded) else { return Ok(None) };
        let what = format!("training of the protocol's configuration and recipe, in {}", other.display());
        let questions = vec![(Metric::AuditConfiguration, vec![Deviation::fact(what, false)])];
        let report =
            AuditReport { trial: trial.label(), questions, covered: Vec::new(), not_covered: Vec::new() };
        let source = Provenance { probe: AUDIT.to_owned(), ..source };
        self.append(&to_lines(&report.readings(), |condition| trial.of(condition), |_| source.clone())?)?;
        Ok(Some(report))
    }

    /// What needs no referee.
    fn examine_again(
        &self,
        trained: &Trained<'_>,
        depth: Depth<'_>,
        report: &mut AuditReport,
    ) -> Result<(), CollectError> {
        self.examine_configuration(trained, report);
        self.examine_data(trained, depth.whole, report);
        self.examine_stretches(trained, depth.whole, report);
        self.examine_probes(trained, depth, report)
    }

    /// Audits times and memory of the models of a trial, unless the ledger has that of this very source.
    pub(super) fn audit_costs(&self, trained: &[Trained<'_>]) -> Result<(), CollectError> {
        let known = |t: &Trained<'_>| {
            let (of, wanted) = (t.trial.of(Condition::Trained), source(t));
            let is_it = |m: &Measurement| {
                m.metric() == Metric::AuditCosts && *m.subject() == of && *m.provenance() == wanted
            };
            self.told(|m| is_it(m).then_some(())).is_some()
        };
        if trained.iter().all(known) {
            return Ok(());
        }
        for (t, costs) in trained.iter().zip(self.costs_again(trained)?.into_iter().flatten()) {
            let mut report = AuditReport::of(t);
            report.add_costs(costs);
            self.append_report(t, &report)?;
        }
        Ok(())
    }

    fn append_report(&self, trained: &Trained<'_>, report: &AuditReport) -> Result<(), CollectError> {
        let source = source(trained);
        let of = |condition| trained.trial.of(condition);
        self.append(&to_lines(&report.readings(), of, |_| source.clone())?)
    }

    /// Looks at a trained trial; `fault` is a mistake for the referee to make.
    pub fn examine(&self, trained: &Trained<'_>, fault: Option<Fault>) -> Result<AuditReport, CollectError> {
        let mut report = AuditReport::of(trained);
        let task = self.options.screen.task(&format!("{}: audit", report.trial), 0, 8);
        let done = std::cell::Cell::new(0);
        let tell = |what: &str| {
            task.at(done.get(), || what.to_owned());
            done.set(done.get() + 1);
        };
        let files = RunFiles {
            folder: &trained.folder.0,
            recipe: &trained.job.recipe,
            seed: trained.trial.seed,
            text: &self.dataset.train,
            order: trained.job.batches.order(),
            brief: trained.job.recipe.precision.on(self.options.compute) == Precision::Bfloat16,
            largest: LARGEST_STEP,
        };
        match audit_training(&files, fault, &tell) {
            Ok(training) => {
                report.questions.push((Metric::AuditInitialWeights, training.initial));
                report.questions.push((Metric::AuditTraining, training.steps));
                report.covered = training.covered;
                report.not_covered = training.not_covered;
            }
            Err(error) => report.not_covered.push(format!("training: {error}")),
        }
        match files.brief {
            true => self.examine_evaluation::<Brief>(trained, fault, &tell, &mut report)?,
            false => self.examine_evaluation::<f32>(trained, fault, &tell, &mut report)?,
        }
        Ok(report)
    }

    /// Looks at what the ledger says of the weights, and asks again; `N` is what the program computes with.
    fn examine_evaluation<N: Number>(
        &self,
        trained: &Trained<'_>,
        fault: Option<Fault>,
        tell: &dyn Fn(&str),
        report: &mut AuditReport,
    ) -> Result<(), CollectError> {
        tell("items");
        let kept = self.examine_items(trained, report);
        tell("evaluation");
        match SavedModel::<N>::trained(&trained.folder.0, fault) {
            Ok(weights) => {
                self.examine_count(trained, &weights, report);
                tell("answers");
                self.examine_answers(trained, &kept, &weights, report)?;
            }
            Err(error) => report.not_covered.push(format!("evaluation: {error}")),
        }
        Ok(())
    }

    /// Looks at the count of parameters.
    fn examine_count<N: Number>(
        &self,
        trained: &Trained<'_>,
        weights: &SavedModel<N>,
        report: &mut AuditReport,
    ) {
        let recorded = |metric: Metric| {
            self.told(|m: &Measurement| {
                let same = *m.subject() == trained.trial.of(Condition::Trained)
                    && m.metric() == metric
                    && m.provenance().weights == trained.run.weights;
                same.then(|| m.value().raw())
            })
        };
        match recorded(Metric::TotalParameters) {
            Some(count) => {
                report.questions.push((Metric::AuditParameters, vec![weights.beside_count(count)]));
                report.covered.push("parameters: every tensor counted".to_owned());
            }
            None => {
                report.not_covered.push("parameters: the ledger has no count of these weights".to_owned())
            }
        }
    }
}

/// The folder of a trial's run beside its own, which is not there.
fn other_folder(own: &Path) -> Option<PathBuf> {
    // A run's folder is called SCALE-MODEL-seed-SEED-IDENTITY.
    let (trial, _) = own.file_name()?.to_str()?.rsplit_once('-')?;
    let is_other = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.rsplit_once('-'));
        name.is_some_and(|(of, _)| of == trial)
    };
    let beside = fs::read_dir(own.parent()?).ok()?.flatten().map(|entry| entry.path());
    (!own.exists()).then(|| beside.into_iter().find(is_other)).flatten()
}

/// Where the audit of a trial comes from.
fn source(trained: &Trained<'_>) -> Provenance {
    Provenance { probe: AUDIT.to_owned(), ..trained.source.clone() }
}
