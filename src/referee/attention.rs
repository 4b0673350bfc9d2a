//! Causal attention of several heads over one window (Vaswani et al. 2017, §3.2), and the loss.

use super::fault::Fault;
use super::graph::{Graph, ValueId};
use super::matrix::{Matrix, product};
use super::number::Number;

/// Weights of the positions that a position reads: softmax of its scores.
fn softmax<N: Number>(scores: &mut [N]) {
    let largest = scores.iter().fold(N::neg_infinity(), |a, b| a.max(*b));
    let mut sum = N::zero();
    for score in scores.iter_mut() {
        *score = (*score - largest).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|score| *score = *score / sum);
}

fn dot<N: Number>(a: &[N], b: &[N]) -> N {
    a.iter().zip(b).fold(N::zero(), |sum, (a, b)| sum + *a * *b)
}

fn add_scaled<N: Number>(to: &mut [N], x: &[N], by: N) {
    to.iter_mut().zip(x).for_each(|(to, x)| *to += *x * by);
}

impl<N: Number> Graph<'_, N> {
    /// `y[t] = Σ_{s ≤ t} softmax_s(q[t]·k[s]·scale) v[s]`, head by head.
    ///
    /// # Shapes
    /// - `qkv`: [T, 3·d], queries, keys and values beside each other
    /// - result: [T, d]
    pub fn attention(&mut self, qkv: ValueId, heads: usize, scale: f64) -> ValueId {
        let x = self.value(qkv);
        let (time, d) = (x.rows, x.cols / 3);
        let (size, scale) = (d / heads, N::of(scale));
        let (ahead, flipped) = (usize::from(self.has(Fault::SeesNext)), self.has(Fault::SignOfQueries));
        let end = move |t: usize| (t + 1 + ahead).min(time);
        let part = move |which: usize, head: usize| which * d + head * size..which * d + (head + 1) * size;
        let x = self.value(qkv);
        let (mut y, mut shares) = (Matrix::zeros(time, d), Vec::new());
        for head in 0..heads {
            for t in 0..time {
                let q = &x.row(t)[part(0, head)];
                let score = |s: usize| dot(q, &x.row(s)[part(1, head)]) * scale;
                let mut share: Vec<N> = (0..end(t)).map(score).collect();
                softmax(&mut share);
                for (s, share) in share.iter().enumerate() {
                    add_scaled(&mut y.row_mut(t)[part(0, head)], &x.row(s)[part(2, head)], *share);
                }
                shares.push(share);
            }
        }
        self.push(y, move |values, dy, slopes| {
            let x = values.at(qkv);
            let mut dx = Matrix::zeros(time, 3 * d);
            for head in 0..heads {
                for t in 0..time {
                    let (share, dy) = (&shares[head * time + t], &dy.row(t)[part(0, head)]);
                    let slope: Vec<N> = (0..end(t)).map(|s| dot(dy, &x.row(s)[part(2, head)])).collect();
                    let mean = dot(share, &slope);
                    for s in 0..end(t) {
                        let score = share[s] * (slope[s] - mean) * scale;
                        let towards_q = if flipped { -score } else { score };
                        add_scaled(&mut dx.row_mut(t)[part(0, head)], &x.row(s)[part(1, head)], towards_q);
                        add_scaled(&mut dx.row_mut(s)[part(1, head)], &x.row(t)[part(0, head)], score);
                        add_scaled(&mut dx.row_mut(s)[part(2, head)], dy, share[s]);
                    }
                }
            }
            slopes.add(qkv, dx);
        })
    }
}

/// Negative log-likelihood of every target in nats.
///
/// # Shapes
/// - `logits`: [T, V], `targets`: `[T]`
/// - result: `[T]`
pub fn token_losses<N: Number>(logits: &Matrix<N>, targets: &[usize]) -> Vec<N> {
    let of = |(t, target): (usize, &usize)| {
        let (largest, sum) = partition(logits.row(t));
        sum.ln() + largest - logits.row(t)[*target]
    };
    targets.iter().enumerate().map(of).collect()
}

/// The gradient of `share` times the mean of [`token_losses`] with respect to the logits.
///
/// # Shapes
/// - `logits`: [T, V], `targets`: `[T]`
/// - result: [T, V]
pub fn loss_slope<N: Number>(logits: &Matrix<N>, targets: &[usize], share: N) -> Matrix<N> {
    let (mut slope, count) = (logits.clone(), N::of(targets.len() as f64));
    for (t, target) in targets.iter().enumerate() {
        let (largest, sum) = partition(logits.row(t));
        for slope in slope.row_mut(t) {
            *slope = (*slope - largest).exp() / sum / count;
        }
        slope.row_mut(t)[*target] -= N::one() / count;
        slope.row_mut(t).iter_mut().for_each(|slope| *slope = *slope * share);
    }
    slope
}

/// The gradients of the same with respect to x and w where the logits are x wᵀ, in the way that rounding hurts more: what
/// all words say and what the target says meet only at the end. Of a token that is nearly certain little is left then but
/// the rounding of either.
pub fn slopes_apart<N: Number>(
    logits: &Matrix<N>,
    targets: &[usize],
    share: N,
    [x, w]: [&Matrix<N>; 2],
) -> [Matrix<N>; 2] {
    let (mut all, scale) = (logits.clone(), share / N::of(targets.len() as f64));
    for t in 0..targets.len() {
        let (largest, sum) = partition(logits.row(t));
        all.row_mut(t).iter_mut().for_each(|z| *z = (*z - largest).exp() / sum * scale);
    }
    let (mut dx, mut dw) = (product(&all, w), product(&all.transposed(), x));
    for (t, target) in targets.iter().enumerate() {
        add_scaled(dx.row_mut(t), w.row(*target), -scale);
        add_scaled(dw.row_mut(*target), x.row(t), -scale);
    }
    [dx, dw]
}

/// The largest number and Σ exp(z − largest).
fn partition<N: Number>(row: &[N]) -> (N, N) {
    let largest = row.iter().fold(N::neg_infinity(), |a, b| a.max(*b));
    (largest, row.iter().fold(N::zero(), |sum, z| sum + (*z - largest).exp()))
}
