//! What a training left behind: its record, and the states that it kept.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::adamw::Moments;
use super::error::Result;
use super::number::Number;
use super::replay::Plan;
use super::tensors::{TensorSet, read_tensors, weights_of};
use crate::data::batches::Order;
use crate::data::cache::TokenFile;
use crate::train::Recipe;

/// Fewer numbers than this are looked at together with others.
const FEW: usize = 256;

/// Multiplications of a step that is still made again as a whole: some minutes of a core.
pub const LARGEST_STEP: f64 = 2e11;

/// Where a training lies, and what it was to do.
pub struct RunFiles<'a> {
    /// The folder of the run.
    pub folder: &'a Path,
    /// Hyper-parameters.
    pub recipe: &'a Recipe,
    /// Initialises the weights.
    pub seed: u64,
    /// The training text.
    pub text: &'a TokenFile,
    /// Its windows in the order they are read.
    pub order: &'a Order,
    /// Whether the program stored activations and matrices in bfloat16.
    pub brief: bool,
    /// Multiplications of a step up to which it is made again as a whole: [`LARGEST_STEP`], but in tests.
    pub largest: f64,
}

/// What `run.json` says.
#[derive(Deserialize)]
pub(super) struct RunReading {
    pub ending: serde_json::Value,
    pub curve: Vec<StepReading>,
    pub weights: String,
}

/// What it says of a step.
#[derive(Deserialize)]
pub(super) struct StepReading {
    pub step: u64,
    pub loss: f64,
    pub grad_norm: f64,
    #[serde(default)]
    pub rwkv_norm: Option<f64>,
    #[serde(default)]
    pub mamba_norm: Option<f64>,
    pub lr: f64,
}

/// The folder of the state after so many steps.
pub(super) fn state_folder(files: &RunFiles<'_>, steps: u64) -> PathBuf {
    files.folder.join(format!("audit-{steps:08}"))
}

/// Reads a kept state.
pub(super) fn state(files: &RunFiles<'_>, plan: &Plan<'_>, steps: u64) -> Result<[TensorSet; 3]> {
    let folder = state_folder(files, steps);
    let read = |what: &str| -> Result<TensorSet> {
        let path = folder.join(format!("{what}.safetensors"));
        let tensors = read_tensors(&path)?;
        plan.design.check(&tensors, &path)?;
        Ok(tensors)
    };
    Ok([read("weights")?, read("first")?, read("second")?])
}

pub(super) fn moments_of<N: Number>([weights, first, second]: &[TensorSet; 3]) -> Moments<N> {
    Moments { weights: weights_of(weights), first: weights_of(first), second: weights_of(second) }
}

/// A tensor's own name, or its block's where it is small.
pub(super) fn group_of(name: &str, numbers: usize) -> String {
    if numbers >= FEW {
        return name.to_owned();
    }
    let parts: Vec<&str> = name.split('.').collect();
    match parts.iter().position(|part| part.parse::<usize>().is_ok()) {
        Some(at) => format!("small tensors of {}", parts[..=at].join(".")),
        None => "small tensors outside blocks".to_owned(),
    }
}
