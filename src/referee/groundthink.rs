//! GroundThink: h = RMSNorm(x); g = sigmoid(W [rwkv(h); mamba(h)] + c); x += g·rwkv(h) + (1−g)·mamba(h);
//! x += W₂ gelu(W₁ RMSNorm(x)). The head is the embedding.

use serde::Deserialize;

use super::fault::Fault;
use super::graph::{Graph, ValueId};
use super::initial::{Draw, Start};
use super::mamba2::{MixerReading, mixer, mixer_initial};
use super::number::Number;
use super::rwkv6::{time_mix, time_mix_initial};

/// ε of every RMS norm.
const EPS: f64 = 1e-5;
/// What divides the heads' size in the ε of RWKV-6's norm over heads, as published.
const DIVISOR: f64 = 8.0;

/// The RWKV-6 branch.
#[derive(Clone, Debug, Deserialize)]
struct TimeMixReading {
    head_size: usize,
    mix_rank: usize,
    decay_rank: usize,
}

/// What `config.json` says of a GroundThink.
#[derive(Clone, Debug, Deserialize)]
pub struct GroundThinkReading {
    vocab_size: usize,
    d_model: usize,
    n_layer: usize,
    d_ff: usize,
    rwkv: TimeMixReading,
    mamba: MixerReading,
}

impl GroundThinkReading {
    /// What the logits are made of: the normalised values after the last block, [T, d], and the head, [V, d].
    pub fn ends<N: Number>(&self, g: &mut Graph<'_, N>, tokens: &[usize]) -> [ValueId; 2] {
        let words = g.weight("emb.weight");
        let mut x = g.lookup(words, tokens);
        for i in 0..self.n_layer {
            let name = |n: &str| format!("blocks.{i}.{n}");
            let h = g.rms_norm(x, &name("ln_mix"), EPS);
            let a = time_mix(g, h, &name("rwkv."), DIVISOR);
            let b = mixer(g, h, &name("mamba."), &self.mamba, (EPS, 0.0, f64::INFINITY));
            x = self.fused(g, x, [a, b], i);
            let h = g.rms_norm(x, &name("ln_ffn"), EPS);
            let dense = |g: &mut Graph<'_, N>, x: ValueId, which: &str| {
                let (w, b) =
                    (g.weight(&name(&format!("{which}.weight"))), g.weight(&name(&format!("{which}.bias"))));
                let y = g.times_transposed(x, w);
                g.plus_row(y, b)
            };
            let h = dense(g, h, "ffn.fc");
            let h = g.gelu(h);
            let y = dense(g, h, "ffn.proj");
            x = g.plus(x, y);
        }
        [g.rms_norm(x, "ln_out", EPS), words]
    }

    /// x + g·a + (1 − g)·b.
    fn fused<N: Number>(
        &self,
        g: &mut Graph<'_, N>,
        x: ValueId,
        [a, b]: [ValueId; 2],
        layer: usize,
    ) -> ValueId {
        let d = self.d_model;
        let weight = g.weight(&format!("blocks.{layer}.gate.weight"));
        let bias = g.weight(&format!("blocks.{layer}.gate.bias"));
        let (wa, wb) = (g.columns(weight, 0, d), g.columns(weight, d, d));
        let (za, zb) = (g.times_transposed(a, wa), g.times_transposed(b, wb));
        let z = g.plus(za, zb);
        let z = g.plus_row(z, bias);
        let gate = g.sigmoid(z);
        let rest = g.each(gate, |g| N::one() - g, |_| -N::one());
        let (a, b) = if g.has(Fault::BranchesSwapped) { (b, a) } else { (a, b) };
        let (a, b) = (g.times_column(a, gate), g.times_column(b, rest));
        let x = g.plus(x, a);
        g.plus(x, b)
    }

    /// The branches' own initialisations, embedding and feed-forward as GPT-2's, and a gate that starts at 0.3.
    pub fn initial(&self, fault: Option<Fault>) -> Vec<Draw> {
        let (d, ff, l) = (self.d_model, self.d_ff, self.n_layer);
        let wide = fault == Some(Fault::ResidualsWide);
        let residual = if wide { 0.02 } else { 0.02 / (2.0 * l as f64).sqrt() };
        let ranks = (self.rwkv.mix_rank, self.rwkv.decay_rank);
        let mut all = vec![Draw::new("emb.weight", self.vocab_size * d, Start::Normal(0.02))];
        for i in 0..l {
            let name = |n: &str| format!("blocks.{i}.{n}");
            all.push(Draw::new(name("ln_mix.weight"), d, Start::Same(1.0)));
            all.extend(time_mix_initial(&name("rwkv."), (d, d), self.rwkv.head_size, ranks, (i, l)));
            all.extend(mixer_initial(&name("mamba."), &self.mamba, d, l));
            all.push(Draw::new(name("gate.weight"), 2 * d, Start::Same(0.0)));
            all.push(Draw::new(name("gate.bias"), 1, Start::Same((0.3f64 / 0.7).ln())));
            all.push(Draw::new(name("ln_ffn.weight"), d, Start::Same(1.0)));
            all.push(Draw::new(name("ffn.fc.weight"), ff * d, Start::Normal(0.02)));
            all.push(Draw::new(name("ffn.fc.bias"), ff, Start::Same(0.0)));
            all.push(Draw::new(name("ffn.proj.weight"), d * ff, Start::Normal(residual)));
            all.push(Draw::new(name("ffn.proj.bias"), d, Start::Same(0.0)));
        }
        all.push(Draw::new("ln_out.weight", d, Start::Same(1.0)));
        all
    }
}
