//! Checkpoints: a directory in the usual hub layout (`config.json`, `model.safetensors`,
//! `tokenizer.json`), and what a training needs besides to go on bit for bit.
//!
//! Invariant: a directory gets its name when everything in it is on disk, so a checkpoint is
//! complete or absent, whenever the process dies.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::safetensors::Load;
use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::data::tokenizer::Tokenizer;
use crate::files::write_atomically;
use crate::models::{Config, LanguageModel, Params};
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
    write_json(&folder.join("config.json"), config)?;
    let path = folder.join("model.safetensors");
    let named = |i: usize| Ok((params.entries()[i].name.clone(), params.exact(i)?));
    let tensors: candle_core::Result<Vec<_>> = (0..params.entries().len()).map(named).collect();
    let tensors = tensors.map_err(|e| CheckpointError::unreadable(&path, "parameters", e))?;
    write_tensors(&path, &tensors)?;
    Ok(tokenizer.save(&folder.join("tokenizer.json"))?)
}

/// What the index of a sharded checkpoint says: which file holds which tensor.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The float tensors of a checkpoint, whole or in shards, by public name; and the file to name when
/// one is wrong or missing.
fn model_tensors(folder: &Path, config: &Config) -> Result<(PathBuf, HashMap<String, Tensor>)> {
    let (whole, index) = (folder.join("model.safetensors"), folder.join("model.safetensors.index.json"));
    let sharded = !whole.exists() && index.exists();
    let (named, files) = match sharded {
        false => (whole.clone(), BTreeSet::from([whole])),
        true => {
            let map = read_json::<Index>(&index, "the index of a sharded checkpoint")?.weight_map;
            if let Some(file) = map.values().find(|file| Path::new(file).components().count() != 1) {
                return Err(CheckpointError::unreadable(&index, "names of files beside it", file));
            }
            let files = map.values().map(|file| folder.join(file)).collect();
            (index, files)
        }
    };
    let mut tensors = HashMap::new();
    for path in files {
        let bytes = fs::read(&path).map_err(CheckpointError::io(&path))?;
        let bad = |e: &dyn Display| CheckpointError::unreadable(&path, "a complete safetensors file", e);
        let file = SafeTensors::deserialize(&bytes).map_err(|e| bad(&e))?;
        for (name, view) in file.iter() {
            // Some checkpoints carry masks beside the weights.
            if matches!(view.dtype(), Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16) {
                let tensor = view.load(&Device::Cpu).map_err(|e| bad(&e))?;
                tensors.insert(config.public_name(name).to_owned(), tensor);
            }
        }
    }
    Ok((named, tensors))
}

/// The configuration of a checkpoint. JSON as Python writes it: `Infinity` is a number there.
fn read_config(path: &Path) -> Result<Config> {
    let text = fs::read_to_string(path).map_err(CheckpointError::io(path))?;
    json5::from_str(&text).map_err(|e| CheckpointError::unreadable(path, "a model configuration", e))
}

/// Reads a model from a checkpoint directory, in float32.
pub fn load_model(folder: &Path) -> Result<Box<dyn LanguageModel>> {
    let config_path = folder.join("config.json");
    let mut config = read_config(&config_path)?;
    let (path, tensors) = model_tensors(folder, &config)?;
    config.complete(&|name| Some(tensors.get(name)?.dims().to_vec()));
    let misfit = |e| CheckpointError::unreadable(&config_path, "dimensions that fit together", e);
    config.check().map_err(misfit)?;
    let params = Params::from_tensors(&config.declare(), DType::F32, |n| tensors.get(n).cloned())
        .map_err(|e| CheckpointError::unreadable(&path, "the tensors that config.json asks for", e))?;
    Ok(config.build(params))
}
