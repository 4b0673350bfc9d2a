//! The head and its loss in bfloat16 on a CPU: what `cross_entropy` computes where there are no kernels (ruling R28).
//!
//! Logits and exponentials are float32 and never leave the second-level cache; e = exp(z − c) is kept in bfloat16, words
//! going down, [V, tokens]. c is the target's own logit, so that no word waits for another: Σ e = 1/p, and a loss of
//! [`FAR`] nats is still far from the largest float32. Beyond it, c becomes the largest logit, and the tokens are gone
//! through again. The target's own e is left out of the products, where 1 − p would be lost to rounding, and added in
//! float32.

use half::bf16;
use rayon::prelude::*;

use super::data::by_rows;
use super::real::{Real, dot};
use super::simd;
use super::stored::Stored;
use crate::products::{Columns, Mat, Rows, Threads, matmul_wide, rounded, sums_in_block, widen, zeros};

/// Tokens whose e is kept at a time.
const TOKENS: usize = 512;

/// Words of a task, and of a block: its e, two megabytes, is still in a cache for the next product.
const WORDS: usize = 96;
const BLOCK: usize = 24 * WORDS;

/// The loss from which c has to be the largest logit, in nats.
const FAR: f32 = 60.0;

/// Losses; and, where they were asked for, the gradients of their mean.
pub(super) struct BriefLosses {
    pub losses: Vec<f64>,
    pub dh: Vec<f32>,
    pub dw: Vec<f32>,
}

/// Hidden states [N, d], the head [V, d] and targets.
#[derive(Clone, Copy)]
pub(super) struct BriefHead<'a> {
    pub h: &'a [bf16],
    pub w: &'a [bf16],
    pub targets: &'a [u32],
    pub width: usize,
}

/// A few tokens on their way through the vocabulary.
struct LossTokens<'a> {
    head: BriefHead<'a>,
    rows: Rows<'a>,
    columns: Columns,
    /// The targets' logits, and what all are shifted by.
    at_target: Vec<f32>,
    shift: Vec<f32>,
}

impl BriefHead<'_> {
    pub(super) fn run(self, gradients: bool) -> BriefLosses {
        let (d, n, vocab) = (self.width, self.targets.len(), self.w.len() / self.width);
        let size = |n: usize| if gradients { n } else { 0 };
        let mut all = BriefLosses { losses: Vec::new(), dh: zeros(size(n * d)), dw: zeros(size(vocab * d)) };
        let mut e = zeros(size(vocab * n.min(TOKENS)));
        for (i, (h, targets)) in self.h.chunks(TOKENS * d).zip(self.targets.chunks(TOKENS)).enumerate() {
            let part = LossTokens::new(Self { h, targets, ..self });
            let scale = 1.0 / n as f32;
            let dh = gradients.then(|| &mut all.dh[i * TOKENS * d..][..h.len()]);
            let e = &mut e[..size(vocab * targets.len())];
            let (part, sums) = part.exponentials(e, dh);
            let each = sums.iter().zip(&part.shift).zip(&part.at_target);
            all.losses.extend(each.map(|((sum, c), z)| f64::from(*sum).ln() + f64::from(*c) - f64::from(*z)));
            if gradients {
                part.gradients(e, &sums, scale, &mut all.dh[i * TOKENS * d..], (&mut all.dw, i > 0));
            }
        }
        all
    }
}

impl<'a> LossTokens<'a> {
    fn new(head: BriefHead<'a>) -> Self {
        let BriefHead { h, w, targets, width: d } = head;
        let (n, vocab) = (targets.len(), w.len() / d);
        let rows = Rows::of(Mat::new(w, vocab, d), Threads::All);
        let columns = Columns::of(Mat::new(h, n, d).t(), Threads::All);
        let logit = |(h, target): (&[bf16], &u32)| {
            let w = widen(&w[*target as usize * d..][..d]);
            simd(
                #[inline(always)]
                || dot(&widen(h), &w),
            )
        };
        let at_target: Vec<f32> = h.par_chunks_exact(d).zip(targets).map(logit).collect();
        Self { head, rows, columns, shift: at_target.clone(), at_target }
    }

    /// Fills e, and `dh` with e W; returns Σ exp(z − c) of every token.
    fn exponentials(mut self, e: &mut [bf16], mut dh: Option<&mut [f32]>) -> (Self, Vec<f32>) {
        let sums = self.go_through(e, dh.as_deref_mut());
        if sums.iter().all(|sum| sum.ln() < FAR) {
            return (self, sums);
        }
        self.shift = self.maxima();
        let sums = self.go_through(e, dh);
        (self, sums)
    }

    fn go_through(&self, e: &mut [bf16], mut dh: Option<&mut [f32]>) -> Vec<f32> {
        let (n, d) = (self.shift.len(), self.head.width);
        let mut sums = vec![0.0; n];
        for (first, w) in self.blocks() {
            let (start, len) = (first * n, w.rows * n);
            let kept = if dh.is_some() { &mut e[start..start + len] } else { &mut [] };
            let parts = self.block(first, w.rows, kept);
            parts.iter().for_each(|part| sums.iter_mut().zip(part).for_each(|(sum, x)| *sum += *x));
            if let Some(dh) = &mut dh {
                let e = Rows::of(Mat::new(&e[start..start + len], w.rows, n).t(), Threads::All);
                let columns = Columns::of(w, Threads::All);
                matmul_wide((&e, &columns), w.rows, dh, d, first > 0, 1.0, Threads::All);
            }
        }
        sums
    }

