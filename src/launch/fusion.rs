//! GroundThink's learned gate.

use candle_core::{DType, Result, Tensor};

use super::elementwise::column_sums;
use super::{LaunchShape, Out, THREADS, args, launch, vector};

/// A warp per row.
fn shape(rows: usize) -> LaunchShape {
    LaunchShape::new(rows.div_ceil(THREADS / 32), THREADS)
}

/// x + g·a + (1 − g)·b.
pub(crate) fn forward(x: &Tensor, [a, b, w, c]: [&Tensor; 4]) -> Result<Tensor> {
    let (rows, d) = a.dims2()?;
    let mut y = Out::like(x)?;
    launch("fusion_forward", x.dtype(), shape(rows), &mut args![x, a, b, w, &vector(c)?, &mut y, rows, d])?;
    y.finish()
}

/// Gradients of a, b, W and c.
pub(crate) fn backward([a, b, w, c]: [&Tensor; 4], dy: &Tensor) -> Result<[Tensor; 4]> {
    let (rows, d) = a.dims2()?;
    let (mut da, mut db, mut dz) = (Out::like(a)?, Out::like(b)?, Out::new(&[rows], DType::F32, a)?);
    let bias = vector(c)?;
    let mut args = args![a, b, w, &bias, dy, &mut da, &mut db, &mut dz, rows, d];
    launch("fusion_backward", a.dtype(), shape(rows), &mut args)?;
    let dz = dz.finish()?;
    let halves = [column_sums(a, d, Some(&dz))?, column_sums(b, d, Some(&dz))?];
    let dw = Tensor::cat(&halves, 0)?.reshape(w.dims())?;
    Ok([da.finish()?, db.finish()?, dw, column_sums(&dz, 1, None)?.reshape(c.dims())?])
}
