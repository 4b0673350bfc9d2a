//! What a model carries from one call to the next.
//!
//! Invariant: a state holds values only, never gradients, and what it holds is never written again, so a clone is a
//! snapshot.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{CpuStorage, Device, Result, Storage, Tensor, bail};

use crate::device::Compute;
use crate::ops::{KeyValueCache, on_cpu, to_vec_f64};

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
    /// Of a layer whose keys and values have room behind them, the cache that knows it.
    caches: Vec<Option<KeyValueCache>>,
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
        let caches = vec![None; layers.len()];
        Self { batch, position: 0, layers, caches }
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
        changed.caches.fill(None);
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

    /// Keys and values of a layer, which the state then lacks until [`State::set_cache`]; none before the first token.
    pub(crate) fn take_cache(&mut self, layer: usize) -> Result<Option<KeyValueCache>> {
        if self.position == 0 {
            return Ok(None);
        }
        let (known, [k, v]) =
            (self.caches[layer].take(), ["k", "v"].map(|name| self.get(layer, name).cloned()));
        Ok(Some(known.unwrap_or((k?, v?).into())))
    }

    pub(crate) fn set_cache(&mut self, layer: usize, cache: KeyValueCache) -> Result<()> {
        let (k, v) = cache.keys_values.clone();
        if !cache.has_room() {
            return self.set(layer, vec![("k", k), ("v", v)]);
        }
        self.layers[layer] = vec![("k", k), ("v", v)];
        self.caches[layer] = Some(cache);
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
        Ok(Self { position: meta[1] as usize, ..Self::new(meta[0] as usize, layers) })
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

    fn bits(state: &State) -> Vec<u64> {
        let all = state.layers.iter().flatten().flat_map(|(_, t)| to_vec_f64(t).unwrap());
        all.map(f64::to_bits).collect()
    }

    /// Conversations that part from one state, each writing behind what both have read.
    #[test]
    fn a_clone_is_a_snapshot() {
        let model = (MODELS[0].config)(scale::find("smoke").unwrap(), 64, 128).init(1).unwrap();
        let read = |state: &mut State, tokens: &[u32]| {
            for token in tokens {
                model.hidden(&[*token], state).unwrap();
            }
        };
        let first: Vec<u32> = (0..20).collect();
        let mut common = model.new_state(1).unwrap();
        read(&mut common, &first);
        let before = bits(&common);
        let [mut one, mut other] = [common.clone(), common.clone()];
        for token in 30..40 {
            read(&mut one, &[token]);
            read(&mut other, &[token + 10]);
        }
        assert_eq!(bits(&common), before);
        for (state, from) in [(one, 30), (other, 40)] {
            let mut alone = model.new_state(1).unwrap();
            read(&mut alone, &first.iter().copied().chain(from..from + 10).collect::<Vec<_>>());
            assert_eq!(bits(&state), bits(&alone));
        }
    }

    /// A token that is added is written where there is room, into memory that is a part larger.
    #[test]
    fn a_longer_conversation_is_not_copied() {
        let model = (MODELS[0].config)(scale::find("smoke").unwrap(), 64, 1024).init(1).unwrap();
        let mut state = model.new_state(1).unwrap();
        let place = |state: &State| {
            let storage = state.get(0, "k").unwrap().storage_and_layout().0;
            match &*storage {
                Storage::Cpu(CpuStorage::F32(x)) => x.as_ptr(),
                _ => unreachable!("float32 on a CPU"),
            }
        };
        let read: Vec<u32> = (0..800).map(|i| i % 64).collect();
        model.hidden(&read, &mut state).unwrap();
        let mut places = vec![place(&state)];
        for token in 0..200 {
            model.hidden(&[token % 64], &mut state).unwrap();
            places.push(place(&state));
            let kept = 4 * held(state.get(0, "k").unwrap()).unwrap() * 2 * state.n_layer();
            assert!(kept * 8 <= state.bytes() * 9 + state.bytes() / 100, "{kept} of {}", state.bytes());
        }
        places.dedup();
        assert_eq!(places.len(), 3, "800 positions, then memory for 901, then for more");
    }
}
