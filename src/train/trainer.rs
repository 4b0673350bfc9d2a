//! The training loop.
//!
//! Invariant: what a run becomes depends on its job alone. Killed at any moment and started again
//! it ends with the same curve and weights, bit for bit; only seconds differ.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use super::checkpoint::{CheckpointError, read_json, read_tensors};
use super::observed::{Observed, chain};
use super::optimizer::{AdamW, Norms};
use super::published::load_model;
use super::recipe::{Recipe, RecipeError};
use super::run::{Ending, Run, StepRecord};
use crate::data::batches::{Batch, Batches, OrderError};
use crate::data::tokenizer::Tokenizer;
use crate::device::Compute;
use crate::files::sha256;
use crate::models::{Config, LanguageModel};
use crate::ops::{Consumed, Gradients, Tape, linear_cross_entropy, on_worker};

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
    /// What computes.
    pub compute: &'a Compute,
    /// Steps between checkpoints. Does not change the result.
    pub checkpoint_every: u64,
    /// Shown to people.
    pub label: String,
}

impl TrainJob<'_> {
    /// Digest of everything that decides the result, the code and what computes included.
    pub fn identity(&self) -> String {
        let precision = self.recipe.precision.name(self.compute);
        let on = self.compute.identity(self.recipe.precision);
        let config = serde_json::to_string(&self.config).unwrap_or_default();
        let parts = [
            env!("V5_TRAIN_REVISION").to_owned(),
            config,
            self.recipe.digest(),
            self.seed.to_string(),
            self.data.clone(),
            self.batches.order().digest(),
            format!("{on} {precision}"),
        ];
        sha256(parts.join("\n").as_bytes())
    }
}

/// A step that was begun on a device, and what the run will say of it.
struct InFlight {
    lr: f64,
    position: u64,
    consumed: String,
    observed: Observed,
}

/// A part of a step: what is learnt from, and its weight in the step's mean.
#[derive(Clone, Debug)]
pub struct Part {
    /// Some of the step's sequences.
    pub batch: Batch,
    /// By how much their mean counts; over a step the weights add up to one.
    pub weight: f64,
}

/// The mean loss of a batch, the gradient of `weight` times that, and what went into both.
pub(super) fn differentiate(
    model: &dyn LanguageModel,
    batch: &Batch,
    weight: f64,
) -> Result<(Tensor, Gradients, Consumed), TrainError> {
    let tape = Tape::recording(model.params().entries().len());
    let mut state = model.new_state(batch.batch_size)?;
    let hidden = model.backbone(&tape, &batch.inputs, &mut state)?;
    drop(state); // Keys and values would lie beside the head's gradients.
    let head = model.params().scope(&tape, "").get(model.head())?;
    let loss = linear_cross_entropy(&tape, &hidden, &head, &batch.targets)?;
    let value = loss.tensor().clone();
    // On the CPU always: the loss looks at it there without waiting for the device.
    let seed = Tensor::new(weight, &Device::Cpu)?.to_dtype(value.dtype())?;
    let consumed = tape.consumed();
    Ok((value, tape.backward(&loss, seed)?, consumed))
}

/// A training in progress.
pub struct Trainer<'a, 'b> {
    pub(super) job: &'b TrainJob<'a>,
    pub(super) model: Box<dyn LanguageModel>,
    pub(super) optimizer: AdamW,
    pub(super) run: Run,
    /// Steps begun of which nothing is known yet.
    in_flight: VecDeque<InFlight>,
    /// Sequences read, and the digest of them, steps begun included.
    read: (u64, String),
    /// What was seen of all that, steps begun included.
    observed: Observed,
}

impl<'a, 'b> Trainer<'a, 'b> {
    /// A training at its first step.
    pub fn new(job: &'b TrainJob<'a>) -> Result<Self, TrainError> {
        job.recipe.check()?;
        let model = job.config.init(job.seed)?.to_device(job.compute, job.recipe.precision)?;
        Self::from_model(job, model)
    }

    /// A training that starts from given weights.
    pub fn from_model(job: &'b TrainJob<'a>, model: Box<dyn LanguageModel>) -> Result<Self, TrainError> {
        let optimizer = AdamW::new(model.as_ref())?;
        let model = model.over(optimizer.params().clone());
        let run = Run {
            identity: job.identity(),
            ending: Ending::Interrupted,
            curve: Vec::new(),
            consumed: sha256(b""),
            position: 0,
            optimizer_steps: 0,
            seconds: 0.0,
            starts: Vec::new(),
            weights: String::new(),
            observed: Observed::new(model.params().digest()?),
        };
        let (read, observed) = ((run.position, run.consumed.clone()), run.observed.clone());
        Ok(Self { job, model, optimizer, run, in_flight: VecDeque::new(), read, observed })
    }

