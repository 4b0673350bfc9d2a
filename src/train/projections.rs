//! What is noted, for the audit, of the windows of a step by themselves: loss, and projections of the gradients
//! (ruling R23). A step may be too large to be made again; a few of its windows are not, and the rest must add up.

use candle_core::{DType, Tensor};

use super::trainer::{TrainError, Trainer, differentiate};
use crate::ops::to_vec_f64;

/// Projections of a tensor's gradient.
const PROJECTIONS: usize = 4;

/// Sixty-four signs for a place: the mix of SplitMix64 (Steele, Lea & Flood 2014).
fn signs(place: u64) -> u64 {
    let mut z = place.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Σ ±xᵢ, where bit k of the signs of place i decides in the k-th sum.
fn project(values: &[f64]) -> [f64; PROJECTIONS] {
    let mut sums = [0.0; PROJECTIONS];
    for (place, x) in values.iter().enumerate() {
        let signs = signs(place as u64);
        for (k, sum) in sums.iter_mut().enumerate() {
            *sum += if signs >> k & 1 == 1 { *x } else { -x };
        }
    }
    sums
}

impl Trainer<'_, '_> {
    /// Of every window of the next step: its mean loss, and the projections of each tensor's gradient.
    ///
    /// # Shapes
    /// - `losses`: `[windows]`; by the name of every parameter: [windows, 4]
    pub(super) fn windows_by_themselves(&self) -> Result<Vec<(String, Tensor)>, TrainError> {
        let (entries, windows) = (self.model.params().entries(), self.job.recipe.batch_size);
        let mut losses = Vec::with_capacity(windows);
        let mut rows: Vec<Vec<f64>> = entries.iter().map(|_| Vec::new()).collect();
        for i in 0..windows {
            let batch = self.job.batches.get(self.run.position as usize + i, 1)?;
            let (loss, mut gradients, _) = differentiate(self.model.as_ref(), &batch, 1.0)?;
            losses.push(loss.to_dtype(DType::F64)?.to_scalar::<f64>()?);
            for (i, rows) in rows.iter_mut().enumerate() {
                let gradient = gradients.take(i).map(|g| to_vec_f64(&g)).transpose()?;
                rows.extend(project(&gradient.unwrap_or_default()));
            }
        }
        let tensor = |values: Vec<f64>, shape: &[usize]| {
            let values: Vec<f32> = values.into_iter().map(|x| x as f32).collect();
            Tensor::from_vec(values, shape, &candle_core::Device::Cpu)
        };
        let mut all = vec![("losses".to_owned(), tensor(losses, &[windows])?)];
        for (entry, rows) in entries.iter().zip(rows) {
            all.push((entry.name.clone(), tensor(rows, &[windows, PROJECTIONS])?));
        }
        Ok(all)
    }
}
