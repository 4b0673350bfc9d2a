//! Mamba-2's selective state space ("SSD"; Dao & Gu 2024, eq. 1 and §7): a scalar decay per head.
//!
//! | symbol | shape | |
//! |---|---|---|
//! | x | [B·T, H·P] | input, P channels a head |
//! | δ | [B·T, H] | raw step; Δ = clamp(softplus(δ + δ_bias), limits) |
//! | B, C | [B·T, G·N] | input and output maps, shared by H/G heads |
//! | A | [H] | −exp(A_log) |
//! | D | [H] | skip |
//! | h | [B, H, P, N] | state |
//!
//! h[p,n] ← exp(Δ·A)·h[p,n] + Δ·x[p]·B[n];  y[p] = Σₙ C[n]·h[p,n] + D·x[p]
//!
//! As in `wkv6`, states are kept once a chunk and replayed in the backward pass.

use candle_core::{Result, Tensor, bail};
use num_traits::Float;
use rayon::prelude::*;

use super::case::like;
use super::data::{Data, tensor};
use super::real::{LANES, total};
use super::{Case, Real, Tape, Var, real, simd};

/// Steps between kept states.
const CHUNK: usize = 16;

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

struct Head<'a, T> {
    s: Shape,
    b: usize,
    h: usize,
    x: &'a [T],
    dt: &'a [T],
    bm: &'a [T],
    cm: &'a [T],
    a: T,
    bias: T,
    skip: T,
}

/// Gradients of one head of one sequence.
struct HeadGradients<T> {
    x: Vec<T>,
    dt: Vec<T>,
    bm: Vec<T>,
    cm: Vec<T>,
    a_log: T,
    bias: T,
    skip: T,
}

