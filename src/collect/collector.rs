//! A protocol being collected: trials are trained or found trained, and probes put to them whose answers are lacking.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::error::CollectError;
use super::lots::chance;
use super::measure::{curves, question, source_for};
use super::trial::{Trained, Trial, folder_name, job, manifest, order, provenance, trials};
use crate::data::batches::Order;
use crate::data::dataset::{Dataset, prepare_with};
use crate::data::vocabulary::Patience;
use crate::device::Compute;
use crate::evidence::{Condition, Curve, LEDGER, Ledger, Line, Manifest, Measurement, RUNS};
use crate::files::{FileLock, folder_of};
use crate::models::LanguageModel;
use crate::probes::{EvalData, PROBES, Probe, TASKS, TrainedModel, overfit_needs};
use crate::progress::Screen;
use crate::protocol::Protocol;
use crate::train::{Ending, RunDir, TrainJob};

/// Held, below `out`, by the process that collects.
pub(super) const LOCK: &str = ".lock";

/// Where and how to collect. None of it changes a number.
pub struct Options<'a> {
    /// Folder for ledger, runs, orders and token files.
    pub out: &'a Path,
    /// Folder that a protocol's data paths start from.
    pub data: Option<&'a Path>,
    /// Trials at a time; chosen by size where absent.
    pub jobs: Option<usize>,
    /// What computes.
    pub compute: &'a Compute,
    /// Where progress is shown.
    pub screen: &'a Screen,
    /// Set to stop: the step in progress is finished and saved.
    pub stop: &'a AtomicBool,
}

/// A protocol being collected: data set, ledger, and where runs lie.
pub struct Collector<'a> {
    pub(super) protocol: &'a Protocol,
    pub(super) options: &'a Options<'a>,
    pub(super) dataset: Dataset,
    pub(super) ledger: Mutex<Ledger>,
    /// What other processes have in ledgers of their own.
    others: Ledger,
    /// The data set beside its text, once an audit has asked.
    pub(super) text_again: OnceLock<Result<Vec<(String, bool)>, String>>,
    /// How often audits of this process have drawn which probe.
    pub(super) drawn: Mutex<BTreeMap<&'static str, usize>>,
    /// What audits of this process draw one of several trials by.
    pub(super) lot: [u8; 16],
}

/// Brings the ledger under `options.out` to where the protocol wants it, and returns it.
pub fn collect(protocol: &Protocol, options: &Options<'_>) -> Result<Ledger, CollectError> {
    Collector::open(protocol, options)?.all()
}

/// A lock that a panicking thread cannot take from the others.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn work(collector: &Collector<'_>, queue: &Mutex<VecDeque<Trial>>, failures: &Mutex<Vec<CollectError>>) {
    loop {
        let next = lock(queue).pop_front();
        let Some(trial) = next else { return };
        if let Err(error) = collector.run(trial) {
            lock(failures).push(error);
            lock(queue).clear();
            return;
        }
    }
}

impl<'a> Collector<'a> {
    /// Prepares the data set, opens the ledger and writes down the manifest.
    pub fn open(protocol: &'a Protocol, options: &'a Options<'a>) -> Result<Self, CollectError> {
        let mut ledger = Ledger::open_or_empty(options.out.join(LEDGER))?;
        let stopping = || options.stop.load(Ordering::Relaxed);
        let screen = options.screen.clone();
        let patience = Patience { screen, stopping: &stopping, limit: Patience::LIMIT };
        let dataset = prepare_with(&protocol.data, options.data, &options.out.join("cache"), &patience)?;
        dataset.expect_windows(protocol.recipe.context_length)?;
        let questions = protocol.eval_data(options.data);
        for task in TASKS {
            let rehearsed = task.rehearse(&questions, &dataset.tokenizer, protocol.recipe.context_length);
            let subject = protocol.name.clone();
            rehearsed.map_err(|e| CollectError::Probe { probe: task.id, subject, error: Box::new(e) })?;
        }
        let others = Ledger::of_runs(options.out)?;
        let mut promise = manifest(protocol, &dataset, options.data, options.compute)?;
        // What is asked for now governs, whatever a run's own ledger has promised since.
        if let Some(other) = others.manifest() {
            let same = Manifest { number: promise.number, ..other.clone() } == promise;
            promise.number = if same { 0 } else { other.number.saturating_add(1) };
        }
        if ledger.manifest().is_some_and(|own| own.number >= promise.number) {
            promise.number = 0;
        }
        ledger.append(&[Line::Manifest(promise)])?;
        Ok(Self {
            protocol,
            options,
            dataset,
            ledger: Mutex::new(ledger),
            others,
            text_again: OnceLock::new(),
            drawn: Mutex::default(),
            lot: chance(),
        })
    }

