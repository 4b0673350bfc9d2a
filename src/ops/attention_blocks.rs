//! Causal self-attention on a CPU, in blocks of queries: what `attention` computes where there are no kernels.

use std::ops::Range;

use candle_core::{Result, Tensor, WithDType};
use rayon::prelude::*;

use super::data::{Data, ROWS};
use super::matmul::{append_product, matmul};
use super::real::{Real, dot, exponentials, largest};
use super::simd;
use crate::products::{Mat, Threads, zeros};

/// Queries per block.
pub(super) const QUERIES: usize = 64;

#[derive(Clone, Copy)]
pub(super) struct AttentionShape {
    pub batch: usize,
    pub time: usize,
    pub past: usize,
    pub width: usize,
    pub heads: usize,
}

impl AttentionShape {
    pub(super) fn head(&self) -> usize {
        self.width / self.heads
    }
    pub(super) fn keys(&self) -> usize {
        self.past + self.time
    }
    pub(super) fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let time = self.time;
        (0..time).step_by(QUERIES).map(move |q| q..(q + QUERIES).min(time))
    }
    pub(super) fn scale<T: Real>(&self) -> T {
        T::one() / T::of(self.head() as f64).sqrt()
    }
}

/// Queries, keys and values where they lie: without a past all three in qkv.
#[derive(Clone, Copy)]
pub(super) struct AttentionSlices<'a, T> {
    s: AttentionShape,
    qkv: &'a [T],
    past: Option<[&'a [T]; 2]>,
}

impl<'a, T> AttentionSlices<'a, T> {
    pub(super) fn shape(&self) -> AttentionShape {
        self.s
    }

    pub(super) fn head(&self, b: usize, h: usize) -> AttentionHead<'a, T> {
        let (s, column) = (self.s, h * self.s.head());
        let own = &self.qkv[b * s.time * 3 * s.width + column..];
        let (k, v, stride) = match self.past {
            None => (&own[s.width..], &own[2 * s.width..], 3 * s.width),
            Some([k, v]) => {
                let start = b * s.keys() * s.width + column;
                (&k[start..], &v[start..], s.width)
            }
        };
        AttentionHead { s, q: own, k, v, stride }
    }
}

/// One head of one sequence.
pub(super) struct AttentionHead<'a, T> {
    s: AttentionShape,
    q: &'a [T],
    k: &'a [T],
    v: &'a [T],
    /// From one key or value to the next.
    stride: usize,
}

impl<'a, T> AttentionHead<'a, T> {
    pub(super) fn queries(&self, rows: &Range<usize>) -> Mat<'a, T> {
        let stride = 3 * self.s.width;
        Mat::strided(&self.q[rows.start * stride..], rows.len(), self.s.head(), stride)
    }

    pub(super) fn keys(&self, n: usize) -> Mat<'a, T> {
        Mat::strided(self.k, n, self.s.head(), self.stride)
    }

    pub(super) fn values(&self, n: usize) -> Mat<'a, T> {
        Mat::strided(self.v, n, self.s.head(), self.stride)
    }

    /// Keys that a block of queries sees, at most.
    pub(super) fn seen(&self, rows: &Range<usize>) -> usize {
        self.s.past + rows.end
    }

    /// Puts `value` where a key lies after its query.
    #[inline(always)]
    pub(super) fn mask<Z: Copy>(&self, rows: &Range<usize>, z: &mut [Z], value: Z) {
        let n = rows.len();
        for (i, z) in z.chunks_exact_mut(n).skip(self.s.past + rows.start).enumerate() {
            z[..i].fill(value);
        }
    }
}

impl<T: Real> AttentionHead<'_, T> {
    /// Scores of a block of queries, keys going down: [seen, rows].
    fn scores(&self, rows: &Range<usize>, z: &mut Vec<T>) {
        z.clear();
        let queries = self.queries(rows).t();
        append_product(self.keys(self.seen(rows)), queries, z, self.s.scale(), Threads::This);
    }
}

/// Turns scores [seen, rows] into exp(score − max) in every column; returns the largest and the sum of each.
/// NaN scores give NaN sums.
#[inline(always)]
pub(super) fn soften<T: Real>(z: &mut [T], rows: usize) -> ([T; QUERIES], [T; QUERIES]) {
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
pub(super) fn extend<T: Copy>(s: AttentionShape, qkv: &[T], old: &[T], which: usize) -> Vec<T> {
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
pub(super) fn forward<T: Real>(x: &AttentionSlices<'_, T>) -> (Vec<T>, Vec<T>) {
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
pub(super) fn backward<T: Real>(x: &AttentionSlices<'_, T>, y: &[T], log_sums: &[T], dy: &[T]) -> Vec<T> {
    let s = x.s;
    let heads = (0..s.batch * s.heads).into_par_iter();
    let parts: Vec<[Vec<T>; 3]> =
        heads.map(|i| head_backward(x, [y, log_sums, dy], i / s.heads, i % s.heads)).collect();
    gathered(s, &parts)
}

/// The gradient of qkv, put together of those of every head's queries, keys and values.
pub(super) fn gathered<T: Copy + Default + Send + Sync>(s: AttentionShape, parts: &[[Vec<T>; 3]]) -> Vec<T> {
    let size = s.head();
    let mut dqkv = zeros(s.batch * s.time * 3 * s.width);
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
pub(super) fn head_backward<T: Real>(
    x: &AttentionSlices<'_, T>,
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

/// Locks the tensors for `f`.
pub(super) fn with_inputs<T: WithDType, R>(
    s: AttentionShape,
    qkv: &Tensor,
    longer: Option<&(Tensor, Tensor)>,
    f: impl FnOnce(&AttentionSlices<'_, T>) -> R,
) -> Result<R> {
    let data = Data::of(qkv)?;
    let qkv = data.get::<T>()?;
    let Some((k, v)) = longer else { return Ok(f(&AttentionSlices { s, qkv, past: None })) };
    let (k, v) = (Data::of(k)?, Data::of(v)?);
    Ok(f(&AttentionSlices { s, qkv, past: Some([k.get()?, v.get()?]) }))
}
