//! The language-model head and its loss in one, in the manner of flash attention (Dao et al. 2022): the
//! vocabulary goes by in blocks, with a running maximum and sum. A block is small enough to be still in the
//! second-level cache for the two steps that follow its product: exponentials and dh.
//!
//! | symbol | shape | |
//! |---|---|---|
//! | h | [N, d] | hidden states |
//! | W | [V, d] | output embedding |
//! | loss | [] | mean over N of ln Σ exp(W h) − (W h)[target], nats per token (ruling R5) |
//!
//! The gradients need the probabilities p: dh = (p W − W[target])/N, dW = (p − 1[target])ᵀ h/N. What is
//! kept of a block is e = exp(z − c), c being the running maximum when the block went by, for at most
//! [`TOKENS`] tokens at a time; p itself is never formed. With s = Σ exp(z − m) and m the last maximum,
//! p W is the running sum of e W over s, and pᵀ h is eᵀ h' with the rows of h' = h·exp(c − m)/s: small.
//! Both are formed in the forward pass and only scaled in the backward pass.

use candle_core::{DType, Result, Tensor, bail};
use rayon::prelude::*;

use super::cross_entropy_brief::{BriefHead, BriefLosses};
use super::data::{Data, brief, by_rows, is_brief, tensor};
use super::matmul::{append_product, matmul};
use super::real::{exponentials, largest};
use super::{Case, Real, Tape, Var, dispatch_dtype, simd, to_vec_f64};
use crate::launch;
use crate::products::{Mat, Threads};

/// Tokens whose e is kept at a time.
const TOKENS: usize = 512;

/// Words in a block: with 512 tokens, two megabytes of float32.
const WORDS: usize = 1024;

/// Rows of a block in one task.
const ROWS: usize = 16;

struct LossOutputs<T> {
    losses: Vec<f64>,
    dh: Vec<T>,
    dw: Vec<T>,
}

/// What is known of a token's distribution after some blocks.
#[derive(Clone, Copy)]
struct Running<T> {
    max: T,
    /// Σ exp(z − max).
    sum: T,
    at_target: T,
    /// By how much the last block shrank what came before it: exp(old max − max).
    shrink: T,
}

impl<T: Real> Running<T> {
    fn new() -> Self {
        Self { max: T::neg_infinity(), sum: T::zero(), at_target: T::nan(), shrink: T::zero() }
    }

    /// Takes in the logits of a block, which become exp(z − max).
    #[inline(always)]
    fn take(&mut self, z: &mut [T], target: Option<usize>) {
        if let Some(target) = target {
            self.at_target = z[target];
        }
        let before = self.max;
        let in_block = largest(z);
        self.max = if in_block > before { in_block } else { before };
        self.shrink = (before - self.max).fast_exp();
        self.sum = self.sum * self.shrink + exponentials(z, self.max);
    }

    fn loss(&self) -> f64 {
        self.sum.wide().ln() + self.max.wide() - self.at_target.wide()
    }
}

/// Some tokens and the head.
struct LossPart<'a, T> {
    h: &'a [T],
    targets: &'a [u32],
    w: &'a [T],
    width: usize,
    /// Words in a block.
    words: usize,
}