    /// The same, but what is added goes to a ledger of its own, which has the promise too.
    pub(super) fn with_own_ledger(self, path: PathBuf) -> Result<Self, CollectError> {
        let folder = folder_of(&path);
        let failed = |error| CollectError::Lock { path: folder.to_owned(), error };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let mut own = Ledger::open_or_empty(&path)?;
        let common = self.ledger.into_inner().unwrap_or_else(PoisonError::into_inner);
        let promise =
            common.manifest().map(|promise| Line::Manifest(Manifest { number: 0, ..promise.clone() }));
        own.append(&promise.into_iter().collect::<Vec<_>>())?;
        let others = self.others.joined(common);
        Ok(Self { ledger: Mutex::new(own), others, ..self })
    }

    /// The data set.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Waits while another process collects in this folder, then reads what it added to the ledger. Times would be
    /// wrong beside other work, and a probe that two ask at once would be asked twice.
    pub(super) fn exclusively(&self, path: &Path) -> Result<FileLock, CollectError> {
        let screen = self.options.screen;
        let purpose = format!("collecting {}", self.protocol.name);
        let stop = || self.options.stop.load(Ordering::Relaxed);
        let held = FileLock::acquire(path, &purpose, &|line| screen.say(line), &stop);
        let held = held.map_err(|error| CollectError::Lock { path: folder_of(path).to_owned(), error })?;
        lock(&self.ledger).append(&[])?;
        Ok(held)
    }

