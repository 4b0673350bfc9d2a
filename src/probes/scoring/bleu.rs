//! BLEU as sacreBLEU computes it by default: corpus level, one reference, mteval's tokenizer 13a,
//! case-sensitive, exponential smoothing (Papineni et al. 2002; Post 2018). And distinct-n beside it.
//!
//! Invariant: the score is a function of sums of counts, so that a corpus can be added up from its parts.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::ops::{Add, AddAssign};

use crate::data::published::benchmarks::is_space;

/// What decides the number, in sacreBLEU's words, and the version that it was compared with.
pub const BLEU_SIGNATURE: &str = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0";

/// The longest n-grams.
const ORDERS: usize = 4;

/// The counts of some replies and their references, from which BLEU is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BleuCounts {
    /// Tokens of the replies.
    pub hypothesis: f64,
    /// Tokens of the references.
    pub reference: f64,
    /// n-grams that a reply shares with its reference, n = 1 to 4; each counts as often as both have it.
    pub matched: [f64; ORDERS],
    /// n-grams of the replies.
    pub total: [f64; ORDERS],
}

impl BleuCounts {
    /// The counts of one reply.
    pub fn of(hypothesis: &str, reference: &str) -> Self {
        let (hypothesis, reference) = (tokens_13a(hypothesis), tokens_13a(reference));
        let mut counts = Self {
            hypothesis: hypothesis.len() as f64,
            reference: reference.len() as f64,
            ..Self::default()
        };
        for n in 1..=ORDERS {
            let known = counted(reference.windows(n));
            for (ngram, count) in counted(hypothesis.windows(n)) {
                counts.total[n - 1] += count;
                counts.matched[n - 1] += known.get(ngram).map_or(0.0, |most| count.min(*most));
            }
        }
        counts
    }

    /// The same, so many times: what a resampled corpus has.
    pub fn times(self, n: f64) -> Self {
        Self {
            hypothesis: n * self.hypothesis,
            reference: n * self.reference,
            matched: self.matched.map(|x| n * x),
            total: self.total.map(|x| n * x),
        }
    }

    /// BLEU from 0 to 100: brevity penalty × geometric mean of the precisions. An order without a match
    /// has half, a quarter, … of one; 0 where nothing matches, or there is no n-gram of some order.
    pub fn score(&self) -> f64 {
        if self.matched.iter().all(|x| *x == 0.0) || self.total.contains(&0.0) {
            return 0.0;
        }
        let (mut smallest, mut logs) = (1.0, 0.0);
        for (matched, total) in self.matched.iter().zip(self.total) {
            let matched = if *matched == 0.0 {
                smallest /= 2.0;
                smallest
            } else {
                *matched
            };
            logs += (100.0 * matched / total).ln();
        }
        let shorter = self.hypothesis < self.reference;
        let brevity = if shorter { (1.0 - self.reference / self.hypothesis).exp() } else { 1.0 };
        brevity * (logs / ORDERS as f64).exp()
    }
}

impl Add for BleuCounts {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl AddAssign for BleuCounts {
    fn add_assign(&mut self, other: Self) {
        self.hypothesis += other.hypothesis;
        self.reference += other.reference;
        for n in 0..ORDERS {
            self.matched[n] += other.matched[n];
            self.total[n] += other.total[n];
        }
    }
}

/// The share of different n-grams among all of these texts (Li et al. 2016), over the tokens that BLEU
/// counts; NaN where there is none.
pub fn distinct<S: AsRef<str>>(texts: &[S], n: usize) -> f64 {
    let tokens: Vec<Vec<String>> = texts.iter().map(|text| tokens_13a(text.as_ref())).collect();
    let (mut seen, mut all) = (HashSet::new(), 0.0);
    for ngram in tokens.iter().flat_map(|tokens| tokens.windows(n)) {
        seen.insert(ngram);
        all += 1.0;
    }
    seen.len() as f64 / all
}

fn counted<K: Hash + Eq>(items: impl Iterator<Item = K>) -> HashMap<K, f64> {
    let mut counts = HashMap::new();
    for item in items {
        *counts.entry(item).or_default() += 1.0;
    }
    counts
}

/// The tokens of mteval-v13a: marks stand alone, but for stops and commas between digits and dashes
/// that do not follow one.
pub fn tokens_13a(text: &str) -> Vec<String> {
    let mut text = text.trim_end_matches(is_space).replace("<skipped>", "");
    for (from, to) in
        [("-\n", ""), ("\n", " "), ("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")]
    {
        text = text.replace(from, to);
    }
    let digit = |c: char| c.is_ascii_digit();
    let stop = |c: char| c == '.' || c == ',';
    let text: String = format!(" {text} ").chars().map(apart).collect();
    let text = pairs(&text, |c| !digit(c), stop, |a, b| format!("{a} {b} "));
    let text = pairs(&text, stop, |c| !digit(c), |a, b| format!(" {a} {b}"));
    let text = pairs(&text, digit, |c| c == '-', |a, b| format!("{a} {b} "));
    text.split(is_space).filter(|token| !token.is_empty()).map(str::to_owned).collect()
}

/// A mark between spaces; letters, digits and `'`, `,`, `-`, `.` as they are.
fn apart(c: char) -> String {
    match c {
        '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/' => format!(" {c} "),
        _ => c.to_string(),
    }
}

/// Rewrites every pair of neighbours, from the left; none has a letter in common with the one before.
fn pairs(
    text: &str,
    first: impl Fn(char) -> bool,
    second: impl Fn(char) -> bool,
    write: impl Fn(char, char) -> String,
) -> String {
    let (mut done, mut rest) = (String::with_capacity(text.len()), text.chars().peekable());
    while let Some(a) = rest.next() {
        match rest.peek() {
            Some(&b) if first(a) && second(b) => {
                done += &write(a, b);
                rest.next();
            }
            _ => done.push(a),
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_corpora_score_as_by_hand() {
        let score = |hypothesis: &str, reference: &str| BleuCounts::of(hypothesis, reference).score();
        assert_eq!(score("", "a b c d"), 0.0);
        assert_eq!(score("a b c", "a b c"), 0.0, "no 4-gram");
        assert!((score("a b c d", "a b c d") - 100.0).abs() < 1e-12);
        // Precisions 4/5, 2/4, 0.5/3 (no trigram matches), 0.25/2.
        let expected = 100.0 * (0.8f64 * 0.5 * (0.5 / 3.0) * 0.125).powf(0.25);
        assert!((score("a b x c d", "a b y c d") - expected).abs() < 1e-12);
    }

    #[test]
    fn parts_add_up() {
        let (a, b) = (BleuCounts::of("a b c d e", "a b c d"), BleuCounts::of("x y", "x z"));
        assert_eq!(a + b + b, a + b.times(2.0));
        assert_eq!(a.times(0.0) + b, b);
    }

    #[test]
    fn distinct_ngrams_are_a_share_of_all() {
        assert_eq!(distinct(&["a b a", "a b"], 1), 2.0 / 5.0);
        assert_eq!(distinct(&["a b a", "a b"], 2), 2.0 / 3.0);
        assert!(distinct(&["", "a"], 2).is_nan());
    }
}
