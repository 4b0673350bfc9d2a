//! Mamba-2's short causal depth-wise convolution followed by SiLU.
//!
//! | symbol | shape | |
//! |---|---|---|
//! | x | [B·T, C] | input; row b·T + t |
//! | W | [C, 1, K] | one filter a channel, the last tap on the current position |
//! | b | [C] | bias |
//! | tail | [B, K−1, C] | last inputs of the call before: recurrent state, no gradient |
//!
//! y[t] = SiLU(b + Σⱼ W[j]·x[t − (K−1) + j])

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::case::like;
use super::data::{Data, sum_in_order, tensor, wide};
use super::stored::{Stored, dispatch_stored};
use super::{Case, Real, Tape, Var, simd};
use crate::launch;

#[derive(Clone, Copy)]
struct ConvolutionShape {
    batch: usize,
    time: usize,
    channels: usize,
    taps: usize,
}

/// [C, 1, K] to K rows of C.
fn by_tap<T: Real>(w: &[T], s: ConvolutionShape) -> Vec<T> {
    (0..s.taps * s.channels).map(|i| w[i % s.channels * s.taps + i / s.channels]).collect()
}

/// One sequence with its tail in front: [K−1+T, C].
fn padded<S: Stored>(x: &[S], tail: &[S], s: ConvolutionShape, b: usize) -> Vec<S::Real> {
    let (before, size) = ((s.taps - 1) * s.channels, s.time * s.channels);
    let mut all = Vec::with_capacity(before + size);
    all.extend(tail[b * before..(b + 1) * before].iter().map(|x| x.widen()));
    S::loaded(&x[b * size..(b + 1) * size], |x| all.extend_from_slice(x));
    all
}

/// The convolution before SiLU.
#[inline(always)]
fn convolve<T: Real>(x: &[T], w: &[T], bias: &[T], s: ConvolutionShape, y: &mut [T]) {
    let c = s.channels;
    for (t, y) in y.chunks_exact_mut(c).enumerate() {
        y.copy_from_slice(bias);
        for (j, w) in w.chunks_exact(c).enumerate() {
            let x = &x[(t + j) * c..(t + j + 1) * c];
            for i in 0..c {
                y[i] += w[i] * x[i];
            }
        }
    }
}

/// y, and the new tail.
fn forward<S: Stored>(x: [&Tensor; 4], s: ConvolutionShape) -> Result<(Vec<S>, Vec<S>)> {
    let (w, b) = (wide(x[1])?, wide(x[2])?);
    let [x, w, b, tail] = [Data::of(x[0])?, Data::of(&w)?, Data::of(&b)?, Data::of(x[3])?];
    let (x, w, b, tail) =
        (x.get::<S>()?, by_tap(w.get::<S::Real>()?, s), b.get::<S::Real>()?, tail.get::<S>()?);
    let mut y = vec![S::default(); x.len()];
    let tails: Vec<Vec<S>> = y
        .par_chunks_mut(s.time * s.channels)
        .enumerate()
        .map(|(i, y)| {
            let x = padded(x, tail, s, i);
            S::stored(y, |y| {
                simd(
                    #[inline(always)]
                    || {
                        convolve(&x, &w, b, s, y);
                        y.iter_mut().for_each(|y| *y = y.silu());
                    },
                );
            });
            x[s.time * s.channels..].iter().map(|x| S::narrow(*x)).collect()
        })
        .collect();
    Ok((y, tails.concat()))
}

/// Gradients of x, W and b.
fn backward<S: Stored>(x: [&Tensor; 4], dy: &Tensor, s: ConvolutionShape) -> Result<[Tensor; 3]> {
    let shapes = [x[0].dims(), x[1].dims(), x[2].dims()];
    let (w, b) = (wide(x[1])?, wide(x[2])?);
    let [x, w, b, tail] = [Data::of(x[0])?, Data::of(&w)?, Data::of(&b)?, Data::of(x[3])?];
    let (x, w, b, tail) =
        (x.get::<S>()?, by_tap(w.get::<S::Real>()?, s), b.get::<S::Real>()?, tail.get::<S>()?);
    let dyd = Data::of(dy)?;
    let dy = dyd.get::<S>()?;
    let (c, size) = (s.channels, s.time * s.channels);
    let zeros = |n: usize| vec![S::Real::of(0.0); n];
    let mut dx = vec![S::default(); x.len()];
    let partial: (Vec<_>, Vec<_>) = dx
        .par_chunks_mut(size)
        .enumerate()
        .map(|(i, dx)| {
            let x = padded(x, tail, s, i);
            let dy = &dy[i * size..(i + 1) * size];
            let (mut dw, mut db) = (zeros(s.taps * c), zeros(c));
            // Added to from every tap: zeros first.
            let mut sum = zeros(size);
            S::loaded(dy, |dy| {
                simd(
                    #[inline(always)]
                    || sequence_backward(&x, &w, b, dy, s, &mut sum, &mut dw, &mut db),
                );
            });
            dx.iter_mut().zip(sum).for_each(|(dx, sum)| *dx = S::narrow(sum));
            (dw, db)
        })
        .unzip();
    let dw = sum_in_order(&partial.0, s.taps * c);
    let dw = (0..dw.len()).map(|i| dw[i % s.taps * c + i / s.taps]).collect();
    Ok([tensor(dx, shapes[0])?, tensor(dw, shapes[1])?, tensor(sum_in_order(&partial.1, c), shapes[2])?])
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "one inner loop, its inputs and its three outputs")]
fn sequence_backward<T: Real>(
    x: &[T],
    w: &[T],
    bias: &[T],
    dy: &[T],
    s: ConvolutionShape,
    dx: &mut [T],
    dw: &mut [T],
    db: &mut [T],
) {
    let (c, before) = (s.channels, s.taps - 1);
    let mut d = vec![T::zero(); dy.len()];
    convolve(x, w, bias, s, &mut d);
    d.iter_mut().zip(dy).for_each(|(d, dy)| *d = *dy * d.silu_slope());
    for (t, d) in d.chunks_exact(c).enumerate() {
        for i in 0..c {
            db[i] += d[i];
        }
        for j in 0..s.taps {
            let (row, tap) = (t + j, &w[j * c..(j + 1) * c]);
            let (x, dw) = (&x[row * c..(row + 1) * c], &mut dw[j * c..(j + 1) * c]);
            for i in 0..c {
                dw[i] += d[i] * x[i];
            }
            if row >= before {
                let dx = &mut dx[(row - before) * c..(row - before + 1) * c];
                for i in 0..c {
                    dx[i] += d[i] * tap[i];
                }
            }
        }
    }
}

