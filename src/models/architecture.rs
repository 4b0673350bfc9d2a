//! What the configuration of an architecture gives: its parameters, its counts, and the network over them.

use candle_core::{Result, bail};

use super::keys::ConfigKey;
use super::model_stats::ModelStats;
use super::network::Network;
use super::params::{Declared, Params};
use crate::scale::Scale;

/// The shape of a tensor in a checkpoint, by its name.
pub type DimsOf<'a> = &'a dyn Fn(&str) -> Option<Vec<usize>>;

/// A model's configuration: what `config.json` says of it.
pub trait Architecture: Clone {
    /// What the keys of `config.json` mean, beside those that all models have.
    const KEYS: &'static [ConfigKey];

    /// The configuration at a scale, for a vocabulary and a trained context length in tokens.
    fn at(scale: &Scale, vocab_size: usize, context: usize) -> Self;

    /// Refuses dimensions that do not divide as they must; the others show in the tensors.
    fn check(&self) -> Result<()>;

    /// The parameters, with their initialisation.
    fn declare(&self) -> Vec<Declared>;

    /// Parameter and work counts.
    fn model_stats(&self) -> ModelStats;

    /// The network over given parameters.
    fn network(&self, params: Params) -> Box<dyn Network>;

    /// The name by which a tensor of a published checkpoint is declared.
    fn public_name<'a>(&self, name: &'a str) -> &'a str {
        name
    }

    /// Whether a checkpoint may hold a tensor of this name that the function does not depend on.
    fn is_buffer(&self, _name: &str) -> bool {
        false
    }

    /// The name under which a head that is tied to the embedding may lie in a checkpoint a second time, and the
    /// embedding's own.
    fn tied(&self) -> Option<(&'static str, &'static str)> {
        None
    }

    /// Completes a configuration by what only the shapes of a checkpoint's tensors tell.
    fn complete(&mut self, _dims: DimsOf<'_>) {}

    /// The same with room for at least so many positions, and the name of the parameter that holds them; none where
    /// nothing limits them already.
    fn with_positions(&self, _positions: usize) -> Option<(Self, &'static str)> {
        None
    }
}

/// Refuses a part that does not divide the whole.
pub(super) fn divides(field: &str, part: usize, whole: usize) -> Result<()> {
    match part > 0 && whole.is_multiple_of(part) {
        true => Ok(()),
        false => bail!("{field} {part}, which is no divisor of {whole}"),
    }
}
