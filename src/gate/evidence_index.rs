//! Finding the evidence for one question. Only evidence that keeps the context's promise counts;
//! what is found does not depend on the order of the ledger's lines.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use crate::evidence::{
    Condition, Context, Expected, Field, Ledger, Measurement, Metric, Provenance, Subject,
};
use crate::scale::SCALES;

/// Trials that are looked at; a promise of more is a problem of its own.
pub const MOST_TRIALS: usize = 1_000;

/// What was measured of one model at one scale.
type ModelIndex<'a> = HashMap<(Condition, Metric, u64), Measured<'a>>;

/// Everything that answers one question.
#[derive(Debug, Default)]
struct Measured<'a> {
    /// Whatever its provenance.
    all: Vec<&'a Measurement>,
    /// What counts.
    usable: Vec<&'a Measurement>,
    /// Of what does not count, the nearest miss: the one whose first wrong field comes last.
    miss: Option<Missing<&'a str>>,
}

/// A ledger, ready to be asked.
#[derive(Debug)]
pub struct Evidence<'a> {
    ledger: &'a Ledger,
    context: Option<&'a Context>,
    seeds: Vec<u64>,
    promises: Promises<'a>,
    /// By scale, then by model.
    index: HashMap<&'a str, HashMap<&'a str, ModelIndex<'a>>>,
}

/// Why there is no number (ruling R14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing<S> {
    /// Nobody measured it.
    NotMeasured,
    /// The context promises nothing for this trial, or two different things.
    NotPromised,
    /// It was measured under other circumstances than promised.
    Elsewhere {
        /// The first field that differs.
        field: Field,
        /// What was promised.
        expected: S,
        /// What the evidence says.
        got: S,
    },
    /// It was measured more than once, with different results.
    Contradictory,
}

impl Missing<&str> {
    /// The same without the ledger.
    pub fn owned(self) -> Missing<String> {
        match self {
            Missing::NotMeasured => Missing::NotMeasured,
            Missing::NotPromised => Missing::NotPromised,
            Missing::Elsewhere { field, expected, got } => {
                Missing::Elsewhere { field, expected: expected.to_owned(), got: got.to_owned() }
            }
            Missing::Contradictory => Missing::Contradictory,
        }
    }
}

/// The promises of a context, by scale and trial; two different promises are none.
type Promises<'a> = HashMap<(&'a str, u64), Option<&'a Expected>>;

fn promises(context: Option<&Context>) -> Promises<'_> {
    let mut promises = HashMap::new();
    for e in context.into_iter().flat_map(|c| &c.expected) {
        let promise = promises.entry((e.scale.as_str(), e.seed)).or_insert(Some(e));
        if *promise != Some(e) {
            *promise = None;
        }
    }
    promises
}

/// What keeps something from that source from counting.
fn mismatch<'a>(
    context: Option<&'a Context>,
    promise: Option<&'a Expected>,
    source: &'a Provenance,
) -> Option<Missing<&'a str>> {
    let (Some(context), Some(promise)) = (context, promise) else {
        return Some(Missing::NotPromised);
    };
    let differs = |&field: &Field| {
        let expected = promise.promised(field).unwrap_or(&context.revision);
        let got = field.of(source);
        (got != expected).then_some(Missing::Elsewhere { field, expected, got })
    };
    let other_material = || {
        let expected = context.material.get(&source.probe)?.as_str();
        let (field, got) = (Field::Validation, source.validation.as_str());
        (got != expected).then_some(Missing::Elsewhere { field, expected, got })
    };
    Field::PROMISED.iter().find_map(differs).or_else(other_material)
}

impl<'a> Evidence<'a> {
    /// The evidence in a ledger.
    pub fn new(ledger: &'a Ledger) -> Self {
        let context = ledger.context();
        let promises = promises(context);
        let mut index: HashMap<&str, HashMap<&str, ModelIndex<'_>>> = HashMap::new();
        for m in ledger.measurements() {
            let s = m.subject();
            let of = index.entry(&s.scale).or_default().entry(&s.model).or_default();
            let measured = of.entry((s.condition, m.metric(), s.seed)).or_default();
            measured.all.push(m);
            let promise = promises.get(&(s.scale.as_str(), s.seed)).copied().flatten();
            match mismatch(context, promise, m.provenance()) {
                None => measured.usable.push(m),
                miss => measured.miss = measured.miss.max(miss),
            }
        }
        let mut seeds = context.map(|c| c.seeds.clone()).unwrap_or_default();
        seeds.sort_unstable();
        seeds.dedup();
        seeds.truncate(MOST_TRIALS);
        Evidence { ledger, context, seeds, promises, index }
    }

