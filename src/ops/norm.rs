//! Normalisations over the last dimension, whole or in groups.
//!
//! All four are one function: rows are cut into groups, each group is (optionally) centred and
//! divided by its root mean square, then scaled and (optionally) shifted per column. With
//! x̂ = (x − μ)/σ, the gradient of a group of n columns is
//! dx = (ĝ − x̂·mean(ĝ·x̂) − [centred] mean(ĝ)) / σ, where ĝ = dy·w.
//!
//! | function | source |
//! |---|---|
//! | layer norm | Ba et al. 2016, eq. 4 |
//! | RMS norm | Zhang & Sennrich 2019, eq. 4 |
//! | group norm and gate | RWKV-6 ("Finch"): GroupNorm over heads, times SiLU(gate) |
//! | gated RMS norm | Mamba-2: RMSNorm(y · SiLU(z)), norm after the gate |

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::data::{Data, ROWS, rows_cols, sum_in_order, tensor, wide};
use super::elementwise::zip;
use super::real::total;
use super::stored::{Stored, dispatch_stored};
use super::{Case, Real, Tape, Var, simd};
use crate::launch::{self, elementwise};
use crate::products::zeros;

#[derive(Clone, Copy)]
struct NormShape {
    cols: usize,
    groups: usize,
    centred: bool,
    eps: f64,
}

/// Mean and 1/σ of one group.
#[inline(always)]
fn moments<T: Real>(x: &[T], s: NormShape) -> (T, T) {
    let n = T::of(x.len() as f64);
    let mean = if s.centred { lanes_sum(x, |v| v) / n } else { T::zero() };
    let square = lanes_sum(x, |v| (v - mean) * (v - mean)) / n;
    (mean, T::one() / (square + T::of(s.eps)).sqrt())
}

/// A sum in sixteen lanes: vectorises, and always in the same order.
#[inline(always)]
fn lanes_sum<T: Real>(x: &[T], f: impl Fn(T) -> T) -> T {
    let mut lanes = [T::zero(); 16];
    let chunks = x.chunks_exact(16);
    let rest = chunks.remainder();
    for c in chunks {
        for (l, v) in lanes.iter_mut().zip(c) {
            *l += f(*v);
        }
    }
    for (l, v) in lanes.iter_mut().zip(rest) {
        *l += f(*v);
    }
    total(lanes)
}

fn forward<S: Stored>(x: &Tensor, w: &Tensor, b: Option<&Tensor>, s: NormShape) -> Result<Tensor> {
    let (w, b) = (wide(w)?, b.map(wide).transpose()?);
    let (xd, wd) = (Data::of(x)?, Data::of(&w)?);
    let (x_all, w) = (xd.get::<S>()?, wd.get::<S::Real>()?);
    let bd = b.as_ref().map(Data::of).transpose()?;
    let b = bd.as_ref().map(|b| b.get::<S::Real>()).transpose()?;
    let mut y = zeros::<S>(x_all.len());
    let block = ROWS * s.cols;
    y.par_chunks_mut(block).zip(x_all.par_chunks(block)).for_each(|(y, x)| {
        S::loaded(x, |x| {
            S::stored(y, |y| {
                simd(
                    #[inline(always)]
                    || {
                        for (y, x) in y.chunks_exact_mut(s.cols).zip(x.chunks_exact(s.cols)) {
                            normalise_row(x, y, w, b, s);
                        }
                    },
                );
            });
        });
    });
    tensor(y, x.dims())
}

#[inline(always)]
fn normalise_row<T: Real>(x: &[T], y: &mut [T], w: &[T], b: Option<&[T]>, s: NormShape) {
    let size = s.cols / s.groups;
    for g in 0..s.groups {
        let cols = g * size..(g + 1) * size;
        let x = &x[cols.clone()];
        let (mean, inv) = moments(x, s);
        let y = &mut y[cols.clone()];
        for ((y, x), w) in y.iter_mut().zip(x).zip(&w[cols.clone()]) {
            *y = (*x - mean) * inv * *w;
        }
        if let Some(b) = b {
            y.iter_mut().zip(&b[cols]).for_each(|(y, b)| *y += *b);
        }
    }
}

