//! The Mamba-2 layer (Dao & Gu 2024, §7): in-projection, short convolution, SSD, gated norm.
//!
//! | symbol | |
//! |---|---|
//! | z, x, B, C, δ | in-projection of the input, in this order |
//! | SSD | see `ops/ssd.rs` |
//!
//! y = out_proj(RMSNorm(SSD(silu(conv(x, B, C)), δ) · SiLU(z))), the norm over each group's share of the channels. Names are those of the public
//! release. Initialisation is the publication's: A uniform in [1, 16], Δ log-uniform in
//! [0.001, 0.1] through the inverse softplus, D one, projections uniform in ±1/√fan-in as PyTorch
//! does by default, the out-projection divided by √n_layer.

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::network::MixerOutput;
use super::params::{Declared, Init, Params, Scope};
use super::rwkv6_time_mix::to_f32;
use super::state::State;
use crate::ops::{
    ConvolvedSsd, GatedNorm, LayerOutput, Layout, Normed, Pointwise, SsdOutput, Var, convolved_ssd,
    linear_of_norm,
};

/// What a layer does besides its shape.
#[derive(Clone, Copy)]
pub(super) struct Settings {
    /// ε of the gated norm.
    pub eps: f64,
    /// Lower and upper limit of Δ.
    pub dt_limit: (f64, f64),
}

/// As published.
pub(super) const PUBLISHED: Settings = Settings { eps: 1e-5, dt_limit: (0.0, f64::INFINITY) };

/// Dimensions of a Mamba-2 layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MambaShape {
    /// Inner width over width (2 as published).
    pub expand: usize,
    /// Channels of a head (64 as published).
    pub head_dim: usize,
    /// State columns of a channel (128 as published).
    pub state_size: usize,
    /// Groups that share B and C.
    pub n_groups: usize,
    /// Taps of the convolution (4 as published).
    pub conv_kernel: usize,
}

impl MambaShape {
    /// The published shape from a width of 256 on; below, head and state in proportion.
    pub fn of(d_model: usize, head_dim: usize) -> Self {
        let state_size = (d_model / 2).min(128);
        Self { expand: 2, head_dim, state_size, n_groups: 1, conv_kernel: 4 }
    }

    fn inner(&self, d: usize) -> usize {
        self.expand * d
    }

    fn heads(&self, d: usize) -> usize {
        self.inner(d) / self.head_dim
    }

    /// Width of one of B and C.
    fn maps(&self) -> usize {
        self.n_groups * self.state_size
    }

    fn conv_width(&self, d: usize) -> usize {
        self.inner(d) + 2 * self.maps()
    }

    fn in_width(&self, d: usize) -> usize {
        self.inner(d) + self.conv_width(d) + self.heads(d)
    }

    pub(super) fn parameters(&self, d: usize) -> usize {
        let inner = self.inner(d);
        d * self.in_width(d)
            + self.conv_width(d) * (self.conv_kernel + 1)
            + 3 * self.heads(d)
            + inner
            + inner * d
    }

    /// Multiply-adds of one token.
    pub(super) fn macs(&self, d: usize) -> usize {
        let inner = self.inner(d);
        let scan = 4 * inner * self.state_size;
        d * self.in_width(d) + self.conv_width(d) * self.conv_kernel + inner * d + scan
    }

