//! Finding the evidence for one question. Only evidence that agrees with what was promised counts;
//! what is found does not depend on the order of the ledger's lines.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::gap::Gap;
use super::promise::{Promise, promises};
use super::question::{Missing, Query};
use super::readings::Readings;
use crate::evidence::{Condition, ExpectedRun, Field, Ledger, Measurement, Metric, Provenance, Subject};
use crate::scale::SCALES;

/// The trials that FULL needs (ruling R7).
pub const FULL_TRIALS: usize = 10;
/// Trials that are looked at; a manifest of more is a problem of its own.
pub const MOST_TRIALS: usize = 1_000;

/// What was measured of one model at one scale, by trial.
type ModelIndex<'a> = HashMap<u64, HashMap<(Condition, Metric), Measured<'a>>>;

/// Everything that answers one question.
#[derive(Debug, Default)]
struct Measured<'a> {
    /// Whatever its provenance.
    all: Vec<&'a Measurement>,
    /// What counts.
    usable: Vec<&'a Measurement>,
    /// Of what counts, the different answers, in an order that the ledger's has no part in.
    answers: Vec<&'a Measurement>,
    /// Of what does not count, the nearest miss: the one whose first wrong field comes last.
    miss: Option<Missing<&'a str>>,
}

impl Measured<'_> {
    /// Finds the different answers among what counts.
    fn tell_apart(&mut self) {
        for m in &self.usable {
            if !self.answers.iter().any(|known| known.agrees(m)) {
                self.answers.push(m);
            }
        }
        let bits = |m: &Measurement| {
            let ends = m.interval().map(|ends| ends.map(|x| x.raw().to_bits()));
            (m.value().raw().to_bits(), m.n(), ends)
        };
        self.answers.sort_by_key(|m| bits(m));
    }
}

/// A ledger, ready to be asked.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    ledger: &'a Ledger,
    promise: Option<Arc<Promise<'a>>>,
    seeds: Vec<u64>,
    expected: Arc<ExpectedRuns<'a>>,
    /// By scale, then by model.
    index: Arc<HashMap<&'a str, HashMap<&'a str, ModelIndex<'a>>>>,
    readings: Readings,
}

/// What was promised, by scale and trial; where it says two different things, nothing.
type ExpectedRuns<'a> = HashMap<(&'a str, u64), Option<&'a ExpectedRun>>;

fn expected_runs<'a>(promise: Option<&Promise<'a>>) -> ExpectedRuns<'a> {
    let mut all = HashMap::new();
    for &run in promise.into_iter().flat_map(|p| &p.expected) {
        let expected = all.entry((run.scale.as_str(), run.seed)).or_insert(Some(run));
        if *expected != Some(run) {
            *expected = None;
        }
    }
    all
}

/// What keeps something from that source from counting.
fn mismatch<'a>(
    promise: Option<&Promise<'a>>,
    run: Option<&'a ExpectedRun>,
    source: &'a Provenance,
) -> Option<Missing<&'a str>> {
    let (Some(promise), Some(run)) = (promise, run) else {
        return Some(Missing::NotInManifest);
    };
    let differs = |&field: &Field| {
        let expected = run.of(field).unwrap_or(promise.revision());
        let got = field.of(source);
        (got != expected).then_some(Missing::Elsewhere { field, expected, got })
    };
    let other_material = || {
        let expected = *promise.material.get(source.probe.as_str())?;
        let (field, got) = (Field::Validation, source.validation.as_str());
        // Empty for what the protocol does not ask: nothing can be measured on it.
        (got != expected || expected.is_empty()).then_some(Missing::Elsewhere { field, expected, got })
    };
    Field::EXPECTED.iter().find_map(differs).or_else(other_material)
}

impl<'a> Evidence<'a> {
    /// The evidence in a ledger, as the present attempt promised it.
    pub fn new(ledger: &'a Ledger) -> Self {
        Self::under(ledger, promises(ledger).pop())
    }

    /// The evidence in a ledger, as an attempt promised it.
    pub(super) fn under(ledger: &'a Ledger, promise: Option<Promise<'a>>) -> Self {
        let expected = expected_runs(promise.as_ref());
        let mut index: HashMap<&str, HashMap<&str, ModelIndex<'_>>> = HashMap::new();
        for m in ledger.measurements() {
            let s = m.subject();
            let of = index.entry(&s.scale).or_default().entry(&s.model).or_default();
            let measured = of.entry(s.seed).or_default().entry((s.condition, m.metric())).or_default();
            measured.all.push(m);
            let run = expected.get(&(s.scale.as_str(), s.seed)).copied().flatten();
            match mismatch(promise.as_ref(), run, m.provenance()) {
                None if m.n() == Some(0) => measured.miss = measured.miss.max(Some(Missing::NoItems)),
                None => measured.usable.push(m),
                miss => measured.miss = measured.miss.max(miss),
            }
        }
        let trials = index.values_mut().flat_map(HashMap::values_mut).flat_map(HashMap::values_mut);
        trials.flat_map(HashMap::values_mut).for_each(Measured::tell_apart);
        let mut seeds = promise.as_ref().map(|p| p.seeds.clone()).unwrap_or_default();
        seeds.truncate(MOST_TRIALS);
        let (expected, index) = (Arc::new(expected), Arc::new(index));
        Evidence {
            ledger,
            promise: promise.map(Arc::new),
            seeds,
            expected,
            index,
            readings: Readings::default(),
        }
    }

