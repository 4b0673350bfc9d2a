//! What a model carries from one call to the next.
//!
//! Invariant: a state holds values only, never gradients, and is never written in place, so a
//! clone is a snapshot.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{CpuStorage, Device, Result, Storage, Tensor, bail};

use crate::device::Compute;
use crate::ops::{on_cpu, to_vec_f64};

/// The recurrent state of every layer, or the cache of keys and values.
///
/// # Shapes
/// For B sequences, named by layer:
/// - GPT-2: `k`, `v` [B, P, d] of P positions
/// - RWKV-6: `rwkv.shift`, `rwkv.shift_ffn` [B, d], `rwkv.wkv` [B, H, N, N]
/// - Mamba-2: `mamba.conv` [B, K−1, C], `mamba.ssm` [B, H, N, P]
/// - GroundThink: those of its two branches
#[derive(Clone, Debug)]
pub struct State {
    batch: usize,
    position: usize,
    layers: Vec<Vec<(&'static str, Tensor)>>,
}

/// Every name that a layer's state may have; loading knows no other.
const NAMES: &[&str] = &["k", "v", "rwkv.shift", "rwkv.wkv", "rwkv.shift_ffn", "mamba.conv", "mamba.ssm"];

/// The same values in memory of their own: a view would keep all that it looks at, the activations of a whole
/// chunk of text.
fn alone(t: Tensor) -> Result<Tensor> {
    if !t.is_contiguous() {
        return t.contiguous();
    }
    match held(&t) {
        Some(held) if held > t.elem_count() => t.force_contiguous(),
        _ => Ok(t),
    }
}

/// Elements of the memory that a tensor keeps.
fn held(t: &Tensor) -> Option<usize> {
    match &*t.storage_and_layout().0 {
        Storage::Cpu(CpuStorage::F32(x)) => Some(x.len()),
        Storage::Cpu(CpuStorage::F64(x)) => Some(x.len()),
        Storage::Cpu(CpuStorage::BF16(x)) => Some(x.len()),
        #[cfg(feature = "cuda")]
        Storage::Cuda(cuda) => cuda_len(cuda),
        _ => None,
    }
}

#[cfg(feature = "cuda")]
fn cuda_len(storage: &candle_core::CudaStorage) -> Option<usize> {
    use candle_core::cuda_backend::CudaStorageSlice as Slice;
    match &storage.slice {
        Slice::F32(x) => Some(x.len()),
        Slice::BF16(x) => Some(x.len()),
        _ => None,
    }
}

impl State {
    /// A state of given tensors, before any token.
    ///
    /// # Shapes
    /// - `layers`: see [`State`], with B = `batch`
    pub fn new(batch: usize, layers: Vec<Vec<(&'static str, Tensor)>>) -> Self {
        Self { batch, position: 0, layers }
    }

    /// Sequences in the state.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Tokens read so far, per sequence.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The number of layers.
    pub fn n_layer(&self) -> usize {
        self.layers.len()
    }

    /// The named tensors of a layer.
    ///
    /// # Shapes
    /// - result: see [`State`]
    pub fn layer(&self, i: usize) -> &[(&'static str, Tensor)] {
        &self.layers[i]
    }

    /// One tensor of a layer.
    ///
    /// # Shapes
    /// - result: see [`State`]
    pub fn get(&self, layer: usize, name: &str) -> Result<&Tensor> {
        match self.layers[layer].iter().find(|(n, _)| *n == name) {
            Some((_, t)) => Ok(t),
            None => bail!("layer {layer} has no state {name:?}"),
        }
    }

    /// The same place in the text with every tensor changed: what is lost between two calls is planted so.
    ///
    /// # Shapes
    /// - result: as many layers and names
    pub fn map(&self, mut change: impl FnMut(&str, &Tensor) -> Result<Tensor>) -> Result<Self> {
        let mut changed = self.clone();
        for (name, t) in changed.layers.iter_mut().flatten() {
            *t = change(name, t)?;
        }
        Ok(changed)
    }

    pub(crate) fn set(&mut self, layer: usize, tensors: Vec<(&'static str, Tensor)>) -> Result<()> {
        let alone = |(name, t)| Ok((name, alone(t)?));
        self.layers[layer] = tensors.into_iter().map(alone).collect::<Result<_>>()?;
        Ok(())
    }

    pub(crate) fn advance(&mut self, tokens: usize) {
        self.position += tokens;
    }

    /// Bytes held, for all sequences.
    pub fn bytes(&self) -> usize {
        let size = |t: &Tensor| t.elem_count() * t.dtype().size_in_bytes();
        self.layers.iter().flatten().map(|(_, t)| size(t)).sum()
    }

    /// Whether both hold the same bits.
    pub fn same(&self, other: &Self) -> Result<bool> {
        if self.position != other.position || self.layers.len() != other.layers.len() {
            return Ok(false);
        }
        for ((an, a), (bn, b)) in self.layers.iter().flatten().zip(other.layers.iter().flatten()) {
            let bits = |t: &Tensor| -> Result<Vec<u64>> {
                Ok(to_vec_f64(t)?.into_iter().map(f64::to_bits).collect())
            };
            if an != bn || a.dims() != b.dims() || bits(a)? != bits(b)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes the state as safetensors.
    pub fn save(&self, path: &Path) -> Result<()> {
        let meta = Tensor::new(&[self.batch as i64, self.position as i64], &Device::Cpu)?;
        let mut all = HashMap::from([("meta".to_owned(), meta)]);
        for (i, layer) in self.layers.iter().enumerate() {
            for (name, t) in layer {
                all.insert(format!("layers.{i}.{name}"), on_cpu(t)?.contiguous()?);
            }
        }
        candle_core::safetensors::save(&all, path)
    }

    /// Reads a state that [`State::save`] wrote.
    pub fn load(path: &Path, on: &Compute) -> Result<Self> {
        let all = candle_core::safetensors::load(path, &Device::Cpu)?;
        let Some(meta) = all.get("meta") else { bail!("{}: not a state", path.display()) };
        let meta = meta.to_vec1::<i64>()?;
        let mut layers = Vec::new();
        loop {
            let named = |n: &&'static str| {
                let t = all.get(&format!("layers.{}.{n}", layers.len()))?;
                Some(t.to_device(on.device()).map(|t| (*n, t)))
            };
            let layer = NAMES.iter().filter_map(named).collect::<Result<Vec<_>>>()?;
            if layer.is_empty() {
                break;
            }
            layers.push(layer);
        }
        Ok(Self { batch: meta[0] as usize, position: meta[1] as usize, layers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::MODELS;
    use crate::random::Random;
    use crate::scale;

    /// Otherwise the bytes of a state would say nothing about the memory that a conversation takes.
    #[test]
    fn a_state_keeps_no_more_than_its_bytes() {
        let scale = scale::find("smoke").unwrap();
        let mut random = Random::new(1, 1);
        let tokens: Vec<u32> = (0..64).map(|_| random.below(64) as u32).collect();
        for spec in MODELS {
            let model = (spec.config)(scale, 64, 64).init(1).unwrap();
            let mut state = model.new_state(2).unwrap();
            for _ in 0..2 {
                model.hidden(&tokens, &mut state).unwrap();
                let all = state.layers.iter().flatten();
                let kept: usize = all.map(|(_, t)| 4 * held(t).unwrap()).sum();
                assert_eq!(kept, state.bytes(), "{}", spec.name);
            }
        }
    }
}
