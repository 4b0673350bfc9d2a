//! Bootstrap intervals: what a mean, or a ratio of sums over clusters, would have been with other
//! draws of the same kind. For numbers that are far from normal.
//!
//! A mean is a ratio of sums as well, with every denominator 1, so there is one implementation.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::student::{normal_cdf, normal_quantile};
use super::{CONFIDENCE, largest, mean};

/// Fewer resamples have no 2.5 % tail.
const LEAST_RESAMPLES: usize = 40;
/// Two sums of the same numbers in another order may differ by so much of the sum of their sizes.
const ROUNDING: f64 = 16.0 * f64::EPSILON;

/// The 95 % BCa interval (Efron 1987, bias-corrected and accelerated) of the mean of `xs`, in their
/// unit, from so many resamples that ChaCha20 draws from the seed. A point where all are equal; the
/// percentile interval where the correction does not exist. `None` of fewer than two numbers or
/// than 40 resamples, and where a sum could be not finite.
pub fn bootstrap_interval(xs: &[f64], resamples: usize, seed: u64) -> Option<[f64; 2]> {
    ratio_bootstrap_interval(&as_ratios(xs), resamples, seed)
}

/// [`bootstrap_interval`] from given resamples: each is a list of positions in `xs`. `None` also if
/// a position is outside, or a resample has not as many numbers as `xs`.
pub fn bootstrap_interval_of<D: AsRef<[usize]>>(
    xs: &[f64],
    draws: impl IntoIterator<Item = D>,
) -> Option<[f64; 2]> {
    ratio_bootstrap_interval_of(&as_ratios(xs), draws)
}

/// The 95 % BCa interval of Σ numerators / Σ denominators when whole clusters are drawn again; each
/// is one (numerator, denominator), such as a document's summed loss and its number of tokens.
/// For the perplexity of a corpus take the exponential of both ends. Otherwise as
/// [`bootstrap_interval`]; `None` also unless every denominator is positive.
pub fn ratio_bootstrap_interval(clusters: &[(f64, f64)], resamples: usize, seed: u64) -> Option<[f64; 2]> {
    let n = clusters.len();
    let mut source = source(seed);
    let resample = |counts: &mut [f64]| {
        for _ in 0..n {
            counts[below(&mut source, n)] += 1.0;
        }
        Some(())
    };
    interval(clusters, resamples, resample)
}

/// [`ratio_bootstrap_interval`] from given resamples: each is a list of positions in `clusters`.
/// `None` also if a position is outside, or a resample has not as many clusters.
pub fn ratio_bootstrap_interval_of<D: AsRef<[usize]>>(
    clusters: &[(f64, f64)],
    draws: impl IntoIterator<Item = D>,
) -> Option<[f64; 2]> {
    let draws: Vec<D> = draws.into_iter().collect();
    let mut rest = draws.iter();
    let resample = |counts: &mut [f64]| {
        let positions = rest.next()?.as_ref();
        for &position in positions {
            *counts.get_mut(position)? += 1.0;
        }
        (positions.len() == counts.len()).then_some(())
    };
    interval(clusters, draws.len(), resample)
}

/// The 95 % percentile interval (Efron 1979) of any number that is made of `n` clusters: `number` is told how
/// often each was drawn, and knows what to make of it. For what is no ratio of sums, such as BLEU (Koehn
/// 2004). `None` of fewer than two clusters or than 40 resamples, and where a drawn number is not finite.
pub fn percentile_interval(
    n: usize,
    resamples: usize,
    seed: u64,
    mut number: impl FnMut(&[f64]) -> f64,
) -> Option<[f64; 2]> {
    if n < 2 || resamples < LEAST_RESAMPLES {
        return None;
    }
    let mut source = source(seed);
    let mut drawn = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        let mut counts = vec![0.0; n];
        (0..n).for_each(|_| counts[below(&mut source, n)] += 1.0);
        drawn.push(number(&counts));
    }
    if drawn.iter().any(|x| !x.is_finite()) {
        return None;
    }
    drawn.sort_by(f64::total_cmp);
    Some([percentile(&drawn, TAIL)?, percentile(&drawn, 1.0 - TAIL)?])
}

/// Spelled out, so that no library's version changes the draws.
fn source(seed: u64) -> ChaCha20Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    ChaCha20Rng::from_seed(key)
}

