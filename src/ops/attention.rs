//! Causal self-attention (Vaswani et al. 2017, eq. 1, with a causal mask), over a cache.
//!
//! | symbol | shape | |
//! |---|---|---|
//! | qkv | [B·T, 3·d] | queries, keys and values side by side |
//! | past | 2 × [B, P, d] | keys and values of earlier positions; no gradient flows there |
//! | y | [B·T, d] | softmax(q kᵀ / √(d/H)) v, head by head |
//!
//! Queries are taken in blocks, so no T × T matrix is kept (Dao et al. 2022). What is kept for the
//! backward pass is y and, for every query and head, ℓ = ln Σ exp(scores): there p = exp(scores − ℓ) in
//! one pass, and the gradient of the scores is p·(dp − dy·y).

use candle_core::{D, DType, Result, Tensor, bail};

use super::attention_blocks::{AttentionShape, backward, forward, with_inputs};
use super::attention_brief as in_brief;
use super::attention_cache::KeyValueCache;
use super::case::like;
use super::data::{Data, is_brief, tensor};
use super::{Case, Tape, Var, dispatch_dtype};
use crate::launch;

/// Checks that rows, columns, batch, heads and past fit together.
fn shape(
    qkv: &Tensor,
    batch: usize,
    heads: usize,
    past: Option<&(Tensor, Tensor)>,
) -> Result<AttentionShape> {
    let (rows, wide) = qkv.dims2()?;
    let width = wide / 3;
    let whole = |n: usize, part: usize| n > 0 && part > 0 && n.is_multiple_of(part);
    if !(whole(width, heads) && whole(rows, batch) && wide == 3 * width) {
        bail!("attention: {rows} rows of {wide} columns, batch {batch}, {heads} heads");
    }
    let past_len = past.map_or(Ok(0), |(k, _)| k.dim(1))?;
    if let Some((k, v)) = past
        && [k, v].into_iter().any(|t| t.dims() != [batch, past_len, width])
    {
        bail!("attention: a past of {:?} and {:?}, batch {batch}, width {width}", k.dims(), v.dims());
    }
    Ok(AttentionShape { batch, time: rows / batch, past: past_len, width, heads })
}

/// Attends from every position to itself and everything before it, the cache included.
///
/// # Shapes
/// - `qkv`: [B·T, 3·d], queries, keys and values side by side, each of `heads` heads
/// - `past`: keys and values of P earlier positions, [B, P, d] each
/// - result: y [B·T, d], and the cache of [B, P + T, d] each (without a past, views of `qkv`, which therefore lives
///   until the next call; where a single sequence goes on by little, views of memory with room for more)
pub fn causal_attention(
    tape: &Tape,
    qkv: &Var,
    batch: usize,
    heads: usize,
    past: Option<KeyValueCache>,
) -> Result<(Var, KeyValueCache)> {
    let s = shape(qkv.tensor(), batch, heads, past.as_ref().map(|past| &past.keys_values))?;
    let (rows, columns, width) = (batch * s.time, 3 * s.width, s.width);
    let dtype = qkv.tensor().dtype();
    let on_device = launch::runs_on_kernels(qkv.tensor()).then_some(launch::attention::AttentionSizes {
        batch,
        heads,
        size: s.head(),
        time: s.time,
        past: s.past,
    });
    let has_past = past.is_some();
    let cache = KeyValueCache::of(qkv.tensor(), past, s, on_device)?;
    let longer = has_past.then(|| cache.keys_values.clone());
    let brief = is_brief(qkv.tensor());
    let (y, log_sums) = match on_device {
        Some(s) => launch::attention::forward(qkv.tensor(), longer.as_ref(), s)?,
        None if brief => {
            let (y, log_sums) = with_inputs(s, qkv.tensor(), longer.as_ref(), in_brief::forward)?;
            (tensor(y, &[rows, width])?, tensor(log_sums, &[rows, heads])?)
        }
        None => dispatch_dtype!(dtype, T => {
            let (y, log_sums) = with_inputs::<T, _>(s, qkv.tensor(), longer.as_ref(), forward)?;
            (tensor(y, &[rows, width])?, tensor(log_sums, &[rows, heads])?)
        }),
    };
    if !tape.requires_grad(&[qkv]) {
        return Ok((Var::constant(y), cache));
    }
    let (slot, qkv, kept) = (qkv.slot(), qkv.tensor().clone(), y.clone());
    let y = tape.record_one(y, move |dy, sink| {
        if let Some(s) = on_device {
            let outer = [&kept, &log_sums, &dy];
            return sink.add(slot, launch::attention::backward(&qkv, longer.as_ref(), outer, s)?);
        }
        if brief {
            let (y, l, dy) = (Data::of(&kept)?, Data::of(&log_sums)?, Data::of(&dy)?);
            let (y, l, dy) = (y.get()?, l.get()?, dy.get()?);
            let d = with_inputs(s, &qkv, longer.as_ref(), |x| in_brief::backward(x, y, l, dy))?;
            return sink.add(slot, tensor(d, &[rows, columns])?);
        }
        let dqkv = dispatch_dtype!(dtype, T => {
            let (y, l, dy) = (Data::of(&kept)?, Data::of(&log_sums)?, Data::of(&dy)?);
            let (y, l, dy) = (y.get::<T>()?, l.get()?, dy.get()?);
            let d = with_inputs::<T, _>(s, &qkv, longer.as_ref(), |x| backward(x, y, l, dy))?;
            tensor(d, &[rows, columns])?
        });
        sink.add(slot, dqkv)
    });
    Ok((y, cache))
}

