//! Some steps of a training made once more, from a state that was kept for the audit.

use std::path::Path;

use candle_core::{Device, Tensor};

use super::checkpoint::{CheckpointError, read_tensors};
use super::run::{Run, StepRecord};
use super::trainer::{TrainError, TrainJob, Trainer};

/// A stretch of a training that was made again.
pub struct Stretch {
    /// What its steps record.
    pub steps: Vec<StepRecord>,
    /// Parameters and moments at its end, [p | m | v].
    pub state: Tensor,
}

/// Parameters and moments, [p | m | v], that were kept for the audit after so many steps.
///
/// # Errors
/// A state that is not there or is not the model's.
pub fn kept_state(job: &TrainJob<'_>, folder: &Path, steps: u64) -> Result<Tensor, TrainError> {
    let state = folder.join(format!("audit-{steps:08}"));
    let mut thirds = Vec::new();
    let model = job.config.init(job.seed)?;
    for name in ["weights", "first", "second"] {
        let path = state.join(format!("{name}.safetensors"));
        let mut tensors = read_tensors(&path)?;
        for entry in model.params().entries() {
            let tensor = tensors.remove(&entry.name).filter(|t| t.dims() == entry.shape);
            let missing = || CheckpointError::unreadable(&path, "every parameter in its shape", &entry.name);
            thirds.push(tensor.ok_or_else(missing)?.flatten_all()?);
        }
    }
    Ok(Tensor::cat(&thirds, 0)?)
}

/// Makes so many steps after the first `from` again. `run` is the record of the training, of which the steps before
/// are taken as they are.
///
/// # Errors
/// A state that is not there or is not the model's, and whatever a training refuses.
pub fn steps_again(
    job: &TrainJob<'_>,
    folder: &Path,
    run: &Run,
    (from, count): (u64, u64),
) -> Result<Stretch, TrainError> {
    let mut trainer = Trainer::from_state(job, kept_state(job, folder, from)?, run, from)?;
    for _ in 0..count {
        if trainer.step()?.is_none() {
            break;
        }
    }
    let state = trainer.optimizer.packed().to_device(&Device::Cpu)?;
    Ok(Stretch { steps: trainer.run().curve[from as usize..].to_vec(), state })
}
