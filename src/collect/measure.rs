//! From what a probe read to lines of a ledger, each with its source.
//!
//! Invariant: this is the one place where a `Measurement` is made, so that there is no number without a source.

use std::collections::BTreeMap;

use super::error::CollectError;
use super::item_file::ItemFile;
use crate::evidence::{
    Condition, Curve, CurveKind, Line, MeasuredItems, Measurement, Provenance, Subject, Value,
};
use crate::probes::{Probe, Reading, TrainedModel};
use crate::train::{Run, StepRecord};

/// Where a probe's numbers come from; a benchmark's are measured on its own file.
pub(super) fn source_for(probe: &Probe, source: &Provenance, data_digest: Option<String>) -> Provenance {
    let validation = data_digest.unwrap_or_else(|| source.validation.clone());
    Provenance { probe: probe.id.to_owned(), validation, ..source.clone() }
}

/// What was found out about a trial.
pub struct ProbeAnswers {
    /// For the ledger.
    pub lines: Vec<Line>,
    /// The items behind it.
    pub items: ItemFile,
}

/// Puts one probe's question and stamps the answers with their source.
pub fn question(
    probe: &'static Probe,
    subject: &TrainedModel<'_>,
    model: &str,
    source: &Provenance,
) -> Result<ProbeAnswers, CollectError> {
    let (scale, seed) = (subject.scale.name.to_owned(), subject.seed);
    let failed = CollectError::of(probe, || format!("{model} {scale} seed {seed}"));
    let data_digest = probe.data_digest(&subject.data);
    let (readings, data_digest) =
        probe.ask(subject).and_then(|readings| Ok((readings, data_digest?))).map_err(failed)?;
    let source = source_for(probe, source, data_digest);
    // Observed, not believed: the weights that were asked are those that answer.
    let (trained, untrained) = (subject.model.params().digest()?, subject.untrained.params().digest()?);
    let source = |condition| Provenance {
        weights: match condition {
            Condition::Untrained => untrained.clone(),
            Condition::Uniform
            | Condition::CopyOracle
            | Condition::NamedFirst
            | Condition::NamedLast
            | Condition::NamedMost => "none".to_owned(),
            Condition::Published => "published".to_owned(),
            Condition::Reference => "elsewhere".to_owned(),
            Condition::Trained | Condition::StateReset | Condition::WindowMatched => trained.clone(),
        },
        ..source.clone()
    };
    let of = |condition| Subject { model: model.to_owned(), scale: scale.clone(), seed, condition };
    let items = items_of(&readings);
    Ok(ProbeAnswers { lines: to_lines(&readings, of, source)?, items })
}

/// The items behind readings.
pub(super) fn items_of(readings: &[Reading]) -> ItemFile {
    let of = |r: &Reading| {
        let items = r.items.as_ref()?.as_ref().clone();
        Some(MeasuredItems { metric: r.metric, condition: r.condition, place: r.place, items })
    };
    ItemFile(readings.iter().filter_map(of).collect())
}

/// Readings with whom they are of and where they come from: measurements, and one curve of all those
/// that lie on it.
pub(super) fn to_lines(
    readings: &[Reading],
    of: impl Fn(Condition) -> Subject,
    source: impl Fn(Condition) -> Provenance,
) -> Result<Vec<Line>, CollectError> {
    let digest = items_of(readings).digest().map_err(CollectError::Items)?;
    let mut curves: BTreeMap<(CurveKind, Condition), Vec<(u64, &Reading)>> = BTreeMap::new();
    let mut lines = Vec::new();
    for r in readings {
        match r.place {
            Some((kind, x)) => curves.entry((kind, r.condition)).or_default().push((x, r)),
            None => {
                let (of, source) = (of(r.condition), source(r.condition));
                let measured = Measurement::new(of, r.metric, r.value, r.n, interval(r), source);
                let digest = r.items.as_ref().map(|_| digest.as_str());
                lines.push(Line::Measurement(digest.iter().fold(measured, |m, digest| m.with_items(digest))));
            }
        }
    }
    for ((kind, condition), points) in curves {
        let (x, y) = points.iter().map(|(x, r)| (*x, Value::from(r.value))).unzip();
        let curve = Curve::new(of(condition), kind, x, y, source(condition))?;
        let intervals: Vec<_> =
            points.iter().filter_map(|(_, r)| Some(r.interval?.map(Value::from))).collect();
        let all = intervals.len() == points.len();
        lines.push(Line::Curve(if all { curve.with_intervals(intervals)? } else { curve }));
    }
    Ok(lines)
}

/// A reading with its source.
pub(crate) fn to_measurement(of: Subject, r: Reading, source: Provenance) -> Line {
    let interval = interval(&r);
    Line::Measurement(Measurement::new(of, r.metric, r.value, r.n, interval, source))
}

/// The interval of a reading: of a share it ends where shares end (ruling R25), because a mean over few templates may
/// have one that reaches beyond.
fn interval(r: &Reading) -> Option<[f64; 2]> {
    match r.metric.domain() {
        [0.0, 1.0] => r.interval.map(|ends| ends.map(|end| end.clamp(0.0, 1.0))),
        _ => r.interval,
    }
}

/// Loss and gradient norm of a training, thinned to what a plot shows.
pub(super) fn curves(of: &Subject, run: &Run, source: &Provenance) -> Result<Vec<Line>, CollectError> {
    let source = Provenance { probe: "training".to_owned(), ..source.clone() };
    let one = |kind, value: fn(&StepRecord) -> f64| {
        training_curve(of, kind, run.curve.iter().map(|r| (r.tokens, value(r))), &source)
    };
    Ok(vec![one(CurveKind::TrainingLoss, |r| r.loss)?, one(CurveKind::GradientNorm, |r| r.grad_norm)?])
}

/// A number of every step against tokens, thinned to what a plot shows.
pub(super) fn training_curve(
    of: &Subject,
    kind: CurveKind,
    steps: impl ExactSizeIterator<Item = (u64, f64)>,
    source: &Provenance,
) -> Result<Line, CollectError> {
    const POINTS: usize = 200;
    let thin = steps.len().div_ceil(POINTS).max(1);
    let (x, y) = steps.step_by(thin).map(|(tokens, value)| (tokens, Value::from(value))).unzip();
    Ok(Line::Curve(Curve::new(of.clone(), kind, x, y, source.clone())?))
}
