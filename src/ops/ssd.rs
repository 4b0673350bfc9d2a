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
use num_traits::Float;
use rayon::prelude::*;

use super::case::like;
use super::data::{Data, tensor};
use super::real::dot;
use super::scan::{Decay, Order, Scan, Strip, transposed};
use super::{Case, Real, Tape, Var, real, simd};
use crate::launch;

/// The inputs of [`ssd`].
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
    /// ln(−A), [H].
    pub a_log: &'a Var,
    /// Added to the raw step, [H].
    pub dt_bias: &'a Var,
    /// Skip, [H].
    pub d: &'a Var,
    /// G.
    pub groups: usize,
    /// Lower and upper limit of Δ.
    pub dt_limit: (f64, f64),
}

#[derive(Clone, Copy)]
struct Shape {
    batch: usize,
    time: usize,
    heads: usize,
    size: usize,
    state: usize,
    groups: usize,
    limit: (f64, f64),
}

impl Shape {
    /// Task i's part, [T, size], of block `block` of a matrix [B·T, blocks·size].
    fn strip<T>(self, x: &[T], i: usize, blocks: usize, block: usize, size: usize) -> Strip<'_, T> {
        let (b, width) = (i / self.heads, blocks * size);
        Strip::new(x, b * self.time * width + block * size, width, size)
    }

    /// Task i's part of a matrix [B·T, H·P].
    fn channels<T>(self, x: &[T], i: usize) -> Strip<'_, T> {
        self.strip(x, i, self.heads, i % self.heads, self.size)
    }

    /// The group whose maps task i shares.
    fn group(self, i: usize) -> usize {
        i % self.heads * self.groups / self.heads
    }
}

/// What one head of one sequence reads.
struct Head<'a, T> {
    time: usize,
    size: usize,
    state: usize,
    limit: (f64, f64),
    x: Strip<'a, T>,
    dt: Strip<'a, T>,
    b: Strip<'a, T>,
    c: Strip<'a, T>,
    a: T,
    bias: T,
    skip: T,
}

/// Steps of one head.
struct Steps<T> {
    /// Δ.
    dt: Vec<T>,
    /// dΔ/dδ.
    slope: Vec<T>,
    /// exp(Δ·A).
    decay: Vec<T>,
    /// Δ·x, [T, P].
    input: Vec<T>,
}

/// Gradients of one head of one sequence.
struct HeadGradients<T> {
    x: Vec<T>,
    dt: Vec<T>,
    b: Vec<T>,
    c: Vec<T>,
    a_log: T,
    bias: T,
    skip: T,
}

impl<'a, T: Real> Head<'a, T> {
    /// Δ and its slope with respect to δ.
    #[inline(always)]
    fn step(&self, t: usize) -> (T, T) {
        let raw = self.dt.at(t)[0] + self.bias;
        // softplus, exact in both tails
        let soft = Float::max(raw, T::zero()) + (-raw.abs()).exp().ln_1p();
        let (low, high) = (T::of(self.limit.0), T::of(self.limit.1));
        if soft < low {
            (low, T::zero())
        } else if soft > high {
            (high, T::zero())
        } else {
            (soft, raw.sigmoid())
        }
    }

    #[inline(always)]
    fn steps(&self) -> Steps<T> {
        let zeros = |n| vec![T::zero(); n];
        let (mut dt, mut slope, mut decay) = (zeros(self.time), zeros(self.time), zeros(self.time));
        let mut input = zeros(self.time * self.size);
        for (t, input) in input.chunks_exact_mut(self.size).enumerate() {
            (dt[t], slope[t]) = self.step(t);
            input.iter_mut().zip(self.x.at(t)).for_each(|(input, x)| *input = dt[t] * *x);
        }
        for (decay, dt) in decay.iter_mut().zip(&dt) {
            *decay = (*dt * self.a).fast_exp();
        }
        Steps { dt, slope, decay, input }
    }

