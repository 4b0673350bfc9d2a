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
//! The forward pass keeps the state at the start of every chunk; the backward pass replays a chunk
//! and walks it in reverse with dS, the gradient of the state after a step.

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::case::like;
use super::data::{Data, tensor};
use super::real::{LANES, dot, total};
use super::{Case, Real, Tape, Var, real, simd};

/// Steps between kept states.
const CHUNK: usize = 16;

/// The inputs of [`wkv6`].
#[derive(Clone)]
pub struct Wkv6Inputs<'a> {
    /// Receptance, [B·T, H·N].
    pub r: &'a Var,
    /// Key.
    pub k: &'a Var,
    /// Value.
    pub v: &'a Var,
    /// Raw decay ω.
    pub decay: &'a Var,
    /// Bonus, [H, N].
    pub bonus: &'a Var,
}

#[derive(Clone, Copy)]
struct Shape {
    batch: usize,
    time: usize,
    heads: usize,
    size: usize,
}

/// What one head of one sequence reads.
struct Head<'a, T> {
    s: Shape,
    offset: usize,
    r: &'a [T],
    k: &'a [T],
    v: &'a [T],
    decay: &'a [T],
    u: &'a [T],
}

impl<'a, T: Real> Head<'a, T> {
    #[inline(always)]
    fn at(&self, x: &'a [T], t: usize) -> &'a [T] {
        let start = self.offset + t * self.s.heads * self.s.size;
        &x[start..start + self.s.size]
    }

    /// Writes w = exp(−exp(ω)) of step t.
    #[inline(always)]
    fn decay(&self, t: usize, w: &mut [T]) {
        for (w, d) in w.iter_mut().zip(self.at(self.decay, t)) {
            *w = (-d.fast_exp()).fast_exp();
        }
    }

    /// S ← w·S + k vᵀ.
    #[inline(always)]
    fn advance(&self, t: usize, w: &[T], before: &[T], after: &mut [T]) {
        let (k, v, n) = (self.at(self.k, t), self.at(self.v, t), self.s.size);
        for (i, (after, before)) in after.chunks_exact_mut(n).zip(before.chunks_exact(n)).enumerate() {
            for ((new, old), v) in after.iter_mut().zip(before).zip(v) {
                *new = w[i] * *old + k[i] * *v;
            }
        }
    }

    /// y of every step, and the state at the start of every chunk if `keep`.
    #[inline(always)]
    fn forward(&self, state: &mut [T], keep: bool) -> (Vec<T>, Vec<T>) {
        let n = self.s.size;
        let mut y = vec![T::zero(); self.s.time * n];
        let mut kept = Vec::new();
        let mut w = vec![T::zero(); n];
        for (t, y) in y.chunks_exact_mut(n).enumerate() {
            if keep && t % CHUNK == 0 {
                kept.extend_from_slice(state);
            }
            let (r, k, v) = (self.at(self.r, t), self.at(self.k, t), self.at(self.v, t));
            self.decay(t, &mut w);
            for (i, row) in state.chunks_exact_mut(n).enumerate() {
                let bonus = self.u[i] * k[i];
                for ((y, s), v) in y.iter_mut().zip(row).zip(v) {
                    *y += r[i] * (*s + bonus * *v);
                    *s = w[i] * *s + k[i] * *v;
                }
            }
        }
        (y, kept)
    }

    /// Gradients of r, k, v, ω ([T, N] each) and u ([N]).
    #[inline(always)]
    fn backward(&self, dy: &'a [T], kept: &[T]) -> [Vec<T>; 5] {
        let (n, time) = (self.s.size, self.s.time);
        let mut d: [Vec<T>; 5] = std::array::from_fn(|i| vec![T::zero(); if i == 4 { n } else { time * n }]);
        let mut ds = vec![T::zero(); n * n];
        let mut states = vec![T::zero(); CHUNK * n * n];
        let mut w = vec![T::zero(); n];
        for chunk in (0..time.div_ceil(CHUNK)).rev() {
            let (start, end) = (chunk * CHUNK, ((chunk + 1) * CHUNK).min(time));
            states[..n * n].copy_from_slice(&kept[chunk * n * n..(chunk + 1) * n * n]);
            for t in start..end - 1 {
                let (before, after) = states.split_at_mut((t - start + 1) * n * n);
                self.decay(t, &mut w);
                self.advance(t, &w, &before[(t - start) * n * n..], &mut after[..n * n]);
            }
            for t in (start..end).rev() {
                self.decay(t, &mut w);
                let state = &states[(t - start) * n * n..(t - start + 1) * n * n];
                self.step_backward(t, self.at(dy, t), state, &w, &mut ds, &mut d);
            }
        }
        d
    }

    /// One step in reverse: `state` is S before the step, `ds` the gradient of S after it and,
    /// on return, of S before it.
    #[inline(always)]
    fn step_backward(&self, t: usize, dy: &[T], state: &[T], w: &[T], ds: &mut [T], d: &mut [Vec<T>; 5]) {
        let n = self.s.size;
        let (r, k, v) = (self.at(self.r, t), self.at(self.k, t), self.at(self.v, t));
        let raw = self.at(self.decay, t);
        let [dr, dk, dv, dw, du] = d;
        let row = t * n..(t + 1) * n;
        let (dr, dk, dw) = (&mut dr[row.clone()], &mut dk[row.clone()], &mut dw[row.clone()]);
        let dv = &mut dv[row];
        let v_dy = dot(v, dy);
        let mut bonus = T::zero();
        for i in 0..n {
            let s = &state[i * n..(i + 1) * n];
            let ds = &mut ds[i * n..(i + 1) * n];
            let [s_dy, ds_v, ds_s] = row_backward([r[i], k[i], w[i]], [s, v, dy], ds, dv);
            dr[i] = s_dy + self.u[i] * k[i] * v_dy;
            dk[i] = r[i] * self.u[i] * v_dy + ds_v;
            du[i] += r[i] * k[i] * v_dy;
            // dw/dω = −w·exp(ω)
            dw[i] = -ds_s * w[i] * raw[i].fast_exp();
            bonus += r[i] * self.u[i] * k[i];
        }
        dv.iter_mut().zip(dy).for_each(|(dv, dy)| *dv += bonus * *dy);
    }
}

/// One key channel of a step in reverse, in one pass: dv += k·dS, then dS ← w·dS + r·dy. Returns
/// Σ S·dy, Σ dS·v and Σ dS·S, with dS as it was.
#[inline(always)]
fn row_backward<T: Real>([r, k, w]: [T; 3], [s, v, dy]: [&[T]; 3], ds: &mut [T], dv: &mut [T]) -> [T; 3] {
    let mut sums = [[T::zero(); LANES]; 3];
    let ((s, s_rest), (v, v_rest)) = (s.as_chunks::<LANES>(), v.as_chunks::<LANES>());
    let ((dy, dy_rest), (ds, ds_rest)) = (dy.as_chunks::<LANES>(), ds.as_chunks_mut::<LANES>());
    let (dv, dv_rest) = dv.as_chunks_mut::<LANES>();
    macro_rules! cell {
        ($l:expr, $s:expr, $v:expr, $dy:expr, $ds:expr, $dv:expr) => {
            sums[0][$l] += $s * $dy;
            sums[1][$l] += $ds * $v;
            sums[2][$l] += $ds * $s;
            $dv += $ds * k;
            $ds = w * $ds + r * $dy;
        };
    }
    for i in 0..ds.len() {
        for l in 0..LANES {
            cell!(l, s[i][l], v[i][l], dy[i][l], ds[i][l], dv[i][l]);
        }
    }
    for l in 0..ds_rest.len() {
        cell!(l, s_rest[l], v_rest[l], dy_rest[l], ds_rest[l], dv_rest[l]);
    }
    sums.map(total)
}

/// Writes [T, N] of task i into [B·T, H·N].
fn place<T: Copy>(s: Shape, to: &mut [T], i: usize, part: &[T]) {
    let (b, h, width) = (i / s.heads, i % s.heads, s.heads * s.size);
    let rows = to[b * s.time * width..].chunks_exact_mut(width);
    for (to, part) in rows.zip(part.chunks_exact(s.size)) {
        to[h * s.size..(h + 1) * s.size].copy_from_slice(part);
    }
}

/// Locked inputs.
struct Inputs<'a>([Data<'a>; 5]);

