//! The language-model head and its loss in one: logits exist for a block of tokens at a time and
//! probabilities for all positions are never stored.
//!
//! | symbol | shape | |
//! |---|---|---|
//! | h | [N, d] | hidden states |
//! | W | [V, d] | output embedding |
//! | loss | [] | mean over N of ln Σ exp(W h) − (W h)[target], nats per token (ruling R5) |
//!
//! The gradients are simple once the probabilities of a block are at hand, dz = (p − 1[target])/N,
//! so they are formed in the forward pass and only scaled in the backward pass.

use candle_core::{DType, Result, Tensor, bail};

use super::data::{Data, tensor};
use super::linear::{Mat, matmul, product_into};
use super::real::{largest, total};
use super::{Case, Real, Tape, Var, real, simd};

/// Logits held at a time: about four million.
fn block_rows(vocab: usize) -> usize {
    (4_194_304 / vocab.max(1)).clamp(16, 512)
}

struct Out<T> {
    losses: Vec<f64>,
    dh: Vec<T>,
    dw: Vec<T>,
}

/// Turns a row of logits into its loss and, in place, softmax.
#[inline(always)]
fn softmax_loss<T: Real>(row: &mut [T], target: usize) -> f64 {
    let max = largest(row);
    let at_target = row[target];
    let mut lanes = [T::zero(); 16];
    for chunk in row.chunks_mut(16) {
        for (x, lane) in chunk.iter_mut().zip(&mut lanes) {
            *x = (*x - max).fast_exp();
            *lane += *x;
        }
    }
    let sum: T = total(lanes);
    let inverse = T::one() / sum;
    row.iter_mut().for_each(|x| *x *= inverse);
    sum.wide().ln() + max.wide() - at_target.wide()
}

fn run<T: Real>(h: &Tensor, w: &Tensor, targets: &[u32], gradients: bool) -> Result<Out<T>> {
    let ((rows, width), (vocab, w_width)) = (h.dims2()?, w.dims2()?);
    if rows != targets.len() || width != w_width {
        bail!("loss: hidden {:?}, head {:?}, {} targets", h.dims(), w.dims(), targets.len());
    }
    if let Some((i, t)) = targets.iter().enumerate().find(|(_, t)| **t as usize >= vocab) {
        bail!("target id {t} at position {i} is outside the vocabulary of {vocab}");
    }
    let (hd, wd) = (Data::of(h)?, Data::of(w)?);
    let (h, weight) = (hd.get::<T>()?, Mat::new(wd.get::<T>()?, vocab, width));
    let sizes = if gradients { (rows * width, vocab * width) } else { (0, 0) };
    let (dh, dw) = (vec![T::zero(); sizes.0], vec![T::zero(); sizes.1]);
    let mut out = Out { losses: Vec::with_capacity(rows), dh, dw };
    let block = block_rows(vocab);
    let mut logits = Vec::new();
    let scale = T::of(1.0 / rows as f64);
    for (i, (h, targets)) in h.chunks(block * width).zip(targets.chunks(block)).enumerate() {
        let n = targets.len();
        let h = Mat::new(h, n, width);
        product_into(h, weight.t(), &mut logits, T::one());
        simd(
            #[inline(always)]
            || {
                for (row, target) in logits.chunks_exact_mut(vocab).zip(targets) {
                    out.losses.push(softmax_loss(row, *target as usize));
                    row[*target as usize] -= T::one();
                }
            },
        );
        if gradients {
            let dz = Mat::new(&logits, n, vocab);
            let start = i * block * width;
            let dh = &mut out.dh[start..start + n * width];
            matmul(dz, weight, dh, width, false, scale);
            matmul(dz.t(), h, &mut out.dw, width, true, scale);
        }
    }
    Ok(out)
}

/// Mean cross-entropy of `targets` under softmax(h Wᵀ): a scalar.
pub fn linear_cross_entropy(tape: &Tape, h: &Var, w: &Var, targets: &[u32]) -> Result<Var> {
    let dtype = h.tensor().dtype();
    let gradients = tape.follows(&[h, w]);
    real!(dtype, T => {
        let out = run::<T>(h.tensor(), w.tensor(), targets, gradients)?;
        let mean = out.losses.iter().sum::<f64>() / targets.len() as f64;
        let loss = tensor(vec![T::of(mean)], &[])?;
        if !gradients {
            return Ok(Var::constant(loss));
        }
        let (hs, ws) = (h.slot(), w.slot());
        let (dh, dw) = (tensor(out.dh, h.dims())?, tensor(out.dw, w.dims())?);
        Ok(tape.push_one(loss, move |dy, sink| {
            let scale = dy.to_dtype(DType::F64)?.to_scalar::<f64>()?;
            let scaled = |t: Tensor| if scale == 1.0 { Ok(t) } else { t * scale };
            sink.add(hs, scaled(dh)?)?;
            sink.add(ws, scaled(dw)?)
        }))
    })
}

/// The loss of every token, in nats: what evaluation sums.
pub fn token_losses(h: &Tensor, w: &Tensor, targets: &[u32]) -> Result<Vec<f64>> {
    real!(h.dtype(), T => Ok(run::<T>(h, w, targets, false)?.losses))
}

pub(super) fn cases(normal: &mut super::Normal<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for (n, d, v) in [(1, 3, 5), (23, 4, 7), (600, 3, 11)] {
        let targets: Vec<u32> = (0..n).map(|i| (i * 5 % v) as u32).collect();
        let again = targets.clone();
        cases.push(Case::new(
            format!("N{n} d{d} V{v}"),
            vec![normal(&[n, d]), normal(&[v, d])],
            move |tape, x| Ok(vec![linear_cross_entropy(tape, &x[0], &x[1], &targets)?]),
            move |x| {
                let z = x[0].matmul(&x[1].t()?)?;
                let targets = Tensor::new(again.as_slice(), z.device())?;
                Ok(vec![candle_nn::loss::cross_entropy(&z, &targets)?])
            },
        ));
    }
    cases
}
