//! What was promised: everything that the manifests of one attempt name together. A promise cannot shrink (ruling
//! R24): what one manifest names stays promised when a later one under the same circumstances leaves it out. Under
//! other circumstances it is another attempt, of which every report tells.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::evidence::{ExpectedRun, Field, Ledger, Manifest, Measurement};

/// The manifests of one attempt, and what they name together.
#[derive(Clone, Debug)]
pub struct Promise<'a> {
    /// By number. The last is the latest.
    manifests: Vec<&'a Manifest>,
    /// The scales, those of the latest manifest first.
    pub scales: Vec<&'a str>,
    /// The trials, each once, in order.
    pub seeds: Vec<u64>,
    /// What each trial of each scale is made of.
    pub expected: BTreeSet<&'a ExpectedRun>,
    /// Of each scale the first run: every run of the scale is like it but for trial and order.
    circumstances: BTreeMap<&'a str, &'a ExpectedRun>,
    /// Of each scale and trial the order.
    orders: BTreeMap<(&'a str, u64), &'a str>,
    /// See [`Manifest::material`]; where manifests differ, what the latest says.
    pub material: BTreeMap<&'a str, &'a str>,
}

/// What the latest manifest of an attempt leaves out of what was promised before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shrinkage {
    /// Scales.
    pub scales: Vec<String>,
    /// Trials.
    pub seeds: Vec<u64>,
}

impl<'a> Promise<'a> {
    fn of(manifest: &'a Manifest) -> Self {
        let mut promise = Promise {
            manifests: Vec::new(),
            scales: Vec::new(),
            seeds: Vec::new(),
            expected: BTreeSet::new(),
            circumstances: BTreeMap::new(),
            orders: BTreeMap::new(),
            material: BTreeMap::new(),
        };
        promise.add(manifest);
        promise
    }

    /// The latest manifest.
    pub fn latest(&self) -> &'a Manifest {
        self.manifests[self.manifests.len() - 1]
    }

    /// The protocol's name.
    pub fn protocol(&self) -> &'a str {
        &self.latest().protocol
    }

    /// See [`Manifest::revision`].
    pub fn revision(&self) -> &'a str {
        &self.latest().revision
    }

    /// The numbers of its manifests.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.manifests.iter().map(|m| m.number)
    }

    /// The trials that a manifest of this attempt named, where it named not all.
    pub(super) fn smaller(&self) -> BTreeSet<Vec<u64>> {
        let sorted = |m: &&Manifest| m.seeds.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let all: BTreeSet<Vec<u64>> = self.manifests.iter().map(sorted).collect();
        all.into_iter().filter(|seeds| seeds.len() < self.seeds.len()).collect()
    }

    /// What its latest manifest leaves out.
    pub(super) fn shrinkage(&self) -> Shrinkage {
        let latest = self.latest();
        // Those of the latest manifest come first.
        let named: BTreeSet<u64> = latest.seeds.iter().copied().collect();
        Shrinkage {
            scales: self.scales[latest.scales.len()..].iter().map(|s| (*s).to_owned()).collect(),
            seeds: self.seeds.iter().copied().filter(|seed| !named.contains(seed)).collect(),
        }
    }

    /// In what circumstances this attempt differs from another.
    pub(super) fn differs(&self, other: &Self) -> Vec<Field> {
        let names = |promise: &Self, field: Field| -> BTreeSet<(String, u64, String)> {
            let runs = promise.expected.iter();
            runs.filter_map(|e| Some((e.scale.clone(), e.seed, e.of(field)?.to_owned()))).collect()
        };
        let differ = |field: &Field| match field {
            Field::Revision => self.revision() != other.revision(),
            field => names(self, *field) != names(other, *field),
        };
        Field::EXPECTED.iter().copied().filter(differ).collect()
    }

    /// Whether a manifest promises more, less or the same of what this attempt is about: under one revision, with one
    /// recipe, data set, tokenizer, device and precision at each scale that both name, and one order of each trial.
    fn is_continued_by(&self, manifest: &Manifest) -> bool {
        let latest = self.latest();
        let again = Manifest { number: latest.number, ..manifest.clone() };
        let names = |m: &Manifest| (m.schema, m.protocol.clone(), m.revision.clone());
        let runs = |new: &ExpectedRun| {
            let order = self.orders.get(&(new.scale.as_str(), new.seed));
            self.circumstances.get(new.scale.as_str()).is_none_or(|old| alike(old, new))
                && order.is_none_or(|order| *order == new.order)
        };
        again == *latest || names(latest) == names(manifest) && manifest.expected.iter().all(runs)
    }

    fn add(&mut self, manifest: &'a Manifest) {
        self.manifests.push(manifest);
        let latest: BTreeSet<&str> = manifest.scales.iter().map(String::as_str).collect();
        let before = std::mem::take(&mut self.scales);
        self.scales = manifest.scales.iter().map(String::as_str).collect();
        self.scales.extend(before.into_iter().filter(|scale| !latest.contains(scale)));
        self.seeds.extend(&manifest.seeds);
        self.seeds.sort_unstable();
        self.seeds.dedup();
        for run in &manifest.expected {
            self.circumstances.entry(&run.scale).or_insert(run);
            self.orders.entry((&run.scale, run.seed)).or_insert(&run.order);
        }
        self.expected.extend(&manifest.expected);
        self.material
            .extend(manifest.material.iter().map(|(probe, digest)| (probe.as_str(), digest.as_str())));
    }
}

/// Whether two runs at one scale are the same but for the trial, and for its order, which is the trial's own.
fn alike(old: &ExpectedRun, new: &ExpectedRun) -> bool {
    let shared = [Field::Recipe, Field::Data, Field::Tokenizer, Field::Device, Field::Precision];
    shared.iter().all(|&field| old.of(field) == new.of(field))
}

/// How many measurements belong to no promise that the ledger holds: what was promised of them is not known, nor what
/// became of it.
pub(super) fn unpromised(ledger: &Ledger, promises: &[Promise<'_>]) -> usize {
    let mut known: HashSet<(&str, u64, [Option<&str>; 7])> = HashSet::new();
    for promise in promises {
        known.extend(promise.expected.iter().map(|e| {
            let names = |i: usize| match Field::EXPECTED[i] {
                Field::Revision => Some(promise.revision()),
                field => e.of(field),
            };
            (e.scale.as_str(), e.seed, std::array::from_fn(names))
        }));
    }
    let is_promised = |m: &&Measurement| {
        let of = m.subject();
        let names = std::array::from_fn(|i| Some(Field::EXPECTED[i].of(m.provenance())));
        known.contains(&(of.scale.as_str(), of.seed, names))
    };
    ledger.measurements().filter(|m| !is_promised(m)).count()
}

/// Every attempt, in the order of their latest manifests: the last is the present one. Nothing without a manifest.
pub(super) fn promises(ledger: &Ledger) -> Vec<Promise<'_>> {
    let mut manifests: Vec<&Manifest> = ledger.manifests().collect();
    manifests.sort_by_key(|m| (m.number, *m));
    let mut all: Vec<Promise<'_>> = Vec::new();
    for manifest in manifests {
        let known = all.iter().position(|promise| promise.is_continued_by(manifest));
        let mut promise = match known {
            Some(i) => all.remove(i),
            None => {
                all.push(Promise::of(manifest));
                continue;
            }
        };
        promise.add(manifest);
        all.push(promise);
    }
    all
}
