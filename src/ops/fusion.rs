//! GroundThink's learned gate between its two branches.
//!
//! | symbol | shape | |
//! |---|---|---|
//! | x | [N, d] | residual stream |
//! | a, b | [N, d] | the branches' outputs (RWKV-6, Mamba-2) |
//! | W, c | [1, 2d], [1] | gate weight (a's half first) and bias |
//!
//! g = sigmoid(W [a; b] + c), one number per position; y = x + g·a + (1 − g)·b

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::data::{Data, ROWS, rows_cols, sum_in_order, tensor, wide};
use super::real::dot;
use super::stored::{Stored, dispatch_stored};
use super::{Case, Real, Tape, Var, simd};
use crate::launch;

#[inline(always)]
fn gate<T: Real>(a: &[T], b: &[T], w: &[T], bias: T) -> T {
    let d = a.len();
    (dot(a, &w[..d]) + dot(b, &w[d..]) + bias).sigmoid()
}

fn forward<S: Stored>(residual: &Tensor, x: [&Tensor; 4]) -> Result<Tensor> {
    let (rows, d) = rows_cols(x[0]);
    let rd = Data::of(residual)?;
    let residual = rd.get::<S>()?;
    let (w, c) = (wide(x[2])?, wide(x[3])?);
    let [a, b, w, c] = [Data::of(x[0])?, Data::of(x[1])?, Data::of(&w)?, Data::of(&c)?];
    let (a, b, w, c) = (a.get::<S>()?, b.get::<S>()?, w.get::<S::Real>()?, c.get::<S::Real>()?[0]);
    let mut y = vec![S::default(); residual.len()];
    let n = ROWS * d;
    let ins = residual.par_chunks(n).zip(a.par_chunks(n).zip(b.par_chunks(n)));
    y.par_chunks_mut(n).zip(ins).for_each(|(y, (residual, (a, b)))| {
        let go = |residual: &[S::Real], a: &[S::Real], b: &[S::Real], y: &mut [S::Real]| {
            simd(
                #[inline(always)]
                || {
                    let rows = residual.chunks_exact(d).zip(a.chunks_exact(d).zip(b.chunks_exact(d)));
                    for (y, (x, (a, b))) in y.chunks_exact_mut(d).zip(rows) {
                        let g = gate(a, b, w, c);
                        for i in 0..d {
                            y[i] = x[i] + (g * a[i] + (S::Real::of(1.0) - g) * b[i]);
                        }
                    }
                },
            );
        };
        S::loaded(residual, |x| S::loaded(a, |a| S::loaded(b, |b| S::stored(y, |y| go(x, a, b, y)))));
    });
    tensor(y, &[rows, d])
}

/// Gradients of a, b, W and c.
fn backward<S: Stored>(x: [&Tensor; 4], dy: &Tensor) -> Result<[Tensor; 4]> {
    let shapes = x.map(Tensor::dims);
    let (rows, d) = rows_cols(x[0]);
    let (w, c) = (wide(x[2])?, wide(x[3])?);
    let [a, b, w, c] = [Data::of(x[0])?, Data::of(x[1])?, Data::of(&w)?, Data::of(&c)?];
    let (a, b, w, c) = (a.get::<S>()?, b.get::<S>()?, w.get::<S::Real>()?, c.get::<S::Real>()?[0]);
    let dyd = Data::of(dy)?;
    let (mut da, mut db) = (vec![S::default(); rows * d], vec![S::default(); rows * d]);
    let n = ROWS * d;
    let outs = da.par_chunks_mut(n).zip(db.par_chunks_mut(n));
    let ins = a.par_chunks(n).zip(b.par_chunks(n)).zip(dyd.get::<S>()?.par_chunks(n));
    // The last element of a partial sum is the bias's gradient.
    let partial: Vec<Vec<S::Real>> = outs
        .zip(ins)
        .map(|((da, db), ((a, b), dy))| {
            let mut dw = vec![S::Real::of(0.0); 2 * d + 1];
            let mut go = |[a, b, dy]: [&[S::Real]; 3], da: &mut [S::Real], db: &mut [S::Real]| {
                simd(
                    #[inline(always)]
                    || {
                        for r in (0..a.len()).step_by(d) {
                            let row = r..r + d;
                            let x = [&a[row.clone()], &b[row.clone()], w, &dy[row.clone()]];
                            row_backward(x, c, &mut da[row.clone()], &mut db[row], &mut dw);
                        }
                    },
                );
            };
            S::loaded(a, |a| {
                S::loaded(b, |b| {
                    S::loaded(dy, |dy| S::stored(da, |da| S::stored(db, |db| go([a, b, dy], da, db))))
                });
            });
            dw
        })
        .collect();
    let mut dw = sum_in_order(&partial, 2 * d + 1);
    let dc = dw.split_off(2 * d);
    Ok([tensor(da, shapes[0])?, tensor(db, shapes[1])?, tensor(dw, shapes[2])?, tensor(dc, shapes[3])?])
}

