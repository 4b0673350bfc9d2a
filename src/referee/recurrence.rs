//! What carries something from one position to the next: token shift, short convolution, and the recurrences of
//! RWKV-6 (Peng et al. 2024, eqs. 16–19) and Mamba-2 (Dao & Gu 2024, eq. 1), step by step with every state kept.
//!
//! The gradient of a decay is the state before times the gradient of the state after. It can also be had as a
//! difference of two running sums, which needs no state but cancels; where rounding is looked at, that way is taken.

#![expect(clippy::needless_range_loop, reason = "the indices are those of the equations")]

use super::fault::Fault;
use super::graph::{Graph, ValueId};
use super::matrix::Matrix;
use super::norm::sigmoid;
use super::number::Number;

impl<N: Number> Graph<'_, N> {
    /// The row before minus this row; before the first there is zero.
    pub fn shift(&mut self, x: ValueId) -> ValueId {
        let from = self.value(x);
        let (time, forward) = (from.rows, self.has(Fault::ShiftsForward));
        let other = move |t: usize| if forward { (t + 1 < time).then_some(t + 1) } else { t.checked_sub(1) };
        let mut y = from.map(|x| -x);
        for t in 0..time {
            if let Some(s) = other(t) {
                y.row_mut(t).iter_mut().zip(from.row(s)).for_each(|(y, x)| *y += *x);
            }
        }
        self.push(y, move |_, dy, slopes| {
            let mut dx = dy.map(|dy| -dy);
            for t in 0..time {
                if let Some(s) = other(t) {
                    dx.row_mut(s).iter_mut().zip(dy.row(t)).for_each(|(dx, dy)| *dx += *dy);
                }
            }
            slopes.add(x, dx);
        })
    }

    /// y[t, c] = Σⱼ w[c, j]·x[t − (K−1) + j, c].
    ///
    /// # Shapes
    /// - `x`: [T, C], `w`: [C, K]
    /// - result: [T, C]
    pub fn convolution(&mut self, x: ValueId, w: ValueId) -> ValueId {
        let (from, taps) = (self.value(x), self.value(w));
        let (time, channels, count) = (from.rows, from.cols, taps.cols);
        let reversed = self.has(Fault::TapsReversed);
        // Where tap j reads for position t.
        let reads =
            move |t: usize, j: usize| (t + if reversed { count - 1 - j } else { j }).checked_sub(count - 1);
        let mut y = Matrix::zeros(time, channels);
        for t in 0..time {
            for j in 0..count {
                let Some(s) = reads(t, j) else { continue };
                for c in 0..channels {
                    y.row_mut(t)[c] += taps.row(c)[j] * from.row(s)[c];
                }
            }
        }
        self.push(y, move |values, dy, slopes| {
            let (from, taps) = (values.at(x), values.at(w));
            let (mut dx, mut dw) = (Matrix::zeros(time, channels), Matrix::zeros(channels, count));
            for t in 0..time {
                for j in 0..count {
                    let Some(s) = reads(t, j) else { continue };
                    for c in 0..channels {
                        dx.row_mut(s)[c] += taps.row(c)[j] * dy.row(t)[c];
                        dw.row_mut(c)[j] += from.row(s)[c] * dy.row(t)[c];
                    }
                }
            }
            slopes.add(x, dx);
            slopes.add(w, dw);
        })
    }

    /// RWKV-6: `y[j] = Σᵢ r[i]·(S[i,j] + u[i]·k[i]·v[j])`, then `S[i,j] ← w[i]·S[i,j] + k[i]·v[j]` with
    /// `w = exp(−exp(ω))`.
    ///
    /// # Shapes
    /// - `inputs`: r, k, v, ω of [T, H·n]; `bonus`: u [H, n]
    /// - result: [T, H·n]
    pub fn wkv(&mut self, inputs: [ValueId; 4], bonus: ValueId) -> ValueId {
        let (heads, size) = (self.value(bonus).rows, self.value(bonus).cols);
        let (no_bonus, flipped) = (self.has(Fault::NoBonus), self.has(Fault::SignOfDecay));
        let (time, keeps) = (self.value(inputs[0]).rows, self.keeps());
        let mut y = Matrix::zeros(time, heads * size);
        let mut states = Vec::new();
        for h in 0..heads {
            let [r, k, v, raw] = inputs.map(|x| strip(self.value(x), h, size));
            let u = bonus_of(self.value(bonus), h, no_bonus);
            let mut state = Matrix::zeros(size, size);
            for t in 0..time {
                if keeps {
                    states.push(state.clone());
                }
                for i in 0..size {
                    let keep = (-raw.row(t)[i].exp()).exp();
                    for j in 0..size {
                        let new = k.row(t)[i] * v.row(t)[j];
                        y.row_mut(t)[h * size + j] += r.row(t)[i] * (state.row(i)[j] + u[i] * new);
                        state.row_mut(i)[j] = keep * state.row(i)[j] + new;
                    }
                }
            }
        }
        self.push(y, move |values, dy, slopes| {
            let mut d = inputs.map(|_| Matrix::zeros(time, heads * size));
            let mut du = Matrix::zeros(heads, size);
            for h in 0..heads {
                let x = inputs.map(|x| strip(values.at(x), h, size));
                let u = bonus_of(values.at(bonus), h, no_bonus);
                let states = &states[h * time..(h + 1) * time];
                let parts = wkv_backward(&x, &u, states, &strip(dy, h, size), du.row_mut(h));
                d.iter_mut().zip(&parts).for_each(|(d, part)| put_strip(d, part, h));
            }
            if flipped {
                d[3] = d[3].map(|x| -x);
            }
            inputs.into_iter().zip(d).for_each(|(place, d)| slopes.add(place, d));
            slopes.add(bonus, du);
        })
    }

    /// Mamba-2: `h[n,p] ← exp(Δ·A)·h[n,p] + B[n]·Δ·x[p]`, then `y[p] = Σₙ C[n]·h[n,p] + D·x[p]`, with
    /// Δ = clamp(softplus(δ + bias), limits) and A = −exp(A_log).
    ///
    /// # Shapes
    /// - `inputs`: x [T, H·P], δ [T, H], B and C [T, G·n]; `heads`: A_log, bias and D of [1, H]
    /// - result: [T, H·P]
    pub fn ssd(
        &mut self,
        inputs: [ValueId; 4],
        per_head: [ValueId; 3],
        groups: usize,
        limits: (f64, f64),
    ) -> ValueId {
        let (time, width) = (self.value(inputs[0]).rows, self.value(inputs[0]).cols);
        let heads = self.value(per_head[0]).cols;
        let (size, maps) = (width / heads, self.value(inputs[2]).cols / groups);
        let group = move |h: usize| h * groups / heads;
        let of = move |at: &dyn Fn(ValueId) -> Matrix<N>, h: usize| SsdOfHead {
            x: strip(&at(inputs[0]), h, size),
            raw: strip(&at(inputs[1]), h, 1).data,
            b: strip(&at(inputs[2]), group(h), maps),
            c: strip(&at(inputs[3]), group(h), maps),
            a: -at(per_head[0]).data[h].exp(),
            bias: at(per_head[1]).data[h],
            skip: at(per_head[2]).data[h],
            limits,
        };
        let (mut y, keeps) = (Matrix::zeros(time, width), self.keeps());
        let mut states = Vec::new();
        for h in 0..heads {
            let head = of(&|place| self.value(place).clone(), h);
            put_strip(&mut y, &head.forward(keeps.then_some(&mut states)), h);
        }
        self.push(y, move |values, dy, slopes| {
            let mut d = inputs.map(|place| Matrix::zeros(time, values.at(place).cols));
            let mut numbers = [0, 1, 2].map(|_| Matrix::zeros(1, heads));
            for h in 0..heads {
                let head = of(&|place| values.at(place).clone(), h);
                let states = &states[h * (time + 1)..(h + 1) * (time + 1)];
                let (parts, sums) = head.backward(states, &strip(dy, h, size));
                for (i, part) in parts.iter().enumerate() {
                    put_strip(&mut d[i], part, if i < 2 { h } else { group(h) });
                }
                numbers.iter_mut().zip(sums).for_each(|(to, sum)| to.data[h] = sum);
            }
            inputs.into_iter().zip(d).for_each(|(place, d)| slopes.add(place, d));
            per_head.into_iter().zip(numbers).for_each(|(place, d)| slopes.add(place, d));
        })
    }
}

