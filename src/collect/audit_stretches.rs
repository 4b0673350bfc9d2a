//! Stretches of a training, made again from kept states by the trainer.

use std::fs;
use std::time::UNIX_EPOCH;

use candle_core::Tensor;

use super::audit::AuditReport;
use super::collector::Collector;
use super::lots::Lots;
use super::trial::Trained;
use crate::evidence::Metric;
use crate::referee::Deviation;
use crate::scale::{Scale, Tier};
use crate::train::{Ending, TrainError, audited, before_last_tenth, kept_state, load_model, steps_again};

/// Of a training's steps one in so many is made again after each kept state, and at least so many.
const SHARE: u64 = 100;
const LEAST: u64 = 12;
/// At the gated scales no more than one in so many, where that is less.
const SHORT: u64 = 40;

/// Steps that are made again after a kept state.
fn stretch(scale: &Scale, steps: u64) -> u64 {
    let least = if scale.tier == Tier::Gate { LEAST.min(steps / SHORT) } else { LEAST };
    (steps / SHARE).max(least).max(1)
}

impl Collector<'_> {
    /// Stretches of the training after its kept states, made again by the trainer, and of some trials up to a step that
    /// is drawn; `whole`, all that lies between them.
    pub(super) fn examine_stretches(&self, trained: &Trained<'_>, whole: bool, report: &mut AuditReport) {
        let steps = trained.job.recipe.steps();
        let kept = kept_states(trained);
        let expected: Vec<u64> = audited(steps, &trained.run.identity).into_iter().collect();
        let starts: Vec<u64> = (kept.iter().copied())
            .filter(|s| *s < steps && s.checked_sub(1).is_none_or(|before| !kept.contains(&before)))
            .collect();
        let (mut compared, mut made) = (Vec::new(), 0);
        let far = self.drawn_step(trained);
        // Where no state was kept nothing is looked at, and these alone would say that all is well.
        if !kept.is_empty() {
            compared.extend(counted(trained));
            compared.extend(kept_meanwhile(trained, &kept));
            match from_its_seed(trained) {
                Ok(fact) => compared.push(fact),
                Err(error) => failed("weights before the first step", &error, &mut compared, report),
            }
        }
        // A training that diverged has not come to all of them.
        if !kept.is_empty() && trained.run.curve.len() as u64 == steps {
            let what = format!("states are kept after {expected:?} steps");
            compared.push(Deviation::fact(what, kept == expected));
            match same_before_last_tenth(trained) {
                Ok(facts) => compared.extend(facts),
                Err(error) => failed("weights before the last tenth", &error, &mut compared, report),
            }
        }
        for (i, &from) in starts.iter().enumerate() {
            let next = starts.get(i + 1).copied().unwrap_or(steps);
            let reach = match far {
                _ if whole => next - from,
                Some(step) if (from..next).contains(&step) => step + 1 - from,
                _ => 0,
            };
            let count = stretch(trained.trial.scale, steps).max(reach).min(next - from);
            match stretch_again(trained, (from, count), kept.contains(&(from + count))) {
                Ok((steps, facts)) => {
                    made += steps;
                    compared.extend(facts);
                }
                Err(error) => failed(&format!("steps after {from}"), &error, &mut compared, report),
            }
        }
        match compared.is_empty() {
            true => report.not_covered.push("steps between kept states: none is kept".to_owned()),
            false => {
                report.covered.push(format!("training: {made} of {steps} steps made again by the trainer"))
            }
        }
        report.questions.push((Metric::AuditStretches, compared));
    }

    /// The step that is made again from the kept state before it, however far that lies back: that of one trial of each
    /// model and scale, so that nothing is safe for lying far behind a kept state.
    fn drawn_step(&self, trained: &Trained<'_>) -> Option<u64> {
        let (trial, seeds) = (&trained.trial, &self.protocol.seeds);
        let mut draw = Lots::of(&[&self.lot, trial.spec.name.as_bytes(), trial.scale.name.as_bytes()]);
        let chosen = seeds.get(draw.below(seeds.len())) == Some(&trial.seed);
        chosen.then(|| draw.below(trained.job.recipe.steps() as usize) as u64)
    }
}

/// Steps made again beside their record, and if a state was kept at their end, that state beside theirs; how many were
/// made.
fn stretch_again(
    trained: &Trained<'_>,
    (from, count): (u64, u64),
    ends_in_kept: bool,
) -> Result<(usize, Vec<Deviation>), TrainError> {
    let (folder, run) = (&trained.folder.0, &trained.run);
    let recorded = &run.curve[(from as usize).min(run.curve.len())..];
    let again = steps_again(&trained.job, folder, run, (from, count))?;
    let first = again.steps.iter().zip(recorded).position(|(a, b)| a != b);
    let ends = again.steps.len() == recorded.len().min(count as usize);
    let what = match first {
        Some(at) => format!("step {}, made again after {from} steps", from + at as u64 + 1),
        None => format!("{count} steps after {from}"),
    };
    let mut compared = vec![Deviation::fact(what, first.is_none() && ends)];
    if ends_in_kept && ends {
        let kept = kept_state(&trained.job, folder, from + count)?;
        let what = format!("weights and moments after {} steps", from + count);
        compared.push(Deviation::fact(what, same_bits(&again.state, &kept)?));
    }
    Ok((again.steps.len(), compared))
}

