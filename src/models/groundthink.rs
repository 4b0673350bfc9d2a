//! GroundThink: in every block RWKV-6 and Mamba-2 read the same input in parallel and a learned
//! gate fuses them.
//!
//! | symbol | |
//! |---|---|
//! | h | RMSNorm(x) |
//! | g | sigmoid(W [rwkv(h); mamba(h)] + c), one number per position; W starts at zero and c so that g = 0.3 |
//! | block | x += g·rwkv(h) + (1−g)·mamba(h); x += W₂ gelu(W₁ RMSNorm(x)) |
//!
//! Names: `emb.weight`, `blocks.N.{ln_mix, rwkv.*, mamba.*, gate, ln_ffn, ffn.fc, ffn.proj}`,
//! `ln_out.weight`; the branches keep their publications' names, and the head is the embedding.
//! Branches start as their publications say; embedding and feed-forward as GPT-2's.

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::architecture::{Architecture, divides};
use super::gpt2::Gpt2Config;
use super::keys::{ConfigKey, KeyEffect};
use super::mamba2_mixer::{MambaShape, PUBLISHED, mixer, step_sizes};
use super::model_stats::ModelStats;
use super::network::{Branch, Hybrid, Network};
use super::params::{Declared, Init, Params};
use super::rwkv6_time_mix::{HEAD_SIZE_DIVISOR, RwkvShape, decays, time_mix};
use super::state::State;
use crate::ops::{
    FusionInputs, Layout, Normed, Tape, Var, embedding, gelu_of_fusion, layer_outputs, linear_onto, rms_norm,
};
use crate::scale::Scale;

/// ε of every RMS norm.
const EPS: f64 = 1e-5;

/// Where the gate starts.
const GATE_START: f64 = 0.3;

/// Dimensions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroundThinkConfig {
    /// Vocabulary.
    pub vocab_size: usize,
    /// Width.
    pub d_model: usize,
    /// Blocks.
    pub n_layer: usize,
    /// Feed-forward width.
    pub d_ff: usize,
    /// The RWKV-6 branch.
    pub rwkv: RwkvShape,
    /// The Mamba-2 branch.
    pub mamba: MambaShape,
}

impl GroundThinkConfig {
    /// The best feed-forward width for a layer count: in steps of eight where those match, since
    /// hardware likes them, else in finer ones.
    fn with_layers(scale: &Scale, vocab: usize, n_layer: usize, target: &ModelStats) -> Self {
        let (d, head) = (scale.d_model, scale.d_model / scale.n_head);
        let config = |d_ff: usize| Self {
            vocab_size: vocab,
            d_model: d,
            n_layer,
            d_ff,
            rwkv: RwkvShape::of(d, head),
            mamba: MambaShape::of(d, head),
        };
        let best = |step: usize| {
            let widths = (1..=8 * d / step).map(|i| config(i * step));
            widths.min_by(|a, b| a.mismatch(target).total_cmp(&b.mismatch(target)))
        };
        let steps = [8, 4, 2, 1].into_iter().filter_map(best);
        let all: Vec<_> = steps.collect();
        let fits = all.iter().find(|c| c.mismatch(target) <= 1.0);
        fits.or(all.last()).cloned().unwrap_or_else(|| config(8))
    }

    /// The larger of both differences, each over its limit.
    fn mismatch(&self, target: &ModelStats) -> f64 {
        let own = self.model_stats();
        let off = |a: usize, b: usize| (a as f64 - b as f64).abs() / b as f64;
        (off(own.total, target.total) / 0.01).max(off(own.non_embedding, target.non_embedding) / 0.05)
    }
}

