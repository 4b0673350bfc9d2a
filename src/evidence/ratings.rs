//! Human comparisons of two models' replies: what raters see, which side was whose, what they said, and what
//! it amounts to.
//!
//! Invariant: a rating counts only for the page that it was given on, and once.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::statistics::{krippendorff_alpha, ratio_bootstrap_interval, wilson};

/// Two replies to the same dialogue, blinded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// What is given beforehand about whoever replies.
    pub opening: Vec<String>,
    /// What was said so far; the last turn is answered.
    pub turns: Vec<String>,
    /// One reply.
    pub left: String,
    /// The other.
    pub right: String,
}

/// One of the models that are compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compared {
    /// The checkpoint, as it was named.
    pub checkpoint: String,
    /// The architecture.
    pub model: String,
    /// Digest of the weights.
    pub weights: String,
    /// Digest of the tokenizer.
    pub tokenizer: String,
}

/// What opens a page's blinding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Digest of everything that the page shows.
    pub page: String,
    /// SHA-256 of the file that raters were given.
    #[serde(default)]
    pub file: String,
    /// The benchmark that the dialogues are from.
    pub task: String,
    /// Digest of its file.
    pub data: String,
    /// Drew dialogues, sides and replies.
    pub seed: u64,
    /// The nucleus of the replies; 0 is greedy.
    pub top_p: f64,
    /// What computed the replies; elsewhere others may be drawn.
    #[serde(default)]
    pub device: String,
    /// One model.
    pub a: Compared,
    /// The other.
    pub b: Compared,
    /// Of every pair, whether the left reply is A's.
    pub a_is_left: Vec<bool>,
}

impl Key {
    /// The seed of every page that is evidence: who may choose it may make several pages, and keep the best.
    pub const SEED: u64 = 1;
    /// Its nucleus, for the same reason.
    pub const TOP_P: f64 = 0.9;

    /// Why the page is no evidence about weights that were measured on `device`, if it is none.
    pub fn unlike_evidence(&self, device: &str) -> Option<String> {
        let (seed, top_p) = (Self::SEED, Self::TOP_P);
        let alike = self.seed == seed && self.top_p == top_p && self.device == device;
        let got = (self.seed, self.top_p, &self.device);
        (!alike).then(|| {
            format!(
                "expected a page of seed {seed} and nucleus {top_p}, as of all evidence, made on {device:?} as the \
                 weights were measured; got seed {}, nucleus {}, made on {:?}",
                got.0, got.1, got.2
            )
        })
    }
}

/// What a rater prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// The left reply.
    Left,
    /// The right one.
    Right,
    /// Neither.
    Tie,
}

/// One rater's word on one pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rating {
    /// Who.
    pub rater: String,
    /// On which pair, counted from zero.
    pub pair: usize,
    /// What.
    pub choice: Choice,
}

/// Why ratings cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RatingError {
    /// It is no table, or not this one.
    #[error("{file}: expected columns page, rater, pair, choice (left, right or tie): {error}")]
    Table {
        /// Where.
        file: String,
        /// What the reader said.
        error: csv::Error,
    },
    /// A line that does not fit.
    #[error("{file}, line {line}: {what}")]
    Line {
        /// Where.
        file: String,
        /// Counted from one.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// Nobody rated anything.
    #[error("expected at least one rating, got none")]
    None,
}

/// The ratings in some files, each a name and a text.
pub fn read_ratings(key: &Key, files: &[(String, String)]) -> Result<Vec<Rating>, RatingError> {
    #[derive(Deserialize)]
    struct Row {
        page: String,
        rater: String,
        pair: usize,
        choice: Choice,
    }
    let (mut ratings, mut seen) = (Vec::new(), BTreeSet::new());
    for (file, text) in files {
        let mut table = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        let bad = |error| RatingError::Table { file: file.clone(), error };
        let head = table.headers().map_err(bad)?.clone();
        // A field may not break its line: no rater's name has more than one.
        for (i, record) in table.records().enumerate() {
            let record = record.map_err(bad)?;
            let row: Row = record.deserialize(Some(&head)).map_err(bad)?;
            let line = i + 2;
            let wrong = |what| Err(RatingError::Line { file: file.clone(), line, what });
            if row.page != key.page {
                return wrong(format!("expected ratings of page {}, got of page {}", key.page, row.page));
            }
            if row.pair == 0 || row.pair > key.a_is_left.len() {
                return wrong(format!("expected a pair of 1 to {}, got {}", key.a_is_left.len(), row.pair));
            }
            if row.rater.is_empty() {
                return wrong("expected a rater, got no name".to_owned());
            }
            if !seen.insert((row.rater.clone(), row.pair)) {
                return wrong(format!(
                    "expected one rating, got another of pair {} by {:?}",
                    row.pair, row.rater
                ));
            }
            ratings.push(Rating { rater: row.rater, pair: row.pair - 1, choice: row.choice });
        }
    }
    if ratings.is_empty() { Err(RatingError::None) } else { Ok(ratings) }
}