impl<'a, T: Real> Head<'a, T> {
    #[inline(always)]
    fn x(&self, x: &'a [T], t: usize) -> &'a [T] {
        let start = ((self.b * self.s.time + t) * self.s.heads + self.h) * self.s.size;
        &x[start..start + self.s.size]
    }

    #[inline(always)]
    fn map(&self, m: &'a [T], t: usize) -> &'a [T] {
        let group = self.h * self.s.groups / self.s.heads;
        let start = ((self.b * self.s.time + t) * self.s.groups + group) * self.s.state;
        &m[start..start + self.s.state]
    }

    /// Δ and its slope with respect to δ.
    #[inline(always)]
    fn step(&self, t: usize) -> (T, T) {
        let raw = self.dt[(self.b * self.s.time + t) * self.s.heads + self.h] + self.bias;
        // softplus, exact in both tails
        let soft = Float::max(raw, T::zero()) + (-raw.abs()).exp().ln_1p();
        let (low, high) = (T::of(self.s.limit.0), T::of(self.s.limit.1));
        if soft < low {
            (low, T::zero())
        } else if soft > high {
            (high, T::zero())
        } else {
            (soft, raw.sigmoid())
        }
    }

    /// The state after step t, from the state before it.
    #[inline(always)]
    fn advance(&self, t: usize, before: &[T], after: &mut [T]) {
        let (dt, _) = self.step(t);
        let decay = (dt * self.a).fast_exp();
        let (x, b) = (self.x(self.x, t), self.map(self.bm, t));
        let n = self.s.state;
        for ((after, before), x) in after.chunks_exact_mut(n).zip(before.chunks_exact(n)).zip(x) {
            let input = dt * *x;
            for ((new, old), b) in after.iter_mut().zip(before).zip(b) {
                *new = decay * *old + input * *b;
            }
        }
    }

    /// One step: updates a channel's state and reads it out, in one pass.
    #[inline(always)]
    fn channel(decay: T, input: T, b: &[T], c: &[T], row: &mut [T]) -> T {
        let mut lanes = [T::zero(); LANES];
        let cell = |lane: &mut T, h: &mut T, b: T, c: T| {
            *h = decay * *h + input * b;
            *lane += *h * c;
        };
        let ((row, row_rest), (b, b_rest), (c, c_rest)) =
            (row.as_chunks_mut::<LANES>(), b.as_chunks::<LANES>(), c.as_chunks::<LANES>());
        for ((h, b), c) in row.iter_mut().zip(b).zip(c) {
            for l in 0..LANES {
                cell(&mut lanes[l], &mut h[l], b[l], c[l]);
            }
        }
        for (l, ((h, b), c)) in row_rest.iter_mut().zip(b_rest).zip(c_rest).enumerate() {
            cell(&mut lanes[l], h, *b, *c);
        }
        total(lanes)
    }

    #[inline(always)]
    fn forward(&self, state: &mut [T], keep: bool) -> (Vec<T>, Vec<T>) {
        let mut y = vec![T::zero(); self.s.time * self.s.size];
        let mut kept = Vec::new();
        for (t, y) in y.chunks_exact_mut(self.s.size).enumerate() {
            if keep && t % CHUNK == 0 {
                kept.extend_from_slice(state);
            }
            let (dt, _) = self.step(t);
            let decay = (dt * self.a).fast_exp();
            let (x, b, c) = (self.x(self.x, t), self.map(self.bm, t), self.map(self.cm, t));
            for ((y, row), x) in y.iter_mut().zip(state.chunks_exact_mut(self.s.state)).zip(x) {
                *y = Self::channel(decay, dt * *x, b, c, row) + self.skip * *x;
            }
        }
        (y, kept)
    }

    #[inline(always)]
    fn backward(&self, dy: &'a [T], kept: &[T]) -> HeadGradients<T> {
        let (time, p, n) = (self.s.time, self.s.size, self.s.state);
        let zeros = |len: usize| vec![T::zero(); len];
        let mut g = HeadGradients {
            x: zeros(time * p),
            dt: zeros(time),
            bm: zeros(time * n),
            cm: zeros(time * n),
            a_log: T::zero(),
            bias: T::zero(),
            skip: T::zero(),
        };
        let mut dh = zeros(p * n);
        // states[i] is the state before step start + i
        let mut states = zeros((CHUNK + 1) * p * n);
        for chunk in (0..time.div_ceil(CHUNK)).rev() {
            let (start, end) = (chunk * CHUNK, ((chunk + 1) * CHUNK).min(time));
            states[..p * n].copy_from_slice(&kept[chunk * p * n..(chunk + 1) * p * n]);
            for t in start..end {
                let (before, after) = states.split_at_mut((t - start + 1) * p * n);
                self.advance(t, &before[(t - start) * p * n..], &mut after[..p * n]);
            }
            for t in (start..end).rev() {
                let at = (t - start) * p * n;
                let (before, after) = states[at..at + 2 * p * n].split_at(p * n);
                self.step_backward(t, self.x(dy, t), before, after, &mut dh, &mut g);
            }
        }
        g
    }

    /// One step in reverse: `dh` is the gradient of the state after the step and, on return, of
    /// the state before it.
    #[inline(always)]
    fn step_backward(
        &self,
        t: usize,
        dy: &[T],
        before: &[T],
        after: &[T],
        dh: &mut [T],
        g: &mut HeadGradients<T>,
    ) {
        let (p, n) = (self.s.size, self.s.state);
        let (dt, slope) = self.step(t);
        let decay = (dt * self.a).fast_exp();
        let (x, b, c) = (self.x(self.x, t), self.map(self.bm, t), self.map(self.cm, t));
        let (dx, db) = (&mut g.x[t * p..(t + 1) * p], &mut g.bm[t * n..(t + 1) * n]);
        let dc = &mut g.cm[t * n..(t + 1) * n];
        let (mut through_input, mut through_decay) = (T::zero(), T::zero());
        for i in 0..p {
            let cells = i * n..(i + 1) * n;
            let dh = &mut dh[cells.clone()];
            let (before, after) = (&before[cells.clone()], &after[cells]);
            let [along, kept] =
                channel_backward([dy[i], dt * x[i], decay], [before, after, b, c], dh, dc, db);
            dx[i] = dt * along + self.skip * dy[i];
            through_input += along * x[i];
            through_decay += kept;
            g.skip += dy[i] * x[i];
        }
        // decay = exp(Δ·A), A = −exp(A_log), so ∂decay/∂A_log = decay·Δ·A
        g.a_log += through_decay * decay * dt * self.a;
        let raw = (through_input + through_decay * decay * self.a) * slope;
        g.dt[t] = raw;
        g.bias += raw;
    }
}

/// One channel of a step in reverse, in one pass: dC += dy·h, dh += dy·C, dB += Δx·dh, then
/// dh ← decay·dh. Returns Σ dh·B and Σ dh·h₋₁, both with dh before the decay.
#[inline(always)]
fn channel_backward<T: Real>(
    [dy, input, decay]: [T; 3],
    [before, after, b, c]: [&[T]; 4],
    dh: &mut [T],
    dc: &mut [T],
    db: &mut [T],
) -> [T; 2] {
    let (mut along, mut kept) = ([T::zero(); LANES], [T::zero(); LANES]);
    let ((before, before_rest), (after, after_rest)) =
        (before.as_chunks::<LANES>(), after.as_chunks::<LANES>());
    let ((b, b_rest), (c, c_rest)) = (b.as_chunks::<LANES>(), c.as_chunks::<LANES>());
    let (dh, dh_rest) = dh.as_chunks_mut::<LANES>();
    let ((dc, dc_rest), (db, db_rest)) = (dc.as_chunks_mut::<LANES>(), db.as_chunks_mut::<LANES>());
    macro_rules! cell {
        ($l:expr, $before:expr, $after:expr, $b:expr, $c:expr, $dh:expr, $dc:expr, $db:expr) => {
            $dc += dy * $after;
            let d = $dh + dy * $c;
            $db += input * d;
            along[$l] += d * $b;
            kept[$l] += d * $before;
            $dh = d * decay;
        };
    }
    for i in 0..dh.len() {
        for l in 0..LANES {
            cell!(l, before[i][l], after[i][l], b[i][l], c[i][l], dh[i][l], dc[i][l], db[i][l]);
        }
    }
    for l in 0..dh_rest.len() {
        cell!(l, before_rest[l], after_rest[l], b_rest[l], c_rest[l], dh_rest[l], dc_rest[l], db_rest[l]);
    }
    [total(along), total(kept)]
}

/// Locked inputs: x, dt, B, C, A_log, dt_bias, D.
struct Inputs<'a>(Vec<Data<'a>>);

impl<'a> Inputs<'a> {
    fn of(tensors: &'a [Tensor; 7]) -> Result<Self> {
        Ok(Self(tensors.iter().map(Data::of).collect::<Result<_>>()?))
    }

