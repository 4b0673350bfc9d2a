//! The table of architectures: a model is a file with its configuration and network, and a row here.

use candle_core::Result;
use serde::{Deserialize, Serialize};

use super::architecture::{Architecture, DimsOf};
use super::gpt2::Gpt2Config;
use super::groundthink::GroundThinkConfig;
use super::keys::ConfigKey;
use super::mamba2::Mamba2Config;
use super::model_stats::ModelStats;
use super::network::Network;
use super::params::{Declared, Params};
use super::rwkv6::Rwkv6Config;
use crate::scale::Scale;

macro_rules! architectures {
    ($($variant:ident($config:ty), $name:literal, $about:literal;)*) => {
        /// What `config.json` says: the architecture and its dimensions.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "model_type", rename_all = "lowercase")]
        pub enum Config {
            $(#[doc = $about] $variant($config),)*
        }

        /// Every model. The first is the baseline.
        pub const MODELS: &[ModelSpec] = &[$(ModelSpec {
            name: $name,
            about: $about,
            config: |scale, vocab, context| Config::$variant(<$config>::at(scale, vocab, context)),
        },)*];

        impl Config {
            /// The name under which the model is listed.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)* }
            }

            /// What the keys of `config.json` mean for the model of that name, beside those that all models have.
            pub fn keys(name: &str) -> Option<&'static [ConfigKey]> {
                match name { $($name => Some(<$config>::KEYS),)* _ => None }
            }

            /// Whether a checkpoint may hold a tensor of this name that the function does not depend on.
            pub fn is_buffer(&self, name: &str) -> bool {
                match self { $(Self::$variant(c) => c.is_buffer(name),)* }
            }

            /// The name under which a head that is tied to the embedding may lie in a checkpoint a second time, and
            /// the embedding's own.
            pub fn tied(&self) -> Option<(&'static str, &'static str)> {
                match self { $(Self::$variant(c) => c.tied(),)* }
            }

            /// Refuses dimensions that do not divide as they must; the others show in the tensors.
            pub fn check(&self) -> Result<()> {
                match self { $(Self::$variant(c) => c.check(),)* }
            }

            /// The name by which a tensor of a published checkpoint is declared.
            pub fn public_name<'a>(&self, name: &'a str) -> &'a str {
                match self { $(Self::$variant(c) => c.public_name(name),)* }
            }

            /// Completes a configuration by what only the shapes of a checkpoint's tensors tell.
            pub fn complete(&mut self, dims: DimsOf<'_>) {
                match self { $(Self::$variant(c) => c.complete(dims),)* }
            }

            /// The parameters of such a model, with their initialisation.
            pub fn declare(&self) -> Vec<Declared> {
                match self { $(Self::$variant(c) => c.declare(),)* }
            }

            /// Parameter and work counts, from the dimensions alone.
            pub fn model_stats(&self) -> ModelStats {
                match self { $(Self::$variant(c) => c.model_stats(),)* }
            }

            /// The network of this configuration over given parameters.
            pub(super) fn network(&self, params: Params) -> Box<dyn Network> {
                match self { $(Self::$variant(c) => c.network(params),)* }
            }

            /// The same with room for at least so many positions, and the parameter that holds them; none where
            /// nothing limits them already.
            pub(super) fn with_positions(&self, positions: usize) -> Option<(Self, &'static str)> {
                match self {
                    $(Self::$variant(c) => {
                        let (longer, parameter) = c.with_positions(positions)?;
                        Some((Self::$variant(longer), parameter))
                    })*
                }
            }
        }
    };
}

architectures! {
    Gpt2(Gpt2Config), "gpt2", "GPT-2: pre-norm transformer, learned positions, tied head (Radford et al. 2019)";
    Groundthink(GroundThinkConfig), "groundthink", "RWKV-6 and Mamba-2 in parallel in every block, fused by a learned gate";
    Mamba2(Mamba2Config), "mamba2", "Mamba-2 alone (Dao & Gu 2024)";
    Rwkv6(Rwkv6Config), "rwkv6", "RWKV-6 alone (Peng et al. 2024)";
}

/// A row of [`MODELS`].
pub struct ModelSpec {
    /// Name on the command line and in ledgers.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Its configuration at a scale, for a vocabulary and a trained context length in tokens.
    pub config: fn(&Scale, usize, usize) -> Config,
}

/// The model of that name.
pub fn find(name: &str) -> Option<&'static ModelSpec> {
    MODELS.iter().find(|m| m.name == name)
}
