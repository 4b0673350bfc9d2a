//! The statistics against scipy, statsmodels and mpmath (`fixtures/reference/stats_cases.py`), their
//! properties on any numbers, and their error rates on simulated trials.

use std::f64::consts::TAU;
use std::fs;
use std::hint::black_box;

use proptest::prelude::*;
use serde_json::Value;
use v5gate::statistics::{
    bootstrap_interval, bootstrap_interval_of, clustered_interval, detectable, equivalence, fit, mean,
    offset_power_law, paired_interval, power, power_law, ratio_bootstrap_interval,
    ratio_bootstrap_interval_of, sd, separation_rule, t_interval, trials_needed, wilson,
};

/// Largest relative difference from the reference. Both sides compute in float64 (rounding 1e-16)
/// with functions good to some 1e-15. What is lost on the way: a t quantile of 30,000 degrees of
/// freedom takes differences of ln Γ ≈ 1e5 and keeps eleven digits; standard errors of a law
/// come from residuals of at least 1e-6 of ln L and keep ten; a fit with a floor multiplies the
/// rounding of ln L by the condition of its derivatives, up to some 1e4; a p value exp(−x) with x up to
/// some hundreds loses as many roundings. Each leaves at most 1e-10, while an error in a formula, in a
/// degree of freedom or in a factor n/(n−1) shows in the first digits.
/// Measured: laws 7e-11, power 1.4e-11, all else below 1e-13.
///
/// An interval is held to nine digits of half its width, not of its ends. What cancels (a mean of both
/// signs, a deviation of nearly equal numbers) keeps the rounding of the data: beside the above,
/// `ROUNDINGS` of the data's largest number are allowed, which is 4e-15 of it.
const APART: f64 = 1e-9;
/// Roundings, each of ε of the largest number: a mean's, a deviation's and the last sum's, on
/// either side.
const ROUNDINGS: f64 = 16.0 * f64::EPSILON;
/// Fewest cases of a routine.
const CASES: usize = 200;

/// The cases of a routine, and how far apart its worst is.
struct Routine {
    name: &'static str,
    cases: Vec<Vec<Value>>,
    worst: f64,
}

impl Routine {
    fn load(name: &'static str) -> Self {
        let all = reference();
        let cases: Vec<Vec<Value>> = serde_json::from_value(all[name].clone()).unwrap();
        assert!(cases.len() >= CASES, "{name} has {} cases", cases.len());
        Self { name, cases, worst: 0.0 }
    }

    /// Asks each case for every number that comes out.
    fn check(mut self, ask: impl Fn(&[Value]) -> Vec<Number>) {
        for case in &self.cases {
            let numbers = ask(case);
            assert!(!numbers.is_empty());
            for number in numbers {
                let apart = number.apart();
                assert!(apart <= APART, "{}: {number:?}, {apart:.1e} apart in {case:?}", self.name);
                self.worst = self.worst.max(apart);
            }
        }
        println!("{}: worst {:.1e} of {} cases", self.name, self.worst, self.cases.len());
    }
}

/// A number that came out.
#[derive(Debug)]
struct Number {
    found: f64,
    expected: f64,
    /// What a difference is compared with.
    unit: f64,
    /// What may differ besides.
    rounding: f64,
}

impl Number {
    fn new(found: f64, expected: f64) -> Self {
        Self { found, expected, unit: expected.abs(), rounding: 0.0 }
    }

    /// One that data of this size round.
    fn of(found: f64, expected: f64, data: f64) -> Self {
        Self { rounding: ROUNDINGS * data, ..Self::new(found, expected) }
    }

    fn apart(&self) -> f64 {
        let difference = (self.found - self.expected).abs();
        if difference <= self.rounding { 0.0 } else { (difference - self.rounding) / self.unit }
    }
}

