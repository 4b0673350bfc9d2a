//! RWKV-6's recurrence ("WKV"; Peng et al. 2024, eqs. 16–19): per head an N × N matrix state with
//! a decay of its own for every channel and position.
//!
//! | symbol | shape | |
//! |---|---|---|
//! | r, k, v | [B·T, H·N] | receptance, key, value |
//! | ω | [B·T, H·N] | raw decay; w = exp(−exp(ω)) lies in (0, 1) |
//! | u | [H, N] | bonus of the current token |
//! | S | [B, H, N, N] | state, first index the key channel i, second the value channel j |
//!
//! y[j] = Σᵢ r[i]·(S[i,j] + u[i]·k[i]·v[j]);  S[i,j] ← w[i]·S[i,j] + k[i]·v[j]
//!
//! Forward and backward are four scans (`ops/scan.rs`) and no state is kept between them:
//!
//! | | rows | lanes | |
//! |---|---|---|---|
//! | y | i | j | S from its start |
//! | dr | j | i | S again, transposed |
//! | dk | j | i | dS from the end, transposed |
//! | dv | i | j | dS again |
//!
//! The decay needs no scan of its own. Term (t, s) of y, s < t, holds exp(Σ ln w[m]) over s < m < t, and
//! Σ r·dr counts the terms with t > m, Σ k·dk those with s ≥ m; hence, over the recurrent parts only,
//! d ln w[m] = Σ_{t>m} r[t]·dr[t] − Σ_{s≥m} k[s]·dk[s] (Yang et al. 2024, §3, for gated linear attention).

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::case::like;
use super::data::{Data, is_brief, tensor, wide};
use super::kept::all_kept;
use super::real::dot;
use super::scan::{Decay, Scan, ScanOrder, Strip, over_heads, transposed};
use super::{Case, Real, Tape, Var, dispatch_dtype};
use crate::launch;

/// The inputs of [`wkv6`].
///
/// # Shapes
/// B sequences of T positions, H heads of N channels.
#[derive(Clone)]
pub struct Wkv6Inputs<'a> {
    /// Receptance, [B·T, H·N].
    pub r: &'a Var,
    /// Key, [B·T, H·N].
    pub k: &'a Var,
    /// Value, [B·T, H·N].
    pub v: &'a Var,
    /// Raw decay ω, [B·T, H·N].
    pub decay: &'a Var,
    /// Bonus, [H, N].
    pub bonus: &'a Var,
}

#[derive(Clone, Copy)]
struct Wkv6Shape {
    batch: usize,
    time: usize,
    heads: usize,
    size: usize,
}

impl Wkv6Shape {
    /// Task i's part, [T, N], of a matrix [B·T, H·N].
    fn strip<T>(self, x: &[T], i: usize) -> Strip<'_, T> {
        let (b, h, width) = (i / self.heads, i % self.heads, self.heads * self.size);
        Strip::new(x, b * self.time * width + h * self.size, width, self.size)
    }
}

/// What one head of one sequence reads.
struct Wkv6Head<'a, T> {
    time: usize,
    size: usize,
    r: Strip<'a, T>,
    k: Strip<'a, T>,
    v: Strip<'a, T>,
    raw: Strip<'a, T>,
    u: &'a [T],
}

impl<'a, T: Real> Wkv6Head<'a, T> {
    /// w = exp(−exp(ω)) of every step: [T, N].
    #[inline(always)]
    fn decays(&self) -> Vec<T> {
        let mut all = vec![T::zero(); self.time * self.size];
        for (t, w) in all.chunks_exact_mut(self.size).enumerate() {
            for (w, raw) in w.iter_mut().zip(self.raw.at(t)) {
                *w = (-raw.fast_exp()).fast_exp();
            }
        }
        all
    }

    /// Σ r·u·k of step t; `scratch` is as long as u.
    #[inline(always)]
    fn bonus(&self, t: usize, scratch: &mut [T]) -> T {
        let (r, k) = (self.r.at(t), self.k.at(t));
        for (product, (u, k)) in scratch.iter_mut().zip(self.u.iter().zip(k)) {
            *product = *u * *k;
        }
        dot(r, scratch)
    }

