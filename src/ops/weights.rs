//! Weight matrices as checkpoints store them, and their product with a single row.

use candle_core::{Result, bail};
use num_traits::Float;
use rayon::prelude::*;

use super::data::sum_in_order;
use super::simd;
use super::stored::Stored;
use crate::products::Mat;

/// How a weight matrix is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// [out, in], as `torch.nn.Linear` and both recurrent models publish it.
    OutIn,
    /// [in, out], as GPT-2's `Conv1D` publishes it.
    InOut,
}

pub(super) fn oriented<T>(w: Mat<'_, T>, layout: Layout) -> Mat<'_, T> {
    match layout {
        Layout::OutIn => w.t(),
        Layout::InOut => w,
    }
}

/// Whether a linear layer's inputs fit each other: `x` of so many columns, the weight as it is `oriented` and stored, and
/// as many elements of bias and residual as there are.
pub(super) fn fit<T>(
    [rows, inner]: [usize; 2],
    (weight, stored): (&Mat<'_, T>, &[usize]),
    [bias, residual]: [Option<usize>; 2],
) -> Result<()> {
    if weight.rows != inner {
        bail!("linear: input has {inner} columns, weight {stored:?} takes {}", weight.rows);
    }
    let outer = weight.cols;
    if bias.is_some_and(|n| n != outer) || residual.is_some_and(|n| n != rows * outer) {
        bail!("linear: [{rows}, {outer}] out, bias and residual of {:?} elements", (bias, residual));
    }
    Ok(())
}

/// Weights that a task of [`row_product`] reads, unless that makes more than [`TASKS`]. Both are fixed,
/// because a sum depends on how it is cut.
const WEIGHTS: usize = 64 * 1024;
const TASKS: usize = 32;

/// `x·a` for a single row, where reading the weights is all there is to do and a blocked product
/// would only copy them first. Each task reads one stretch of memory from end to end.
pub(super) fn row_product<S: Stored>(x: &[S::Real], a: Mat<'_, S>) -> Vec<S::Real> {
    let zeros = |n: usize| vec![<S::Real as num_traits::Zero>::zero(); n];
    if a.rows * a.cols == 0 {
        return zeros(a.cols);
    }
    let tasks = (a.rows * a.cols / WEIGHTS).clamp(1, TASKS);
    if a.row_stride == 1 && a.col_stride >= x.len() {
        let mut y = zeros(a.cols);
        let size = a.cols.div_ceil(tasks);
        y.par_chunks_mut(size).zip(a.data.par_chunks(size * a.col_stride)).for_each(|(y, w)| {
            simd(
                #[inline(always)]
                || {
                    for (y, w) in y.iter_mut().zip(w.chunks(a.col_stride)) {
                        *y = S::dot(x, w);
                    }
                },
            );
        });
        return y;
    }
    let size = x.len().div_ceil(tasks);
    let parts = x.par_chunks(size).zip(a.data.par_chunks(size * a.row_stride)).map(|(x, w)| {
        let mut y = zeros(a.cols);
        simd(
            #[inline(always)]
            || {
                for (x, w) in x.iter().zip(w.chunks(a.row_stride)) {
                    for (y, w) in y.iter_mut().zip(w) {
                        *y = (*x).mul_add(w.widen(), *y);
                    }
                }
            },
        );
        y
    });
    sum_in_order(&parts.collect::<Vec<_>>(), a.cols)
}
