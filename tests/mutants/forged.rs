//! Forgeries: numbers of a sound ledger replaced by others, as somebody with a text editor would.

use libtest_mimic::Failed;
use v5gate::evidence::{Condition, Line, Measurement, Metric};

use crate::lab::{Lab, relabel};
use crate::table::Case;

/// The evidence with some of its measurements written anew.
fn with(lab: &Lab, forge: impl Fn(&Measurement) -> Option<Line>) -> Result<Case, Failed> {
    let sound = lab.evidence()?;
    let forged = |line: &Line| match line {
        Line::Measurement(m) => forge(m).unwrap_or_else(|| line.clone()),
        other => other.clone(),
    };
    let broken = sound.iter().map(forged).collect();
    Ok(Case { sound, broken })
}

/// The same measurement with another number and another count of items.
fn say(m: &Measurement, value: f64, n: Option<u64>) -> Line {
    let interval = m.interval().map(|ends| ends.map(|end| end.raw()));
    let (subject, source) = (m.subject().clone(), m.provenance().clone());
    Line::Measurement(Measurement::new(subject, m.metric(), value, n, interval, source))
}

fn is(m: &Measurement, model: &str, metric: Metric) -> bool {
    m.subject().condition == Condition::Trained && m.subject().model == model && m.metric() == metric
}

fn scaled(lab: &Lab, model: &str, metric: Metric, by: f64) -> Result<Case, Failed> {
    with(lab, |m| is(m, model, metric).then(|| say(m, m.value().raw() * by, m.n())))
}

pub fn perplexity(lab: &Lab) -> Result<Case, Failed> {
    scaled(lab, "groundthink", Metric::ValidationPerplexity, 0.9)
}

pub fn compute(lab: &Lab) -> Result<Case, Failed> {
    scaled(lab, "gpt2", Metric::Compute6nd, 1.005)
}

pub fn flops(lab: &Lab) -> Result<Case, Failed> {
    scaled(lab, "groundthink", Metric::TrainFlops, 5.0)
}

pub fn hidden_parameters(lab: &Lab) -> Result<Case, Failed> {
    scaled(lab, "groundthink", Metric::NonEmbeddingParameters, 0.99)
}

/// As when held-out text was learnt, or training text asked about.
pub fn held_out_learnt(lab: &Lab) -> Result<Case, Failed> {
    with(lab, |m| is(m, "groundthink", Metric::ValidationLoss).then(|| say(m, m.value().raw() - 0.1, m.n())))
}

pub fn no_items(lab: &Lab) -> Result<Case, Failed> {
    with(lab, |m| is(m, "groundthink", Metric::ValidationLoss).then(|| say(m, m.value().raw(), Some(0))))
}

pub fn fewer_items(lab: &Lab) -> Result<Case, Failed> {
    with(lab, |m| {
        let fewer = m.n().map(|n| n - n / 10);
        is(m, "groundthink", Metric::ValidationLoss).then(|| say(m, m.value().raw(), fewer))
    })
}

/// The first trial's loss in all of them, with a noise that means nothing.
pub fn copies_with_noise(lab: &Lab) -> Result<Case, Failed> {
    with(lab, |m| {
        let noise = 1e-12 * m.subject().seed as f64;
        is(m, "gpt2", Metric::ValidationLoss).then(|| say(m, 0.75 + noise, m.n()))
    })
}

pub fn one_stream(lab: &Lab) -> Result<Case, Failed> {
    with(lab, |m| Some(relabel(m, |_, source| source.consumed = "one".to_owned())))
}

pub fn one_initialisation(lab: &Lab) -> Result<Case, Failed> {
    with(lab, |m| {
        let untrained = m.subject().condition == Condition::Untrained;
        untrained.then(|| relabel(m, |of, source| source.weights = format!("initial {}", of.model)))
    })
}