impl<T: Real> LossPart<'_, T> {
    /// Losses; and where gradients are asked for, `scale` times theirs: dh is appended, dw is added to
    /// or, where it is empty, filled.
    fn run(&self, losses: &mut Vec<f64>, gradients: Option<(&mut Vec<T>, &mut Vec<T>)>, scale: T) {
        let (n, width) = (self.targets.len(), self.width);
        let mut rows = vec![Running::new(); n];
        let Some((dh, dw)) = gradients else {
            let mut e = Vec::new();
            for (first, w) in self.blocks() {
                e.clear();
                self.block(first, w, &mut e, &mut rows);
            }
            return losses.extend(rows.iter().map(Running::loss));
        };
        let h = Mat::new(self.h, n, width);
        let (mut e, mut maxima) = (Vec::with_capacity(n * self.w.len() / width), Vec::new());
        let mut sum = vec![T::zero(); n * width];
        for (first, w) in self.blocks() {
            let start = e.len();
            self.block(first, w, &mut e, &mut rows);
            if first > 0 {
                let shrink = |row: usize, sum: &mut [T]| {
                    let by = rows[row].shrink;
                    if by != T::one() {
                        sum.iter_mut().for_each(|x| *x *= by);
                    }
                };
                by_rows(&mut sum, width, shrink);
            }
            matmul(Mat::new(&e[start..], n, w.rows), w, &mut sum, width, first > 0, T::one(), Threads::All);
            maxima.push(rows.iter().map(|r| r.max).collect::<Vec<_>>());
        }
        losses.extend(rows.iter().map(Running::loss));

        by_rows(&mut sum, width, |row, sum| {
            let (factor, w) = (scale / rows[row].sum, &self.w[self.targets[row] as usize * width..]);
            sum.iter_mut().zip(w).for_each(|(x, w)| *x = *x * factor - scale * *w);
        });
        dh.extend_from_slice(&sum);

        let mut scaled_h = sum;
        let (fresh, mut start) = (dw.is_empty(), 0);
        for ((first, w), maxima) in self.blocks().zip(&maxima) {
            by_rows(&mut scaled_h, width, |row, x| {
                let Running { max, sum, .. } = rows[row];
                let factor = (maxima[row] - max).exp() * scale / sum;
                x.iter_mut().zip(&self.h[row * width..]).for_each(|(x, h)| *x = *h * factor);
            });
            let e = Mat::new(&e[start..start + n * w.rows], n, w.rows).t();
            start += n * w.rows;
            let scaled = Mat::new(&scaled_h, n, width);
            if fresh {
                append_product(e, scaled, dw, T::one(), Threads::All);
            } else {
                let rows = first * width..(first + w.rows) * width;
                matmul(e, scaled, &mut dw[rows], width, true, T::one(), Threads::All);
            }
        }
        for (h, target) in h.data.chunks_exact(width).zip(self.targets) {
            let row = &mut dw[*target as usize * width..][..width];
            row.iter_mut().zip(h).for_each(|(dw, h)| *dw -= scale * *h);
        }
    }

    /// The blocks of the head, each with its first word.
    fn blocks(&self) -> impl Iterator<Item = (usize, Mat<'_, T>)> {
        let size = self.words * self.width;
        let blocks = self.w.chunks(size).enumerate();
        blocks.map(|(i, w)| (i * self.words, Mat::new(w, w.len() / self.width, self.width)))
    }

    /// Appends a block's e and takes it into the rows' statistics.
    fn block(&self, first: usize, w: Mat<'_, T>, e: &mut Vec<T>, rows: &mut [Running<T>]) {
        let (start, n) = (e.len(), rows.len());
        append_product(Mat::new(self.h, n, self.width), w.t(), e, T::one(), Threads::All);
        let parts = e[start..].par_chunks_mut(ROWS * w.rows).zip(rows.par_chunks_mut(ROWS));
        parts.zip(self.targets.par_chunks(ROWS)).for_each(|((z, rows), targets)| {
            simd(
                #[inline(always)]
                || {
                    for ((z, row), target) in z.chunks_exact_mut(w.rows).zip(rows).zip(targets) {
                        let target = (*target as usize).wrapping_sub(first);
                        row.take(z, (target < w.rows).then_some(target));
                    }
                },
            );
        });
    }
}

/// Rows, width and vocabulary that fit together.
fn checked(h: &Tensor, w: &Tensor, targets: &[u32]) -> Result<(usize, usize, usize)> {
    let ((rows, width), (vocab, w_width)) = (h.dims2()?, w.dims2()?);
    if rows != targets.len() || width != w_width || width == 0 {
        bail!("loss: hidden {:?}, head {:?}, {} targets", h.dims(), w.dims(), targets.len());
    }
    if let Some((i, t)) = targets.iter().enumerate().find(|(_, t)| **t as usize >= vocab) {
        bail!("target id {t} at position {i} is outside the vocabulary of {vocab}");
    }
    Ok((rows, width, vocab))
}

/// The same in bfloat16 on a CPU.
fn run_brief(h: &Tensor, w: &Tensor, targets: &[u32], gradients: bool) -> Result<BriefLosses> {
    let (_, width, _) = checked(h, w, targets)?;
    let (hd, wd) = (Data::of(h)?, Data::of(w)?);
    Ok(BriefHead { h: hd.get()?, w: wd.get()?, targets, width }.run(gradients))
}

fn run<T: Real>(
    h: &Tensor,
    w: &Tensor,
    targets: &[u32],
    gradients: bool,
    words: usize,
) -> Result<LossOutputs<T>> {
    let (rows, width, vocab) = checked(h, w, targets)?;
    let (hd, wd) = (Data::of(h)?, Data::of(w)?);
    let (h, w) = (hd.get::<T>()?, wd.get::<T>()?);
    let size = |n: usize| Vec::with_capacity(if gradients { n } else { 0 });
    let mut out =
        LossOutputs { losses: Vec::with_capacity(rows), dh: size(rows * width), dw: size(vocab * width) };
    let scale = T::of(1.0 / rows as f64);
    for (h, targets) in h.chunks(TOKENS * width).zip(targets.chunks(TOKENS)) {
        let wanted = gradients.then_some((&mut out.dh, &mut out.dw));
        LossPart { h, targets, w, width, words }.run(&mut out.losses, wanted, scale);
    }
    Ok(out)
}