    /// Runs every trial and returns the ledger.
    pub fn all(self) -> Result<Ledger, CollectError> {
        self.expect_enough()?;
        let held = self.exclusively(&self.options.out.join(LOCK))?;
        let queue = Mutex::new(trials(self.protocol));
        let jobs = self.jobs();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let failures: Mutex<Vec<CollectError>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    let work = || work(&self, &queue, &failures);
                    let threads = (cores / jobs).max(1);
                    match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
                        Ok(pool) => pool.install(work),
                        Err(error) => lock(&failures).push(error.into()),
                    }
                });
            }
        });
        drop(held);
        let first = lock(&failures).drain(..).next();
        match first {
            Some(error) => Err(error),
            None => Ok(self.close()),
        }
    }

    /// Refuses a context or a training text that a probe could not use once everything is trained.
    pub(super) fn expect_enough(&self) -> Result<(), CollectError> {
        let (context, tokens) = (self.protocol.recipe.context_length, self.dataset.train.len());
        for scale in self.protocol.scales() {
            let [least_context, least_tokens] = overfit_needs(scale);
            let what = if context < least_context {
                format!(
                    "context_length: expected at least {least_context} for the probe overfit, got {context}"
                )
            } else if tokens < least_tokens {
                format!(
                    "training text: expected at least {least_tokens} tokens for the probe overfit, got {tokens}"
                )
            } else {
                continue;
            };
            return Err(CollectError::Unfit { path: self.protocol.name.clone().into(), what });
        }
        Ok(())
    }

    /// Small models leave cores idle, so several train at once.
    fn jobs(&self) -> usize {
        const SMALL: usize = 5_000_000;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (vocab, context) = (self.dataset.tokenizer.vocab_size(), self.protocol.recipe.context_length);
        let size = |t: &Trial| {
            let declared = (t.spec.config)(t.scale, vocab, context).declare();
            declared.iter().map(|d| d.shape.iter().product::<usize>()).sum::<usize>()
        };
        if self.options.compute.is_asynchronous() {
            // One device, one training: two would only wait for each other.
            return 1;
        }
        let small = trials(self.protocol).iter().all(|t| size(t) < SMALL);
        self.options.jobs.unwrap_or(if small { cores } else { 1 }).max(1)
    }

    /// Everything that the folder of evidence has.
    pub fn close(self) -> Ledger {
        self.ledger.into_inner().unwrap_or_else(PoisonError::into_inner).joined(self.others)
    }

    /// The first measurement of any ledger that tells something.
    pub(super) fn told<T>(&self, tell: impl Fn(&Measurement) -> Option<T>) -> Option<T> {
        let ledger = lock(&self.ledger);
        ledger.measurements().chain(self.others.measurements()).find_map(tell)
    }

    /// Every measurement of any ledger that is wanted.
    pub(super) fn all_told(&self, wanted: impl Fn(&Measurement) -> bool) -> Vec<Measurement> {
        let ledger = lock(&self.ledger);
        ledger.measurements().chain(self.others.measurements()).filter(|m| wanted(m)).cloned().collect()
    }

    /// Every curve of any ledger that is wanted.
    pub(super) fn all_curves(&self, wanted: impl Fn(&Curve) -> bool) -> Vec<Curve> {
        let ledger = lock(&self.ledger);
        ledger.curves().chain(self.others.curves()).filter(|c| wanted(c)).cloned().collect()
    }

    /// A trial that was trained before.
    pub(super) fn trained(&self, trial: Trial) -> Result<Trained<'_>, CollectError> {
        let (job, folder) = self.place(trial)?;
        if folder.ended()?.is_none() {
            let what = format!("expected the trained {}, got none: its task comes first", trial.label());
            return Err(CollectError::Unfit { path: folder.0, what });
        }
        self.train_in(trial, job, folder)
    }

    /// Trains a trial, or finds that it was trained before.
    pub fn train(&self, trial: Trial) -> Result<Trained<'_>, CollectError> {
        let (job, folder) = self.place(trial)?;
        self.train_in(trial, job, folder)
    }

    /// What a trial's training is, and where it happens.
    pub(super) fn place(&self, trial: Trial) -> Result<(TrainJob<'_>, RunDir), CollectError> {
        let order = self.saved_order(trial.seed)?;
        let job = job(
            self.protocol,
            &self.dataset,
            trial.spec,
            trial.scale,
            (trial.seed, order),
            self.options.compute,
        )?;
        let folder = RunDir(self.options.out.join(RUNS).join(folder_name(&trial, &job)));
        Ok((job, folder))
    }

    fn train_in<'b>(
        &'b self,
        trial: Trial,
        job: TrainJob<'b>,
        folder: RunDir,
    ) -> Result<Trained<'b>, CollectError> {
        let stop = |_| self.options.stop.load(Ordering::Relaxed);
        let run = folder.train(&job, self.options.screen, &stop)?;
        if run.ending == Ending::Interrupted {
            return Err(CollectError::Interrupted);
        }
        let source = provenance(self.protocol, &self.dataset, trial, &job, &run);
        Ok(Trained { trial, job, run, source, folder })
    }

    /// Everything a probe may ask about a trained trial.
    pub fn subject<'b>(
        &'b self,
        trained: &'b Trained<'_>,
        model: &'b dyn LanguageModel,
        untrained: &'b dyn LanguageModel,
    ) -> TrainedModel<'b> {
        TrainedModel {
            model,
            untrained,
            earlier: trained.folder.before_last_tenth(),
            run: &trained.run,
            recipe: &self.protocol.recipe,
            dataset: &self.dataset,
            scale: trained.trial.scale,
            seed: trained.trial.seed,
            compute: self.options.compute,
            data: self.eval_data(),
        }
    }

    fn eval_data(&self) -> EvalData {
        self.protocol.eval_data(self.options.data)
    }

    fn run(&self, trial: Trial) -> Result<(), CollectError> {
        let trained = self.train(trial)?;
        self.question(&trained)?;
        self.audit(&trained)
    }

    /// Puts to a trained trial every probe whose answers are lacking.
    pub(super) fn question(&self, trained: &Trained<'_>) -> Result<(), CollectError> {
        let trial = trained.trial;
        let (mut lacking, data) = (Vec::new(), self.eval_data());
        let concerns = |probe: &&Probe| probe.concerns(trial.spec.name) && probe.is_available(&data);
        for probe in PROBES.iter().filter(concerns) {
            if !self.answered(trained, probe)? {
                lacking.push(probe);
            }
        }
        if lacking.is_empty() {
            return Ok(());
        }
        let (model, untrained) = (trained.model()?, trained.untrained()?);
        let subject = self.subject(trained, model.as_ref(), untrained.as_ref());
        self.append(&curves(&trial.of(Condition::Trained), &trained.run, &trained.source)?)?;
        let task = self.options.screen.task(&format!("{}: probes", trial.label()), 0, lacking.len() as u64);
        for (i, probe) in lacking.into_iter().enumerate() {
            if self.options.stop.load(Ordering::Relaxed) {
                return Err(CollectError::Interrupted);
            }
            task.at(i as u64, || probe.id.to_owned());
            let answers = question(probe, &subject, trial.spec.name, &trained.source)?;
            if !answers.items.0.is_empty() {
                answers.items.write(&trained.folder.0, probe.id).map_err(CollectError::Items)?;
            }
            self.append(&answers.lines)?;
        }
        Ok(())
    }

    pub(super) fn append(&self, lines: &[Line]) -> Result<(), CollectError> {
        lock(&self.ledger).append(lines)?;
        Ok(())
    }

    /// Whether the ledger has this probe's answer from this very source.
    fn answered(&self, trained: &Trained<'_>, probe: &'static Probe) -> Result<bool, CollectError> {
        let trial = &trained.trial;
        let failed = CollectError::of(probe, || trial.label());
        let data_digest = probe.data_digest(&self.eval_data()).map_err(failed)?;
        let wanted = source_for(probe, &trained.source, data_digest);
        let matches = |m: &Measurement| {
            let of = m.subject();
            let same = of.model == trial.spec.name
                && of.scale == trial.scale.name
                && of.seed == trial.seed
                && *m.provenance() == wanted;
            same.then_some(())
        };
        Ok(self.told(matches).is_some())
    }

    /// Drawn once, saved, and read back: the file is what both models read.
    pub(super) fn saved_order(&self, seed: u64) -> Result<Order, CollectError> {
        let order = order(self.protocol, &self.dataset, seed)?;
        let name = format!("seed-{seed}-{}.npy", &order.digest()[..12]);
        Ok(order.save_or_verify(&self.options.out.join("orders").join(name))?)
    }
}
