//! What a training saw of itself where it happened (ruling R22): the tokens that were looked up and the targets that
//! the loss was taken at, the weight of each part of a step, what the optimizer applied, and the weights it began with.

use serde::{Deserialize, Serialize};

use super::recipe::Recipe;
use crate::files::sha256;

/// Seen in the passes that gradients came from, step by step; the same whether the run was interrupted or not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observed {
    /// Digest chained over the ids that were looked up in the token embedding and the targets of the loss, as
    /// [`super::Run::consumed`] is over what was read.
    pub learnt: String,
    /// Digest of the weights before the first step.
    pub start: String,
    /// Digest of the weights before the last tenth of the steps, once they are saved.
    pub before_last_tenth: String,
    /// Over the steps the largest distance from one of the summed weights with which a step's parts entered its
    /// gradient.
    pub weight_error: f64,
    /// What the optimizer applied beside the learning rate, where it was the same in every step.
    pub applied: Option<Applied>,
    /// Whether it was not.
    pub unsteady: bool,
}

/// Settings that the optimizer used in a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// Decay of matrices.
    pub weight_decay: f64,
    /// Decay of the moments.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Largest global gradient norm.
    pub grad_clip: f64,
}

impl Applied {
    /// What a recipe asks for.
    pub fn of(recipe: &Recipe) -> Self {
        let &Recipe { weight_decay, betas, eps, grad_clip, .. } = recipe;
        Self { weight_decay, betas, eps, grad_clip }
    }

    /// The largest relative distance of any of them from what is asked for.
    pub fn error(&self, asked: &Self) -> f64 {
        let all = |a: &Self| [a.weight_decay, a.betas[0], a.betas[1], a.eps, a.grad_clip];
        let apart = |(got, asked): (f64, f64)| if got == asked { 0.0 } else { ((got - asked) / asked).abs() };
        let errors = all(self).into_iter().zip(all(asked)).map(apart);
        errors.fold(0.0, |most, x| if x.is_nan() || x > most { x } else { most })
    }
}

impl Observed {
    /// Before the first step.
    pub(super) fn new(start: String) -> Self {
        Self { learnt: sha256(b""), start, ..Self::default() }
    }

    /// Takes in one part of a step.
    pub(super) fn learn(&mut self, ids: &[u32], targets: &[u32]) {
        self.learnt = chain(&self.learnt, ids, targets);
    }

    /// Takes in what became of a step: the weights of its parts, summed, and the settings that were applied.
    pub(super) fn step(&mut self, weight: f64, applied: Applied) {
        let error = (weight - 1.0).abs();
        self.weight_error =
            if error.is_nan() || error > self.weight_error { error } else { self.weight_error };
        self.unsteady |= self.applied.is_some_and(|before| before != applied);
        self.applied = Some(applied);
    }
}

/// The digest after some tokens and their targets: hash of the digest before and every one of them.
pub(crate) fn chain(before: &str, inputs: &[u32], targets: &[u32]) -> String {
    let mut bytes = before.as_bytes().to_vec();
    for id in inputs.iter().chain(targets) {
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    sha256(&bytes)
}
