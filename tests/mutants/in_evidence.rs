//! Defects of the evidence itself: what is in the ledger is not what the manifest says.

use libtest_mimic::Failed;
use v5gate::collect::{Candidate, manifest, measure_interleaved};
use v5gate::evidence::{Condition, Line, Measurement, Metric, Subject};

use crate::faulty::{Fault, faulty};
use crate::lab::{Lab, SCALE, fail, governing_manifest, measurements, relabel};
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

/// A second answer to a question that was answered: five nats worse, which makes it worse than counting.
pub fn contradiction(lab: &Lab) -> Result<Case, Failed> {
    let sound = lab.evidence()?;
    let mut finished = lab.trained("gpt2", 1)?;
    finished.model = faulty(finished.model.as_ref(), Fault::Worse(5.0));
    let broken = [sound.clone(), finished.ask("language-modeling")?].concat();
    Ok(Case { sound, broken })
}

/// The code has moved on since the evidence was collected.
pub fn stale(lab: &Lab) -> Result<Case, Failed> {
    let sound = lab.evidence()?;
    let mut governing = governing_manifest(&sound)?;
    governing.revision = governing.revision.chars().rev().collect();
    governing.number += 1;
    let broken = [sound.clone(), vec![Line::Manifest(governing)]].concat();
    Ok(Case { sound, broken })
}

/// The manifest names another recipe.
pub fn other_recipe(lab: &Lab) -> Result<Case, Failed> {
    let sound = lab.evidence()?;
    let mut other = lab.protocol().clone();
    other.recipe.max_lr *= 2.0;
    let mut governing =
        manifest(&other, lab.smoke()?.dataset(), None, v5gate::device::current()).map_err(fail)?;
    governing.number = governing_manifest(&sound)?.number + 1;
    let broken = [sound.clone(), vec![Line::Manifest(governing)]].concat();
    Ok(Case { sound, broken })
}

/// The manifest names ten trials, and the first is handed in ten times with ten orders' names.
pub fn one_seed_ten_times(lab: &Lab) -> Result<Case, Failed> {
    let sound = lab.evidence()?;
    let mut ten = lab.protocol().clone();
    ten.seeds = (1..=10).collect();
    let governing = manifest(&ten, lab.smoke()?.dataset(), None, v5gate::device::current()).map_err(fail)?;
    let mut broken = Vec::new();
    for expected in &governing.expected {
        let first = measurements(&sound).filter(|m| m.subject().seed == 1);
        broken.extend(first.map(|m| {
            relabel(m, |subject, source| {
                subject.seed = expected.seed;
                source.order = expected.order.clone();
            })
        }));
    }
    broken.push(Line::Manifest(governing));
    Ok(Case { sound, broken })
}

/// GroundThink against itself, and against itself dawdling, measured as `cargo bench` does, but for the
/// number of rounds.
pub fn slower_twin(lab: &Lab) -> Result<Case, Failed> {
    let lines = lab.evidence()?;
    let governing = Line::Manifest(governing_manifest(&lines)?);
    let (mut sound, mut broken) = (vec![governing.clone()], vec![governing]);
    for &seed in &lab.protocol().seeds {
        let sound_run = lab.trained("groundthink", seed)?;
        let slow = faulty(sound_run.model.as_ref(), Fault::Dawdles);
        let entrant = |name: &str, model| {
            let (name, scale) = (name.to_owned(), SCALE.to_owned());
            let of = Subject { model: name, scale, seed, condition: Condition::Trained };
            Candidate { of, source: &sound_run.source, model, perplexity: None }
        };
        let mut few = |_: &str, _: usize, round: &mut dyn FnMut()| (0..3).for_each(|_| round());
        let mut against = |twin| {
            let entrants = [entrant("gpt2", sound_run.model.as_ref()), entrant("groundthink", twin)];
            let measured = measure_interleaved(v5gate::device::current(), &entrants, &mut few);
            Ok::<_, Failed>(measured.map_err(fail)?.into_iter().flat_map(|answers| answers.lines))
        };
        sound.extend(against(sound_run.model.as_ref())?);
        broken.extend(against(slow.as_ref())?);
    }
    Ok(Case { sound, broken })
}
