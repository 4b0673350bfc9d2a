//! The folder of a run, and training in it: checkpoints on the way, from which it goes on.
//!
//! On the way some states are kept, each before and after one step, for the audit (ruling R23): weights and both
//! moments, as `audit-N` after N steps, and before the step what its windows are by themselves.
//!
//! Invariant: a folder has its name only when all of it is written, and one process at a time trains in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::Tensor;

use super::checkpoint::{CheckpointError, read_json, save_model, write_json, write_tensors};
use super::run::{Ending, Run, TrainingStart};
use super::trainer::{TrainError, TrainJob, Trainer};
use crate::files::{FileLock, WRITING, sweep};
use crate::models::Entry;
use crate::ops::on_worker;
use crate::progress::Screen;

/// The folder of one run: `step-N` checkpoints while it goes on, `final` and `run.json` when it
/// has ended, `audit-N` of states that are kept for good.
#[derive(Clone, Debug)]
pub struct RunDir(pub PathBuf);

/// The step after which a tenth of the training is left.
pub fn before_last_tenth(steps: u64) -> u64 {
    steps - steps / 10
}

/// Numbers of steps after which the state is kept for the audit: at the start, at the end, and at two places in
/// between that follow from the run's identity, each time the state before a step and the one after it; and the one
/// before the last tenth, from which a plateau is read.
pub fn audited(steps: u64, identity: &str) -> BTreeSet<u64> {
    let quarter = (steps / 4).max(1);
    let place = |from: u64, digits: std::ops::Range<usize>| {
        let digits = identity.get(digits).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        from + digits.unwrap_or(0) % quarter
    };
    let starts = [0, place(quarter, 0..8), place(2 * quarter, 8..16), steps.saturating_sub(1)];
    let pairs = starts.into_iter().filter(|start| *start < steps).flat_map(|start| [start, start + 1]);
    pairs.chain([before_last_tenth(steps)]).collect()
}

/// The steps after which a checkpoint was written, by its name.
fn step_of(checkpoint: &Path) -> Option<u64> {
    checkpoint.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok()
}

/// Held by the process that trains.
const LOCK: &str = ".lock";

fn remove(folder: &Path) -> Result<(), CheckpointError> {
    fs::remove_dir_all(folder).map_err(CheckpointError::io(folder))
}

impl RunDir {
    /// The checkpoint of an ended run.
    pub fn checkpoint(&self) -> PathBuf {
        self.0.join("final")
    }

    /// The model as it was before the last tenth of the steps, to see whether the loss has levelled off.
    pub fn before_last_tenth(&self) -> PathBuf {
        self.0.join("before-last-tenth")
    }