    /// y of every step, [T, N]; `state` becomes the last one.
    #[inline(always)]
    fn forward(&self, state: &mut [T]) -> Vec<T> {
        let w = self.decays();
        let decay = Decay::Rows(Strip::whole(&w, self.size));
        let order = ScanOrder::ReadFirst;
        let scan = Scan { time: self.time, order, decay, rows: self.k, lanes: self.v, read: self.r };
        let mut y = scan.run(state);
        let mut scratch = vec![T::zero(); self.size];
        for (t, y) in y.chunks_exact_mut(self.size).enumerate() {
            let bonus = self.bonus(t, &mut scratch);
            y.iter_mut().zip(self.v.at(t)).for_each(|(y, v)| *y += bonus * *v);
        }
        y
    }

    /// Gradients of r, k, v, ω ([T, N] each) and u ([N]), from dy and the state at the start.
    #[inline(always)]
    fn backward(&self, dy: Strip<'a, T>, state: &[T]) -> [Vec<T>; 5] {
        let (time, n) = (self.time, self.size);
        let w = self.decays();
        let w = Strip::whole(&w, n);
        let (order, decay) = (ScanOrder::ReadFirst, Decay::Lanes(w));
        let scan = Scan { time, order, decay, rows: self.v, lanes: self.k, read: dy };
        let mut dr = scan.run(&mut transposed(state, n));
        let order = ScanOrder::BackReadFirst;
        let mut ds = vec![T::zero(); n * n];
        let scan = Scan { time, order, decay, rows: dy, lanes: self.r, read: self.v };
        let mut dk = scan.run(&mut ds);
        ds.fill(T::zero());
        let scan = Scan { time, order, decay: Decay::Rows(w), rows: self.r, lanes: dy, read: self.k };
        let mut dv = scan.run(&mut ds);

        let (mut dw, mut du) = (vec![T::zero(); time * n], vec![T::zero(); n]);
        let (mut log_decay, mut scratch) = (vec![T::zero(); n], vec![T::zero(); n]);
        for t in (0..time).rev() {
            let (r, k, v, raw, dy) = (self.r.at(t), self.k.at(t), self.v.at(t), self.raw.at(t), dy.at(t));
            let row = t * n..(t + 1) * n;
            let (dr, dk, dw) = (&mut dr[row.clone()], &mut dk[row.clone()], &mut dw[row.clone()]);
            let v_dy = dot(v, dy);
            for i in 0..n {
                let after = log_decay[i] - k[i] * dk[i];
                // d ln w/dω = −exp(ω)
                dw[i] = -after * raw[i].fast_exp();
                log_decay[i] = after + r[i] * dr[i];
                du[i] += r[i] * k[i] * v_dy;
                dr[i] += self.u[i] * k[i] * v_dy;
                dk[i] += self.u[i] * r[i] * v_dy;
            }
            let bonus = self.bonus(t, &mut scratch);
            dv[row].iter_mut().zip(dy).for_each(|(dv, dy)| *dv += bonus * *dy);
        }
        [dr, dk, dv, dw, du]
    }
}

/// Writes [T, N] of task i into [B·T, H·N].
fn place<T: Copy>(s: Wkv6Shape, to: &mut [T], i: usize, part: &[T]) {
    let (b, h, width) = (i / s.heads, i % s.heads, s.heads * s.size);
    let rows = to[b * s.time * width..].chunks_exact_mut(width);
    for (to, part) in rows.zip(part.chunks_exact(s.size)) {
        to[h * s.size..(h + 1) * s.size].copy_from_slice(part);
    }
}

/// Locked inputs.
struct Wkv6Slices<'a>([Data<'a>; 5]);

