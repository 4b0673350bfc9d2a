//! What another program wrote and was given, read again.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::CollectError;
use super::reference::{
    BATCHES, LOG, ReferenceTask, TASK, bytes, compare, follows, kept, lines, parse, task,
};
use super::trial::Trained;
use crate::evidence::{Line, Provenance};
use crate::files::sha256;
use crate::models::MODELS;
use crate::referee::Deviation;
use crate::train::{CheckpointError, load_model};

/// Files of a checkpoint that say how its weights are to be read, the same before a training and after it.
const CHECKPOINT: [&str; 2] = ["config.json", "tokenizer.json"];

/// What the log of a recorded reference says, read again from the run's folder or, where it is not there, from an
/// exchange's; and whether it is of the task that this program gives for the trial.
///
/// # Errors
/// A log that is not there, or another one.
pub(super) fn reference_again(
    trained: &Trained<'_>,
    source: &Provenance,
    exchanges: &[PathBuf],
) -> Result<(Vec<Line>, bool), CollectError> {
    let (path, log) = log(&kept(trained, &source.validation), source, exchanges)?;
    let unfit = |what: String| CollectError::Unfit { path: path.clone(), what };
    let (header, steps) =
        parse(&log).map_err(|(line, e, got)| unfit(format!("line {line}: expected {e}, got {got}")))?;
    let Trained { job, trial, .. } = trained;
    let task = task(job, job.config.init(job.seed)?.as_ref(), trial.scale)?;
    let followed = follows(&task, &sha256(&bytes(&task)), &header, &steps).is_ok();
    Ok((lines(trained, &compare(trained, header, &steps, &log), &steps, source)?, followed))
}

/// The log that a reference was read from, and where it is.
fn log(kept: &Path, source: &Provenance, exchanges: &[PathBuf]) -> Result<(PathBuf, Vec<u8>), CollectError> {
    let of_digest = |path: PathBuf| {
        let log = fs::read(&path).map_err(CheckpointError::io(&path))?;
        let (expected, got) = (&source.validation, sha256(&log));
        match *expected == got {
            true => Ok((path, log)),
            false => {
                Err(CollectError::Unfit { path, what: format!("expected the log {expected}, got {got}") })
            }
        }
    };
    let own = of_digest(kept.to_owned());
    match own {
        Err(_) if !kept.exists() => {
            let mut others = exchanges.iter().filter_map(|folder| of_digest(folder.join(LOG)).ok());
            others.next().map_or(own, Ok)
        }
        own => own,
    }
}

/// The log in an exchange's folder beside those that are on record of the trial that the folder is about, and what the
/// other program was given beside the task; nothing where it is about another trial.
pub(super) fn beside_exchange(
    trained: &Trained<'_>,
    recorded: &[&Provenance],
    folder: &Path,
) -> Vec<Deviation> {
    let trial = &trained.trial;
    let task = fs::read(folder.join(TASK)).ok();
    let task: Option<ReferenceTask> = task.and_then(|text| serde_json::from_slice(&text).ok());
    let is_about = |task: &ReferenceTask| task.scale == trial.scale.name && task.seed == trial.seed;
    if trial.spec.name != MODELS[0].name || task.as_ref().is_some_and(|task| !is_about(task)) {
        return Vec::new();
    }
    // What the other program was given is what the task says that it was given.
    let initial = load_model(&folder.join("initial")).ok().and_then(|model| model.params().digest().ok());
    let batches = fs::read(folder.join(BATCHES)).map(|array| sha256(&array)).ok();
    let given = task.map(|task| (Some(task.weights), Some(task.batches)));
    let path = folder.join(LOG);
    let log = fs::read(&path).map(|log| sha256(&log)).unwrap_or_default();
    let same = !recorded.is_empty() && recorded.iter().all(|source| source.validation == log);
    vec![
        Deviation::fact(format!("the log that was imported is {}", path.display()), same),
        Deviation::fact(
            format!("weights and batches of the task are in {}", folder.display()),
            given == Some((initial, batches)),
        ),
    ]
    .into_iter()
    .chain(CHECKPOINT.map(|name| {
        // The trained checkpoint was written with the same ones, which other questions are about.
        let [given, own] =
            [folder.join("initial"), trained.folder.checkpoint()].map(|of| fs::read(of.join(name)));
        let same = given.ok().zip(own.ok()).is_some_and(|(given, own)| given == own);
        Deviation::fact(format!("{name} of {} is the trial's", folder.display()), same)
    }))
    .collect()
}
