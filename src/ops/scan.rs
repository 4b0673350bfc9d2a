//! The recurrence under both recurrent ops, and under every gradient of theirs.
//!
//! A scan carries a matrix S [rows, lanes] through time. At each step S decays, an outer product
//! a bᵀ is added, and a row vector c is read against it: out[l] = Σ_r c[r]·S[r,l], before or after
//! the update. All four passes of RWKV-6 and all four of Mamba-2 have this form once time may run
//! backwards and the two sides of S may trade places; none needs a stored state or a sum across
//! lanes, so each runs in vector registers.
//!
//! Lanes never meet: they are taken in panels that fit the registers, and S in the first-level cache.

use candle_core::Result;
use rayon::prelude::*;

use super::real::Real;
use super::simd;

/// Lanes of a panel: two vector registers of float32 where they are widest.
const PANEL: usize = 32;

/// A matrix [T, size] inside a wider one.
#[derive(Clone, Copy)]
pub(super) struct Strip<'a, T> {
    data: &'a [T],
    stride: usize,
    size: usize,
}

impl<'a, T> Strip<'a, T> {
    /// Rows of `size` elements, `stride` apart, the first at `start`.
    pub fn new(data: &'a [T], start: usize, stride: usize, size: usize) -> Self {
        Self { data: &data[start..], stride, size }
    }

    /// A whole matrix of `size` columns.
    pub fn whole(data: &'a [T], size: usize) -> Self {
        Self { data, stride: size, size }
    }

    /// Row t.
    #[inline(always)]
    pub fn at(&self, t: usize) -> &'a [T] {
        &self.data[t * self.stride..][..self.size]
    }
}

/// What S is multiplied by at each step.
#[derive(Clone, Copy)]
pub(super) enum Decay<'a, T> {
    /// One factor a row.
    Rows(Strip<'a, T>),
    /// One factor a lane.
    Lanes(Strip<'a, T>),
    /// One factor.
    All(&'a [T]),
}

/// Which way time runs, and when the state is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ScanOrder {
    /// Forwards; reads S, then updates it.
    ReadFirst,
    /// Forwards; updates S, then reads it.
    ReadLast,
    /// Backwards; reads S, then updates it.
    BackReadFirst,
    /// Backwards; updates S with the decay of the step after (in time), then reads it.
    BackReadLast,
}

/// One scan.
pub(super) struct Scan<'a, T> {
    pub time: usize,
    pub order: ScanOrder,
    pub decay: Decay<'a, T>,
    /// a, over rows.
    pub rows: Strip<'a, T>,
    /// b, over lanes.
    pub lanes: Strip<'a, T>,
    /// c, over rows.
    pub read: Strip<'a, T>,
}

impl<T: Real> Scan<'_, T> {
    /// Runs from `state` [rows, lanes], which becomes the last state; returns out [T, lanes].
    #[inline(always)]
    pub fn run(&self, state: &mut [T]) -> Vec<T> {
        let width = self.lanes.size;
        let mut out = vec![T::zero(); self.time * width];
        let mut start = 0;
        while start < width {
            if width - start > PANEL / 2 {
                self.panel::<PANEL>(start, state, &mut out);
                start += PANEL;
            } else {
                self.panel::<{ PANEL / 2 }>(start, state, &mut out);
                start += PANEL / 2;
            }
        }
        out
    }

    /// The lanes from `start` on, at most L of them; missing ones are zero.
    #[inline(always)]
    fn panel<const L: usize>(&self, start: usize, state: &mut [T], out: &mut [T]) {
        let width = self.lanes.size;
        let used = L.min(width - start);
        let mut s = vec![[T::zero(); L]; self.rows.size];
        for (s, row) in s.iter_mut().zip(state.chunks_exact(width)) {
            s[..used].copy_from_slice(&row[start..start + used]);
        }
        for i in 0..self.time {
            let back = matches!(self.order, ScanOrder::BackReadFirst | ScanOrder::BackReadLast);
            let t = if back { self.time - 1 - i } else { i };
            let b = load::<T, L>(&self.lanes.at(t)[start..start + used]);
            // Before the first update of a backward scan S is zero: any decay does.
            let then = if self.order == ScanOrder::BackReadLast { (t + 1).min(self.time - 1) } else { t };
            let (a, c) = (self.rows.at(t), self.read.at(t));
            let last = matches!(self.order, ScanOrder::ReadLast | ScanOrder::BackReadLast);
            let y = match (self.decay, last) {
                (Decay::Rows(w), false) => step_rows::<T, L, false>(&mut s, w.at(then), a, &b, c),
                (Decay::Rows(w), true) => step_rows::<T, L, true>(&mut s, w.at(then), a, &b, c),
                (Decay::Lanes(w), false) => {
                    let w = load::<T, L>(&w.at(then)[start..start + used]);
                    step_lanes::<T, L, false>(&mut s, &w, a, &b, c)
                }
                (Decay::Lanes(w), true) => {
                    let w = load::<T, L>(&w.at(then)[start..start + used]);
                    step_lanes::<T, L, true>(&mut s, &w, a, &b, c)
                }
                (Decay::All(w), false) => step_lanes::<T, L, false>(&mut s, &[w[then]; L], a, &b, c),
                (Decay::All(w), true) => step_lanes::<T, L, true>(&mut s, &[w[then]; L], a, &b, c),
            };
            out[t * width + start..][..used].copy_from_slice(&y[..used]);
        }
        for (s, row) in s.iter().zip(state.chunks_exact_mut(width)) {
            row[start..start + used].copy_from_slice(&s[..used]);
        }
    }
}

