//! Intervals of means and shares, equivalence, and the document's rule over trials.

use std::collections::BTreeMap;

use super::student::{t_quantile, t_tail};
use super::{CONFIDENCE, mean, sd};

/// The 97.5 % quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// The 95 % interval x̄ ± t(n−1)·s/√n of a mean, in the unit of the numbers (Student 1908); `None`
/// of fewer than two numbers, a point where all are equal.
pub fn t_interval(xs: &[f64]) -> Option<[f64; 2]> {
    interval(xs, CONFIDENCE)
}

/// [`t_interval`] of the differences aᵢ − bᵢ; `None` unless there are as many of both, at least two.
///
/// # Example
///
/// Five trials, in which both models lose more nats per token on the harder seeds. What the pairs have in common
/// cancels:
///
/// ```
/// use v5gate::statistics::{mean, paired_interval, t_interval};
///
/// let groundthink = [3.10, 3.21, 3.05, 3.33, 3.18];
/// let gpt2 = [3.16, 3.28, 3.10, 3.40, 3.23];
/// let [low, high] = paired_interval(&groundthink, &gpt2).expect("as many of both");
/// assert!(low < mean(&groundthink) - mean(&gpt2) && high < 0.0, "surely lower");
///
/// // Each by itself says less than that.
/// let (a, b) = (t_interval(&groundthink).expect("five"), t_interval(&gpt2).expect("five"));
/// assert!(a[1] > b[0], "they overlap");
/// assert_eq!(paired_interval(&groundthink, &gpt2[..4]), None);
/// ```
pub fn paired_interval(a: &[f64], b: &[f64]) -> Option<[f64; 2]> {
    if a.len() != b.len() {
        return None;
    }
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    t_interval(&differences)
}

fn interval(xs: &[f64], confidence: f64) -> Option<[f64; 2]> {
    let freedom = xs.len().checked_sub(1)?;
    let half = t_quantile(f64::midpoint(1.0, confidence), freedom)? * sd(xs)? / (xs.len() as f64).sqrt();
    Some(around(mean(xs), half))
}

fn around(middle: f64, half: f64) -> [f64; 2] {
    [middle - half, middle + half]
}

/// Wilson's 95 % interval of a share (Wilson 1927, without correction for continuity), in 0..=1;
/// `None` unless 0 ≤ hits ≤ n and n > 0.
pub fn wilson(hits: u64, n: u64) -> Option<[f64; 2]> {
    if n == 0 || hits > n {
        return None;
    }
    let (n, p) = (n as f64, hits as f64 / n as f64);
    let z2 = Z * Z;
    let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let low = if hits == 0 { 0.0 } else { middle - half };
    let high = if p == 1.0 { 1.0 } else { middle + half };
    Some([low.max(0.0), high.min(1.0)])
}

/// Ruling R7's statistical rule as the document writes it: |mean₁ − mean₂| > 2·√(s₁² + s₂²).
/// Returns the difference's size and the limit it must exceed, in the unit of the numbers; the
/// limit is NaN where it is not finite, so that nothing is below it. `None` of fewer than two
/// numbers on either side.
pub fn separation_rule(a: &[f64], b: &[f64]) -> Option<(f64, f64)> {
    let (one, other) = (sd(a)?, sd(b)?);
    let limit = 2.0 * one.hypot(other);
    let limit = if limit.is_finite() { limit } else { f64::NAN };
    Some(((mean(a) - mean(b)).abs(), limit))
}

/// The 95 % interval of a mean of numbers that come in clusters (windows of a document, questions
/// of a template), which count as draws only cluster by cluster: x̄ ± t(G−1)·√V with
/// V = G/(G−1) · Σ_g (Σ_{i∈g} (xᵢ−x̄))² / n² (Liang and Zeger 1986, with the factor for few
/// clusters that statsmodels and Stata apply to a regression on a constant). `None` unless every
/// number has its cluster and there are at least two clusters.
pub fn clustered_interval<C: Ord>(values: &[f64], clusters: &[C]) -> Option<[f64; 2]> {
    if values.len() != clusters.len() {
        return None;
    }
    let n = values.len() as f64;
    let rough = mean(values);
    // A mean's rounding would add up within a cluster.
    let left = values.iter().map(|x| x - rough).sum::<f64>() / n;
    let mut sums: BTreeMap<&C, f64> = BTreeMap::new();
    for (x, cluster) in values.iter().zip(clusters) {
        *sums.entry(cluster).or_default() += (x - rough) - left;
    }
    let count = sums.len();
    let t = t_quantile(f64::midpoint(1.0, CONFIDENCE), count.checked_sub(1)?)?;
    let squares: f64 = sums.values().map(|sum| (sum / n).powi(2)).sum();
    let variance = squares * count as f64 / (count - 1) as f64;
    Some(around(rough + left, t * variance.sqrt()))
}

