//! The audit of a training: its initial weights, steps from the states that it kept, and its end, compared with its
//! own record.
//!
//! # Tolerances
//!
//! The program makes a step in float32. The referee makes it twice, in float64 and in float32, and the distance of the
//! two is the size of what rounding does to that quantity: e = ‖x₃₂ − x₆₄‖, for a mean loss the mean of its tokens'
//! distances, so that no distance is small by chance. The program's order of summation is another one, whose rounding
//! is as large in another direction; its exponentials err by up to twice as much as the standard library's. [`SPREAD`]
//! times e leaves room for both, and four units in the last place of the quantity are added for its last rounding.
//! Numbers that are few are looked at together with the others of their block, because the rounding of a single one
//! may be small by chance. So may that of a large tensor's moment in which few numbers weigh most, as after a token of
//! large gradient: relative to its size no tensor's rounding is taken for less than the median of all tensors'. Weights are held against what the *saved* moments make of them, number by number, which
//! needs no such estimate: dividing by the root of a second moment would enlarge the rounding of a gradient that is
//! zero but for rounding.

use std::collections::BTreeMap;
use std::fs;

use sha2::{Digest, Sha256};

use super::adamw::{Moments, beside_motion};
use super::design::Design;
use super::deviation::{Deviation, LAST_PLACES, SPREAD, usual_share};
use super::error::{RefereeError, Result};
use super::fault::Fault;
use super::initial::draw;
use super::number::{Brief, Number};
use super::record::{RunFiles, RunReading, StepReading, group_of, moments_of, state, state_folder};
use super::replay::{Plan, Remade, norm};
use super::tensors::{TensorSet, read_document, read_tensors};
use super::windows::{mixed, window_by_window};
use crate::files::hex;

/// Steps made in a row from the state that is drawn.
const CHAIN: u64 = 8;
/// Windows of a step that are made again where the whole is too large.
const WINDOWS: usize = 2;

/// What was found out about a training.
#[derive(Debug, Default)]
pub struct TrainingAudit {
    /// Initial weights beside those of the seed.
    pub initial: Vec<Deviation>,
    /// Steps beside the record.
    pub steps: Vec<Deviation>,
    /// What was looked at, in words.
    pub covered: Vec<String>,
    /// What was not, and why.
    pub not_covered: Vec<String>,
}

/// Audits a training. `tell` is told what is looked at next.
pub fn audit_training(
    files: &RunFiles<'_>,
    fault: Option<Fault>,
    tell: &dyn Fn(&str),
) -> Result<TrainingAudit> {
    let last = files.folder.join("final");
    let design = Design::read(&last)?;
    let run: RunReading = read_document(&files.folder.join("run.json"))?;
    let plan = Plan { design, recipe: files.recipe, text: files.text, order: files.order, fault };
    let mut audit = TrainingAudit::default();
    tell("initial weights");
    audit.initial = initial(files, &plan)?;
    audit.covered.push("initial weights: every number drawn again from the seed".to_owned());
    let weights = read_tensors(&last.join("model.safetensors"))?;
    plan.design.check(&weights, &last)?;
    audit.steps.extend(end(files, &plan, &run, &weights)?);
    let size: usize = weights.values().map(|t| t.data.len()).sum();
    let tokens = plan.recipe.batch_size * plan.recipe.context_length;
    let work = 3.0 * size as f64 * tokens as f64;
    let starts = starts(files, &run)?;
    let number = number_of(files)?;
    if work > files.largest {
        return by_windows(files, &plan, &run, (&starts, number), audit, tell);
    }
    let drawn = drawn(number, &starts, run.curve.len() as u64);
    for &start in &starts {
        let chain = if start == drawn { CHAIN.min(run.curve.len() as u64 - start) } else { 1 };
        tell(&format!("step {}", start + 1));
        audit.steps.extend(match files.brief {
            true => chained::<Brief>(files, &plan, &run, (start, chain))?,
            false => chained::<f32>(files, &plan, &run, (start, chain))?,
        });
    }
    let names: Vec<String> = starts.iter().map(|s| (s + 1).to_string()).collect();
    let in_a_row = CHAIN.min(run.curve.len() as u64 - drawn);
    audit.covered.push(format!(
        "steps {} of {}, and {in_a_row} in a row from step {}",
        names.join(", "),
        run.curve.len(),
        drawn + 1
    ));
    Ok(audit)
}

/// The steps before which, and after which, the state was kept.
fn starts(files: &RunFiles<'_>, run: &RunReading) -> Result<Vec<u64>> {
    let made = run.curve.len() as u64;
    let entries = fs::read_dir(files.folder).map_err(|e| RefereeError::file(files.folder, "a run", e))?;
    let number = |name: String| name.strip_prefix("audit-")?.parse::<u64>().ok();
    let mut kept: Vec<u64> =
        entries.flatten().filter_map(|e| number(e.file_name().to_string_lossy().into_owned())).collect();
    kept.sort_unstable();
    let starts: Vec<u64> = kept.iter().copied().filter(|n| *n < made && kept.contains(&(n + 1))).collect();
    let needed = if run.ending == "completed" { vec![0, made.saturating_sub(1)] } else { Vec::new() };
    match needed.iter().find(|n| !starts.contains(n)) {
        Some(n) => {
            let path = state_folder(files, *n);
            Err(RefereeError::file(&path, "the state before a step, and the one after it beside it", "none"))
        }
        None => Ok(starts),
    }
}

