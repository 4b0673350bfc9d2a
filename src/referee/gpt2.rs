//! GPT-2 (Radford et al. 2019): x += proj(attention(LN₁ x)); x += W₂ gelu(W₁ LN₂ x), with learned positions. Matrices
//! are [in, out], and the head is the embedding unless the configuration says otherwise.

use serde::Deserialize;

use super::fault::Fault;
use super::graph::{Graph, ValueId};
use super::initial::{Draw, Start};
use super::number::Number;

/// What `config.json` says of a GPT-2.
#[derive(Clone, Debug, Deserialize)]
pub struct Gpt2Reading {
    vocab_size: usize,
    n_positions: usize,
    n_embd: usize,
    n_layer: usize,
    n_head: usize,
    n_inner: Option<usize>,
    layer_norm_epsilon: f64,
}

impl Gpt2Reading {
    /// Positions that it has.
    pub fn window(&self) -> usize {
        self.n_positions
    }

    /// What the logits are made of: the normalised values after the last block, [T, d], and the head, [V, d].
    pub fn ends<N: Number>(&self, g: &mut Graph<'_, N>, tokens: &[usize]) -> [ValueId; 2] {
        let places: Vec<usize> = (0..tokens.len()).collect();
        let (words, positions) = (g.weight("wte.weight"), g.weight("wpe.weight"));
        let (word, place) = (g.lookup(words, tokens), g.lookup(positions, &places));
        let mut x = g.plus(word, place);
        for i in 0..self.n_layer {
            let dense = |g: &mut Graph<'_, N>, x: ValueId, name: &str| {
                let (w, b) =
                    (g.weight(&format!("h.{i}.{name}.weight")), g.weight(&format!("h.{i}.{name}.bias")));
                let y = g.times(x, w);
                g.plus_row(y, b)
            };
            let h = g.layer_norm(x, &format!("h.{i}.ln_1"), self.layer_norm_epsilon);
            let qkv = dense(g, h, "attn.c_attn");
            let scale = ((self.n_embd / self.n_head) as f64).sqrt().recip();
            let y = g.attention(qkv, self.n_head, scale);
            let y = dense(g, y, "attn.c_proj");
            x = g.plus(x, y);
            let h = g.layer_norm(x, &format!("h.{i}.ln_2"), self.layer_norm_epsilon);
            let h = dense(g, h, "mlp.c_fc");
            let h = g.gelu(h);
            let y = dense(g, h, "mlp.c_proj");
            x = g.plus(x, y);
        }
        let x = g.layer_norm(x, "ln_f", self.layer_norm_epsilon);
        let head = if g.knows("lm_head.weight") { g.weight("lm_head.weight") } else { words };
        [x, head]
    }

    /// The publication's initialisation, in the order in which the weights are drawn: normal with standard deviation
    /// 0.02 (positions 0.01), residual projections divided by √(2·layers), biases zero, norms one.
    pub fn initial(&self, fault: Option<Fault>) -> Vec<Draw> {
        let (d, ff) = (self.n_embd, self.n_inner.unwrap_or(4 * self.n_embd));
        let wide = fault == Some(Fault::ResidualsWide);
        let residual = if wide { 0.02 } else { 0.02 / (2.0 * self.n_layer as f64).sqrt() };
        let mut all = vec![
            Draw::new("wte.weight", self.vocab_size * d, Start::Normal(0.02)),
            Draw::new("wpe.weight", self.n_positions * d, Start::Normal(0.01)),
        ];
        for i in 0..self.n_layer {
            let mut put =
                |name: &str, count, start| all.push(Draw::new(format!("h.{i}.{name}"), count, start));
            put("ln_1.weight", d, Start::Same(1.0));
            put("ln_1.bias", d, Start::Same(0.0));
            put("attn.c_attn.weight", 3 * d * d, Start::Normal(0.02));
            put("attn.c_attn.bias", 3 * d, Start::Same(0.0));
            put("attn.c_proj.weight", d * d, Start::Normal(residual));
            put("attn.c_proj.bias", d, Start::Same(0.0));
            put("ln_2.weight", d, Start::Same(1.0));
            put("ln_2.bias", d, Start::Same(0.0));
            put("mlp.c_fc.weight", d * ff, Start::Normal(0.02));
            put("mlp.c_fc.bias", ff, Start::Same(0.0));
            put("mlp.c_proj.weight", ff * d, Start::Normal(residual));
            put("mlp.c_proj.bias", d, Start::Same(0.0));
        }
        all.push(Draw::new("ln_f.weight", d, Start::Same(1.0)));
        all.push(Draw::new("ln_f.bias", d, Start::Same(0.0)));
        all
    }
}
