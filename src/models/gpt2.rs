//! GPT-2 (Radford et al. 2019): pre-norm transformer with learned positions and a tied head, with the switches that
//! published checkpoints use.
//!
//! | symbol | |
//! |---|---|
//! | x | residual stream, [B·T, d] |
//! | block | x += proj(attention(LN₁ x)); x += W₂ gelu(W₁ LN₂ x) |
//!
//! Names and layouts are those of the public checkpoints, without the `transformer.` prefix;
//! matrices are stored [in, out]. Initialisation is the publication's: normal with standard
//! deviation 0.02 (0.01 for positions), residual projections divided by √(2·n_layer), biases zero.

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::activation::Activation;
use super::architecture::{Architecture, divides};
use super::keys::{ConfigKey, INITIALISATION, KeyEffect, TRAINING};
use super::model_stats::ModelStats;
use super::network::Network;
use super::params::{Declared, Init, Params, Scope};
use super::state::State;
use crate::ops::{
    Layout, Normed, Pointwise, Tape, Var, add, causal_attention, embedding, layer_norm, lerp, linear_of_norm,
    linear_onto,
};
use crate::scale::Scale;

/// Dimensions, under the public keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gpt2Config {
    /// Vocabulary.
    pub vocab_size: usize,
    /// Context window.
    #[serde(alias = "max_position_embeddings")]
    pub n_positions: usize,
    /// Width.
    #[serde(alias = "hidden_size")]
    pub n_embd: usize,
    /// Blocks.
    #[serde(alias = "num_hidden_layers")]
    pub n_layer: usize,
    /// Heads.
    #[serde(alias = "num_attention_heads")]
    pub n_head: usize,
    /// Feed-forward width; four times the width where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_inner: Option<usize>,
    /// ε of every layer norm.
    #[serde(default = "default_eps")]
    pub layer_norm_epsilon: f64,
    /// The activation of the feed-forward layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation_function: Option<Activation>,
    /// Whether scores of the attention are divided by the root of the head's width.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub scale_attn_weights: bool,
    /// Whether scores are also divided by the block's number, counted from one.
    #[serde(default, skip_serializing_if = "is_no")]
    pub scale_attn_by_inverse_layer_idx: bool,
    /// Whether the head is the embedding.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub tie_word_embeddings: bool,
}

fn yes() -> bool {
    true
}

fn is_yes(switch: &bool) -> bool {
    *switch
}

fn is_no(switch: &bool) -> bool {
    !switch
}

/// The embedding.
const EMBEDDING: &str = "wte.weight";

/// The output embedding, where it is not the same.
const HEAD: &str = "lm_head.weight";

/// The learned positions.
const POSITIONS: &str = "wpe.weight";

fn default_eps() -> f64 {
    1e-5
}

impl Gpt2Config {
    fn d_ff(&self) -> usize {
        self.n_inner.unwrap_or(4 * self.n_embd)
    }

    fn head(&self) -> &'static str {
        if self.tie_word_embeddings { EMBEDDING } else { HEAD }
    }

    /// By what a block's scores differ from those that are divided by the root of the head's width alone.
    fn score_factor(&self, layer: usize) -> f64 {
        let unscaled =
            if self.scale_attn_weights { 1.0 } else { ((self.n_embd / self.n_head) as f64).sqrt() };
        if self.scale_attn_by_inverse_layer_idx { unscaled / (layer + 1) as f64 } else { unscaled }
    }
}

