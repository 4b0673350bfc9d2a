//! A protocol cut into tasks for processes that know nothing of each other, on one machine or on many that share
//! a folder: each task has a ledger of its own, and the union of the ledgers is the evidence.
//!
//! Invariant: which task has which number follows from the protocol alone.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::collector::{Collector, Options};
use super::error::CollectError;
use super::trial::Trial;
use crate::evidence::{LEDGER, RUNS};
use crate::models;
use crate::probes::efficiency::Driver;
use crate::protocol::Protocol;
use crate::scale::{SCALES, Scale};

/// Held, in the folder of a task, by the process that measures there.
const ASKING: &str = ".measuring.lock";

/// One piece of a protocol.
#[derive(Clone, Copy)]
pub enum FleetTask {
    /// Trains a trial, puts the probes to it and audits it.
    Trial(Trial),
    /// Times and weighs the trained models of a trial, in turns on one machine.
    Times {
        /// The size.
        scale: &'static Scale,
        /// The trial.
        seed: u64,
    },
}

impl FleetTask {
    /// Its name, for people.
    pub fn label(&self) -> String {
        match self {
            Self::Trial(trial) => trial.label(),
            Self::Times { scale, seed } => format!("times {} seed {seed}", scale.name),
        }
    }

    /// The size.
    pub fn scale(&self) -> &'static Scale {
        match self {
            Self::Trial(trial) => trial.scale,
            Self::Times { scale, .. } => scale,
        }
    }
}

/// Every task by its number: trainings first, the largest scale and the costlier model before the others, so that
/// whoever starts them in order ends early; then times.
pub fn tasks(protocol: &Protocol) -> Vec<FleetTask> {
    let mut scales: Vec<&'static Scale> = protocol.scales().collect();
    scales.sort_by_key(|scale| std::cmp::Reverse(SCALES.iter().position(|s| s.name == scale.name)));
    let mut all = Vec::new();
    for &scale in &scales {
        for spec in protocol.models.iter().rev().filter_map(|name| models::find(name)) {
            all.extend(protocol.seeds.iter().map(|&seed| FleetTask::Trial(Trial { spec, scale, seed })));
        }
    }
    for &scale in &scales {
        all.extend(protocol.seeds.iter().map(|&seed| FleetTask::Times { scale, seed }));
    }
    all
}

/// Does one task, or finds that it was done before; returns where its ledger is. Other processes may do other tasks
/// meanwhile in the same folder; one that has the same task waits.
///
/// # Errors
/// A number that no task has, whatever [`super::collect`] refuses, and times of models that are not trained yet.
pub fn run_task(
    protocol: &Protocol,
    options: &Options<'_>,
    number: usize,
    drive: &mut Driver<'_>,
) -> Result<PathBuf, CollectError> {
    let all = tasks(protocol);
    let Some(task) = all.get(number) else {
        let what = format!("--task: expected 0 to {}, got {number}", all.len() - 1);
        return Err(CollectError::Unfit { path: protocol.name.clone().into(), what });
    };
    let collector = Collector::open(protocol, options)?;
    match *task {
        FleetTask::Trial(trial) => {
            collector.expect_enough()?;
            let folder = collector.train(trial)?.folder.0;
            let collector = collector.with_own_ledger(folder.join(LEDGER))?;
            let _held = collector.exclusively(&folder.join(ASKING))?;
            let trained = collector.train(trial)?;
            collector.question(&trained)?;
            collector.audit(&trained)?;
            Ok(folder.join(LEDGER))
        }
        FleetTask::Times { scale, seed } => {
            let folder = options.out.join(RUNS).join(times_folder(scale, seed));
            let collector = collector.with_own_ledger(folder.join(LEDGER))?;
            let _held = collector.exclusively(&folder.join(ASKING))?;
            collector.times(&collector.models_of(scale, seed)?, drive)?;
            match options.stop.load(Ordering::Relaxed) {
                true => Err(CollectError::Interrupted),
                false => Ok(folder.join(LEDGER)),
            }
        }
    }
}

/// The folder of the times of a trial, below that of the runs.
pub fn times_folder(scale: &Scale, seed: u64) -> String {
    format!("{}-times-seed-{seed}", scale.name)
}
