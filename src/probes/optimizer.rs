//! Does weight decay leave alone what is no matrix, and did training move everything? (Ruling R12.)

use super::probe::{Probe, ProbeData, Reading, Result, TrainedModel};
use crate::evidence::Metric as M;
use crate::models::{LanguageModel, Params};
use crate::ops::{Tape, Var, to_vec_f64};
use crate::train::{AdamW, Recipe};

pub(super) const PROBE: Probe = Probe {
    id: "optimizer",
    about: "what one step without gradients does to vectors, and how far training moved each tensor",
    metrics: &[M::DecayOnVectors, M::LeastMovement],
    data: ProbeData::HeldOut,
    measure,
    only: None,
    measure_checkpoint: None,
};

/// Numbers for each channel that are stored as a table: RWKV-6's bonus, head by head, and the taps of
/// Mamba-2's convolution.
const PER_CHANNEL: &[&str] = &["time_faaaa", "conv1d.weight"];

fn measure(s: &TrainedModel<'_>) -> Result<Vec<Reading>> {
    Ok(vec![
        Reading::new(M::DecayOnVectors, decay_on_vectors(s.model, s.recipe)?),
        Reading::new(M::LeastMovement, least_movement(s.untrained.params(), s.model.params())?),
    ])
}

/// ‖w − w₀‖ divided by the larger of both norms, the smallest over all tensors; 0 for one that stayed as
/// it was.
fn least_movement(before: &Params, after: &Params) -> Result<f64> {
    let mut least = f64::INFINITY;
    for i in 0..before.entries().len() {
        let (old, new) = (to_vec_f64(&before.exact(i)?)?, to_vec_f64(&after.exact(i)?)?);
        let moved = norm(old.iter().zip(&new).map(|(a, b)| a - b));
        let size = norm(old.iter().copied()).max(norm(new.iter().copied()));
        let share = if moved == 0.0 { 0.0 } else { moved / size };
        least = if share.is_nan() || share < least { share } else { least };
    }
    Ok(least)
}

fn norm(xs: impl Iterator<Item = f64>) -> f64 {
    xs.map(|x| x * x).sum::<f64>().sqrt()
}

/// The largest relative change of a parameter that is no matrix. With all gradients zero nothing but
/// weight decay moves anything.
fn decay_on_vectors(model: &dyn LanguageModel, recipe: &Recipe) -> Result<f64> {
    let before = model.params();
    let tape = Tape::recording(before.entries().len());
    let leaves: Vec<Var> =
        (0..before.entries().len()).map(|i| Ok(tape.leaf(i, &before.view(i)?))).collect::<Result<_>>()?;
    // As exact as parameters are trained, whatever models compute in.
    let zeros = leaves.iter().enumerate().map(|(i, leaf)| Ok((leaf, before.exact(i)?.zeros_like()?)));
    let mut gradients = tape.backward_many(&zeros.collect::<Result<Vec<_>>>()?)?;
    let mut optimizer = AdamW::new(model)?;
    optimizer.step(&mut gradients, recipe, recipe.max_lr)?;
    let mut largest = 0.0;
    for (i, entry) in before.entries().iter().enumerate() {
        if is_matrix(&entry.name, &entry.shape) {
            continue;
        }
        let (old, new) = (to_vec_f64(&before.exact(i)?)?, to_vec_f64(&optimizer.params().exact(i)?)?);
        let moved = norm(old.iter().zip(&new).map(|(a, b)| a - b));
        // What was zero and stays so has not changed.
        let change = if moved == 0.0 { 0.0 } else { moved / norm(old.iter().copied()) };
        largest = if change.is_nan() || change > largest { change } else { largest };
    }
    Ok(largest)
}

/// Whether a parameter mixes channels: judged by its shape, not by what was declared about it. A map to a
/// single channel is a matrix of one row; a vector padded to three dimensions is none.
fn is_matrix(name: &str, shape: &[usize]) -> bool {
    let rank = shape.iter().filter(|&&n| n > 1).count();
    (rank > 1 || shape.len() == 2) && !PER_CHANNEL.iter().any(|vector| name.ends_with(vector))
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::models::{MODELS, Params};
    use crate::scale;
    use crate::train::{Optimizer, Precision, Schedule};

    fn recipe() -> Recipe {
        Recipe {
            token_count: 6400,
            batch_size: 4,
            micro_batch_size: 4,
            context_length: 16,
            learning_rate_schedule: Schedule::Cosine,
            warmup_steps: 10,
            max_lr: 4e-3,
            min_lr: 4e-4,
            weight_decay: 0.1,
            optimizer: Optimizer::AdamW,
            betas: [0.9, 0.95],
            eps: 1e-8,
            grad_clip: 1.0,
            precision: Precision::Float32,
        }
    }

    #[test]
    fn no_model_declares_decay_on_a_vector() {
        let scale = scale::find("smoke").unwrap();
        for spec in MODELS {
            let model = (spec.config)(scale, 300, 32).init(1).unwrap();
            assert_eq!(decay_on_vectors(model.as_ref(), &recipe()).unwrap(), 0.0, "{}", spec.name);
        }
    }

    #[test]
    fn decay_on_one_vector_is_seen() {
        let scale = scale::find("smoke").unwrap();
        let config = (MODELS[1].config)(scale, 300, 32);
        let sound = config.init(1).unwrap();
        for name in ["ln_out.weight", "blocks.0.rwkv.time_faaaa", "blocks.0.mamba.conv1d.weight"] {
            let mut declared = config.declare();
            declared.iter_mut().filter(|d| d.name == name).for_each(|d| d.decay = true);
            let tensor = |name: &str| sound.params().tensor(name).ok();
            let params = Params::from_tensors(&declared, DType::F32, tensor).unwrap();
            let (broken, r) = (config.build(params), recipe());
            let change = decay_on_vectors(broken.as_ref(), &r).unwrap();
            let expected = r.max_lr * r.weight_decay;
            assert!((change / expected - 1.0).abs() < 1e-3, "{name}: {change} instead of {expected}");
        }
    }

    #[test]
    fn shapes_tell_matrices_from_vectors() {
        for (name, shape, matrix) in [
            ("emb.weight", &[1024, 64][..], true),
            ("gate.weight", &[1, 128], true),
            ("rwkv.time_maa_w2", &[5, 8, 64], true),
            ("rwkv.time_maa_x", &[1, 1, 64], false),
            ("ln_f.bias", &[64], false),
            ("gate.bias", &[1], false),
            ("rwkv.time_faaaa", &[2, 32], false),
            ("mamba.conv1d.weight", &[192, 1, 4], false),
        ] {
            assert_eq!(is_matrix(name, shape), matrix, "{name}");
        }
    }
}