#[inline(always)]
fn row_backward<T: Real>([a, b, w, dy]: [&[T]; 4], c: T, da: &mut [T], db: &mut [T], dw: &mut [T]) {
    let d = a.len();
    let g = gate(a, b, w, c);
    let dg = dot(dy, a) - dot(dy, b);
    let dz = dg * g * (T::one() - g);
    for i in 0..d {
        da[i] = g * dy[i] + dz * w[i];
        db[i] = (T::one() - g) * dy[i] + dz * w[d + i];
        dw[i] += dz * a[i];
        dw[d + i] += dz * b[i];
    }
    dw[2 * d] += dz;
}

/// `x + g·a + (1 − g)·b` with `g = sigmoid(W [a; b] + c)`, one gate a position.
///
/// # Shapes
/// - `x`, `a`, `b`: [N, d]
/// - `w`: [1, 2·d]
/// - `c`: `[1]`
/// - result: [N, d]
pub fn gated_fusion(tape: &Tape, x: &Var, a: &Var, b: &Var, w: &Var, c: &Var) -> Result<Var> {
    let (_, d) = rows_cols(a.tensor());
    if a.dims() != b.dims()
        || a.dims() != x.dims()
        || w.tensor().elem_count() != 2 * d
        || c.tensor().elem_count() != 1
    {
        bail!("fusion: {:?} and {:?} with gate {:?}", a.dims(), b.dims(), w.dims());
    }
    let dtype = a.tensor().dtype();
    let vars = [a, b, w, c];
    let inputs = vars.map(|v| v.tensor().clone());
    let on_device = launch::runs_on_kernels(x.tensor());
    let y = match on_device {
        true => launch::fusion::forward(x.tensor(), inputs.each_ref())?,
        false => dispatch_stored!(dtype, S => forward::<S>(x.tensor(), inputs.each_ref()))?,
    };
    if !tape.requires_grad(&vars) && !tape.requires_grad(&[x]) {
        return Ok(Var::constant(y));
    }
    let (slots, xs) = (vars.map(Var::slot), x.slot());
    Ok(tape.record_one(y, move |dy, sink| {
        let gradients = match on_device {
            true => launch::fusion::backward(inputs.each_ref(), &dy)?,
            false => dispatch_stored!(dtype, S => backward::<S>(inputs.each_ref(), &dy))?,
        };
        slots.into_iter().zip(gradients).try_for_each(|(slot, g)| sink.add(slot, g))?;
        sink.add(xs, dy)
    }))
}

pub(super) fn cases(normal: &mut super::Normal<'_>) -> Vec<Case> {
    let (n, d) = (67, 5);
    vec![Case::new(
        "random gate",
        vec![normal(&[n, d]), normal(&[n, d]), normal(&[1, 2 * d]), normal(&[1]), normal(&[n, d])],
        |tape, v| Ok(vec![gated_fusion(tape, &v[4], &v[0], &v[1], &v[2], &v[3])?]),
        |x| {
            let z = Tensor::cat(&[&x[0], &x[1]], 1)?.matmul(&x[2].t()?)?.broadcast_add(&x[3])?;
            let g = ((z.neg()?.exp()? + 1.0)?).recip()?;
            let rest = (1.0 - &g)?;
            Ok(vec![((x[0].broadcast_mul(&g)? + x[1].broadcast_mul(&rest)?)? + &x[4])?])
        },
    )]
}
