//! Matrix products: `y = x W (+ b)`, for weights stored either way round.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::data::{Data, ROWS, column_sums, is_brief, rows_cols, tensor};
use super::linear_brief as in_brief;
use super::matmul::product;
use super::stored::Stored;
use super::weights::{Layout, fit, oriented, row_product};
use super::{Case, Real, Tape, Var, dispatch_dtype, simd};
use crate::launch;
use crate::products::Mat;

/// Adds bias and residual to a product.
fn add_rest<T: Real>(y: &mut [T], b: Option<&[T]>, residual: Option<&[T]>, cols: usize) {
    let block = ROWS * cols.max(1);
    let each = |y: &mut [T], residual: Option<&[T]>| {
        simd(
            #[inline(always)]
            || {
                if let Some(r) = residual {
                    y.iter_mut().zip(r).for_each(|(y, r)| *y += *r);
                }
                if let Some(b) = b {
                    y.chunks_exact_mut(cols).for_each(|y| y.iter_mut().zip(b).for_each(|(y, b)| *y += *b));
                }
            },
        );
    };
    match residual {
        Some(r) => y.par_chunks_mut(block).zip(r.par_chunks(block)).for_each(|(y, r)| each(y, Some(r))),
        None if b.is_some() => y.par_chunks_mut(block).for_each(|y| each(y, None)),
        None => {}
    }
}

fn forward<T: Real + Stored<Real = T>>(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    residual: Option<&Tensor>,
    layout: Layout,
) -> Result<Tensor> {
    let (rows, inner) = rows_cols(x);
    let (w_rows, w_cols) = w.dims2()?;
    let (xd, wd) = (Data::of(x)?, Data::of(w)?);
    let weight = oriented(Mat::new(wd.get::<T>()?, w_rows, w_cols), layout);
    let outer = weight.cols;
    let (bd, rd) = (b.map(Data::of).transpose()?, residual.map(Data::of).transpose()?);
    let b = bd.as_ref().map(|b| b.get::<T>()).transpose()?;
    let residual = rd.as_ref().map(|r| r.get::<T>()).transpose()?;
    fit([rows, inner], (&weight, w.dims()), [b.map(<[T]>::len), residual.map(<[T]>::len)])?;
    let x = xd.get::<T>()?;
    let mut y = match rows {
        1 => row_product(x, weight),
        _ => product(Mat::new(x, rows, inner), weight),
    };
    add_rest(&mut y, b, residual, outer);
    tensor(y, &[rows, outer])
}

/// Gradients of x, W and (if asked) b.
fn backward<T: Real + Stored<Real = T>>(
    x: &Tensor,
    w: &Tensor,
    dy: &Tensor,
    layout: Layout,
    with_bias: bool,
) -> Result<(Tensor, Tensor, Option<Tensor>)> {
    let (rows, inner) = rows_cols(x);
    let (w_rows, w_cols) = w.dims2()?;
    let (xd, wd, dyd) = (Data::of(x)?, Data::of(w)?, Data::of(dy)?);
    let weight = oriented(Mat::new(wd.get::<T>()?, w_rows, w_cols), layout);
    let outer = weight.cols;
    let dy = Mat::new(dyd.get::<T>()?, rows, outer);
    let dx = product(dy, weight.t());
    let x = Mat::new(xd.get::<T>()?, rows, inner);
    let dw = match layout {
        Layout::OutIn => product(dy.t(), x),
        Layout::InOut => product(x.t(), dy),
    };
    let db = with_bias.then(|| tensor(column_sums(dy.data, outer), &[outer])).transpose()?;
    Ok((tensor(dx, &[rows, inner])?, tensor(dw, w.dims())?, db))
}

/// `y = x W (+ b)`.
///
/// # Shapes
/// - `x`: [N, in]
/// - `w`: [out, in] or [in, out], as `layout` says
/// - `b`: `[out]`
/// - result: [N, out]
pub fn linear(tape: &Tape, x: &Var, w: &Var, b: Option<&Var>, layout: Layout) -> Result<Var> {
    linear_onto(tape, None, x, w, b, layout)
}

