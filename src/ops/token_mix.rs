//! RWKV-6's token shift with low-rank data-dependent mixing ("ddlerp"; Peng et al. 2024, eqs. 7–9).
//!
//! | symbol | shape | |
//! |---|---|---|
//! | x | [B·T, d] | input; row b·T + t |
//! | tail | [B, d] | last input of the call before: recurrent state, no gradient |
//! | Δ | [B·T, d] | x[t−1] − x[t] |
//! | μ | [d] | static mixing coefficient |
//! | a | [B·T, 5·R] | tanh((x + Δ·μ_x) W₁) |
//! | W₂ | [5, R, d] | second half of the low-rank map |
//! | y_i | 5 × [B·T, d] | x + Δ·(μ_i + a_i W₂_i), for i = w, k, v, r, g |

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::case::like;
use super::data::{Data, ROWS, column_sums, rows_cols, tensor, wide};
use super::stored::{Stored, dispatch_stored};
use super::{Case, Real, Tape, Var, simd};
use crate::launch::{self, runs_on_kernels, token_mix::MixGradients};
use crate::products::{Mat, zeros};

fn shift<S: Stored>(x: &Tensor, tail: &Tensor) -> Result<Tensor> {
    let (rows, d) = rows_cols(x);
    let batch = tail.dim(0)?;
    let (xd, td) = (Data::of(x)?, Data::of(tail)?);
    let (x_all, tail) = (xd.get::<S>()?, td.get::<S>()?);
    let mut y = vec![S::default(); rows * d];
    let sequence = rows / batch * d;
    y.par_chunks_mut(sequence).enumerate().for_each(|(b, y)| {
        let x = &x_all[b * sequence..(b + 1) * sequence];
        simd(
            #[inline(always)]
            || {
                for j in 0..d {
                    y[j] = S::narrow(tail[b * d + j].widen() - x[j].widen());
                }
                for ((y, now), before) in y[d..].iter_mut().zip(&x[d..]).zip(x) {
                    *y = S::narrow(before.widen() - now.widen());
                }
            },
        );
    });
    tensor(y, &[rows, d])
}

fn shift_backward<S: Stored>(dy: &Tensor, batch: usize) -> Result<Tensor> {
    let (rows, d) = rows_cols(dy);
    let data = Data::of(dy)?;
    let sequence = rows / batch * d;
    let mut dx = vec![S::default(); rows * d];
    dx.par_chunks_mut(sequence).zip(data.get::<S>()?.par_chunks(sequence)).for_each(|(dx, dy)| {
        let own = dy.iter().map(|dy| -dy.widen());
        let after = dy[d..].iter().map(|dy| dy.widen()).chain(std::iter::repeat_n(S::Real::of(0.0), d));
        dx.iter_mut().zip(own.zip(after)).for_each(|(dx, (own, after))| *dx = S::narrow(own + after));
    });
    tensor(dx, &[rows, d])
}

/// `Δ[t] = x[t−1] − x[t]`, where `x[−1]` is the tail.
///
/// # Shapes
/// - `x`: [B·T, d]
/// - `tail`: [B, d], the input before `x`; no gradient flows there
/// - result: Δ [B·T, d]
pub fn token_shift(tape: &Tape, x: &Var, tail: &Tensor) -> Result<Var> {
    let dtype = x.tensor().dtype();
    let batch = tail.dim(0)?;
    let on_device = runs_on_kernels(x.tensor());
    let y = match on_device {
        true => launch::token_mix::shift(x.tensor(), tail)?,
        false => dispatch_stored!(dtype, S => shift::<S>(x.tensor(), tail))?,
    };
    if !tape.requires_grad(&[x]) {
        return Ok(Var::constant(y));
    }
    let slot = x.slot();
    Ok(tape.record_one(y, move |dy, sink| {
        let dx = match on_device {
            true => launch::token_mix::shift_backward(&dy, batch)?,
            false => dispatch_stored!(dtype, S => shift_backward::<S>(&dy, batch))?,
        };
        sink.add(slot, dx)
    }))
}

