//! What a protocol consists of: trials, their orders and trainings, what is expected of their
//! evidence, and where it comes from.

use std::collections::VecDeque;
use std::path::Path;

use super::error::CollectError;
use crate::data::batches::{Batches, Order, OrderError};
use crate::data::dataset::Dataset;
use crate::device::Compute;
use crate::evidence::{Condition, ExpectedRun, Manifest, Provenance, SCHEMA, Subject};
use crate::models::{self, LanguageModel, ModelSpec};
use crate::probes::data_digests;
use crate::protocol::{Protocol, recipe_digest};
use crate::scale::Scale;
use crate::train::{Run, RunDir, STOPPING, TrainJob, load_model};

/// Digest of the code that makes numbers.
pub const REVISION: &str = env!("V5_REVISION");

/// One model at one scale with one seed.
#[derive(Clone, Copy)]
pub struct Trial {
    /// The model.
    pub spec: &'static ModelSpec,
    /// The size.
    pub scale: &'static Scale,
    /// The seed.
    pub seed: u64,
}

impl Trial {
    pub(super) fn label(&self) -> String {
        format!("{} {} seed {}", self.spec.name, self.scale.name, self.seed)
    }

    pub(super) fn of(&self, condition: Condition) -> Subject {
        Subject {
            model: self.spec.name.to_owned(),
            scale: self.scale.name.to_owned(),
            seed: self.seed,
            condition,
        }
    }
}

/// A trial that was trained, with everything a probe may ask about.
pub struct Trained<'a> {
    /// What was asked for.
    pub trial: Trial,
    /// The training.
    pub job: TrainJob<'a>,
    /// How it went.
    pub run: Run,
    /// Where numbers about it come from; the probe's name is still to be filled in.
    pub source: Provenance,
    pub(super) folder: RunDir,
}

impl Trained<'_> {
    /// The trained model, if its checkpoint is the one that the run recorded.
    pub fn model(&self) -> Result<Box<dyn LanguageModel>, CollectError> {
        let path = self.folder.checkpoint();
        let model = load_model(&path)?.to_device(self.job.compute, self.job.recipe.precision)?;
        let got = model.params().digest()?;
        if got != self.run.weights {
            return Err(CollectError::OtherWeights { path, expected: self.run.weights.clone(), got });
        }
        Ok(model)
    }

    /// The same model before its first step.
    pub fn untrained(&self) -> Result<Box<dyn LanguageModel>, CollectError> {
        Ok(self.job.config.init(self.trial.seed)?.to_device(self.job.compute, self.job.recipe.precision)?)
    }
}

/// Every trial, the costliest models first so that cores end together.
pub(super) fn trials(protocol: &Protocol) -> VecDeque<Trial> {
    let mut all = VecDeque::new();
    for scale in protocol.scales() {
        for spec in protocol.models.iter().rev().filter_map(|name| models::find(name)) {
            all.extend(protocol.seeds.iter().map(|&seed| Trial { spec, scale, seed }));
        }
    }
    all
}

/// The order that every model reads for a seed (ruling R13).
pub(super) fn order(protocol: &Protocol, dataset: &Dataset, seed: u64) -> Result<Order, OrderError> {
    let recipe = &protocol.recipe;
    let needed = recipe.steps() as usize * recipe.batch_size;
    dataset.order(recipe.context_length, needed, seed)
}

/// What the protocol is to collect, and what is expected of every piece of evidence.
pub fn manifest(
    protocol: &Protocol,
    dataset: &Dataset,
    data: Option<&Path>,
    compute: &Compute,
) -> Result<Manifest, CollectError> {
    let mut expected = Vec::new();
    for &seed in &protocol.seeds {
        let order = order(protocol, dataset, seed)?.digest();
        expected.extend(protocol.scales().map(|scale| ExpectedRun {
            scale: scale.name.to_owned(),
            seed,
            recipe: protocol.recipe_digest(scale),
            data: dataset.digest.clone(),
            order: order.clone(),
            tokenizer: dataset.tokenizer.digest().to_owned(),
            device: compute.name().to_owned(),
            precision: protocol.recipe.precision.name(compute).to_owned(),
        }));
    }
    let failed = |error| {
        let subject = protocol.name.clone();
        CollectError::Probe { probe: "manifest", subject, error: Box::new(error) }
    };
    let named = dataset.parts.len() > 1;
    Ok(Manifest {
        parts: dataset.parts.iter().filter(|_| named).map(|part| part.name.clone()).collect(),
        material: data_digests(&protocol.eval_data(data)).map_err(failed)?,
        schema: SCHEMA,
        number: 0,
        protocol: protocol.name.clone(),
        models: protocol.models.clone(),
        scales: protocol.scales.clone(),
        seeds: protocol.seeds.clone(),
        revision: REVISION.to_owned(),
        expected,
    })
}

/// The training that a protocol asks for.
pub fn job<'a>(
    protocol: &Protocol,
    dataset: &'a Dataset,
    spec: &ModelSpec,
    scale: &Scale,
    (seed, order): (u64, Order),
    compute: &'a Compute,
) -> Result<TrainJob<'a>, CollectError> {
    let context = protocol.recipe.context_length;
    Ok(TrainJob {
        config: (spec.config)(scale, dataset.tokenizer.vocab_size(), context),
        recipe: protocol.recipe.clone(),
        seed,
        batches: Batches::new(&dataset.train, order, context)?,
        data: dataset.digest.clone(),
        tokenizer: &dataset.tokenizer,
        compute,
        checkpoint_every: protocol.checkpoint_every,
        label: format!("{} {} seed {seed}", spec.name, scale.name),
    })
}

pub(super) fn folder_name(trial: &Trial, job: &TrainJob<'_>) -> String {
    format!("{}-{}-seed-{}-{}", trial.scale.name, trial.spec.name, trial.seed, &job.identity()[..8])
}

/// Where the numbers of a run come from.
pub fn provenance(
    protocol: &Protocol,
    dataset: &Dataset,
    trial: Trial,
    job: &TrainJob<'_>,
    run: &Run,
) -> Provenance {
    Provenance {
        // The recipe that was followed, whatever the protocol asks for.
        recipe: recipe_digest(&job.recipe, trial.scale),
        data: job.data.clone(),
        order: job.batches.order().digest(),
        consumed: run.consumed.clone(),
        tokenizer: job.tokenizer.digest().to_owned(),
        weights: run.weights.clone(),
        revision: REVISION.to_owned(),
        device: job.compute.name().to_owned(),
        precision: job.recipe.precision.name(job.compute).to_owned(),
        validation: dataset.valid.digest().to_owned(),
        preprocessing: protocol.preprocessing(),
        tuning: protocol.tuning.get(trial.spec.name).map_or_else(String::new, u64::to_string),
        stopping: STOPPING.to_owned(),
        probe: String::new(),
    }
}