/// What two one-sided tests say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Equivalence {
    /// The larger of the two p values: below 0.05 the mean difference is within the margins.
    pub p_value: f64,
    /// The 90 % t interval of the mean difference, in the unit of the differences; it lies within
    /// the margins exactly when the p value is below 0.05.
    pub interval: [f64; 2],
}

/// Two one-sided paired t tests (Schuirmann 1987): is the mean difference above the lower margin
/// and below the upper one? Margins in the unit of the differences. The p value is NaN where
/// scatter and distance are both zero. `None` of fewer than two differences, or unless
/// low ≤ high.
pub fn equivalence(differences: &[f64], margins: [f64; 2]) -> Option<Equivalence> {
    let [low, high] = margins;
    if low.is_nan() || high.is_nan() || low > high {
        return None;
    }
    let n = differences.len() as f64;
    let error = sd(differences)? / n.sqrt();
    let m = mean(differences);
    let above = t_tail((m - low) / error, n - 1.0);
    let below = t_tail((high - m) / error, n - 1.0);
    let p_value = if above.is_nan() || below.is_nan() { f64::NAN } else { above.max(below) };
    Some(Equivalence { p_value, interval: interval(differences, 0.9)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: [f64; 5] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e308, -1e308];

    #[test]
    fn too_few_numbers_have_no_interval() {
        for xs in [&[][..], &[1.0]] {
            assert_eq!(t_interval(xs), None);
            assert_eq!(equivalence(xs, [-1.0, 1.0]), None);
            assert_eq!(separation_rule(xs, &[1.0, 2.0]), None);
            assert_eq!(clustered_interval(xs, &vec![0; xs.len()]), None);
        }
        assert_eq!(paired_interval(&[1.0, 2.0], &[1.0]), None);
        assert_eq!(clustered_interval(&[1.0, 2.0], &[7, 7]), None);
        assert_eq!(clustered_interval(&[1.0, 2.0], &[7]), None);
        assert_eq!(equivalence(&[1.0, 2.0], [1.0, -1.0]), None);
        assert_eq!(equivalence(&[1.0, 2.0], [f64::NAN, 1.0]), None);
        assert_eq!(wilson(1, 0), None);
        assert_eq!(wilson(3, 2), None);
    }

    #[test]
    fn equal_numbers_have_a_point() {
        assert_eq!(t_interval(&[2.0; 3]), Some([2.0, 2.0]));
        assert_eq!(clustered_interval(&[2.0; 4], &[0, 0, 1, 1]), Some([2.0, 2.0]));
        assert_eq!(equivalence(&[2.0; 3], [1.0, 3.0]).unwrap().p_value, 0.0);
        assert_eq!(equivalence(&[2.0; 3], [3.0, 4.0]).unwrap().p_value, 1.0);
        assert!(equivalence(&[2.0; 3], [2.0, 3.0]).unwrap().p_value.is_nan());
    }

    #[test]
    fn what_is_not_finite_passes_no_comparison() {
        for bad in BAD {
            for xs in [[1.0, bad, 2.0], [bad, bad, -bad], [bad, bad, bad]] {
                let finite = |ends: [f64; 2]| ends.iter().all(|e| e.is_finite());
                let sure = |[low, high]: [f64; 2]| (low > 0.0 || high < 0.0) && finite([low, high]);
                if !bad.is_finite() {
                    assert!(!sure(t_interval(&xs).unwrap()), "{xs:?}");
                    assert!(!sure(clustered_interval(&xs, &[1, 2, 3]).unwrap()), "{xs:?}");
                    assert!(equivalence(&xs, [-1.0, 1.0]).unwrap().p_value.is_nan(), "{xs:?}");
                    let (difference, limit) = separation_rule(&xs, &[1.0, 2.0]).unwrap();
                    assert_eq!(difference.partial_cmp(&limit), None, "{xs:?}");
                }
                // Reached at all: nothing panics.
                equivalence(&xs, [f64::NEG_INFINITY, f64::INFINITY]);
                paired_interval(&xs, &[bad; 3]);
            }
        }
    }
}
