//! Can it learn a tiny set by heart, and a small model a short text? (Ruling table, row Overfit: 10 samples of
//! 64 tokens; 10,000 tokens at the smallest gated scale.)

use super::probe::{Probe, ProbeData, Reading, Result, TrainedModel};
use crate::data::batches::{Batches, Order};
use crate::evidence::Metric as M;
use crate::scale::{SCALES, Scale, Tier};
use crate::statistics::mean;
use crate::train::{Recipe, TrainJob, Trainer};

pub(super) const PROBE: Probe = Probe {
    id: "overfit",
    about: "loss of a fresh model on 10 samples of 64 tokens after at most 500 steps, and at the smallest gated scale on 10,000 tokens",
    metrics: &[M::OverfitLoss, M::MemorisedLoss],
    data: ProbeData::HeldOut,
    measure,
    only: None,
    measure_checkpoint: None,
};

/// What is to be learnt by heart.
struct OverfitTask {
    /// Sequences, from the beginning of the training text.
    samples: usize,
    /// Tokens of each.
    length: usize,
    /// Sequences of a step; divides the samples.
    batch: usize,
    /// Most steps.
    steps: usize,
    /// Training stops once a pass's mean loss is this low: the question is answered and the rest is time.
    learnt: f64,
}

const TINY: OverfitTask = OverfitTask { samples: 10, length: 64, batch: 10, steps: 500, learnt: 0.25 };
const TEXT: OverfitTask = OverfitTask { samples: 100, length: 100, batch: 20, steps: 3_000, learnt: 0.05 };

/// The context and the tokens of training text that a scale needs at least.
pub fn overfit_needs(scale: &Scale) -> [usize; 2] {
    let largest = if is_smallest_gated(scale) { TEXT } else { TINY };
    [largest.length, largest.samples * largest.length + 1]
}

fn measure(s: &TrainedModel<'_>) -> Result<Vec<Reading>> {
    let mut readings = vec![by_heart(s, &TINY, M::OverfitLoss)?];
    if is_smallest_gated(s.scale) {
        readings.push(by_heart(s, &TEXT, M::MemorisedLoss)?);
    }
    Ok(readings)
}

/// Where the ruling asks for it: larger models have more room.
fn is_smallest_gated(scale: &Scale) -> bool {
    SCALES.iter().find(|s| s.tier == Tier::Gate) == Some(scale)
}

/// The mean loss of the last pass over the samples, measured while they are learnt.
fn by_heart(s: &TrainedModel<'_>, task: &OverfitTask, metric: M) -> Result<Reading> {
    let &OverfitTask { samples, length, batch, steps, learnt } = task;
    let recipe = Recipe {
        token_count: (steps * batch * length) as u64,
        batch_size: batch,
        micro_batch_size: batch,
        context_length: length,
        warmup_steps: 10,
        max_lr: 1e-3,
        min_lr: 1e-3,
        ..s.recipe.clone()
    };
    let order = Order::draw(samples, steps * batch, s.seed)?;
    let job = TrainJob {
        config: s.model.config(),
        recipe,
        seed: s.seed,
        batches: Batches::new(&s.dataset.train, order, length)?,
        data: s.dataset.digest.clone(),
        tokenizer: &s.dataset.tokenizer,
        compute: s.compute,
        checkpoint_every: u64::MAX,
        label: "overfit".to_owned(),
    };
    let mut trainer = Trainer::new(&job)?;
    let (mut pass, mut made) = (Vec::new(), 0);
    let per_pass = samples / batch;
    let loss = loop {
        made += 1;
        let Some(record) = trainer.step()? else { break f64::NAN };
        pass.push(record.loss);
        if pass.len() == per_pass {
            let loss = mean(&pass);
            if loss < learnt || made == steps {
                break loss;
            }
            pass.clear();
        }
    };
    Ok(Reading { n: Some(made as u64), ..Reading::new(metric, loss) })
}
