//! RWKV-6 as a language model of its own ("Finch", x060; Peng et al. 2024, §4).
//!
//! | symbol | |
//! |---|---|
//! | block | x += att(LN₁ x); x += ffn(LN₂ x); the first block normalises the embedding before (LN₀) |
//! | ffn | sigmoid(R x_r) · V max(K x_k, 0)², with x_k and x_r mixed with the token before |
//!
//! Names are those of the authors' release, the head is a matrix of its own. Ranks of the low-rank
//! maps are no configuration keys there: a checkpoint's tensors tell them.

use candle_core::{Result, bail};
use serde::{Deserialize, Serialize};

use super::architecture::{Architecture, DimsOf};
use super::gpt2::Gpt2Config;
use super::keys::{ConfigKey, KeyEffect};
use super::layouts::{FLA_RWKV, RWKV_PORT};
use super::model_stats::{ModelStats, count, layers_to_match};
use super::network::{MixerOutput, Network};
use super::params::{Declared, Init, Params, Scope};
use super::rwkv6_time_mix::{HEAD_SIZE_DIVISOR, RwkvShape, last_rows, time_mix};
use super::state::State;
use crate::ops::{
    Layout, Normed, Tape, Var, add, embedding, lerp, linear, relu_squared, sigmoid_product, token_shift,
};
use crate::scale::Scale;

/// Dimensions, under the public keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rwkv6Config {
    /// Vocabulary.
    pub vocab_size: usize,
    /// Width.
    pub hidden_size: usize,
    /// Width inside the time mixing; the width where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_hidden_size: Option<usize>,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Channels of a head.
    #[serde(default = "published::head_size")]
    pub head_size: usize,
    /// ε of the heads' norm is 1e-5 times its square.
    #[serde(default = "published::head_size_divisor")]
    pub head_size_divisor: f64,
    /// Width inside the channel mixing; 3.5 times the width, down to a multiple of 32, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intermediate_size: Option<usize>,
    /// ε of every layer norm.
    #[serde(default = "published::eps")]
    pub layer_norm_epsilon: f64,
    /// Rank of the mixing maps; read off the tensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mix_rank: Option<usize>,
    /// Rank of the decay map; read off the tensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay_rank: Option<usize>,
}

/// Defaults of the authors' configuration.
mod published {
    pub(super) fn head_size() -> usize {
        64
    }
    pub(super) fn head_size_divisor() -> f64 {
        super::HEAD_SIZE_DIVISOR
    }
    pub(super) fn eps() -> f64 {
        1e-5
    }
}

impl Rwkv6Config {
    /// The configuration of a file of the authors, which has none: dimensions are those of its tensors, and the rest
    /// is as in all their releases.
    pub fn of_tensors(dims: DimsOf<'_>) -> Result<Self> {
        let matrix = |name: &str| match dims(name).as_deref() {
            Some([rows, columns]) => Ok((*rows, *columns)),
            Some(other) => bail!("tensor {name:?} of shape {other:?}, which is no matrix"),
            None => bail!("no tensor {name:?}, which every RWKV-6 (x060) of the authors has"),
        };
        let (vocab_size, hidden_size) = matrix("emb.weight")?;
        let (heads, head_size) = matrix("blocks.0.att.time_faaaa")?;
        let block = |i: &usize| dims(&format!("blocks.{i}.ln1.weight")).is_some();
        Ok(Self {
            vocab_size,
            hidden_size,
            attention_hidden_size: Some(heads * head_size),
            num_hidden_layers: (0..).take_while(block).count(),
            head_size,
            head_size_divisor: published::head_size_divisor(),
            intermediate_size: Some(matrix("blocks.0.ffn.key.weight")?.0),
            layer_norm_epsilon: published::eps(),
            mix_rank: None,
            decay_rank: None,
        })
    }

    fn inner(&self) -> usize {
        self.attention_hidden_size.unwrap_or(self.hidden_size)
    }

    fn d_ff(&self) -> usize {
        self.intermediate_size.unwrap_or(self.hidden_size * 7 / 2 / 32 * 32)
    }

    fn shape(&self) -> RwkvShape {
        let large = self.hidden_size >= 4096;
        RwkvShape {
            head_size: self.head_size,
            mix_rank: self.mix_rank.unwrap_or(if large { 64 } else { 32 }),
            decay_rank: self.decay_rank.unwrap_or(if large { 128 } else { 64 }),
        }
    }
}

