//! The power of the paired t test: what a number of trials can detect, and how many detect so much.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::student::{normal_cdf, t_quantile};
use super::{CONFIDENCE, sd};

/// The chance with which a detectable effect is detected.
const POWER: f64 = 0.8;
/// More trials than this are no plan.
const MOST_TRIALS: usize = 100_000;

/// The chance that a two-sided paired t test at 5 % of `n` differences finds a true mean difference
/// of `effect` when they scatter with the true standard deviation `sd` (both in one unit): the
/// probability that a noncentral t with n−1 degrees of freedom and noncentrality √n·effect/sd falls
/// outside ±t (Johnson, Kotz and Balakrishnan 1995, chapter 31). `None` of fewer than two
/// differences, and unless both are finite, `sd` ≥ 0 and not both zero.
pub fn power(effect: f64, sd: f64, n: usize) -> Option<f64> {
    let sizes = effect.is_finite() && sd.is_finite() && sd >= 0.0 && (effect != 0.0 || sd > 0.0);
    let test = Test::of(n)?;
    sizes.then(|| test.power((effect / sd).abs() * (n as f64).sqrt()))
}

/// The smallest true mean difference that a paired two-sided test at 5 % of as many differences,
/// with their sample deviation for the true one, detects in four cases out of five; in the unit of
/// the differences. `None` of fewer than two.
pub fn detectable(differences: &[f64]) -> Option<f64> {
    detectable_with(sd(differences)?, differences.len())
}

/// The same of `n` differences whose true standard deviation is `sd`.
pub fn detectable_with(sd: f64, n: usize) -> Option<f64> {
    Some(noncentrality(n)? * sd / (n as f64).sqrt())
}

/// The noncentrality at which a test of `n` differences has [`POWER`], each computed once.
fn noncentrality(n: usize) -> Option<f64> {
    static KNOWN: Mutex<BTreeMap<usize, Option<f64>>> = Mutex::new(BTreeMap::new());
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let found = known().get(&n).copied();
    found.unwrap_or_else(|| {
        let computed = Test::of(n).and_then(|test| test.noncentrality());
        known().insert(n, computed);
        computed
    })
}

/// The fewest trials, at least two, of which a paired two-sided t test at 5 % detects a true mean
/// difference `effect` in four cases out of five when differences scatter with `sd` (both in one
/// unit). `None` if that takes more than 100,000 trials, and where [`power`] is `None`.
pub fn trials_needed(sd: f64, effect: f64) -> Option<usize> {
    let defined = effect.is_finite() && sd.is_finite() && sd >= 0.0 && (effect != 0.0 || sd > 0.0);
    // The power grows with the noncentrality.
    let enough = |n: usize| {
        let needed = noncentrality(n).filter(|_| defined)?;
        Some((effect / sd).abs() * (n as f64).sqrt() >= needed)
    };
    let mut high = 2;
    while !enough(high)? {
        if high == MOST_TRIALS {
            return None;
        }
        high = (2 * high).min(MOST_TRIALS);
    }
    let mut low = high / 2;
    while high - low > 1 {
        let middle = low.midpoint(high);
        if middle >= 2 && enough(middle)? { high = middle } else { low = middle }
    }
    Some(high)
}

/// A two-sided t test at 5 %.
struct Test {
    freedom: f64,
    /// What |t| must exceed.
    critical: f64,
}

impl Test {
    fn of(n: usize) -> Option<Self> {
        let freedom = n.checked_sub(1)?;
        let critical = t_quantile(f64::midpoint(1.0, CONFIDENCE), freedom)?;
        Some(Self { freedom: freedom as f64, critical })
    }

