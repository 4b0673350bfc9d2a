//! Keys and values that attention has made, for the positions that come after.
//!
//! Invariant: positions that were handed out are never written again. A text that goes on token by token is written
//! behind itself, into memory that nobody else can see; where somebody can, because the cache was cloned, it moves.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::attention_blocks::{AttentionShape, extend};
use super::data::{Data, tensor};
use super::stored::dispatch_stored;
use crate::launch::{self, attention::AttentionSizes};

/// Room is kept for an eighth of what was read, and used by what adds no more than that.
const SHARE: usize = 8;
/// Room for at least so many positions.
const LEAST: usize = 64;

/// The keys and values of earlier positions.
///
/// # Shapes
/// - `keys_values`: two of [B, P, d]
#[derive(Clone, Debug)]
pub struct KeyValueCache {
    /// Keys, and values.
    pub keys_values: (Tensor, Tensor),
    /// Where both lie when there is room behind them: [1, C, d] each.
    room: Option<Arc<[Tensor; 2]>>,
}

impl From<(Tensor, Tensor)> for KeyValueCache {
    fn from(keys_values: (Tensor, Tensor)) -> Self {
        Self { keys_values, room: None }
    }
}

impl KeyValueCache {
    /// Whether there is room behind it, of which the tensors are views.
    pub(crate) fn has_room(&self) -> bool {
        self.room.is_some()
    }

    /// Keys and values behind those of `past`; without a past, views of `qkv`.
    pub(super) fn of(
        qkv: &Tensor,
        past: Option<Self>,
        s: AttentionShape,
        on_device: Option<AttentionSizes>,
    ) -> Result<Self> {
        let (batch, width) = (s.batch, s.width);
        let past = match past {
            Some(past) if batch == 1 && s.time * SHARE <= s.past => return past.in_room(qkv, s, on_device),
            other => other.map(|past| past.keys_values),
        };
        let longer = match (past, on_device) {
            (None, None) => (own(qkv, 1, s)?, own(qkv, 2, s)?),
            // In memory of their own at once: one launch, where taking views apart later would be several.
            (None, Some(s)) => launch::attention::append(qkv, &(qkv.clone(), qkv.clone()), s)?,
            (Some(past), Some(s)) => launch::attention::append(qkv, &past, s)?,
            (Some((k, v)), None) => dispatch_stored!(qkv.dtype(), S => {
                let longer = |which: usize, old: Tensor| {
                    let old = old.contiguous()?;
                    let (x, old) = (Data::of(qkv)?, Data::of(&old)?);
                    tensor(extend::<S>(s, x.get()?, old.get()?, which), &[batch, s.keys(), width])
                };
                (longer(1, k)?, longer(2, v)?)
            }),
        };
        Ok(longer.into())
    }

    /// One sequence, written where there is room: behind itself if nobody else has this cache, else in new memory.
    fn in_room(self, qkv: &Tensor, s: AttentionShape, on_device: Option<AttentionSizes>) -> Result<Self> {
        let enough = |t: &Tensor| t.dtype() == qkv.dtype() && t.dims()[1] >= s.keys();
        // A thread that reads a clone holds a lock on this memory, so it must not be waited for.
        let free = self.room.filter(|room| Arc::strong_count(room) == 1 && room.iter().all(enough));
        let room = match free {
            Some(room) => room,
            None => {
                let (k, v) = &self.keys_values;
                Arc::new([with_room(k, qkv, s)?, with_room(v, qkv, s)?])
            }
        };
        match on_device {
            Some(s) => launch::attention::append_in_place(qkv, &room, s)?,
            None => {
                for (i, t) in room.iter().enumerate() {
                    t.slice_set(&own(qkv, i + 1, s)?.contiguous()?, 1, s.past)?;
                }
            }
        }
        let seen = |t: &Tensor| t.narrow(1, 0, s.keys());
        Ok(Self { keys_values: (seen(&room[0])?, seen(&room[1])?), room: Some(room) })
    }
}

/// The keys (1) or values (2) of `qkv`, [B, T, d].
fn own(qkv: &Tensor, which: usize, s: AttentionShape) -> Result<Tensor> {
    qkv.reshape((s.batch, s.time, 3 * s.width))?.narrow(2, which * s.width, s.width)
}

/// Memory for more positions, the first of which are those of `old`.
fn with_room(old: &Tensor, qkv: &Tensor, s: AttentionShape) -> Result<Tensor> {
    let capacity = s.keys() + (s.keys() / SHARE).max(LEAST);
    let all = Tensor::zeros((1, capacity, s.width), qkv.dtype(), qkv.device())?;
    all.slice_set(&old.to_dtype(qkv.dtype())?.contiguous()?, 1, 0)?;
    Ok(all)
}
