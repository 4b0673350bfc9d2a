//! The audit of an evaluation: counts and losses of the final weights beside what the ledger says.

use std::path::Path;

use rayon::prelude::*;

use super::attention::token_losses;
use super::design::Design;
use super::deviation::Deviation;
use super::error::Result;
use super::fault::Fault;
use super::graph::{Graph, Weights};
use super::matrix::Number;
use super::tensors::{TensorSet, read_tensors, weights_of};
use super::training::{LAST_PLACES, SPREAD};
use crate::data::cache::TokenFile;

/// Windows whose tokens say what rounding does.
const ROUNDED_WINDOWS: usize = 8;
/// Multiplications of a loss that is still measured again as a whole.
const LARGEST: f64 = 2e11;

/// A checkpoint to be measured again.
pub struct FinalWeights {
    design: Design,
    tensors: TensorSet,
    fault: Option<Fault>,
}

impl FinalWeights {
    /// The checkpoint in a folder.
    pub fn read(folder: &Path, fault: Option<Fault>) -> Result<Self> {
        let (design, path) = (Design::read(folder)?, folder.join("model.safetensors"));
        let tensors = read_tensors(&path)?;
        design.check(&tensors, &path)?;
        Ok(Self { design, tensors, fault })
    }

    /// Numbers in all tensors.
    pub fn parameters(&self) -> usize {
        self.tensors.values().map(|t| t.data.len()).sum()
    }

    /// The count on record beside that of the tensors.
    pub fn beside_count(&self, recorded: f64) -> Deviation {
        let fewer = usize::from(self.fault == Some(Fault::CountsOneLess));
        let counted = (self.parameters() - fewer) as f64;
        Deviation::new("number of parameters", (recorded - counted).abs(), 0.5)
    }

    /// The loss on record beside that of every disjoint window of a text, each from an empty state; nothing where
    /// that would take too long.
    pub fn beside_loss(&self, recorded: f64, text: &TokenFile, length: usize) -> Option<Deviation> {
        let windows = text.len().saturating_sub(1) / length;
        let work = self.parameters() as f64 * (windows * length) as f64;
        if work > LARGEST || windows == 0 {
            return None;
        }
        let shift = usize::from(self.fault == Some(Fault::ShiftedWindows));
        let read = |window: usize| {
            let start = window * length + shift * (length / 2);
            let tokens: Vec<usize> = text.tokens(start..start + length + 1).map(|t| t as usize).collect();
            (tokens[..length].to_vec(), tokens[1..].to_vec())
        };
        let wide: Weights<f64> = weights_of(&self.tensors);
        let narrow: Weights<f32> = weights_of(&self.tensors);
        let all: Vec<Vec<f64>> =
            (0..windows - shift).into_par_iter().map(|i| self.losses(&wide, &read(i))).collect();
        let each = windows.div_ceil(ROUNDED_WINDOWS);
        let apart: Vec<f64> = (0..windows - shift)
            .into_par_iter()
            .step_by(each)
            .flat_map_iter(|i| {
                let rounded = self.losses(&narrow, &read(i));
                all[i].iter().zip(rounded).map(|(a, b)| (a - b).abs()).collect::<Vec<_>>()
            })
            .collect();
        let mean = |xs: &mut dyn Iterator<Item = f64>, n: usize| xs.sum::<f64>() / n as f64;
        let loss = mean(&mut all.iter().flatten().copied(), all.len() * length);
        let apart = mean(&mut apart.iter().copied(), apart.len());
        Some(Deviation::new("validation loss", (recorded - loss).abs(), SPREAD * apart + LAST_PLACES * loss))
    }

    fn losses<N: Number>(
        &self,
        weights: &Weights<N>,
        (inputs, targets): &(Vec<usize>, Vec<usize>),
    ) -> Vec<f64> {
        let mut graph = Graph::new(weights, self.fault);
        let end = self.design.logits(&mut graph, inputs);
        let unit = if self.fault == Some(Fault::Bits) { std::f64::consts::LN_2 } else { 1.0 };
        token_losses(graph.value(end), targets).iter().map(|loss| loss.wide() / unit).collect()
    }
}