fn reference() -> Value {
    let path = format!("{}/fixtures/reference/statistics.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn points(case: &[Value]) -> Vec<(f64, f64)> {
    numbers(&case[0]).into_iter().zip(numbers(&case[1])).collect()
}

fn largest(xs: &[f64]) -> f64 {
    xs.iter().fold(0.0, |most: f64, x| most.max(x.abs()))
}

/// Both ends of an interval against the next two values, by half its width.
fn ends(found: Option<[f64; 2]>, expected: &[Value], data: f64) -> Vec<Number> {
    let expected = [number(&expected[0]), number(&expected[1])];
    let unit = 0.5 * (expected[1] - expected[0]);
    assert!(unit >= 0.0);
    let pairs = found.unwrap().into_iter().zip(expected);
    pairs.map(|(found, expected)| Number { unit, ..Number::of(found, expected, data) }).collect()
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Standard normal (Box and Muller), so many.
    fn normals(&mut self, n: usize) -> Vec<f64> {
        let mut share = || (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        (0..n).map(|_| (-2.0 * (1.0 - share()).ln()).sqrt() * (TAU * share()).cos()).collect()
    }
}

/// The resamples that the script draws from this seed.
fn draws(seed: u64, resamples: usize, n: usize) -> Vec<Vec<usize>> {
    let mut source = SplitMix(seed);
    let mut next = || (source.next() >> 33) as usize % n;
    (0..resamples).map(|_| (0..n).map(|_| next()).collect()).collect()
}

fn resamples() -> usize {
    reference()["resamples"].as_u64().unwrap() as usize
}

#[test]
fn t_intervals_are_scipys() {
    Routine::load("t_interval").check(|case| {
        let xs = numbers(&case[0]);
        let data = largest(&xs);
        let mut found = ends(t_interval(&xs), &case[3..], data);
        found.push(Number::of(mean(&xs), number(&case[1]), data));
        found.push(Number::of(sd(&xs).unwrap(), number(&case[2]), data));
        found
    });
    Routine::load("paired_interval").check(|case| {
        let (a, b) = (numbers(&case[0]), numbers(&case[1]));
        ends(paired_interval(&a, &b), &case[2..], largest(&a))
    });
}

#[test]
fn the_documents_rule_is_numpys() {
    Routine::load("document_rule").check(|case| {
        let (a, b) = (numbers(&case[0]), numbers(&case[1]));
        let data = largest(&a).max(largest(&b));
        let (difference, limit) = separation_rule(&a, &b).unwrap();
        vec![Number::of(difference, number(&case[2]), data), Number::of(limit, number(&case[3]), data)]
    });
}

#[test]
fn wilsons_intervals_are_scipys() {
    Routine::load("wilson").check(|case| {
        let found = wilson(case[0].as_u64().unwrap(), case[1].as_u64().unwrap());
        ends(found, &case[2..], number(&case[3]))
    });
}

#[test]
fn powers_are_statsmodels() {
    Routine::load("power").check(|case| {
        let n = case[2].as_u64().unwrap() as usize;
        vec![Number::new(power(number(&case[0]), number(&case[1]), n).unwrap(), number(&case[3]))]
    });
    Routine::load("detectable").check(|case| {
        let xs = numbers(&case[0]);
        vec![Number::of(detectable(&xs).unwrap(), number(&case[1]), largest(&xs))]
    });
    Routine::load("trials_needed").check(|case| {
        let needed = trials_needed(number(&case[0]), number(&case[1])).unwrap();
        vec![Number::new(needed as f64, number(&case[2]))]
    });
}

#[test]
fn bootstraps_are_scipys() {
    let resamples = resamples();
    Routine::load("bootstrap").check(|case| {
        let xs = numbers(&case[0]);
        let draws = draws(case[1].as_u64().unwrap(), resamples, xs.len());
        ends(bootstrap_interval_of(&xs, draws), &case[2..], largest(&xs))
    });
    Routine::load("ratio_bootstrap").check(|case| {
        let clusters = points(case);
        let draws = draws(case[2].as_u64().unwrap(), resamples, clusters.len());
        let rates: Vec<f64> = clusters.iter().map(|(x, d)| x / d).collect();
        ends(ratio_bootstrap_interval_of(&clusters, draws), &case[3..], largest(&rates))
    });
}

#[test]
fn clustered_intervals_are_statsmodels() {
    Routine::load("clustered_interval").check(|case| {
        let xs = numbers(&case[0]);
        let groups: Vec<u64> = serde_json::from_value(case[1].clone()).unwrap();
        ends(clustered_interval(&xs, &groups), &case[2..], largest(&xs))
    });
}

#[test]
fn equivalence_is_statsmodels() {
    Routine::load("equivalence").check(|case| {
        let xs = numbers(&case[0]);
        let found = equivalence(&xs, [number(&case[1]), number(&case[2])]).unwrap();
        let mut all = ends(Some(found.interval), &case[4..], largest(&xs));
        // t = (mean − margin)/error inherits the rounding of the data, here up to 8ε of the largest
        // number, and p at most (1 + |t|)·p times that.
        let p = number(&case[3]);
        let error = sd(&xs).unwrap() / (xs.len() as f64).sqrt();
        let t = (1..3).map(|k| (mean(&xs) - number(&case[k])).abs() / error).fold(0.0, f64::max);
        let lost = 8.0 * f64::EPSILON * largest(&xs) / error * (1.0 + t);
        all.push(Number { rounding: p * lost, ..Number::new(found.p_value, p) });
        all
    });
}

#[test]
fn power_laws_are_scipys() {
    Routine::load("power_law").check(|case| {
        let law = power_law(&points(case)).unwrap();
        let expected = numbers(&case[2]);
        let mut found = vec![law.a, law.b, law.r_squared];
        if let Some(errors) = law.errors {
            found.extend(&errors[..2]);
            found.extend(law.b_interval.unwrap());
        }
        assert_eq!(found.len(), expected.len());
        found.into_iter().zip(expected).map(|(f, e)| Number::new(f, e)).collect()
    });
}

#[test]
fn laws_with_a_floor_are_least_squares_to_forty_digits() {
    Routine::load("offset_power_law").check(|case| {
        let points = points(case);
        let law = offset_power_law(&points).unwrap();
        let loss = number(&case[2]);
        let expected = numbers(&case[3]);
        let size = law.effective_parameters(loss).unwrap().ln();
        let interval = law.effective_parameters_interval(loss).unwrap().map(f64::ln);
        let mut found = vec![law.a.ln(), law.b, law.c, law.r_squared];
        found.extend(law.errors.unwrap());
        found.extend(law.b_interval.unwrap());
        found.push(size);
        found.extend(interval);
        assert_eq!(found.len(), expected.len());
        let mut numbers: Vec<Number> =
            found.into_iter().zip(expected).map(|(f, e)| Number::new(f, e)).collect();
        // ln a stands for a: nine digits of that.
        numbers[0].unit = 1.0;
        numbers
    });
}

#[test]
fn the_law_is_chosen_as_the_ruling_says() {
    Routine::load("choice").check(|case| {
        let law = fit(&points(case)).unwrap();
        assert_eq!(law.parameters as u64, case[2].as_u64().unwrap(), "{case:?}");
        let found = [law.a, law.b, law.c];
        found.into_iter().zip(&case[3..]).map(|(f, e)| Number::new(f, number(e))).collect()
    });
}

/// Simulated comparisons.
const COMPARISONS: usize = 20_000;

/// Shares of simulated comparisons of two models over n trials of standard normal scatter, one
/// better by `effect`: how often the paired t interval excludes zero, and how often the document's
/// rule sees a difference.
fn rates(n: usize, effect: f64) -> (f64, f64) {
    let mut source = SplitMix(n as u64);
    let (mut excluded, mut seen) = (0, 0);
    for _ in 0..COMPARISONS {
        let a: Vec<f64> = source.normals(n).iter().map(|x| x + effect).collect();
        let b = source.normals(n);
        let [low, high] = paired_interval(&a, &b).unwrap();
        excluded += usize::from(low > 0.0 || high < 0.0);
        let (difference, limit) = separation_rule(&a, &b).unwrap();
        seen += usize::from(difference > limit);
    }
    (excluded as f64 / COMPARISONS as f64, seen as f64 / COMPARISONS as f64)
}

/// Three binomial standard errors of a share of the comparisons.
fn chance(share: f64) -> f64 {
    3.0 * (share * (1.0 - share) / COMPARISONS as f64).sqrt()
}

/// Without an effect the t interval errs in 5 % of all comparisons: 5.05 % at n = 3, 5.00 % at
/// n = 10 (standard error 0.15 %). The document's rule sees a difference in 2.45 % at n = 3 and in
/// 0.005 % at n = 10: it compares means with the scatter of single trials, not of means, so that more
/// trials make it stricter.
#[test]
fn intervals_err_as_often_as_they_say() {
    for (n, recorded) in [(3, 0.0245), (10, 0.000_05)] {
        let (excluded, seen) = rates(n, 0.0);
        println!("n = {n}, no effect: t {excluded}, document's rule {seen}");
        assert!((excluded - 0.05).abs() < chance(0.05), "{n}: {excluded}");
        assert!((seen - recorded).abs() < chance(recorded), "{n}: {seen}");
    }
}

#[test]
fn effects_are_detected_as_often_as_power_says() {
    for (n, effect) in [(3, 3.0), (3, 6.0), (10, 0.7), (10, 1.4)] {
        let (detected, _) = rates(n, effect);
        // Differences of two standard normals.
        let power = power(effect, 2f64.sqrt(), n).unwrap();
        assert!((detected - power).abs() < chance(power), "{n}, {effect}: {detected} for {power}");
    }
}

/// So many plain numbers.
fn plain(sizes: std::ops::Range<usize>) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(-1e3..1e3, sizes)
}

fn width(interval: Option<[f64; 2]>) -> f64 {
    let [low, high] = interval.unwrap();
    high - low
}

/// Within 1e-9 of numbers of this size.
fn same(a: f64, b: f64, size: f64) -> bool {
    (a - b).abs() <= 1e-9 * size
}

/// Losses that a law with a floor and a little scatter gives sizes a factor of four apart.
fn losses() -> impl Strategy<Value = Vec<(f64, f64)>> {
    let scatter = prop::collection::vec(-0.003..0.003, 4..9);
    (0.2..0.6, 0.5..2.0, scatter).prop_map(|(b, c, scatter): (f64, f64, Vec<f64>)| {
        let sizes = (0..).map(|k| 4f64.powi(k));
        let loss = |(n, e): (f64, f64)| (1e6 * n, (2.0 * n.powf(-b) + c) * e.exp());
        sizes.zip(scatter).map(loss).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn intervals_contain_the_mean_and_shrink(xs in plain(2..20)) {
        let twice = [xs.clone(), xs.clone()].concat();
        let own: Vec<usize> = (0..xs.len()).collect();
        let pairs: Vec<usize> = (0..xs.len()).map(|k| k / 2).collect();
        let m = mean(&xs);
        for interval in [t_interval(&xs), clustered_interval(&xs, &own), clustered_interval(&xs, &pairs)] {
            let Some([low, high]) = interval else { continue };
            prop_assert!(low <= m + 1e-12 && m <= high + 1e-12);
        }
        prop_assert!(width(t_interval(&twice)) < width(t_interval(&xs)));
        prop_assert!(detectable(&twice) < detectable(&xs));
        let [low, high] = bootstrap_interval(&xs, 200, 1).unwrap();
        let ends = [xs.iter().copied().fold(f64::MAX, f64::min), xs.iter().copied().fold(f64::MIN, f64::max)];
        prop_assert!(ends[0] - 1e-9 <= low && low <= high && high <= ends[1] + 1e-9);
        // Clusters of one are no clusters.
        let [a, b] = [t_interval(&xs), clustered_interval(&xs, &own)].map(Option::unwrap);
        prop_assert!(same(a[0], b[0], 1e3) && same(a[1], b[1], 1e3));
    }

    #[test]
    fn intervals_move_with_the_numbers(xs in plain(3..20), factor in 0.1f64..10.0, flip: bool, shift in -1e3..1e3) {
        let factor = if flip { -factor } else { factor };
        let moved: Vec<f64> = xs.iter().map(|x| factor * x + shift).collect();
        let pairs: Vec<usize> = (0..xs.len()).map(|k| k / 2).collect();
        let intervals = |xs: &[f64]| [
            t_interval(xs).unwrap(),
            clustered_interval(xs, &pairs).unwrap(),
            bootstrap_interval(xs, 200, 1).unwrap(),
            equivalence(xs, [0.0, 0.0]).unwrap().interval,
        ];
        for (before, after) in intervals(&xs).into_iter().zip(intervals(&moved)) {
            let mut expected = before.map(|end| factor * end + shift);
            expected.sort_by(f64::total_cmp);
            prop_assert!(same(after[0], expected[0], 1e4) && same(after[1], expected[1], 1e4), "{after:?} {expected:?}");
        }
        let [a, b] = [detectable(&xs), detectable(&moved)].map(Option::unwrap);
        prop_assert!(same(a * factor.abs(), b, 1e5));
    }

    #[test]
    fn shares_shrink_and_mirror(n in 1u64..1000, hits in 0u64..1000) {
        let hits = hits.min(n);
        let [low, high] = wilson(hits, n).unwrap();
        let share = hits as f64 / n as f64;
        prop_assert!(0.0 <= low && low <= share && share <= high && high <= 1.0);
        prop_assert!(width(wilson(2 * hits, 2 * n)) < high - low);
        let [mirrored_low, mirrored_high] = wilson(n - hits, n).unwrap();
        prop_assert!(same(low, 1.0 - mirrored_high, 1.0) && same(high, 1.0 - mirrored_low, 1.0));
    }

    #[test]
    fn equivalence_follows_its_margins(xs in plain(2..20), low in -2e3..0.0, width in 0.0..2e3, more in 0.0..1e3) {
        let narrow = equivalence(&xs, [low, low + width]).unwrap();
        let wide = equivalence(&xs, [low - more, low + width + more]).unwrap();
        prop_assert!((0.0..=1.0).contains(&narrow.p_value));
        prop_assert!(wide.p_value <= narrow.p_value);
        let inside = low < narrow.interval[0] && narrow.interval[1] < low + width;
        prop_assert_eq!(narrow.p_value < 0.05, inside);
    }

    #[test]
    fn power_rises(effect in 0.0..5.0, more in 0.0..1.0, n in 2usize..60) {
        let rounding = 1e-12;
        let here = power(effect, 1.0, n).unwrap();
        prop_assert!(power(effect + more, 1.0, n).unwrap() >= here - rounding);
        prop_assert!(power(effect, 1.0, n + 1).unwrap() >= here - rounding);
        prop_assert!(same(power(-effect, 1.0, n).unwrap(), here, 1.0));
    }

    #[test]
    fn trials_needed_are_the_fewest(effect in 0.05..20.0) {
        let n = trials_needed(1.0, effect).unwrap();
        prop_assert!(power(effect, 1.0, n).unwrap() >= 0.8);
        prop_assert!(n == 2 || power(effect, 1.0, n - 1).unwrap() < 0.8);
    }

    #[test]
    fn laws_do_not_depend_on_units(points in losses(), unit in 0.01..100.0) {
        let law = fit(&points).unwrap();
        let losses: Vec<_> = points.iter().map(|(n, l)| (*n, l * unit)).collect();
        let sizes: Vec<_> = points.iter().map(|(n, l)| (n * unit, *l)).collect();
        let (other, larger) = (fit(&losses).unwrap(), fit(&sizes).unwrap());
        for found in [&other, &larger] {
            prop_assert_eq!(found.parameters, law.parameters);
            prop_assert!(same(found.b, law.b, 1.0) && same(found.r_squared, law.r_squared, 1.0));
        }
        prop_assert!(same(other.c, unit * law.c, unit) && same(larger.c, law.c, 1.0));
        let [low, high] = law.b_interval.unwrap();
        prop_assert!(low <= law.b && law.b <= high);
        let loss = points[1].1;
        if let Some(size) = law.effective_parameters(loss) {
            prop_assert!(same(larger.effective_parameters(loss).unwrap(), unit * size, 1e3 * unit * size));
            let [low, high] = law.effective_parameters_interval(loss).unwrap();
            prop_assert!(low <= size && size <= high);
            prop_assert!(same(law.loss(size), loss, 1.0));
        }
    }

    #[test]
    fn nothing_panics(
        xs in prop::collection::vec(prop::num::f64::ANY, 0..9),
        ys in prop::collection::vec(prop::num::f64::ANY, 0..9),
        n in 0usize..100_000,
    ) {
        let pairs: Vec<(f64, f64)> = xs.iter().copied().zip(ys.iter().copied()).collect();
        let positive: Vec<(f64, f64)> = pairs.iter().map(|(x, y)| (x.abs(), y.abs())).collect();
        let [one, other] = [&xs, &ys].map(|v| v.first().copied().unwrap_or(f64::NAN));
        let groups: Vec<bool> = xs.iter().map(|x| *x > 0.0).collect();
        black_box((paired_interval(&xs, &ys), separation_rule(&xs, &ys), detectable(&xs), power(one, other, n)));
        black_box((equivalence(&xs, [one, other]), trials_needed(one, other)));
        for points in [pairs, positive] {
            black_box((ratio_bootstrap_interval(&points, 50, 3), power_law(&points)));
            for law in [fit(&points), power_law(&points)].into_iter().flatten() {
                black_box((law.loss(one), law.effective_parameters(one), law.effective_parameters_interval(one)));
            }
        }
        let intervals = [t_interval(&xs), clustered_interval(&xs, &groups), bootstrap_interval(&xs, 50, 3)];
        for interval in intervals.into_iter().flatten() {
            let finite = |xs: &[f64]| xs.iter().all(|x| x.is_finite());
            prop_assert!(finite(&xs) || !finite(&interval), "{interval:?} of {xs:?}");
        }
    }
}
