//! How did the training go? Everything here is read off the recorded curve (ruling table, rows G3,
//! G4, Slope, GradNorm, Stability).

use super::{Probe, Reading, Result, Subject};
use crate::evidence::Metric as M;
use crate::statistics::mean;
use crate::train::{Ending, StepRecord};

pub(super) const PROBE: Probe = Probe {
    id: "training",
    about: "how the training went: ending, loss, gradient norms, slope, spikes",
    metrics: &[
        M::RunCompleted,
        M::TrainTokens,
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
    ask,
};

/// G3 and G4 look at the last hundred of this many steps.
const STEPS: usize = 1_000;
/// Steps that a mean is taken over.
const WINDOW: usize = 100;
/// One per cent of the document's two billion tokens.
const SLOPE_TOKENS: u64 = 20_000_000;

fn ask(s: &Subject<'_>) -> Result<Vec<Reading>> {
    let curve = &s.run.curve;
    let tokens = curve.last().map_or(0, |r| r.tokens) as f64;
    let completed = s.run.ending == Ending::Completed;
    // What was never finite has no mean: a diverged run's loss is not a number.
    let last = if completed { mean_of(tail(curve), |r| r.loss) } else { f64::NAN };
    let mut readings = vec![
        Reading::holds(M::RunCompleted, completed),
        Reading::new(M::TrainTokens, tokens),
        Reading::new(M::TrainLoss, last),
        Reading::new(M::GradientNormMedian, median(curve.iter().map(|r| r.grad_norm).collect())),
        Reading::new(M::LossSlope, slope(curve, s.recipe.warmup_steps)),
        Reading::new(M::LargestSpike, largest_spike(curve, s.recipe.warmup_steps as usize)),
        Reading::new(M::TrainSeconds, s.run.seconds),
        Reading::new(M::TrainTokensPerSecond, tokens / s.run.seconds),
    ];
    if curve.len() >= STEPS || !completed {
        let early = tail(&curve[..curve.len().min(STEPS)]);
        let first = curve.first().map_or(f64::NAN, |r| r.loss);
        readings.push(Reading::new(M::LossFell, mean_of(early, |r| r.loss) / first));
        readings.push(Reading::new(M::GradientNorm, mean_of(early, |r| r.grad_norm)));
        if curve.iter().any(|r| r.rwkv_norm.is_some()) {
            let norm = |f: fn(&StepRecord) -> Option<f64>| mean_of(early, |r| f(r).unwrap_or(f64::NAN));
            let ratio = norm(|r| r.rwkv_norm) / norm(|r| r.mamba_norm);
            readings.push(Reading::new(M::BranchGradientRatio, ratio));
        }
    }
    Ok(readings)
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

/// Least-squares slope of the loss against the logarithm of tokens, after warm-up, on the first
/// one per cent of the data.
fn slope(curve: &[StepRecord], warmup: u64) -> f64 {
    let points: Vec<(f64, f64)> = curve
        .iter()
        .filter(|r| r.step > warmup && r.tokens <= SLOPE_TOKENS)
        .map(|r| ((r.tokens as f64).ln(), r.loss))
        .collect();
    let (xs, ys): (Vec<_>, Vec<_>) = points.iter().copied().unzip();
    let (mx, my) = (mean(&xs), mean(&ys));
    let along: f64 = points.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
    along / xs.iter().map(|x| (x - mx) * (x - mx)).sum::<f64>()
}

/// The largest ratio of a loss to the mean of the hundred before it, after warm-up.
fn largest_spike(curve: &[StepRecord], warmup: usize) -> f64 {
    let ratio = |i: usize| curve[i].loss / mean_of(&curve[i - WINDOW..i], |r| r.loss);
    (warmup.max(WINDOW)..curve.len()).map(ratio).fold(f64::NAN, f64::max)
}
