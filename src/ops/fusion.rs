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

use super::data::{Data, ROWS, is_brief, rows_cols, sum_in_order, tensor};
use super::real::dot;
use super::{Case, Real, Tape, Var, dispatch_dtype, simd};
use crate::launch;

#[inline(always)]
fn gate<T: Real>(a: &[T], b: &[T], w: &[T], bias: T) -> T {
    let d = a.len();
    (dot(a, &w[..d]) + dot(b, &w[d..]) + bias).sigmoid()
}

fn forward<T: Real>(residual: &Tensor, x: [&Tensor; 4]) -> Result<Tensor> {
    let (rows, d) = rows_cols(x[0]);
    let rd = Data::of(residual)?;
    let residual = rd.get::<T>()?;
    let [a, b, w, c] = [Data::of(x[0])?, Data::of(x[1])?, Data::of(x[2])?, Data::of(x[3])?];
    let (a, b, w, c) = (a.get::<T>()?, b.get::<T>()?, w.get::<T>()?, c.get::<T>()?[0]);
    let mut y = residual.to_vec();
    let n = ROWS * d;
    y.par_chunks_mut(n).zip(a.par_chunks(n).zip(b.par_chunks(n))).for_each(|(y, (a, b))| {
        simd(
            #[inline(always)]
            || {
                let rows = a.chunks_exact(d).zip(b.chunks_exact(d));
                for (y, (a, b)) in y.chunks_exact_mut(d).zip(rows) {
                    let g = gate(a, b, w, c);
                    for i in 0..d {
                        y[i] += g * a[i] + (T::one() - g) * b[i];
                    }
                }
            },
        );
    });
    tensor(y, &[rows, d])
}

/// Gradients of a, b, W and c.
fn backward<T: Real>(x: [&Tensor; 4], dy: &Tensor) -> Result<[Tensor; 4]> {
    let shapes = x.map(Tensor::dims);
    let (rows, d) = rows_cols(x[0]);
    let [a, b, w, c] = [Data::of(x[0])?, Data::of(x[1])?, Data::of(x[2])?, Data::of(x[3])?];
    let (a, b, w, c) = (a.get::<T>()?, b.get::<T>()?, w.get::<T>()?, c.get::<T>()?[0]);
    let dyd = Data::of(dy)?;
    let (mut da, mut db) = (vec![T::zero(); rows * d], vec![T::zero(); rows * d]);
    let n = ROWS * d;
    let outs = da.par_chunks_mut(n).zip(db.par_chunks_mut(n));
    let ins = a.par_chunks(n).zip(b.par_chunks(n)).zip(dyd.get::<T>()?.par_chunks(n));
    // The last element of a partial sum is the bias's gradient.
    let partial: Vec<Vec<T>> = outs
        .zip(ins)
        .map(|((da, db), ((a, b), dy))| {
            let mut dw = vec![T::zero(); 2 * d + 1];
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
    if is_brief(x.tensor()) {
        let [x, a, b, w, c] = [x, a, b, w, c].map(|v| tape.widened(v));
        return tape.rounded(&gated_fusion(tape, &x?, &a?, &b?, &w?, &c?)?);
    }
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
        false => dispatch_dtype!(dtype, T => forward::<T>(x.tensor(), inputs.each_ref()))?,
    };
    if !tape.requires_grad(&vars) && !tape.requires_grad(&[x]) {
        return Ok(Var::constant(y));
    }
    let (slots, xs) = (vars.map(Var::slot), x.slot());
    Ok(tape.record_one(y, move |dy, sink| {
        let gradients = match on_device {
            true => launch::fusion::backward(inputs.each_ref(), &dy)?,
            false => dispatch_dtype!(dtype, T => backward::<T>(inputs.each_ref(), &dy))?,
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
