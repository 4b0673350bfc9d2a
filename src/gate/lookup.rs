//! Finding the evidence for one question. Only evidence that keeps the context's promise counts;
//! what is found does not depend on the order of the ledger's measurements.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::evidence::{Condition, Context, Field, Ledger, Measurement, Metric};

/// A ledger, ready to be asked.
#[derive(Debug)]
pub struct Evidence<'a> {
    context: Option<&'a Context>,
    index: BTreeMap<(u64, Condition, Metric), Vec<&'a Measurement>>,
}

/// Why there is no number (ruling R14).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// Nobody measured it.
    Missing,
    /// The context promises nothing for this trial, or two different things.
    NotPromised,
    /// It was measured under other circumstances than promised.
    Elsewhere {
        /// The first field that differs.
        field: Field,
        /// What was promised.
        expected: String,
        /// What the evidence says.
        got: String,
    },
    /// It was measured more than once, with different results.
    Contradictory,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lack::Missing => f.write_str("missing"),
            Lack::NotPromised => f.write_str("the context promises no single recipe for it"),
            Lack::Elsewhere { field, expected, got } => write!(
                f,
                "evidence exists but from another {} (expected {}, got {})",
                field.name(),
                short(expected),
                short(got)
            ),
            Lack::Contradictory => f.write_str("contradictory: measured twice, differently"),
        }
    }
}

/// The first characters of a digest.
pub(super) fn short(digest: &str) -> &str {
    match digest.char_indices().nth(12) {
        Some((end, _)) => &digest[..end],
        None if digest.is_empty() => "nothing",
        None => digest,
    }
}

impl<'a> Evidence<'a> {
    /// The evidence in a ledger.
    pub fn new(ledger: &'a Ledger) -> Self {
        let mut index: BTreeMap<_, Vec<&'a Measurement>> = BTreeMap::new();
        for m in ledger.measurements() {
            let key = (m.subject().seed, m.subject().condition, m.metric());
            index.entry(key).or_default().push(m);
        }
        Evidence { context: ledger.context(), index }
    }

    /// The promise that governs.
    pub fn context(&self) -> Option<&'a Context> {
        self.context
    }

    /// The promised trials, each once, in order.
    pub fn seeds(&self) -> Vec<u64> {
        let mut seeds = self.context.map(|c| c.seeds.clone()).unwrap_or_default();
        seeds.sort_unstable();
        seeds.dedup();
        seeds
    }

    /// The one measurement that answers, or why there is none.
    pub fn find(
        &self,
        scale: &str,
        seed: u64,
        model: &str,
        condition: Condition,
        metric: Metric,
    ) -> Result<&'a Measurement, Lack> {
        let mut lacks = Vec::new();
        let mut usable = Vec::new();
        for m in self.all(scale, seed, model, condition, metric) {
            match self.lack(m) {
                Some(lack) => lacks.push(lack),
                None => usable.push(m),
            }
        }
        match usable.split_first() {
            Some((first, rest)) if rest.iter().all(|m| m.agrees(first)) => Ok(first),
            Some(_) => Err(Lack::Contradictory),
            // The nearest miss: the one whose first wrong field comes last.
            None => Err(lacks.into_iter().max().unwrap_or(Lack::Missing)),
        }
    }

    /// Everything in the ledger that answers, whatever its provenance.
    pub(super) fn all(
        &self,
        scale: &str,
        seed: u64,
        model: &str,
        condition: Condition,
        metric: Metric,
    ) -> impl Iterator<Item = &'a Measurement> {
        let all = self.index.get(&(seed, condition, metric)).map_or(&[][..], Vec::as_slice);
        all.iter().copied().filter(move |m| {
            let subject = m.subject();
            subject.scale == scale && subject.model == model
        })
    }

    /// What keeps a measurement from counting.
    pub(super) fn lack(&self, m: &Measurement) -> Option<Lack> {
        let subject = m.subject();
        let Some(context) = self.context else {
            return Some(Lack::NotPromised);
        };
        for &field in Field::PROMISED {
            let Some(expected) = context.promised(&subject.scale, subject.seed, field) else {
                return Some(Lack::NotPromised);
            };
            let got = field.of(m.provenance());
            if got != expected {
                let (expected, got) = (expected.to_owned(), got.to_owned());
                return Some(Lack::Elsewhere { field, expected, got });
            }
        }
        None
    }

    /// Every model, condition and metric that the ledger speaks of at a scale, in order.
    pub fn asked(&self, scale: &str) -> BTreeSet<(&'a str, Condition, Metric)> {
        let all = self.index.values().flatten();
        let here = all.filter(|m| m.subject().scale == scale);
        here.map(|m| (m.subject().model.as_str(), m.subject().condition, m.metric())).collect()
    }
}
