//! Causal self-attention (Vaswani et al. 2017, eq. 1, with a causal mask), over a cache.
//!
//! | symbol | shape | |
//! |---|---|---|
//! | qkv | [B·T, 3·d] | queries, keys and values side by side |
//! | past | 2 × [B, P, d] | keys and values of earlier positions; no gradient flows there |
//! | y | [B·T, d] | softmax(q kᵀ / √(d/H)) v, head by head |
//!
//! Queries are taken in blocks and their scores recomputed in the backward pass (Dao et al. 2022):
//! no T × T matrix is kept.

use candle_core::{D, DType, Error, Result, Tensor, bail};
use rayon::prelude::*;

use super::case::like;
use super::data::{Data, tensor};
use super::linear::{Mat, Threads, append_product, matmul};
use super::real::{dot, largest, total};
use super::{Case, Real, Tape, Var, real, simd};

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
    fn tasks(&self) -> impl IndexedParallelIterator<Item = (usize, usize)> + use<> {
        let heads = self.heads;
        (0..self.batch * heads).into_par_iter().map(move |i| (i / heads, i % heads))
    }
    fn blocks(&self) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let time = self.time;
        (0..time).step_by(QUERIES).map(move |q| q..(q + QUERIES).min(time))
    }
}

/// One head of one sequence: its queries, keys and values where they lie.
struct Head<'a, T> {
    s: Shape,
    q: &'a [T],
    k: &'a [T],
    v: &'a [T],
}

impl<'a, T: Real> Head<'a, T> {
    fn new(s: Shape, qkv: &'a [T], k: &'a [T], v: &'a [T], (b, h): (usize, usize)) -> Self {
        let column = h * s.head();
        let keys = b * s.keys() * s.width + column;
        Self { s, q: &qkv[b * s.time * 3 * s.width + column..], k: &k[keys..], v: &v[keys..] }
    }

    fn queries(&self, rows: &std::ops::Range<usize>) -> Mat<'a, T> {
        let stride = 3 * self.s.width;
        Mat::strided(&self.q[rows.start * stride..], rows.len(), self.s.head(), stride)
    }

    fn keys(&self, n: usize) -> Mat<'a, T> {
        Mat::strided(self.k, n, self.s.head(), self.s.width)
    }

    fn values(&self, n: usize) -> Mat<'a, T> {
        Mat::strided(self.v, n, self.s.head(), self.s.width)
    }

    /// Softmax probabilities of a block of queries: [rows, n], zero where masked.
    fn probabilities(&self, rows: &std::ops::Range<usize>, n: usize, p: &mut Vec<T>) {
        let scale = T::one() / T::of(self.s.head() as f64).sqrt();
        p.clear();
        append_product(self.queries(rows), self.keys(n).t(), p, scale, Threads::This);
        simd(
            #[inline(always)]
            || {
                for (row, t) in p.chunks_exact_mut(n).zip(rows.clone()) {
                    softmax(row, self.s.past + t + 1);
                }
            },
        );
    }
}

/// Softmax of the first `seen` scores; the rest become zero. NaN scores give NaN.
#[inline(always)]
fn softmax<T: Real>(row: &mut [T], seen: usize) {
    let (seen, masked) = row.split_at_mut(seen);
    let max = largest(seen);
    let mut lanes = [T::zero(); 16];
    for chunk in seen.chunks_mut(16) {
        for (x, lane) in chunk.iter_mut().zip(&mut lanes) {
            *x = (*x - max).fast_exp();
            *lane += *x;
        }
    }
    let inverse = T::one() / total(lanes);
    seen.iter_mut().for_each(|x| *x *= inverse);
    masked.fill(T::zero());
}

/// Keys and values of past and present: 2 × [B, P+T, d].
fn extend<T: Real>(s: Shape, qkv: &[T], past: Option<&(Tensor, Tensor)>) -> Result<[Vec<T>; 2]> {
    let old = past.map(|(k, v)| Ok::<_, Error>([Data::of(k)?, Data::of(v)?]));
    let old = old.transpose()?;
    let make = |which: usize| -> Result<Vec<T>> {
        let mut all = Vec::with_capacity(s.batch * s.keys() * s.width);
        for b in 0..s.batch {
            if let Some(old) = &old {
                let size = s.past * s.width;
                all.extend_from_slice(&old[which].get::<T>()?[b * size..(b + 1) * size]);
            }
            for t in 0..s.time {
                let start = (b * s.time + t) * 3 * s.width + (which + 1) * s.width;
                all.extend_from_slice(&qkv[start..start + s.width]);
            }
        }
        Ok(all)
    };
    Ok([make(0)?, make(1)?])
}

fn forward<T: Real>(s: Shape, qkv: &[T], k: &[T], v: &[T]) -> Vec<T> {
    let size = s.head();
    let parts: Vec<Vec<T>> = s
        .tasks()
        .map(|task| {
            let head = Head::new(s, qkv, k, v, task);
            let (mut y, mut p) = (vec![T::zero(); s.time * size], Vec::new());
            for rows in s.blocks() {
                let n = s.past + rows.end;
                head.probabilities(&rows, n, &mut p);
                let out = &mut y[rows.start * size..rows.end * size];
                matmul(
                    Mat::new(&p, rows.len(), n),
                    head.values(n),
                    out,
                    size,
                    false,
                    T::one(),
                    Threads::This,
                );
            }
            y
        })
        .collect();
    let mut y = vec![T::zero(); s.batch * s.time * s.width];
    for (i, part) in parts.iter().enumerate() {
        let (b, h) = (i / s.heads, i % s.heads);
        place(&mut y, part, b * s.time, s.width, h * size, size);
    }
    y
}

