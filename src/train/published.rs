//! Reads a model from a directory in the usual hub layout, exactly or not at all.
//!
//! Invariant: every key of `config.json` and every tensor of the files is used, is known to change nothing, or is
//! named in the error; and no size is believed beyond what the files hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use candle_core::safetensors::Load;
use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, tensor::TensorView};

use super::checkpoint::CheckpointError;
use super::tensor_files::TensorFiles;
use super::torch_file::StoredTensor;
use crate::models::{Config, ConfigFile, LanguageModel, Params, Rwkv6Config, foreign_layout};

type Result<T> = std::result::Result<T, CheckpointError>;

/// The tensors of a checkpoint, under the names that the architecture declares.
struct Tensors<'a> {
    named: &'a Path,
    /// Which they are to be.
    expected: &'static str,
    all: BTreeMap<String, StoredTensor<'a>>,
}

impl<'a> Tensors<'a> {
    fn of(
        files: &'a TensorFiles,
        own: BTreeMap<String, StoredTensor<'a>>,
        config: &Config,
        expected: &'static str,
    ) -> Result<Self> {
        let mut all = BTreeMap::new();
        for (name, tensor) in own {
            if all.insert(config.public_name(&name).to_owned(), tensor).is_some() {
                let again = format!("{name:?} again");
                return Err(CheckpointError::unreadable(files.named(), "every tensor once", again));
            }
        }
        Ok(Self { named: files.named(), expected, all })
    }

    fn error(&self, expected: &'static str, got: impl ToString) -> CheckpointError {
        CheckpointError::unreadable(self.named, expected, got)
    }

    /// The largest extent of any that has elements.
    fn extent(&self) -> usize {
        let full = self.all.values().filter(|t| !t.bytes.is_empty());
        full.flat_map(|t| t.shape.iter().copied()).max().unwrap_or(0)
    }

    /// The parameters that the configuration declares, in float32; every tensor is one of them, or changes nothing.
    fn params(&self, config: &Config) -> Result<Params> {
        let declared = config.declare();
        let known: BTreeSet<&str> = declared.iter().map(|d| d.name.as_str()).collect();
        for name in &known {
            if let Some(t) = self.all.get(*name).filter(|t| !is_float(t.dtype)) {
                let got = format!("tensor {name:?} has type {:?}, expected F32, F16, BF16 or F64", t.dtype);
                return Err(self.error(self.expected, got));
            }
        }
        let tied = self.tied_duplicate(config)?;
        let left = |name: &&str| !known.contains(name) && tied != Some(*name) && !config.is_buffer(name);
        let left: Vec<&str> = self.all.keys().map(String::as_str).filter(left).collect();
        let mut broken = None;
        let params = Params::from_tensors(&declared, DType::F32, |name| {
            let loaded = load(self.all.get(name)?);
            loaded.map_err(|e| broken = Some(e)).ok()
        });
        let params = params.map_err(|e| self.error(self.expected, broken.unwrap_or(e)))?;
        match left.is_empty() {
            true => Ok(params),
            false => Err(self.error(self.expected, left_over(&left))),
        }
    }

    /// Refuses tensors that transformers would round as it loads them, and other programs would not.
    fn check_rounding(&self, file: &ConfigFile) -> candle_core::Result<()> {
        let Some((key, short)) = file.rounding() else { return Ok(()) };
        let kept = if short == "float16" { Dtype::F16 } else { Dtype::BF16 };
        let rounded = |(_, t): &(&String, &StoredTensor<'_>)| is_float(t.dtype) && t.dtype != kept;
        match self.all.iter().find(rounded) {
            Some((name, t)) => {
                candle_core::bail!("{key} {short:?} beside tensor {name:?} of type {:?}", t.dtype)
            }
            None => Ok(()),
        }
    }

    /// A second copy of the embedding as the head that is tied to it. Where it is another matrix, one version of
    /// transformers (4.57) takes the embedding, and another (5.24) takes it.
    fn tied_duplicate(&self, config: &Config) -> Result<Option<&'static str>> {
        let Some((head, embedding)) = config.tied() else { return Ok(None) };
        let (Some(second), Some(first)) = (self.all.get(head), self.all.get(embedding)) else {
            return Ok(None);
        };
        match (second.dtype, &second.shape, &second.bytes) == (first.dtype, &first.shape, &first.bytes) {
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

/// The shape of a tensor that has elements: a size that stands beside a zero is nothing to believe.
fn dims(all: &BTreeMap<String, StoredTensor<'_>>, name: &str) -> Option<Vec<usize>> {
    all.get(name).filter(|tensor| !tensor.bytes.is_empty()).map(|tensor| tensor.shape.clone())
}

fn load(tensor: &StoredTensor<'_>) -> candle_core::Result<Tensor> {
    TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes)?.load(&Device::Cpu)
}

/// Reads a model from a checkpoint directory, in float32.
pub fn load_model(folder: &Path) -> Result<Box<dyn LanguageModel>> {
    let path = folder.join("config.json");
    let expected = "a model configuration";
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        read => Some(read.map_err(CheckpointError::io(&path))?),
    };
    let file = text.map(|text| ConfigFile::parse(&text)).transpose();
    let file = file.map_err(|e| CheckpointError::unreadable(&path, expected, e))?;
    let files = TensorFiles::read(folder)?;
    let own = files.tensors()?;
    if let Some(layout) = foreign_layout(own.keys().map(String::as_str)) {
        return Err(CheckpointError::unreadable(files.named(), "a layout that can be read", layout));
    }
    let (mut config, source, asked) = match &file {
        Some(file) => (file.config.clone(), &*path, "the tensors that config.json asks for"),
        None if files.is_pth() => {
            let config = Rwkv6Config::of_tensors(&|name| dims(&own, name));
            let config =
                config.map_err(|e| CheckpointError::unreadable(files.named(), "RWKV-6 of the authors", e))?;
            (Config::Rwkv6(config), files.named(), "the tensors of RWKV-6 as its authors save it")
        }
        None => return Err(CheckpointError::io(&path)(ErrorKind::NotFound.into())),
    };
    let misfit = |e| CheckpointError::unreadable(source, expected, e);
    let tensors = Tensors::of(&files, own, &config, asked)?;
    if let Some(file) = &file {
        file.check_sizes(tensors.all.len(), tensors.extent()).map_err(misfit)?;
        tensors.check_rounding(file).map_err(misfit)?;
    }
    config.complete(&|name| dims(&tensors.all, name));
    config.check().map_err(misfit)?;
    let params = tensors.params(&config)?;
    Ok(config.build(params))
}
