//! The audit of an evaluation: counts and losses of the final weights beside what the ledger says.

use std::ops::Range;
use std::path::Path;

use super::attention::token_losses;
use super::design::Design;
use super::deviation::{Deviation, LAST_PLACES, SPREAD};
use super::error::Result;
use super::fault::Fault;
use super::graph::{Graph, Weights};
use super::number::Number;
use super::tensors::{read_tensors, weights_of};
use crate::data::cache::TokenFile;

/// Weights that are measured again, in float64 and as the program computes.
pub struct SavedModel<N> {
    pub(super) design: Design,
    pub(super) wide: Weights<f64>,
    pub(super) narrow: Weights<N>,
    parameters: usize,
    pub(super) fault: Option<Fault>,
}

impl<N: Number> SavedModel<N> {
    /// The weights that a training ended with, in the folder of its run.
    pub fn trained(run: &Path, fault: Option<Fault>) -> Result<Self> {
        Self::read(run, "final/model.safetensors", fault)
    }

    /// Those that it began with.
    pub fn untrained(run: &Path, fault: Option<Fault>) -> Result<Self> {
        Self::read(run, "audit-00000000/weights.safetensors", fault)
    }

    fn read(run: &Path, weights: &str, fault: Option<Fault>) -> Result<Self> {
        let (design, path) = (Design::read(&run.join("final"))?, run.join(weights));
        let tensors = read_tensors(&path)?;
        design.check(&tensors, &path)?;
        let parameters = tensors.values().map(|t| t.data.len()).sum();
        Ok(Self { design, wide: weights_of(&tensors), narrow: weights_of(&tensors), parameters, fault })
    }

    /// The mistake that it makes.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Positions that it sees at a time, where it has no state to carry on.
    pub fn window(&self) -> Option<usize> {
        self.design.window()
    }

    /// Numbers in all tensors.
    pub fn parameters(&self) -> usize {
        self.parameters
    }

    /// The count on record beside that of the tensors.
    pub fn beside_count(&self, recorded: f64) -> Deviation {
        let fewer = usize::from(self.fault == Some(Fault::CountsOneLess));
        let counted = (self.parameters - fewer) as f64;
        Deviation::new("number of parameters", (recorded - counted).abs(), 0.5)
    }

    /// The mean loss on record of one of a text's disjoint windows beside the referee's, which reads it from an empty
    /// state.
    pub fn beside_window(
        &self,
        recorded: f64,
        (text, length): (&TokenFile, usize),
        window: usize,
    ) -> Deviation {
        let wide = self.window_losses(&self.wide, (text, length), window);
        let narrow = self.window_losses(&self.narrow, (text, length), window);
        beside_mean(recorded, &wide, &narrow, format!("loss of window {window}"))
    }

    fn window_losses<M: Number>(
        &self,
        weights: &Weights<M>,
        (text, length): (&TokenFile, usize),
        window: usize,
    ) -> Vec<f64> {
        let shift = usize::from(self.fault == Some(Fault::ShiftedWindows));
        let start = window * length + shift * (length / 2);
        let tokens: Vec<usize> = text.tokens(start..start + length + 1).map(|t| t as usize).collect();
        self.each_loss(weights, &tokens[..length], &tokens[1..], 0..length)
    }

    /// The losses of some targets, one for each token that is read.
    pub(super) fn each_loss<M: Number>(
        &self,
        weights: &Weights<M>,
        inputs: &[usize],
        targets: &[usize],
        wanted: Range<usize>,
    ) -> Vec<f64> {
        let mut graph = Graph::forward(weights, self.fault);
        let end = self.design.logits(&mut graph, inputs, wanted.clone());
        let unit = if self.fault == Some(Fault::Bits) { std::f64::consts::LN_2 } else { 1.0 };
        token_losses(graph.value(end), &targets[wanted]).iter().map(|loss| loss.wide() / unit).collect()
    }
}

/// A mean on record beside the mean of losses, which are also known as float32 makes them.
pub(super) fn beside_mean(recorded: f64, wide: &[f64], narrow: &[f64], what: String) -> Deviation {
    let n = wide.len() as f64;
    let loss = wide.iter().sum::<f64>() / n;
    let apart = wide.iter().zip(narrow).map(|(a, b)| (a - b).abs()).sum::<f64>() / n;
    Deviation::new(what, (recorded - loss).abs(), SPREAD * apart + LAST_PLACES * loss)
}
