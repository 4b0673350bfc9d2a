//! What a recipe says of a step: learning rate, clipping, decay, and AdamW (Loshchilov & Hutter 2019, algorithm 2).

use std::sync::Arc;

use super::design::GradientSet;
use super::deviation::{Deviation, LAST_PLACES};
use super::fault::Fault;
use super::graph::Weights;
use super::matrix::Matrix;
use super::number::Number;
use crate::train::Recipe;

/// Weights and both moments.
#[derive(Clone)]
pub struct Moments<N> {
    /// The weights.
    pub weights: Weights<N>,
    /// Running mean of the gradients.
    pub first: Weights<N>,
    /// Running mean of their squares.
    pub second: Weights<N>,
}

/// The learning rate of a step, counted from zero: `warmup_steps` steps up to `max_lr` in equal parts, then half a
/// cosine down to `min_lr`, which is reached after the last step.
pub fn learning_rate(recipe: &Recipe, step: u64, fault: Option<Fault>) -> f64 {
    let (step, warmup, steps) =
        (step as f64, recipe.warmup_steps as f64, recipe.token_count / tokens_of_step(recipe));
    if step < warmup {
        let done = if fault == Some(Fault::WarmsUpFromZero) { step } else { step + 1.0 };
        return recipe.max_lr * done / warmup;
    }
    let along = ((step - warmup) / (steps as f64 - warmup).max(1.0)).min(1.0);
    recipe.min_lr + (recipe.max_lr - recipe.min_lr) * (1.0 + (std::f64::consts::PI * along).cos()) / 2.0
}

fn tokens_of_step(recipe: &Recipe) -> u64 {
    recipe.batch_size as u64 * recipe.context_length as u64
}

/// Ruling R12: weight decay applies to matrices, not to biases, norms or numbers of a channel.
pub fn decays(name: &str) -> bool {
    let last = |n: &str| name == n || name.ends_with(&format!(".{n}"));
    let norm =
        ["ln_1", "ln_2", "ln_f", "ln0", "ln1", "ln2", "ln_x", "ln_mix", "ln_ffn", "ln_out", "norm", "norm_f"];
    let vector = ["bias", "dt_bias", "A_log", "D", "time_decay", "time_faaaa", "conv1d.weight"];
    let mix = ["x", "w", "k", "v", "r", "g"].map(|c| format!("time_maa_{c}"));
    let is_norm = norm.iter().any(|n| last(&format!("{n}.weight")));
    !(is_norm || vector.iter().any(|n| last(n)) || mix.iter().any(|n| last(n)))
}

/// What gradients are multiplied by so that their norm is at most `grad_clip`; 1e-6 is added to the norm, as
/// PyTorch does.
pub fn clipping(recipe: &Recipe, norm: f64, fault: Option<Fault>) -> f64 {
    if fault == Some(Fault::NoClipping) { 1.0 } else { (recipe.grad_clip / (norm + 1e-6)).min(1.0) }
}

/// How far and along what a weight moves in step `t`, counted from one.
#[derive(Clone, Copy)]
pub struct Motion {
    lr: f64,
    corrections: [f64; 2],
    eps: f64,
    decay: f64,
    fault: Option<Fault>,
}

impl Motion {
    /// The motion of a step.
    pub fn new(recipe: &Recipe, lr: f64, t: u64, fault: Option<Fault>) -> Self {
        let correction = |beta: f64| match fault {
            Some(Fault::NoBiasCorrection) => 1.0,
            _ => 1.0 - beta.powf(t as f64),
        };
        let corrections = recipe.betas.map(correction);
        Self { lr, corrections, eps: recipe.eps, decay: recipe.weight_decay, fault }
    }

    /// A weight after the step, of which decay leaves `keep`; the moments are given as they are after it.
    pub fn moved<N: Number>(&self, keep: f64, weight: N, first: N, second: N) -> N {
        weight * N::of(keep) - self.along(first, second)
    }

    /// What decay leaves of a weight.
    pub fn keep(&self, name: &str) -> f64 {
        let decayed = match self.fault {
            Some(Fault::NoDecay) => false,
            Some(Fault::DecaysVectors) => true,
            _ => decays(name),
        };
        if decayed { 1.0 - self.lr * self.decay } else { 1.0 }
    }

    /// lr·m̂/(√v̂ + ε).
    pub fn along<N: Number>(&self, first: N, second: N) -> N {
        let [c1, c2] = self.corrections.map(N::of);
        N::of(self.lr) * (first / c1) / ((second / c2).sqrt() + N::of(self.eps))
    }
}

/// Weights and moments after a step along these gradients.
pub fn stepped<N: Number>(
    state: &Moments<N>,
    gradients: &GradientSet<N>,
    recipe: &Recipe,
    (scale, motion): (f64, Motion),
) -> Moments<N> {
    let scale = N::of(scale);
    let [b1, b2] = match motion.fault {
        Some(Fault::OneBeta) => [recipe.betas[0]; 2],
        _ => recipe.betas,
    };
    let mut after = state.clone();
    for (name, gradient) in gradients {
        let mix = |old: N, new: N, beta: f64| N::of(beta) * old + N::of(1.0 - beta) * new;
        let gradient = gradient.map(|g| g * scale);
        let first = state.first[name].zip(&gradient, |m, g| mix(m, g, b1));
        let second = state.second[name].zip(&gradient, |v, g| mix(v, g * g, b2));
        let (mut weight, keep) = (state.weights[name].as_ref().clone(), motion.keep(name));
        for (w, (m, v)) in weight.data.iter_mut().zip(first.data.iter().zip(&second.data)) {
            *w = motion.moved(keep, *w, *m, *v);
        }
        after.weights.insert(name.clone(), weight.into());
        after.first.insert(name.clone(), first.into());
        after.second.insert(name.clone(), second.into());
    }
    after
}

/// Every weight after a step beside what the saved moments make of the weight before it, at the worst number of each
/// tensor. A product with what decay leaves and a difference round once each; along the moments there are at most
/// eight roundings, those of the constants to float32 included, and on a GPU as many more.
pub fn beside_motion(
    before: &Weights<f64>,
    after: &Moments<f64>,
    motion: &Motion,
    number: u64,
) -> Vec<Deviation> {
    let of = |(name, weights): (&String, &Arc<Matrix<f64>>)| {
        let mut worst = Deviation::new(format!("{name} after step {}", number + 1), 0.0, 1.0);
        let keep = motion.keep(name);
        for (i, w) in weights.data.iter().enumerate() {
            let (first, second) = (after.first[name].data[i], after.second[name].data[i]);
            let expected = motion.moved(keep, *w, first, second);
            let along = motion.along(first, second).abs();
            let difference = (after.weights[name].data[i] - expected).abs();
            let tolerance = LAST_PLACES * (w.abs() + 4.0 * along);
            let share = if difference == 0.0 { 0.0 } else { difference / tolerance };
            if share > worst.share() || share.is_nan() {
                (worst.difference, worst.tolerance) = (difference, tolerance);
            }
        }
        worst
    };
    before.iter().map(of).collect()
}