/// Gradients of x, w and b.
fn backward<S: Stored>(x: &Tensor, w: &Tensor, dy: &Tensor, s: NormShape) -> Result<[Tensor; 3]> {
    let w = wide(w)?;
    let (xd, wd, dyd) = (Data::of(x)?, Data::of(&w)?, Data::of(dy)?);
    let (x_all, w, dy_all) = (xd.get::<S>()?, wd.get::<S::Real>()?, dyd.get::<S>()?);
    let mut dx = zeros::<S>(x_all.len());
    let block = ROWS * s.cols;
    let blocks = dx.par_chunks_mut(block).zip(x_all.par_chunks(block)).zip(dy_all.par_chunks(block));
    let sums = || zeros::<S::Real>(s.cols);
    let partial: (Vec<_>, Vec<_>) = blocks
        .map(|((dx, x), dy)| {
            let (mut dw, mut db) = (sums(), sums());
            let mut go = |x: &[S::Real], dy: &[S::Real], dx: &mut [S::Real]| {
                simd(
                    #[inline(always)]
                    || {
                        let rows = x.chunks_exact(s.cols).zip(dy.chunks_exact(s.cols));
                        for (dx, (x, dy)) in dx.chunks_exact_mut(s.cols).zip(rows) {
                            row_backward(x, dy, w, dx, &mut dw, &mut db, s);
                        }
                    },
                );
            };
            S::loaded(x, |x| S::loaded(dy, |dy| S::stored(dx, |dx| go(x, dy, dx))));
            (dw, db)
        })
        .unzip();
    Ok([
        tensor(dx, x.dims())?,
        tensor(sum_in_order(&partial.0, s.cols), &[s.cols])?,
        tensor(sum_in_order(&partial.1, s.cols), &[s.cols])?,
    ])
}

#[inline(always)]
fn row_backward<T: Real>(x: &[T], dy: &[T], w: &[T], dx: &mut [T], dw: &mut [T], db: &mut [T], s: NormShape) {
    let size = s.cols / s.groups;
    let n = T::of(size as f64);
    for g in 0..s.groups {
        let c = g * size..(g + 1) * size;
        let (x, dy, w) = (&x[c.clone()], &dy[c.clone()], &w[c.clone()]);
        let (dx, dw, db) = (&mut dx[c.clone()], &mut dw[c.clone()], &mut db[c]);
        let (mean, inv) = moments(x, s);
        for i in 0..size {
            let normed = (x[i] - mean) * inv;
            dw[i] += dy[i] * normed;
            db[i] += dy[i];
            dx[i] = dy[i] * w[i] * normed; // for the moment: ĝ·x̂
        }
        let along = lanes_sum(dx, |v| v) / n;
        for i in 0..size {
            dx[i] = dy[i] * w[i];
        }
        let shift = if s.centred { lanes_sum(dx, |v| v) / n } else { T::zero() };
        for i in 0..size {
            dx[i] = (dx[i] - shift - (x[i] - mean) * inv * along) * inv;
        }
    }
}

