//! Products with weights.

use candle_core::{DType, Result, Tensor, bail};

use super::elementwise::{begin, column_sums};
use super::{Operand, Out, Place, gemm};

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
    let mut y = Out::new(&[rows, outer], x.dtype(), x)?;
    let keep = b.is_some() || residual.is_some();
    if keep {
        begin(residual, b, &mut y, outer)?;
    }
    let place = Place { start: 0, stride: outer, keep };
    gemm(&mut y, place, [rows, outer, inner], Operand::of(x), oriented(w, out_in))?;
    y.done()
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
    let fresh = |stride| Place { start: 0, stride, keep: false };
    gemm(&mut dx, fresh(inner), [rows, inner, outer], Operand::of(&dy), oriented(w, out_in).t())?;
    let mut dw = Out::new(w.dims(), DType::F32, x)?;
    let x = x.reshape((rows, inner))?;
    let (x, g) = (Operand::of(&x), Operand::of(&dy));
    match out_in {
        true => gemm(&mut dw, fresh(inner), [outer, inner, rows], g.t(), x)?,
        false => gemm(&mut dw, fresh(outer), [inner, outer, rows], x.t(), g)?,
    }
    let db = with_bias.then(|| column_sums(&dy, outer, None)).transpose()?;
    Ok((dx.done()?, dw.done()?, db))
}
