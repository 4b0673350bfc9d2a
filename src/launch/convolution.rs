//! Mamba-2's short convolution.

use candle_core::{DType, Result, Tensor, bail};

use super::elementwise::column_sums;
use super::{LaunchShape, Out, THREADS, args, launch, vector};

/// Positions that a thread runs_on_kernels, as `convolution.cu` says; and the most taps it has registers for.
const STEPS: usize = 32;
const TAPS: usize = 8;

/// Batch, time, channels, taps.
type ConvolutionSizes = [usize; 4];

fn grid([batch, time, channels, taps]: ConvolutionSizes) -> Result<LaunchShape> {
    if taps > TAPS {
        bail!("convolution: {taps} taps, the kernel takes at most {TAPS}");
    }
    Ok(LaunchShape {
        grid: [batch * time.div_ceil(STEPS), channels.div_ceil(THREADS), 1],
        threads: THREADS,
        shared: 0,
    })
}

/// SiLU of the convolution, and the new tail.
pub(crate) fn forward([x, w, b, tail]: [&Tensor; 4], s: ConvolutionSizes) -> Result<(Tensor, Tensor)> {
    let [batch, time, channels, taps] = s;
    let (dtype, w, b) = (x.dtype(), vector(w)?, vector(b)?);
    let tail = tail.to_dtype(dtype)?;
    let (mut y, mut after) = (Out::like(x)?, Out::like(&tail)?);
    launch(
        "convolution_forward",
        dtype,
        grid(s)?,
        &mut args![x, &w, &b, &tail, &mut y, time, channels, taps],
    )?;
    let each = LaunchShape::each(tail.elem_count());
    let mut args = args![x, &tail, &mut after, batch, time, channels, taps];
    launch("convolution_tail", dtype, each, &mut args)?;
    Ok((y.finish()?, after.finish()?))
}

/// Gradients of x, W and b.
pub(crate) fn backward(
    [x, w, b, tail]: [&Tensor; 4],
    dy: &Tensor,
    s: ConvolutionSizes,
) -> Result<[Tensor; 3]> {
    let [batch, time, channels, taps] = s;
    let (dtype, shape, filters, b) = (x.dtype(), grid(s)?, vector(w)?, vector(b)?);
    let tail = tail.to_dtype(dtype)?;
    let (mut dz, mut dx) = (Out::like(x)?, Out::like(x)?);
    let width = channels * (taps + 1);
    let mut partial = Out::new(&[shape.grid[0], width], DType::F32, x)?;
    let mut args = args![x, &filters, &b, &tail, dy, &mut dz, &mut partial, time, channels, taps];
    launch("convolution_slopes", dtype, shape, &mut args)?;
    let (dz, rows) = (dz.finish()?, batch * time);
    let mut args = args![&dz, &filters, &mut dx, rows, time, channels, taps];
    launch("convolution_backward", dtype, LaunchShape::each(rows * channels), &mut args)?;
    let both = column_sums(&partial.finish()?, width, None)?;
    let dw = both.narrow(0, 0, channels * taps)?.reshape(w.dims())?;
    Ok([dx.finish()?, dw, both.narrow(0, channels * taps, channels)?])
}
