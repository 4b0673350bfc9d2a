//! Which model a checkpoint is, and what it computes.

use std::ops::Range;
use std::path::Path;

use serde::Deserialize;

use super::attention::{loss_slope, slopes_apart, token_losses};
use super::error::{RefereeError, Result};
use super::fault::Fault;
use super::gpt2::Gpt2Reading;
use super::graph::{Graph, ValueId, Weights};
use super::groundthink::GroundThinkReading;
use super::initial::Draw;
use super::mamba2::Mamba2Reading;
use super::matrix::Matrix;
use super::number::Number;
use super::rwkv6::Rwkv6Reading;
use super::tensors::{TensorSet, read_document};

/// A model by what its `config.json` says.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "model_type", rename_all = "lowercase")]
pub enum Design {
    /// GPT-2.
    Gpt2(Gpt2Reading),
    /// GroundThink.
    GroundThink(GroundThinkReading),
    /// RWKV-6.
    Rwkv6(Rwkv6Reading),
    /// Mamba-2.
    Mamba2(Mamba2Reading),
}

impl Design {
    /// The design of the checkpoint in a folder.
    pub fn read(folder: &Path) -> Result<Self> {
        read_document(&folder.join("config.json"))
    }

    /// Positions that it sees at a time, where it has no state to carry on.
    pub fn window(&self) -> Option<usize> {
        match self {
            Design::Gpt2(model) => Some(model.window()),
            Design::GroundThink(_) | Design::Rwkv6(_) | Design::Mamba2(_) => None,
        }
    }

    /// Every parameter in the order in which it is drawn.
    pub fn initial(&self, fault: Option<Fault>) -> Vec<Draw> {
        match self {
            Design::Gpt2(model) => model.initial(fault),
            Design::GroundThink(model) => model.initial(fault),
            Design::Rwkv6(model) => model.initial(),
            Design::Mamba2(model) => model.initial(),
        }
    }

    /// Refuses tensors that are not exactly the model's parameters.
    pub fn check(&self, tensors: &TensorSet, path: &Path) -> Result<()> {
        let all = self.initial(None);
        for draw in &all {
            let got = tensors.get(&draw.name).map_or(0, |t| t.data.len());
            if got != draw.count {
                let expected = format!("{} numbers for {:?}", draw.count, draw.name);
                return Err(RefereeError::file(path, expected, got));
            }
        }
        match tensors.keys().find(|name| all.iter().all(|d| d.name != **name)) {
            Some(more) => {
                Err(RefereeError::file(path, "no more tensors than parameters", format!("{more:?} too")))
            }
            None => Ok(()),
        }
    }

    /// The logits of some positions of a window, [rows, V]: those of every position of a long document would fill the
    /// memory.
    pub fn logits<N: Number>(
        &self,
        graph: &mut Graph<'_, N>,
        tokens: &[usize],
        rows: Range<usize>,
    ) -> ValueId {
        let [x, head] = self.ends(graph, tokens);
        let x = if rows.len() < tokens.len() { graph.some_rows(x, rows.start, rows.len()) } else { x };
        graph.times_transposed(x, head)
    }

    /// What the head is applied to, and the head.
    fn ends<N: Number>(&self, graph: &mut Graph<'_, N>, tokens: &[usize]) -> [ValueId; 2] {
        match self {
            Design::Gpt2(model) => model.ends(graph, tokens),
            Design::GroundThink(model) => model.ends(graph, tokens),
            Design::Rwkv6(model) => model.ends(graph, tokens),
            Design::Mamba2(model) => model.ends(graph, tokens),
        }
    }

    /// Loss of every token of a window, and the gradient of `share` times their mean.
    pub fn gradients<N: Number>(
        &self,
        weights: &Weights<N>,
        (inputs, targets): (&[usize], &[usize]),
        share: f64,
        fault: Option<Fault>,
    ) -> (Vec<N>, GradientSet<N>) {
        let mut graph = Graph::new(weights, fault);
        let [x, head] = self.ends(&mut graph, inputs);
        let end = graph.times_transposed(x, head);
        let (logits, share) = (graph.value(end), N::of(share));
        let all = token_losses(logits, targets);
        if N::ROUNDED && !N::BRIEF {
            let [dx, dw] = slopes_apart(logits, targets, share, [graph.value(x), graph.value(head)]);
            return (all, graph.backward([(x, dx), (head, dw)]));
        }
        (all, graph.backward([(end, loss_slope(logits, targets, share))]))
    }

    /// Loss of every token of a window in nats.
    pub fn losses(&self, weights: &Weights<f64>, inputs: &[usize], targets: &[usize]) -> Vec<f64> {
        let mut graph = Graph::forward(weights, None);
        let end = self.logits(&mut graph, inputs, 0..inputs.len());
        token_losses(graph.value(end), targets)
    }
}

/// Gradients by the names of the parameters.
pub type GradientSet<N> = std::collections::BTreeMap<String, Matrix<N>>;
