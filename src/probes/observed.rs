//! Did the training do what its record says? (Ruling R22.) What reached the loss is compared with the saved order
//! read again, what the optimizer applied with the recipe, the weights that training began with with those that the
//! seed gives, the weights that are questioned with those that it ended with, and the count of parameters with the
//! tensors.

use super::probe::{Probe, ProbeData, Reading, Result, TrainedModel};
use crate::data::batches::{Batches, Order};
use crate::data::dataset::{TextPart, windows_in};
use crate::evidence::Metric as M;
use crate::files::sha256;
use crate::train::{Applied, Run, chain};

pub(super) const PROBE: Probe = Probe {
    id: "observed",
    about: "what reached the loss and what the optimizer applied, against saved order and recipe; weights and counts",
    metrics: &[
        M::LearntSavedOrder,
        M::MixtureError,
        M::RateError,
        M::SettingsError,
        M::PartWeightError,
        M::StartsFromSeed,
        M::WeightsOfTheRun,
        M::CountedParameters,
    ],
    data: ProbeData::HeldOut,
    measure,
    only: None,
    measure_checkpoint: None,
};

fn measure(s: &TrainedModel<'_>) -> Result<Vec<Reading>> {
    let seen = &s.run.observed;
    let settings = seen.applied.filter(|_| !seen.unsteady);
    let settings = settings.map_or(f64::NAN, |applied| applied.error(&Applied::of(s.recipe)));
    let starts = s.untrained.params().digest()? == seen.start;
    let ends = s.model.params().digest()? == s.run.weights;
    let order = saved_order(s)?;
    Ok(vec![
        Reading::holds(M::LearntSavedOrder, digest_of(s, &order)? == seen.learnt),
        Reading::new(M::MixtureError, mixture_error(s, &order)),
        Reading::new(M::RateError, rate_error(s)),
        Reading::new(M::SettingsError, settings),
        Reading::new(M::PartWeightError, seen.weight_error),
        Reading::holds(M::StartsFromSeed, starts),
        Reading::holds(M::WeightsOfTheRun, ends),
        Reading::new(M::CountedParameters, s.model.params().flat().elem_count() as f64),
    ])
}

/// Steps that were begun: the one that diverged has read its batch.
fn steps(run: &Run) -> u64 {
    run.curve.len() as u64 + u64::from(matches!(run.ending, crate::train::Ending::Diverged(_)))
}

/// The order that the seed stands for.
fn saved_order(s: &TrainedModel<'_>) -> Result<Order> {
    Ok(s.dataset.order(s.recipe.context_length, s.recipe.steps() as usize * s.recipe.batch_size, s.seed)?)
}

/// The sequences that the steps should have learnt from.
fn sequences(s: &TrainedModel<'_>, order: &Order) -> usize {
    (steps(s.run) as usize * s.recipe.batch_size).min(order.len())
}

/// How far what the steps learnt from is from the mixture that was declared; not a number where no step was made.
fn mixture_error(s: &TrainedModel<'_>, order: &Order) -> f64 {
    let read = &order.windows()[..sequences(s, order)];
    let apart = |part: &TextPart| {
        let inside = windows_in(&part.train, s.dataset.train.len(), s.recipe.context_length);
        let count = read.iter().filter(|&&window| inside.contains(&(window as usize))).count();
        (count as f64 / read.len() as f64 - part.share).abs()
    };
    let errors = s.dataset.parts.iter().map(apart);
    errors.reduce(|most, x| if x.is_nan() || x > most { x } else { most }).unwrap_or(f64::NAN)
}

/// The digest over everything that the steps should have learnt from: that order, read again.
fn digest_of(s: &TrainedModel<'_>, order: &Order) -> Result<String> {
    let recipe = s.recipe;
    let batches = Batches::new(&s.dataset.train, order.clone(), recipe.context_length)?;
    let mut digest = sha256(b"");
    for first in (0..sequences(s, order)).step_by(recipe.micro_batch_size) {
        let batch = batches.get(first, recipe.micro_batch_size)?;
        digest = chain(&digest, &batch.inputs, &batch.targets);
    }
    Ok(digest)
}

/// The largest distance of a learning rate that the optimizer applied from the recipe's, as a share of the highest;
/// not a number where no step was made.
fn rate_error(s: &TrainedModel<'_>) -> f64 {
    let apart = |(step, lr): (usize, f64)| (lr - s.recipe.learning_rate(step as u64)).abs() / s.recipe.max_lr;
    let errors = s.run.curve.iter().map(|record| record.lr).enumerate().map(apart);
    errors.reduce(|most, x| if x.is_nan() || x > most { x } else { most }).unwrap_or(f64::NAN)
}