    /// The ended run, if there is one.
    pub fn ended(&self) -> Result<Option<Run>, TrainError> {
        let path = self.0.join("run.json");
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(read_json(&path, "the record of a run")?))
    }

    /// Whether there is an ended run.
    pub fn has_ended(&self) -> bool {
        self.0.join("run.json").exists()
    }

    /// The steps of the last checkpoint of a training that has not ended; looks and touches nothing.
    pub fn stored_steps(&self) -> Option<u64> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries.filter_map(|entry| step_of(&entry.path())).max()
    }

    /// The record beside that checkpoint.
    pub fn stored(&self) -> Result<Option<Run>, TrainError> {
        let Some(steps) = self.stored_steps() else { return Ok(None) };
        let path = self.step(steps).join("trainer.json");
        Ok(Some(read_json(&path, "the state of a training")?))
    }

    fn step(&self, steps: u64) -> PathBuf {
        self.0.join(format!("step-{steps:08}"))
    }

    /// Trains to the end, from the last checkpoint if there is one, unless it was done before.
    /// Waits while another process trains here, and then goes on from what that one left, or tidies up
    /// what it left when it was killed. `stop` is asked before every step, with the steps made so far;
    /// where it says yes, the run is saved as it stands.
    pub fn train(
        &self,
        job: &TrainJob<'_>,
        screen: &Screen,
        stop: &dyn Fn(u64) -> bool,
    ) -> Result<Run, TrainError> {
        job.recipe.check()?;
        if let Some(run) = self.found(job)?
            && self.is_tidy()?
        {
            return Ok(run);
        }
        let purpose = format!("training {}", job.label);
        let lock = FileLock::acquire(&self.0.join(LOCK), &purpose, &|line| screen.say(line), &|| stop(0));
        let lock = lock.map_err(CheckpointError::io(&self.0))?;
        // Without a lock, what lies here may be somebody's who is at work.
        if lock.holds() {
            sweep(&self.0).map_err(CheckpointError::io(&self.0))?;
        }
        // What another process ended while this one waited, or before it was killed.
        if let Some(run) = self.found(job)? {
            if lock.holds() {
                self.checkpoints()?.iter().try_for_each(|(_, path)| remove(path))?;
            }
            return Ok(run);
        }
        let mut trainer = match self.latest()? {
            Some(folder) => Trainer::resume(job, &folder)?,
            None => Trainer::new(job)?,
        };
        self.refuse_other(job, &trainer.run)?;
        if trainer.run.curve.is_empty() {
            let audited = audited(job.recipe.steps(), &trainer.run.identity);
            self.keep_for_audit(&trainer, &audited)?;
        }
        self.advance(&mut trainer, screen, stop)?;
        self.save(&mut trainer)
    }

    /// The ended run, which must be this one.
    fn found(&self, job: &TrainJob<'_>) -> Result<Option<Run>, TrainError> {
        let run = self.ended()?;
        run.iter().try_for_each(|run| self.refuse_other(job, run))?;
        Ok(run)
    }

    /// Whether nothing is left but what an ended run keeps.
    fn is_tidy(&self) -> Result<bool, CheckpointError> {
        let passing = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name == LOCK || name.starts_with(WRITING) || step_of(path).is_some()
        };
        Ok(!self.paths()?.iter().any(passing))
    }

    fn refuse_other(&self, job: &TrainJob<'_>, run: &Run) -> Result<(), TrainError> {
        let expected = job.identity();
        if run.identity == expected {
            return Ok(());
        }
        Err(TrainError::OtherRun { path: self.0.clone(), expected, got: run.identity.clone() })
    }

    fn advance(
        &self,
        trainer: &mut Trainer<'_, '_>,
        screen: &Screen,
        stop: &dyn Fn(u64) -> bool,
    ) -> Result<(), TrainError> {
        let (steps, per_step) = (trainer.job.recipe.steps(), trainer.job.recipe.tokens_per_step());
        let task = screen.task(&trainer.job.label, trainer.run.curve.len() as u64, steps);
        let audited = audited(steps, &trainer.run.identity);
        let first = trainer.run.curve.len() as u64;
        let (start, before) = (Instant::now(), trainer.run.seconds);
        trainer.run.starts.push(TrainingStart::now());
        let look_at_clocks = |run: &mut Run| {
            run.seconds = before + start.elapsed().as_secs_f64();
            run.starts.last_mut().into_iter().for_each(TrainingStart::go_on);
        };
        while !trainer.done() && !stop(trainer.steps()) {
            trainer.enqueue()?;
            let step = trainer.steps();
            let every = trainer.job.checkpoint_every;
            let kept = step == before_last_tenth(steps) || audited.contains(&step);
            let looked_at = kept || step.is_multiple_of(every) || trainer.done();
            if !looked_at && !trainer.is_far_ahead() && trainer.run.ending == Ending::Interrupted {
                continue;
            }
            trainer.sync()?;
            if matches!(trainer.run.ending, Ending::Diverged(_)) {
                break;
            }
            let Some(record) = trainer.run.curve.last().cloned() else { break };
            look_at_clocks(&mut trainer.run);
            task.at(record.step, || {
                let speed = (record.step - first) as f64 * per_step as f64 / start.elapsed().as_secs_f64();
                format!("loss {:.3}  {speed:.0} tokens/s ", record.loss)
            });
            if record.step == before_last_tenth(steps) {
                let model = |folder: &Path| {
                    save_model(folder, &trainer.job.config, trainer.model.params(), trainer.job.tokenizer)
                };
                self.put(&self.before_last_tenth(), model)?;
                trainer.saw_before_last_tenth()?;
            }
            if audited.contains(&record.step) {
                self.keep_for_audit(trainer, &audited)?;
            }
            if record.step.is_multiple_of(trainer.job.checkpoint_every) && !trainer.done() {
                self.save(trainer)?;
            }
        }
        trainer.sync()?;
        look_at_clocks(&mut trainer.run);
        if trainer.done() && trainer.run.ending == Ending::Interrupted {
            trainer.run.ending = Ending::Completed;
        }
        Ok(())
    }

    /// Keeps weights and moments as they are now, by the names of the parameters; before an audited step also what its
    /// windows are by themselves.
    fn keep_for_audit(&self, trainer: &Trainer<'_, '_>, audited: &BTreeSet<u64>) -> Result<(), TrainError> {
        let (entries, packed) = (trainer.model.params().entries(), trainer.optimizer.packed());
        let all = packed.elem_count() / 3;
        let tensors = |third: usize| -> candle_core::Result<Vec<(String, Tensor)>> {
            let part = |entry: &Entry| {
                let flat = packed.narrow(0, third * all + entry.offset, entry.len)?;
                Ok((entry.name.clone(), flat.reshape(entry.shape.as_slice())?))
            };
            entries.iter().map(part).collect()
        };
        let mut parts = vec![("weights", tensors(0)?), ("first", tensors(1)?), ("second", tensors(2)?)];
        let made = trainer.run.curve.len() as u64;
        if made < trainer.job.recipe.steps() && audited.contains(&(made + 1)) {
            parts.push(("windows", on_worker(|| trainer.windows_by_themselves())?));
        }
        let name = self.0.join(format!("audit-{made:08}"));
        let write = |folder: &Path| {
            let one = |(part, all): &(&str, Vec<_>)| {
                write_tensors(&folder.join(format!("{part}.safetensors")), all)
            };
            parts.iter().try_for_each(one)
        };
        Ok(self.put(&name, write)?)
    }

    /// Checkpoints by step, newest last.
    fn checkpoints(&self) -> Result<Vec<(u64, PathBuf)>, CheckpointError> {
        let paths = self.paths()?;
        let mut found: Vec<_> = paths.into_iter().filter_map(|path| Some((step_of(&path)?, path))).collect();
        found.sort();
        Ok(found)
    }

    /// What lies in the folder.
    fn paths(&self) -> Result<Vec<PathBuf>, CheckpointError> {
        if !self.0.exists() {
            return Ok(Vec::new());
        }
        let entries = fs::read_dir(&self.0).map_err(CheckpointError::io(&self.0))?;
        entries.map(|entry| Ok(entry.map_err(CheckpointError::io(&self.0))?.path())).collect()
    }

    fn latest(&self) -> Result<Option<PathBuf>, CheckpointError> {
        Ok(self.checkpoints()?.pop().map(|(_, path)| path))
    }

    /// A folder that has its name only when all of it is written; an older one of that name goes.
    fn put(
        &self,
        name: &Path,
        write: impl FnOnce(&Path) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        fs::create_dir_all(&self.0).map_err(CheckpointError::io(&self.0))?;
        let made = tempfile::Builder::new().prefix(WRITING).tempdir_in(&self.0);
        let folder = made.map_err(CheckpointError::io(&self.0))?;
        write(folder.path())?;
        if name.exists() {
            remove(name)?;
        }
        fs::rename(folder.keep(), name).map_err(CheckpointError::io(name))
    }

    /// Writes a checkpoint under the name that fits how the run stands, then removes older ones.
    fn save(&self, trainer: &mut Trainer<'_, '_>) -> Result<Run, TrainError> {
        let ended = trainer.run.ending != Ending::Interrupted;
        let older = self.checkpoints()?;
        let name = match ended {
            true => self.checkpoint(),
            false => self.step(trainer.run.curve.len() as u64),
        };
        if !ended && name.exists() {
            // Stopped before its first step: the checkpoint it came from is this one.
            return Ok(trainer.run.clone());
        }
        trainer.run.weights = trainer.model.params().digest()?;
        self.put(&name, |path| {
            save_model(path, &trainer.job.config, trainer.model.params(), trainer.job.tokenizer)?;
            if !ended {
                let packed = trainer.optimizer.packed().clone();
                write_tensors(&path.join("optimizer.safetensors"), &[("packed".to_owned(), packed)])?;
                write_json(&path.join("trainer.json"), &trainer.run)?;
            }
            Ok(())
        })?;
        if ended {
            write_json(&self.0.join("run.json"), &trainer.run)?;
        }
        for (_, path) in older.into_iter().filter(|(_, path)| *path != name) {
            remove(&path)?;
        }
        Ok(trainer.run.clone())
    }
}
