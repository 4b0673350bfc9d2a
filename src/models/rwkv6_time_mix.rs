//! RWKV-6 time mixing ("Finch", x060; Peng et al. 2024, §4).
//!
//! | symbol | |
//! |---|---|
//! | Δ | previous input − this input (token shift) |
//! | xw, xk, xv, xr, xg | inputs mixed with Δ by data-dependent amounts, eqs. 7–9 |
//! | ω | raw decay: time_decay + tanh(xw W₁) W₂, eq. 10 |
//! | S | per head an N × N state: see `ops/wkv6.rs`, eqs. 16–19 |
//!
//! y = output(GroupNorm(wkv(r, k, v, ω, u)) · SiLU(gate)). Names are those of the authors'
//! release. Initialisation follows the authors' training code: mixing coefficients and decays from
//! their formulas in the layer's depth, orthogonal receptance, key (gain 0.1), value and gate
//! (gain 0.1), zero output, low-rank maps starting at zero.

use candle_core::{DType, Result, Tensor};
use serde::{Deserialize, Serialize};

use super::network::MixerOutput;
use super::params::{Declared, Init, Params, Scope};
use super::state::State;
use crate::ops::{
    HeadsOutput, LayerOutput, MixProducts, MixWeights, Normed, Wkv6Heads, low_rank_mix, mix_products,
    shifted_rows, wkv6_heads,
};

/// ε of the group norm is 1e-5 times the square of this: `head_size_divisor` as published.
pub(super) const HEAD_SIZE_DIVISOR: f64 = 8.0;

/// Dimensions of a time-mixing layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RwkvShape {
    /// Channels of a head; divides the width.
    pub head_size: usize,
    /// Rank of the mixing maps (32 as published).
    pub mix_rank: usize,
    /// Rank of the decay map (64 as published).
    pub decay_rank: usize,
}

impl RwkvShape {
    /// The published ranks from a width of 256 on; below, in proportion, so that the low-rank
    /// maps stay low.
    pub fn of(d_model: usize, head_size: usize) -> Self {
        let mix_rank = (d_model / 8).clamp(8, 32);
        Self { head_size, mix_rank, decay_rank: 2 * mix_rank }
    }

    pub(super) fn parameters(&self, d: usize) -> usize {
        5 * d * d + 2 * 5 * self.mix_rank * d + 2 * self.decay_rank * d + 10 * d
    }

    /// Multiply-adds of one token.
    pub(super) fn macs(&self, d: usize) -> usize {
        let maps = 5 * d * d + 2 * 5 * self.mix_rank * d + 2 * self.decay_rank * d;
        // Reading and updating the state: y += r·(S + u k v) and S = w S + k v.
        maps + 4 * d * self.head_size
    }

    /// A layer's parameters, from width `d` to an inner width and back.
    pub(super) fn declare(
        &self,
        prefix: &str,
        (d, inner): (usize, usize),
        (layer, n_layer): (usize, usize),
    ) -> Vec<Declared> {
        let depth = layer as f64 / (n_layer.max(2) - 1) as f64;
        let rest = 1.0 - layer as f64 / n_layer as f64;
        let channel = |f: &dyn Fn(f64) -> f64| -> Init {
            Init::Values((0..d).map(|i| f(i as f64 / d as f64)).collect())
        };
        let along = |f: &dyn Fn(f64, usize) -> f64| -> Init {
            Init::Values((0..inner).map(|i| f(i as f64 / (inner.max(2) - 1) as f64, i)).collect())
        };
        let maa = channel(&|c| 1.0 - c.powf(rest));
        let maa_v = channel(&|c| 1.0 - (c.powf(rest) + 0.3 * depth));
        let maa_fast = channel(&|c| 1.0 - c.powf(0.5 * rest));
        let decay = along(&|c, _| -6.0 + 5.0 * c.powf(0.7 + 1.3 * depth));
        let zigzag = |i: usize| (((i + 1) % 3) as f64 - 1.0) * 0.1;
        let bonus = along(&|c, i| depth * (1.0 - c) + zigzag(i));
        let (r, r2, n) = (self.mix_rank, self.decay_rank, self.head_size);
        let scale = ((1 + layer) as f64 / n_layer as f64).powf(0.7);
        let (zero, small) = (Init::Constant(0.0), Init::Uniform(0.01));
        let square = |gain: f64| {
            if gain == 0.0 { zero.clone() } else { Init::Orthogonal(gain) }
        };
        let vector = |name: &str, shape: &[usize], init: Init| {
            Declared::vector(format!("{prefix}{name}"), shape, init)
        };
        let matrix = |name: &str, shape: &[usize], init: Init| {
            Declared::matrix(format!("{prefix}{name}"), shape, init)
        };
        vec![
            vector("time_maa_x", &[1, 1, d], maa.clone()),
            vector("time_maa_w", &[1, 1, d], maa.clone()),
            vector("time_maa_k", &[1, 1, d], maa),
            vector("time_maa_v", &[1, 1, d], maa_v),
            vector("time_maa_r", &[1, 1, d], maa_fast.clone()),
            vector("time_maa_g", &[1, 1, d], maa_fast),
            matrix("time_maa_w1", &[d, 5 * r], zero.clone()),
            matrix("time_maa_w2", &[5, r, d], small.clone()),
            vector("time_decay", &[1, 1, inner], decay),
            matrix("time_decay_w1", &[d, r2], zero.clone()),
            matrix("time_decay_w2", &[r2, inner], small),
            vector("time_faaaa", &[inner / n, n], bonus),
            matrix("receptance.weight", &[inner, d], square(1.0)),
            matrix("key.weight", &[inner, d], square(0.1)),
            matrix("value.weight", &[inner, d], square(1.0)),
            matrix("gate.weight", &[inner, d], square(0.1)),
            matrix("output.weight", &[d, inner], square(0.0)),
            vector("ln_x.weight", &[inner], Init::Constant(scale)),
            vector("ln_x.bias", &[inner], zero.clone()),
        ]
    }