    /// P(|Z + δ| > t·S) for normal Z and S² = χ²(ν)/ν, so the mean over S of Φ(δ − tS) + Φ(−δ − tS).
    ///
    /// With S = eᵘ its density is, up to a constant, w(u) = exp(ν(u − (e²ᵘ−1)/2)): the trapezoidal
    /// rule over all u, for both integrals. On an analytic integrand that grows by at most
    /// exp(K·y²) at a height y above the real line, here K = ν + δ²/2 for small y, its error is
    /// exp(−π²/(h²K)): 1e-23 at h = 0.6/√(2K). Near the origin 0.05 keeps y below π/4, where the
    /// growth is different: 1e-16. Checked against scipy's noncentral t to 1e-9 at least.
    fn power(&self, noncentrality: f64) -> f64 {
        let (freedom, critical, delta) = (self.freedom, self.critical, noncentrality);
        if delta.is_nan() || delta > 10.0 * critical + 40.0 {
            // P(S > 9) < 1e-18 for any number of degrees of freedom.
            return if delta.is_nan() { f64::NAN } else { 1.0 };
        }
        let step = (0.6 / (2.0 * freedom + delta * delta).sqrt()).min(0.05);
        let (mut hits, mut all) = (0.0, 0.0);
        let mut add = |u: f64| {
            let weight = (freedom * (u - 0.5 * (2.0 * u).exp_m1())).exp();
            let limit = critical * u.exp();
            hits += weight * (normal_cdf(delta - limit) + normal_cdf(-delta - limit));
            all += weight;
            weight
        };
        add(0.0);
        for direction in [-step, step] {
            // The density falls on both sides of its top at 0; a tail of 1e-19 is lost.
            let mut at = 1.0;
            while add(direction * at) > 1e-20 {
                at += 1.0;
            }
        }
        hits / all
    }

    /// The noncentrality that is detected with [`POWER`]: the Illinois variant of the regula falsi
    /// between two that bracket it for every number of degrees of freedom.
    fn noncentrality(&self) -> Option<f64> {
        let (mut low, mut high) = (self.critical, 1.5 * self.critical + 2.0);
        let missing = |delta: f64| self.power(delta) - POWER;
        let (mut below, mut above) = (missing(low), missing(high));
        let mut side = 0;
        for _ in 0..100 {
            let middle = (low * above - high * below) / (above - below);
            let here = missing(middle);
            if here.is_nan() || !(below < 0.0 && above > 0.0) {
                return None;
            }
            if here.abs() < 1e-15 || high - low <= 1e-15 * high {
                return Some(middle);
            }
            if here < 0.0 {
                (low, below) = (middle, here);
                above *= if side == -1 { 0.5 } else { 1.0 };
                side = -1;
            } else {
                (high, above) = (middle, here);
                below *= if side == 1 { 0.5 } else { 1.0 };
                side = 1;
            }
        }
        Some(low.midpoint(high))
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn the_test_without_an_effect_is_its_level() {
        for n in [2, 3, 5, 10, 100, 10_000] {
            // The quantile has twelve digits at 10,000.
            assert_relative_eq!(power(0.0, 1.0, n).unwrap(), 0.05, max_relative = 1e-11);
        }
    }

    #[test]
    fn what_is_detectable_has_the_power() {
        for n in [2, 3, 4, 10, 50, 1000] {
            let xs: Vec<f64> = (0..n).map(|k| f64::from(k % 7)).collect();
            let n = xs.len();
            assert_relative_eq!(
                power(detectable(&xs).unwrap(), sd(&xs).unwrap(), n).unwrap(),
                0.8,
                max_relative = 1e-13
            );
        }
        assert_eq!(detectable(&[2.0; 4]), Some(0.0));
    }

    #[test]
    fn powers_of_nothing() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        for (effect, sd) in [(0.0, 0.0), (nan, 1.0), (1.0, nan), (inf, 1.0), (1.0, inf), (1.0, -1.0)] {
            assert_eq!(power(effect, sd, 5), None);
            assert_eq!(trials_needed(sd, effect), None);
        }
        assert_eq!(power(1.0, 1.0, 1), None);
        assert_eq!(power(1.0, 1.0, 0), None);
        assert_eq!(power(1e300, 1e-300, 2), Some(1.0));
        assert_eq!(power(1.0, -0.0, 2), Some(1.0));
        assert_eq!(trials_needed(0.0, -1.0), Some(2));
        assert_eq!(trials_needed(1.0, 1e-3), None);
        assert_eq!(trials_needed(1.0, 0.0), None);
        for xs in [&[][..], &[1.0]] {
            assert_eq!(detectable(xs), None);
        }
        assert!(detectable(&[1.0, nan]).unwrap().is_nan());
        assert!(detectable(&[1.0, inf]).unwrap().is_nan());
    }
}