impl Architecture for Rwkv6Config {
    const KEYS: &'static [ConfigKey] = &[
        ("vocab_size", KeyEffect::Extent),
        ("hidden_size", KeyEffect::Extent),
        ("attention_hidden_size", KeyEffect::Extent),
        ("num_hidden_layers", KeyEffect::Blocks),
        ("head_size", KeyEffect::Extent),
        ("head_size_divisor", KeyEffect::Setting),
        ("intermediate_size", KeyEffect::Extent),
        ("layer_norm_epsilon", KeyEffect::Setting),
        ("mix_rank", KeyEffect::Extent),
        ("decay_rank", KeyEffect::Extent),
        ("tie_word_embeddings", KeyEffect::Only(&["false"])),
        ("rescale_every", KeyEffect::Nothing("halves weights and values alike, against overflow of float16")),
        ("auto_map", KeyEffect::Refused(RWKV_PORT)),
        // flash-linear-attention's, under the same model_type.
        ("attn", KeyEffect::Refused(FLA_RWKV)),
        ("attn_mode", KeyEffect::Refused(FLA_RWKV)),
        ("expand_k", KeyEffect::Refused(FLA_RWKV)),
        ("expand_v", KeyEffect::Refused(FLA_RWKV)),
        ("fuse_norm", KeyEffect::Refused(FLA_RWKV)),
        ("gate_low_rank_dim", KeyEffect::Refused(FLA_RWKV)),
        ("hidden_ratio", KeyEffect::Refused(FLA_RWKV)),
        ("norm_bias", KeyEffect::Refused(FLA_RWKV)),
        ("norm_eps", KeyEffect::Refused(FLA_RWKV)),
        ("norm_first", KeyEffect::Refused(FLA_RWKV)),
        ("proj_low_rank_dim", KeyEffect::Refused(FLA_RWKV)),
    ];

    /// At the width of a scale, with as many blocks as GPT-2's parameters allow. Its head is not tied.
    fn at(scale: &Scale, vocab_size: usize, context: usize) -> Self {
        let shape = RwkvShape::of(scale.d_model, scale.d_model / scale.n_head);
        let with = |num_hidden_layers| Self {
            vocab_size,
            hidden_size: scale.d_model,
            attention_hidden_size: None,
            num_hidden_layers,
            head_size: shape.head_size,
            head_size_divisor: HEAD_SIZE_DIVISOR,
            intermediate_size: None,
            layer_norm_epsilon: published::eps(),
            mix_rank: Some(shape.mix_rank),
            decay_rank: Some(shape.decay_rank),
        };
        let target = Gpt2Config::at(scale, vocab_size, context).model_stats().total;
        with(layers_to_match(target, |layers| count(&with(layers).declare())))
    }

    fn model_stats(&self) -> ModelStats {
        let ffn = 2 * self.hidden_size * self.d_ff() + self.hidden_size * self.hidden_size;
        let layers = self.num_hidden_layers * (self.shape().macs(self.hidden_size) + ffn);
        ModelStats::of(&self.declare(), "emb.weight", "head.weight", layers)
    }

    fn check(&self) -> Result<()> {
        let inner = self.inner();
        if self.head_size == 0 || !inner.is_multiple_of(self.head_size) {
            bail!("head_size {}, which is no divisor of {inner}", self.head_size);
        }
        Ok(())
    }

    /// Takes the ranks from the shapes of a checkpoint's tensors.
    fn complete(&mut self, dims: DimsOf<'_>) {
        if let Some([_, rank, _]) = dims("blocks.0.att.time_maa_w2").as_deref() {
            self.mix_rank = Some(*rank);
        }
        if let Some([_, rank]) = dims("blocks.0.att.time_decay_w1").as_deref() {
            self.decay_rank = Some(*rank);
        }
    }

    fn declare(&self) -> Vec<Declared> {
        let (d, ff, l, v) = (self.hidden_size, self.d_ff(), self.num_hidden_layers, self.vocab_size);
        let (zero, one) = (Init::Constant(0.0), Init::Constant(1.0));
        let mut all = vec![Declared::matrix("emb.weight", &[v, d], Init::Uniform(1e-4))];
        let norm = |all: &mut Vec<Declared>, name: String| {
            all.push(Declared::vector(format!("{name}.weight"), &[d], one.clone()));
            all.push(Declared::vector(format!("{name}.bias"), &[d], zero.clone()));
        };
        for i in 0..l {
            let name = |n: &str| format!("blocks.{i}.{n}");
            if i == 0 {
                norm(&mut all, name("ln0"));
            }
            norm(&mut all, name("ln1"));
            norm(&mut all, name("ln2"));
            all.extend(self.shape().declare(&name("att."), (d, self.inner()), (i, l)));
            let rest = 1.0 - i as f64 / l as f64;
            let mix = Init::Values((0..d).map(|c| 1.0 - (c as f64 / d as f64).powf(rest)).collect());
            all.extend([
                Declared::vector(name("ffn.time_maa_k"), &[1, 1, d], mix.clone()),
                Declared::vector(name("ffn.time_maa_r"), &[1, 1, d], mix),
                Declared::matrix(name("ffn.key.weight"), &[ff, d], Init::Orthogonal(1.0)),
                Declared::matrix(name("ffn.receptance.weight"), &[d, d], zero.clone()),
                Declared::matrix(name("ffn.value.weight"), &[d, ff], zero.clone()),
            ]);
        }
        norm(&mut all, "ln_out".to_owned());
        let gain = 0.5 * (v as f64 / d as f64).sqrt().max(1.0);
        all.push(Declared::matrix("head.weight", &[v, d], Init::Orthogonal(gain)));
        all
    }

    fn network(&self, params: Params) -> Box<dyn Network> {
        Box::new(Rwkv6 { config: self.clone(), params })
    }
}