impl Architecture for GroundThinkConfig {
    const KEYS: &'static [ConfigKey] = &[
        ("vocab_size", KeyEffect::Extent),
        ("d_model", KeyEffect::Extent),
        ("n_layer", KeyEffect::Blocks),
        ("d_ff", KeyEffect::Extent),
        ("rwkv", KeyEffect::Extent),
        ("mamba", KeyEffect::Extent),
    ];

    /// The configuration that matches a scale's GPT-2 (ruling R3): same vocabulary and width,
    /// layers and feed-forward width chosen so that neither the total (limit 1 %) nor the
    /// non-embedding count (limit 5 %) strays. Among the layer counts that can match, the one
    /// whose feed-forward layer is nearest to three times the width.
    fn at(scale: &Scale, vocab: usize, context: usize) -> Self {
        let target = Gpt2Config::at(scale, vocab, context).model_stats();
        let candidates = (1..=scale.n_layer).map(|n_layer| {
            let config = Self::with_layers(scale, vocab, n_layer, &target);
            (config.mismatch(&target), config)
        });
        let shape = |c: &Self| (c.d_ff as f64 / c.d_model as f64 - 3.0).abs();
        // Anything outside the limits loses to anything inside them.
        let badness = |(m, c): &(f64, Self)| if *m <= 1.0 { shape(c) } else { 1e6 * m };
        candidates
            .min_by(|a, b| badness(a).total_cmp(&badness(b)))
            .map_or_else(|| Self::with_layers(scale, vocab, 1, &target), |(_, c)| c)
    }

    fn check(&self) -> Result<()> {
        divides("rwkv.head_size", self.rwkv.head_size, self.d_model)?;
        let inner = self.mamba.expand.saturating_mul(self.d_model);
        divides("mamba.head_dim", self.mamba.head_dim, inner)?;
        divides("mamba.n_groups", self.mamba.n_groups, inner / self.mamba.head_dim)
    }

    fn declare(&self) -> Vec<Declared> {
        let (d, ff, l) = (self.d_model, self.d_ff, self.n_layer);
        let (zero, one, std) = (Init::Constant(0.0), Init::Constant(1.0), Init::Normal(0.02));
        let residual = Init::Normal(0.02 / (2.0 * l as f64).sqrt());
        let start = (GATE_START / (1.0 - GATE_START)).ln();
        let mut all = vec![Declared::matrix("emb.weight", &[self.vocab_size, d], std.clone())];
        for i in 0..l {
            let name = |n: &str| format!("blocks.{i}.{n}");
            all.push(Declared::vector(name("ln_mix.weight"), &[d], one.clone()));
            all.extend(self.rwkv.declare(&name("rwkv."), (d, d), (i, l)));
            all.extend(self.mamba.declare(&name("mamba."), d, l));
            all.extend([
                Declared::matrix(name("gate.weight"), &[1, 2 * d], zero.clone()),
                Declared::vector(name("gate.bias"), &[1], Init::Constant(start)),
                Declared::vector(name("ln_ffn.weight"), &[d], one.clone()),
                Declared::matrix(name("ffn.fc.weight"), &[ff, d], std.clone()),
                Declared::vector(name("ffn.fc.bias"), &[ff], zero.clone()),
                Declared::matrix(name("ffn.proj.weight"), &[d, ff], residual.clone()),
                Declared::vector(name("ffn.proj.bias"), &[d], zero.clone()),
            ]);
        }
        all.push(Declared::vector("ln_out.weight", &[d], one));
        all
    }

    fn model_stats(&self) -> ModelStats {
        let (d, ff, l) = (self.d_model, self.d_ff, self.n_layer);
        let embedding = self.vocab_size * d;
        let rest = 2 * d + 1 + 2 * d + 2 * d * ff + ff + d;
        let block = self.rwkv.parameters(d) + self.mamba.parameters(d) + rest;
        let macs = self.rwkv.macs(d) + self.mamba.macs(d) + 2 * d + 2 * d * ff;
        let non_embedding = l * block + d;
        ModelStats {
            total: embedding + non_embedding,
            embedding,
            positional: 0,
            non_embedding,
            forward_flops_per_token: 2.0 * (l * macs + embedding) as f64,
        }
    }

    fn network(&self, params: Params) -> Box<dyn Network> {
        Box::new(GroundThink { config: self.clone(), params, ablated: None })
    }
}

/// Is shown the decay logits of both branches, layer by layer.
type See<'a> = dyn FnMut(usize, &Tensor, &Tensor) -> Result<()> + 'a;

/// The network.
struct GroundThink {
    config: GroundThinkConfig,
    params: Params,
    ablated: Option<Branch>,
}

impl GroundThink {
    fn run(&self, tape: &Tape, tokens: &[u32], state: &mut State, see: &mut See<'_>) -> Result<Var> {
        self.check_tokens(tokens, state)?;
        let p = self.params.scope(tape, "");
        let mut x = embedding(tape, &p.get("emb.weight")?, tokens)?;
        for i in 0..self.config.n_layer {
            x = self.block(tape, &x, state, i, see)?;
        }
        state.advance(tokens.len() / state.batch());
        rms_norm(tape, &x, &p.get("ln_out.weight")?, EPS)
    }

