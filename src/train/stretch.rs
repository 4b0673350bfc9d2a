//! Some steps of a training made once more, from a state that was kept for the audit.

use std::path::Path;

use candle_core::Tensor;

use super::checkpoint::{CheckpointError, read_tensors};
use super::run::{Run, StepRecord};
use super::trainer::{TrainError, TrainJob, Trainer};

/// Makes so many steps after the first `from` again; gives what they record. `run` is the record of the training, of
/// which the steps before are taken as they are.
///
/// # Errors
/// A state that is not there or is not the model's, and whatever a training refuses.
pub fn steps_again(
    job: &TrainJob<'_>,
    folder: &Path,
    run: &Run,
    (from, count): (u64, u64),
) -> Result<Vec<StepRecord>, TrainError> {
    let state = folder.join(format!("audit-{from:08}"));
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
    let mut trainer = Trainer::from_state(job, Tensor::cat(&thirds, 0)?, run, from)?;
    for _ in 0..count {
        if trainer.step()?.is_none() {
            break;
        }
    }
    Ok(trainer.run().curve[from as usize..].to_vec())
}
