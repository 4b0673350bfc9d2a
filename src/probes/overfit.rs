//! Can it learn a tiny set by heart? (Ruling table, row Overfit: 10 samples of 64 tokens.)

use super::{Probe, Reading, Result, Subject};
use crate::data::batches::{Batches, Order};
use crate::evidence::Metric as M;
use crate::train::{Recipe, TrainJob, Trainer};

pub(super) const PROBE: Probe = Probe {
    id: "overfit",
    about: "loss of a fresh model on 10 samples of 64 tokens, after at most 500 steps",
    metrics: &[M::OverfitLoss],
    ask,
};

const SAMPLES: usize = 10;
const LENGTH: usize = 64;
const STEPS: usize = 500;
/// Training stops once this low: the question is answered and the rest is time.
const LEARNT: f64 = 0.25;

fn ask(s: &Subject<'_>) -> Result<Vec<Reading>> {
    let recipe = Recipe {
        token_count: (STEPS * SAMPLES * LENGTH) as u64,
        batch_size: SAMPLES,
        micro_batch_size: SAMPLES,
        context_length: LENGTH,
        warmup_steps: 10,
        max_lr: 1e-3,
        min_lr: 1e-3,
        ..s.recipe.clone()
    };
    let order = Order::draw(SAMPLES, STEPS * SAMPLES, s.seed)?;
    let job = TrainJob {
        config: s.model.config(),
        recipe,
        seed: s.seed,
        batches: Batches::new(&s.dataset.train, order, LENGTH)?,
        data: s.dataset.digest.clone(),
        tokenizer: &s.dataset.tokenizer,
        checkpoint_every: u64::MAX,
        label: "overfit".to_owned(),
    };
    let mut trainer = Trainer::new(&job)?;
    let mut loss = f64::NAN;
    let mut steps = 0;
    while steps < STEPS {
        steps += 1;
        let Some(record) = trainer.step()? else {
            loss = f64::NAN;
            break;
        };
        loss = record.loss;
        if loss < LEARNT {
            break;
        }
    }
    Ok(vec![Reading { n: Some(steps as u64), ..Reading::new(M::OverfitLoss, loss) }])
}
