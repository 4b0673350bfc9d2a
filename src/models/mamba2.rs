//! Mamba-2 as a language model of its own (Dao & Gu 2024, §7): x += mixer(RMSNorm(x)) in every layer.
//!
//! Names and configuration keys are those of the public checkpoints in transformers' layout
//! (`backbone.layers.N.mixer.…`); the head is the embedding or `lm_head.weight`, as
//! `tie_word_embeddings` says. The gated norm averages over each group's share of the channels, as the authors' module
//! does, and transformers from 5.23 on.

use candle_core::{Result, bail};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::architecture::Architecture;
use super::gpt2::Gpt2Config;
use super::keys::{ConfigKey, INITIALISATION, KeyEffect, RUNTIME, TRAINING};
use super::mamba2_mixer::{MambaShape, Settings, mixer};
use super::model_stats::{ModelStats, count, layers_to_match};
use super::network::Network;
use super::params::{Declared, Init, Params};
use super::state::State;
use crate::ops::{Normed, Tape, Var, add, embedding, rms_norm};
use crate::scale::Scale;

/// Dimensions, under the public keys; what is absent is as published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mamba2Config {
    /// Vocabulary.
    pub vocab_size: usize,
    /// Width.
    pub hidden_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads of a layer.
    #[serde(default = "published::num_heads")]
    pub num_heads: usize,
    /// Channels of a head.
    #[serde(default = "published::head_dim")]
    pub head_dim: usize,
    /// State columns of a channel.
    #[serde(default = "published::state_size")]
    pub state_size: usize,
    /// Groups that share B and C.
    #[serde(default = "published::n_groups")]
    pub n_groups: usize,
    /// Inner width over width.
    #[serde(default = "published::expand")]
    pub expand: usize,
    /// Taps of the convolution.
    #[serde(default = "published::conv_kernel")]
    pub conv_kernel: usize,
    /// Whether the projections have biases.
    #[serde(default)]
    pub use_bias: bool,
    /// Whether the convolution has one.
    #[serde(default = "published::yes")]
    pub use_conv_bias: bool,
    /// Whether the head is the embedding.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// ε of every norm.
    #[serde(default = "published::eps", alias = "norm_eps")]
    pub layer_norm_epsilon: f64,
    /// Lower and upper limit of Δ.
    #[serde(
        default = "published::dt_limit",
        alias = "dt_limit",
        deserialize_with = "read_limits",
        serialize_with = "write_limits"
    )]
    pub time_step_limit: (f64, f64),
    /// The only one is SiLU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden_act: Option<String>,
}

/// Defaults of transformers' configuration.
mod published {
    pub(super) fn num_heads() -> usize {
        128
    }
    pub(super) fn head_dim() -> usize {
        64
    }
    pub(super) fn state_size() -> usize {
        128
    }
    pub(super) fn n_groups() -> usize {
        8
    }
    pub(super) fn expand() -> usize {
        2
    }
    pub(super) fn conv_kernel() -> usize {
        4
    }
    pub(super) fn yes() -> bool {
        true
    }
    pub(super) fn eps() -> f64 {
        1e-5
    }
    pub(super) fn dt_limit() -> (f64, f64) {
        (0.0, f64::INFINITY)
    }
}

/// A limit is a number, `Infinity` included, or transformers' `{"__float__": "Infinity"}`.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Limit {
    Number(f64),
    Tagged {
        #[serde(rename = "__float__")]
        word: String,
    },
    /// What earlier versions of this program made of an infinity, which JSON does not know.
    None(()),
}

fn read_limits<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<(f64, f64), D::Error> {
    let limit = |l: Limit| match l {
        Limit::Number(x) => Ok(x),
        Limit::Tagged { word } => word.parse().map_err(serde::de::Error::custom),
        Limit::None(()) => Ok(f64::INFINITY),
    };
    let (low, high) = <(Limit, Limit)>::deserialize(from)?;
    let (low, high) = (limit(low)?, limit(high)?);
    match low.is_finite() && low <= high {
        true => Ok((low, high)),
        false => Err(serde::de::Error::custom(format!("time steps from {low} to {high}"))),
    }
}

/// Infinities as transformers 5 writes and reads them.
fn write_limits<S: Serializer>((low, high): &(f64, f64), to: S) -> std::result::Result<S::Ok, S::Error> {
    let limit = |x: f64| match x {
        f64::INFINITY => Limit::Tagged { word: "Infinity".to_owned() },
        x => Limit::Number(x),
    };
    (limit(*low), limit(*high)).serialize(to)
}