impl<'a> Wkv6Slices<'a> {
    fn of(tensors: &'a [Tensor; 5]) -> Result<Self> {
        let [r, k, v, w, u] = tensors;
        Ok(Self([Data::of(r)?, Data::of(k)?, Data::of(v)?, Data::of(w)?, Data::of(u)?]))
    }

    fn head<T: Real>(&self, s: Wkv6Shape, i: usize) -> Result<Wkv6Head<'_, T>> {
        let [r, k, v, raw, u] = &self.0;
        let (r, k, v, raw) =
            (s.strip(r.get()?, i), s.strip(k.get()?, i), s.strip(v.get()?, i), s.strip(raw.get()?, i));
        let h = i % s.heads;
        let u = &u.get::<T>()?[h * s.size..(h + 1) * s.size];
        Ok(Wkv6Head { time: s.time, size: s.size, r, k, v, raw, u })
    }
}

/// y, and the last state.
fn forward<T: Real>(s: Wkv6Shape, x: &[Tensor; 5], state: &Tensor) -> Result<(Vec<T>, Vec<T>)> {
    let inputs = Wkv6Slices::of(x)?;
    let mut state = Data::of(state)?.get::<T>()?.to_vec();
    let parts = over_heads(
        state.par_chunks_mut(s.size * s.size),
        |i| inputs.head::<T>(s, i),
        #[inline(always)]
        |head, _, state| head.forward(state),
    )?;
    let mut y = vec![T::zero(); s.batch * s.time * s.heads * s.size];
    parts.iter().enumerate().for_each(|(i, part)| place(s, &mut y, i, part));
    Ok((y, state))
}

fn backward<T: Real>(s: Wkv6Shape, x: &[Tensor; 5], dy: &Tensor, state: &Tensor) -> Result<[Tensor; 5]> {
    let (inputs, dyd, stated) = (Wkv6Slices::of(x)?, Data::of(dy)?, Data::of(state)?);
    let dy = dyd.get::<T>()?;
    let parts = over_heads(
        stated.get::<T>()?.par_chunks(s.size * s.size),
        |i| inputs.head::<T>(s, i),
        #[inline(always)]
        |head, i, state| head.backward(s.strip(dy, i), state),
    )?;
    let mut du = vec![T::zero(); s.heads * s.size];
    let mut d: [Vec<T>; 4] = std::array::from_fn(|_| vec![T::zero(); dy.len()]);
    for (i, part) in parts.iter().enumerate() {
        d.iter_mut().zip(part).for_each(|(d, part)| place(s, d, i, part));
        let h = i % s.heads;
        let du = &mut du[h * s.size..(h + 1) * s.size];
        du.iter_mut().zip(&part[4]).for_each(|(a, b)| *a += *b);
    }
    let [dr, dk, dv, dw] = d;
    let shape = x[0].dims();
    Ok([
        tensor(dr, shape)?,
        tensor(dk, shape)?,
        tensor(dv, shape)?,
        tensor(dw, shape)?,
        tensor(du, x[4].dims())?,
    ])
}