/// Block h of the columns, each block `size` wide.
fn strip<N: Number>(x: &Matrix<N>, h: usize, size: usize) -> Matrix<N> {
    let rows = (0..x.rows).flat_map(|t| x.row(t)[h * size..(h + 1) * size].iter().copied());
    Matrix::new(x.rows, size, rows.collect())
}

/// Adds to block h of the columns.
fn put_strip<N: Number>(to: &mut Matrix<N>, part: &Matrix<N>, h: usize) {
    for t in 0..part.rows {
        let to = &mut to.row_mut(t)[h * part.cols..(h + 1) * part.cols];
        to.iter_mut().zip(part.row(t)).for_each(|(to, x)| *to += *x);
    }
}

fn bonus_of<N: Number>(bonus: &Matrix<N>, h: usize, none: bool) -> Vec<N> {
    bonus.row(h).iter().map(|u| if none { N::zero() } else { *u }).collect()
}

/// Gradients of r, k, v and ω of one head; adds to that of u. `states[t]` is the state before step t.
fn wkv_backward<N: Number>(
    [r, k, v, raw]: &[Matrix<N>; 4],
    u: &[N],
    states: &[Matrix<N>],
    dy: &Matrix<N>,
    du: &mut [N],
) -> [Matrix<N>; 4] {
    let (time, n) = (r.rows, r.cols);
    let [mut dr, mut dk, mut dv, mut dw] = [0, 1, 2, 3].map(|_| Matrix::<N>::zeros(time, n));
    let (mut ds, mut running) = (Matrix::<N>::zeros(n, n), vec![N::zero(); n]);
    for t in (0..time).rev() {
        for i in 0..n {
            let (rt, kt, rate) = (r.row(t)[i], k.row(t)[i], raw.row(t)[i].exp());
            let keep = (-rate).exp();
            let [mut read, mut fresh, mut written, mut decayed] = [N::zero(); 4];
            for j in 0..n {
                let (vt, dyt, before, after) = (v.row(t)[j], dy.row(t)[j], states[t].row(i)[j], ds.row(i)[j]);
                read += dyt * before;
                fresh += dyt * vt;
                written += after * vt;
                decayed += after * before;
                dv.row_mut(t)[j] += kt * after + rt * u[i] * kt * dyt;
                ds.row_mut(i)[j] = keep * after + rt * dyt;
            }
            // d ln w = Σ_{later} r·dr − Σ_{now and later} k·dk, over what goes through the state.
            let cancelling = running[i] - kt * written;
            running[i] = cancelling + rt * read;
            let log_decay = if N::ROUNDED { cancelling } else { keep * decayed };
            dr.row_mut(t)[i] = read + u[i] * kt * fresh;
            dk.row_mut(t)[i] = written + u[i] * rt * fresh;
            dw.row_mut(t)[i] = -log_decay * rate;
            du[i] += rt * kt * fresh;
        }
    }
    [dr, dk, dv, dw]
}