    /// y of every step, [T, P]; `state` becomes the last one.
    #[inline(always)]
    fn forward(&self, state: &mut [T]) -> Vec<T> {
        let steps = self.steps();
        let (order, decay) = (Order::ReadLast, Decay::All(&steps.decay));
        let lanes = Strip::whole(&steps.input, self.size);
        let scan = Scan { time: self.time, order, decay, rows: self.b, lanes, read: self.c };
        let mut y = scan.run(state);
        for (t, y) in y.chunks_exact_mut(self.size).enumerate() {
            y.iter_mut().zip(self.x.at(t)).for_each(|(y, x)| *y += self.skip * *x);
        }
        y
    }

    /// Gradients from dy and the state at the start.
    #[inline(always)]
    fn backward(&self, dy: Strip<'a, T>, state: &[T]) -> HeadGradients<T> {
        let (time, p, n) = (self.time, self.size, self.state);
        let steps = self.steps();
        let decay = Decay::All(&steps.decay);
        let input = Strip::whole(&steps.input, p);
        let order = Order::ReadLast;
        let dc =
            Scan { time, order, decay, rows: input, lanes: self.b, read: dy }.run(&mut transposed(state, p));
        let order = Order::BackReadLast;
        let mut dh = vec![T::zero(); p * n];
        let db = Scan { time, order, decay, rows: dy, lanes: self.c, read: input }.run(&mut dh);
        dh.fill(T::zero());
        let mut dx = Scan { time, order, decay, rows: self.c, lanes: dy, read: self.b }.run(&mut dh);

        let mut ddt = vec![T::zero(); time];
        let (mut log_decay, mut a_log, mut bias, mut skip) = (T::zero(), T::zero(), T::zero(), T::zero());
        for t in (0..time).rev() {
            let (x, dy, dx) = (self.x.at(t), dy.at(t), &mut dx[t * p..(t + 1) * p]);
            let row = t * n..(t + 1) * n;
            log_decay += dot(self.c.at(t), &dc[row.clone()]) - dot(self.b.at(t), &db[row]);
            a_log += log_decay * steps.dt[t];
            ddt[t] = (dot(dx, x) + log_decay * self.a) * steps.slope[t];
            bias += ddt[t];
            skip += dot(dy, x);
            for (dx, dy) in dx.iter_mut().zip(dy) {
                *dx = steps.dt[t] * *dx + self.skip * *dy;
            }
        }
        // A = −exp(A_log), so dA/dA_log = A
        HeadGradients { x: dx, dt: ddt, b: db, c: dc, a_log: a_log * self.a, bias, skip }
    }
}

/// Locked inputs: x, dt, B, C, A_log, dt_bias, D.
struct Inputs<'a>(Vec<Data<'a>>);

impl<'a> Inputs<'a> {
    fn of(tensors: &'a [Tensor; 7]) -> Result<Self> {
        Ok(Self(tensors.iter().map(Data::of).collect::<Result<_>>()?))
    }

    fn head<T: Real>(&self, s: Shape, i: usize) -> Result<Head<'_, T>> {
        let get = |j: usize| self.0[j].get::<T>();
        let h = i % s.heads;
        let maps = |m| s.strip(m, i, s.groups, s.group(i), s.state);
        Ok(Head {
            time: s.time,
            size: s.size,
            state: s.state,
            limit: s.limit,
            x: s.channels(get(0)?, i),
            dt: s.strip(get(1)?, i, s.heads, h, 1),
            b: maps(get(2)?),
            c: maps(get(3)?),
            a: -get(4)?[h].exp(),
            bias: get(5)?[h],
            skip: get(6)?[h],
        })
    }
}