/// Convolves every channel with its own filter of K taps, over this position and those before it, and applies SiLU.
///
/// # Shapes
/// - `x`: [B·T, C]
/// - `w`: [C, 1, K]
/// - `b`: `[C]`
/// - `tail`: [B, K−1, C], the inputs before `x`; no gradient flows there
/// - result: y [B·T, C], and the new tail [B, K−1, C]
pub fn causal_conv_silu(tape: &Tape, x: &Var, w: &Var, b: &Var, tail: &Tensor) -> Result<(Var, Tensor)> {
    let (batch, before, channels) = tail.dims3()?;
    let (rows, cols) = x.tensor().dims2()?;
    if cols != channels || w.dims() != [channels, 1, before + 1] || rows % batch != 0 {
        bail!("convolution: x {:?}, filters {:?}, tail {:?}", x.dims(), w.dims(), tail.dims());
    }
    let s = ConvolutionShape { batch, time: rows / batch, channels, taps: before + 1 };
    let dtype = x.tensor().dtype();
    let inputs = [x.tensor().clone(), w.tensor().clone(), b.tensor().clone(), tail.clone()];
    let on_device = launch::runs_on_kernels(x.tensor()).then_some([s.batch, s.time, s.channels, s.taps]);
    let (y, new_tail) = match on_device {
        Some(s) => launch::convolution::forward(inputs.each_ref(), s)?,
        None => dispatch_stored!(dtype, S => {
            let (y, new_tail) = forward::<S>(inputs.each_ref(), s)?;
            (tensor(y, &[s.batch * s.time, cols])?, tensor(new_tail, tail.dims())?)
        }),
    };
    if !tape.requires_grad(&[x, w, b]) {
        return Ok((Var::constant(y), new_tail));
    }
    let slots = [x.slot(), w.slot(), b.slot()];
    let y = tape.record_one(y, move |dy, sink| {
        let gradients = match on_device {
            Some(s) => launch::convolution::backward(inputs.each_ref(), &dy, s)?,
            None => dispatch_stored!(dtype, S => backward::<S>(inputs.each_ref(), &dy, s))?,
        };
        slots.into_iter().zip(gradients).try_for_each(|(slot, g)| sink.add(slot, g))
    });
    Ok((y, new_tail))
}

/// Tap by tap, in candle's differentiable functions.
pub(super) fn reference(x: &Tensor, w: &Tensor, bias: &Tensor, tail: &Tensor) -> Result<Tensor> {
    let (b, before, c) = tail.dims3()?;
    let t = x.dim(0)? / b;
    let all = Tensor::cat(&[tail, &x.reshape((b, t, c))?], 1)?;
    let mut y = bias.broadcast_as((b, t, c))?;
    for j in 0..=before {
        let tap = w.narrow(2, j, 1)?.reshape(c)?;
        y = (y + all.narrow(1, j, t)?.broadcast_mul(&tap)?)?;
    }
    let y = y.reshape((b * t, c))?;
    &y / (y.neg()?.exp()? + 1.0)?
}

pub(super) fn cases(normal: &mut super::Normal<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for (b, t, c, k) in
        [(2, 9, 5, 4), (1, 1, 3, 4), (3, 2, 2, 3), (2, 70, 12, 4), (1, 2, 8, 4), (1, 40, 3, 8)]
    {
        let tail = normal(&[b, k - 1, c]);
        let again = tail.clone();
        cases.push(Case::new(
            format!("B{b} T{t} C{c} K{k}"),
            vec![normal(&[b * t, c]), normal(&[c, 1, k]), normal(&[c])],
            move |tape, v| {
                let tail = like(&tail, &v[0])?;
                Ok(vec![causal_conv_silu(tape, &v[0], &v[1], &v[2], &tail)?.0])
            },
            move |x| Ok(vec![reference(&x[0], &x[1], &x[2], &again)?]),
        ));
    }
    cases
}