/// The network.
struct Rwkv6 {
    config: Rwkv6Config,
    params: Params,
}

impl Rwkv6 {
    fn norm(&self, p: &Scope<'_>, x: &Var, name: &str) -> Result<Normed> {
        let (w, b) = (p.get(&format!("{name}.weight"))?, p.get(&format!("{name}.bias"))?);
        Normed::layer(p.tape, x, &w, &b, self.config.layer_norm_epsilon)
    }

    fn block(&self, tape: &Tape, x: &Var, state: &mut State, i: usize) -> Result<Var> {
        let (c, p) = (&self.config, self.params.scope(tape, format!("blocks.{i}.")));
        let att = self.params.scope(tape, format!("blocks.{i}.att."));
        let first = if i == 0 { Some(self.norm(&p, x, "ln0")?.rows(tape)?) } else { None };
        let x = first.as_ref().unwrap_or(x);
        let h = self.norm(&p, x, "ln1")?;
        let MixerOutput { y, state: mut new, .. } = time_mix(&att, &h, state, i, c.head_size_divisor)?;
        let x = add(tape, x, &y.make(tape)?)?;
        let h = self.norm(&p, &x, "ln2")?.rows(tape)?;
        let y = channel_mix(&p, &h, state, i)?;
        new.push(("rwkv.shift_ffn", last_rows(h.tensor(), state.batch())?));
        state.set(i, new)?;
        add(tape, &x, &y)
    }
}

fn channel_mix(p: &Scope<'_>, x: &Var, state: &State, layer: usize) -> Result<Var> {
    let tape = p.tape;
    let delta = token_shift(tape, x, state.get(layer, "rwkv.shift_ffn")?)?;
    let mixed = |name: &str| lerp(tape, x, &delta, &p.get(&format!("ffn.time_maa_{name}"))?);
    let dense =
        |x: &Var, name: &str| linear(tape, x, &p.get(&format!("ffn.{name}.weight"))?, None, Layout::OutIn);
    let k = relu_squared(tape, &dense(&mixed("k")?, "key")?)?;
    sigmoid_product(tape, &dense(&mixed("r")?, "receptance")?, &dense(&k, "value")?)
}

impl Network for Rwkv6 {
    fn params(&self) -> &Params {
        &self.params
    }

    fn with_params(&self, params: Params) -> Box<dyn Network> {
        self.config.network(params)
    }

    fn new_state(&self, batch: usize) -> Result<State> {
        let (c, params) = (&self.config, &self.params);
        let layer = |_| {
            let mut all = c.shape().new_state(batch, (c.hidden_size, c.inner()), params)?;
            all.push(("rwkv.shift_ffn", all[0].1.zeros_like()?));
            Ok(all)
        };
        Ok(State::new(batch, (0..c.num_hidden_layers).map(layer).collect::<Result<_>>()?))
    }

    fn backbone(&self, tape: &Tape, tokens: &[u32], state: &mut State) -> Result<Var> {
        self.check_tokens(tokens, state)?;
        let p = self.params.scope(tape, "");
        let mut x = embedding(tape, &p.get("emb.weight")?, tokens)?;
        for i in 0..self.config.num_hidden_layers {
            x = self.block(tape, &x, state, i)?;
        }
        state.advance(tokens.len() / state.batch());
        self.norm(&p, &x, "ln_out")?.rows(tape)
    }

    fn head(&self) -> &'static str {
        "head.weight"
    }
}