impl<'a> Inputs<'a> {
    fn of(tensors: &'a [Tensor; 5]) -> Result<Self> {
        let [r, k, v, w, u] = tensors;
        Ok(Self([Data::of(r)?, Data::of(k)?, Data::of(v)?, Data::of(w)?, Data::of(u)?]))
    }

    fn head<T: Real>(&self, s: Shape, i: usize) -> Result<Head<'_, T>> {
        let (b, h) = (i / s.heads, i % s.heads);
        let [r, k, v, decay, u] = &self.0;
        let offset = b * s.time * s.heads * s.size + h * s.size;
        let u = &u.get::<T>()?[h * s.size..(h + 1) * s.size];
        Ok(Head { s, offset, r: r.get()?, k: k.get()?, v: v.get()?, decay: decay.get()?, u })
    }
}

struct Forward<T> {
    y: Vec<T>,
    state: Vec<T>,
    kept: Vec<Vec<T>>,
}

fn forward<T: Real>(s: Shape, x: &[Tensor; 5], state: &Tensor, keep: bool) -> Result<Forward<T>> {
    let inputs = Inputs::of(x)?;
    let mut state = Data::of(state)?.get::<T>()?.to_vec();
    let parts = state
        .par_chunks_mut(s.size * s.size)
        .enumerate()
        .map(|(i, state)| {
            let head = inputs.head::<T>(s, i)?;
            Ok(simd(|| head.forward(state, keep)))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut y = vec![T::zero(); s.batch * s.time * s.heads * s.size];
    parts.iter().enumerate().for_each(|(i, (part, _))| place(s, &mut y, i, part));
    Ok(Forward { y, state, kept: parts.into_iter().map(|(_, kept)| kept).collect() })
}

fn backward<T: Real>(s: Shape, x: &[Tensor; 5], dy: &Tensor, kept: &[Vec<T>]) -> Result<[Tensor; 5]> {
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

/// Runs the recurrence from `state` [B, H, N, N]; returns y [B·T, H·N] and the state after it.
/// No gradient flows into or out of the state.
pub fn wkv6(tape: &Tape, x: &Wkv6Inputs<'_>, state: &Tensor) -> Result<(Var, Tensor)> {
    let (batch, heads, size, _) = state.dims4()?;
    let (rows, width) = x.r.tensor().dims2()?;
    if width != heads * size || x.bonus.tensor().elem_count() != width || rows % batch != 0 {
        bail!("wkv6: inputs [{rows}, {width}] do not fit a state of {:?}", state.dims());
    }
    let s = Shape { batch, time: rows / batch, heads, size };
    let vars = [x.r, x.k, x.v, x.decay, x.bonus];
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

/// The recurrence as the paper writes it, one step after the other.
fn reference(x: &[Tensor], state: &Tensor) -> Result<Vec<Tensor>> {
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
    for (b, t, h, n) in [(1, 1, 1, 1), (2, 16, 2, 4), (1, 35, 3, 5)] {
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