    /// The state before any token.
    ///
    /// # Shapes
    /// - result: `rwkv.shift` [B, d], `rwkv.wkv` [B, H, N, N]
    pub(super) fn new_state(
        &self,
        batch: usize,
        (d, inner): (usize, usize),
        params: &Params,
    ) -> Result<Vec<(&'static str, Tensor)>> {
        let n = self.head_size;
        Ok(vec![
            ("rwkv.shift", params.no_inputs((batch, d))?),
            ("rwkv.wkv", params.no_state((batch, inner / n, n, n))?),
        ])
    }
}

/// One layer, and the new state.
///
/// # Shapes
/// - `x`: [B·T, d]
/// - result: y [B·T, d], decay logits ω [B·T, H·N], and the state of [`RwkvShape::new_state`]
pub(super) fn time_mix(
    p: &Scope<'_>,
    x: &Normed,
    state: &State,
    layer: usize,
    head_size_divisor: f64,
) -> Result<MixerOutput> {
    let tape = p.tape;
    let (tail, wkv) = (state.get(layer, "rwkv.shift")?, state.get(layer, "rwkv.wkv")?);
    let shifted = shifted_rows(tape, x, tail, &p.get("time_maa_x")?, &p.get("time_maa_w1")?)?;
    let mu = ["w", "k", "v", "r", "g"].map(|n| p.get(&format!("time_maa_{n}")));
    let [mw, mk, mv, mr, mg] = mu;
    let mu = [&mw?, &mk?, &mv?, &mr?, &mg?];
    let weights = MixWeights { low_rank: &shifted.low_rank, w2: &p.get("time_maa_w2")?, mu };
    let mixed = low_rank_mix(tape, &shifted.x, &shifted.delta, &weights)?;
    let mixed = [0, 1, 2, 3, 4].map(|i| &mixed[i]);
    let of = |name: &str| p.get(&format!("{name}.weight"));
    let projections = [&of("key")?, &of("value")?, &of("receptance")?, &of("gate")?];
    let MixProducts { low, others: [k, v, r, g] } =
        mix_products(tape, mixed, &p.get("time_decay_w1")?, projections)?;
    let heads = Wkv6Heads {
        decay: [&low, &p.get("time_decay_w2")?, &p.get("time_decay")?],
        inputs: [&r, &k, &v, &g],
        bonus: &p.get("time_faaaa")?,
        norm: [&of("ln_x")?, &p.get("ln_x.bias")?],
        eps: 1e-5 * head_size_divisor * head_size_divisor,
    };
    let HeadsOutput { y, decay, state: wkv } = wkv6_heads(tape, &heads, wkv)?;
    let shift = last_rows(shifted.x.tensor(), state.batch())?;
    Ok(MixerOutput {
        y: LayerOutput::of(tape, &y, &of("output")?)?,
        state: vec![("rwkv.shift", shift), ("rwkv.wkv", wkv)],
        decay_logits: decay.tensor().clone(),
    })
}

/// w = exp(−exp(ω)).
///
/// # Shapes
/// - `logits`: ω, any
/// - result: the same
pub(super) fn decays(logits: &Tensor) -> Result<Tensor> {
    to_f32(logits)?.exp()?.neg()?.exp()
}

/// At least in float32.
pub(super) fn to_f32(t: &Tensor) -> Result<Tensor> {
    if t.dtype() == DType::BF16 { t.to_dtype(DType::F32) } else { Ok(t.clone()) }
}

/// The last position of every sequence.
///
/// # Shapes
/// - `x`: [B·T, d]
/// - result: [B, d]
pub(super) fn last_rows(x: &Tensor, batch: usize) -> Result<Tensor> {
    let (rows, d) = x.dims2()?;
    x.reshape((batch, rows / batch, d))?.narrow(1, rows / batch - 1, 1)?.squeeze(1)?.contiguous()
}
