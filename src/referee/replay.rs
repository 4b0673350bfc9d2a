//! A step of a training again, from weights, moments and tokens to weights and moments.

use rayon::prelude::*;

use super::adamw::{Moments, Motion, clipping, learning_rate, stepped};
use super::design::{Design, GradientSet};
use super::error::Result;
use super::fault::Fault;
use super::number::Number;
use crate::data::batches::{Order, OrderError};
use crate::data::cache::TokenFile;
use crate::train::Recipe;

/// What a training was to do: its model, recipe, text and order.
pub struct Plan<'a> {
    /// The model.
    pub design: Design,
    /// Hyper-parameters.
    pub recipe: &'a Recipe,
    /// The training text.
    pub text: &'a TokenFile,
    /// Its windows in the order they are read.
    pub order: &'a Order,
    /// A mistake to make.
    pub fault: Option<Fault>,
}

/// A window: what is read, and what comes next.
type Window = (Vec<usize>, Vec<usize>);

/// A step as the referee made it.
pub struct Remade<N> {
    /// Loss of every token of the step, in nats.
    pub losses: Vec<f64>,
    /// Gradients of the mean loss, before clipping.
    pub gradients: GradientSet<N>,
    /// Learning rate.
    pub lr: f64,
    /// How weights moved.
    pub motion: Motion,
    /// Weights and moments after it.
    pub after: Moments<N>,
}

impl Plan<'_> {
    /// Steps of the recipe.
    pub fn steps(&self) -> u64 {
        self.recipe.token_count / (self.recipe.batch_size * self.recipe.context_length) as u64
    }

    /// The windows of a step, counted from zero.
    pub(super) fn windows(&self, step: u64) -> Result<Vec<Window>> {
        let wrong = self.fault == Some(Fault::NextWindows);
        let step = if wrong { (step + 1) % self.steps() } else { step };
        let (size, length) = (self.recipe.batch_size, self.recipe.context_length);
        let first = step as usize * size;
        let all = self.order.windows();
        let exhausted = || OrderError::Exhausted { position: first, batch_size: size, length: all.len() };
        let windows = all.get(first..first + size).ok_or_else(exhausted)?;
        let read = |window: &u32| {
            let start = *window as usize * length;
            let tokens: Vec<usize> =
                self.text.tokens(start..start + length + 1).map(|t| t as usize).collect();
            let inputs = tokens[..length].to_vec();
            let targets =
                if self.fault == Some(Fault::TargetsOffByOne) { &tokens[..length] } else { &tokens[1..] };
            (inputs, targets.to_vec())
        };
        Ok(windows.iter().map(read).collect())
    }

    /// Makes a step, counted from zero.
    pub fn step<N: Number>(&self, before: &Moments<N>, step: u64) -> Result<Remade<N>> {
        let windows = self.windows(step)?;
        let count = if self.fault == Some(Fault::SumsWindows) { 1 } else { windows.len() };
        let share = 1.0 / count as f64;
        let of = |(inputs, targets): &Window| {
            self.design.gradients(&before.weights, (inputs, targets), share, self.fault)
        };
        let parts: Vec<_> = windows.par_iter().map(of).collect();
        let (mut losses, mut gradients) = (Vec::new(), GradientSet::new());
        for (all, part) in parts {
            let unit = if self.fault == Some(Fault::Bits) { std::f64::consts::LN_2 } else { 1.0 };
            losses.extend(all.iter().map(|loss| loss.wide() / unit));
            for (name, gradient) in part {
                match gradients.get_mut(&name) {
                    None => drop(gradients.insert(name, gradient)),
                    Some(sum) => sum.add(&gradient),
                }
            }
        }
        let lr = learning_rate(self.recipe, step, self.fault);
        let motion = Motion::new(self.recipe, lr, step + 1, self.fault);
        let scale = clipping(self.recipe, norm(gradients.values().flat_map(|g| &g.data)), self.fault);
        let after = stepped(before, &gradients, self.recipe, (scale, motion));
        Ok(Remade { losses, gradients, lr, motion, after })
    }
}

/// Root of the sum of squares.
pub fn norm<'a, N: Number>(numbers: impl IntoIterator<Item = &'a N>) -> f64 {
    numbers.into_iter().map(|x| x.wide() * x.wide()).sum::<f64>().sqrt()
}
