//! Mamba-2's selective state space ("SSD"; Dao & Gu 2024, eq. 1 and §7): a scalar decay per head.
//!
//! | symbol | shape | |
//! |---|---|---|
//! | x | [B·T, H·P] | input, P channels a head |
//! | δ | [B·T, H] | raw step; Δ = clamp(softplus(δ + δ_bias), limits) |
//! | B, C | [B·T, G·N] | input and output maps, shared by H/G heads |
//! | A | [H] | −exp(A_log) |
//! | D | [H] | skip |
//! | h | [B, H, N, P] | state |
//!
//! h[n,p] ← exp(Δ·A)·h[n,p] + B[n]·Δ·x[p];  y[p] = Σₙ C[n]·h[n,p] + D·x[p]
//!
//! Forward and backward are four scans (`ops/scan.rs`), with x̃ = Δ·x:
//!
//! | | rows | lanes | |
//! |---|---|---|---|
//! | y | n | p | h from its start |
//! | dC | p | n | h again, transposed |
//! | dB | p | n | dh from the end, transposed |
//! | dx̃ | n | p | dh again |
//!
//! and, as in `wkv6`, with a = exp(Δ·A): d ln a[m] = Σ_{t≥m} C[t]·dC[t] − Σ_{s≥m} B[s]·dB[s], head by head.

use candle_core::{Result, Tensor, bail};

use super::case::like;
use super::data::{is_brief, tensor, wide};
use super::kept::all_kept;
use super::ssd_scan::{SsdShape, backward, forward};
use super::{Case, Tape, Var, dispatch_dtype};
use crate::launch;

/// The inputs of [`ssd`].
///
/// # Shapes
/// B sequences of T positions, H heads of P channels, G groups of heads that share maps into and out of N state rows.
#[derive(Clone)]
pub struct SsdInputs<'a> {
    /// Input, [B·T, H·P].
    pub x: &'a Var,
    /// Raw step, [B·T, H].
    pub dt: &'a Var,
    /// Input map, [B·T, G·N].
    pub b: &'a Var,
    /// Output map, [B·T, G·N].
    pub c: &'a Var,
    /// ln(−A), `[H]`.
    pub a_log: &'a Var,
    /// Added to the raw step, `[H]`.
    pub dt_bias: &'a Var,
    /// Skip, `[H]`.
    pub d: &'a Var,
    /// G.
    pub groups: usize,
    /// Lower and upper limit of Δ.
    pub dt_limit: (f64, f64),
}

/// Runs the recurrence from a state. No gradient flows into or out of the state.
///
/// # Shapes
/// - `x`: see [`SsdInputs`]
/// - `state`: [B, H, N, P]
/// - result: y [B·T, H·P], and the state after the last position
pub fn ssd(tape: &Tape, x: &SsdInputs<'_>, state: &Tensor) -> Result<(Var, Tensor)> {
    if is_brief(x.x.tensor()) {
        let vars = [x.x, x.dt, x.b, x.c, x.a_log, x.dt_bias, x.d];
        let vars: Vec<Var> = vars.iter().map(|v| tape.widened(v)).collect::<Result<_>>()?;
        let [x_, dt, b, c, a_log, dt_bias, d] = [0, 1, 2, 3, 4, 5, 6].map(|i| &vars[i]);
        let wider = SsdInputs { x: x_, dt, b, c, a_log, dt_bias, d, ..*x };
        let (y, last) = ssd(tape, &wider, &wide(state)?)?;
        return Ok((tape.rounded(&y)?, last.to_dtype(state.dtype())?));
    }
    let (batch, heads, n, size) = state.dims4()?;
    let (rows, width) = x.x.tensor().dims2()?;
    let maps = x.groups * n;
    if width != heads * size || x.b.dims() != [rows, maps] || x.c.dims() != [rows, maps] {
        bail!("ssd: x [{rows}, {width}], B {:?}, state {:?}", x.b.dims(), state.dims());
    }
    if x.dt.dims() != [rows, heads] || rows % batch != 0 || heads % x.groups != 0 {
        bail!("ssd: steps {:?}, {heads} heads, {} groups", x.dt.dims(), x.groups);
    }
    let (groups, limit) = (x.groups, x.dt_limit);
    let s = SsdShape { batch, time: rows / batch, heads, size, state: n, groups, limit };
    let vars = [x.x, x.dt, x.b, x.c, x.a_log, x.dt_bias, x.d];
    let requires_grad = tape.requires_grad(&vars);
    let (slots, inputs) = (vars.map(Var::slot), vars.map(|v| v.tensor().clone()));
    if launch::runs_on_kernels(x.x.tensor()) {
        let s = launch::ssd::Ssd { batch, time: s.time, heads, size, state: n, groups, limit };
        let (y, last) = launch::ssd::forward(&inputs, state, s)?;
        if !requires_grad {
            return Ok((Var::constant(y), last));
        }
        let start = state.clone();
        let y = tape.record_one(y, move |dy, sink| {
            let gradients = launch::ssd::backward(&inputs, &dy, &start, s)?;
            slots.into_iter().zip(gradients).try_for_each(|(slot, g)| sink.add(slot, g))
        });
        return Ok((y, last));
    }
    dispatch_dtype!(inputs[0].dtype(), T => {
        let (y, last) = forward::<T>(s, &inputs, state)?;
        let (y, last) = (tensor(y, &[rows, width])?, tensor(last, state.dims())?);
        if !requires_grad {
            return Ok((Var::constant(y), last));
        }
        let (start, kept) = (state.clone(), vars.map(Var::kept));
        let y = tape.record_one(y, move |dy, sink| {
            let inputs = all_kept(&kept)?;
            let gradients = backward::<T>(s, &inputs, &dy, &start)?;
            slots.into_iter().zip(gradients).try_for_each(|(slot, g)| sink.add(slot, g))
        });
        Ok((y, last))
    })
}