/// `x + Δ·μ`.
///
/// # Shapes
/// - `x`, `delta`: [N, d]
/// - `mu`: d elements, in any shape
/// - result: [N, d]
pub fn lerp(tape: &Tape, x: &Var, delta: &Var, mu: &Var) -> Result<Var> {
    let mixes = mix_forward(x.tensor(), delta.tensor(), &[mu.tensor()], None)?;
    finish(tape, x, delta, mixes, None, &[mu]).map(|mut v| v.remove(0))
}

/// The weights of the data-dependent mix.
///
/// # Shapes
/// B sequences of T positions, width d, maps of rank R.
pub struct MixWeights<'a> {
    /// a: [B·T, 5·R].
    pub low_rank: &'a Var,
    /// W₂: [5, R, d].
    pub w2: &'a Var,
    /// μ of w, k, v, r and g, `[d]` each.
    pub mu: [&'a Var; 5],
}

/// The inputs of w, k, v, r and g, in this order: `y_i = x + Δ·(μ_i + a_i W₂_i)`.
///
/// # Shapes
/// - `x`, `delta`: [B·T, d]
/// - `m`: see [`MixWeights`]
/// - result: five of [B·T, d]
pub fn low_rank_mix(tape: &Tape, x: &Var, delta: &Var, m: &MixWeights<'_>) -> Result<Vec<Var>> {
    let mu = m.mu.map(Var::tensor);
    if tape.decodes(x) {
        let (a, w2) = (m.low_rank.tensor(), m.w2.tensor());
        let mixes = launch::token_mix::mix_row(x.tensor(), delta.tensor(), mu, a, w2)?;
        return Ok(mixes.into_iter().map(Var::constant).collect());
    }
    let mixes = mix_forward(x.tensor(), delta.tensor(), &mu, Some((m.low_rank.tensor(), m.w2.tensor())))?;
    finish(tape, x, delta, mixes, Some((m.low_rank, m.w2)), &m.mu)
}

/// Outputs, and the coefficients that made them; on a device, of the low-rank maps only.
struct Mixed {
    outputs: Vec<Tensor>,
    coefficients: Vec<Tensor>,
}

fn mix_forward(x: &Tensor, delta: &Tensor, mu: &[&Tensor], low: Option<(&Tensor, &Tensor)>) -> Result<Mixed> {
    if runs_on_kernels(x) {
        let launch::token_mix::Mixes { outputs, maps } = launch::token_mix::mix(x, delta, mu, low)?;
        return Ok(Mixed { outputs, coefficients: maps.into_iter().collect() });
    }
    let mut mixed = Mixed { outputs: Vec::new(), coefficients: Vec::new() };
    for (i, mu) in mu.iter().enumerate() {
        let (y, c) = dispatch_stored!(x.dtype(), S => mix_one::<S>(x, delta, mu, low, i))?;
        mixed.outputs.push(y);
        mixed.coefficients.push(c);
    }
    Ok(mixed)
}

fn mix_one<S: Stored>(
    x: &Tensor,
    delta: &Tensor,
    mu: &Tensor,
    low: Option<(&Tensor, &Tensor)>,
    i: usize,
) -> Result<(Tensor, Tensor)> {
    let (rows, d) = rows_cols(x);
    let mu = wide(mu)?;
    let (xd, dd, md) = (Data::of(x)?, Data::of(delta)?, Data::of(&mu)?);
    let mu = md.get::<S::Real>()?;
    if mu.len() != d {
        bail!("mix: {d} columns, coefficients {}", mu.len());
    }
    let mut c = mu.repeat(rows);
    if let Some((a, w2)) = low {
        let (ad, wd) = (Data::of(a)?, Data::of(w2)?);
        let (parts, rank, _) = w2.dims3()?;
        let a = Mat::strided(&ad.get::<S>()?[i * rank..], rows, rank, parts * rank);
        let w = Mat::new(&wd.get::<S>()?[i * rank * d..(i + 1) * rank * d], rank, d);
        S::matmul(a, w, &mut c, d, true);
    }
    let mut y = zeros::<S>(rows * d);
    let (x, delta) = (xd.get::<S>()?, dd.get::<S>()?);
    let n = ROWS * d;
    y.par_chunks_mut(n).zip(c.par_chunks(n)).zip(x.par_chunks(n).zip(delta.par_chunks(n))).for_each(
        |((y, c), (x, delta))| {
            simd(
                #[inline(always)]
                || {
                    for i in 0..y.len() {
                        y[i] = S::narrow(x[i].widen() + delta[i].widen() * c[i]);
                    }
                },
            );
        },
    );
    Ok((tensor(y, &[rows, d])?, tensor(S::kept(c), &[rows, d])?))
}