/// A number that follows from the digest of the final weights and the record.
fn number_of(files: &RunFiles<'_>) -> Result<u64> {
    let mut hash = Sha256::new();
    for path in [files.folder.join("final/model.safetensors"), files.folder.join("run.json")] {
        hash.update(fs::read(&path).map_err(|e| RefereeError::file(&path, "a file", e))?);
    }
    Ok(hash.finalize().iter().take(7).fold(0, |n, byte| n << 8 | u64::from(*byte)))
}

/// The start from which [`CHAIN`] steps are made: one behind which there are as many, or the first.
fn drawn(number: u64, starts: &[u64], made: u64) -> u64 {
    let choice: Vec<u64> = starts.iter().copied().filter(|start| start + CHAIN <= made).collect();
    let place = number % choice.len().max(1) as u64;
    choice.get(place as usize).or(starts.first()).copied().unwrap_or(0)
}

/// Every audited step by some of its windows, where a whole one is too large.
fn by_windows(
    files: &RunFiles<'_>,
    plan: &Plan<'_>,
    run: &RunReading,
    (starts, number): (&[u64], u64),
    mut audit: TrainingAudit,
    tell: &dyn Fn(&str),
) -> Result<TrainingAudit> {
    let windows = plan.recipe.batch_size;
    for (place, &start) in starts.iter().enumerate() {
        tell(&format!("step {}", start + 1));
        let drawn: Vec<usize> = (0..WINDOWS.min(windows))
            .map(|i| (mixed(number ^ mixed((place * WINDOWS + i) as u64)) % windows as u64) as usize)
            .collect();
        let record = &run.curve[start as usize];
        audit.steps.extend(match files.brief {
            true => window_by_window::<Brief>(files, plan, record, (start, &drawn))?,
            false => window_by_window::<f32>(files, plan, record, (start, &drawn))?,
        });
        audit.covered.push(format!(
            "step {}: windows {drawn:?} of {windows} made again, their sum over all windows, and the motion of every \
             weight",
            start + 1
        ));
    }
    Ok(audit)
}

/// Every number of the kept initial weights beside the one of the seed.
fn initial(files: &RunFiles<'_>, plan: &Plan<'_>) -> Result<Vec<Deviation>> {
    let folder = state_folder(files, 0);
    let path = folder.join("weights.safetensors");
    let saved = read_tensors(&path)?;
    plan.design.check(&saved, &path)?;
    let draws = plan.design.initial(plan.fault);
    let seed = if plan.fault == Some(Fault::OtherSeed) { files.seed + 1 } else { files.seed };
    let of = |(name, values): (&str, Vec<f64>)| {
        let pairs = values.iter().zip(&saved[name].data);
        // Rounded once to float32, after float64 operations whose order may differ.
        let each =
            pairs.map(|(x, y)| Deviation::new("", (x - f64::from(*y)).abs(), 1e-12 + x.abs() * LAST_PLACES));
        let worst = each.reduce(|a, b| if b.share() > a.share() || b.share().is_nan() { b } else { a });
        worst.map(|d| Deviation { what: format!("initial {name}"), ..d })
    };
    let mut all: Vec<Deviation> = draw(&draws, seed).into_iter().filter_map(of).collect();
    for moment in ["first", "second"] {
        let zero = read_tensors(&folder.join(format!("{moment}.safetensors")))?;
        let zero = zero.values().all(|t| t.data.iter().all(|x| *x == 0.0));
        all.push(Deviation::fact(format!("initial {moment} moments are zero"), zero));
    }
    Ok(all)
}

/// The end of the record, the final weights, and the state that was kept there are one.
fn end(
    files: &RunFiles<'_>,
    plan: &Plan<'_>,
    run: &RunReading,
    weights: &TensorSet,
) -> Result<Vec<Deviation>> {
    let mut hash = Sha256::new();
    let names: Vec<String> = plan.design.initial(None).into_iter().map(|d| d.name).collect();
    for name in &names {
        hash.update(format!("{name} {:?}\n", weights[name].shape));
    }
    for x in names.iter().flat_map(|name| &weights[name].data) {
        hash.update(f64::from(*x).to_le_bytes());
    }
    let mut all = vec![Deviation::fact("the record's digest of the final weights", hex(hash) == run.weights)];
    if run.ending == "completed" {
        let made = run.curve.len() as u64;
        all.push(Deviation::fact("the number of steps", made == plan.steps()));
        let kept = read_tensors(&state_folder(files, made).join("weights.safetensors"))?;
        all.push(Deviation::fact("the final weights are those after the last step", kept == *weights));
    }
    let numbered = run.curve.iter().enumerate().all(|(i, r)| r.step == i as u64 + 1);
    all.push(Deviation::fact("every step is on record once", numbered));
    Ok(all)
}

