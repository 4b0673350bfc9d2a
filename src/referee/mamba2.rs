//! Mamba-2 (Dao & Gu 2024, §7): x += mixer(RMSNorm(x)), the mixer being in-projection, short convolution, SSD and a
//! gated norm. The head is the embedding or `lm_head.weight`.

use serde::Deserialize;

use super::graph::{Graph, ValueId};
use super::initial::{Draw, Start};
use super::number::Number;

/// The shape of a mixer.
#[derive(Clone, Debug, Deserialize)]
pub struct MixerReading {
    expand: usize,
    head_dim: usize,
    state_size: usize,
    n_groups: usize,
    conv_kernel: usize,
}

/// What `config.json` says of a Mamba-2.
#[derive(Clone, Debug, Deserialize)]
pub struct Mamba2Reading {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    #[serde(flatten)]
    mixer: MixerReading,
    use_bias: bool,
    use_conv_bias: bool,
    tie_word_embeddings: bool,
    layer_norm_epsilon: f64,
    time_step_limit: [StepLimit; 2],
}

/// A limit of Δ: a number, or `{"__float__": "Infinity"}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum StepLimit {
    Number(f64),
    Word {
        #[serde(rename = "__float__")]
        word: String,
    },
}

impl StepLimit {
    fn number(&self) -> f64 {
        match self {
            Self::Number(x) => *x,
            Self::Word { word } => word.parse().unwrap_or(f64::NAN),
        }
    }
}

impl Mamba2Reading {
    /// What the logits are made of: the normalised values after the last block, [T, d], and the head, [V, d].
    pub fn ends<N: Number>(&self, g: &mut Graph<'_, N>, tokens: &[usize]) -> [ValueId; 2] {
        let (words, eps) = (g.weight("backbone.embeddings.weight"), self.layer_norm_epsilon);
        let mut x = g.lookup(words, tokens);
        for i in 0..self.num_hidden_layers {
            let h = g.rms_norm(x, &format!("backbone.layers.{i}.norm"), eps);
            let [low, high] = self.time_step_limit.each_ref().map(StepLimit::number);
            let y = mixer(g, h, &format!("backbone.layers.{i}.mixer."), &self.mixer, (eps, low, high));
            x = g.plus(x, y);
        }
        let x = g.rms_norm(x, "backbone.norm_f", eps);
        let head = if self.tie_word_embeddings { words } else { g.weight("lm_head.weight") };
        [x, head]
    }

    /// The initialisation in the order in which the weights are drawn.
    pub fn initial(&self) -> Vec<Draw> {
        let (d, l, v) = (self.hidden_size, self.num_hidden_layers, self.vocab_size);
        let mut all = vec![Draw::new("backbone.embeddings.weight", v * d, Start::Normal(0.1))];
        for i in 0..l {
            let layer = format!("backbone.layers.{i}.");
            all.push(Draw::new(format!("{layer}norm.weight"), d, Start::Same(1.0)));
            let prefix = format!("{layer}mixer.");
            let mut parts = mixer_initial(&prefix, &self.mixer, d, l);
            parts.retain(|p| self.use_conv_bias || !p.name.ends_with("conv1d.bias"));
            if self.use_bias {
                let width = parts[0].count / d;
                all.push(Draw::new(format!("{prefix}in_proj.bias"), width, Start::Same(0.0)));
                all.push(Draw::new(format!("{prefix}out_proj.bias"), d, Start::Same(0.0)));
            }
            all.extend(parts);
        }
        all.push(Draw::new("backbone.norm_f.weight", d, Start::Same(1.0)));
        if !self.tie_word_embeddings {
            all.push(Draw::new("lm_head.weight", v * d, Start::Normal(0.1)));
        }
        all
    }
}

/// out_proj(RMSNorm(SSD(silu(conv(x, B, C)), δ)·silu(z))), with the norm's ε and the limits of Δ.
pub fn mixer<N: Number>(
    g: &mut Graph<'_, N>,
    x: ValueId,
    prefix: &str,
    shape: &MixerReading,
    (eps, low, high): (f64, f64, f64),
) -> ValueId {
    let name = |n: &str| format!("{prefix}{n}");
    let inner = shape.expand * g.value(x).cols;
    let (maps, heads) = (shape.n_groups * shape.state_size, inner / shape.head_dim);
    let dense = |g: &mut Graph<'_, N>, x: ValueId, which: &str| {
        let w = g.weight(&name(&format!("{which}.weight")));
        let y = g.times_transposed(x, w);
        let bias = name(&format!("{which}.bias"));
        if g.knows(&bias) {
            let b = g.weight(&bias);
            return g.plus_row(y, b);
        }
        y
    };
    let all = dense(g, x, "in_proj");
    let z = g.columns(all, 0, inner);
    let xbc = g.columns(all, inner, inner + 2 * maps);
    let dt = g.columns(all, 2 * inner + 2 * maps, heads);
    let taps = g.weight(&name("conv1d.weight"));
    let mut xbc = g.convolution(xbc, taps);
    if g.knows(&name("conv1d.bias")) {
        let b = g.weight(&name("conv1d.bias"));
        xbc = g.plus_row(xbc, b);
    }
    let xbc = g.silu(xbc);
    let (x, b, c) =
        (g.columns(xbc, 0, inner), g.columns(xbc, inner, maps), g.columns(xbc, inner + maps, maps));
    let per_head = ["A_log", "dt_bias", "D"].map(|n| g.weight(&name(n)));
    let y = g.ssd([x, dt, b, c], per_head, shape.n_groups, (low, high));
    let z = g.silu(z);
    let y = g.each_times(y, z);
    let y = g.norm(y, shape.n_groups, false, eps);
    let w = g.weight(&name("norm.weight"));
    let y = g.times_row(y, w);
    dense(g, y, "out_proj")
}

/// The publication's initialisation: A uniform in [1, 16], Δ log-uniform in [0.001, 0.1] through the inverse
/// softplus, projections and taps uniform in ±1/√fan-in, the out-projection divided by √layers.
pub fn mixer_initial(prefix: &str, shape: &MixerReading, d: usize, layers: usize) -> Vec<Draw> {
    let inner = shape.expand * d;
    let heads = inner / shape.head_dim;
    let channels = inner + 2 * shape.n_groups * shape.state_size;
    let fan = |n: usize| 1.0 / (n as f64).sqrt();
    let step = |u: f64| {
        let dt = u.exp().max(1e-4);
        dt + (-(-dt).exp_m1()).ln()
    };
    let mut all = Vec::new();
    let mut put =
        |name: &str, count: usize, start: Start| all.push(Draw::new(format!("{prefix}{name}"), count, start));
    put("in_proj.weight", (inner + channels + heads) * d, Start::Uniform(fan(d)));
    put("conv1d.weight", channels * shape.conv_kernel, Start::Uniform(fan(shape.conv_kernel)));
    put("conv1d.bias", channels, Start::Uniform(fan(shape.conv_kernel)));
    put("dt_bias", heads, Start::Through(0.001f64.ln(), 0.1f64.ln(), step));
    put("A_log", heads, Start::Through(1.0, 16.0, f64::ln));
    put("D", heads, Start::Same(1.0));
    put("norm.weight", inner, Start::Same(1.0));
    put("out_proj.weight", d * inner, Start::Uniform(fan(inner) / (layers as f64).sqrt()));
    all
}
