//! What the manifest of a ledger must name before the ledger may pass: the protocol, its recipes and its trials
//! (rulings R7 and R12), one manifest and all of it.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::evidence_index::{Evidence, FULL_TRIALS, MOST_TRIALS};
use super::promise::{Promise, Shrinkage, unpromised};
use crate::evidence::{
    Curve, CurveKind, Field, Ledger, Manifest, Measurement, Metric, PROGRAM_REVISION, SCHEMA, Subject,
};
use crate::scale::SCALES;

/// The only protocol that may pass: rulings R7 and R12 say what it takes.
pub const FULL: &str = "full";
/// The trials that a comparison of any other protocol needs: fewer have no interval worth the name.
const FEWEST_TRIALS: usize = 3;
/// The first of FULL's seeds, which follow one another: that of the plan (ruling R25).
pub const FULL_SEED: u64 = 42;

/// The recipe of FULL at each scale (ruling R12), as evidence calls it: a protocol of the same name with
/// other hyper-parameters is another one. A test holds these against the built-in protocol.
const FULL_RECIPES: [(&str, &str); 4] = [
    ("3.5M", "2bec427bed8f50119d030345c769d7bbb8feb72caaf907ec65c010fdcbadf412"),
    ("8M", "e713443fabf5747f39f105dd57419c1ae5740499d8604a6a44abd4367f897014"),
    ("30M", "e0a1f754247537b45cb8825c1a1fcda2261a994ceb83e59caa21d6049c2cd8d5"),
    ("125M", "bacfa4df09989b633793c11824dc19f8e84de657b3375c3ed7c2ecbc2005cfd2"),
];

/// Of a kind of problem, those that are named one by one.
const MOST_NAMED: usize = 10;

/// What keeps a ledger from passing before any criterion is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A line that is not understood, in the reader's words.
    Fault(String),
    /// So many more such lines.
    MoreFaults(usize),
    /// A line that does not follow from the one before it, in the reader's words.
    Broken(String),
    /// So many more such lines.
    MoreBroken(usize),
    /// Nothing says what was to be collected.
    NoManifest,
    /// Two different manifests have this number.
    TwoManifests(u64),
    /// The manifest has another schema.
    OtherSchema(u32),
    /// The manifest is of another protocol than the only one that can pass.
    OtherProtocol(String),
    /// The manifest names a scale that there is not.
    UnknownScale(String),
    /// The manifest names several where it must name one.
    Several {
        /// Of what.
        field: Field,
        /// At which scale, where it is about one.
        scale: Option<&'static str>,
        /// How many.
        count: usize,
    },
    /// The recipe that the manifest names at this scale is not FULL's.
    OtherRecipe(&'static str),
    /// The manifest names more trials than are looked at.
    TooManyTrials(usize),
    /// The manifest names fewer trials than FULL needs.
    TooFewTrials(usize),
    /// The manifest names a trial that FULL does not have.
    OtherTrial(u64),
    /// Trials that were measured by the recipes of the manifest and that it does not name.
    LeftOut(Vec<u64>),
    /// What an earlier manifest of this attempt promised and the latest does not (ruling R24).
    Shrunk(Shrinkage),
    /// Questions that the ledger answers in several ways, beside those about times and memory (ruling R24).
    Contradictions(usize),
    /// Curves, beside those of times and memory, that the ledger has in several forms (ruling R24).
    ContradictingCurves(usize),
    /// Measurements that no promise in the ledger speaks of.
    Unpromised(usize),
    /// More earlier attempts than are judged.
    TooManyAttempts(usize),
    /// So many trials have no run beside the ledger, so that nobody can audit them (ruling R23).
    Unaudited(usize),
    /// The program that judges is not of the evidence's revision.
    OtherProgram,
}

/// Earlier attempts that are judged, so that every report can tell of them; a ledger of more cannot pass.
pub const MOST_ATTEMPTS: usize = 32;

/// How many trials a comparison over trials needs (ruling R7).
pub(super) fn least_trials(evidence: &Evidence<'_>) -> usize {
    match evidence.promise() {
        Some(promise) if promise.protocol() == FULL => FULL_TRIALS,
        _ => FEWEST_TRIALS,
    }
}

/// What keeps a ledger from passing before any criterion is asked.
pub(super) fn problems(evidence: &Evidence<'_>, attempts: &[Promise<'_>]) -> Vec<Problem> {
    let ledger = evidence.ledger();
    let mut problems: Vec<Problem> =
        ledger.faults().iter().take(MOST_NAMED).cloned().map(Problem::Fault).collect();
    if ledger.faults().len() > MOST_NAMED {
        problems.push(Problem::MoreFaults(ledger.faults().len() - MOST_NAMED));
    }
    let breaks = ledger.breaks();
    let named = breaks.first.iter().take(MOST_NAMED);
    problems.extend(named.clone().cloned().map(Problem::Broken));
    if breaks.count > named.len() {
        problems.push(Problem::MoreBroken(breaks.count - named.len()));
    }
    let Some(manifest) = ledger.manifest() else {
        problems.push(Problem::NoManifest);
        return problems;
    };
    if ledger.manifests().any(|m| m.number == manifest.number && m != manifest) {
        problems.push(Problem::TwoManifests(manifest.number));
    }
    manifest_problems(manifest, &mut problems);
    problems.extend(left_out(ledger, manifest));
    problems.extend(of_attempts(evidence, attempts));
    problems
}

