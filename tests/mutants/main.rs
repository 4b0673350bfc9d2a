//! The gate on trial: defects that it must catch, comparisons of equals in which it must not claim
//! a difference, and known differences that it should find. The figures stand in
//! `out/trial/report.md` and at the end of the output.
//!
//! A defect is planted where it would live, goes through the real trainer, probes and judge, and
//! must turn its criterion red; without the defect the same criterion is green, or it proves
//! nothing. A defect that is not caught fails its trial. Evidence is that of SMOKE (`out/smoke`).

mod compare;
mod differences;
mod equals;
mod faulty;
mod in_carrying;
mod in_evidence;
mod in_models;
mod in_observed;
mod in_training;
mod lab;
mod table;
#[path = "../common/world.rs"]
mod world;

use std::sync::{Mutex, MutexGuard, PoisonError};

use compare::Pool;
use lab::{Lab, on_one_core, status};
use libtest_mimic::{Arguments, Failed, Trial};
use table::{MUTANTS, Mutant};
use v5gate::gate::{CRITERIA, Role, Status};
use v5gate::scale::{SCALES, Scale, Tier};

/// The word for a defect that goes unnoticed as it is known to.
const SURVIVES: &str = "known to survive";

/// What the trials have found out, for the report.
#[derive(Default)]
struct Findings {
    /// Defect by defect: the mutant and what became of it.
    mutants: Mutex<Vec<(&'static Mutant, &'static str)>>,
    /// The other sections.
    sections: Mutex<Vec<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Green without the defect, red with it.
fn catch(lab: &Lab, mutant: &Mutant) -> Result<bool, Failed> {
    let case = on_one_core(|| (mutant.plant)(lab))??;
    let control = status(case.sound, mutant.criterion)?;
    if control != Status::Met {
        return Err(format!("{} is {control:?} without the defect: nothing to see", mutant.criterion).into());
    }
    Ok(status(case.broken, mutant.criterion)? == mutant.expected)
}

fn mutant(lab: &'static Lab, findings: &'static Findings, mutant: &'static Mutant) -> Trial {
    let run = move || {
        let caught = catch(lab, mutant);
        let word = match (&caught, mutant.survives) {
            (Ok(true), None) => "caught",
            (Ok(false), Some(_)) => SURVIVES,
            _ => "NOT CAUGHT",
        };
        lock(&findings.mutants).push((mutant, word));
        match (caught?, mutant.survives) {
            (true, None) | (false, Some(_)) => Ok(()),
            (true, Some(_)) => Err("caught, and listed as one that survives".into()),
            (false, None) => {
                let Mutant { defect, planted, criterion, expected, .. } = mutant;
                Err(format!("{defect} (in {planted}) {criterion} did not become {expected:?}").into())
            }
        }
    };
    Trial::test(format!("mutants::{}", mutant.name), run)
}

type Section = fn(&Pool) -> Result<(String, Vec<String>), Failed>;

fn section(lab: &'static Lab, findings: &'static Findings, name: &str, run: Section) -> Trial {
    let run = move || {
        let (text, wrong) = run(lab.equals()?)?;
        lock(&findings.sections).push(text);
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
    };
    Trial::test(name.to_owned(), run)
}

/// Whether a criterion can change the verdict at a scale of that tier, by itself or within another row.
fn decides(criterion: &str, tier: Tier) -> bool {
    let row = CRITERIA.iter().find(|c| c.id == criterion);
    let decides = |scale: &Scale| {
        matches!(row.and_then(|row| row.role(scale)), Some(Role::Required | Role::Contributing))
    };
    SCALES.iter().filter(|scale| scale.tier == tier).any(decides)
}

/// Everything in words, and the figure that is printed last.
fn report(findings: &Findings) -> (String, String) {
    let mut all = lock(&findings.mutants).clone();
    let place = |m: &Mutant| MUTANTS.iter().position(|other| other.name == m.name);
    all.sort_by_key(|(m, _)| place(m));
    let count = |word: &str| all.iter().filter(|(_, w)| *w == word).count();
    let mut figure = format!("mutants: {} of {} caught", count("caught"), all.len());
    let survivors: Vec<_> = all.iter().filter(|(_, word)| *word == SURVIVES).collect();
    if !survivors.is_empty() {
        figure += &format!(" ({} known to survive)", survivors.len());
    }
    let full = all.iter().filter(|(m, word)| *word == "caught" && decides(m.criterion, Tier::Gate)).count();
    figure += &format!(", {full} by rows that decide in full");
    let mut text = format!("# The gate on trial\n\n## Defects\n\n{figure}\n\n");
    text += "| defect | planted in | criterion | becomes | decides in smoke | in full | |\n";
    text += "|---|---|---|---|---|---|---|\n";
    for (m, word) in &all {
        let [smoke, full] = [Tier::Smoke, Tier::Gate].map(|tier| match decides(m.criterion, tier) {
            true => "yes",
            false => "no",
        });
        text += &format!("| {} | {} | `{}` | {} ", m.defect, m.planted, m.criterion, m.expected.name());
        text += &format!("| {smoke} | {full} | {word} |\n");
    }
    for (m, _) in survivors {
        text += &format!("\n{} survives: {}\n", m.name, m.survives.unwrap_or_default());
    }
    let mut sections = lock(&findings.sections).clone();
    sections.sort_by_key(|section| !section.starts_with("## Equals"));
    sections.iter().for_each(|section| text += &format!("\n{section}"));
    (text, figure)
}

fn main() {
    v5gate::keep_freed_memory();
    let arguments = Arguments::from_args();
    let lab: &'static Lab = match Lab::new() {
        Ok(lab) => Box::leak(Box::new(lab)),
        Err(error) => {
            eprintln!("error: {error}");
            std::process::exit(2);
        }
    };
    let findings: &'static Findings = Box::leak(Box::default());
    let mut trials: Vec<Trial> = MUTANTS.iter().map(|m| mutant(lab, findings, m)).collect();
    trials.push(section(lab, findings, "aa::equals", equals::run));
    trials.push(section(lab, findings, "power::differences", differences::run));
    let whole = arguments.filter.is_none() && arguments.skip.is_empty();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if arguments.list {
        conclusion.exit();
    }
    let (text, figure) = report(findings);
    for section in lock(&findings.sections).iter() {
        println!("{section}");
    }
    // Part of the trials would leave part of a report.
    if whole && let Err(error) = std::fs::write(lab.out.join("report.md"), text) {
        eprintln!("{}: {error}", lab.out.join("report.md").display());
    }
    println!("{figure}");
    conclusion.exit();
}