impl Mamba2Config {
    fn head(&self) -> &'static str {
        if self.tie_word_embeddings { "backbone.embeddings.weight" } else { "lm_head.weight" }
    }

    fn shape(&self) -> MambaShape {
        MambaShape {
            expand: self.expand,
            head_dim: self.head_dim,
            state_size: self.state_size,
            n_groups: self.n_groups,
            conv_kernel: self.conv_kernel,
        }
    }
}

impl Architecture for Mamba2Config {
    const KEYS: &'static [ConfigKey] = &[
        ("vocab_size", KeyEffect::Extent),
        ("hidden_size", KeyEffect::Extent),
        ("num_hidden_layers", KeyEffect::Blocks),
        ("num_heads", KeyEffect::Extent),
        ("head_dim", KeyEffect::Extent),
        ("state_size", KeyEffect::Extent),
        ("n_groups", KeyEffect::Extent),
        ("expand", KeyEffect::Extent),
        ("conv_kernel", KeyEffect::Extent),
        ("use_bias", KeyEffect::Setting),
        ("use_conv_bias", KeyEffect::Setting),
        ("tie_word_embeddings", KeyEffect::Setting),
        ("layer_norm_epsilon", KeyEffect::Setting),
        ("time_step_limit", KeyEffect::Setting),
        ("hidden_act", KeyEffect::Setting),
        ("rms_norm", KeyEffect::Only(&["true"])),
        ("norm_before_gate", KeyEffect::Only(&["false"])),
        ("residual_in_fp32", KeyEffect::Nothing("everything is float32")),
        ("chunk_size", RUNTIME),
        ("initializer_range", INITIALISATION),
        // transformers 5.24 divides the weights of out_proj by the root of the layers when it has loaded them.
        ("rescale_prenorm_residual", KeyEffect::OnlyInTransformers(&["false"])),
        ("time_step_rank", INITIALISATION),
        ("time_step_min", INITIALISATION),
        ("time_step_max", INITIALISATION),
        ("time_step_floor", INITIALISATION),
        // flash-linear-attention's, under the same model_type and with the same tensors.
        ("norm_eps", KeyEffect::Foreign("layer_norm_epsilon", FLA)),
        ("dt_limit", KeyEffect::Foreign("time_step_limit", FLA)),
        ("rmsnorm", KeyEffect::Only(&["true"])),
        ("D_has_hdim", KeyEffect::Only(&["false"])),
        ("A_init_range", INITIALISATION),
        ("conv_init", INITIALISATION),
        ("dt_min", INITIALISATION),
        ("dt_max", INITIALISATION),
        ("dt_init_floor", INITIALISATION),
        ("fuse_norm", RUNTIME),
        ("fuse_cross_entropy", RUNTIME),
        ("fuse_linear_cross_entropy", RUNTIME),
        ("use_l2warp", TRAINING),
    ];

    /// At the width of a scale, with a tied head and as many layers as GPT-2's parameters allow.
    fn at(scale: &Scale, vocab_size: usize, context: usize) -> Self {
        let shape = MambaShape::of(scale.d_model, scale.d_model / scale.n_head);
        let with = |num_hidden_layers| Self {
            vocab_size,
            hidden_size: scale.d_model,
            num_hidden_layers,
            num_heads: shape.expand * scale.n_head,
            head_dim: shape.head_dim,
            state_size: shape.state_size,
            n_groups: shape.n_groups,
            expand: shape.expand,
            conv_kernel: shape.conv_kernel,
            use_bias: false,
            use_conv_bias: true,
            tie_word_embeddings: true,
            layer_norm_epsilon: published::eps(),
            time_step_limit: published::dt_limit(),
            hidden_act: None,
        };
        let target = Gpt2Config::at(scale, vocab_size, context).model_stats().total;
        with(layers_to_match(target, |layers| count(&with(layers).declare())))
    }

    fn model_stats(&self) -> ModelStats {
        let layers = self.num_hidden_layers * self.shape().macs(self.hidden_size);
        ModelStats::of(&self.declare(), "backbone.embeddings.weight", self.head(), layers)
    }

    fn check(&self) -> Result<()> {
        let inner = self.expand.saturating_mul(self.hidden_size);
        if self.num_heads == 0 || self.num_heads.saturating_mul(self.head_dim) != inner {
            bail!(
                "num_heads {} times head_dim {}, which is not expand {} times hidden_size {}",
                self.num_heads,
                self.head_dim,
                self.expand,
                self.hidden_size
            );
        }
        if self.n_groups == 0 || !self.num_heads.is_multiple_of(self.n_groups) {
            bail!("n_groups {}, which is no divisor of num_heads {}", self.n_groups, self.num_heads);
        }
        if self.conv_kernel == 0 {
            bail!("conv_kernel 0");
        }
        match self.hidden_act.as_deref() {
            None | Some("silu" | "swish") => Ok(()),
            Some(other) => bail!("hidden_act {other:?}, and only \"silu\" is known"),
        }
    }

    fn declare(&self) -> Vec<Declared> {
        let (d, l) = (self.hidden_size, self.num_hidden_layers);
        let (zero, one) = (Init::Constant(0.0), Init::Constant(1.0));
        let words = || Init::Normal(0.1);
        let mut all = vec![Declared::matrix("backbone.embeddings.weight", &[self.vocab_size, d], words())];
        for i in 0..l {
            let layer = format!("backbone.layers.{i}.");
            all.push(Declared::vector(format!("{layer}norm.weight"), &[d], one.clone()));
            let mixer = format!("{layer}mixer.");
            let conv_bias = format!("{mixer}conv1d.bias");
            let parts = self.shape().declare(&mixer, d, l).into_iter();
            let parts: Vec<_> = parts.filter(|p| self.use_conv_bias || p.name != conv_bias).collect();
            if self.use_bias {
                let width = parts[0].shape[0];
                all.push(Declared::vector(format!("{mixer}in_proj.bias"), &[width], zero.clone()));
                all.push(Declared::vector(format!("{mixer}out_proj.bias"), &[d], zero.clone()));
            }
            all.extend(parts);
        }
        all.push(Declared::vector("backbone.norm_f.weight", &[d], one));
        if !self.tie_word_embeddings {
            all.push(Declared::matrix("lm_head.weight", &[self.vocab_size, d], words()));
        }
        all
    }

    fn tied(&self) -> Option<(&'static str, &'static str)> {
        self.tie_word_embeddings.then_some(("lm_head.weight", "backbone.embeddings.weight"))
    }

    /// mamba-ssm has its own name for the embedding, which transformers also reads.
    fn public_name<'a>(&self, name: &'a str) -> &'a str {
        if name == "backbone.embedding.weight" { "backbone.embeddings.weight" } else { name }
    }

    fn network(&self, params: Params) -> Box<dyn Network> {
        Box::new(Mamba2 { config: self.clone(), params })
    }
}