fn norm(
    tape: &Tape,
    x: &Var,
    w: &Var,
    b: Option<&Var>,
    groups: usize,
    centred: bool,
    eps: f64,
) -> Result<Var> {
    let (_, cols) = rows_cols(x.tensor());
    if w.tensor().elem_count() != cols || groups == 0 || !cols.is_multiple_of(groups) {
        bail!("norm: {cols} columns, weight {:?}, {groups} groups", w.dims());
    }
    let s = NormShape { cols, groups, centred, eps };
    let dtype = x.tensor().dtype();
    let on_device =
        launch::runs_on_kernels(x.tensor()).then_some(launch::norm::Norm { cols, groups, centred, eps });
    let make = move |x: &Tensor, w: &Tensor, b: Option<&Tensor>| match on_device {
        Some(s) => launch::norm::forward(x, w, b, s),
        None => dispatch_stored!(dtype, S => forward::<S>(x, w, b, s)),
    };
    let y = make(x.tensor(), w.tensor(), b.map(Var::tensor))?;
    if !tape.requires_grad(&[x, w]) {
        return Ok(Var::constant(y));
    }
    let (xs, ws, bs) = (x.slot(), w.slot(), b.and_then(Var::slot));
    let (x, w, b) = (x.tensor().clone(), w.tensor().clone(), b.map(|b| b.tensor().clone()));
    let again = (x.clone(), w.clone());
    let y = tape.record_one(y, move |dy, sink| {
        let [dx, dw, db] = match on_device {
            Some(s) => launch::norm::backward(&x, &w, &dy, s)?,
            None => dispatch_stored!(dtype, S => backward::<S>(&x, &w, &dy, s))?,
        };
        sink.add(xs, dx)?;
        sink.add(ws, dw)?;
        sink.add(bs, db)
    });
    Ok(y.made_again_if_brief(move || make(&again.0, &again.1, b.as_ref())))
}

/// Layer norm of every row: centred, scaled by `w`, shifted by `b`.
///
/// # Shapes
/// - `x`: [N, d]
/// - `w`, `b`: `[d]`
/// - result: [N, d]
pub fn layer_norm(tape: &Tape, x: &Var, w: &Var, b: &Var, eps: f64) -> Result<Var> {
    norm(tape, x, w, Some(b), 1, true, eps)
}

/// RMS norm of every row: not centred, scaled by `w`.
///
/// # Shapes
/// - `x`: [N, d]
/// - `w`: `[d]`
/// - result: [N, d]
pub fn rms_norm(tape: &Tape, x: &Var, w: &Var, eps: f64) -> Result<Var> {
    norm(tape, x, w, None, 1, false, eps)
}

/// RWKV-6's read-out: `GroupNorm(x) · SiLU(gate)`, over the columns of each of `groups` groups.
///
/// # Shapes
/// - `x`, `gate`: [N, d]
/// - `w`, `b`: `[d]`
/// - result: [N, d]
pub fn group_norm_gate(
    tape: &Tape,
    x: &Var,
    gate: &Var,
    w: &Var,
    b: &Var,
    groups: usize,
    eps: f64,
) -> Result<Var> {
    let y = norm(tape, x, w, Some(b), groups, true, eps)?;
    silu_product(tape, gate, &y)
}

/// Mamba-2's read-out: `RMSNorm(x · SiLU(gate))`, over the columns of each of `groups` groups.
///
/// # Shapes
/// - `x`, `gate`: [N, d]
/// - `w`: `[d]`
/// - result: [N, d]
pub fn gated_rms_norm(tape: &Tape, x: &Var, gate: &Var, w: &Var, groups: usize, eps: f64) -> Result<Var> {
    let y = silu_product(tape, gate, x)?;
    norm(tape, &y, w, None, groups, false, eps)
}

/// `SiLU(gate) · x`.
fn silu_product(tape: &Tape, gate: &Var, x: &Var) -> Result<Var> {
    let dtype = x.tensor().dtype();
    let on_device = launch::runs_on_kernels(x.tensor());
    let y = match on_device {
        true => elementwise::zip("silu_product_forward", gate.tensor(), x.tensor())?,
        false => dispatch_stored!(dtype, S => zip::<S>(gate.tensor(), x.tensor(), |g, x| g.silu() * x))?,
    };
    if !tape.requires_grad(&[gate, x]) {
        return Ok(Var::constant(y));
    }
    let (gs, xs) = (gate.slot(), x.slot());
    let (gate, x) = (gate.tensor().clone(), x.tensor().clone());
    Ok(tape.record_one(y, move |dy, sink| {
        if on_device {
            let (dg, dx) = elementwise::zip_backward("silu_product_backward", &gate, &x, &dy)?;
            sink.add(gs, dg)?;
            return sink.add(xs, dx);
        }
        dispatch_stored!(dtype, S => {
            let slope = zip::<S>(&gate, &x, |g, x| x * g.silu_slope())?;
            sink.add(gs, zip::<S>(&slope, &dy, |s, dy| s * dy)?)?;
            sink.add(xs, zip::<S>(&gate, &dy, |g, dy| g.silu() * dy)?)
        })
    }))
}

