//! Products with weights.

use candle_core::{DType, Result, Tensor, bail};

use super::elementwise::{begin, column_sums};
use super::{LaunchShape, Operand, Out, OutputView, THREADS, args, gemm, launch, vector};

/// The weight as [in, out], however it is stored.
fn oriented(w: &Tensor, out_in: bool) -> Operand<'_> {
    if out_in { Operand::of(w).t() } else { Operand::of(w) }
}

fn sizes(x: &Tensor, w: &Tensor, out_in: bool) -> Result<[usize; 3]> {
    let (a, b) = w.dims2()?;
    let (inner, outer) = if out_in { (b, a) } else { (a, b) };
    if x.dims().last() != Some(&inner) {
        bail!("linear: input {:?}, weight {:?} takes {inner}", x.dims(), w.dims());
    }
    Ok([x.elem_count() / inner, outer, inner])
}

/// `residual + x W + b`.
pub(crate) fn forward(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    residual: Option<&Tensor>,
    out_in: bool,
) -> Result<Tensor> {
    let [rows, outer, inner] = sizes(x, w, out_in)?;
    if b.is_some_and(|b| b.elem_count() != outer) || residual.is_some_and(|r| r.elem_count() != rows * outer)
    {
        bail!(
            "linear: [{rows}, {outer}] out, bias {:?}, residual {:?}",
            b.map(Tensor::dims),
            residual.map(Tensor::dims)
        );
    }
    if rows == 1 {
        return row(x, w, b, residual, out_in, [inner, outer]);
    }
    let mut y = Out::new(&[rows, outer], x.dtype(), x)?;
    let keep = b.is_some() || residual.is_some();
    if keep {
        begin(residual, b, &mut y, outer)?;
    }
    let place = OutputView { start: 0, stride: outer, keep };
    gemm(&mut y, place, [rows, outer, inner], Operand::of(x), oriented(w, out_in))?;
    y.finish()
}

/// The same for a single row: the weights go by once, and nothing else is launched.
fn row(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    residual: Option<&Tensor>,
    out_in: bool,
    [inner, outer]: [usize; 2],
) -> Result<Tensor> {
    let (b, dtype) = (b.map(vector).transpose()?, x.dtype());
    if w.dtype() != dtype {
        bail!("linear: input {dtype:?}, weight {:?}", w.dtype());
    }
    let mut y = Out::new(&[1, outer], dtype, x)?;
    let mut args = args![x, w, b.as_ref(), residual, &mut y, inner, outer];
    match out_in {
        true => {
            launch("row_out_in", dtype, LaunchShape::new(outer.div_ceil(THREADS / 32), THREADS), &mut args)?
        }
        false => {
            let (threads, columns) = (512, 32);
            // A team of threads has 16 bytes each of all columns.
            let teams = threads / (columns * dtype.size_in_bytes() / 16);
            let shape = LaunchShape::new(outer.div_ceil(columns), threads).shared(4 * teams * columns);
            launch("row_in_out", dtype, shape, &mut args)?;
        }
    }
    y.finish()
}

/// The first of the largest of a row of logits; nothing where one of them is not a number.
pub(crate) fn likeliest(logits: &Tensor) -> Result<Option<u32>> {
    let (n, mut best) = (logits.elem_count(), Out::new(&[1], DType::U32, logits)?);
    let threads = 1024;
    let shape = LaunchShape::new(1, threads).shared(8 * threads);
    launch("likeliest", logits.dtype(), shape, &mut args![logits, &mut best, n])?;
    let best = best.finish()?.to_vec1::<u32>()?;
    Ok(best.first().copied().filter(|&best| (best as usize) < n))
}

/// Gradients of x, W and (if asked) b; the last two in float32.
pub(crate) fn backward(
    x: &Tensor,
    w: &Tensor,
    dy: &Tensor,
    out_in: bool,
    with_bias: bool,
) -> Result<(Tensor, Tensor, Option<Tensor>)> {
    let [rows, outer, inner] = sizes(x, w, out_in)?;
    let mut dx = Out::new(&[rows, inner], x.dtype(), x)?;
    let dy = dy.reshape((rows, outer))?;
    let fresh = |stride| OutputView { start: 0, stride, keep: false };
    gemm(&mut dx, fresh(inner), [rows, inner, outer], Operand::of(&dy), oriented(w, out_in).t())?;
    let mut dw = Out::new(w.dims(), DType::F32, x)?;
    let x = x.reshape((rows, inner))?;
    let (x, g) = (Operand::of(&x), Operand::of(&dy));
    match out_in {
        true => gemm(&mut dw, fresh(inner), [outer, inner, rows], g.t(), x)?,
        false => gemm(&mut dw, fresh(outer), [inner, outer, rows], x.t(), g)?,
    }
    let db = with_bias.then(|| column_sums(&dy, outer, None)).transpose()?;
    Ok((dx.finish()?, dw.finish()?, db))
}
