//! Mamba-2's short convolution.

use candle_core::{DType, Result, Tensor, bail};

use super::elementwise::column_sums;
use super::{Arg, LaunchShape, Out, THREADS, args, launch, vector};

/// Positions that a thread has, as `convolution.cu` says; and the most taps it has registers for.
const STEPS: usize = 32;
const TAPS: usize = 8;

/// Batch, time, channels, taps.
type ConvolutionSizes = [usize; 4];

/// One launch for all positions and channels.
struct Convolution {
    /// Behind a kernel's name: four channels a thread, or one.
    four: bool,
    shape: LaunchShape,
}

impl Convolution {
    /// `tensors` are read and written four channels at a time where that is possible.
    fn of([batch, time, channels, taps]: ConvolutionSizes, tensors: &[&Tensor]) -> Result<Self> {
        if taps > TAPS {
            bail!("convolution: {taps} taps, the kernel takes at most {TAPS}");
        }
        let begins = |t: &&Tensor| t.layout().start_offset().is_multiple_of(4);
        let four = taps == 4 && channels.is_multiple_of(4) && tensors.iter().all(begins);
        let (threads, each) = if four { (THREADS / 2, 4) } else { (THREADS, 1) };
        let grid = [batch * time.div_ceil(STEPS), channels.div_ceil(threads * each), 1];
        Ok(Self { four, shape: LaunchShape { grid, threads, shared: 0 } })
    }

    fn launch(&self, what: &str, dtype: DType, args: &mut [Arg<'_>]) -> Result<()> {
        let end = if self.four { "_4" } else { "" };
        launch(&format!("convolution_{what}{end}"), dtype, self.shape, args)
    }
}

/// SiLU of the convolution, and the new tail.
pub(crate) fn forward([x, w, b, tail]: [&Tensor; 4], s: ConvolutionSizes) -> Result<(Tensor, Tensor)> {
    let [batch, time, channels, taps] = s;
    let (dtype, w, b) = (x.dtype(), vector(w)?, vector(b)?);
    let tail = tail.to_dtype(dtype)?;
    let (mut y, mut after) = (Out::like(x)?, Out::like(&tail)?);
    let plan = Convolution::of(s, &[x, &tail])?;
    plan.launch("forward", dtype, &mut args![x, &w, &b, &tail, &mut y, time, channels, taps])?;
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
    let [_, time, channels, taps] = s;
    let (dtype, filters, b) = (x.dtype(), vector(w)?, vector(b)?);
    let tail = tail.to_dtype(dtype)?;
    let plan = Convolution::of(s, &[x, &tail, dy])?;
    let (mut dz, mut dx) = (Out::like(x)?, Out::like(x)?);
    let width = channels * (taps + 1);
    let mut partial = Out::new(&[plan.shape.grid[0], width], DType::F32, x)?;
    let mut args = args![x, &filters, &b, &tail, dy, &mut dz, &mut partial, time, channels, taps];
    plan.launch("slopes", dtype, &mut args)?;
    let dz = dz.finish()?;
    plan.launch("backward", dtype, &mut args![&dz, &filters, &mut dx, time, channels, taps])?;
    let both = column_sums(&partial.finish()?, width, None)?;
    let dw = both.narrow(0, 0, channels * taps)?.reshape(w.dims())?;
    Ok([dx.finish()?, dw, both.narrow(0, channels * taps, channels)?])
}