/// The slow obvious attention: the whole T × T matrix, in candle's differentiable functions.
fn reference(qkv: &Tensor, b: usize, h: usize, past: Option<&(Tensor, Tensor)>) -> Result<Tensor> {
    let (rows, wide) = qkv.dims2()?;
    let (t, d) = (rows / b, wide / 3);
    let part = |i: usize| qkv.narrow(1, i * d, d)?.reshape((b, t, d));
    let (mut k, mut v) = (part(1)?, part(2)?);
    if let Some((pk, pv)) = past {
        k = Tensor::cat(&[pk, &k], 1)?;
        v = Tensor::cat(&[pv, &v], 1)?;
    }
    let n = k.dim(1)?;
    let heads = |x: &Tensor| x.reshape((b, x.dim(1)?, h, d / h))?.transpose(1, 2)?.contiguous();
    let (q, k, v) = (heads(&part(0)?)?, heads(&k)?, heads(&v)?);
    let scores = (q.matmul(&k.transpose(2, 3)?.contiguous()?)? / ((d / h) as f64).sqrt())?;
    let mask: Vec<f64> =
        (0..t * n).map(|i| if i % n > n - t + i / n { f64::NEG_INFINITY } else { 0.0 }).collect();
    let mask = Tensor::from_vec(mask, (1, 1, t, n), qkv.device())?.to_dtype(DType::F64)?;
    let p = candle_nn::ops::softmax(&scores.broadcast_add(&mask)?, D::Minus1)?;
    p.matmul(&v)?.transpose(1, 2)?.reshape((rows, d))
}

pub(super) fn cases(normal: &mut super::Normal<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    let odd = [(1, 1, 1, 3, 0), (2, 7, 3, 12, 0), (1, 70, 2, 8, 0), (2, 5, 2, 6, 4), (1, 67, 1, 5, 3)];
    // Heads of 32 and 64; more than a tile of queries or keys; few queries and many keys.
    let usual = [
        (1, 131, 2, 128, 0),
        (2, 129, 1, 32, 0),
        (1, 66, 2, 64, 65),
        (1, 1, 2, 128, 260),
        (2, 3, 1, 64, 126),
    ];
    // Heads padded to 64 and to 128.
    let padded = [(1, 65, 1, 48, 0), (1, 66, 1, 96, 7)];
    for (b, t, h, d, p) in odd.into_iter().chain(usual).chain(padded) {
        let past = (p > 0).then(|| (normal(&[b, p, d]), normal(&[b, p, d])));
        let again = past.clone();
        cases.push(Case::new(
            format!("B{b} T{t} H{h} d{d} past {p}"),
            vec![normal(&[b * t, 3 * d])],
            move |tape, v| {
                let past = past
                    .as_ref()
                    .map(|(k, w)| Ok::<_, candle_core::Error>((like(k, &v[0])?, like(w, &v[0])?)));
                let past = past.transpose()?.map(KeyValueCache::from);
                Ok(vec![causal_attention(tape, &v[0], b, h, past)?.0])
            },
            move |x| Ok(vec![reference(&x[0], b, h, again.as_ref())?]),
        ));
    }
    cases
}
