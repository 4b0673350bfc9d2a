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

use std::ops::Range;

use candle_core::{D, DType, Result, Tensor, bail};
use rayon::prelude::*;

use super::case::like;
use super::data::{Data, ROWS, tensor};
use super::linear::{Mat, Threads, append_product, matmul};
use super::real::{dot, exponentials, largest};
use super::{Case, Real, Tape, Var, real, simd};
use crate::launch;

/// Queries per block.
const QUERIES: usize = 64;

#[derive(Clone, Copy)]
struct Shape {
    batch: usize,
    time: usize,
    past: usize,
    width: usize,
    heads: usize,
}

impl Shape {
    fn head(&self) -> usize {
        self.width / self.heads
    }
    fn keys(&self) -> usize {
        self.past + self.time
    }
    fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let time = self.time;
        (0..time).step_by(QUERIES).map(move |q| q..(q + QUERIES).min(time))
    }
    fn scale<T: Real>(&self) -> T {
        T::one() / T::of(self.head() as f64).sqrt()
    }
}

/// Queries, keys and values where they lie: without a past all three in qkv.
#[derive(Clone, Copy)]
struct Inputs<'a, T> {
    s: Shape,
    qkv: &'a [T],
    past: Option<[&'a [T]; 2]>,
}

impl<'a, T: Real> Inputs<'a, T> {
    fn head(&self, b: usize, h: usize) -> Head<'a, T> {
        let (s, column) = (self.s, h * self.s.head());
        let own = &self.qkv[b * s.time * 3 * s.width + column..];
        let (k, v, stride) = match self.past {
            None => (&own[s.width..], &own[2 * s.width..], 3 * s.width),
            Some([k, v]) => {
                let start = b * s.keys() * s.width + column;
                (&k[start..], &v[start..], s.width)
            }
        };
        Head { s, q: own, k, v, stride }
    }
}

/// One head of one sequence.
struct Head<'a, T> {
    s: Shape,
    q: &'a [T],
    k: &'a [T],
    v: &'a [T],
    /// From one key or value to the next.
    stride: usize,
}

impl<'a, T: Real> Head<'a, T> {
    fn queries(&self, rows: &Range<usize>) -> Mat<'a, T> {
        let stride = 3 * self.s.width;
        Mat::strided(&self.q[rows.start * stride..], rows.len(), self.s.head(), stride)
    }

    fn keys(&self, n: usize) -> Mat<'a, T> {
        Mat::strided(self.k, n, self.s.head(), self.stride)
    }

    fn values(&self, n: usize) -> Mat<'a, T> {
        Mat::strided(self.v, n, self.s.head(), self.stride)
    }

    /// Keys that a block of queries sees, at most.
    fn seen(&self, rows: &Range<usize>) -> usize {
        self.s.past + rows.end
    }

    /// Scores of a block of queries, keys going down: [seen, rows].
    fn scores(&self, rows: &Range<usize>, z: &mut Vec<T>) {
        z.clear();
        let queries = self.queries(rows).t();
        append_product(self.keys(self.seen(rows)), queries, z, self.s.scale(), Threads::This);
    }

    /// Puts `value` where a key lies after its query.
    #[inline(always)]
    fn mask(&self, rows: &Range<usize>, z: &mut [T], value: T) {
        let n = rows.len();
        for (i, z) in z.chunks_exact_mut(n).skip(self.s.past + rows.start).enumerate() {
            z[..i].fill(value);
        }
    }
}

/// Turns scores [seen, rows] into exp(score − max) in every column; returns the largest and the sum of each.
/// NaN scores give NaN sums.
#[inline(always)]
fn soften<T: Real>(z: &mut [T], rows: usize) -> ([T; QUERIES], [T; QUERIES]) {
    let (mut max, mut sum) = ([T::neg_infinity(); QUERIES], [T::zero(); QUERIES]);
    if rows == 1 {
        max[0] = largest(z);
        sum[0] = exponentials(z, max[0]);
        return (max, sum);
    }
    for z in z.chunks_exact(rows) {
        z.iter().zip(&mut max).for_each(|(z, max)| *max = if *z > *max { *z } else { *max });
    }
    for z in z.chunks_exact_mut(rows) {
        for ((z, max), sum) in z.iter_mut().zip(&max).zip(&mut sum) {
            *z = (*z - *max).fast_exp();
            *sum += *z;
        }
    }
    (max, sum)
}

/// Keys or values (`which` 1 or 2) of past and present: [B, P+T, d].
fn extend<T: Real>(s: Shape, qkv: &[T], old: &[T], which: usize) -> Vec<T> {
    let mut all = Vec::with_capacity(s.batch * s.keys() * s.width);
    for b in 0..s.batch {
        let size = s.past * s.width;
        all.extend_from_slice(&old[b * size..(b + 1) * size]);
        for t in 0..s.time {
            let start = (b * s.time + t) * 3 * s.width + which * s.width;
            all.extend_from_slice(&qkv[start..start + s.width]);
        }
    }
    all
}

