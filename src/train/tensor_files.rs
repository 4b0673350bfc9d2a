//! The files in which a checkpoint's tensors lie: one or several, of safetensors or of `torch.save`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde::Deserialize;

use super::checkpoint::{CheckpointError, read_json};
use super::torch_file::{self, StoredTensor, is_torch_file};

type Result<T> = std::result::Result<T, CheckpointError>;

/// What the index of a sharded checkpoint says: which file holds which tensor.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The bytes of a checkpoint's tensor files.
pub(super) struct TensorFiles {
    /// The file to name when a tensor is wrong or missing.
    named: PathBuf,
    parts: Vec<(PathBuf, Vec<u8>)>,
}

impl TensorFiles {
    /// Reads the first of transformers' choices that a folder has, or the one `.pth` in it.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let (named, paths) = find(folder)?;
        let read = |path: PathBuf| {
            let bytes = fs::read(&path).map_err(CheckpointError::io(&path))?;
            Ok((path, bytes))
        };
        Ok(Self { named, parts: paths.into_iter().map(read).collect::<Result<_>>()? })
    }

    /// The file to name when a tensor is wrong or missing.
    pub(super) fn named(&self) -> &Path {
        &self.named
    }

    /// Whether this is the file of RWKV's authors, who publish no configuration beside it.
    pub(super) fn is_pth(&self) -> bool {
        self.named.extension().is_some_and(|extension| extension == "pth")
    }

    /// All tensors under their own names, each of which occurs once.
    pub(super) fn tensors(&self) -> Result<BTreeMap<String, StoredTensor<'_>>> {
        let mut all = BTreeMap::new();
        for (path, bytes) in &self.parts {
            let tensors = match is_torch_file(bytes) {
                true => torch_file::read(bytes)
                    .map_err(|e| CheckpointError::unreadable(path, "tensors as torch.save writes them", e))?,
                false => safetensors(bytes)
                    .map_err(|e| CheckpointError::unreadable(path, "a complete safetensors file", e))?,
            };
            for (name, tensor) in tensors {
                let again = format!("{name:?} again");
                if all.insert(name, tensor).is_some() {
                    return Err(CheckpointError::unreadable(path, "every tensor once", again));
                }
            }
        }
        Ok(all)
    }
}

fn safetensors(
    bytes: &[u8],
) -> std::result::Result<BTreeMap<String, StoredTensor<'_>>, safetensors::SafeTensorError> {
    let mut all = BTreeMap::new();
    for (name, view) in SafeTensors::deserialize(bytes)?.tensors() {
        let (dtype, shape, bytes) = (view.dtype(), view.shape().to_vec(), Cow::Borrowed(view.data()));
        all.insert(name, StoredTensor { dtype, shape, bytes });
    }
    Ok(all)
}

/// The file to name, and those to read.
fn find(folder: &Path) -> Result<(PathBuf, BTreeSet<PathBuf>)> {
    for name in ["model.safetensors", "pytorch_model.bin"] {
        let (whole, index) = (folder.join(name), folder.join(format!("{name}.index.json")));
        if whole.exists() {
            return Ok((whole.clone(), BTreeSet::from([whole])));
        }
        if index.exists() {
            let map = read_json::<Index>(&index, "the index of a sharded checkpoint")?.weight_map;
            if let Some(file) = map.values().find(|file| Path::new(file).components().count() != 1) {
                return Err(CheckpointError::unreadable(&index, "names of files beside it", file));
            }
            let paths = map.values().map(|file| folder.join(file)).collect();
            return Ok((index, paths));
        }
    }
    let mut pth = Vec::new();
    for entry in fs::read_dir(folder).map_err(CheckpointError::io(folder))? {
        let path = entry.map_err(CheckpointError::io(folder))?.path();
        pth.extend(path.extension().is_some_and(|extension| extension == "pth").then_some(path));
    }
    match <[PathBuf; 1]>::try_from(pth) {
        Ok([path]) => Ok((path.clone(), BTreeSet::from([path]))),
        Err(none) if none.is_empty() => {
            let missing = folder.join("model.safetensors");
            let bytes = fs::read(&missing).map_err(CheckpointError::io(&missing))?;
            Err(CheckpointError::unreadable(&missing, "a file that was there before", bytes.len()))
        }
        Err(several) => Err(CheckpointError::unreadable(
            folder,
            "one file of tensors",
            format!("{} .pth files", several.len()),
        )),
    }
}
