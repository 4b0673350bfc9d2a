//! The training loop.
//!
//! Invariant: what a run becomes depends on its job alone. Killed at any moment and started again
//! it ends with the same curve and weights, bit for bit; only seconds differ.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{DType, Device, Tensor};

use super::checkpoint::{
    CheckpointError, load_model, read_json, read_tensors, save_model, write_json, write_tensors,
};
use super::optimizer::{AdamW, Norms};
use super::recipe::{Recipe, RecipeError};
use super::run::{Ending, Run, StepRecord};
use crate::data::batches::{Batch, Batches, OrderError};
use crate::data::files::sha256;
use crate::data::tokenizer::Tokenizer;
use crate::models::{Config, LanguageModel};
use crate::ops::{Gradients, Tape, linear_cross_entropy, on_worker};
use crate::progress::Screen;

/// Why a training could not be done.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A tensor operation failed.
    #[error("training: {0}")]
    Tensor(#[from] candle_core::Error),
    /// A checkpoint could not be written or read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The order of batches does not fit.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The recipe cannot be followed.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The folder holds another run.
    #[error("{path}: expected the run {expected}, got {got}: another run lives here", path = .path.display())]
    OtherRun {
        /// Where.
        path: PathBuf,
        /// Identity asked for.
        expected: String,
        /// Identity found.
        got: String,
    },
}

/// Everything that decides what a training becomes.
pub struct TrainJob<'a> {
    /// The model.
    pub config: Config,
    /// Hyper-parameters.
    pub recipe: Recipe,
    /// Initialises the weights.
    pub seed: u64,
    /// Text in its saved order.
    pub batches: Batches<'a>,
    /// Digest of the data set.
    pub data: String,
    /// Goes into the checkpoints.
    pub tokenizer: &'a Tokenizer,
    /// Steps between checkpoints. Does not change the result.
    pub checkpoint_every: u64,
    /// Shown to people.
    pub label: String,
}

impl TrainJob<'_> {
    /// Digest of everything that decides the result, the code included.
    pub fn identity(&self) -> String {
        let config = serde_json::to_string(&self.config).unwrap_or_default();
        let parts = [
            env!("V5_TRAIN_REVISION").to_owned(),
            config,
            self.recipe.digest(),
            self.seed.to_string(),
            self.data.clone(),
            self.batches.order().digest(),
        ];
        sha256(parts.join("\n").as_bytes())
    }
}

/// A training in progress.
pub struct Trainer<'a, 'b> {
    job: &'b TrainJob<'a>,
    model: Box<dyn LanguageModel>,
    optimizer: AdamW,
    run: Run,
}

impl<'a, 'b> Trainer<'a, 'b> {
    /// A training at its first step.
    pub fn new(job: &'b TrainJob<'a>) -> Result<Self, TrainError> {
        job.recipe.check()?;
        let model = job.config.init(job.seed)?;
        Self::from_model(job, model)
    }

    /// A training that starts from given weights.
    pub fn from_model(job: &'b TrainJob<'a>, model: Box<dyn LanguageModel>) -> Result<Self, TrainError> {
        let optimizer = AdamW::new(model.as_ref())?;
        let model = model.with_params(optimizer.params().clone());
        let run = Run {
            identity: job.identity(),
            ending: Ending::Interrupted,
            curve: Vec::new(),
            fed: sha256(b""),
            position: 0,
            optimizer_steps: 0,
            seconds: 0.0,
            weights: String::new(),
        };
        Ok(Self { job, model, optimizer, run })
    }