    pub(super) fn declare(&self, prefix: &str, d: usize, n_layer: usize) -> Vec<Declared> {
        let (inner, heads, conv) = (self.inner(d), self.heads(d), self.conv_width(d));
        let fan = |n: usize| 1.0 / (n as f64).sqrt();
        let step = |u: f64| {
            let dt = u.exp().max(1e-4);
            dt + (-(-dt).exp_m1()).ln()
        };
        let out = fan(inner) / (n_layer as f64).sqrt();
        let taps = Init::Uniform(fan(self.conv_kernel));
        let name = |n: &str| format!("{prefix}{n}");
        vec![
            Declared::matrix(name("in_proj.weight"), &[self.in_width(d), d], Init::Uniform(fan(d))),
            Declared::vector(name("conv1d.weight"), &[conv, 1, self.conv_kernel], taps.clone()),
            Declared::vector(name("conv1d.bias"), &[conv], taps),
            Declared::vector(name("dt_bias"), &[heads], Init::Mapped(0.001f64.ln(), 0.1f64.ln(), step)),
            Declared::vector(name("A_log"), &[heads], Init::Mapped(1.0, 16.0, f64::ln)),
            Declared::vector(name("D"), &[heads], Init::Constant(1.0)),
            Declared::vector(name("norm.weight"), &[inner], Init::Constant(1.0)),
            Declared::matrix(name("out_proj.weight"), &[d, inner], Init::Uniform(out)),
        ]
    }

    /// The state before any token, for C channels of the convolution.
    ///
    /// # Shapes
    /// - result: `mamba.conv` [B, K−1, C], `mamba.ssm` [B, H, N, P]
    pub(super) fn new_state(
        &self,
        batch: usize,
        d: usize,
        params: &Params,
    ) -> Result<Vec<(&'static str, Tensor)>> {
        let conv = (batch, self.conv_kernel - 1, self.conv_width(d));
        let ssm = (batch, self.heads(d), self.state_size, self.head_dim);
        Ok(vec![("mamba.conv", params.no_inputs(conv)?), ("mamba.ssm", params.no_state(ssm)?)])
    }
}

/// One layer, and the new state.
///
/// # Shapes
/// - `x`: [B·T, d]
/// - result: y [B·T, d], decay logits δ [B·T, H], and the state of [`MambaShape::new_state`]
pub(super) fn mixer(
    p: &Scope<'_>,
    shape: &MambaShape,
    settings: Settings,
    x: &Normed,
    state: &State,
    layer: usize,
) -> Result<MixerOutput> {
    let tape = p.tape;
    let (w, b) = (p.get("in_proj.weight")?, p.find("in_proj.bias")?);
    let all = linear_of_norm(tape, x, &w, b.as_ref(), Layout::OutIn, Pointwise::Identity)?;
    let w = p.get("conv1d.weight")?;
    let b = match p.find("conv1d.bias")? {
        Some(b) => b,
        None => Var::constant(Tensor::zeros(w.dims()[0], w.tensor().dtype(), w.tensor().device())?),
    };
    let inputs = ConvolvedSsd {
        all: &all,
        filters: [&w, &b],
        heads: [&p.get("A_log")?, &p.get("dt_bias")?, &p.get("D")?],
        groups: shape.n_groups,
        dt_limit: settings.dt_limit,
    };
    let (tail, ssm) = (state.get(layer, "mamba.conv")?, state.get(layer, "mamba.ssm")?);
    let SsdOutput { y, z, dt, tail, state: ssm } = convolved_ssd(tape, &inputs, tail, ssm)?;
    let (w, groups, eps) = (p.get("norm.weight")?, shape.n_groups, settings.eps);
    let normed = GatedNorm { x: &y, gate: &z, w: &w, groups, eps };
    let (w, b) = (p.get("out_proj.weight")?, p.find("out_proj.bias")?);
    Ok(MixerOutput {
        y: LayerOutput::of_gated_norm(tape, &normed, &w, b.as_ref())?,
        state: vec![("mamba.conv", tail), ("mamba.ssm", ssm)],
        decay_logits: dt.tensor().clone(),
    })
}

/// Δ = softplus(δ + δ_bias), exact in both tails; the published limits do not bind.
///
/// # Shapes
/// - `logits`: δ [B·T, H]
/// - `bias`: `[H]`
/// - result: [B·T, H]
pub(super) fn step_sizes(logits: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let raw = to_f32(logits)?.broadcast_add(bias)?;
    let tail = (raw.abs()?.neg()?.exp()? + 1.0)?.log()?;
    raw.relu()? + tail
}