#[inline(always)]
fn load<T: Real, const L: usize>(from: &[T]) -> [T; L] {
    match from.try_into() {
        Ok(whole) => whole,
        Err(_) => std::array::from_fn(|l| from.get(l).copied().unwrap_or(T::zero())),
    }
}

#[inline(always)]
fn step_rows<T: Real, const L: usize, const LAST: bool>(
    s: &mut [[T; L]],
    w: &[T],
    a: &[T],
    b: &[T; L],
    c: &[T],
) -> [T; L] {
    let mut y = [T::zero(); L];
    for (((s, w), a), c) in s.iter_mut().zip(w).zip(a).zip(c) {
        row::<T, L, LAST>(s, &[*w; L], *a, b, *c, &mut y);
    }
    y
}

#[inline(always)]
fn step_lanes<T: Real, const L: usize, const LAST: bool>(
    s: &mut [[T; L]],
    w: &[T; L],
    a: &[T],
    b: &[T; L],
    c: &[T],
) -> [T; L] {
    let mut y = [T::zero(); L];
    for ((s, a), c) in s.iter_mut().zip(a).zip(c) {
        row::<T, L, LAST>(s, w, *a, b, *c, &mut y);
    }
    y
}

/// One row of one step.
#[inline(always)]
fn row<T: Real, const L: usize, const LAST: bool>(
    s: &mut [T; L],
    w: &[T; L],
    a: T,
    b: &[T; L],
    c: T,
    y: &mut [T; L],
) {
    for l in 0..L {
        let new = w[l].mul_add(s[l], a * b[l]);
        let seen = if LAST { new } else { s[l] };
        y[l] = c.mul_add(seen, y[l]);
        s[l] = new;
    }
}

/// What `run` gives for every head of every sequence, each with its own state and the inputs that `head` finds for
/// its number, on all threads. `run` must be inlined to use vector registers.
///
/// # Shapes
/// - `states`: B·H of [rows, lanes], the heads of one sequence side by side
/// - result: as many, in that order
pub(super) fn over_heads<S: Send, H, R: Send>(
    states: impl IndexedParallelIterator<Item = S>,
    head: impl Fn(usize) -> Result<H> + Sync,
    run: impl Fn(H, usize, S) -> R + Sync,
) -> Result<Vec<R>> {
    let one = |(i, state)| {
        let head = head(i)?;
        Ok(simd(
            #[inline(always)]
            || run(head, i, state),
        ))
    };
    states.enumerate().map(one).collect()
}

/// A matrix [rows, cols] as [cols, rows].
pub(super) fn transposed<T: Copy>(x: &[T], cols: usize) -> Vec<T> {
    let rows = x.len() / cols.max(1);
    (0..x.len()).map(|i| x[i % rows * cols + i / rows]).collect()
}
