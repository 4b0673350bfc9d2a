//! A checkpoint as evaluations take it: model, tokenizer, window and identity, loaded and checked in one place.

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use crate::collect::{CollectError, REVISION};
use crate::data::tokenizer::Tokenizer;
use crate::device::Compute;
use crate::models::LanguageModel;
use crate::probes::ProbeError;
use crate::train::{Precision, load_model};

/// Positions that a model without a window of its own sees at a time.
const WINDOW: usize = 1024;

/// A checkpoint folder's model in float32, where it computes, with the tokenizer beside it.
pub struct Checkpoint {
    /// The folder.
    pub path: PathBuf,
    /// The model.
    pub model: Box<dyn LanguageModel>,
    /// Its tokenizer; every token has a row in the model's head.
    pub tokenizer: Tokenizer,
}

impl Checkpoint {
    /// Loads a folder for `evaluation` (the id of a benchmark or probe, which errors name).
    ///
    /// # Errors
    /// When the model or the tokenizer cannot be read, or the tokenizer has more tokens than the head has rows.
    pub fn load(path: &Path, compute: &Compute, evaluation: &'static str) -> Result<Self, CollectError> {
        let model = load_model(path)?.to_device(compute, Precision::Float32)?;
        let tokenizer = Tokenizer::from_dir(path).map_err(|e| failed(path, evaluation, e.into()))?;
        let checkpoint = Self { path: path.to_owned(), model, tokenizer };
        let (ids, rows) = (checkpoint.tokenizer.vocab_size(), checkpoint.head_rows()?);
        match ids > rows {
            true => {
                Err(checkpoint.unfit(format!("expected a tokenizer of at most {rows} tokens, got {ids}")))
            }
            false => Ok(checkpoint),
        }
    }

    /// Positions seen at a time: `asked`, or the model's own window, or 1,024 where it has none.
    ///
    /// # Errors
    /// When `asked` is 0 or more than the model can see.
    pub fn window(&self, asked: Option<usize>) -> Result<usize, CollectError> {
        let most = self.model.window().unwrap_or(usize::MAX);
        match asked {
            Some(window) if window == 0 || window > most => {
                Err(self.unfit(format!("expected a window of 1 to {most} positions, got {window}")))
            }
            Some(window) => Ok(window),
            None => Ok(self.own_window()),
        }
    }

    /// The model's own window, or 1,024 positions where it has none.
    pub fn own_window(&self) -> usize {
        self.model.window().unwrap_or(WINDOW)
    }

    /// What decides the numbers of an evaluation besides its items.
    pub fn identity(&self, compute: &Compute) -> Result<Json, CollectError> {
        Ok(json!({
            "model": self.model.config(),
            "weights": self.model.params().digest()?,
            "tokenizer": self.tokenizer.digest(),
            "precision": "float32",
            "device": compute.name(),
            "revision": REVISION,
        }))
    }

    /// What an error of `evaluation` is when it concerns this checkpoint.
    pub fn failed(&self, evaluation: &'static str) -> impl Fn(ProbeError) -> CollectError + '_ {
        move |error| failed(&self.path, evaluation, error)
    }

    fn unfit(&self, what: String) -> CollectError {
        CollectError::Unfit { path: self.path.clone(), what }
    }

    fn head_rows(&self) -> candle_core::Result<usize> {
        self.model.params().tensor(self.model.head())?.dim(0)
    }
}

/// An evaluation's error about the checkpoint at `path`.
fn failed(path: &Path, evaluation: &'static str, error: ProbeError) -> CollectError {
    let subject = path.display().to_string();
    CollectError::Probe { probe: evaluation, subject, error: Box::new(error) }
}