fn as_ratios(xs: &[f64]) -> Vec<(f64, f64)> {
    xs.iter().map(|&x| (x, 1.0)).collect()
}

/// A whole number in `0..n`, every one equally likely: draws above the largest multiple of `n` are
/// thrown away.
fn below(source: &mut ChaCha20Rng, n: usize) -> usize {
    let n = n as u64;
    let limit = u64::MAX - u64::MAX % n;
    loop {
        let draw = source.next_u64();
        if draw < limit {
            return (draw % n) as usize;
        }
    }
}

/// `resample` fills in how often each cluster is drawn.
fn interval(
    clusters: &[(f64, f64)],
    resamples: usize,
    mut resample: impl FnMut(&mut [f64]) -> Option<()>,
) -> Option<[f64; 2]> {
    let n = clusters.len() as f64;
    let sums = [largest(clusters.iter().map(|c| c.0)), largest(clusters.iter().map(|c| c.1))].map(|x| x * n);
    let usable = sums.iter().all(|x| x.is_finite()) && clusters.iter().all(|c| c.1 > 0.0);
    if clusters.len() < 2 || resamples < LEAST_RESAMPLES || !usable {
        return None;
    }
    let mut counts = vec![1.0; clusters.len()];
    let observed = ratio(clusters, &counts);
    let mut drawn = Vec::new();
    for _ in 0..resamples {
        counts.fill(0.0);
        resample(&mut counts)?;
        drawn.push(ratio(clusters, &counts));
    }
    let sizes: Vec<(f64, f64)> = clusters.iter().map(|&(x, d)| (x.abs(), d)).collect();
    counts.fill(1.0);
    let slack = ROUNDING * ratio(&sizes, &counts);
    if drawn.iter().any(|x| !x.is_finite()) {
        return None;
    }
    if drawn.iter().all(|x| (x - observed).abs() <= slack) {
        return Some([observed; 2]);
    }
    let levels = corrected_levels(clusters, observed, &drawn, slack).unwrap_or([TAIL, 1.0 - TAIL]);
    drawn.sort_by(f64::total_cmp);
    let [low, high] = levels.map(|level| percentile(&drawn, level));
    Some([low?, high?])
}

/// What an interval leaves out on each side.
const TAIL: f64 = 0.5 * (1.0 - CONFIDENCE);

/// Σ count·numerator / Σ count·denominator, always in the order of the clusters: the same clusters
/// drawn in another order give the same number.
fn ratio(clusters: &[(f64, f64)], counts: &[f64]) -> f64 {
    let (mut numerator, mut denominator) = (0.0, 0.0);
    for ((x, d), count) in clusters.iter().zip(counts) {
        numerator += count * x;
        denominator += count * d;
    }
    numerator / denominator
}

/// The percentiles of the drawn ratios at which the BCa interval ends:
/// Φ(z₀ + (z₀+z)/(1 − a(z₀+z))) with z₀ = Φ⁻¹(share below the observed one, ties half) and
/// a = Σu³/(6·(Σu²)^1.5), u the jackknife's deviations. `None` where they do not exist: every drawn
/// ratio lies on one side.
fn corrected_levels(clusters: &[(f64, f64)], observed: f64, drawn: &[f64], slack: f64) -> Option<[f64; 2]> {
    let credit = |x: &f64| match x - observed {
        d if d.abs() <= slack => 0.5,
        d if d < 0.0 => 1.0,
        _ => 0.0,
    };
    let bias = normal_quantile(drawn.iter().map(credit).sum::<f64>() / drawn.len() as f64);
    let acceleration = acceleration(clusters);
    let level = |z: f64| {
        let shifted = bias + z;
        let stretch = 1.0 - acceleration * shifted;
        let level = normal_cdf(bias + shifted / stretch);
        (bias.is_finite() && stretch > 0.0 && level.is_finite()).then_some(level)
    };
    let z = normal_quantile(TAIL);
    Some([level(z)?, level(-z)?])
}

