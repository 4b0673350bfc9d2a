//! Finding the evidence for one question. Only evidence that agrees with the manifest counts;
//! what is found does not depend on the order of the ledger's lines.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use crate::evidence::{
    Condition, ExpectedRun, Field, Ledger, Manifest, Measurement, Metric, Provenance, Subject,
};
use crate::scale::SCALES;

/// Trials that are looked at; a manifest of more is a problem of its own.
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
    manifest: Option<&'a Manifest>,
    seeds: Vec<u64>,
    expected: ExpectedRuns<'a>,
    /// By scale, then by model.
    index: HashMap<&'a str, HashMap<&'a str, ModelIndex<'a>>>,
}

/// Why there is no number (ruling R14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing<S> {
    /// Nobody measured it.
    NotMeasured,
    /// The manifest expects nothing of this trial, or two different things.
    #[serde(rename = "not_promised")]
    NotInManifest,
    /// It was measured under other circumstances than expected.
    Elsewhere {
        /// The first field that differs.
        field: Field,
        /// What the manifest says.
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
            Missing::NotInManifest => Missing::NotInManifest,
            Missing::Elsewhere { field, expected, got } => {
                Missing::Elsewhere { field, expected: expected.to_owned(), got: got.to_owned() }
            }
            Missing::Contradictory => Missing::Contradictory,
        }
    }
}

/// What a manifest expects, by scale and trial; where it says two different things, nothing.
type ExpectedRuns<'a> = HashMap<(&'a str, u64), Option<&'a ExpectedRun>>;

fn expected_runs(manifest: Option<&Manifest>) -> ExpectedRuns<'_> {
    let mut all = HashMap::new();
    for run in manifest.into_iter().flat_map(|m| &m.expected) {
        let expected = all.entry((run.scale.as_str(), run.seed)).or_insert(Some(run));
        if *expected != Some(run) {
            *expected = None;
        }
    }
    all
}

/// What keeps something from that source from counting.
fn mismatch<'a>(
    manifest: Option<&'a Manifest>,
    run: Option<&'a ExpectedRun>,
    source: &'a Provenance,
) -> Option<Missing<&'a str>> {
    let (Some(manifest), Some(run)) = (manifest, run) else {
        return Some(Missing::NotInManifest);
    };
    let differs = |&field: &Field| {
        let expected = run.of(field).unwrap_or(&manifest.revision);
        let got = field.of(source);
        (got != expected).then_some(Missing::Elsewhere { field, expected, got })
    };
    let other_material = || {
        let expected = manifest.material.get(&source.probe)?.as_str();
        let (field, got) = (Field::Validation, source.validation.as_str());
        (got != expected).then_some(Missing::Elsewhere { field, expected, got })
    };
    Field::EXPECTED.iter().find_map(differs).or_else(other_material)
}

/// Which number is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Query<'q> {
    /// The scale's label.
    pub scale: &'q str,
    /// The trial.
    pub seed: u64,
    /// The model's name.
    pub model: &'q str,
    /// The state in which the model was questioned.
    pub condition: Condition,
    /// What was measured.
    pub metric: Metric,
}

impl<'a> Evidence<'a> {
    /// The evidence in a ledger.
    pub fn new(ledger: &'a Ledger) -> Self {
        let manifest = ledger.manifest();
        let expected = expected_runs(manifest);
        let mut index: HashMap<&str, HashMap<&str, ModelIndex<'_>>> = HashMap::new();
        for m in ledger.measurements() {
            let s = m.subject();
            let of = index.entry(&s.scale).or_default().entry(&s.model).or_default();
            let measured = of.entry((s.condition, m.metric(), s.seed)).or_default();
            measured.all.push(m);
            let run = expected.get(&(s.scale.as_str(), s.seed)).copied().flatten();
            match mismatch(manifest, run, m.provenance()) {
                None => measured.usable.push(m),
                miss => measured.miss = measured.miss.max(miss),
            }
        }
        let mut seeds = manifest.map(|m| m.seeds.clone()).unwrap_or_default();
        seeds.sort_unstable();
        seeds.dedup();
        seeds.truncate(MOST_TRIALS);
        Evidence { ledger, manifest, seeds, expected, index }
    }

    /// Where it all stands.
    pub fn ledger(&self) -> &'a Ledger {
        self.ledger
    }

    /// The manifest that governs.
    pub fn manifest(&self) -> Option<&'a Manifest> {
        self.manifest
    }

    /// Whether something about that subject from that source is what the manifest expects.
    pub fn counts(&self, subject: &Subject, source: &Provenance) -> bool {
        let run = self.expected.get(&(subject.scale.as_str(), subject.seed)).copied().flatten();
        self.seeds.contains(&subject.seed) && mismatch(self.manifest, run, source).is_none()
    }

    /// The scales of the manifest that there are, each once, in order of size.
    pub fn scales(&self) -> impl Iterator<Item = &'static str> {
        let named = |name: &&str| self.manifest.is_some_and(|m| m.scales.iter().any(|s| s == name));
        SCALES.iter().map(|scale| scale.name).filter(named)
    }

    /// The trials of the manifest, each once, in order.
    pub fn seeds(&self) -> &[u64] {
        &self.seeds
    }

    fn measured(&self, of: Query<'_>) -> Option<&Measured<'a>> {
        self.index.get(of.scale)?.get(of.model)?.get(&(of.condition, of.metric, of.seed))
    }

    /// The one measurement that answers, or why there is none.
    pub fn find(&self, of: Query<'_>) -> Result<&'a Measurement, Missing<&'a str>> {
        let measured = self.measured(of).ok_or(Missing::NotMeasured)?;
        // Ruling R14: what is not finite is evidence, whatever else was measured.
        // Nor does what cannot be become possible by another measurement.
        let wild = measured.usable.iter().filter(|m| !of.metric.can_be(m.value().raw()));
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
        let found = |&seed: &u64| {
            Some((seed, self.find(Query { scale, seed, model, condition, metric }).ok()?.value().raw()))
        };
        self.seeds.iter().filter_map(found).collect()
    }
}