    /// The blocks of the head, each with its first word.
    fn blocks(&self) -> impl Iterator<Item = (usize, Mat<'a, bf16>)> + use<'a> {
        let (w, d) = (self.head.w, self.head.width);
        let blocks = w.chunks(BLOCK * d).enumerate();
        blocks.map(move |(i, w)| (i * BLOCK, Mat::new(w, w.len() / d, d)))
    }

    /// Keeps e of a block, but of targets zero; the sums of e over each task's words.
    fn block(&self, first: usize, words: usize, e: &mut [bf16]) -> Vec<Vec<f32>> {
        let n = self.shift.len();
        let keep = !e.is_empty();
        let task = |(i, e): (usize, Option<&mut [bf16]>)| {
            let words = first + i * WORDS..first + words.min((i + 1) * WORDS);
            let mut sums = vec![0f32; n];
            sums_in_block((&self.rows, words.clone()), &self.columns, self.head.width, |z, stride| match e {
                None => z.chunks_exact_mut(stride).for_each(|z| exponentials(z, &self.shift, &mut sums)),
                Some(e) => {
                    for (e, z) in e.chunks_exact_mut(n).zip(z.chunks_exact_mut(stride)) {
                        exponentials(z, &self.shift, &mut sums);
                        simd(
                            #[inline(always)]
                            || e.iter_mut().zip(z).for_each(|(e, z)| *e = rounded(*z)),
                        );
                    }
                    for (t, target) in self.head.targets.iter().enumerate() {
                        if words.contains(&(*target as usize)) {
                            e[(*target as usize - words.start) * n + t] = bf16::ZERO;
                        }
                    }
                }
            });
            sums
        };
        match keep {
            true => e.par_chunks_mut(WORDS * n).enumerate().map(|(i, e)| task((i, Some(e)))).collect(),
            false => (0..words.div_ceil(WORDS)).into_par_iter().map(|i| task((i, None))).collect(),
        }
    }

    /// The largest logit of every token.
    fn maxima(&self) -> Vec<f32> {
        let (n, vocab) = (self.shift.len(), self.head.w.len() / self.head.width);
        let most = (0..vocab.div_ceil(WORDS)).into_par_iter().map(|i| {
            let mut most = vec![f32::NEG_INFINITY; n];
            let words = i * WORDS..vocab.min((i + 1) * WORDS);
            sums_in_block((&self.rows, words), &self.columns, self.head.width, |z, stride| {
                for z in z.chunks_exact(stride) {
                    most.iter_mut().zip(z).for_each(|(most, z)| *most = if *z > *most { *z } else { *most });
                }
            });
            most
        });
        let larger = |a: Vec<f32>, b: Vec<f32>| a.into_iter().zip(b).map(|(a, b)| a.max(b)).collect();
        most.reduce(|| vec![f32::NEG_INFINITY; n], larger)
    }

    /// Makes `dh` of e W, and adds to `dw` or, at first, fills it.
    fn gradients(
        &self,
        e: &[bf16],
        sums: &[f32],
        scale: f32,
        dh: &mut [f32],
        (dw, keep): (&mut [f32], bool),
    ) {
        let BriefHead { h, w, targets, width: d } = self.head;
        let n = targets.len();
        // By how much the target's logit moves the loss: p − 1.
        let slope = |t: usize| ((self.at_target[t] - self.shift[t]).exp() / sums[t] - 1.0) * scale;
        let mut scaled = widen(h);
        by_rows(&mut scaled, d, |t, h| h.iter_mut().for_each(|x| *x *= scale / sums[t]));
        let scaled = bf16::kept(scaled);
        let columns = Columns::of(Mat::new(&scaled, n, d), Threads::All);
        let rows = Rows::of(Mat::new(e, w.len() / d, n), Threads::All);
        matmul_wide((&rows, &columns), n, dw, d, keep, 1.0, Threads::All);
        by_rows(&mut dh[..n * d], d, |t, dh| {
            let (factor, slope) = (scale / sums[t], slope(t));
            let w = widen(&w[targets[t] as usize * d..][..d]);
            dh.iter_mut().zip(w).for_each(|(x, w)| *x = *x * factor + slope * w);
        });
        for (t, (h, target)) in h.chunks_exact(d).zip(targets).enumerate() {
            let (slope, dw) = (slope(t), &mut dw[*target as usize * d..][..d]);
            dw.iter_mut().zip(widen(h)).for_each(|(dw, h)| *dw += slope * h);
        }
    }
}

/// Turns logits of a word into exp(z − c), and adds them to the tokens' sums.
fn exponentials(z: &mut [f32], shift: &[f32], sums: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            for ((z, c), sum) in z.iter_mut().zip(shift).zip(sums) {
                *z = (*z - *c).fast_exp();
                *sum += *z;
            }
        },
    );
}
