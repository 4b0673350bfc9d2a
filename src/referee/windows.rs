//! A step that is too large to be made again as a whole, window by window.
//!
//! Before such a step the program notes of every window by itself its loss and four projections of each tensor's
//! gradient. Some windows, drawn afterwards, are computed again here. All of them together must make the step: the
//! mean of their losses is the recorded one, and the mean of their projections, clipped, is that of the gradient which
//! the saved moments tell, (m′ − β₁ m) / (1 − β₁). Second moments and weights after the step are held against that
//! gradient number by number.
//!
//! A projection is Σ ±gᵢ, where bit k of a mix of i gives the sign of the k-th. The mean of the squares of several
//! such sums is the squared norm of what is summed, on average over signs: so two gradients are apart by about the
//! root of the mean square by which their projections differ.

use std::collections::BTreeMap;

use super::adamw::{Moments, Motion, beside_motion, clipping, learning_rate};
use super::design::GradientSet;
use super::deviation::{Deviation, LAST_PLACES, SPREAD, usual_share};
use super::error::{RefereeError, Result};
use super::fault::Fault;
use super::number::Number;
use super::record::{RunFiles, StepReading, group_of, moments_of, state, state_folder};
use super::replay::Plan;
use super::tensors::{TensorSet, read_tensors};

/// Projections of a gradient.
const PROJECTIONS: usize = 4;

type Projections = [f64; PROJECTIONS];

/// What the program noted of the windows of a step.
struct Noted {
    losses: Vec<f64>,
    /// By tensor, for every window.
    projections: BTreeMap<String, Vec<Projections>>,
}

