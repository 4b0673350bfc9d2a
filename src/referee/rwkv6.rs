//! RWKV-6 ("Finch", x060; Peng et al. 2024, §4): x += att(LN₁ x); x += ffn(LN₂ x); the embedding goes through LN₀
//! first. Matrices are [out, in] but for the low-rank maps, and the head is one of its own.

use serde::Deserialize;

use super::graph::{Graph, ValueId};
use super::initial::{Draw, Start};
use super::number::Number;

/// What `config.json` says of an RWKV-6.
#[derive(Clone, Debug, Deserialize)]
pub struct Rwkv6Reading {
    vocab_size: usize,
    hidden_size: usize,
    attention_hidden_size: Option<usize>,
    num_hidden_layers: usize,
    head_size: usize,
    head_size_divisor: f64,
    intermediate_size: Option<usize>,
    layer_norm_epsilon: f64,
    mix_rank: Option<usize>,
    decay_rank: Option<usize>,
}

impl Rwkv6Reading {
    /// What the logits are made of: the normalised values after the last block, [T, d], and the head, [V, d].
    pub fn ends<N: Number>(&self, g: &mut Graph<'_, N>, tokens: &[usize]) -> [ValueId; 2] {
        let (words, eps) = (g.weight("emb.weight"), self.layer_norm_epsilon);
        let mut x = g.lookup(words, tokens);
        for i in 0..self.num_hidden_layers {
            if i == 0 {
                x = g.layer_norm(x, "blocks.0.ln0", eps);
            }
            let h = g.layer_norm(x, &format!("blocks.{i}.ln1"), eps);
            let y = time_mix(g, h, &format!("blocks.{i}.att."), self.head_size_divisor);
            x = g.plus(x, y);
            let h = g.layer_norm(x, &format!("blocks.{i}.ln2"), eps);
            let y = channel_mix(g, h, &format!("blocks.{i}.ffn."));
            x = g.plus(x, y);
        }
        [g.layer_norm(x, "ln_out", eps), g.weight("head.weight")]
    }

    /// The authors' initialisation in the order in which the weights are drawn.
    pub fn initial(&self) -> Vec<Draw> {
        let (d, l, v) = (self.hidden_size, self.num_hidden_layers, self.vocab_size);
        let ff = self.intermediate_size.unwrap_or(d * 7 / 2 / 32 * 32);
        let inner = self.attention_hidden_size.unwrap_or(d);
        let (large, published) = (d >= 4096, [(32, 64), (64, 128)]);
        let (mix, decay) = published[usize::from(large)];
        let ranks = (self.mix_rank.unwrap_or(mix), self.decay_rank.unwrap_or(decay));
        let mut all = vec![Draw::new("emb.weight", v * d, Start::Uniform(1e-4))];
        let norm = |all: &mut Vec<Draw>, name: &str| {
            all.push(Draw::new(format!("{name}.weight"), d, Start::Same(1.0)));
            all.push(Draw::new(format!("{name}.bias"), d, Start::Same(0.0)));
        };
        for i in 0..l {
            if i == 0 {
                norm(&mut all, "blocks.0.ln0");
            }
            norm(&mut all, &format!("blocks.{i}.ln1"));
            norm(&mut all, &format!("blocks.{i}.ln2"));
            all.extend(time_mix_initial(
                &format!("blocks.{i}.att."),
                (d, inner),
                self.head_size,
                ranks,
                (i, l),
            ));
            let name = |n: &str| format!("blocks.{i}.ffn.{n}");
            let rest = 1.0 - i as f64 / l as f64;
            let mixes: Vec<f64> = (0..d).map(|c| 1.0 - (c as f64 / d as f64).powf(rest)).collect();
            all.push(Draw::new(name("time_maa_k"), d, Start::Given(mixes.clone())));
            all.push(Draw::new(name("time_maa_r"), d, Start::Given(mixes)));
            all.push(Draw::new(name("key.weight"), ff * d, Start::Orthogonal(1.0, d)));
            all.push(Draw::new(name("receptance.weight"), d * d, Start::Same(0.0)));
            all.push(Draw::new(name("value.weight"), d * ff, Start::Same(0.0)));
        }
        norm(&mut all, "ln_out");
        let gain = 0.5 * (v as f64 / d as f64).sqrt().max(1.0);
        all.push(Draw::new("head.weight", v * d, Start::Orthogonal(gain, d)));
        all
    }
}

/// x + Δ·μ.
fn mixed<N: Number>(g: &mut Graph<'_, N>, x: ValueId, delta: ValueId, mu: &str) -> ValueId {
    let mu = g.weight(mu);
    let part = g.times_row(delta, mu);
    g.plus(x, part)
}