/// What one head of Mamba-2 reads.
struct SsdOfHead<N> {
    x: Matrix<N>,
    raw: Vec<N>,
    b: Matrix<N>,
    c: Matrix<N>,
    a: N,
    bias: N,
    skip: N,
    limits: (f64, f64),
}

impl<N: Number> SsdOfHead<N> {
    /// Δ and its slope.
    fn step(&self, t: usize) -> (N, N) {
        let z = self.raw[t] + self.bias;
        let soft = if z > N::zero() { z + (-z).exp().ln_1p() } else { z.exp().ln_1p() };
        let (low, high) = (N::of(self.limits.0), N::of(self.limits.1));
        if soft < low || soft > high { (soft.max(low).min(high), N::zero()) } else { (soft, sigmoid(z)) }
    }

    /// y; puts the state before every step and the last one into `states`, where somebody wants them.
    fn forward(&self, mut states: Option<&mut Vec<Matrix<N>>>) -> Matrix<N> {
        let mut keep_state = |state: &Matrix<N>| {
            if let Some(states) = &mut states {
                states.push(state.clone());
            }
        };
        let (time, size, maps) = (self.x.rows, self.x.cols, self.b.cols);
        let mut y = self.x.map(|x| self.skip * x);
        let mut state = Matrix::zeros(maps, size);
        keep_state(&state);
        for t in 0..time {
            let (step, _) = self.step(t);
            let keep = (step * self.a).exp();
            for n in 0..maps {
                for p in 0..size {
                    let new = keep * state.row(n)[p] + self.b.row(t)[n] * (step * self.x.row(t)[p]);
                    state.row_mut(n)[p] = new;
                    y.row_mut(t)[p] += self.c.row(t)[n] * new;
                }
            }
            keep_state(&state);
        }
        y
    }