    /// A training as a checkpoint left it.
    pub(super) fn resume(job: &'b TrainJob<'a>, folder: &Path) -> Result<Self, TrainError> {
        let run: Run = read_json(&folder.join("trainer.json"), "the state of a training")?;
        let model = load_model(folder)?.to_device(job.compute, job.recipe.precision)?;
        let path = folder.join("optimizer.safetensors");
        let mut tensors = read_tensors(&path)?;
        let packed = tensors
            .remove("packed")
            .ok_or_else(|| CheckpointError::unreadable(&path, "the tensor \"packed\"", "none"))?;
        let optimizer = AdamW::resume(model.as_ref(), packed, run.optimizer_steps)
            .map_err(|e| CheckpointError::unreadable(&path, "an optimizer state", e))?;
        let model = model.over(optimizer.params().clone());
        let (read, observed) = ((run.position, run.consumed.clone()), run.observed.clone());
        let resumed = Self { job, model, optimizer, run, in_flight: VecDeque::new(), read, observed };
        let (expected, got) = (&resumed.run.weights, resumed.model.params().digest()?);
        if got != *expected {
            let got = format!("{got} where trainer.json has {expected}");
            return Err(CheckpointError::unreadable(&path, "the weights that were saved", got).into());
        }
        Ok(resumed)
    }

    /// A training that stands after so many steps of a record, with these parameters and moments.
    pub(super) fn from_state(
        job: &'b TrainJob<'a>,
        packed: Tensor,
        record: &Run,
        steps: u64,
    ) -> Result<Self, TrainError> {
        let model = job.config.init(job.seed)?.to_device(job.compute, job.recipe.precision)?;
        let mut trainer = Self::from_model(job, model)?;
        trainer.optimizer = AdamW::resume(trainer.model.as_ref(), packed, steps)?;
        trainer.model = trainer.model.over(trainer.optimizer.params().clone());
        let made = record.curve.get(..steps as usize).unwrap_or(&record.curve);
        (trainer.run.curve, trainer.run.optimizer_steps) = (made.to_vec(), steps);
        trainer.run.position = steps * job.recipe.batch_size as u64;
        trainer.read.0 = trainer.run.position;
        Ok(trainer)
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
        let parts = self.read()?;
        self.step_on(&parts)
    }

    /// Makes one step on what was read for it.
    pub fn step_on(&mut self, parts: &[Part]) -> Result<Option<StepRecord>, TrainError> {
        let lr = self.job.recipe.learning_rate(self.steps());
        self.enqueue_on(parts, lr)?;
        self.sync()?;
        match self.run.ending {
            Ending::Diverged(_) => Ok(None),
            _ => Ok(self.run.curve.last().cloned()),
        }
    }

    /// Begins a step and looks at those begun only where it must, as `RunDir::train` does, so that the device is
    /// never waited for: for timing. `false` once a step that was looked at had a loss or gradient not finite.
    pub fn step_ahead(&mut self) -> Result<bool, TrainError> {
        self.enqueue()?;
        if self.is_far_ahead() {
            self.sync()?;
        }
        Ok(!matches!(self.run.ending, Ending::Diverged(_)))
    }

    /// Steps made, those included that the device has still to do.
    pub(super) fn steps(&self) -> u64 {
        (self.run.curve.len() + self.in_flight.len()) as u64
    }

    /// Begins a step. On a CPU it is made at once; on a device it may be looked at later.
    pub(super) fn enqueue(&mut self) -> Result<(), TrainError> {
        let parts = self.read()?;
        let lr = self.job.recipe.learning_rate(self.steps());
        self.enqueue_on(&parts, lr)
    }

    fn enqueue_on(&mut self, parts: &[Part], lr: f64) -> Result<(), TrainError> {
        if self.optimizer.max_in_flight() == 0 {
            let (loss, norms) = on_worker(|| self.step_at_once(parts, lr))?;
            let lr = self.note(parts);
            (self.run.position, self.run.consumed) = self.read.clone();
            self.run.observed = self.observed.clone();
            self.record(loss, norms, lr);
            return Ok(());
        }
        let (loss, mut gradients) = self.gradients(parts)?;
        self.optimizer.enqueue(&mut gradients, &self.job.recipe, lr, &loss)?;
        let lr = self.note(parts);
        let (position, consumed) = self.read.clone();
        let observed = self.observed.clone();
        self.in_flight.push_back(InFlight { lr, position, consumed, observed });
        Ok(())
    }

    /// Notes what the optimizer applied, and says at which learning rate.
    fn note(&mut self, parts: &[Part]) -> f64 {
        let Some((lr, applied)) = self.optimizer.applied() else { return f64::NAN };
        self.observed.step(parts.iter().map(|part| part.weight).sum(), applied);
        lr
    }