/// Mean cross-entropy of `targets` under softmax(h Wᵀ), in nats per token.
///
/// # Shapes
/// - `h`: [N, d]
/// - `w`: [V, d]
/// - `targets`: `[N]`, each below V
/// - result: a scalar
pub fn linear_cross_entropy(tape: &Tape, h: &Var, w: &Var, targets: &[u32]) -> Result<Var> {
    let dtype = h.tensor().dtype();
    let gradients = tape.requires_grad(&[h, w]);
    if gradients {
        tape.note_targets(targets);
    }
    if launch::runs_on_kernels(h.tensor()) {
        return on_device(tape, h, w, targets, gradients);
    }
    if is_brief(h.tensor()) {
        return in_brief(tape, h, w, targets, gradients);
    }
    dispatch_dtype!(dtype, T => {
        let out = run::<T>(h.tensor(), w.tensor(), targets, gradients, WORDS)?;
        let mean = out.losses.iter().sum::<f64>() / targets.len() as f64;
        let loss = tensor(vec![T::of(mean)], &[])?;
        if !gradients {
            return Ok(Var::constant(loss));
        }
        let (hs, ws) = (h.slot(), w.slot());
        let (dh, dw) = (tensor(out.dh, h.dims())?, tensor(out.dw, w.dims())?);
        Ok(tape.record_one(loss, move |dy, sink| {
            let scale = dy.to_dtype(DType::F64)?.to_scalar::<f64>()?;
            let scaled = |t: Tensor| if scale == 1.0 { Ok(t) } else { t * scale };
            sink.add(hs, scaled(dh)?)?;
            sink.add(ws, scaled(dw)?)
        }))
    })
}

/// The same in bfloat16 on a CPU. The loss stays float32.
fn in_brief(tape: &Tape, h: &Var, w: &Var, targets: &[u32], gradients: bool) -> Result<Var> {
    let out = run_brief(h.tensor(), w.tensor(), targets, gradients)?;
    let mean = out.losses.iter().sum::<f64>() / targets.len() as f64;
    let loss = tensor(vec![mean as f32], &[])?;
    if !gradients {
        return Ok(Var::constant(loss));
    }
    let (hs, ws) = (h.slot(), w.slot());
    let (dh, dw) = (tensor(out.dh, h.dims())?, tensor(out.dw, w.dims())?);
    Ok(tape.record_one(loss, move |dy, sink| {
        let scale = dy.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        let scaled = |t: Tensor| if scale == 1.0 { Ok(t) } else { t * scale };
        sink.add(hs, brief(&scaled(dh)?)?)?;
        sink.add(ws, scaled(dw)?)
    }))
}

/// The same where there are kernels for it. The loss stays on the device, in float32. The gradient that it is
/// given in the backward pass should lie on the CPU: looking at it on the device would wait for all the work there.
fn on_device(tape: &Tape, h: &Var, w: &Var, targets: &[u32], gradients: bool) -> Result<Var> {
    let losses = launch::cross_entropy::losses(h.tensor(), w.tensor(), targets, gradients)?;
    let mean = launch::cross_entropy::mean(&losses.each)?;
    let Some((dh, dw)) = losses.gradients else { return Ok(Var::constant(mean)) };
    let (hs, ws) = (h.slot(), w.slot());
    Ok(tape.record_one(mean, move |dy, sink| {
        let by = dy.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        if by != 1.0 {
            launch::elementwise::scale(&dh, by)?;
            launch::elementwise::scale(&dw, by)?;
        }
        sink.add(hs, dh)?;
        sink.add(ws, dw)
    }))
}

/// The cross-entropy of every target under softmax(h Wᵀ), in nats: what evaluation sums.
///
/// # Shapes
/// - `h`: [N, d]
/// - `w`: [V, d]
/// - `targets`: `[N]`, each below V
/// - result: N numbers
pub fn token_losses(h: &Tensor, w: &Tensor, targets: &[u32]) -> Result<Vec<f64>> {
    if launch::runs_on_kernels(h) {
        return to_vec_f64(&launch::cross_entropy::losses(h, w, targets, false)?.each);
    }
    if is_brief(h) {
        return Ok(run_brief(h, w, targets, false)?.losses);
    }
    dispatch_dtype!(h.dtype(), T => Ok(run::<T>(h, w, targets, false, WORDS)?.losses))
}

pub(super) fn cases(normal: &mut super::Normal<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for (n, d, v) in [(1, 3, 5), (23, 4, 7), (600, 3, 11), (19, 3, 2100), (2, 3, 20_003)] {
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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Blocks change the order of summation and nothing else: 300 terms of float64 stay within 1e-13.
    #[test]
    fn the_size_of_a_block_is_rounding() {
        let (n, d, v) = (40, 6, 301);
        let wave = |n: usize, a: f64| (0..n).map(|i| (i as f64 * a).sin() * 2.0).collect::<Vec<_>>();
        let h = Tensor::from_vec(wave(n * d, 1.3), (n, d), &Device::Cpu).unwrap();
        let w = Tensor::from_vec(wave(v * d, 0.7), (v, d), &Device::Cpu).unwrap();
        let targets: Vec<u32> = (0..n).map(|i| (i * 37 % v) as u32).collect();
        let whole = run::<f64>(&h, &w, &targets, true, v).unwrap();
        for words in [1, 7, 64, 300] {
            let cut = run::<f64>(&h, &w, &targets, true, words).unwrap();
            for (a, b) in [(&whole.losses, &cut.losses), (&whole.dh, &cut.dh), (&whole.dw, &cut.dw)] {
                assert_eq!(a.len(), b.len());
                let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(worst < 1e-13, "blocks of {words}: {worst}");
            }
        }
    }
}