fn acceleration(clusters: &[(f64, f64)]) -> f64 {
    let numerator: f64 = clusters.iter().map(|c| c.0).sum();
    let denominator: f64 = clusters.iter().map(|c| c.1).sum();
    let without: Vec<f64> = clusters.iter().map(|(x, d)| (numerator - x) / (denominator - d)).collect();
    let middle = mean(&without);
    let most = largest(without.iter().map(|x| x - middle));
    if most == 0.0 {
        return 0.0;
    }
    let (mut squares, mut cubes) = (0.0, 0.0);
    for x in without {
        let u = (middle - x) / most;
        squares += u * u;
        cubes += u * u * u;
    }
    cubes / (6.0 * squares.powf(1.5))
}

/// The quantile of sorted numbers, linear between them (type 7 of Hyndman and Fan 1996).
fn percentile(sorted: &[f64], level: f64) -> Option<f64> {
    let place = level * (sorted.len() - 1) as f64;
    let (low, share) = (sorted.get(place as usize)?, place.fract());
    let high = sorted.get(place as usize + 1).unwrap_or(low);
    Some(low + (high - low) * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_interval_again() {
        let xs: Vec<f64> = (0..30).map(|k| f64::from(k * k % 17)).collect();
        let first = bootstrap_interval(&xs, 1000, 7).unwrap();
        assert_eq!(Some(first), bootstrap_interval(&xs, 1000, 7));
        assert_ne!(Some(first), bootstrap_interval(&xs, 1000, 8));
        assert!(first[0] < mean(&xs) && mean(&xs) < first[1]);
    }

    #[test]
    fn equal_numbers_have_a_point() {
        let [low, high] = bootstrap_interval(&[0.1; 7], 100, 0).unwrap();
        assert_eq!(low, high);
        assert!((low - 0.1).abs() < 1e-16);
        // Equal losses per token in documents of different lengths.
        let documents = [(2.5, 1.0), (7.5, 3.0), (25.0, 10.0)];
        assert_eq!(ratio_bootstrap_interval(&documents, 100, 0), Some([2.5, 2.5]));
    }

    #[test]
    fn draws_on_one_side_have_the_percentile_interval() {
        let draws = (0..40).map(|k| if k < 20 { vec![1, 1] } else { vec![0, 1] });
        let one_side = bootstrap_interval_of(&[0.0, 1.0], draws.clone().map(|_| [1, 1])).unwrap();
        assert_eq!(one_side, [1.0, 1.0]);
        assert_eq!(bootstrap_interval_of(&[0.0, 1.0], draws).unwrap()[1], 1.0);
    }

    #[test]
    fn percentiles_are_those_of_resampled_means() {
        let xs: Vec<f64> = (0..40).map(|k| f64::from(k % 7)).collect();
        let mean_of = |counts: &[f64]| counts.iter().zip(&xs).map(|(c, x)| c * x).sum::<f64>() / 40.0;
        let [low, high] = percentile_interval(40, 1000, 3, mean_of).unwrap();
        let [other_low, other_high] = bootstrap_interval(&xs, 1000, 3).unwrap();
        // The correction of so even a sample is small.
        assert!((low - other_low).abs() < 0.1 && (high - other_high).abs() < 0.1);
        assert!(low < mean(&xs) && mean(&xs) < high);
        assert_eq!(percentile_interval(3, 100, 0, |_| 2.5), Some([2.5, 2.5]));
        assert_eq!(percentile_interval(3, 100, 0, |_| f64::NAN), None);
        assert_eq!(percentile_interval(1, 100, 0, |_| 1.0), None);
        assert_eq!(percentile_interval(3, 39, 0, |_| 1.0), None);
    }

    #[test]
    fn too_little_has_no_interval() {
        let good = [1.0, 2.0, 4.0];
        assert_eq!(bootstrap_interval(&[], 1000, 0), None);
        assert_eq!(bootstrap_interval(&[1.0], 1000, 0), None);
        assert_eq!(bootstrap_interval(&good, 39, 0), None);
        assert_eq!(bootstrap_interval_of(&good, vec![[0, 1, 3]; 40]), None);
        assert_eq!(bootstrap_interval_of(&good, vec![[0, 1]; 40]), None);
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX] {
            assert_eq!(bootstrap_interval(&[1.0, bad, bad], 1000, 0), None);
            assert_eq!(ratio_bootstrap_interval(&[(1.0, 1.0), (1.0, bad), (1.0, bad)], 100, 0), None);
        }
        for bad in [0.0, -1.0] {
            assert_eq!(ratio_bootstrap_interval(&[(1.0, 1.0), (1.0, bad)], 100, 0), None);
        }
    }
}
