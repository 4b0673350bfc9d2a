//! Means, counts and intervals again from the values of items.
//!
//! The mean is over groups of items, each by its mean; the interval is Student's over the groups (1908): the mean
//! plus and minus t·s/√n, where t is the 97.5 % point of n − 1 degrees of freedom.

use std::collections::BTreeMap;

use super::deviation::Deviation;

/// What the ledger says of a mean.
#[derive(Clone, Copy, Debug)]
pub struct Recorded {
    /// The mean.
    pub value: f64,
    /// Over how many.
    pub n: Option<u64>,
    /// Its interval.
    pub interval: Option<[f64; 2]>,
    /// The values that the metric can take, at which an interval ends.
    pub domain: [f64; 2],
}

/// The record beside its items: each by its group and value; `weight` is what one counts for.
pub fn beside_items(recorded: &Recorded, weight: u64, items: &[(u64, f64)], what: &str) -> Vec<Deviation> {
    let mut groups: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
    for (group, value) in items {
        let group = groups.entry(*group).or_default();
        *group = (group.0 + value, group.1 + 1.0);
    }
    let means: Vec<f64> = groups.values().map(|(sum, count)| sum / count).collect();
    let n = means.len() as f64;
    let mean = means.iter().sum::<f64>() / n;
    let largest = items.iter().map(|(_, x)| x.abs()).fold(0.0, f64::max);
    // Sums of float64 in another order: every term may be rounded once, relative to the largest.
    let rounding = 1e-12 * largest.max(f64::MIN_POSITIVE);
    let mut all = vec![
        Deviation::new(format!("{what}: mean"), (recorded.value - mean).abs(), rounding),
        Deviation::fact(format!("{what}: n"), recorded.n == Some(weight * items.len() as u64)),
    ];
    if means.len() < 2 {
        all.push(Deviation::fact(format!("{what}: no interval"), recorded.interval.is_none()));
        return all;
    }
    let squares: f64 = means.iter().map(|x| (x - mean).powi(2)).sum();
    let half = quantile(means.len() - 1) * (squares / (n - 1.0) / n).sqrt();
    let [least, most] = recorded.domain;
    let clamped = |x: f64| if least == 0.0 && most == 1.0 { x.clamp(0.0, 1.0) } else { x };
    let [low, high] = recorded.interval.unwrap_or([f64::NAN; 2]);
    // The quantile is exact to nine digits.
    for (end, got, expected) in [("lower", low, mean - half), ("upper", high, mean + half)] {
        let difference = (got - clamped(expected)).abs();
        all.push(Deviation::new(format!("{what}: {end} end"), difference, 1e-8 * half + rounding));
    }
    all
}

/// The t with P(|T| ≤ t) = 0.95, found by halving; the probability is an integral by Simpson's rule.
fn quantile(freedom: usize) -> f64 {
    let (mut low, mut high) = (0.0, 13.0);
    for _ in 0..45 {
        let middle = f64::midpoint(low, high);
        if central(middle, freedom as f64) < 0.95 {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// P(|T| ≤ t): the density of Student's t, twice from 0 to t.
fn central(t: f64, freedom: f64) -> f64 {
    const PARTS: usize = 2000;
    let scale = libm::lgamma(f64::midpoint(freedom, 1.0))
        - libm::lgamma(freedom / 2.0)
        - 0.5 * (freedom * std::f64::consts::PI).ln();
    let density = |x: f64| (scale - f64::midpoint(freedom, 1.0) * (x * x / freedom).ln_1p()).exp();
    let step = t / PARTS as f64;
    let weight = |i: usize| match i {
        0 | PARTS => 1.0,
        _ if i.is_multiple_of(2) => 2.0,
        _ => 4.0,
    };
    2.0 * step / 3.0 * (0..=PARTS).map(|i| weight(i) * density(i as f64 * step)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        // Fisher and Yates, table III.
        let table = [(1, 12.706_204_736), (2, 4.302_652_730), (9, 2.262_157_163), (29, 2.045_229_642)];
        for (freedom, t) in table {
            assert_relative_eq!(quantile(freedom), t, max_relative = 1e-9);
        }
    }

    #[test]
    fn what_was_not_computed_from_the_items_is_seen() {
        let items = [(0, 1.0), (0, 0.0), (1, 1.0), (1, 1.0)];
        let half = 12.706_204_736_174_7 * 0.25;
        let domain = [f64::NEG_INFINITY, f64::INFINITY];
        let sound = Recorded { value: 0.75, n: Some(4), interval: Some([0.75 - half, 0.75 + half]), domain };
        let worst = |r: &Recorded| {
            let all = beside_items(r, 1, &items, "x");
            super::super::farthest(&all).map_or(f64::NAN, Deviation::share)
        };
        assert!(worst(&sound) <= 1.0);
        assert!(worst(&Recorded { value: 0.76, ..sound }) > 1.0);
        assert!(worst(&Recorded { n: Some(3), ..sound }) > 1.0);
        assert!(worst(&Recorded { interval: Some([0.74 - half, 0.75 + half]), ..sound }) > 1.0);
        assert!(worst(&Recorded { interval: None, ..sound }).is_nan());
        let share = Recorded { interval: Some([0.0, 1.0]), domain: [0.0, 1.0], ..sound };
        assert!(worst(&share) <= 1.0);
    }
}
