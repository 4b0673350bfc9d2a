//! A/A: how often is a difference claimed between models that differ by chance alone?

use std::fmt::Write;

use libtest_mimic::Failed;
use v5gate::evidence::Metric;
use v5gate::gate::{AgreementRule, ContrastRule, PairedRule, Rule, Status};
use v5gate::random::Random;

use crate::compare::{Handicap, Pick, Pool, Word, draw, mean, normals, verdict};
use crate::lab::side_by_side;

/// Trials of a comparison: what SMOKE has, and what FULL needs.
const TRIALS: [usize; 2] = [3, 10];
/// Comparisons per number of trials.
const COMPARISONS: usize = 1000;
/// Times that the pairs are drawn again with replacement, and comparisons in each.
const AGAIN: usize = 100;
const IN_EACH: usize = 50;

/// What a criterion says that is, between equals, a false alarm or a lack of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alarm {
    /// It claims a difference.
    Claims,
    /// Says that equality is not shown.
    NotShown,
    /// It compares two numbers without a thought for their scatter.
    Point,
}

fn alarms(rule: Rule) -> &'static [Alarm] {
    match rule {
        Rule::Paired(PairedRule::Trials(ContrastRule::NonInferior(limit))) if limit > 1.0 => {
            &[Alarm::Claims, Alarm::NotShown]
        }
        Rule::Paired(PairedRule::Trials(ContrastRule::Ratio(_))) => &[Alarm::Point],
        _ => &[Alarm::Claims],
    }
}

fn rings(word: &Word, alarm: Alarm) -> bool {
    match (word.criterion.rule, alarm) {
        (Rule::Paired(PairedRule::Trials(ContrastRule::NonInferior(limit))), Alarm::Claims)
            if limit > 1.0 =>
        {
            word.exceeds
        }
        // Either model may be the worse one here.
        (Rule::Paired(PairedRule::Trial(AgreementRule::RatioWithin(..))), _) => word.status == Status::Unmet,
        (rule, _) => verdict(rule).is_some_and(|(status, _)| word.status == status),
    }
}

/// How often the rule errs by its own account; none where it claims nothing about it.
fn claimed(rule: Rule, n: usize) -> Option<f64> {
    use ContrastRule::{NotSignificantlyWorse, Ratio, SignificantlyBetter};
    match rule {
        Rule::Paired(PairedRule::Trials(SignificantlyBetter(_) | NotSignificantlyWorse(_))) => {
            Some(separation_rule(n))
        }
        Rule::Paired(PairedRule::Trials(Ratio(_))) => None,
        _ => Some(0.025),
    }
}

/// How often |m₁ − m₂| > 2·√(s₁² + s₂²) in one direction between equal normal distributions, from a
/// seeded simulation.
fn separation_rule(n: usize) -> f64 {
    const TIMES: usize = 100_000;
    let mut normal = normals(Random::new(2024, n as u64));
    let mut sample = || {
        let xs: Vec<f64> = (0..n).map(|_| normal()).collect();
        let m = mean(&xs);
        (m, xs.iter().map(|x| (x - m).powi(2)).sum::<f64>() / (n - 1) as f64)
    };
    let mut above = 0;
    for _ in 0..TIMES {
        let ((a, s), (b, t)) = (sample(), sample());
        above += usize::from(a - b > 2.0 * (s + t).sqrt());
    }
    f64::from(above as u32) / TIMES as f64
}

/// A row of the table. Twenty rows are looked at, so the interval is one of 99 %: fewer than one run in ten
/// would cry wolf over a sound gate.
struct Rate {
    criterion: &'static str,
    alarm: Alarm,
    n: usize,
    rate: f64,
    interval: [f64; 2],
    claimed: Option<f64>,
}

/// What rings in each of these comparisons.
fn ring(pool: &Pool, comparisons: Vec<Vec<Pick>>) -> Result<Vec<Vec<bool>>, Failed> {
    side_by_side(comparisons, |picks| {
        let words = pool.judged(&picks, Handicap::None, Handicap::None)?;
        let each = |w: &Word| alarms(w.criterion.rule).iter().map(|&a| rings(w, a)).collect::<Vec<_>>();
        Ok(words.iter().flat_map(each).collect())
    })
}