/// What flash-linear-attention's keys must stand beside: its gated norm knows no groups in one version and those of
/// the state in another.
const FLA: &[(&str, Option<&str>)] =
    &[("n_groups", Some("1")), ("num_heads", None), ("head_dim", None), ("state_size", None)];

/// The network.
struct Mamba2 {
    config: Mamba2Config,
    params: Params,
}

impl Network for Mamba2 {
    fn params(&self) -> &Params {
        &self.params
    }

    fn with_params(&self, params: Params) -> Box<dyn Network> {
        self.config.network(params)
    }

    fn new_state(&self, batch: usize) -> Result<State> {
        let (c, params) = (&self.config, &self.params);
        let layer = |_| c.shape().new_state(batch, c.hidden_size, params);
        Ok(State::new(batch, (0..c.num_hidden_layers).map(layer).collect::<Result<_>>()?))
    }

    fn backbone(&self, tape: &Tape, tokens: &[u32], state: &mut State) -> Result<Var> {
        self.check_tokens(tokens, state)?;
        let (c, p) = (&self.config, self.params.scope(tape, "backbone."));
        let settings = Settings { eps: c.layer_norm_epsilon, dt_limit: c.time_step_limit };
        let mut x = embedding(tape, &p.get("embeddings.weight")?, tokens)?;
        for i in 0..c.num_hidden_layers {
            let w = p.get(&format!("layers.{i}.norm.weight"))?;
            let h = Normed::rms(tape, &x, &w, c.layer_norm_epsilon)?;
            let scope = self.params.scope(tape, format!("backbone.layers.{i}.mixer."));
            let mixed = mixer(&scope, &c.shape(), settings, &h, state, i)?;
            state.set(i, mixed.state)?;
            x = add(tape, &x, &mixed.y.make(tape)?)?;
        }
        state.advance(tokens.len() / state.batch());
        rms_norm(tape, &x, &p.get("norm_f.weight")?, c.layer_norm_epsilon)
    }

    fn head(&self) -> &'static str {
        self.config.head()
    }
}
