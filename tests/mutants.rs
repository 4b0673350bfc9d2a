//! The gate on trial: defects that it must catch, comparisons of equals in which it must not claim
//! a difference, and known differences that it should find. The figures stand in
//! `out/trial/report.md` and at the end of the output.
//!
//! A defect is planted where it would live, goes through the real trainer, probes and judge, and
//! must turn its criterion red; without the defect the same criterion is green, or it proves
//! nothing. A defect that is not caught fails its trial. Evidence is that of SMOKE (`out/smoke`).

#[path = "mutants/faulty.rs"]
mod faulty;
#[path = "mutants/in_evidence.rs"]
mod in_evidence;
#[path = "mutants/in_models.rs"]
mod in_models;
#[path = "mutants/in_training.rs"]
mod in_training;
#[path = "mutants/lab.rs"]
mod lab;
#[path = "mutants/table.rs"]
mod table;
#[path = "common/world.rs"]
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};

use lab::{Lab, on_one_core, status};
use libtest_mimic::{Arguments, Failed, Trial};
use table::{MUTANTS, Mutant};
use v5gate::gate::Status;

/// Defects that were planted, that were caught, and that are known to survive.
#[derive(Default)]
struct Count {
    planted: AtomicUsize,
    caught: AtomicUsize,
    survived: AtomicUsize,
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

fn trial(lab: &'static Lab, count: &'static Count, mutant: &'static Mutant) -> Trial {
    let run = move || {
        count.planted.fetch_add(1, Ordering::Relaxed);
        match (catch(lab, mutant)?, mutant.survives) {
            (true, None) => {
                count.caught.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            (false, Some(_)) => {
                count.survived.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            (true, Some(_)) => Err("caught, and listed as one that survives".into()),
            (false, None) => {
                let Mutant { defect, planted, criterion, expected, .. } = mutant;
                Err(format!("{defect} (in {planted}) {criterion} did not become {expected:?}").into())
            }
        }
    };
    Trial::test(format!("mutants::{}", mutant.name), run)
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
    let count: &'static Count = Box::leak(Box::default());
    let trials = MUTANTS.iter().map(|mutant| trial(lab, count, mutant)).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !arguments.list {
        let [planted, caught, survived] =
            [&count.planted, &count.caught, &count.survived].map(|n| n.load(Ordering::Relaxed));
        let known = if survived > 0 { format!(", {survived} known to survive") } else { String::new() };
        println!("mutants: {caught} of {planted} caught{known}");
    }
    conclusion.exit();
}