/// Bits that a number decides: the mix of SplitMix64 (Steele, Lea & Flood 2014).
pub(super) fn mixed(i: u64) -> u64 {
    let x = i.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn projected(numbers: impl Iterator<Item = f64>) -> Projections {
    let mut sums = [0.0; PROJECTIONS];
    for (i, x) in (0u64..).zip(numbers) {
        let bits = mixed(i);
        for (k, sum) in sums.iter_mut().enumerate() {
            *sum += if bits >> k & 1 == 1 { x } else { -x };
        }
    }
    sums
}

/// The mean square of projections: about the squared norm of what was projected.
fn mean_square(projections: impl Iterator<Item = f64>) -> f64 {
    projections.map(|x| x * x).sum::<f64>() / PROJECTIONS as f64
}

impl Noted {
    fn read(files: &RunFiles<'_>, plan: &Plan<'_>, step: u64) -> Result<Self> {
        let path = state_folder(files, step).join("windows.safetensors");
        let mut saved: TensorSet = read_tensors(&path)?;
        let windows = plan.recipe.batch_size;
        let losses = saved.remove("losses").map(|t| t.data).unwrap_or_default();
        let mut projections = BTreeMap::new();
        for draw in plan.design.initial(None) {
            let rows = saved.remove(&draw.name).map(|t| t.data).unwrap_or_default();
            let (rows, rest) = rows.as_chunks::<PROJECTIONS>();
            if rows.len() != windows || !rest.is_empty() || losses.len() != windows {
                let expected =
                    format!("{windows} windows, {PROJECTIONS} projections each of {:?}", draw.name);
                return Err(RefereeError::file(&path, expected, format!("{} rows", rows.len())));
            }
            projections.insert(draw.name, rows.iter().map(|row| row.map(f64::from)).collect());
        }
        Ok(Self { losses: losses.into_iter().map(f64::from).collect(), projections })
    }
}

/// Sums of squares by group of tensors.
#[derive(Default)]
struct Squares(BTreeMap<String, f64>);

impl Squares {
    fn add(&mut self, name: &str, numbers: usize, square: f64) {
        *self.0.entry(group_of(name, numbers)).or_default() += square;
    }

    fn root(&self, group: &str) -> f64 {
        self.0.get(group).copied().unwrap_or(0.0).sqrt()
    }
}

/// What rounding does to a window's gradient and loss, averaged over the windows that were drawn.
#[derive(Default)]
struct Rounding {
    /// By group, ‖g₃₂ − g₆₄‖.
    gradients: BTreeMap<String, f64>,
    loss: f64,
}

/// The step after a kept state, of which the windows in `drawn` are computed again; `N` is what the program computes
/// with.
pub(super) fn window_by_window<N: Number>(
    files: &RunFiles<'_>,
    plan: &Plan<'_>,
    record: &StepReading,
    (step, drawn): (u64, &[usize]),
) -> Result<Vec<Deviation>> {
    let noted = Noted::read(files, plan, step)?;
    let before = state(files, plan, step)?;
    let (wide, narrow) = (moments_of::<f64>(&before), moments_of::<N>(&before));
    let (mut all, mut rounding) = (Vec::new(), Rounding::default());
    let windows = plan.windows(step)?;
    for &i in drawn {
        let make = |place: &str| format!("{place} of window {i} of step {}", step + 1);
        let (inputs, targets) = &windows[i];
        let (a, b) = rayon::join(
            || plan.design.gradients(&wide.weights, (inputs, targets), 1.0, plan.fault),
            || plan.design.gradients(&narrow.weights, (inputs, targets), 1.0, plan.fault),
        );
        let unit = if plan.fault == Some(Fault::Bits) { std::f64::consts::LN_2 } else { 1.0 };
        let count = a.0.len() as f64;
        let loss = a.0.iter().sum::<f64>() / count / unit;
        let apart = a.0.iter().zip(&b.0).map(|(a, b)| (a - b.wide()).abs()).sum::<f64>() / count;
        let tolerance = SPREAD * apart + LAST_PLACES * loss;
        all.push(Deviation::new(make("loss"), (noted.losses[i] - loss).abs(), tolerance));
        rounding.loss += apart / drawn.len() as f64;
        all.extend(beside_projections(&noted, i, &a.1, &b.1, (&mut rounding, drawn.len()), &make));
    }
    let after = moments_of::<f64>(&state(files, plan, step + 1)?);
    all.extend(together(plan, record, &noted, (&wide, &after), &rounding, step));
    Ok(all)
}

/// The projections of a window's gradient beside those of the gradient computed again.
fn beside_projections<N: Number>(
    noted: &Noted,
    window: usize,
    wide: &GradientSet<f64>,
    narrow: &GradientSet<N>,
    (rounding, of): (&mut Rounding, usize),
    make: &dyn Fn(&str) -> String,
) -> Vec<Deviation> {
    let (mut off, mut apart, mut size) = (Squares::default(), Squares::default(), Squares::default());
    for (name, gradient) in wide {
        let numbers = gradient.data.len();
        let again = projected(gradient.data.iter().copied());
        let saved = &noted.projections[name][window];
        off.add(name, numbers, mean_square(again.iter().zip(saved).map(|(a, b)| a - b)));
        let pairs = gradient.data.iter().zip(&narrow[name].data);
        apart.add(name, numbers, pairs.map(|(a, b)| (a - b.wide()).powi(2)).sum());
        size.add(name, numbers, gradient.data.iter().map(|x| x * x).sum());
    }
    let usual = usual_share(off.0.keys().map(|group| [apart.root(group), size.root(group)]));
    let of_group = |group: &String| {
        let apart = apart.root(group).max(usual * size.root(group));
        *rounding.gradients.entry(group.clone()).or_default() += apart / of as f64;
        let tolerance = SPREAD * apart + LAST_PLACES * size.root(group);
        Deviation::new(make(&format!("gradient of {group}")), off.root(group), tolerance)
    };
    let groups: Vec<&String> = off.0.keys().collect();
    groups.into_iter().map(of_group).collect()
}

/// All windows together beside the record and the states before and after.
fn together(
    plan: &Plan<'_>,
    record: &StepReading,
    noted: &Noted,
    (before, after): (&Moments<f64>, &Moments<f64>),
    rounding: &Rounding,
    step: u64,
) -> Vec<Deviation> {
    let what = |name: &str| format!("{name} of step {}", step + 1);
    let count = noted.losses.len() as f64;
    let loss = noted.losses.iter().sum::<f64>() / count;
    let tolerance = SPREAD * rounding.loss + LAST_PLACES * loss;
    let lr = learning_rate(plan.recipe, step, plan.fault);
    let scale = clipping(plan.recipe, record.grad_norm, plan.fault);
    let mut all = vec![
        Deviation::new(what("mean loss of all windows"), (record.loss - loss).abs(), tolerance),
        Deviation::new(what("learning rate"), (record.lr - lr).abs(), 1e-12 * lr.abs()),
    ];
    let (mut off, mut told, mut size) = (Squares::default(), Squares::default(), Squares::default());
    let mut sums = BTreeMap::from([("", [0.0; 2]), (".rwkv.", [0.0; 2]), (".mamba.", [0.0; 2])]);
    for (name, saved) in &noted.projections {
        let ToldStep { gradient, unsure, worst } = ToldStep::told(plan, name, before, after);
        all.push(Deviation { what: format!("second moment of {name} after step {}", step + 1), ..worst });
        let numbers = gradient.len();
        let mean = |k: usize| saved.iter().map(|row| row[k]).sum::<f64>() / count * scale;
        let again = projected(gradient.iter().copied());
        off.add(name, numbers, mean_square((0..PROJECTIONS).map(|k| again[k] - mean(k))));
        told.add(name, numbers, unsure * unsure);
        let sizes = saved.iter().map(|row| mean_square(row.iter().copied()).sqrt()).sum::<f64>() / count;
        size.add(name, numbers, (sizes * scale).powi(2));
        let square: f64 = gradient.iter().map(|x| x * x).sum();
        for (part, sums) in &mut sums {
            if name.contains(part) {
                *sums = [sums[0] + square, sums[1] + unsure * unsure];
            }
        }
    }
    let mut rounded = 0.0;
    for group in off.0.keys() {
        let apart = rounding.gradients.get(group).copied().unwrap_or(f64::NAN) * scale;
        rounded += apart * apart;
        let tolerance = SPREAD * (apart + told.root(group)) + LAST_PLACES * size.root(group);
        all.push(Deviation::new(what(&format!("gradient of {group}")), off.root(group), tolerance));
    }
    let norms = [
        ("gradient norm", "", Some(record.grad_norm)),
        ("gradient norm (rwkv)", ".rwkv.", record.rwkv_norm),
        ("gradient norm (mamba)", ".mamba.", record.mamba_norm),
    ];
    for (name, part, recorded) in norms {
        let Some(recorded) = recorded else { continue };
        let [norm, unsure] = sums[part].map(f64::sqrt);
        let tolerance = SPREAD * (rounded.sqrt() + unsure) + LAST_PLACES * norm;
        all.push(Deviation::new(what(name), (recorded * scale - norm).abs(), tolerance));
    }
    let motion = Motion::new(plan.recipe, lr, step + 1, plan.fault);
    all.extend(beside_motion(&before.weights, after, &motion, step));
    all
}

/// What both moments tell of a tensor's gradient, as it was after clipping.
struct ToldStep {
    gradient: Vec<f64>,
    /// Norm of what the rounding of the moments leaves open.
    unsure: f64,
    /// The second moment's number that fits least.
    worst: Deviation,
}

impl ToldStep {
    /// g = (m′ − β₁ m) / (1 − β₁), where each m was rounded a few times; then v′ = β₂ v + (1 − β₂) g².
    fn told(plan: &Plan<'_>, name: &str, before: &Moments<f64>, after: &Moments<f64>) -> Self {
        let [b1, b2] = plan.recipe.betas;
        let (mut gradient, mut unsure, mut worst) = (Vec::new(), 0.0, Deviation::new("", 0.0, 1.0));
        let first = before.first[name].data.iter().zip(&after.first[name].data);
        let second = before.second[name].data.iter().zip(&after.second[name].data);
        for ((m, m_after), (v, v_after)) in first.zip(second) {
            let g = (m_after - b1 * m) / (1.0 - b1);
            let open = LAST_PLACES * (m_after.abs() + (b1 * m).abs()) / (1.0 - b1);
            let expected = b2 * v + (1.0 - b2) * g * g;
            let tolerance = LAST_PLACES * (v_after.abs() + b2 * v.abs())
                + (1.0 - b2) * (2.0 * g.abs() * open + open * open)
                // Squares below the smallest float32 are lost.
                + f64::from(f32::MIN_POSITIVE);
            let here = Deviation::new("", (v_after - expected).abs(), tolerance);
            if here.share() > worst.share() || here.share().is_nan() {
                worst = here;
            }
            gradient.push(g);
            unsure += open * open;
        }
        Self { gradient, unsure: unsure.sqrt(), worst }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projections_have_the_size_of_what_they_project() {
        let numbers: Vec<f64> = (0..4000).map(|i| f64::from(i % 17) - 8.0).collect();
        let norm = numbers.iter().map(|x| x * x).sum::<f64>();
        let square = mean_square(projected(numbers.iter().copied()).into_iter());
        // Chi-square of four: between these with 99.9 %.
        assert!((0.02..4.7).contains(&(square / norm)), "{}", square / norm);
        assert_eq!(mixed(0) & 0xf, 0xf & 0xe220_a839_7b1d_cdaf);
    }
}