    fn step_at_once(&mut self, parts: &[Part], lr: f64) -> Result<(f64, Norms), TrainError> {
        let (loss, mut gradients) = self.gradients(parts)?;
        let loss = loss.to_scalar::<f64>()?;
        if !loss.is_finite() {
            return Ok((loss, Norms::default()));
        }
        Ok((loss, self.optimizer.step(&mut gradients, &self.job.recipe, lr)?))
    }

    /// Whether no more steps may be begun before somebody looks.
    pub(super) fn is_far_ahead(&self) -> bool {
        self.in_flight.len() >= self.optimizer.max_in_flight()
    }

    /// Waits for the steps in_flight, and puts them on record up to the first that diverged.
    pub(super) fn sync(&mut self) -> Result<(), TrainError> {
        if self.in_flight.is_empty() {
            return Ok(());
        }
        for outcome in self.optimizer.poll(self.in_flight.len())? {
            let Some(in_flight) = self.in_flight.pop_front() else { break };
            (self.run.position, self.run.consumed) = (in_flight.position, in_flight.consumed);
            // A checkpoint that was saved meanwhile keeps its digest.
            let before_last_tenth = std::mem::take(&mut self.run.observed.before_last_tenth);
            self.run.observed = Observed { before_last_tenth, ..in_flight.observed };
            let norms = if outcome.well { outcome.norms } else { Norms { total: f64::NAN, ..outcome.norms } };
            self.record(outcome.loss, norms, in_flight.lr);
            if !outcome.well {
                self.in_flight.clear();
                break;
            }
        }
        Ok(())
    }

    /// Puts a step on record.
    fn record(&mut self, loss: f64, norms: Norms, lr: f64) {
        let (recipe, step) = (&self.job.recipe, self.run.curve.len() as u64);
        if !(loss.is_finite() && norms.total.is_finite()) {
            self.run.ending = Ending::Diverged(step + 1);
            return;
        }
        self.run.optimizer_steps += 1;
        let record = StepRecord {
            step: step + 1,
            tokens: (step + 1) * recipe.tokens_per_step(),
            loss,
            grad_norm: norms.total,
            branch_norms: norms.branches,
            lr,
        };
        self.run.curve.push(record);
    }

    /// Reads the next step's micro-batches, which goes into the digest of what was read.
    pub fn read(&mut self) -> Result<Vec<Part>, TrainError> {
        let recipe = &self.job.recipe;
        let parts = recipe.batch_size / recipe.micro_batch_size;
        let mut read = Vec::with_capacity(parts);
        for _ in 0..parts {
            let batch = self.job.batches.get(self.read.0 as usize, recipe.micro_batch_size)?;
            self.read.0 += recipe.micro_batch_size as u64;
            self.read.1 = chain(&self.read.1, &batch.inputs, &batch.targets);
            read.push(Part { batch, weight: 1.0 / parts as f64 });
        }
        Ok(read)
    }

    /// Mean loss over a step's micro-batches, and the gradient of that mean. The loss is a scalar: float64 on a
    /// CPU, on a device what it computes with, left there.
    fn gradients(&mut self, parts: &[Part]) -> Result<(Tensor, Gradients), TrainError> {
        let (mut total, mut sum): (Option<Tensor>, _) = (None, None);
        for part in parts {
            let (loss, gradients) = self.backward(&part.batch, part.weight)?;
            let loss = if self.optimizer.max_in_flight() == 0 { loss.to_dtype(DType::F64)? } else { loss };
            let part = if parts.len() == 1 { loss } else { (loss / parts.len() as f64)? };
            total = Some(match total {
                None => part,
                Some(total) => (total + part)?,
            });
            sum = Some(match sum {
                None => gradients,
                Some(sum) => self.sum(sum, gradients)?,
            });
        }
        let total = total.map_or_else(|| Tensor::zeros((), DType::F64, &Device::Cpu), Ok)?;
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

    fn backward(&mut self, batch: &Batch, weight: f64) -> Result<(Tensor, Gradients), TrainError> {
        let (loss, gradients, consumed) = differentiate(self.model.as_ref(), batch, weight)?;
        // The first parameter of every model is its token embedding.
        self.observed.learn(&consumed.ids(0), &consumed.targets);
        Ok((loss, gradients))
    }

    /// Notes which weights stand before the last tenth of the steps.
    pub(super) fn saw_before_last_tenth(&mut self) -> Result<(), TrainError> {
        let digest = self.model.params().digest()?;
        self.run.observed.before_last_tenth.clone_from(&digest);
        self.observed.before_last_tenth = digest;
        Ok(())
    }

    pub(super) fn done(&self) -> bool {
        self.steps() >= self.job.recipe.steps()
    }
}