/// What is kept of a run and cannot be read differs: all of it may be deleted, but not a part. Whatever else fails is no
/// answer.
fn failed(what: &str, error: &TrainError, compared: &mut Vec<Deviation>, report: &mut AuditReport) {
    let problem = format!("{what}: {error}");
    match error {
        TrainError::Checkpoint(_) => compared.push(Deviation::fact(problem, false)),
        _ => report.not_covered.push(problem),
    }
}

/// By how much clocks of a machine and of its disk may differ: in seconds, and of a training so short that this would be
/// much, as a share of it.
const CLOCK: (f64, f64) = (2.0, 0.05);

/// Whether states were kept between the training's first start and its last end, by the machine's clock. A copy of a file
/// is never older; where all are younger than the end, they are copies.
fn kept_meanwhile(trained: &Trained<'_>, kept: &[u64]) -> [Deviation; 2] {
    let written = |steps: &u64| {
        let path = trained.folder.0.join(format!("audit-{steps:08}/weights.safetensors"));
        let since = fs::metadata(path).ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(since.as_secs_f64())
    };
    let times: Vec<f64> = kept.iter().filter(|steps| **steps > 0).filter_map(written).collect();
    let room = CLOCK.0.min(CLOCK.1 * trained.run.seconds);
    let begun = trained.run.starts.first().map_or(f64::INFINITY, |start| start.from - room);
    let ended = trained.run.starts.last().map_or(f64::NEG_INFINITY, |start| start.to + room);
    let are_copies = times.iter().all(|seconds| *seconds > ended);
    [
        Deviation::fact("the training began before it kept states", times.iter().all(|t| *t >= begun)),
        Deviation::fact(
            "the training kept states before it ended",
            are_copies || times.iter().all(|t| *t <= ended),
        ),
    ]
}

/// What the record counts beside its own steps.
fn counted(trained: &Trained<'_>) -> [Deviation; 3] {
    let (run, batch_size) = (&trained.run, trained.job.recipe.batch_size as u64);
    let made = run.curve.len() as u64;
    // A step that diverged has read its batch.
    let read = made + u64::from(matches!(run.ending, Ending::Diverged(_)));
    let steps = trained.job.recipe.steps();
    let ends = match run.ending {
        Ending::Completed => made == steps,
        Ending::Diverged(step) => step == made + 1 && step <= steps,
        Ending::Interrupted => made < steps,
    };
    [
        Deviation::fact("how the training ended", ends),
        Deviation::fact("windows that were read", run.position == read * batch_size),
        Deviation::fact("steps of the optimizer", run.optimizer_steps == made),
    ]
}

/// Whether the training began with the very weights of its seed: a last digit makes another training.
fn from_its_seed(trained: &Trained<'_>) -> Result<Deviation, TrainError> {
    let own = trained.job.config.init(trained.trial.seed)?;
    let kept = kept_state(&trained.job, &trained.folder.0, 0)?;
    let weights = own.params().flat();
    let kept = kept.narrow(0, 0, weights.elem_count().min(kept.elem_count()))?;
    Ok(Deviation::fact("weights before the first step, of the seed bit for bit", same_bits(&kept, weights)?))
}

/// Whether the model from which a plateau is read is the one that is trained, with the weights of the state that was
/// kept there.
fn same_before_last_tenth(trained: &Trained<'_>) -> Result<[Deviation; 2], TrainError> {
    let steps = before_last_tenth(trained.job.recipe.steps());
    let model = load_model(&trained.folder.before_last_tenth())?;
    let state = kept_state(&trained.job, &trained.folder.0, steps)?;
    let weights = model.params().flat();
    let state = state.narrow(0, 0, weights.elem_count().min(state.elem_count()))?;
    let is_trained = model.config() == trained.job.config;
    Ok([
        Deviation::fact("configuration before the last tenth", is_trained),
        Deviation::fact("weights before the last tenth", same_bits(&state, weights)?),
    ])
}

/// Whether two vectors have the same bits.
fn same_bits(a: &Tensor, b: &Tensor) -> candle_core::Result<bool> {
    let (a, b) = (a.to_vec1::<f32>()?, b.to_vec1::<f32>()?);
    Ok(a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.to_bits() == b.to_bits()))
}

/// The steps after which a state was kept, in order.
fn kept_states(trained: &Trained<'_>) -> Vec<u64> {
    let entries = fs::read_dir(&trained.folder.0).into_iter().flatten().flatten();
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_prefix("audit-")?.parse().ok();
    let mut all: Vec<u64> = entries.filter_map(number).collect();
    all.sort_unstable();
    all
}
