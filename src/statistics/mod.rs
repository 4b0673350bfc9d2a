//! Statistics of plain numbers. Every function is total: too few numbers give `None`, and what is
//! not finite stays not finite or gives `None`, for the caller's comparison to fail on.
//!
//! Read in this order: [`intervals`] (of a mean, of a share, over clusters; equivalence; the
//! document's rule), [`mod@power`], [`bootstrap`], [`scaling_law`], [`agreement`].

pub mod agreement;
pub mod bootstrap;
mod cholesky;
mod efficiency;
pub mod intervals;
pub mod power;
pub mod scaling_law;
mod student;

pub use agreement::krippendorff_alpha;
pub use bootstrap::{
    bootstrap_interval, bootstrap_interval_of, percentile_interval, ratio_bootstrap_interval,
    ratio_bootstrap_interval_of,
};
pub use efficiency::{
    compute_efficiency, compute_efficiency_as_written, growth_exponent, median, median_interval,
};
pub use intervals::{
    Equivalence, clustered_interval, equivalence, paired_interval, separation_rule, t_interval, wilson,
};
pub use power::{detectable, detectable_with, power, trials_needed};
pub use scaling_law::{Law, fit, offset_power_law, power_law};

/// The share of repetitions in which an interval covers the truth, unless it says otherwise.
const CONFIDENCE: f64 = 0.95;

/// The arithmetic mean Σx/n, in the unit of the numbers; NaN of nothing.
pub fn mean(xs: &[f64]) -> f64 {
    xs.iter().sum::<f64>() / xs.len() as f64
}

/// The sample standard deviation √(Σ(x−x̄)²/(n−1)), in the unit of the numbers; `None` of fewer
/// than two. Two passes, the second of which takes off what rounding left in the mean (Chan, Golub
/// and LeVeque 1983); divided by the largest deviation, so that no square overflows.
pub fn sd(xs: &[f64]) -> Option<f64> {
    if xs.len() < 2 {
        return None;
    }
    let m = mean(xs);
    let largest = largest(xs.iter().map(|x| x - m));
    if largest == 0.0 || !largest.is_finite() {
        return Some(largest * 0.0);
    }
    let n = xs.len() as f64;
    let (mut sum, mut squares) = (0.0, 0.0);
    for x in xs {
        let d = (x - m) / largest;
        sum += d;
        squares += d * d;
    }
    Some(largest * ((squares - sum * sum / n).max(0.0) / (n - 1.0)).sqrt())
}

/// The largest size of a number; NaN if one is.
fn largest(xs: impl Iterator<Item = f64>) -> f64 {
    xs.fold(0.0, |most: f64, x| if x.is_nan() || most.is_nan() { f64::NAN } else { most.max(x.abs()) })
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn deviations_do_not_overflow() {
        assert_relative_eq!(sd(&[1e200, 3e200]).unwrap(), 2e200 / 2f64.sqrt(), max_relative = 1e-15);
        assert_relative_eq!(sd(&[1e-200, 3e-200]).unwrap(), 2e-200 / 2f64.sqrt(), max_relative = 1e-15);
        assert_eq!(sd(&[2.0; 5]), Some(0.0));
        assert_eq!(sd(&[2.0]), None);
        assert!(sd(&[1.0, f64::NAN, 2.0]).unwrap().is_nan());
        assert!(sd(&[1.0, f64::INFINITY]).unwrap().is_nan());
        assert!(sd(&[f64::MAX, f64::MAX, -f64::MAX]).unwrap().is_nan());
    }
}
