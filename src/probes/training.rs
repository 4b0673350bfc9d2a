//! How did the training go? Everything here is read off the recorded curve (ruling table, rows G3,
//! G4, Slope, GradNorm, Stability).

use super::probe::{Probe, ProbeData, Reading, Result, TrainedModel};
use crate::evidence::Metric as M;
use crate::models::{Branch, ModelStats};
use crate::statistics::mean;
use crate::train::{Ending, Run, StepRecord};

pub(super) const PROBE: Probe = Probe {
    id: "training",
    about: "how the training went: ending, compute, loss, gradient norms, slope, spikes",
    metrics: &[
        M::RunCompleted,
        M::TrainTokens,
        M::BatchSize,
        M::WarmupShare,
        M::Compute6nd,
        M::TrainFlops,
        M::TrainLoss,
        M::LossFell,
        M::GradientNorm,
        M::GradientNormMedian,
        M::BranchGradientRatio,
        M::LossSlope,
        M::LargestSpike,
        M::TrainSeconds,
        M::TrainTokensPerSecond,
    ],
    data: ProbeData::HeldOut,
    measure,
    only: None,
    measure_checkpoint: None,
};

/// G3 and G4 look at the last hundred of this many steps.
const STEPS: usize = 1_000;
/// Steps that a mean is taken over.
const WINDOW: usize = 100;
/// One per cent of the document's two billion tokens.
const SLOPE_TOKENS: u64 = 20_000_000;

fn measure(s: &TrainedModel<'_>) -> Result<Vec<Reading>> {
    let curve = &s.run.curve;
    let tokens = curve.last().map_or(0, |r| r.tokens) as f64;
    let completed = s.run.ending == Ending::Completed;
    // What was never finite has no mean: a diverged run's loss is not a number.
    let last = &curve[curve.len() - WINDOW.min(curve.len().div_ceil(10))..];
    let last = if completed { mean_of(last, |r| r.loss) } else { f64::NAN };
    let mut readings = vec![
        Reading::holds(M::RunCompleted, completed),
        Reading::new(M::TrainTokens, tokens),
        Reading::new(M::BatchSize, batch_size(s.run)),
        Reading::new(M::WarmupShare, s.recipe.warmup_steps as f64 / s.recipe.steps() as f64),
        Reading::new(M::Compute6nd, compute_6nd(&s.model.model_stats(), tokens)),
        Reading::new(M::TrainFlops, train_flops(&s.model.model_stats(), tokens)),
        Reading::new(M::TrainLoss, last),
        Reading::new(M::GradientNormMedian, median(curve.iter().map(|r| r.grad_norm).collect())),
        Reading::new(M::TrainSeconds, s.run.seconds),
        Reading::new(M::TrainTokensPerSecond, tokens / s.run.seconds),
    ];
    readings.extend(slope(curve, s.recipe.warmup_steps).map(|x| Reading::new(M::LossSlope, x)));
    let spike = largest_spike(curve, s.recipe.warmup_steps as usize);
    readings.extend(spike.map(|x| Reading::new(M::LargestSpike, x)));
    if curve.len() >= STEPS || !completed {
        let early = tail(&curve[..curve.len().min(STEPS)]);
        let first = curve.first().map_or(f64::NAN, |r| r.loss);
        readings.push(Reading::new(M::LossFell, mean_of(early, |r| r.loss) / first));
        readings.push(Reading::new(M::GradientNorm, mean_of(early, |r| r.grad_norm)));
        if curve.iter().any(|r| !r.branch_norms.is_empty()) {
            let norm = |b| mean_of(early, |r| r.branch_norms.get(&b).copied().unwrap_or(f64::NAN));
            let ratio = norm(Branch::Rwkv) / norm(Branch::Mamba);
            readings.push(Reading::new(M::BranchGradientRatio, ratio));
        }
    }
    Ok(readings)
}

