//! Checkpoints: a directory in the usual hub layout (`config.json`, `model.safetensors`,
//! `tokenizer.json`), and what a training needs besides to go on bit for bit.
//!
//! Invariant: a directory gets its name when everything in it is on disk, so a checkpoint is
//! complete or absent, whenever the process dies.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::data::tokenizer::Tokenizer;
use crate::files::write_atomically;
use crate::models::{Config, Params};
use crate::ops::on_cpu;

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The system refused.
    #[error("{path}: {error}", path = .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        error: std::io::Error,
    },
    /// A file is not what its name says.
    #[error("{path}: expected {expected}, got {got}", path = .path.display())]
    Unreadable {
        /// Where.
        path: PathBuf,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        got: String,
    },
    /// The tokenizer could not be written.
    #[error(transparent)]
    Tokenizer(#[from] crate::data::tokenizer::TokenizerError),
}

impl CheckpointError {
    pub(crate) fn io(path: &Path) -> impl Fn(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::Io { path: path.clone(), error }
    }

    pub(crate) fn unreadable(path: &Path, expected: &'static str, got: impl ToString) -> Self {
        Self::Unreadable { path: path.to_owned(), expected, got: got.to_string() }
    }
}

type Result<T> = std::result::Result<T, CheckpointError>;

/// Writes a JSON document, complete or not at all.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| CheckpointError::unreadable(path, "something JSON can hold", e))?;
    write_bytes(path, text.as_bytes())
}

/// Reads a JSON document.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, expected: &'static str) -> Result<T> {
    let text = fs::read_to_string(path).map_err(CheckpointError::io(path))?;
    serde_json::from_str(&text).map_err(|e| CheckpointError::unreadable(path, expected, e))
}

fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomically(path, CheckpointError::io(path), |file| {
        file.write_all(bytes).map_err(CheckpointError::io(path))
    })
}

/// Writes named tensors as safetensors.
pub(crate) fn write_tensors(path: &Path, tensors: &[(String, Tensor)]) -> Result<()> {
    let here = |(name, t): &(String, Tensor)| Ok((name.clone(), on_cpu(t)?));
    let tensors: candle_core::Result<Vec<_>> = tensors.iter().map(here).collect();
    let unwritable = |e| CheckpointError::unreadable(path, "tensors to write", e);
    let tensors = tensors.map_err(unwritable)?;
    let bytes = safetensors::serialize(tensors.iter().map(|(n, t)| (n, t)), None)
        .map_err(|e| CheckpointError::unreadable(path, "tensors to write", e))?;
    write_bytes(path, &bytes)
}

/// Reads safetensors.
pub(crate) fn read_tensors(path: &Path) -> Result<HashMap<String, Tensor>> {
    let bytes = fs::read(path).map_err(CheckpointError::io(path))?;
    candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
        .map_err(|e| CheckpointError::unreadable(path, "a complete safetensors file", e))
}

/// Writes `config.json`, `model.safetensors` and `tokenizer.json` into `folder`.
pub fn save_model(folder: &Path, config: &Config, params: &Params, tokenizer: &Tokenizer) -> Result<()> {
    write_json(&folder.join("config.json"), &Saved { config, tokens: TokenIds::of(config, tokenizer) })?;
    let path = folder.join("model.safetensors");
    let named = |i: usize| Ok((params.entries()[i].name.clone(), params.exact(i)?));
    let tensors: candle_core::Result<Vec<_>> = (0..params.entries().len()).map(named).collect();
    let tensors = tensors.map_err(|e| CheckpointError::unreadable(&path, "parameters", e))?;
    write_tensors(&path, &tensors)?;
    Ok(tokenizer.save(&folder.join("tokenizer.json"))?)
}

/// A configuration as it is saved.
#[derive(Serialize)]
struct Saved<'a> {
    #[serde(flatten)]
    config: &'a Config,
    #[serde(flatten)]
    tokens: Option<TokenIds>,
}

/// The end of a text under transformers' names: what it supposes where they are absent lies outside most vocabularies.
#[derive(Serialize)]
struct TokenIds {
    bos_token_id: u32,
    eos_token_id: u32,
    pad_token_id: u32,
}

impl TokenIds {
    /// For the models that transformers has.
    fn of(config: &Config, tokenizer: &Tokenizer) -> Option<Self> {
        let end = tokenizer.eot();
        let ids = Self { bos_token_id: end, eos_token_id: end, pad_token_id: end };
        matches!(config, Config::Gpt2(_) | Config::Mamba2(_)).then_some(ids)
    }
}