/// Runs the recurrence from a state. No gradient flows into or out of the state.
///
/// # Shapes
/// - `x`: see [`Wkv6Inputs`]
/// - `state`: [B, H, N, N]
/// - result: y [B·T, H·N], and the state after the last position
pub fn wkv6(tape: &Tape, x: &Wkv6Inputs<'_>, state: &Tensor) -> Result<(Var, Tensor)> {
    if is_brief(x.r.tensor()) {
        let [r, k, v, decay, bonus] = [x.r, x.k, x.v, x.decay, x.bonus].map(|v| tape.widened(v));
        let (r, k, v, decay, bonus) = (r?, k?, v?, decay?, bonus?);
        let x = Wkv6Inputs { r: &r, k: &k, v: &v, decay: &decay, bonus: &bonus };
        let (y, last) = wkv6(tape, &x, &wide(state)?)?;
        return Ok((tape.rounded(&y)?, last.to_dtype(state.dtype())?));
    }
    let (batch, heads, size, _) = state.dims4()?;
    let (rows, width) = x.r.tensor().dims2()?;
    if width != heads * size || x.bonus.tensor().elem_count() != width || rows % batch != 0 {
        bail!("wkv6: inputs [{rows}, {width}] do not fit a state of {:?}", state.dims());
    }
    let s = Wkv6Shape { batch, time: rows / batch, heads, size };
    let vars = [x.r, x.k, x.v, x.decay, x.bonus];
    let requires_grad = tape.requires_grad(&vars);
    let (slots, inputs) = (vars.map(Var::slot), vars.map(|v| v.tensor().clone()));
    let (dtype, sizes) = (inputs[0].dtype(), [batch, rows / batch, heads, size]);
    let on_device = launch::runs_on_kernels(&inputs[0]);
    let (y, last) = match on_device {
        true => launch::wkv6::forward(&inputs, state, sizes)?,
        false => dispatch_dtype!(dtype, T => {
            let (y, last) = forward::<T>(s, &inputs, state)?;
            (tensor(y, &[rows, width])?, tensor(last, state.dims())?)
        }),
    };
    if !requires_grad {
        return Ok((Var::constant(y), last));
    }
    let (start, kept) = (state.clone(), vars.map(Var::kept));
    let y = tape.record_one(y, move |dy, sink| {
        let inputs = all_kept(&kept)?;
        let gradients = match on_device {
            true => launch::wkv6::backward(&inputs, &dy, &start, sizes)?,
            false => dispatch_dtype!(dtype, T => backward::<T>(s, &inputs, &dy, &start))?,
        };
        slots.into_iter().zip(gradients).try_for_each(|(slot, g)| sink.add(slot, g))
    });
    Ok((y, last))
}

/// The recurrence as the paper writes it, one step after the other.
pub(super) fn reference(x: &[Tensor], state: &Tensor) -> Result<Vec<Tensor>> {
    let (b, h, n, _) = state.dims4()?;
    let t = x[0].dim(0)? / b;
    let cut = |x: &Tensor, i: usize| x.reshape((b, t, h, n))?.narrow(1, i, 1)?.reshape((b, h, n));
    let u = x[4].reshape((1, h, n, 1))?;
    let mut state = state.clone();
    let mut ys = Vec::new();
    for i in 0..t {
        let column = |x: &Tensor| cut(x, i)?.unsqueeze(3);
        let w = column(&x[3])?.exp()?.neg()?.exp()?;
        let kv = column(&x[1])?.broadcast_mul(&cut(&x[2], i)?.unsqueeze(2)?)?;
        let seen = (&state + kv.broadcast_mul(&u)?)?;
        ys.push(column(&x[0])?.broadcast_mul(&seen)?.sum(2)?);
        state = (state.broadcast_mul(&w)? + kv)?;
    }
    Ok(vec![Tensor::stack(&ys, 1)?.reshape((b * t, h * n))?])
}

pub(super) fn cases(normal: &mut super::Normal<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    // Few steps and many, whole chunks of a kernel and parts, head sizes as models have them and others.
    let small = [(1, 1, 1, 1), (2, 16, 2, 4), (1, 35, 3, 5), (1, 9, 1, 37)];
    let large = [(2, 130, 2, 32), (1, 70, 2, 64), (1, 64, 1, 48), (1, 33, 1, 80)];
    for (b, t, h, n) in small.into_iter().chain(large) {
        let state = normal(&[b, h, n, n]);
        let again = state.clone();
        let mut inputs: Vec<_> = (0..4).map(|_| normal(&[b * t, h * n])).collect();
        inputs.push(normal(&[h, n]));
        cases.push(Case::new(
            format!("B{b} T{t} H{h} N{n}"),
            inputs,
            move |tape, v| {
                let x = Wkv6Inputs { r: &v[0], k: &v[1], v: &v[2], decay: &v[3], bonus: &v[4] };
                Ok(vec![wkv6(tape, &x, &like(&state, &v[0])?)?.0])
            },
            move |x| reference(x, &again),
        ));
    }
    cases
}