fn finish(
    tape: &Tape,
    x: &Var,
    delta: &Var,
    mixed: Mixed,
    low: Option<(&Var, &Var)>,
    mu: &[&Var],
) -> Result<Vec<Var>> {
    if !tape.requires_grad(&[x, delta]) && !tape.requires_grad(mu) {
        return Ok(mixed.outputs.into_iter().map(Var::constant).collect());
    }
    let dtype = x.tensor().dtype();
    let (xs, ds) = (x.slot(), delta.slot());
    let mus: Vec<_> = mu.iter().map(|m| m.slot()).collect();
    let low_slots = low.map(|(a, w)| (a.slot(), w.slot()));
    let low = low.map(|(a, w)| (a.tensor().clone(), w.tensor().clone()));
    let on_device = runs_on_kernels(x.tensor());
    let own: Vec<_> = mu.iter().map(|m| m.tensor().clone()).collect();
    let (delta, c) = (delta.tensor().clone(), mixed.coefficients);
    Ok(tape.record(mixed.outputs, move |dys, sink| {
        let low = low.as_ref().map(|(a, w)| (a, w));
        let g = match on_device {
            true => launch::token_mix::mix_backward(&delta, c.first(), &own, low, &dys)?,
            false => dispatch_stored!(dtype, S => mix_backward::<S>(&delta, &c, low, &dys))?,
        };
        sink.add(xs, g.dx)?;
        sink.add(ds, g.ddelta)?;
        for (slot, dmu) in mus.into_iter().zip(g.dmu) {
            sink.add(slot, dmu)?;
        }
        if let (Some((sa, sw)), Some((da, dw))) = (low_slots, g.low) {
            sink.add(sa, da)?;
            sink.add(sw, dw)?;
        }
        Ok(())
    }))
}

fn mix_backward<S: Stored>(
    delta: &Tensor,
    coefficients: &[Tensor],
    low: Option<(&Tensor, &Tensor)>,
    dys: &[Option<Tensor>],
) -> Result<MixGradients> {
    let (rows, d) = rows_cols(delta);
    let dd = Data::of(delta)?;
    let delta = dd.get::<S>()?;
    let (mut dx, mut ddelta) = (zeros(rows * d), zeros(rows * d));
    let mut dmu = Vec::new();
    let mut lows = low.map(|(a, w)| (zeros(a.elem_count()), zeros(w.elem_count())));
    for (i, (c, dy)) in coefficients.iter().zip(dys).enumerate() {
        let Some(dy) = dy else {
            dmu.push(tensor(zeros::<S::Real>(d), &[d])?);
            continue;
        };
        let (cd, dyd) = (Data::of(c)?, Data::of(dy)?);
        let (c, dy) = (cd.get::<S>()?, dyd.get::<S>()?);
        let mut dm = zeros::<S>(rows * d);
        let n = ROWS * d;
        let outs = dx.par_chunks_mut(n).zip(ddelta.par_chunks_mut(n)).zip(dm.par_chunks_mut(n));
        let ins = c.par_chunks(n).zip(dy.par_chunks(n)).zip(delta.par_chunks(n));
        outs.zip(ins).for_each(|(((dx, ddelta), dm), ((c, dy), delta))| {
            simd(
                #[inline(always)]
                || {
                    for j in 0..dy.len() {
                        let dy = dy[j].widen();
                        dx[j] += dy;
                        ddelta[j] += dy * c[j].widen();
                        dm[j] = S::narrow(dy * delta[j].widen());
                    }
                },
            );
        });
        dmu.push(tensor(column_sums(&dm, d), &[d])?);
        if let (Some((a, w2)), Some((da, dw))) = (low, &mut lows) {
            low_backward(a, w2, i, &dm, da, dw)?;
        }
    }
    let low = match (low, lows) {
        (Some((a, w)), Some((da, dw))) => Some((tensor(S::kept(da), a.dims())?, tensor(dw, w.dims())?)),
        _ => None,
    };
    let [dx, ddelta] = [dx, ddelta].map(|wide| tensor(S::kept(wide), &[rows, d]));
    Ok(MixGradients { dx: dx?, ddelta: ddelta?, dmu, low })
}