    /// The same of these trials alone.
    pub(super) fn of_trials(&self, seeds: Vec<u64>) -> Self {
        Evidence { seeds, readings: Readings::default(), ..self.clone() }
    }

    /// Fewer trials that prove something by themselves when one of all is lacking: those of an earlier manifest of the
    /// same attempt, and those that lack nothing where they are as many as FULL needs.
    pub(super) fn fewer_trials(&self, gaps: &[Gap]) -> BTreeSet<Vec<u64>> {
        let mut all = self.promise().map_or_else(BTreeSet::new, Promise::smaller);
        let lacking: BTreeSet<u64> = gaps.iter().filter_map(Gap::trial).collect();
        let whole: Vec<u64> = self.seeds.iter().copied().filter(|seed| !lacking.contains(seed)).collect();
        if whole.len() >= FULL_TRIALS && whole.len() < self.seeds.len() {
            all.insert(whole);
        }
        all
    }

    /// Where it all stands.
    pub fn ledger(&self) -> &'a Ledger {
        self.ledger
    }

    /// What was promised, if anything.
    pub fn promise(&self) -> Option<&Promise<'a>> {
        self.promise.as_deref()
    }

    /// Whether something about that subject from that source is what the manifest expects.
    pub fn counts(&self, subject: &Subject, source: &Provenance) -> bool {
        let run = self.expected.get(&(subject.scale.as_str(), subject.seed)).copied().flatten();
        self.seeds.contains(&subject.seed) && mismatch(self.promise(), run, source).is_none()
    }

    /// The scales promised that there are, each once, in order of size.
    pub fn scales(&self) -> impl Iterator<Item = &'static str> {
        let named = |name: &&str| self.promise().is_some_and(|p| p.scales.contains(name));
        SCALES.iter().map(|scale| scale.name).filter(named)
    }

    /// The trials promised, each once, in order.
    pub fn seeds(&self) -> &[u64] {
        &self.seeds
    }

    fn measured(&self, of: Query<'_>) -> Option<&Measured<'a>> {
        self.index.get(of.scale)?.get(of.model)?.get(&of.seed)?.get(&(of.condition, of.metric))
    }

    /// Which of contradicting answers is read at present.
    pub(super) fn readings(&self) -> &Readings {
        &self.readings
    }

    /// The measurement that answers, or why there is none. Of several that say otherwise the one that is read at
    /// present: a row is judged under each of them.
    pub fn find(&self, of: Query<'_>) -> Result<&'a Measurement, Missing<&'a str>> {
        let measured = self.measured(of).ok_or(Missing::NotMeasured)?;
        // Ruling R14: what is not finite is evidence, whatever else was measured.
        // Nor does what cannot be become possible by another measurement.
        let wild = measured.usable.iter().filter(|m| !of.metric.can_be(m.value().raw()));
        if let Some(m) = wild.max_by_key(|m| m.value().raw().to_bits()) {
            return Ok(m);
        }
        match measured.answers[..] {
            [] => Err(measured.miss.unwrap_or(Missing::NotMeasured)),
            [only] => Ok(only),
            ref several => {
                let taken = self.readings.take(of, several.len());
                taken.map(|i| several[i]).ok_or(Missing::Contradictory)
            }
        }
    }

    /// Metrics that contradicting measurements say different things of, each with its model, scale and trial.
    pub(super) fn contradictions(&self) -> impl Iterator<Item = &'a Measurement> {
        let trials = self.index.values().flat_map(HashMap::values).flat_map(HashMap::values);
        trials
            .flat_map(HashMap::values)
            .filter(|measured| measured.answers.len() > 1)
            .map(|measured| measured.answers[0])
    }

    /// Everything in the ledger that answers, whatever its provenance.
    pub(super) fn all(&self, of: Query<'_>) -> &[&'a Measurement] {
        self.measured(of).map_or(&[], |m| &m.all)
    }

    /// Of that, what counts.
    pub(super) fn usable(&self, of: Query<'_>) -> &[&'a Measurement] {
        self.measured(of).map_or(&[], |m| &m.usable)
    }

    /// Everything that counts about a model in one trial.
    pub(super) fn trial(
        &self,
        scale: &str,
        seed: u64,
        model: &str,
        conditions: &[Condition],
    ) -> impl Iterator<Item = &'a Measurement> {
        let of = self.index.get(scale).and_then(|models| models.get(model)?.get(&seed));
        let of = of.into_iter().flatten().filter(|((condition, _), _)| conditions.contains(condition));
        of.flat_map(|(_, measured)| &measured.usable).copied()
    }

    /// Every model, condition and metric that the ledger speaks of at a scale, in order.
    pub fn asked(&self, scale: &str) -> BTreeSet<(&'a str, Condition, Metric)> {
        let models = self.index.get(scale).into_iter().flatten();
        let of = models.flat_map(|(&model, answers)| {
            answers
                .values()
                .flat_map(HashMap::keys)
                .map(move |&(condition, metric)| (model, condition, metric))
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
        let found = |&seed: &u64| {
            Some((seed, self.find(Query { scale, seed, model, condition, metric }).ok()?.value().raw()))
        };
        self.seeds.iter().filter_map(found).collect()
    }
}