/// y [B·T, d], and ℓ [B·T, H].
fn forward<T: Real>(x: &Inputs<'_, T>) -> (Vec<T>, Vec<T>) {
    let (s, size) = (x.s, x.s.head());
    let mut y = vec![T::zero(); s.batch * s.time * s.width];
    let mut log_sums = vec![T::zero(); s.batch * s.time * s.heads];
    let sequences = y.par_chunks_mut(s.time * s.width).zip(log_sums.par_chunks_mut(s.time * s.heads));
    sequences.enumerate().for_each(|(b, (y, log_sums))| {
        let blocks = y.par_chunks_mut(QUERIES * s.width).zip(log_sums.par_chunks_mut(QUERIES * s.heads));
        blocks.enumerate().with_max_len(1).for_each(|(i, (y, log_sums))| {
            let rows = i * QUERIES..(i * QUERIES + y.len() / s.width);
            let mut p = Vec::new();
            for h in 0..s.heads {
                let head = x.head(b, h);
                head.scores(&rows, &mut p);
                let n = head.seen(&rows);
                let (max, sums) = simd(
                    #[inline(always)]
                    || {
                        head.mask(&rows, &mut p, T::neg_infinity());
                        soften(&mut p, rows.len())
                    },
                );
                for (j, (max, sum)) in max.iter().zip(&sums).take(rows.len()).enumerate() {
                    log_sums[j * s.heads + h] = *max + sum.ln();
                }
                let out = &mut y[h * size..];
                let p = Mat::new(&p, n, rows.len()).t();
                matmul(p, head.values(n), out, s.width, false, T::one(), Threads::This);
                for (y, sum) in out.chunks_mut(s.width).zip(sums) {
                    let inverse = T::one() / sum;
                    y[..size].iter_mut().for_each(|y| *y *= inverse);
                }
            }
        });
    });
    (y, log_sums)
}

/// The gradient of qkv.
fn backward<T: Real>(x: &Inputs<'_, T>, y: &[T], log_sums: &[T], dy: &[T]) -> Vec<T> {
    let (s, size) = (x.s, x.s.head());
    let heads = (0..s.batch * s.heads).into_par_iter();
    let parts: Vec<[Vec<T>; 3]> =
        heads.map(|i| head_backward(x, [y, log_sums, dy], i / s.heads, i % s.heads)).collect();
    let mut dqkv = vec![T::zero(); s.batch * s.time * 3 * s.width];
    dqkv.par_chunks_mut(ROWS * 3 * s.width).enumerate().for_each(|(block, dqkv)| {
        for (row, to) in dqkv.chunks_exact_mut(3 * s.width).enumerate() {
            let (b, t) = ((block * ROWS + row) / s.time, (block * ROWS + row) % s.time);
            for (column, to) in to.chunks_exact_mut(size).enumerate() {
                let part = &parts[b * s.heads + column % s.heads][column / s.heads];
                // Keys and values of the past get no gradient: they are state.
                let from = part.len() - (s.time - t) * size;
                to.copy_from_slice(&part[from..from + size]);
            }
        }
    });
    dqkv
}

/// Gradients of the queries, keys and values of a head, the past's included.
fn head_backward<T: Real>(
    x: &Inputs<'_, T>,
    [y, log_sums, dy]: [&[T]; 3],
    b: usize,
    h: usize,
) -> [Vec<T>; 3] {
    let (s, size, head) = (x.s, x.s.head(), x.head(b, h));
    let own = |all| &(all as &[T])[b * s.time * s.width + h * size..];
    let (y, dy) = (own(y), own(dy));
    let log_sums = &log_sums[b * s.time * s.heads + h..];
    let mut dq = vec![T::zero(); s.time * size];
    let mut dk = vec![T::zero(); s.keys() * size];
    let mut dv = vec![T::zero(); s.keys() * size];
    let (mut p, mut ds) = (Vec::new(), Vec::new());
    for rows in s.blocks() {
        let n = head.seen(&rows);
        head.scores(&rows, &mut p);
        let dy_rows = Mat::strided(&dy[rows.start * s.width..], rows.len(), size, s.width);
        ds.clear();
        append_product(head.values(n), dy_rows.t(), &mut ds, T::one(), Threads::This);
        let (mut along, mut log_sum) = ([T::zero(); QUERIES], [T::zero(); QUERIES]);
        simd(
            #[inline(always)]
            || {
                for (i, t) in rows.clone().enumerate() {
                    let at = t * s.width..t * s.width + size;
                    along[i] = dot(&y[at.clone()], &dy[at]);
                    log_sum[i] = log_sums[t * s.heads];
                }
                head.mask(&rows, &mut p, T::neg_infinity());
                for (p, ds) in p.chunks_exact_mut(rows.len()).zip(ds.chunks_exact_mut(rows.len())) {
                    for (((p, ds), along), log_sum) in p.iter_mut().zip(ds).zip(&along).zip(&log_sum) {
                        *p = (*p - *log_sum).fast_exp();
                        *ds = *p * (*ds - *along);
                    }
                }
            },
        );
        let (p, ds) = (Mat::new(&p, n, rows.len()), Mat::new(&ds, n, rows.len()));
        matmul(p, dy_rows, &mut dv, size, true, T::one(), Threads::This);
        let out = &mut dq[rows.start * size..rows.end * size];
        matmul(ds.t(), head.keys(n), out, size, false, s.scale(), Threads::This);
        matmul(ds, head.queries(&rows), &mut dk, size, true, s.scale(), Threads::This);
    }
    [dq, dk, dv]
}

