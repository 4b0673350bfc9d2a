//! Student's and the normal distribution, as exact as the intervals need, from statrs's special
//! functions. Its own Student's t loses half the digits near zero; the quantile of that has nine of
//! them and does not return for very many degrees of freedom; its erfc has ten, libm's all.

use std::f64::consts::{PI, SQRT_2};

use libm::erfc;
use statrs::function::beta::checked_beta_reg;
use statrs::function::erf::erfc_inv;
use statrs::function::gamma::ln_gamma;

/// P(Z ≤ z) of a standard normal Z.
pub(super) fn normal_cdf(z: f64) -> f64 {
    0.5 * erfc(-z / SQRT_2)
}

/// The z with P(Z ≤ z) = p; infinite at 0 and 1.
pub(super) fn normal_quantile(p: f64) -> f64 {
    if p.is_nan() { p } else { -SQRT_2 * erfc_inv(2.0 * p) }
}

/// P(T > t) with so many degrees of freedom; NaN of NaN.
pub(super) fn t_tail(t: f64, freedom: f64) -> f64 {
    let square = t * t;
    let half = 0.5 * freedom;
    // Both are the same function; each rounds well on its own side of 1.
    let beyond = if square < 1.0 {
        checked_beta_reg(0.5, half, square / (freedom + square)).map(|within| 0.5 - 0.5 * within)
    } else {
        checked_beta_reg(half, 0.5, freedom / (freedom + square)).map(|outside| 0.5 * outside)
    };
    match beyond {
        Ok(beyond) if t > 0.0 => beyond,
        Ok(beyond) => 1.0 - beyond,
        Err(_) => f64::NAN,
    }
}

/// The density of Student's t.
fn t_density(t: f64, freedom: f64) -> f64 {
    let constant = ln_gamma(0.5 * (freedom + 1.0)) - ln_gamma(0.5 * freedom) - 0.5 * (freedom * PI).ln();
    (constant - 0.5 * (freedom + 1.0) * (t * t / freedom).ln_1p()).exp()
}

/// The t with P(T ≤ t) = p, for 0.5 ≤ p < 1, by Newton's steps from the normal quantile: it lies
/// below, and the tail is convex, so that they only ever rise. `None` without degrees of freedom.
pub(super) fn t_quantile(p: f64, freedom: usize) -> Option<f64> {
    if freedom == 0 || !(0.5..1.0).contains(&p) {
        return None;
    }
    let freedom = freedom as f64;
    let mut t = normal_quantile(p);
    for _ in 0..100 {
        let step = (t_tail(t, freedom) - (1.0 - p)) / t_density(t, freedom);
        t += step;
        if step.is_nan() || step.abs() <= 1e-15 * t.abs() {
            break;
        }
    }
    Some(t)
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn quantiles_in_closed_form() {
        // One degree of freedom is Cauchy's distribution, two have t = (2p−1)·√(2/(4p(1−p))).
        let p: f64 = 0.975;
        assert_relative_eq!(t_quantile(p, 1).unwrap(), (PI * (p - 0.5)).tan(), max_relative = 1e-14);
        let two = (2.0 * p - 1.0) * (2.0 / (4.0 * p * (1.0 - p))).sqrt();
        assert_relative_eq!(t_quantile(p, 2).unwrap(), two, max_relative = 1e-14);
        assert_relative_eq!(t_quantile(p, 100_000_000).unwrap(), normal_quantile(p), max_relative = 1e-7);
        assert_eq!(t_quantile(p, 0), None);
    }

    #[test]
    fn tails_near_zero_and_far_out() {
        for t in [1e-12, 1e-9, 1e-6, 1e-3, 1.0, 1e3, 1e9, 1e150] {
            let cauchy = 0.5 - f64::atan(t) / PI;
            let expected = if t < 1.0 { cauchy } else { f64::atan(1.0 / t) / PI };
            assert_relative_eq!(t_tail(t, 1.0), expected, max_relative = 1e-13);
            assert_relative_eq!(t_tail(-t, 1.0), 1.0 - expected, max_relative = 1e-14);
        }
        assert_eq!(t_tail(f64::INFINITY, 3.0), 0.0);
        assert_eq!(t_tail(f64::NEG_INFINITY, 3.0), 1.0);
        assert!(t_tail(f64::NAN, 3.0).is_nan());
    }
}
