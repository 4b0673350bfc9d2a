//! Causal self-attention in bfloat16 on a CPU, in blocks of queries (ruling R28): scores, softmax and sums in float32,
//! probabilities and their gradients rounded for the products that read them, as kernels do.

use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use super::attention_blocks::{AttentionHead, AttentionSlices, QUERIES, gathered, soften};
use super::real::Real;
use super::simd;
use super::stored::Stored;
use crate::products::{Columns, Mat, Rows, Threads, matmul_wide, round_into, rounded, widen, widened};

type Inputs<'a> = AttentionSlices<'a, bf16>;

/// `a·b`, row-major.
fn product(a: Mat<'_, bf16>, b: Mat<'_, bf16>, out: &mut [f32], stride: usize, keep: bool, scale: f32) {
    let (rows, columns) = (Rows::of(a, Threads::This), Columns::of(b, Threads::This));
    matmul_wide((&rows, &columns), a.cols, out, stride, keep, scale, Threads::This);
}

/// y [B·T, d], and ℓ [B·T, H].
pub(super) fn forward(x: &Inputs<'_>) -> (Vec<bf16>, Vec<f32>) {
    let s = x.shape();
    let mut y = vec![bf16::ZERO; s.batch * s.time * s.width];
    let mut log_sums = vec![0.0; s.batch * s.time * s.heads];
    let sequences = y.par_chunks_mut(s.time * s.width).zip(log_sums.par_chunks_mut(s.time * s.heads));
    sequences.enumerate().for_each(|(b, (y, log_sums))| {
        let blocks = y.par_chunks_mut(QUERIES * s.width).zip(log_sums.par_chunks_mut(QUERIES * s.heads));
        blocks.enumerate().with_max_len(1).for_each(|(i, (y, log_sums))| {
            let rows = i * QUERIES..(i * QUERIES + y.len() / s.width);
            for h in 0..s.heads {
                head_forward(x, (b, h), &rows, y, log_sums);
            }
        });
    });
    (y, log_sums)
}

fn head_forward(
    x: &Inputs<'_>,
    (b, h): (usize, usize),
    rows: &Range<usize>,
    y: &mut [bf16],
    log_sums: &mut [f32],
) {
    let (s, head) = (x.shape(), x.head(b, h));
    let (size, n, count) = (s.head(), head.seen(rows), rows.len());
    if count == 1 {
        return row_forward(&head, rows, h, y, log_sums);
    }
    let mut p = vec![0.0; n * count];
    product(head.keys(n), head.queries(rows).t(), &mut p, count, false, s.scale());
    let (max, sums) = simd(
        #[inline(always)]
        || {
            head.mask(rows, &mut p, f32::NEG_INFINITY);
            soften(&mut p, count)
        },
    );
    for (j, (max, sum)) in max.iter().zip(&sums).take(count).enumerate() {
        log_sums[j * s.heads + h] = *max + sum.ln();
    }
    let mut brief = vec![bf16::ZERO; p.len()];
    round_into(&mut brief, &p);
    let mut out = vec![0.0; count * size];
    product(Mat::new(&brief, n, count).t(), head.values(n), &mut out, size, false, 1.0);
    for ((y, out), sum) in y.chunks_mut(s.width).zip(out.chunks_exact(size)).zip(sums) {
        let inverse = 1.0 / sum;
        y[h * size..][..size].iter_mut().zip(out).for_each(|(y, x)| *y = rounded(*x * inverse));
    }
}

