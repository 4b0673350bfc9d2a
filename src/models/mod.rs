//! The architectures under comparison, all behind [`LanguageModel`].
//!
//! Reading order: [`State`] is what a model carries from call to call and [`Params`] its weights under public names;
//! a [`Network`] is a function from tokens and state to hidden states; an [`Architecture`] is a configuration that
//! declares the parameters of a network; [`Config`] and [`MODELS`] are the table of them; a [`LanguageModel`] is a
//! network with its configuration. Training, prefill and single steps are one function.
//!
//! To add a model: a file with its configuration (an [`Architecture`]) and its [`Network`], and a row of the table in
//! `architectures.rs`.

mod activation;
mod architecture;
mod architectures;
mod config_file;
mod gpt2;
mod groundthink;
mod keys;
mod language_model;
mod layouts;
mod mamba2;
mod mamba2_mixer;
mod mamba_ssm;
mod model_stats;
mod network;
mod params;
mod rwkv6;
mod rwkv6_time_mix;
mod state;

pub use activation::Activation;
pub use architecture::{Architecture, DimsOf};
pub use architectures::{Config, MODELS, ModelSpec, find};
pub use config_file::ConfigFile;
pub use gpt2::Gpt2Config;
pub use groundthink::GroundThinkConfig;
pub use keys::{COMMON, ConfigKey, KeyEffect};
pub use language_model::{LanguageModel, with_positions};
pub use layouts::foreign_layout;
pub use mamba_ssm::MAMBA_SSM;
pub use mamba2::Mamba2Config;
pub use mamba2_mixer::MambaShape;
pub use model_stats::ModelStats;
pub use network::{Branch, Hybrid, Network};
pub use params::{Declared, Entry, Init, Params, Scope};
pub use rwkv6::Rwkv6Config;
pub use rwkv6_time_mix::RwkvShape;
pub use state::State;