    /// Gradients of x, δ, B and C, and of A_log, bias and D.
    fn backward(&self, states: &[Matrix<N>], dy: &Matrix<N>) -> ([Matrix<N>; 4], [N; 3]) {
        let (time, size, maps) = (self.x.rows, self.x.cols, self.b.cols);
        let (mut dx, mut draw) = (Matrix::<N>::zeros(time, size), Matrix::<N>::zeros(time, 1));
        let (mut db, mut dc) = (Matrix::<N>::zeros(time, maps), Matrix::<N>::zeros(time, maps));
        let (mut dh, mut running) = (Matrix::<N>::zeros(maps, size), N::zero());
        let [mut a_log, mut bias, mut skip] = [N::zero(); 3];
        for t in (0..time).rev() {
            let (step, slope) = self.step(t);
            let keep = (step * self.a).exp();
            let (before, after, mut decayed) = (&states[t], &states[t + 1], N::zero());
            let mut input = vec![N::zero(); size];
            for n in 0..maps {
                let (bt, ct) = (self.b.row(t)[n], self.c.row(t)[n]);
                let (mut to_b, mut to_c) = (N::zero(), N::zero());
                for p in 0..size {
                    let flow = dh.row(n)[p] + ct * dy.row(t)[p];
                    to_c += dy.row(t)[p] * after.row(n)[p];
                    to_b += flow * (step * self.x.row(t)[p]);
                    decayed += flow * before.row(n)[p];
                    input[p] += flow * bt;
                    dh.row_mut(n)[p] = keep * flow;
                }
                (db.row_mut(t)[n], dc.row_mut(t)[n]) = (to_b, to_c);
                running += ct * to_c - bt * to_b;
            }
            let log_decay = if N::ROUNDED { running } else { keep * decayed };
            let mut to_step = log_decay * self.a;
            for p in 0..size {
                to_step += input[p] * self.x.row(t)[p];
                skip += dy.row(t)[p] * self.x.row(t)[p];
                dx.row_mut(t)[p] = step * input[p] + self.skip * dy.row(t)[p];
            }
            a_log += log_decay * step * self.a;
            draw.data[t] = to_step * slope;
            bias += draw.data[t];
        }
        ([dx, draw, db, dc], [a_log, bias, skip])
    }
}