impl Architecture for Gpt2Config {
    const KEYS: &'static [ConfigKey] = &[
        ("vocab_size", KeyEffect::Extent),
        ("n_positions", KeyEffect::Extent),
        ("max_position_embeddings", KeyEffect::Alias("n_positions")),
        ("n_embd", KeyEffect::Extent),
        ("hidden_size", KeyEffect::Alias("n_embd")),
        ("n_layer", KeyEffect::Blocks),
        ("num_hidden_layers", KeyEffect::Alias("n_layer")),
        ("n_head", KeyEffect::Extent),
        ("num_attention_heads", KeyEffect::Alias("n_head")),
        ("n_inner", KeyEffect::Extent),
        ("layer_norm_epsilon", KeyEffect::Setting),
        ("activation_function", KeyEffect::Setting),
        ("scale_attn_weights", KeyEffect::Setting),
        ("scale_attn_by_inverse_layer_idx", KeyEffect::Setting),
        ("tie_word_embeddings", KeyEffect::Setting),
        ("n_ctx", KeyEffect::Nothing("n_positions says how long a text may be")),
        ("reorder_and_upcast_attn", KeyEffect::Nothing("the same scores in another order and float32")),
        ("resid_pdrop", TRAINING),
        ("embd_pdrop", TRAINING),
        ("attn_pdrop", TRAINING),
        ("initializer_range", INITIALISATION),
        ("summary_type", OTHER_HEAD),
        ("summary_use_proj", OTHER_HEAD),
        ("summary_activation", OTHER_HEAD),
        ("summary_proj_to_labels", OTHER_HEAD),
        ("summary_first_dropout", OTHER_HEAD),
    ];

    /// The configuration at a scale (ruling R1).
    fn at(scale: &Scale, vocab_size: usize, n_positions: usize) -> Self {
        Self {
            vocab_size,
            n_positions,
            n_embd: scale.d_model,
            n_layer: scale.n_layer,
            n_head: scale.n_head,
            n_inner: Some(scale.d_ff),
            layer_norm_epsilon: default_eps(),
            activation_function: None,
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
            tie_word_embeddings: true,
        }
    }

    fn check(&self) -> Result<()> {
        divides("n_head", self.n_head, self.n_embd)
    }

    fn declare(&self) -> Vec<Declared> {
        let (d, ff) = (self.n_embd, self.d_ff());
        let (zero, one, std) = (Init::Constant(0.0), Init::Constant(1.0), Init::Normal(0.02));
        let residual = Init::Normal(0.02 / (2.0 * self.n_layer as f64).sqrt());
        let mut all = vec![
            Declared::matrix(EMBEDDING, &[self.vocab_size, d], std.clone()),
            Declared::matrix(POSITIONS, &[self.n_positions, d], Init::Normal(0.01)),
        ];
        for i in 0..self.n_layer {
            let mut put = |name: &str, shape: &[usize], init: &Init| {
                let name = format!("h.{i}.{name}");
                let new = if shape.len() > 1 { Declared::matrix } else { Declared::vector };
                all.push(new(name, shape, init.clone()));
            };
            put("ln_1.weight", &[d], &one);
            put("ln_1.bias", &[d], &zero);
            put("attn.c_attn.weight", &[d, 3 * d], &std);
            put("attn.c_attn.bias", &[3 * d], &zero);
            put("attn.c_proj.weight", &[d, d], &residual);
            put("attn.c_proj.bias", &[d], &zero);
            put("ln_2.weight", &[d], &one);
            put("ln_2.bias", &[d], &zero);
            put("mlp.c_fc.weight", &[d, ff], &std);
            put("mlp.c_fc.bias", &[ff], &zero);
            put("mlp.c_proj.weight", &[ff, d], &residual);
            put("mlp.c_proj.bias", &[d], &zero);
        }
        all.push(Declared::vector("ln_f.weight", &[d], one));
        all.push(Declared::vector("ln_f.bias", &[d], zero));
        if !self.tie_word_embeddings {
            all.push(Declared::matrix(HEAD, &[self.vocab_size, d], std));
        }
        all
    }

    fn model_stats(&self) -> ModelStats {
        let (d, ff, l) = (self.n_embd, self.d_ff(), self.n_layer);
        let embedding = self.vocab_size * d;
        let positional = self.n_positions * d;
        let head = if self.tie_word_embeddings { 0 } else { embedding };
        let matrices = 4 * d * d + 2 * d * ff;
        let non_embedding = l * (matrices + 9 * d + ff) + 2 * d;
        // Scores and weighted values over half the window on average: 2 · 2 · d · T/2.
        let attention = 2.0 * (d * self.n_positions) as f64;
        ModelStats {
            total: embedding + head + positional + non_embedding,
            embedding: embedding + head,
            positional,
            non_embedding,
            forward_flops_per_token: 2.0 * (l * matrices + embedding) as f64 + l as f64 * attention,
        }
    }

    fn network(&self, params: Params) -> Box<dyn Network> {
        Box::new(Gpt2 { config: self.clone(), params })
    }

    /// Older checkpoints carry the causal mask and the score of what it hides.
    fn is_buffer(&self, name: &str) -> bool {
        let block = name.strip_prefix("h.").and_then(|rest| rest.split_once('.'));
        block.is_some_and(|(layer, rest)| {
            let known = layer.parse().is_ok_and(|layer: usize| layer < self.n_layer);
            known && matches!(rest, "attn.bias" | "attn.masked_bias")
        })
    }

    fn tied(&self) -> Option<(&'static str, &'static str)> {
        self.tie_word_embeddings.then_some((HEAD, EMBEDDING))
    }

    /// Published checkpoints come with and without a prefix.
    fn public_name<'a>(&self, name: &'a str) -> &'a str {
        name.strip_prefix("transformer.").unwrap_or(name)
    }

    fn with_positions(&self, positions: usize) -> Option<(Self, &'static str)> {
        (self.n_positions < positions).then(|| (Self { n_positions: positions, ..self.clone() }, POSITIONS))
    }
}