/// Gradients of a_i and W₂_i from that of their product.
fn low_backward<S: Stored>(
    a: &Tensor,
    w2: &Tensor,
    i: usize,
    dm: &[S],
    da: &mut [S::Real],
    dw: &mut [S::Real],
) -> Result<()> {
    let (parts, rank, d) = w2.dims3()?;
    let rows = dm.len() / d;
    let (ad, wd) = (Data::of(a)?, Data::of(w2)?);
    let a = Mat::strided(&ad.get::<S>()?[i * rank..], rows, rank, parts * rank);
    let block = i * rank * d..(i + 1) * rank * d;
    let w = Mat::new(&wd.get::<S>()?[block.clone()], rank, d);
    let dm = Mat::new(dm, rows, d);
    S::matmul(dm, w.t(), &mut da[i * rank..], parts * rank, false);
    S::matmul(a.t(), dm, &mut dw[block], d, false);
    Ok(())
}

pub(super) fn cases(normal: &mut super::Normal<'_>) -> Vec<Case> {
    // Rows of whole packs of 16 bytes, and others.
    let many = [6, 16].map(|d| cases_of([2, 35, d, 3], normal));
    // A decoded token.
    let one = [(6, 3), (80, 40)].map(|(d, r)| cases_of([1, 1, d, r], normal));
    many.into_iter().chain(one).flatten().collect()
}

/// Of sequences, positions, width and rank.
fn cases_of([b, t, d, r]: [usize; 4], normal: &mut super::Normal<'_>) -> Vec<Case> {
    let tail = normal(&[b, d]);
    let again = tail.clone();
    let rows = b * t;
    let mut inputs = vec![normal(&[rows, d]), normal(&[rows, d]), normal(&[rows, 5 * r])];
    inputs.push(normal(&[5, r, d]));
    inputs.extend((0..5).map(|_| normal(&[d])));
    vec![
        Case::new(
            format!("shift of {t}x{d}"),
            vec![normal(&[rows, d])],
            move |tape, v| Ok(vec![token_shift(tape, &v[0], &like(&tail, &v[0])?)?]),
            move |x| {
                let x = x[0].reshape((b, t, d))?;
                let before = Tensor::cat(&[again.unsqueeze(1)?, x.narrow(1, 0, t - 1)?], 1)?;
                Ok(vec![(before - x)?.reshape((b * t, d))?])
            },
        ),
        Case::new(
            format!("static mix of {t}x{d}"),
            vec![normal(&[rows, d]), normal(&[rows, d]), normal(&[d])],
            |tape, v| Ok(vec![lerp(tape, &v[0], &v[1], &v[2])?]),
            |x| Ok(vec![(&x[0] + x[1].broadcast_mul(&x[2])?)?]),
        ),
        Case::new(
            format!("low-rank mix of {t}x{d}"),
            inputs,
            |tape, v| {
                let mu = [&v[4], &v[5], &v[6], &v[7], &v[8]];
                low_rank_mix(tape, &v[0], &v[1], &MixWeights { low_rank: &v[2], w2: &v[3], mu })
            },
            move |x| {
                let one = |i: usize| {
                    let a = x[2].narrow(1, i * r, r)?.contiguous()?;
                    let m = a.matmul(&x[3].get(i)?)?.broadcast_add(&x[4 + i])?;
                    &x[0] + (&x[1] * m)?
                };
                (0..5).map(one).collect()
            },
        ),
    ]
}
