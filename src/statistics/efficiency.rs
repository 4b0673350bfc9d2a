//! The compute-efficiency ratio (ruling R10, §Compute-Efficiency Ratio), medians, and how a cost grows.

use super::mean;

/// 1 ÷ (perplexity × seconds), in 1/s: higher is better in both factors.
pub fn compute_efficiency(perplexity: f64, seconds: f64) -> f64 {
    1.0 / (perplexity * seconds)
}

/// Perplexity ÷ seconds, in 1/s: the document's formula, which rewards being worse; for
/// traceability only.
pub fn compute_efficiency_as_written(perplexity: f64, seconds: f64) -> f64 {
    perplexity / seconds
}

/// The middle of the numbers, or of the two in the middle; NaN of nothing and where one is NaN.
pub fn median(xs: &[f64]) -> f64 {
    if xs.iter().any(|x| x.is_nan()) {
        return f64::NAN;
    }
    let mut sorted = xs.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n => f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2]),
    }
}

/// The narrowest interval between the k-th smallest and the k-th largest number that holds the median with
/// at least 95 % confidence, whatever the distribution (Thompson 1936): P(Bin(n, ½) < k) ≤ 2.5 %. `None` of
/// fewer than six numbers, and where one is NaN.
pub fn median_interval(xs: &[f64]) -> Option<[f64; 2]> {
    if xs.iter().any(|x| x.is_nan()) {
        return None;
    }
    let mut sorted = xs.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    // P(Bin = i) by i, beginning with 2^-n in logarithms, which thousands of numbers do not underflow.
    let (mut log_p, mut below, mut k) = (-(n as f64) * std::f64::consts::LN_2, 0.0, 0);
    while k < n {
        below += log_p.exp();
        if below > 0.025 {
            break;
        }
        log_p += ((n - k) as f64 / (k + 1) as f64).ln();
        k += 1;
    }
    (k > 0).then(|| [sorted[k - 1], sorted[n - k]])
}

/// The exponent p of y = c·xᵖ: the slope of the least-squares line through the logarithms. NaN of fewer than
/// two places and of what has no logarithm.
pub fn growth_exponent(points: &[(f64, f64)]) -> f64 {
    let (xs, ys): (Vec<f64>, Vec<f64>) = points.iter().map(|(x, y)| (x.ln(), y.ln())).unzip();
    let (x, y) = (mean(&xs), mean(&ys));
    let along: f64 = xs.iter().zip(&ys).map(|(a, b)| (a - x) * (b - y)).sum();
    along / xs.iter().map(|a| (a - x) * (a - x)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn medians_and_their_intervals() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan() && median(&[1.0, f64::NAN, 2.0]).is_nan());
        // Tables of the sign test: of 10 the 2nd and 9th, of 100 the 40th and 61st, of 6 the ends.
        let to = |n: usize| (1..=n).map(|i| i as f64).collect::<Vec<_>>();
        assert_eq!(median_interval(&to(10)), Some([2.0, 9.0]));
        assert_eq!(median_interval(&to(100)), Some([40.0, 61.0]));
        assert_eq!(median_interval(&to(6)), Some([1.0, 6.0]));
        assert_eq!(median_interval(&to(5)), None);
        assert_eq!(median_interval(&[f64::NAN; 20]), None);
        let [low, high] = median_interval(&to(5000)).unwrap();
        assert!((low - 2431.0).abs() <= 1.0 && (high - 2570.0).abs() <= 1.0, "{low} {high}");
    }

    #[test]
    fn powers_are_found() {
        let cubic: Vec<_> = [256.0, 512.0, 2048.0].map(|x: f64| (x, 7.0 * x.powi(3))).to_vec();
        assert_relative_eq!(growth_exponent(&cubic), 3.0, max_relative = 1e-12);
        assert!(growth_exponent(&cubic[..1]).is_nan());
        assert!(growth_exponent(&[(1.0, 1.0), (2.0, f64::NAN)]).is_nan());
        assert!(!growth_exponent(&[(1.0, 1.0), (2.0, 0.0)]).is_finite());
    }
}