/// The slow obvious norm, in candle's differentiable functions.
pub(super) fn reference(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    groups: usize,
    centred: bool,
    eps: f64,
) -> Result<Tensor> {
    let (rows, cols) = x.dims2()?;
    let g = x.reshape((rows, groups, cols / groups))?;
    let g = if centred { g.broadcast_sub(&g.mean_keepdim(2)?)? } else { g };
    let scale = (g.sqr()?.mean_keepdim(2)? + eps)?.sqrt()?;
    let y = g.broadcast_div(&scale)?.reshape((rows, cols))?.broadcast_mul(w)?;
    b.map_or(Ok(y.clone()), |b| y.broadcast_add(b))
}

pub(super) fn silu_reference(x: &Tensor) -> Result<Tensor> {
    x / (x.neg()?.exp()? + 1.0)?
}

pub(super) fn cases(normal: &mut super::Normal<'_>) -> Vec<Case> {
    let (rows, cols) = (67, 24);
    let mut inputs = |n: usize| -> Vec<Tensor> {
        let mut all: Vec<_> = (0..n).map(|_| normal(&[rows, cols])).collect();
        all.extend([normal(&[cols]), normal(&[cols])]);
        all
    };
    let mut all = vec![
        Case::new(
            "layer norm",
            inputs(1),
            |tape, v| Ok(vec![layer_norm(tape, &v[0], &v[1], &v[2], 1e-5)?]),
            |t| Ok(vec![reference(&t[0], &t[1], Some(&t[2]), 1, true, 1e-5)?]),
        ),
        Case::new(
            "RMS norm",
            inputs(1)[..2].to_vec(),
            |tape, v| Ok(vec![rms_norm(tape, &v[0], &v[1], 1e-5)?]),
            |t| Ok(vec![reference(&t[0], &t[1], None, 1, false, 1e-5)?]),
        ),
        Case::new(
            "group norm and gate",
            inputs(2),
            |tape, v| Ok(vec![group_norm_gate(tape, &v[0], &v[1], &v[2], &v[3], 3, 64e-5)?]),
            |t| {
                let y = reference(&t[0], &t[2], Some(&t[3]), 3, true, 64e-5)?;
                Ok(vec![(y * silu_reference(&t[1])?)?])
            },
        ),
        Case::new(
            "gated RMS norm",
            inputs(2)[..3].to_vec(),
            |tape, v| Ok(vec![gated_rms_norm(tape, &v[0], &v[1], &v[2], 1, 1e-5)?]),
            |t| {
                let y = (&t[0] * silu_reference(&t[1])?)?;
                Ok(vec![reference(&y, &t[2], None, 1, false, 1e-5)?])
            },
        ),
        Case::new(
            "gated RMS norm in groups",
            inputs(2)[..3].to_vec(),
            |tape, v| Ok(vec![gated_rms_norm(tape, &v[0], &v[1], &v[2], 3, 1e-5)?]),
            |t| {
                let y = (&t[0] * silu_reference(&t[1])?)?;
                Ok(vec![reference(&y, &t[2], None, 3, false, 1e-5)?])
            },
        ),
    ];
    // Rows that are no whole packs of 16 bytes, and that a warp goes over more than once.
    all.extend([(5, 11), (3, 520)].map(|(rows, cols)| {
        Case::new(
            format!("layer norm of {cols}"),
            vec![normal(&[rows, cols]), normal(&[cols]), normal(&[cols])],
            |tape, v| Ok(vec![layer_norm(tape, &v[0], &v[1], &v[2], 1e-5)?]),
            |t| Ok(vec![reference(&t[0], &t[1], Some(&t[2]), 1, true, 1e-5)?]),
        )
    }));
    all
}