/// Writes [T, size] into columns of a wider matrix.
fn place<T: Copy>(to: &mut [T], part: &[T], row: usize, width: usize, column: usize, size: usize) {
    for (to, part) in to[row * width..].chunks_exact_mut(width).zip(part.chunks_exact(size)) {
        to[column..column + size].copy_from_slice(part);
    }
}

/// The gradient of qkv.
fn backward<T: Real>(s: Shape, qkv: &[T], k: &[T], v: &[T], dy: &[T]) -> Vec<T> {
    let size = s.head();
    let parts: Vec<[Vec<T>; 3]> =
        s.tasks().map(|task| head_backward(&Head::new(s, qkv, k, v, task), dy, task)).collect();
    let mut dqkv = vec![T::zero(); s.batch * s.time * 3 * s.width];
    for (i, part) in parts.iter().enumerate() {
        let (b, h) = (i / s.heads, i % s.heads);
        for (which, part) in part.iter().enumerate() {
            // Keys and values of the past get no gradient: they are state.
            let part = &part[part.len() - s.time * size..];
            let column = which * s.width + h * size;
            place(&mut dqkv, part, b * s.time, 3 * s.width, column, size);
        }
    }
    dqkv
}

fn head_backward<T: Real>(head: &Head<'_, T>, dy: &[T], (b, h): (usize, usize)) -> [Vec<T>; 3] {
    let (s, size) = (head.s, head.s.head());
    let scale = T::one() / T::of(size as f64).sqrt();
    let dy = &dy[b * s.time * s.width + h * size..];
    let mut dq = vec![T::zero(); s.time * size];
    let mut dk = vec![T::zero(); s.keys() * size];
    let mut dv = vec![T::zero(); s.keys() * size];
    let (mut p, mut dp) = (Vec::new(), Vec::new());
    for rows in s.blocks() {
        let n = s.past + rows.end;
        let dy = Mat::strided(&dy[rows.start * s.width..], rows.len(), size, s.width);
        head.probabilities(&rows, n, &mut p);
        matmul(Mat::new(&p, rows.len(), n).t(), dy, &mut dv, size, true, T::one(), Threads::This);
        dp.clear();
        append_product(dy, head.values(n).t(), &mut dp, T::one(), Threads::This);
        simd(
            #[inline(always)]
            || {
                for (p, dp) in p.chunks_exact(n).zip(dp.chunks_exact_mut(n)) {
                    let along = dot(p, dp);
                    dp.iter_mut().zip(p).for_each(|(d, p)| *d = *p * (*d - along));
                }
            },
        );
        let ds = Mat::new(&dp, rows.len(), n);
        let out = &mut dq[rows.start * size..rows.end * size];
        matmul(ds, head.keys(n), out, size, false, scale, Threads::This);
        matmul(ds.t(), head.queries(&rows), &mut dk, size, true, scale, Threads::This);
    }
    [dq, dk, dv]
}

/// Attends from every position to itself and everything before it, the cache included.
/// Returns y [B·T, d] and the cache with the new keys and values appended.
pub fn causal_attention(
    tape: &Tape,
    qkv: &Var,
    batch: usize,
    heads: usize,
    past: Option<&(Tensor, Tensor)>,
) -> Result<(Var, (Tensor, Tensor))> {
    let (rows, wide) = qkv.tensor().dims2()?;
    let width = wide / 3;
    if heads == 0 || !width.is_multiple_of(heads) || !rows.is_multiple_of(batch) {
        bail!("attention: {rows} rows of {width} columns, batch {batch}, {heads} heads");
    }
    let past_len = past.map_or(Ok(0), |(k, _)| k.dim(1))?;
    let s = Shape { batch, time: rows / batch, past: past_len, width, heads };
    let dtype = qkv.tensor().dtype();
    let cache_shape = [batch, s.keys(), width];
    let (y, k, v) = real!(dtype, T => {
        let data = Data::of(qkv.tensor())?;
        let x = data.get::<T>()?;
        let [k, v] = extend::<T>(s, x, past)?;
        let y = tensor(forward(s, x, &k, &v), &[rows, width])?;
        (y, tensor(k, &cache_shape)?, tensor(v, &cache_shape)?)
    });
    let cache = (k.clone(), v.clone());
    if !tape.follows(&[qkv]) {
        return Ok((Var::constant(y), cache));
    }
    let (slot, qkv) = (qkv.slot(), qkv.tensor().clone());
    let y = tape.push_one(y, move |dy, sink| {
        let dqkv = real!(dtype, T => {
            let (x, k, v, dy) = (Data::of(&qkv)?, Data::of(&k)?, Data::of(&v)?, Data::of(&dy)?);
            let d = backward::<T>(s, x.get()?, k.get()?, v.get()?, dy.get()?);
            tensor(d, &[rows, wide])?
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
    for (b, t, h, d, p) in [(1, 1, 1, 3, 0), (2, 7, 3, 12, 0), (1, 70, 2, 8, 0), (2, 5, 2, 6, 4)] {
        let past = (p > 0).then(|| (normal(&[b, p, d]), normal(&[b, p, d])));
        let again = past.clone();
        cases.push(Case::new(
            format!("B{b} T{t} H{h} d{d} past {p}"),
            vec![normal(&[b * t, 3 * d])],
            move |tape, v| {
                let past = past.as_ref().map(|(k, w)| Ok::<_, Error>((like(k, &v[0])?, like(w, &v[0])?)));
                let past = past.transpose()?;
                Ok(vec![causal_attention(tape, &v[0], b, h, past.as_ref())?.0])
            },
            move |x| Ok(vec![reference(&x[0], b, h, again.as_ref())?]),
        ));
    }
    cases
}