const OTHER_HEAD: KeyEffect = KeyEffect::Nothing("a head for classification, whose tensors are refused");

/// The network.
struct Gpt2 {
    config: Gpt2Config,
    params: Params,
}

impl Gpt2 {
    fn block(&self, p: &Scope<'_>, x: &Var, state: &mut State, i: usize) -> Result<Var> {
        let (c, tape) = (&self.config, p.tape);
        let pair = |name: &str| -> Result<(Var, Var)> {
            Ok((p.get(&format!("{name}.weight"))?, p.get(&format!("{name}.bias"))?))
        };
        let norm = |x: &Var, name: &str| {
            let (w, b) = pair(name)?;
            Normed::layer(tape, x, &w, &b, c.layer_norm_epsilon)
        };
        let onto = |residual: &Var, x: &Var, name: &str| {
            let (w, b) = pair(name)?;
            linear_onto(tape, Some(residual), x, &w, Some(&b), Layout::InOut)
        };
        let (w, b) = pair("attn.c_attn")?;
        let h = norm(x, "ln_1")?;
        let qkv = linear_of_norm(tape, &h, &w, Some(&b), Layout::InOut, Pointwise::Identity)?;
        let qkv = self.scaled(tape, qkv, i)?;
        let past = state.take_cache(i)?;
        let (y, cache) = causal_attention(tape, &qkv, state.batch(), c.n_head, past)?;
        state.set_cache(i, cache)?;
        let x = onto(x, &y, "attn.c_proj")?;
        let (w, b) = pair("mlp.c_fc")?;
        let h = c.activation_function.unwrap_or_default().of_linear(tape, &norm(&x, "ln_2")?, &w, &b)?;
        onto(&x, &h, "mlp.c_proj")
    }
}

impl Gpt2 {
    /// Queries, keys and values [B·T, 3·d] with the queries multiplied by what a block's scores are.
    fn scaled(&self, tape: &Tape, qkv: Var, layer: usize) -> Result<Var> {
        let (factor, d) = (self.config.score_factor(layer), self.config.n_embd);
        if factor == 1.0 {
            return Ok(qkv);
        }
        let more = (0..3 * d).map(|column| if column < d { (factor - 1.0) as f32 } else { 0.0 });
        let more = Tensor::from_iter(more, qkv.tensor().device())?.to_dtype(self.params.flat().dtype())?;
        lerp(tape, &qkv, &qkv, &Var::constant(more))
    }
}

impl Network for Gpt2 {
    fn params(&self) -> &Params {
        &self.params
    }

    fn with_params(&self, params: Params) -> Box<dyn Network> {
        self.config.network(params)
    }

    fn new_state(&self, batch: usize) -> Result<State> {
        // A view of nothing: some drivers do not like to allocate no bytes.
        let empty = || self.params.no_inputs((batch, 1, self.config.n_embd))?.narrow(1, 0, 0);
        let layers = (0..self.config.n_layer).map(|_| Ok(vec![("k", empty()?), ("v", empty()?)]));
        Ok(State::new(batch, layers.collect::<Result<_>>()?))
    }

    fn backbone(&self, tape: &Tape, tokens: &[u32], state: &mut State) -> Result<Var> {
        self.check_tokens(tokens, state)?;
        let p = self.params.scope(tape, "");
        let time = tokens.len() / state.batch();
        let start = state.position() as u32;
        let positions: Vec<u32> = (0..tokens.len()).map(|i| start + (i % time) as u32).collect();
        let words = embedding(tape, &p.get(EMBEDDING)?, tokens)?;
        let places = embedding(tape, &p.get(POSITIONS)?, &positions)?;
        let mut x = add(tape, &words, &places)?;
        for i in 0..self.config.n_layer {
            x = self.block(&self.params.scope(tape, format!("h.{i}.")), &x, state, i)?;
        }
        state.advance(time);
        let eps = self.config.layer_norm_epsilon;
        layer_norm(tape, &x, &p.get("ln_f.weight")?, &p.get("ln_f.bias")?, eps)
    }

    fn head(&self) -> &'static str {
        self.config.head()
    }

    fn window(&self) -> Option<usize> {
        Some(self.config.n_positions)
    }
}
