//! Reads a model from a directory in the usual hub layout, exactly or not at all.
//!
//! Invariant: every key of `config.json` and every tensor of the files is used, is known to change nothing, or is
//! named in the error; and no size is believed beyond what the files hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::safetensors::Load;
use candle_core::{DType, Device};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::Deserialize;

use super::checkpoint::{CheckpointError, read_json};
use crate::models::{Config, ConfigFile, LanguageModel, Params};

type Result<T> = std::result::Result<T, CheckpointError>;

/// What the index of a sharded checkpoint says: which file holds which tensor.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The bytes of a checkpoint's tensor files.
struct Files {
    /// The file to name when a tensor is wrong or missing.
    named: PathBuf,
    parts: Vec<(PathBuf, Vec<u8>)>,
}

impl Files {
    fn read(folder: &Path) -> Result<Self> {
        let (whole, index) = (folder.join("model.safetensors"), folder.join("model.safetensors.index.json"));
        let sharded = !whole.exists() && index.exists();
        let (named, paths) = match sharded {
            false => (whole.clone(), BTreeSet::from([whole])),
            true => {
                let map = read_json::<Index>(&index, "the index of a sharded checkpoint")?.weight_map;
                if let Some(file) = map.values().find(|file| Path::new(file).components().count() != 1) {
                    return Err(CheckpointError::unreadable(&index, "names of files beside it", file));
                }
                let paths = map.values().map(|file| folder.join(file)).collect();
                (index, paths)
            }
        };
        let read = |path: PathBuf| {
            let bytes = fs::read(&path).map_err(CheckpointError::io(&path))?;
            Ok((path, bytes))
        };
        Ok(Self { named, parts: paths.into_iter().map(read).collect::<Result<_>>()? })
    }

    /// The tensors under the names that the architecture declares.
    fn tensors(&self, config: &Config) -> Result<Tensors<'_>> {
        let mut all = BTreeMap::new();
        for (path, bytes) in &self.parts {
            let bad = |e: &dyn Display| CheckpointError::unreadable(path, "a complete safetensors file", e);
            let file = SafeTensors::deserialize(bytes).map_err(|e| bad(&e))?;
            for (name, view) in file.tensors() {
                let public = config.public_name(&name).to_owned();
                if all.insert(public, view).is_some() {
                    return Err(CheckpointError::unreadable(
                        path,
                        "every tensor once",
                        format!("{name:?} again"),
                    ));
                }
            }
        }
        Ok(Tensors { named: &self.named, all })
    }
}

/// The tensors of a checkpoint, where they lie in its files.
struct Tensors<'a> {
    named: &'a Path,
    all: BTreeMap<String, TensorView<'a>>,
}

impl Tensors<'_> {
    fn error(&self, expected: &'static str, got: impl ToString) -> CheckpointError {
        CheckpointError::unreadable(self.named, expected, got)
    }

    /// The largest extent of any of them.
    fn extent(&self) -> usize {
        self.all.values().flat_map(|t| t.shape().iter().copied()).max().unwrap_or(0)
    }

    /// The parameters that the configuration declares, in float32; every tensor is one of them, or changes nothing.
    fn params(&self, config: &Config) -> Result<Params> {
        const EXPECTED: &str = "the tensors that config.json asks for";
        let declared = config.declare();
        let known: BTreeSet<&str> = declared.iter().map(|d| d.name.as_str()).collect();
        for name in &known {
            if let Some(t) = self.all.get(*name).filter(|t| !is_float(t.dtype())) {
                let got = format!("tensor {name:?} has type {:?}, expected F32, F16, BF16 or F64", t.dtype());
                return Err(self.error(EXPECTED, got));
            }
        }
        let tied = self.tied_duplicate(config)?;
        let left = |name: &&str| !known.contains(name) && tied != Some(*name) && !config.is_buffer(name);
        let left: Vec<&str> = self.all.keys().map(String::as_str).filter(left).collect();
        let mut broken = None;
        let params = Params::from_tensors(&declared, DType::F32, |name| {
            let loaded = self.all.get(name)?.load(&Device::Cpu);
            loaded.map_err(|e| broken = Some(e)).ok()
        });
        let params = params.map_err(|e| self.error(EXPECTED, broken.unwrap_or(e)))?;
        match left.is_empty() {
            true => Ok(params),
            false => Err(self.error(EXPECTED, left_over(&left))),
        }
    }

    /// A second copy of the embedding as the head that is tied to it. Where it is another matrix, one version of
    /// transformers (4.57) takes the embedding, and another (5.24) takes it.
    fn tied_duplicate(&self, config: &Config) -> Result<Option<&'static str>> {
        let Some((head, embedding)) = config.tied() else { return Ok(None) };
        let (Some(second), Some(first)) = (self.all.get(head), self.all.get(embedding)) else {
            return Ok(None);
        };
        match (second.dtype(), second.shape(), second.data()) == (first.dtype(), first.shape(), first.data())
        {
            true => Ok(Some(head)),
            false => Err(self.error(
                "one matrix as embedding and head (tie_word_embeddings)",
                format!("a tensor {head:?} that differs from {embedding:?}"),
            )),
        }
    }
}

/// Some of the tensors that have no place in a model.
fn left_over(names: &[&str]) -> String {
    const SHOWN: usize = 6;
    let some = names.iter().take(SHOWN).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(SHOWN);
    match more {
        0 => format!("tensors left over: {some}"),
        _ => format!("tensors left over: {some} and {more} more"),
    }
}

fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// Reads a model from a checkpoint directory, in float32.
pub fn load_model(folder: &Path) -> Result<Box<dyn LanguageModel>> {
    let path = folder.join("config.json");
    let text = fs::read_to_string(&path).map_err(CheckpointError::io(&path))?;
    let file = ConfigFile::parse(&text)
        .map_err(|e| CheckpointError::unreadable(&path, "a model configuration", e))?;
    let files = Files::read(folder)?;
    let mut config = file.config.clone();
    let tensors = files.tensors(&config)?;
    let misfit = |e| CheckpointError::unreadable(&path, "a model configuration", e);
    file.check_sizes(tensors.all.len(), tensors.extent()).map_err(misfit)?;
    config.complete(&|name| Some(tensors.all.get(name)?.shape().to_vec()));
    config.check().map_err(misfit)?;
    let params = tensors.params(&config)?;
    Ok(config.build(params))
}