/// Sequences of a step: those that were read, not those that were asked for.
fn batch_size(run: &Run) -> f64 {
    let diverged = matches!(run.ending, Ending::Diverged(_));
    run.position as f64 / (run.curve.len() + usize::from(diverged)) as f64
}

/// The document's estimate: six times all parameters times tokens.
fn compute_6nd(model_stats: &ModelStats, tokens: f64) -> f64 {
    6.0 * model_stats.total as f64 * tokens
}

/// One forward pass and twice its work backwards, for every token.
fn train_flops(model_stats: &ModelStats, tokens: f64) -> f64 {
    3.0 * model_stats.forward_flops_per_token * tokens
}

fn tail(curve: &[StepRecord]) -> &[StepRecord] {
    &curve[curve.len().saturating_sub(WINDOW)..]
}

fn mean_of(records: &[StepRecord], f: impl Fn(&StepRecord) -> f64) -> f64 {
    mean(&records.iter().map(f).collect::<Vec<_>>())
}

fn median(mut xs: Vec<f64>) -> f64 {
    xs.sort_by(f64::total_cmp);
    match xs.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => xs[n / 2],
        n => f64::midpoint(xs[n / 2 - 1], xs[n / 2]),
    }
}

/// Least-squares slope of the loss against the logarithm of tokens, on the first one per cent of the
/// data: after warm-up, or over all of it where warm-up takes most of it, as FULL's does (ruling R12).
/// None of fewer than two points.
fn slope(curve: &[StepRecord], warmup: u64) -> Option<f64> {
    const FEW: usize = 10;
    let first = || curve.iter().filter(|r| r.tokens <= SLOPE_TOKENS);
    let after: Vec<&StepRecord> = first().filter(|r| r.step > warmup).collect();
    let used = if after.len() < FEW { first().collect() } else { after };
    let points: Vec<(f64, f64)> = used.iter().map(|r| ((r.tokens as f64).ln(), r.loss)).collect();
    let (xs, ys): (Vec<_>, Vec<_>) = points.iter().copied().unzip();
    let (mx, my) = (mean(&xs), mean(&ys));
    let along: f64 = points.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
    (points.len() > 1).then(|| along / xs.iter().map(|x| (x - mx) * (x - mx)).sum::<f64>())
}

/// The largest ratio of a loss to the mean of the hundred before it, after warm-up.
fn largest_spike(curve: &[StepRecord], warmup: usize) -> Option<f64> {
    let ratio = |i: usize| curve[i].loss / mean_of(&curve[i - WINDOW..i], |r| r.loss);
    // A ratio that is not a number is the largest of all.
    let larger = |a: f64, b: f64| if a.is_nan() || a > b { a } else { b };
    (warmup.max(WINDOW)..curve.len()).map(ratio).reduce(larger)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::train::Observed;

    #[test]
    fn compute_is_counted_as_written_and_as_done() {
        let model_stats = ModelStats {
            total: 15_497_728,
            embedding: 12_865_792,
            positional: 262_144,
            non_embedding: 2_369_792,
            forward_flops_per_token: 3.2e7,
        };
        assert_eq!(compute_6nd(&model_stats, 2e9), 1.8597_2736e17);
        assert_eq!(train_flops(&model_stats, 1e6), 9.6e13);
    }

    #[test]
    fn the_batch_is_what_was_read() {
        let step = |step| StepRecord {
            step,
            tokens: 0,
            loss: 1.0,
            grad_norm: 1.0,
            branch_norms: BTreeMap::new(),
            lr: 1.0,
        };
        let run = |ending, position| Run {
            identity: String::new(),
            ending,
            curve: vec![step(1), step(2)],
            consumed: String::new(),
            position,
            optimizer_steps: 2,
            seconds: 1.0,
            starts: Vec::new(),
            weights: String::new(),
            observed: Observed::default(),
        };
        assert_eq!(batch_size(&run(Ending::Completed, 8)), 4.0);
        // The step that diverged has read its batch.
        assert_eq!(batch_size(&run(Ending::Diverged(3), 12)), 4.0);
    }
}