/// y, and the last state.
fn forward<T: Real>(s: Shape, x: &[Tensor; 7], state: &Tensor) -> Result<(Vec<T>, Vec<T>)> {
    let inputs = Inputs::of(x)?;
    let mut state = Data::of(state)?.get::<T>()?.to_vec();
    let parts = state
        .par_chunks_mut(s.size * s.state)
        .enumerate()
        .map(|(i, state)| {
            let head = inputs.head::<T>(s, i)?;
            Ok(simd(
                #[inline(always)]
                || head.forward(state),
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut y = vec![T::zero(); s.batch * s.time * s.heads * s.size];
    for (i, part) in parts.iter().enumerate() {
        scatter(&mut y, part, i, s, s.heads, i % s.heads, s.size);
    }
    Ok((y, state))
}

/// Adds [T, size] of task i into column block `block` of [B·T, blocks·size].
fn scatter<T: Real>(to: &mut [T], part: &[T], i: usize, s: Shape, blocks: usize, block: usize, size: usize) {
    let width = blocks * size;
    let rows = to[i / s.heads * s.time * width..].chunks_exact_mut(width);
    for (to, part) in rows.zip(part.chunks_exact(size)) {
        let to = &mut to[block * size..(block + 1) * size];
        to.iter_mut().zip(part).for_each(|(a, b)| *a += *b);
    }
}

fn backward<T: Real>(s: Shape, x: &[Tensor; 7], dy: &Tensor, state: &Tensor) -> Result<Vec<Tensor>> {
    let (inputs, dyd, stated) = (Inputs::of(x)?, Data::of(dy)?, Data::of(state)?);
    let dy = dyd.get::<T>()?;
    let parts = stated
        .get::<T>()?
        .par_chunks(s.size * s.state)
        .enumerate()
        .map(|(i, state)| {
            let head = inputs.head::<T>(s, i)?;
            Ok(simd(
                #[inline(always)]
                || head.backward(s.channels(dy, i), state),
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut sums: Vec<Vec<T>> = x.iter().map(|t| vec![T::zero(); t.elem_count()]).collect();
    for (i, g) in parts.iter().enumerate() {
        let h = i % s.heads;
        let group = s.group(i);
        scatter(&mut sums[0], &g.x, i, s, s.heads, h, s.size);
        scatter(&mut sums[1], &g.dt, i, s, s.heads, h, 1);
        scatter(&mut sums[2], &g.b, i, s, s.groups, group, s.state);
        scatter(&mut sums[3], &g.c, i, s, s.groups, group, s.state);
        sums[4][h] += g.a_log;
        sums[5][h] += g.bias;
        sums[6][h] += g.skip;
    }
    sums.into_iter().zip(x).map(|(g, t)| tensor(g, t.dims())).collect()
}

/// Runs the recurrence from `state` [B, H, N, P]; returns y [B·T, H·P] and the state after it.
/// No gradient flows into or out of the state.
pub fn ssd(tape: &Tape, x: &SsdInputs<'_>, state: &Tensor) -> Result<(Var, Tensor)> {
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
    let s = Shape { batch, time: rows / batch, heads, size, state: n, groups, limit };
    let vars = [x.x, x.dt, x.b, x.c, x.a_log, x.dt_bias, x.d];
    let follows = tape.follows(&vars);
    let (slots, inputs) = (vars.map(Var::slot), vars.map(|v| v.tensor().clone()));
    if launch::takes(x.x.tensor()) {
        let s = launch::ssd::Ssd { batch, time: s.time, heads, size, state: n, groups, limit };
        let (y, last) = launch::ssd::forward(&inputs, state, s)?;
        if !follows {
            return Ok((Var::constant(y), last));
        }
        let start = state.clone();
        let y = tape.push_one(y, move |dy, sink| {
            let gradients = launch::ssd::backward(&inputs, &dy, &start, s)?;
            slots.into_iter().zip(gradients).try_for_each(|(slot, g)| sink.add(slot, g))
        });
        return Ok((y, last));
    }
    real!(inputs[0].dtype(), T => {
        let (y, last) = forward::<T>(s, &inputs, state)?;
        let (y, last) = (tensor(y, &[rows, width])?, tensor(last, state.dims())?);
        if !follows {
            return Ok((Var::constant(y), last));
        }
        let start = state.clone();
        let y = tape.push_one(y, move |dy, sink| {
            let gradients = backward::<T>(s, &inputs, &dy, &start)?;
            slots.into_iter().zip(gradients).try_for_each(|(slot, g)| sink.add(slot, g))
        });
        Ok((y, last))
    })
}

/// The recurrence as the paper writes it, one step after the other (no limits on Δ).
fn reference(x: &[Tensor], state: &Tensor, groups: usize) -> Result<Vec<Tensor>> {
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
