//! Curves on record beside those that are made again.

use super::efficiency::TIMES;
use super::reference::REFERENCE;
use crate::evidence::{Condition, Curve, CurveKind, Line};
use crate::referee::Deviation;

/// A curve made again beside those on record.
pub(super) fn beside_curves(again: &Line, told: &[Curve]) -> Option<Deviation> {
    let Line::Curve(again) = again else { return None };
    // Whatever else a curve says of its source: a plot shows all that are of this revision.
    let same_question = |c: &&Curve| {
        let revision = &c.provenance().revision;
        c.subject() == again.subject() && c.kind() == again.kind() && *revision == again.provenance().revision
    };
    let mut recorded = told.iter().filter(same_question).peekable();
    let there = recorded.peek().is_some();
    let what = format!("curve of {}", again.kind().y_axis());
    Some(Deviation::fact(what, there && recorded.all(|c| c == again)))
}

/// The curves that a probe gives beside those on record, and of these the ones that it does not give.
pub(super) fn beside_drawn(probe: &str, again: &[Line], told: &[Curve]) -> Vec<Deviation> {
    let given = again.iter().filter_map(|line| beside_curves(line, told));
    // The training's own are compared whatever is drawn.
    let is_training = |c: &Curve| matches!(c.kind(), CurveKind::TrainingLoss | CurveKind::GradientNorm);
    let is_given = |c: &Curve| {
        is_training(c) || again.iter().any(|line| matches!(line, Line::Curve(a) if a.kind() == c.kind()))
    };
    let of_probe = told.iter().filter(|c| c.provenance().probe == probe && !is_given(c));
    given.chain(of_probe.map(|c| Deviation::fact(drawn_by(c), false))).collect()
}

fn drawn_by(c: &Curve) -> String {
    format!("{} ({}), which nobody draws", c.kind().doc().trim_end_matches('.'), c.subject().condition.name())
}

/// A curve of another state of the model, or from another source, than those of its kind have.
pub(super) fn drawn_by_nobody(c: &Curve) -> Option<Deviation> {
    use CurveKind as K;
    let reference = c.subject().condition == Condition::Reference;
    let source = match c.kind() {
        K::TrainingLoss | K::GradientNorm if reference => Some(REFERENCE),
        K::TrainingLoss | K::GradientNorm => Some("training"),
        _ if reference => None,
        K::LossByPart => Some("language-modeling"),
        K::LossByPosition => Some("long-context"),
        K::PrefillByContext | K::TimeByContext | K::MemoryByContext => Some(TIMES),
    };
    let is_there = [Condition::Reference, Condition::Trained].contains(&c.subject().condition);
    (!is_there || source != Some(c.provenance().probe.as_str())).then(|| Deviation::fact(drawn_by(c), false))
}