    /// A training as a checkpoint left it.
    fn resume(job: &'b TrainJob<'a>, folder: &Path) -> Result<Self, TrainError> {
        let run: Run = read_json(&folder.join("trainer.json"), "the state of a training")?;
        let model = load_model(folder)?;
        let path = folder.join("optimizer.safetensors");
        let mut tensors = read_tensors(&path)?;
        let packed = tensors
            .remove("packed")
            .ok_or_else(|| CheckpointError::unreadable(&path, "the tensor \"packed\"", "none"))?;
        let optimizer = AdamW::resume(model.as_ref(), packed, run.optimizer_steps)
            .map_err(|e| CheckpointError::unreadable(&path, "an optimizer state", e))?;
        let model = model.with_params(optimizer.params().clone());
        let resumed = Self { job, model, optimizer, run };
        let (expected, got) = (&resumed.run.weights, resumed.model.params().digest()?);
        if got != *expected {
            let got = format!("{got} where trainer.json has {expected}");
            return Err(CheckpointError::unreadable(&path, "the weights that were saved", got).into());
        }
        Ok(resumed)
    }

    /// The model as it is now.
    pub fn model(&self) -> &dyn LanguageModel {
        self.model.as_ref()
    }

    /// What was recorded so far.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Makes one step; `None` if loss or gradient was not finite, after which nothing has moved.
    pub fn step(&mut self) -> Result<Option<StepRecord>, TrainError> {
        let recipe = &self.job.recipe;
        let step = self.run.curve.len() as u64;
        let lr = recipe.learning_rate(step);
        let (loss, norms) = on_worker(|| -> Result<(f64, Norms), TrainError> {
            let (loss, mut gradients) = self.gradients()?;
            if !loss.is_finite() {
                return Ok((loss, Norms::default()));
            }
            Ok((loss, self.optimizer.step(&mut gradients, &self.job.recipe, lr)?))
        })?;
        if !(loss.is_finite() && norms.total.is_finite()) {
            self.run.ending = Ending::Diverged(step + 1);
            return Ok(None);
        }
        self.run.optimizer_steps += 1;
        let record = StepRecord {
            step: step + 1,
            tokens: (step + 1) * recipe.tokens_per_step(),
            loss,
            grad_norm: norms.total,
            rwkv_norm: norms.rwkv,
            mamba_norm: norms.mamba,
            lr,
        };
        self.run.curve.push(record);
        Ok(Some(record))
    }

    /// Mean loss over a step's micro-batches, and the gradient of that mean.
    fn gradients(&mut self) -> Result<(f64, Gradients), TrainError> {
        let recipe = &self.job.recipe;
        let parts = recipe.batch_size / recipe.micro_batch_size;
        let (mut total, mut sum) = (0.0, None);
        for _ in 0..parts {
            let batch = self.job.batches.get(self.run.position as usize, recipe.micro_batch_size)?;
            self.run.position += recipe.micro_batch_size as u64;
            self.run.fed = chain(&self.run.fed, &batch);
            let (loss, gradients) = self.backward(&batch, 1.0 / parts as f64)?;
            total += loss / parts as f64;
            sum = Some(match sum {
                None => gradients,
                Some(sum) => self.sum(sum, gradients)?,
            });
        }
        Ok((total, sum.unwrap_or_default()))
    }

    fn sum(&self, mut a: Gradients, mut b: Gradients) -> Result<Gradients, TrainError> {
        for i in 0..self.model.params().entries().len() {
            if let Some(gradient) = b.take(i) {
                a.add(Some(i), gradient)?;
            }
        }
        Ok(a)
    }

    fn backward(&self, batch: &Batch, weight: f64) -> Result<(f64, Gradients), TrainError> {
        let model = self.model.as_ref();
        let tape = Tape::recording(model.params().entries().len());
        let mut state = model.new_state(batch.batch_size)?;
        let hidden = model.trunk(&tape, &batch.inputs, &mut state)?;
        let head = model.params().scope(&tape, "").get(model.head())?;
        let loss = linear_cross_entropy(&tape, &hidden, &head, &batch.targets)?;
        let value = loss.tensor().to_dtype(DType::F64)?.to_scalar::<f64>()?;
        let seed = Tensor::new(weight, &Device::Cpu)?.to_dtype(loss.tensor().dtype())?;
        Ok((value, tape.backward(&loss, seed)?))
    }

    fn done(&self) -> bool {
        self.run.curve.len() as u64 >= self.job.recipe.steps()
    }
}