/// Time mixing (eqs. 7–19): low-rank mixes with the token before, the recurrence, a norm over heads, a gate.
pub fn time_mix<N: Number>(g: &mut Graph<'_, N>, x: ValueId, prefix: &str, divisor: f64) -> ValueId {
    let name = |n: &str| format!("{prefix}{n}");
    let delta = g.shift(x);
    let base = mixed(g, x, delta, &name("time_maa_x"));
    let (w1, w2) = (g.weight(&name("time_maa_w1")), g.weight(&name("time_maa_w2")));
    let low = g.times(base, w1);
    let low = g.tanh(low);
    let rank = g.value(w2).rows / 5;
    let mut inputs = Vec::new();
    for (i, which) in ["w", "k", "v", "r", "g"].into_iter().enumerate() {
        let (a, map) = (g.columns(low, i * rank, rank), g.some_rows(w2, i * rank, rank));
        let map = g.times(a, map);
        let mu = g.weight(&name(&format!("time_maa_{which}")));
        let share = g.plus_row(map, mu);
        let part = g.each_times(delta, share);
        inputs.push(g.plus(x, part));
    }
    let dense = |g: &mut Graph<'_, N>, x: ValueId, which: &str| {
        let w = g.weight(&name(&format!("{which}.weight")));
        g.times_transposed(x, w)
    };
    let (k, v) = (dense(g, inputs[1], "key"), dense(g, inputs[2], "value"));
    let (r, gate) = (dense(g, inputs[3], "receptance"), dense(g, inputs[4], "gate"));
    let (w1, w2, bias) =
        (g.weight(&name("time_decay_w1")), g.weight(&name("time_decay_w2")), g.weight(&name("time_decay")));
    let low = g.times(inputs[0], w1);
    let low = g.tanh(low);
    let decay = g.times(low, w2);
    let decay = g.plus_row(decay, bias);
    let bonus = g.weight(&name("time_faaaa"));
    let heads = g.value(bonus).rows;
    let y = g.wkv([r, k, v, decay], bonus);
    let y = g.norm(y, heads, true, 1e-5 * divisor * divisor);
    let (w, b) = (g.weight(&name("ln_x.weight")), g.weight(&name("ln_x.bias")));
    let y = g.times_row(y, w);
    let y = g.plus_row(y, b);
    let gate = g.silu(gate);
    let y = g.each_times(y, gate);
    dense(g, y, "output")
}

/// sigmoid(R x_r)·V max(K x_k, 0)².
fn channel_mix<N: Number>(g: &mut Graph<'_, N>, x: ValueId, prefix: &str) -> ValueId {
    let name = |n: &str| format!("{prefix}{n}");
    let delta = g.shift(x);
    let (xk, xr) = (mixed(g, x, delta, &name("time_maa_k")), mixed(g, x, delta, &name("time_maa_r")));
    let (key, value, receptance) = (
        g.weight(&name("key.weight")),
        g.weight(&name("value.weight")),
        g.weight(&name("receptance.weight")),
    );
    let k = g.times_transposed(xk, key);
    let k = g.squared_relu(k);
    let v = g.times_transposed(k, value);
    let r = g.times_transposed(xr, receptance);
    let r = g.sigmoid(r);
    g.each_times(r, v)
}

/// The authors' formulas for a time-mixing layer, by its depth.
pub fn time_mix_initial(
    prefix: &str,
    (d, inner): (usize, usize),
    head: usize,
    (mix, low): (usize, usize),
    (layer, layers): (usize, usize),
) -> Vec<Draw> {
    let depth = layer as f64 / (layers.max(2) - 1) as f64;
    let rest = 1.0 - layer as f64 / layers as f64;
    let channels = |f: &dyn Fn(f64) -> f64| Start::Given((0..d).map(|c| f(c as f64 / d as f64)).collect());
    let along = |i: usize| i as f64 / (inner.max(2) - 1) as f64;
    let slow = || channels(&|c| 1.0 - c.powf(rest));
    let fast = || channels(&|c| 1.0 - c.powf(0.5 * rest));
    let decay = (0..inner).map(|i| -6.0 + 5.0 * along(i).powf(0.7 + 1.3 * depth)).collect();
    let zigzag = |i: usize| (((i + 1) % 3) as f64 - 1.0) * 0.1;
    let bonus = (0..inner).map(|i| depth * (1.0 - along(i)) + zigzag(i)).collect();
    let scale = ((1 + layer) as f64 / layers as f64).powf(0.7);
    let mut all = Vec::new();
    let mut put =
        |name: &str, count: usize, start: Start| all.push(Draw::new(format!("{prefix}{name}"), count, start));
    put("time_maa_x", d, slow());
    put("time_maa_w", d, slow());
    put("time_maa_k", d, slow());
    put("time_maa_v", d, channels(&|c| 1.0 - (c.powf(rest) + 0.3 * depth)));
    put("time_maa_r", d, fast());
    put("time_maa_g", d, fast());
    put("time_maa_w1", d * 5 * mix, Start::Same(0.0));
    put("time_maa_w2", 5 * mix * d, Start::Uniform(0.01));
    put("time_decay", inner, Start::Given(decay));
    put("time_decay_w1", d * low, Start::Same(0.0));
    put("time_decay_w2", low * inner, Start::Uniform(0.01));
    put("time_faaaa", inner / head * head, Start::Given(bonus));
    put("receptance.weight", inner * d, Start::Orthogonal(1.0, d));
    put("key.weight", inner * d, Start::Orthogonal(0.1, d));
    put("value.weight", inner * d, Start::Orthogonal(1.0, d));
    put("gate.weight", inner * d, Start::Orthogonal(0.1, d));
    put("output.weight", d * inner, Start::Same(0.0));
    put("ln_x.weight", inner, Start::Same(scale));
    put("ln_x.bias", inner, Start::Same(0.0));
    all
}
