//! The selective state space on a CPU, as scans head by head: what `ssd` computes where there are no kernels.

use candle_core::{Result, Tensor};
use num_traits::Float;
use rayon::prelude::*;

use super::data::{Data, tensor};
use super::real::{Real, dot};
use super::scan::{Decay, Scan, ScanOrder, Strip, over_heads, transposed};

#[derive(Clone, Copy)]
pub(super) struct SsdShape {
    pub batch: usize,
    pub time: usize,
    pub heads: usize,
    pub size: usize,
    pub state: usize,
    pub groups: usize,
    pub limit: (f64, f64),
}

impl SsdShape {
    /// Task i's part, [T, size], of block `block` of a matrix [B·T, blocks·size].
    pub(super) fn strip<T>(
        self,
        x: &[T],
        i: usize,
        blocks: usize,
        block: usize,
        size: usize,
    ) -> Strip<'_, T> {
        let (b, width) = (i / self.heads, blocks * size);
        Strip::new(x, b * self.time * width + block * size, width, size)
    }

    /// Task i's part of a matrix [B·T, H·P].
    pub(super) fn channels<T>(self, x: &[T], i: usize) -> Strip<'_, T> {
        self.strip(x, i, self.heads, i % self.heads, self.size)
    }

    /// The group whose maps task i shares.
    pub(super) fn group(self, i: usize) -> usize {
        i % self.heads * self.groups / self.heads
    }
}

/// What one head of one sequence reads.
pub(super) struct SsdHead<'a, T> {
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
pub(super) struct Steps<T> {
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
pub(super) struct HeadGradients<T> {
    x: Vec<T>,
    dt: Vec<T>,
    b: Vec<T>,
    c: Vec<T>,
    a_log: T,
    bias: T,
    skip: T,
}

impl<'a, T: Real> SsdHead<'a, T> {
    /// Δ and its slope with respect to δ.
    #[inline(always)]
    pub(super) fn step(&self, t: usize) -> (T, T) {
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
    pub(super) fn steps(&self) -> Steps<T> {
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
    pub(super) fn forward(&self, state: &mut [T]) -> Vec<T> {
        let steps = self.steps();
        let (order, decay) = (ScanOrder::ReadLast, Decay::All(&steps.decay));
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
    pub(super) fn backward(&self, dy: Strip<'a, T>, state: &[T]) -> HeadGradients<T> {
        let (time, p, n) = (self.time, self.size, self.state);
        let steps = self.steps();
        let decay = Decay::All(&steps.decay);
        let input = Strip::whole(&steps.input, p);
        let order = ScanOrder::ReadLast;
        let dc =
            Scan { time, order, decay, rows: input, lanes: self.b, read: dy }.run(&mut transposed(state, p));
        let order = ScanOrder::BackReadLast;
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
pub(super) struct SsdSlices<'a>(Vec<Data<'a>>);

impl<'a> SsdSlices<'a> {
    pub(super) fn of(tensors: &'a [Tensor; 7]) -> Result<Self> {
        Ok(Self(tensors.iter().map(Data::of).collect::<Result<_>>()?))
    }

    pub(super) fn head<T: Real>(&self, s: SsdShape, i: usize) -> Result<SsdHead<'_, T>> {
        let get = |j: usize| self.0[j].get::<T>();
        let h = i % s.heads;
        let maps = |m| s.strip(m, i, s.groups, s.group(i), s.state);
        Ok(SsdHead {
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
pub(super) fn forward<T: Real>(s: SsdShape, x: &[Tensor; 7], state: &Tensor) -> Result<(Vec<T>, Vec<T>)> {
    let inputs = SsdSlices::of(x)?;
    let mut state = Data::of(state)?.get::<T>()?.to_vec();
    let parts = over_heads(
        state.par_chunks_mut(s.size * s.state),
        |i| inputs.head::<T>(s, i),
        #[inline(always)]
        |head, _, state| head.forward(state),
    )?;
    let mut y = vec![T::zero(); s.batch * s.time * s.heads * s.size];
    for (i, part) in parts.iter().enumerate() {
        scatter(&mut y, part, i, s, s.heads, i % s.heads, s.size);
    }
    Ok((y, state))
}

/// Adds [T, size] of task i into column block `block` of [B·T, blocks·size].
pub(super) fn scatter<T: Real>(
    to: &mut [T],
    part: &[T],
    i: usize,
    s: SsdShape,
    blocks: usize,
    block: usize,
    size: usize,
) {
    let width = blocks * size;
    let rows = to[i / s.heads * s.time * width..].chunks_exact_mut(width);
    for (to, part) in rows.zip(part.chunks_exact(size)) {
        let to = &mut to[block * size..(block + 1) * size];
        to.iter_mut().zip(part).for_each(|(a, b)| *a += *b);
    }
}

pub(super) fn backward<T: Real>(
    s: SsdShape,
    x: &[Tensor; 7],
    dy: &Tensor,
    state: &Tensor,
) -> Result<Vec<Tensor>> {
    let (inputs, dyd, stated) = (SsdSlices::of(x)?, Data::of(dy)?, Data::of(state)?);
    let dy = dyd.get::<T>()?;
    let parts = over_heads(
        stated.get::<T>()?.par_chunks(s.size * s.state),
        |i| inputs.head::<T>(s, i),
        #[inline(always)]
        |head, i, state| head.backward(s.channels(dy, i), state),
    )?;
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
