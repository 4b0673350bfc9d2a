//! Defects of the evidence itself: what is in the ledger is not what was promised.

use libtest_mimic::Failed;
use v5gate::collect::{Candidate, manifest, measure_interleaved};
use v5gate::evidence::{Condition, Line, Measurement, Metric, Subject};

use crate::faulty::{Fault, faulty};
use crate::lab::{Lab, SCALE, context, fail, measurements, relabel};
use crate::table::Case;

fn validation_loss(m: &Measurement) -> bool {
    m.metric() == Metric::ValidationLoss && m.subject().model == "gpt2" && m.subject().seed == 2
}

fn without(lines: &[Line], which: impl Fn(&Measurement) -> bool) -> Vec<Line> {
    lines.iter().filter(|line| !matches!(line, Line::Measurement(m) if which(m))).cloned().collect()
}

pub fn missing_measurement(lab: &Lab) -> Result<Case, Failed> {
    let sound = lab.evidence()?;
    Ok(Case { broken: without(&sound, validation_loss), sound })
}

pub fn missing_trial(lab: &Lab) -> Result<Case, Failed> {
    let sound = lab.evidence()?;
    let third = |m: &Measurement| m.subject().model == "groundthink" && m.subject().seed == 3;
    Ok(Case { broken: without(&sound, third), sound })
}

/// A second answer to a question that was answered, from rounded weights.
pub fn contradiction(lab: &Lab) -> Result<Case, Failed> {
    let sound = lab.evidence()?;
    let mut finished = lab.trained("gpt2", 1)?;
    finished.model = faulty(finished.model.as_ref(), Fault::Worse(1e-6));
    let broken = [sound.clone(), finished.ask("language-modeling")?].concat();
    Ok(Case { sound, broken })
}

/// The code has moved on since the evidence was collected.
pub fn stale(lab: &Lab) -> Result<Case, Failed> {
    let sound = lab.evidence()?;
    let mut promised = context(&sound)?;
    promised.revision = promised.revision.chars().rev().collect();
    promised.number += 1;
    let broken = [sound.clone(), vec![Line::Context(promised)]].concat();
    Ok(Case { sound, broken })
}

/// What was promised is another recipe.
pub fn other_recipe(lab: &Lab) -> Result<Case, Failed> {
    let sound = lab.evidence()?;
    let mut other = lab.protocol().clone();
    other.recipe.max_lr *= 2.0;
    let mut promised =
        manifest(&other, lab.smoke()?.dataset(), None, v5gate::device::current()).map_err(fail)?;
    promised.number = context(&sound)?.number + 1;
    let broken = [sound.clone(), vec![Line::Context(promised)]].concat();
    Ok(Case { sound, broken })
}

/// Ten trials are promised, and the first is handed in ten times with ten orders' names.
pub fn one_seed_ten_times(lab: &Lab) -> Result<Case, Failed> {
    let sound = lab.evidence()?;
    let mut ten = lab.protocol().clone();
    ten.seeds = (1..=10).collect();
    let promised = manifest(&ten, lab.smoke()?.dataset(), None, v5gate::device::current()).map_err(fail)?;
    let mut broken = Vec::new();
    for expected in &promised.expected {
        let first = measurements(&sound).filter(|m| m.subject().seed == 1);
        broken.extend(first.map(|m| {
            relabel(m, |subject, source| {
                subject.seed = expected.seed;
                source.order = expected.order.clone();
            })
        }));
    }
    broken.push(Line::Context(promised));
    Ok(Case { sound, broken })
}

/// GroundThink against itself, and against itself dawdling, measured as `cargo bench` does, but for the
/// number of rounds.
pub fn slower_twin(lab: &Lab) -> Result<Case, Failed> {
    let lines = lab.evidence()?;
    let promised = Line::Context(context(&lines)?);
    let (mut sound, mut broken) = (vec![promised.clone()], vec![promised]);
    for &seed in &lab.protocol().seeds {
        let ours = lab.trained("groundthink", seed)?;
        let slow = faulty(ours.model.as_ref(), Fault::Dawdles);
        let entrant = |name: &str, model| {
            let (name, scale) = (name.to_owned(), SCALE.to_owned());
            let of = Subject { model: name, scale, seed, condition: Condition::Trained };
            Candidate { of, source: &ours.source, model, perplexity: None }
        };
        let mut few = |_: &str, _: usize, round: &mut dyn FnMut()| (0..3).for_each(|_| round());
        let mut against = |twin| {
            measure_interleaved(
                v5gate::device::current(),
                &[entrant("gpt2", ours.model.as_ref()), entrant("groundthink", twin)],
                &mut few,
            )
            .map_err(fail)
        };
        sound.extend(against(ours.model.as_ref())?);
        broken.extend(against(slow.as_ref())?);
    }
    Ok(Case { sound, broken })
}