/// A single query, for which reading the keys and values is all there is to do.
fn row_forward(
    head: &AttentionHead<'_, bf16>,
    rows: &Range<usize>,
    h: usize,
    y: &mut [bf16],
    log_sums: &mut [f32],
) {
    let (n, size) = (head.seen(rows), head.queries(rows).cols);
    let (keys, values) = (head.keys(n), head.values(n));
    let query = widen(&head.queries(rows).data[..size]);
    let (mut p, mut out) = (vec![0f32; n], vec![0f32; size]);
    simd(
        #[inline(always)]
        || {
            #[inline(always)]
            fn row<'a>(m: &Mat<'a, bf16>, i: usize) -> &'a [bf16] {
                &m.data[i * m.row_stride..][..m.cols]
            }
            let scale = 1.0 / (size as f32).sqrt();
            for (i, p) in p.iter_mut().enumerate() {
                *p = scale * bf16::dot(&query, row(&keys, i));
            }
            let (max, sum) = soften(&mut p, 1);
            log_sums[h] = max[0] + sum[0].ln();
            for (i, p) in p.iter().enumerate() {
                let p = widened(rounded(*p)) / sum[0];
                for (out, v) in out.iter_mut().zip(row(&values, i)) {
                    *out += p * widened(*v);
                }
            }
        },
    );
    y[h * size..][..size].iter_mut().zip(out).for_each(|(y, x)| *y = rounded(x));
}

/// The gradient of qkv.
pub(super) fn backward(x: &Inputs<'_>, y: &[bf16], log_sums: &[f32], dy: &[bf16]) -> Vec<bf16> {
    let s = x.shape();
    let heads = (0..s.batch * s.heads).into_par_iter();
    let parts: Vec<[Vec<bf16>; 3]> = heads
        .map(|i| {
            let part = head_backward(x, (y, log_sums, dy), i / s.heads, i % s.heads);
            part.map(|wide| wide.into_iter().map(rounded).collect())
        })
        .collect();
    gathered(s, &parts)
}

/// Gradients of the queries, keys and values of a head, the past's included.
fn head_backward(
    x: &Inputs<'_>,
    (y, log_sums, dy): (&[bf16], &[f32], &[bf16]),
    b: usize,
    h: usize,
) -> [Vec<f32>; 3] {
    let (s, head) = (x.shape(), x.head(b, h));
    let size = s.head();
    let own = |all| &(all as &[bf16])[b * s.time * s.width + h * size..];
    let (y, dy) = (own(y), own(dy));
    let log_sums = &log_sums[b * s.time * s.heads + h..];
    let [mut dq, mut dk, mut dv] = [s.time, s.keys(), s.keys()].map(|rows| vec![0.0; rows * size]);
    let (mut p, mut ds) = (Vec::new(), Vec::new());
    for rows in s.blocks() {
        let (n, count) = (head.seen(&rows), rows.len());
        p.resize(n * count, 0.0);
        ds.resize(n * count, 0.0);
        let queries = head.queries(&rows);
        product(head.keys(n), queries.t(), &mut p, count, false, s.scale());
        let dy_rows = Mat::strided(&dy[rows.start * s.width..], count, size, s.width);
        product(head.values(n), dy_rows.t(), &mut ds, count, false, 1.0);
        let (mut along, mut log_sum) = ([0f32; QUERIES], [0f32; QUERIES]);
        for (i, t) in rows.clone().enumerate() {
            let at = t * s.width..t * s.width + size;
            let both = y[at.clone()].iter().zip(&dy[at]);
            along[i] = both.map(|(y, dy)| widened(*y) * widened(*dy)).sum();
            log_sum[i] = log_sums[t * s.heads];
        }
        simd(
            #[inline(always)]
            || {
                head.mask(&rows, &mut p, f32::NEG_INFINITY);
                for (p, ds) in p.chunks_exact_mut(count).zip(ds.chunks_exact_mut(count)) {
                    for (((p, ds), along), log_sum) in p.iter_mut().zip(ds).zip(&along).zip(&log_sum) {
                        *p = (*p - *log_sum).fast_exp();
                        *ds = *p * (*ds - *along);
                    }
                }
            },
        );
        let [p, ds] = [&p, &ds].map(|wide| {
            let mut brief = vec![bf16::ZERO; wide.len()];
            round_into(&mut brief, wide);
            brief
        });
        let (p, ds) = (Mat::new(&p, n, count), Mat::new(&ds, n, count));
        product(p, dy_rows, &mut dv, size, true, 1.0);
        let out = &mut dq[rows.start * size..rows.end * size];
        product(ds.t(), head.keys(n), out, size, false, s.scale());
        product(ds, queries, &mut dk, size, true, s.scale());
    }
    [dq, dk, dv]
}