/// What keeps a ledger from passing because of what was promised before, or measured otherwise (ruling R24).
fn of_attempts(evidence: &Evidence<'_>, attempts: &[Promise<'_>]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Some(present) = attempts.last() else { return problems };
    let gone = present.shrinkage();
    if gone != Shrinkage::default() {
        problems.push(Problem::Shrunk(gone));
    }
    let contradictions = evidence.contradictions().filter(|m| !varies(m.metric())).count();
    if contradictions > 0 {
        problems.push(Problem::Contradictions(contradictions));
    }
    let curves = contradicting_curves(evidence);
    if curves > 0 {
        problems.push(Problem::ContradictingCurves(curves));
    }
    let unpromised = unpromised(evidence.ledger(), attempts);
    if unpromised > 0 {
        problems.push(Problem::Unpromised(unpromised));
    }
    if attempts.len() > MOST_ATTEMPTS + 1 {
        problems.push(Problem::TooManyAttempts(attempts.len() - 1));
    }
    if present.protocol() == FULL && present.revision() != PROGRAM_REVISION {
        problems.push(Problem::OtherProgram);
    }
    problems
}

/// Whether a number may honestly differ when it is measured again: a time, an amount of memory, what is made of
/// these, or what an audit finds, which draws anew each time; the worst counts all the same (ruling R24).
fn varies(metric: Metric) -> bool {
    let derived = [Metric::TimeExponent, Metric::CostTimeGrowth, Metric::CostMemoryGrowth];
    let memory = [Metric::PeakBytes, Metric::TrainPeakBytes];
    let audited = metric.id().starts_with("audit_");
    metric.is_time() || derived.contains(&metric) || memory.contains(&metric) || audited
}

/// Curves that count and that others of the same trial contradict: each shows in no plot.
fn contradicting_curves(evidence: &Evidence<'_>) -> usize {
    let mut known: HashMap<(&Subject, CurveKind), (&Curve, bool)> = HashMap::new();
    for curve in evidence.ledger().curves().filter(|curve| !curve.kind().is_cost()) {
        if evidence.counts(curve.subject(), curve.provenance()) {
            let (first, agree) = known.entry((curve.subject(), curve.kind())).or_insert((curve, true));
            *agree &= first.agrees(curve);
        }
    }
    known.values().filter(|(_, agree)| !agree).count()
}

/// Trials that were measured by the recipes of the manifest and that it does not name: whoever
/// chooses trials after seeing them chooses the result.
fn left_out(ledger: &Ledger, manifest: &Manifest) -> Option<Problem> {
    let trials: HashSet<u64> = manifest.seeds.iter().copied().collect();
    let recipes: HashSet<(&str, &str)> =
        manifest.expected.iter().map(|e| (e.scale.as_str(), e.recipe.as_str())).collect();
    let by_manifest = |m: &&Measurement| {
        let of = (m.subject().scale.as_str(), m.provenance().recipe.as_str());
        m.provenance().revision == manifest.revision && recipes.contains(&of)
    };
    let seeds: BTreeSet<u64> = ledger
        .measurements()
        .filter(|m| !trials.contains(&m.subject().seed))
        .filter(by_manifest)
        .map(|m| m.subject().seed)
        .collect();
    (!seeds.is_empty()).then(|| Problem::LeftOut(seeds.into_iter().take(MOST_NAMED).collect()))
}

fn manifest_problems(manifest: &Manifest, problems: &mut Vec<Problem>) {
    if manifest.schema != SCHEMA {
        problems.push(Problem::OtherSchema(manifest.schema));
    }
    if manifest.protocol != FULL {
        problems.push(Problem::OtherProtocol(manifest.protocol.clone()));
    }
    let unknown = |name: &&String| crate::scale::find(name).is_none();
    let unknown: BTreeSet<&String> = manifest.scales.iter().filter(unknown).collect();
    problems.extend(unknown.into_iter().take(MOST_NAMED).cloned().map(Problem::UnknownScale));
    for field in [Field::Data, Field::Tokenizer, Field::Device, Field::Precision] {
        let all: BTreeSet<_> = manifest.expected.iter().map(|e| e.of(field)).collect();
        if all.len() > 1 {
            problems.push(Problem::Several { field, scale: None, count: all.len() });
        }
    }
    for scale in SCALES.iter().map(|scale| scale.name) {
        let here = manifest.expected.iter().filter(|e| e.scale == scale);
        let recipes: BTreeSet<&str> = here.map(|e| e.recipe.as_str()).collect();
        if recipes.len() > 1 {
            problems.push(Problem::Several {
                field: Field::Recipe,
                scale: Some(scale),
                count: recipes.len(),
            });
        }
        let is_full = |recipe: &&str| FULL_RECIPES.contains(&(scale, *recipe));
        if manifest.protocol == FULL && !recipes.iter().all(is_full) {
            problems.push(Problem::OtherRecipe(scale));
        }
    }
    let seeds = manifest.seeds.iter().collect::<HashSet<_>>().len();
    if seeds > MOST_TRIALS {
        problems.push(Problem::TooManyTrials(seeds));
    }
    if manifest.protocol == FULL && seeds < FULL_TRIALS {
        problems.push(Problem::TooFewTrials(seeds));
    }
    // Whoever may choose seeds may choose, among many, those that came out well.
    let all = FULL_SEED..FULL_SEED + seeds as u64;
    let other = manifest.seeds.iter().find(|seed| !all.contains(seed));
    problems.extend(other.filter(|_| manifest.protocol == FULL).copied().map(Problem::OtherTrial));
}
