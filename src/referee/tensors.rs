//! Tensors by name from a file of safetensors, and JSON.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;

use super::error::{RefereeError, Result};
use super::graph::Weights;
use super::matrix::Matrix;
use super::number::Number;

/// A tensor as it was saved.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedTensor {
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Values, row after row.
    pub data: Vec<f32>,
}

/// Tensors by name.
pub type TensorSet = BTreeMap<String, SavedTensor>;

/// Reads a file of float32 tensors.
pub fn read_tensors(path: &Path) -> Result<TensorSet> {
    let bytes = fs::read(path).map_err(|e| RefereeError::file(path, "a file of tensors", e))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| RefereeError::file(path, "safetensors", e))?;
    let mut all = TensorSet::new();
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(RefereeError::file(
                path,
                format!("float32 for {name:?}"),
                format!("{:?}", view.dtype()),
            ));
        }
        let (numbers, _) = view.data().as_chunks::<4>();
        let data = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        all.insert(name, SavedTensor { shape: view.shape().to_vec(), data });
    }
    Ok(all)
}

/// Reads a JSON document.
pub fn read_document<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).map_err(|e| RefereeError::file(path, "a JSON document", e))?;
    serde_json::from_str(&text).map_err(|e| RefereeError::file(path, "its keys and values", e))
}

/// As matrices of numbers: a vector is one row, and of more than two dimensions all but the last are rows.
pub fn weights_of<N: Number>(tensors: &TensorSet) -> Weights<N> {
    let matrix = |t: &SavedTensor| {
        let cols = t.shape.last().copied().unwrap_or(1).max(1);
        let data: Vec<N> = t.data.iter().map(|x| N::of(f64::from(*x))).collect();
        let shape_fits = t.data.len().is_multiple_of(cols);
        assert!(shape_fits, "a tensor of {} numbers in rows of {cols}", t.data.len());
        Matrix::new(t.data.len() / cols, cols, data)
    };
    tensors.iter().map(|(name, t)| (name.clone(), matrix(t).into())).collect()
}
