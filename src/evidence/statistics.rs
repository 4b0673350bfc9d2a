//! The few statistics that rulings R6 and R7 need. Every function is total: too few numbers give
//! `None` and what is not finite stays not finite, for the caller's comparison to fail on.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// The share of repetitions in which a 95 % interval covers the truth.
const CONFIDENCE: f64 = 0.95;
/// The chance with which a detectable effect is detected.
const POWER: f64 = 0.8;
/// The 97.5 % quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// The arithmetic mean; NaN of nothing.
pub fn mean(xs: &[f64]) -> f64 {
    xs.iter().sum::<f64>() / xs.len() as f64
}

/// The sample standard deviation; `None` of fewer than two numbers.
pub fn sd(xs: &[f64]) -> Option<f64> {
    let m = mean(xs);
    let squares: f64 = xs.iter().map(|x| (x - m).powi(2)).sum();
    (xs.len() > 1).then(|| (squares / (xs.len() - 1) as f64).sqrt())
}

/// A quantile of Student's t for a mean of `n` numbers.
fn t_quantile(p: f64, n: usize) -> Option<f64> {
    let freedom = n.checked_sub(1).filter(|&f| f > 0)? as f64;
    StudentsT::new(0.0, 1.0, freedom).ok().map(|t| t.inverse_cdf(p))
}

/// The 95 % t interval of a mean; `None` of fewer than two numbers.
pub fn t_interval(xs: &[f64]) -> Option<[f64; 2]> {
    let half = t_quantile(f64::midpoint(1.0, CONFIDENCE), xs.len())? * sd(xs)? / (xs.len() as f64).sqrt();
    let m = mean(xs);
    Some([m - half, m + half])
}

/// The mean difference that a paired two-sided test of this many trials with this scatter would
/// detect in four cases out of five; `None` of fewer than two differences.
pub fn detectable(differences: &[f64]) -> Option<f64> {
    let n = differences.len();
    let quantiles = t_quantile(f64::midpoint(1.0, CONFIDENCE), n)? + t_quantile(POWER, n)?;
    Some(quantiles * sd(differences)? / (n as f64).sqrt())
}

/// Wilson's 95 % interval of a share; `None` unless 0 ≤ hits ≤ n and n > 0.
pub fn wilson(hits: u64, n: u64) -> Option<[f64; 2]> {
    if n == 0 || hits > n {
        return None;
    }
    let (n, p) = (n as f64, hits as f64 / n as f64);
    let z2 = Z * Z;
    let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    Some([(middle - half).max(0.0), (middle + half).min(1.0)])
}

/// Ruling R7's statistical rule as the document writes it: |mean₁ − mean₂| > 2·√(s₁² + s₂²).
/// Returns the difference's size and the limit it must exceed.
pub fn document_rule(a: &[f64], b: &[f64]) -> Option<(f64, f64)> {
    let limit = 2.0 * sd(a)?.hypot(sd(b)?);
    Some(((mean(a) - mean(b)).abs(), limit))
}

/// The power law y = a·x^(−b) through these points, by least squares in the logarithms; `None`
/// unless they are positive, finite and at two or more different x.
pub fn power_law(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let (xs, ys): (Vec<f64>, Vec<f64>) = logs.iter().copied().unzip();
    let (mx, my) = (mean(&xs), mean(&ys));
    let spread: f64 = xs.iter().map(|x| (x - mx).powi(2)).sum();
    let slope = logs.iter().map(|(x, y)| (x - mx) * (y - my)).sum::<f64>() / spread;
    let fit = ((my - slope * mx).exp(), -slope);
    (fit.0.is_finite() && fit.1.is_finite()).then_some(fit)
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    // Expected numbers: scipy.stats (ttest_rel().confidence_interval, binomtest().proportion_ci
    // with method="wilson", t.ppf) and numpy.std(ddof=1).
    const A: [f64; 4] = [0.52, 0.48, 0.61, 0.55];
    const B: [f64; 4] = [0.31, 0.35, 0.30, 0.40];

    fn differences() -> Vec<f64> {
        A.iter().zip(B).map(|(a, b)| a - b).collect()
    }

    #[test]
    fn t_interval_is_scipys() {
        let d = differences();
        assert_relative_eq!(mean(&d), 0.2, epsilon = 1e-12);
        assert_relative_eq!(sd(&d).unwrap(), 0.080_829_037_686_547_6, epsilon = 1e-9);
        let [low, high] = t_interval(&d).unwrap();
        assert_relative_eq!(low, 0.071_382_963_827_404_53, epsilon = 1e-8);
        assert_relative_eq!(high, 0.328_617_036_172_595_5, epsilon = 1e-8);
        assert_relative_eq!(detectable(&d).unwrap(), 0.168_161_523_878_223_95, epsilon = 1e-8);
    }

    #[test]
    fn wilson_is_scipys() {
        for (hits, n, low, high) in [
            (0, 10, 0.0, 0.277_532_799_862_889_26),
            (7, 10, 0.396_778_147_461_145_26, 0.892_208_732_593_699),
            (45, 96, 0.372_060_744_385_321_3, 0.567_843_979_855_783_4),
            (96, 96, 0.961_524_412_142_324_3, 1.0),
        ] {
            let interval = wilson(hits, n).unwrap();
            assert_relative_eq!(interval[0], low, epsilon = 1e-12);
            assert_relative_eq!(interval[1], high, epsilon = 1e-12);
        }
        assert_eq!(wilson(1, 0), None);
        assert_eq!(wilson(3, 2), None);
    }

    #[test]
    fn too_few_numbers_have_no_interval() {
        for xs in [&[][..], &[1.0]] {
            assert_eq!(t_interval(xs), None);
            assert_eq!(detectable(xs), None);
        }
        assert!(t_interval(&[1.0, f64::NAN]).unwrap()[0].is_nan());
        assert_eq!(t_interval(&[2.0, 2.0, 2.0]), Some([2.0, 2.0]));
    }

    #[test]
    fn document_rule_uses_sample_deviations() {
        let (difference, limit) = document_rule(&A, &B).unwrap();
        assert_relative_eq!(difference, 0.2, epsilon = 1e-12);
        assert_relative_eq!(limit, 0.142_361_043_7, epsilon = 1e-9);
    }

    #[test]
    fn power_law_finds_its_own_parameters() {
        let points = [1e6, 1e7, 1e8].map(|n: f64| (n, 20.0 * n.powf(-0.1)));
        let (a, b) = power_law(&points).unwrap();
        assert_relative_eq!(a, 20.0, epsilon = 1e-9);
        assert_relative_eq!(b, 0.1, epsilon = 1e-12);
        assert_eq!(power_law(&points[..1]), None);
        assert_eq!(power_law(&[(1e6, 4.0), (1e7, -1.0)]), None);
    }
}