/// Attends from every position to itself and everything before it, the cache included.
/// Returns y [B·T, d] and the cache with the new keys and values appended (without a past, views of qkv,
/// which therefore lives until the next call).
pub fn causal_attention(
    tape: &Tape,
    qkv: &Var,
    batch: usize,
    heads: usize,
    past: Option<&(Tensor, Tensor)>,
) -> Result<(Var, (Tensor, Tensor))> {
    let (rows, wide) = qkv.tensor().dims2()?;
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
    let s = Shape { batch, time: rows / batch, past: past_len, width, heads };
    let dtype = qkv.tensor().dtype();
    let on_device = launch::takes(qkv.tensor()).then_some(launch::attention::Sizes {
        batch,
        heads,
        size: s.head(),
        time: s.time,
        past: past_len,
    });
    let own = |which: usize| qkv.tensor().reshape((batch, s.time, wide))?.narrow(2, which * width, width);
    let cache = match (past, on_device) {
        (None, None) => (own(1)?, own(2)?),
        // In memory of their own at once: one launch, where taking views apart later would be several.
        (None, Some(s)) => {
            let nothing = qkv.tensor();
            launch::attention::append(qkv.tensor(), &(nothing.clone(), nothing.clone()), s)?
        }
        (Some(past), Some(s)) => launch::attention::append(qkv.tensor(), past, s)?,
        (Some((k, v)), None) => real!(dtype, T => {
            let longer = |which: usize, old: &Tensor| {
                let old = old.contiguous()?;
                let (x, old) = (Data::of(qkv.tensor())?, Data::of(&old)?);
                tensor(extend::<T>(s, x.get()?, old.get()?, which), &[batch, s.keys(), width])
            };
            (longer(1, k)?, longer(2, v)?)
        }),
    };
    let longer = past.is_some().then(|| cache.clone());
    let (y, log_sums) = match on_device {
        Some(s) => launch::attention::forward(qkv.tensor(), longer.as_ref(), s)?,
        None => real!(dtype, T => {
            let (y, log_sums) = with_inputs::<T, _>(s, qkv.tensor(), longer.as_ref(), forward)?;
            (tensor(y, &[rows, width])?, tensor(log_sums, &[rows, heads])?)
        }),
    };
    if !tape.follows(&[qkv]) {
        return Ok((Var::constant(y), cache));
    }
    let (slot, qkv, kept) = (qkv.slot(), qkv.tensor().clone(), y.clone());
    let y = tape.push_one(y, move |dy, sink| {
        if let Some(s) = on_device {
            let outer = [&kept, &log_sums, &dy];
            return sink.add(slot, launch::attention::backward(&qkv, longer.as_ref(), outer, s)?);
        }
        let dqkv = real!(dtype, T => {
            let (y, l, dy) = (Data::of(&kept)?, Data::of(&log_sums)?, Data::of(&dy)?);
            let (y, l, dy) = (y.get::<T>()?, l.get()?, dy.get()?);
            let d = with_inputs::<T, _>(s, &qkv, longer.as_ref(), |x| backward(x, y, l, dy))?;
            tensor(d, &[rows, wide])?
        });
        sink.add(slot, dqkv)
    });
    Ok((y, cache))
}

/// Locks the tensors for `f`.
fn with_inputs<T: Real, R>(
    s: Shape,
    qkv: &Tensor,
    longer: Option<&(Tensor, Tensor)>,
    f: impl FnOnce(&Inputs<'_, T>) -> R,
) -> Result<R> {
    let data = Data::of(qkv)?;
    let qkv = data.get::<T>()?;
    let Some((k, v)) = longer else { return Ok(f(&Inputs { s, qkv, past: None })) };
    let (k, v) = (Data::of(k)?, Data::of(v)?);
    Ok(f(&Inputs { s, qkv, past: Some([k.get()?, v.get()?]) }))
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
                let past = past.transpose()?;
                Ok(vec![causal_attention(tape, &v[0], b, h, past.as_ref())?.0])
            },
            move |x| Ok(vec![reference(&x[0], b, h, again.as_ref())?]),
        ));
    }
    cases
}