/// The recurrence as the paper writes it, one step after the other (no limits on Δ).
pub(super) fn reference(x: &[Tensor], state: &Tensor, groups: usize) -> Result<Vec<Tensor>> {
    let (b, h, n, p) = state.dims4()?;
    let t = x[0].dim(0)? / b;
    let dt = (x[1].broadcast_add(&x[5])?.exp()? + 1.0)?.log()?.reshape((b, t, h))?;
    let a = x[4].exp()?.neg()?;
    let maps = |m: &Tensor, i: usize| {
        let m = m.reshape((b, t, groups, 1, n))?.narrow(1, i, 1)?.squeeze(1)?;
        m.broadcast_as((b, groups, h / groups, n))?.reshape((b, h, n, 1))
    };
    let mut state = state.clone();
    let mut ys = Vec::new();
    for i in 0..t {
        let xi = x[0].reshape((b, t, h, p))?.narrow(1, i, 1)?.squeeze(1)?;
        let step = dt.narrow(1, i, 1)?.squeeze(1)?;
        let decay = step.broadcast_mul(&a)?.exp()?.reshape((b, h, 1, 1))?;
        let input = xi.broadcast_mul(&step.unsqueeze(2)?)?.unsqueeze(2)?;
        let input = input.broadcast_mul(&maps(&x[2], i)?)?;
        state = (state.broadcast_mul(&decay)? + input)?;
        let y = state.broadcast_mul(&maps(&x[3], i)?)?.sum(2)?;
        ys.push((y + xi.broadcast_mul(&x[6].reshape((1, h, 1))?)?)?);
    }
    Ok(vec![Tensor::stack(&ys, 1)?.reshape((b * t, h * p))?])
}

pub(super) fn cases(normal: &mut super::Normal<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for (b, t, h, p, n, g) in [
        (1, 1, 1, 1, 1, 1),
        (2, 16, 2, 3, 5, 1),
        (1, 35, 4, 2, 3, 2),
        (1, 9, 1, 33, 37, 1),
        (1, 130, 2, 64, 128, 1),
        (2, 77, 4, 32, 64, 2),
        (1, 70, 3, 48, 96, 1),
        // On a GPU, several tiles of a head, and several heads, one after the other in a block.
        (1, 70, 2, 130, 5, 1),
        (32, 3, 10, 2, 2, 2),
    ] {
        let state = normal(&[b, h, n, p]);
        let again = state.clone();
        let maps = [b * t, g * n];
        let inputs = vec![
            normal(&[b * t, h * p]),
            normal(&[b * t, h]),
            normal(&maps),
            normal(&maps),
            normal(&[h]),
            normal(&[h]),
            normal(&[h]),
        ];
        cases.push(Case::new(
            format!("B{b} T{t} H{h} P{p} N{n} G{g}"),
            inputs,
            move |tape, v| {
                let [x, dt, bm, c, a_log, dt_bias, d] = [0, 1, 2, 3, 4, 5, 6].map(|i| &v[i]);
                let dt_limit = (0.0, f64::INFINITY);
                let x = SsdInputs { x, dt, b: bm, c, a_log, dt_bias, d, groups: g, dt_limit };
                Ok(vec![ssd(tape, &x, &like(&state, &v[0])?)?.0])
            },
            move |x| reference(x, &again, g),
        ));
    }
    cases
}