/// `y = residual + x W (+ b)`: what ends a residual branch, in one pass.
///
/// # Shapes
/// - `residual`: [N, out]
/// - the others and the result: see [`linear`]
pub fn linear_onto(
    tape: &Tape,
    residual: Option<&Var>,
    x: &Var,
    w: &Var,
    b: Option<&Var>,
    layout: Layout,
) -> Result<Var> {
    let dtype = x.tensor().dtype();
    let (bias, onto) = (b.map(Var::tensor), residual.map(Var::tensor));
    let (on_device, brief) = (launch::runs_on_kernels(x.tensor()), is_brief(x.tensor()));
    let y = match on_device {
        true => launch::linear::forward(x.tensor(), w.tensor(), bias, onto, layout == Layout::OutIn)?,
        false if brief => in_brief::forward(x.tensor(), w.tensor(), bias, onto, layout)?,
        false => dispatch_dtype!(dtype, T => forward::<T>(x.tensor(), w.tensor(), bias, onto, layout))?,
    };
    let more: Vec<&Var> = [Some(x), Some(w), b, residual].into_iter().flatten().collect();
    if !tape.requires_grad(&more) {
        return Ok(Var::constant(y));
    }
    let (xs, ws, bs, rs) = (x.slot(), w.slot(), b.and_then(Var::slot), residual.and_then(Var::slot));
    let (x, w) = (x.kept(), w.tensor().clone());
    Ok(tape.record_one(y, move |dy, sink| {
        let x = x.get()?;
        let (dx, dw, db) = match on_device {
            true => launch::linear::backward(&x, &w, &dy, layout == Layout::OutIn, bs.is_some())?,
            false if brief => in_brief::backward(&x, &w, &dy, layout, bs.is_some())?,
            false => dispatch_dtype!(dtype, T => backward::<T>(&x, &w, &dy, layout, bs.is_some()))?,
        };
        sink.add(xs, dx)?;
        sink.add(ws, dw)?;
        db.map_or(Ok(()), |db| sink.add(bs, db))?;
        sink.add(rs, dy)
    }))
}

fn reference(t: &[Tensor], layout: Layout) -> Result<Tensor> {
    t[0].matmul(&if layout == Layout::OutIn { t[1].t()? } else { t[1].clone() })
}

pub(super) fn cases(normal: &mut super::Normal<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for (rows, inner, outer) in [(1, 1, 1), (1, 35, 1), (1, 35, 300), (7, 5, 3), (70, 33, 17)] {
        for layout in [Layout::OutIn, Layout::InOut] {
            let shape = if layout == Layout::OutIn { [outer, inner] } else { [inner, outer] };
            cases.push(Case::new(
                format!("{rows}x{inner}x{outer} {layout:?}"),
                vec![normal(&[rows, inner]), normal(&shape), normal(&[outer])],
                move |tape, v| Ok(vec![linear(tape, &v[0], &v[1], Some(&v[2]), layout)?]),
                move |t| Ok(vec![reference(t, layout)?.broadcast_add(&t[2])?]),
            ));
            cases.push(Case::new(
                format!("{rows}x{inner}x{outer} {layout:?}, no bias"),
                vec![normal(&[rows, inner]), normal(&shape)],
                move |tape, v| Ok(vec![linear(tape, &v[0], &v[1], None, layout)?]),
                move |t| Ok(vec![reference(t, layout)?]),
            ));
            cases.push(Case::new(
                format!("{rows}x{inner}x{outer} {layout:?} onto"),
                vec![normal(&[rows, inner]), normal(&shape), normal(&[outer]), normal(&[rows, outer])],
                move |tape, v| Ok(vec![linear_onto(tape, Some(&v[3]), &v[0], &v[1], Some(&v[2]), layout)?]),
                move |t| Ok(vec![(reference(t, layout)?.broadcast_add(&t[2])? + &t[3])?]),
            ));
        }
    }
    cases
}