fn rates(pool: &Pool, n: usize) -> Result<Vec<Rate>, Failed> {
    let mut random = Random::new(11, n as u64);
    let all: Vec<usize> = (0..pool.pairs()).collect();
    let comparisons = (0..COMPARISONS).map(|_| draw(&mut random, &all, n)).collect();
    let rung = ring(pool, comparisons)?;
    let mut again = Vec::new();
    for _ in 0..AGAIN {
        let drawn: Vec<usize> = all.iter().map(|_| random.below(all.len())).collect();
        again.extend((0..IN_EACH).map(|_| draw(&mut random, &drawn, n)));
    }
    let again = ring(pool, again)?;
    let sample = pool.judged(&draw(&mut random, &all, n), Handicap::None, Handicap::None)?;
    let rows = sample.iter().flat_map(|w| alarms(w.criterion.rule).iter().map(move |&a| (w.criterion, a)));
    let share =
        |rung: &[Vec<bool>], i: usize| rung.iter().filter(|r| r[i]).count() as f64 / rung.len() as f64;
    let rate = |(i, (criterion, alarm)): (usize, (&'static v5gate::gate::Criterion, Alarm))| {
        let rate = share(&rung, i);
        let shares: Vec<f64> = again.chunks(IN_EACH).map(|chunk| share(chunk, i)).collect();
        let m = mean(&shares);
        let spread = mean(&shares.iter().map(|x| (x - m).powi(2)).collect::<Vec<_>>());
        // Part of that spread is that of few comparisons; the rate above has its own.
        let between = (spread - m * (1.0 - m) / IN_EACH as f64).max(0.0);
        let half = 2.576 * (between + rate * (1.0 - rate) / COMPARISONS as f64).sqrt();
        let interval = [(rate - half).max(0.0), (rate + half).min(1.0)];
        let claimed = claimed(criterion.rule, n).filter(|_| alarm == Alarm::Claims);
        Rate { criterion: criterion.id, alarm, n, rate, interval, claimed }
    };
    Ok(rows.enumerate().map(rate).collect())
}

/// The table, and whether every rule errs no more often than it says.
pub fn run(pool: &Pool) -> Result<(String, Vec<String>), Failed> {
    let mut text = String::from("## Equals: how often a difference is claimed between GPT-2 and GPT-2\n\n");
    let spread = |metric: Metric| {
        let xs = pool.values(metric);
        let m = mean(&xs);
        let sd = (xs.iter().map(|x| (x - m).powi(2)).sum::<f64>() / (xs.len() - 1) as f64).sqrt();
        format!("{m:.3} ± {sd:.3}")
    };
    let (loss, score) = (spread(Metric::ValidationLoss), spread(Metric::StatefulnessScore));
    let pairs = pool.pairs();
    let _ = write!(
        text,
        "{} runs in {pairs} pairs (SMOKE's GPT-2s, shaken and trained on), validation loss {loss}, \
         score {score}; {COMPARISONS} comparisons each, labels by the toss of a coin. Comparisons share runs: the \
         99 % interval adds what {AGAIN} drawings of the pairs with replacement tell about that to the scatter of \
         the comparisons.\n\n| criterion | says | trials | share | 99 % interval | claimed |\n|---|---|---|---|---|---|\n",
        2 * pairs
    );
    let mut wrong = Vec::new();
    for n in TRIALS {
        for r in rates(pool, n)? {
            let says = match r.alarm {
                Alarm::Claims => "a difference",
                Alarm::NotShown => "equality is not shown (no false alarm: a lack of power)",
                Alarm::Point => "a difference, by two means alone",
            };
            let percent = |x: f64| format!("{:.1} %", 100.0 * x);
            let [low, high] = r.interval.map(percent);
            let claimed = r.claimed.map_or_else(|| "nothing".to_owned(), |c| format!("{:.2} %", 100.0 * c));
            let share = percent(r.rate);
            let _ = writeln!(
                text,
                "| `{}` | {says} | {} | {share} | {low} to {high} | {claimed} |",
                r.criterion, r.n
            );
            if r.claimed.is_some_and(|c| r.interval[0] > c) {
                wrong.push(format!(
                    "{} with {} trials: {share} [{low}, {high}], claimed {claimed}",
                    r.criterion, r.n
                ));
            }
        }
    }
    Ok((text, wrong))
}