/// The digest after feeding a batch: hash of the digest before and every token of it.
fn chain(before: &str, batch: &Batch) -> String {
    let mut bytes = before.as_bytes().to_vec();
    for id in batch.inputs.iter().chain(&batch.targets) {
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    sha256(&bytes)
}

/// The folder of one run: `step-N` checkpoints while it goes on, `final` and `run.json` when it
/// has ended.
#[derive(Clone, Debug)]
pub struct RunDir(pub PathBuf);

/// The step after which a tenth of the training is left.
fn before_last_tenth(steps: u64) -> u64 {
    steps - steps / 10
}

/// Half-written checkpoints start with this.
const WRITING: &str = ".writing-";

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

    /// Trains to the end, from the last checkpoint if there is one, unless it was done before.
    /// `stop` is asked before every step, with the steps made so far; where it says yes, the run
    /// is saved as it stands.
    pub fn train(
        &self,
        job: &TrainJob<'_>,
        screen: &Screen,
        stop: &dyn Fn(u64) -> bool,
    ) -> Result<Run, TrainError> {
        job.recipe.check()?;
        if let Some(run) = self.ended()? {
            self.refuse_other(job, &run)?;
            return Ok(run);
        }
        let mut trainer = match self.latest()? {
            Some(folder) => Trainer::resume(job, &folder)?,
            None => Trainer::new(job)?,
        };
        self.refuse_other(job, &trainer.run)?;
        self.advance(&mut trainer, screen, stop)?;
        self.save(&mut trainer)
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
        let first = trainer.run.curve.len() as u64;
        let (start, before) = (Instant::now(), trainer.run.seconds);
        while !trainer.done() && !stop(trainer.run.curve.len() as u64) {
            let Some(record) = trainer.step()? else { break };
            trainer.run.seconds = before + start.elapsed().as_secs_f64();
            task.at(record.step, || {
                let speed = (record.step - first) as f64 * per_step as f64 / start.elapsed().as_secs_f64();
                format!("loss {:.3}  {speed:.0} tokens/s ", record.loss)
            });
            if record.step == before_last_tenth(steps) {
                let model = |folder: &Path| {
                    save_model(folder, &trainer.job.config, trainer.model.params(), trainer.job.tokenizer)
                };
                self.put(&self.before_last_tenth(), model)?;
            }
            if record.step.is_multiple_of(trainer.job.checkpoint_every) && !trainer.done() {
                self.save(trainer)?;
            }
        }
        if trainer.done() {
            trainer.run.ending = Ending::Completed;
        }
        Ok(())
    }

    /// Checkpoints by step, newest last.
    fn checkpoints(&self) -> Result<Vec<(u64, PathBuf)>, CheckpointError> {
        let mut found = Vec::new();
        if !self.0.exists() {
            return Ok(found);
        }
        for entry in fs::read_dir(&self.0).map_err(CheckpointError::io(&self.0))? {
            let path = entry.map_err(CheckpointError::io(&self.0))?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if name.starts_with(WRITING) {
                fs::remove_dir_all(&path).map_err(CheckpointError::io(&path))?;
            } else if let Some(step) = name.strip_prefix("step-").and_then(|n| n.parse().ok()) {
                found.push((step, path));
            }
        }
        found.sort();
        Ok(found)
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
            fs::remove_dir_all(name).map_err(CheckpointError::io(name))?;
        }
        fs::rename(folder.keep(), name).map_err(CheckpointError::io(name))
    }

    /// Writes a checkpoint under the name that fits how the run stands, then removes older ones.
    fn save(&self, trainer: &mut Trainer<'_, '_>) -> Result<Run, TrainError> {
        let ended = trainer.run.ending != Ending::Interrupted;
        let older = self.checkpoints()?;
        let name = match ended {
            true => self.checkpoint(),
            false => self.0.join(format!("step-{:08}", trainer.run.curve.len())),
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
            fs::remove_dir_all(&path).map_err(CheckpointError::io(&path))?;
        }
        Ok(trainer.run.clone())
    }
}
