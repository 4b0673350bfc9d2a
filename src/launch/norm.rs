//! Normalisations.

use candle_core::{DType, Result, Tensor};

use super::elementwise::column_sums;
use super::{LaunchShape, Out, THREADS, args, launch, vector};

/// How rows are normalised.
#[derive(Clone, Copy)]
pub(crate) struct Norm {
    pub cols: usize,
    pub groups: usize,
    pub centred: bool,
    pub eps: f64,
}

/// A warp per group of a row.
fn warps(n: usize) -> LaunchShape {
    LaunchShape::new(n.div_ceil(THREADS / 32), THREADS)
}

/// x̂·w + b.
pub(crate) fn forward(x: &Tensor, w: &Tensor, b: Option<&Tensor>, s: Norm) -> Result<Tensor> {
    let rows = x.elem_count() / s.cols;
    let (w, b, mut y) = (vector(w)?, b.map(vector).transpose()?, Out::like(x)?);
    let (centred, shape) = (usize::from(s.centred), warps(rows * s.groups));
    let mut args = args![x, &w, b.as_ref(), &mut y, rows, s.cols, s.groups, centred, s.eps];
    launch("norm_forward", x.dtype(), shape, &mut args)?;
    y.finish()
}

/// Rows that one block of `norm_weights` adds up.
const CHUNK: usize = 64;

/// Gradients of x, w and b.
pub(crate) fn backward(x: &Tensor, w: &Tensor, dy: &Tensor, s: Norm) -> Result<[Tensor; 3]> {
    let (rows, dtype) = (x.elem_count() / s.cols, x.dtype());
    let (w, mut dx) = (vector(w)?, Out::like(x)?);
    let mut stats = Out::new(&[rows * s.groups, 2], DType::F32, x)?;
    let (centred, shape) = (usize::from(s.centred), warps(rows * s.groups));
    let mut args = args![x, &w, dy, &mut dx, &mut stats, rows, s.cols, s.groups, centred, s.eps];
    launch("norm_backward", dtype, shape, &mut args)?;
    let (stats, chunks) = (stats.finish()?, rows.div_ceil(CHUNK));
    let mut partial = Out::new(&[chunks, 2 * s.cols], DType::F32, x)?;
    let shape = LaunchShape { grid: [s.cols.div_ceil(32), chunks, 1], threads: THREADS, shared: 8 * THREADS };
    let mut args = args![x, dy, &stats, &mut partial, rows, s.cols, s.groups, CHUNK];
    launch("norm_weights", dtype, shape, &mut args)?;
    let both = column_sums(&partial.finish()?, 2 * s.cols, None)?;
    Ok([dx.finish()?, both.narrow(0, 0, s.cols)?, both.narrow(0, s.cols, s.cols)?])
}