/// Steps from a kept state: each beside the record, and the first beside the state that was kept after it.
fn chained<N: Number>(
    files: &RunFiles<'_>,
    plan: &Plan<'_>,
    run: &RunReading,
    (start, count): (u64, u64),
) -> Result<Vec<Deviation>> {
    let before = state(files, plan, start)?;
    let (mut wide, mut narrow) = (moments_of::<f64>(&before), moments_of::<N>(&before));
    let mut all = Vec::new();
    for step in start..start + count {
        let (a, b) = rayon::join(|| plan.step(&wide, step), || plan.step(&narrow, step));
        let (a, b) = (a?, b?);
        all.extend(beside_record(&run.curve[step as usize], &a, &b));
        if step == start {
            let after = moments_of::<f64>(&state(files, plan, start + 1)?);
            all.extend(moments(&after, &a, &b, step));
            all.extend(beside_motion(&wide.weights, &after, &a.motion, step));
        }
        (wide, narrow) = (a.after, b.after);
    }
    Ok(all)
}

/// Loss, gradient norms and learning rate.
fn beside_record<N: Number>(record: &StepReading, a: &Remade<f64>, b: &Remade<N>) -> Vec<Deviation> {
    let what = |name: &str| format!("{name} of step {}", record.step);
    let count = a.losses.len() as f64;
    let loss = a.losses.iter().sum::<f64>() / count;
    let apart = a.losses.iter().zip(&b.losses).map(|(a, b)| (a - b).abs()).sum::<f64>() / count;
    let within = |apart: f64, size: f64| SPREAD * apart + LAST_PLACES * size;
    let mut all = vec![Deviation::new(what("loss"), (record.loss - loss).abs(), within(apart, loss))];
    let norms = [
        ("gradient norm", "", Some(record.grad_norm)),
        ("gradient norm (rwkv)", ".rwkv.", record.rwkv_norm),
        ("gradient norm (mamba)", ".mamba.", record.mamba_norm),
    ];
    for (name, part, recorded) in norms {
        let Some(recorded) = recorded else { continue };
        let names = || a.gradients.keys().filter(|name| name.contains(part));
        let size = norm(names().flat_map(|name| &a.gradients[name].data));
        let pairs = names().flat_map(|name| a.gradients[name].data.iter().zip(&b.gradients[name].data));
        let apart = pairs.map(|(a, b)| (a - b.wide()).powi(2)).sum::<f64>().sqrt();
        all.push(Deviation::new(what(name), (recorded - size).abs(), within(apart, size)));
    }
    // Both sides in float64, a dozen operations: a relative 1e-12 is far above their rounding.
    all.push(Deviation::new(what("learning rate"), (record.lr - a.lr).abs(), 1e-12 * a.lr.abs()));
    all
}

/// Both moments after a step, by tensor; small tensors of a block together.
fn moments<N: Number>(saved: &Moments<f64>, a: &Remade<f64>, b: &Remade<N>, step: u64) -> Vec<Deviation> {
    let mut all = Vec::new();
    let sets = [
        ("first moment", &saved.first, &a.after.first, &b.after.first),
        ("second moment", &saved.second, &a.after.second, &b.after.second),
    ];
    for (what, saved, wide, narrow) in sets {
        // By group: squares of the difference, of what rounding does, and of the size.
        let mut groups: BTreeMap<String, [f64; 3]> = BTreeMap::new();
        for (name, wide) in wide {
            let squares = groups.entry(group_of(name, wide.data.len())).or_default();
            let others = saved[name].data.iter().zip(&narrow[name].data);
            for (x, (saved, narrow)) in wide.data.iter().zip(others) {
                squares[0] += (saved - x).powi(2);
                squares[1] += (narrow.wide() - x).powi(2);
                squares[2] += x * x;
            }
        }
        let groups: Vec<(String, [f64; 3])> =
            groups.into_iter().map(|(g, s)| (g, s.map(f64::sqrt))).collect();
        let usual = usual_share(groups.iter().map(|(_, [_, apart, size])| [*apart, *size]));
        for (group, [off, apart, size]) in groups {
            let tolerance = SPREAD * apart.max(usual * size) + LAST_PLACES * size;
            all.push(Deviation::new(format!("{what} of {group} after step {}", step + 1), off, tolerance));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_steps_in_a_row_as_were_promised() {
        // As 24 steps keep their states: also before the last tenth, from which two are left.
        let starts = [0, 9, 14, 22, 23];
        let all: Vec<u64> = (0..20).map(|number| drawn(number, &starts, 24)).collect();
        assert!(all.iter().all(|start| start + CHAIN <= 24), "{all:?}");
        assert!([0, 9, 14].iter().all(|start| all.contains(start)), "each may be drawn: {all:?}");
        assert_eq!(drawn(7, &[0, 1], 3), 0, "of a short training the first");
    }
}