    /// Where it all stands.
    pub fn ledger(&self) -> &'a Ledger {
        self.ledger
    }

    /// The promise that governs.
    pub fn context(&self) -> Option<&'a Context> {
        self.context
    }

    /// Whether something about that subject from that source is what was promised.
    pub fn counts(&self, subject: &Subject, source: &Provenance) -> bool {
        let promise = self.promises.get(&(subject.scale.as_str(), subject.seed)).copied().flatten();
        self.seeds.contains(&subject.seed) && mismatch(self.context, promise, source).is_none()
    }

    /// The promised scales that there are, each once, in order of size.
    pub fn scales(&self) -> impl Iterator<Item = &'static str> {
        let promised = |name: &&str| self.context.is_some_and(|c| c.scales.iter().any(|s| s == name));
        SCALES.iter().map(|scale| scale.name).filter(promised)
    }

    /// The promised trials, each once, in order.
    pub fn seeds(&self) -> &[u64] {
        &self.seeds
    }

    fn measured(
        &self,
        scale: &str,
        seed: u64,
        model: &str,
        condition: Condition,
        metric: Metric,
    ) -> Option<&Measured<'a>> {
        self.index.get(scale)?.get(model)?.get(&(condition, metric, seed))
    }

    /// The one measurement that answers, or why there is none.
    pub fn find(
        &self,
        scale: &str,
        seed: u64,
        model: &str,
        condition: Condition,
        metric: Metric,
    ) -> Result<&'a Measurement, Missing<&'a str>> {
        let measured = self.measured(scale, seed, model, condition, metric).ok_or(Missing::NotMeasured)?;
        // Ruling R14: what is not finite is evidence, whatever else was measured.
        // Nor does what cannot be become possible by another measurement.
        let wild = measured.usable.iter().filter(|m| !metric.can_be(m.value().raw()));
        if let Some(m) = wild.max_by_key(|m| m.value().raw().to_bits()) {
            return Ok(m);
        }
        match measured.usable.split_first() {
            Some((first, rest)) if rest.iter().all(|m| m.agrees(first)) => Ok(first),
            Some(_) => Err(Missing::Contradictory),
            None => Err(measured.miss.unwrap_or(Missing::NotMeasured)),
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
    ) -> &[&'a Measurement] {
        self.measured(scale, seed, model, condition, metric).map_or(&[], |m| &m.all)
    }

    /// Of that, what counts.
    pub(super) fn usable(
        &self,
        scale: &str,
        seed: u64,
        model: &str,
        condition: Condition,
        metric: Metric,
    ) -> &[&'a Measurement] {
        self.measured(scale, seed, model, condition, metric).map_or(&[], |m| &m.usable)
    }

    /// Everything that counts about a model in one trial.
    pub(super) fn trial(
        &self,
        scale: &str,
        seed: u64,
        model: &str,
        conditions: &[Condition],
    ) -> impl Iterator<Item = &'a Measurement> {
        let of = self.index.get(scale).and_then(|models| models.get(model));
        let of = of.into_iter().flatten().filter(move |((c, _, s), _)| *s == seed && conditions.contains(c));
        of.flat_map(|(_, measured)| &measured.usable).copied()
    }

    /// Every model, condition and metric that the ledger speaks of at a scale, in order.
    pub fn asked(&self, scale: &str) -> BTreeSet<(&'a str, Condition, Metric)> {
        let models = self.index.get(scale).into_iter().flatten();
        let of = models.flat_map(|(&model, answers)| {
            answers.keys().map(move |&(condition, metric, _)| (model, condition, metric))
        });
        of.collect()
    }

    /// Per trial, the value of a metric; what is lacking is left out.
    pub fn values(
        &self,
        scale: &str,
        model: &str,
        condition: Condition,
        metric: Metric,
    ) -> BTreeMap<u64, f64> {
        let found =
            |&seed: &u64| Some((seed, self.find(scale, seed, model, condition, metric).ok()?.value().raw()));
        self.seeds.iter().filter_map(found).collect()
    }
}
