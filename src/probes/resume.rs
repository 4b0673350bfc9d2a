//! Saved, stopped, loaded and continued: is it the same training, bit for bit? (Row Resume.)

use super::probe::{Probe, ProbeData, Reading, Result, TrainedModel};
use crate::data::batches::Batches;
use crate::evidence::Metric as M;
use crate::progress::Screen;
use crate::train::{Recipe, RunDir, TrainJob};

pub(super) const PROBE: Probe = Probe {
    id: "resume",
    about: "a few steps in one go against the same steps with a stop in between",
    metrics: &[M::ResumeIdentical],
    data: ProbeData::HeldOut,
    measure,
    only: None,
    measure_checkpoint: None,
};

const STEPS: u64 = 6;

fn measure(s: &TrainedModel<'_>) -> Result<Vec<Reading>> {
    let batch_size = s.recipe.batch_size.min(2);
    let tokens = STEPS * (batch_size * s.recipe.context_length) as u64;
    let warmup_steps = s.recipe.warmup_steps.min(STEPS / 2);
    let recipe =
        Recipe { token_count: tokens, batch_size, micro_batch_size: 1, warmup_steps, ..s.recipe.clone() };
    // Checkpoints on the way, too, must change nothing.
    let job = |checkpoint_every| -> Result<TrainJob<'_>> {
        let order = s.dataset.order(recipe.context_length, batch_size * STEPS as usize, s.seed)?;
        Ok(TrainJob {
            config: s.model.config(),
            batches: Batches::new(&s.dataset.train, order, recipe.context_length)?,
            recipe: recipe.clone(),
            seed: s.seed,
            data: s.dataset.digest.clone(),
            tokenizer: &s.dataset.tokenizer,
            compute: s.compute,
            checkpoint_every,
            label: "resume".to_owned(),
        })
    };
    let (seldom, often) = (job(u64::MAX)?, job(2)?);
    let folder = tempfile::tempdir()?;
    let (whole, halves) = (RunDir(folder.path().join("whole")), RunDir(folder.path().join("halves")));
    let quiet = Screen::quiet();
    let expected = whole.train(&seldom, &quiet, &|_| false)?;
    halves.train(&often, &quiet, &|step| step == STEPS / 2)?;
    let got = halves.train(&often, &quiet, &|_| false)?;
    let same =
        expected.curve == got.curve && expected.weights == got.weights && expected.consumed == got.consumed;
    Ok(vec![Reading::holds(M::ResumeIdentical, same)])
}