/// What ratings amount to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tally {
    /// Ratings of every rater.
    pub raters: BTreeMap<String, usize>,
    /// Pairs of the page.
    pub pairs: usize,
    /// Pairs that somebody rated.
    pub rated: usize,
    /// Ratings that are lacking: pairs times raters less ratings.
    pub missing: usize,
    /// Ratings for A.
    pub for_a: usize,
    /// Ratings for B.
    pub for_b: usize,
    /// Ratings for neither.
    pub ties: usize,
    /// The share of A, ties half.
    pub preference: f64,
    /// Its 95 % interval, pairs drawn again; raters are taken as given.
    pub interval: Option<[f64; 2]>,
    /// Krippendorff's nominal alpha of A, B and tie.
    pub alpha: Option<f64>,
    /// The share of the left side, ties half: far from one half, somebody went by the side.
    pub left: f64,
}

/// Whose reply a rating prefers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    A,
    B,
    Neither,
}

impl Side {
    /// As a share of A.
    fn worth(self) -> f64 {
        match self {
            Side::A => 1.0,
            Side::B => 0.0,
            Side::Neither => 0.5,
        }
    }
}

/// Resamples of the interval.
const RESAMPLES: usize = 10_000;

/// Pairs drawn again. Where all pairs say the same there is nothing to draw: then Wilson's interval, which knows
/// how few they are.
fn preference_interval(pairs: &[(f64, f64)]) -> Option<[f64; 2]> {
    let shares: Vec<f64> = pairs.iter().map(|(for_a, n)| for_a / n).collect();
    let unanimous = |share: f64| shares.iter().all(|s| *s == share);
    let n = pairs.len() as u64;
    if unanimous(1.0) {
        return wilson(n, n);
    }
    if unanimous(0.0) {
        return wilson(0, n);
    }
    ratio_bootstrap_interval(pairs, RESAMPLES, 0)
}

impl Tally {
    /// Counts ratings of a page.
    pub fn of(key: &Key, ratings: &[Rating]) -> Self {
        let mut units: Vec<Vec<Side>> = vec![Vec::new(); key.a_is_left.len()];
        let mut raters: BTreeMap<String, usize> = BTreeMap::new();
        let mut left = 0.0;
        for rating in ratings {
            *raters.entry(rating.rater.clone()).or_default() += 1;
            let a_is_left = key.a_is_left[rating.pair];
            let (side, share) = match rating.choice {
                Choice::Tie => (Side::Neither, 0.5),
                Choice::Left => (if a_is_left { Side::A } else { Side::B }, 1.0),
                Choice::Right => (if a_is_left { Side::B } else { Side::A }, 0.0),
            };
            units[rating.pair].push(side);
            left += share;
        }
        let worth = |unit: &Vec<Side>| (unit.iter().map(|side| side.worth()).sum::<f64>(), unit.len() as f64);
        let clusters: Vec<(f64, f64)> = units.iter().filter(|unit| !unit.is_empty()).map(worth).collect();
        let count = |side| units.iter().flatten().filter(|s| **s == side).count();
        let n = ratings.len() as f64;
        Self {
            pairs: units.len(),
            rated: clusters.len(),
            missing: (units.len() * raters.len()).saturating_sub(ratings.len()),
            for_a: count(Side::A),
            for_b: count(Side::B),
            ties: count(Side::Neither),
            preference: clusters.iter().map(|c| c.0).sum::<f64>() / n,
            interval: preference_interval(&clusters),
            alpha: krippendorff_alpha(&units),
            left: left / n,
            raters,
        }
    }
}

impl Tally {
    /// The share of A, or that of B, with its interval.
    pub fn preferred(&self, a: bool) -> (f64, Option<[f64; 2]>) {
        if a {
            return (self.preference, self.interval);
        }
        // The share of A is what the share of B lacks.
        (1.0 - self.preference, self.interval.map(|[low, high]| [1.0 - high, 1.0 - low]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_who_agree_prove_little() {
        let [low, high] = preference_interval(&[(1.0, 1.0), (2.0, 2.0)]).unwrap();
        assert!((low - 0.342).abs() < 1e-3 && high == 1.0, "{low} {high}");
        let [low, high] = preference_interval(&[(0.0, 3.0); 50]).unwrap();
        assert!(low == 0.0 && high < 0.08, "{low} {high}");
        let [low, high] = preference_interval(&[(1.0, 1.0), (0.0, 1.0), (1.0, 2.0)]).unwrap();
        assert!(low < 0.5 && high > 0.5);
        assert_eq!(preference_interval(&[]), None);
    }
}