    fn block(&self, tape: &Tape, x: &Var, state: &mut State, i: usize, see: &mut See<'_>) -> Result<Var> {
        let scope = |part: &str| self.params.scope(tape, format!("blocks.{i}.{part}"));
        let p = scope("");
        let h = Normed::rms(tape, x, &p.get("ln_mix.weight")?, EPS)?;
        let rwkv = time_mix(&scope("rwkv."), &h, state, i, HEAD_SIZE_DIVISOR)?;
        let mamba = mixer(&scope("mamba."), &self.config.mamba, PUBLISHED, &h, state, i)?;
        see(i, &rwkv.decay_logits, &mamba.decay_logits)?;
        state.set(i, [rwkv.state, mamba.state].concat())?;
        let [a, b] = layer_outputs(tape, &rwkv.y, &mamba.y)?;
        let (a, b) = (self.keep(a, Branch::Rwkv)?, self.keep(b, Branch::Mamba)?);
        let (w, c) = (p.get("gate.weight")?, p.get("gate.bias")?);
        let fusion = FusionInputs { x, a: &a, b: &b, w: &w, c: &c };
        let (norm, w, b) = (p.get("ln_ffn.weight")?, p.get("ffn.fc.weight")?, p.get("ffn.fc.bias")?);
        let (x, h) = gelu_of_fusion(tape, &fusion, (&norm, EPS), &w, &b)?;
        let (w, b) = (p.get("ffn.proj.weight")?, p.get("ffn.proj.bias")?);
        linear_onto(tape, Some(&x), &h, &w, Some(&b), Layout::OutIn)
    }

    fn keep(&self, y: Var, branch: Branch) -> Result<Var> {
        let zeroed = self.ablated == Some(branch);
        if zeroed { Ok(Var::constant(y.tensor().zeros_like()?)) } else { Ok(y) }
    }
}

impl Network for GroundThink {
    fn params(&self) -> &Params {
        &self.params
    }

    fn with_params(&self, params: Params) -> Box<dyn Network> {
        Box::new(Self { config: self.config.clone(), params, ablated: self.ablated })
    }

    fn new_state(&self, batch: usize) -> Result<State> {
        let (c, params) = (&self.config, &self.params);
        let layer = || -> Result<Vec<(&'static str, Tensor)>> {
            let mut all = c.rwkv.new_state(batch, (c.d_model, c.d_model), params)?;
            all.extend(c.mamba.new_state(batch, c.d_model, params)?);
            Ok(all)
        };
        Ok(State::new(batch, (0..c.n_layer).map(|_| layer()).collect::<Result<_>>()?))
    }

    fn backbone(&self, tape: &Tape, tokens: &[u32], state: &mut State) -> Result<Var> {
        self.run(tape, tokens, state, &mut |_, _, _| Ok(()))
    }

    fn head(&self) -> &'static str {
        "emb.weight"
    }

    fn as_hybrid(&self) -> Option<&dyn Hybrid> {
        Some(self)
    }
}

impl Hybrid for GroundThink {
    fn branch_of(&self, name: &str) -> Option<Branch> {
        if name.contains(".rwkv.") {
            Some(Branch::Rwkv)
        } else if name.contains(".mamba.") {
            Some(Branch::Mamba)
        } else {
            None
        }
    }

    fn without(&self, branch: Branch) -> Box<dyn Network> {
        let (config, params) = (self.config.clone(), self.params.clone());
        Box::new(Self { config, params, ablated: Some(branch) })
    }

    fn decays(&self, tokens: &[u32]) -> Result<Vec<(Branch, Tensor)>> {
        let mut all = Vec::new();
        let mut see = |layer: usize, rwkv: &Tensor, mamba: &Tensor| {
            let bias = self.params.tensor(&format!("blocks.{layer}.mamba.dt_bias"))?;
            all.push((Branch::Rwkv, decays(rwkv)?));
            all.push((Branch::Mamba, step_sizes(mamba, &bias)?));
            Ok(())
        };
        self.run(&Tape::no_grad(), tokens, &mut self.new_state(1)?, &mut see)?;
        Ok(all)
    }
}