    fn head<T: Real>(&self, s: Shape, i: usize) -> Result<Head<'_, T>> {
        let (b, h) = (i / s.heads, i % s.heads);
        let get = |j: usize| self.0[j].get::<T>();
        Ok(Head {
            s,
            b,
            h,
            x: get(0)?,
            dt: get(1)?,
            bm: get(2)?,
            cm: get(3)?,
            a: -get(4)?[h].exp(),
            bias: get(5)?[h],
            skip: get(6)?[h],
        })
    }
}

struct Forward<T> {
    y: Vec<T>,
    state: Vec<T>,
    kept: Vec<Vec<T>>,
}

fn forward<T: Real>(s: Shape, x: &[Tensor; 7], state: &Tensor, keep: bool) -> Result<Forward<T>> {
    let inputs = Inputs::of(x)?;
    let mut state = Data::of(state)?.get::<T>()?.to_vec();
    let parts = state
        .par_chunks_mut(s.size * s.state)
        .enumerate()
        .map(|(i, state)| {
            let head = inputs.head::<T>(s, i)?;
            Ok(simd(|| head.forward(state, keep)))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut y = vec![T::zero(); s.batch * s.time * s.heads * s.size];
    for (i, (part, _)) in parts.iter().enumerate() {
        scatter(&mut y, part, i, s, s.heads, i % s.heads, s.size);
    }
    Ok(Forward { y, state, kept: parts.into_iter().map(|(_, kept)| kept).collect() })
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

fn backward<T: Real>(s: Shape, x: &[Tensor; 7], dy: &Tensor, kept: &[Vec<T>]) -> Result<Vec<Tensor>> {
    let (inputs, dyd) = (Inputs::of(x)?, Data::of(dy)?);
    let dy = dyd.get::<T>()?;
    let parts = kept
        .par_iter()
        .enumerate()
        .map(|(i, kept)| {
            let head = inputs.head::<T>(s, i)?;
            Ok(simd(|| head.backward(dy, kept)))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut sums: Vec<Vec<T>> = x.iter().map(|t| vec![T::zero(); t.elem_count()]).collect();
    for (i, g) in parts.iter().enumerate() {
        let h = i % s.heads;
        let group = h * s.groups / s.heads;
        scatter(&mut sums[0], &g.x, i, s, s.heads, h, s.size);
        scatter(&mut sums[1], &g.dt, i, s, s.heads, h, 1);
        scatter(&mut sums[2], &g.bm, i, s, s.groups, group, s.state);
        scatter(&mut sums[3], &g.cm, i, s, s.groups, group, s.state);
        sums[4][h] += g.a_log;
        sums[5][h] += g.bias;
        sums[6][h] += g.skip;
    }
    sums.into_iter().zip(x).map(|(g, t)| tensor(g, t.dims())).collect()
}

/// Runs the recurrence from `state` [B, H, P, N]; returns y [B·T, H·P] and the state after it.
/// No gradient flows into or out of the state.
pub fn ssd(tape: &Tape, x: &SsdInputs<'_>, state: &Tensor) -> Result<(Var, Tensor)> {
    let (batch, heads, size, n) = state.dims4()?;
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
    real!(inputs[0].dtype(), T => {
        let out = forward::<T>(s, &inputs, state, follows)?;
        let y = tensor(out.y, &[rows, width])?;
        let state = tensor(out.state, state.dims())?;
        if !follows {
            return Ok((Var::constant(y), state));
        }
        let kept = out.kept;
        let y = tape.push_one(y, move |dy, sink| {
            let gradients = backward::<T>(s, &inputs, &dy, &kept)?;
            slots.into_iter().zip(gradients).try_for_each(|(slot, g)| sink.add(slot, g))
        });
        Ok((y, state))
    })
}

/// The recurrence as the paper writes it, one step after the other (no limits on Δ).
fn reference(x: &[Tensor], state: &Tensor, groups: usize) -> Result<Vec<Tensor>> {
    let (b, h, p, n) = state.dims4()?;
    let t = x[0].dim(0)? / b;
    let dt = (x[1].broadcast_add(&x[5])?.exp()? + 1.0)?.log()?.reshape((b, t, h))?;
    let a = x[4].exp()?.neg()?;
    let maps = |m: &Tensor, i: usize| {
        let m = m.reshape((b, t, groups, 1, n))?.narrow(1, i, 1)?.squeeze(1)?;
        m.broadcast_as((b, groups, h / groups, n))?.reshape((b, h, 1, n))
    };
    let mut state = state.clone();
    let mut ys = Vec::new();
    for i in 0..t {
        let xi = x[0].reshape((b, t, h, p))?.narrow(1, i, 1)?.squeeze(1)?;
        let step = dt.narrow(1, i, 1)?.squeeze(1)?;
        let decay = step.broadcast_mul(&a)?.exp()?.reshape((b, h, 1, 1))?;
        let input = xi.broadcast_mul(&step.unsqueeze(2)?)?.unsqueeze(3)?;
        let input = input.broadcast_mul(&maps(&x[2], i)?)?;
        state = (state.broadcast_mul(&decay)? + input)?;
        let y = state.broadcast_mul(&maps(&x[3], i)?)?.sum(3)?;
        ys.push((y + xi.broadcast_mul(&x[6].reshape((1, h, 1))?)?)?);
    }
    Ok(vec![Tensor::stack(&ys, 1)?.reshape((b * t, h * p))?])
}

pub(super) fn cases(normal: &mut super::Normal<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for (b, t, h, p, n, g) in [(1, 1, 1, 1, 1, 1), (2, 16, 2, 3, 5, 1), (1, 35, 4, 2, 3, 2)] {
        let state = normal(&[b, h, p, n]);
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
