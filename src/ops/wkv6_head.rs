//! RWKV-6's recurrence with what lies around it in each of its heads: the second half of the decay's low-rank map before
//! it, group norm and gate behind it.
//!
//! ω = a W + b; y = GroupNorm(wkv(r, k, v, ω, u)) · SiLU(g). A decoded token goes through all of it in one launch
//! (`row.rs` says when, and that both ways round alike).

use candle_core::{Result, Tensor};

use super::case::like;
use super::norm::{reference as norm_reference, silu_reference};
use super::row::weight;
use super::wkv6::reference as wkv6_reference;
use super::{Case, Layout, Tape, Var, Wkv6Inputs, group_norm_gate, linear, wkv6};
use crate::launch::row::NormWeights;
use crate::launch::wkv6::{self as launch, HeadStep};

/// The inputs of [`wkv6_heads`].
///
/// # Shapes
/// B sequences of T positions, H heads of size N, a decay map of rank R.
pub struct Wkv6Heads<'a> {
    /// a, W and b of the decay: [B·T, R], [R, H·N] and H·N elements.
    pub decay: [&'a Var; 3],
    /// r, k, v and g: [B·T, H·N] each.
    pub inputs: [&'a Var; 4],
    /// u: [H, N].
    pub bonus: &'a Var,
    /// Weights and bias of the group norm: `[H·N]` each.
    pub norm: [&'a Var; 2],
    /// Its ε.
    pub eps: f64,
}

/// What comes out of all heads.
///
/// # Shapes
/// - `y`: [B·T, H·N]
/// - `decay`: ω [B·T, H·N]
/// - `state`: [B, H, N, N], after the last position
pub struct HeadsOutput {
    /// The gated read-out.
    pub y: Var,
    /// The raw decay.
    pub decay: Var,
    /// The state.
    pub state: Tensor,
}

/// Runs all heads from a state. No gradient flows into or out of the state.
///
/// # Shapes
/// - `x`: see [`Wkv6Heads`]
/// - `state`: [B, H, N, N]
/// - result: see [`HeadsOutput`]
pub fn wkv6_heads(tape: &Tape, x: &Wkv6Heads<'_>, state: &Tensor) -> Result<HeadsOutput> {
    let (_, heads, size, _) = state.dims4()?;
    let ([a, w, b], [r, k, v, g]) = (x.decay, x.inputs);
    if tape.decodes(r) {
        let norm = NormWeights { w: x.norm[0].tensor(), b: Some(x.norm[1].tensor()), eps: x.eps };
        let (decay, inputs) = (x.decay.map(Var::tensor), x.inputs.map(Var::tensor));
        let step = HeadStep { decay, inputs, bonus: x.bonus.tensor(), norm };
        let [y, decay, state] = launch::head(&step, state, [heads, size])?;
        return Ok(HeadsOutput { y: Var::constant(y), decay: Var::constant(decay), state });
    }
    let decay = linear(tape, a, w, Some(&b.reshape(&[heads * size])?), Layout::InOut)?;
    let (y, state) = wkv6(tape, &Wkv6Inputs { r, k, v, decay: &decay, bonus: x.bonus }, state)?;
    let y = group_norm_gate(tape, &y, g, x.norm[0], x.norm[1], heads, x.eps)?;
    Ok(HeadsOutput { y, decay, state })
}

pub(super) fn cases(normal: &mut super::Normal<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    // Every size that there are kernels for and others; ranks below and above what a block has in one go.
    for (t, h, n, rank) in [
        (1, 1, 1, 1),
        (1, 3, 5, 9),
        (1, 2, 16, 70),
        (1, 1, 32, 8),
        (1, 2, 64, 130),
        (1, 1, 128, 64),
        (4, 2, 3, 2),
    ] {
        let (state, width) = (normal(&[1, h, n, n]), h * n);
        let again = state.clone();
        let mut inputs =
            vec![normal(&[t, rank]), weight(&[rank, width], rank, normal), normal(&[1, 1, width])];
        inputs.extend((0..4).map(|_| normal(&[t, width])));
        inputs.extend([normal(&[h, n]), normal(&[width]), normal(&[width])]);
        cases.push(Case::new(
            format!("T{t} H{h} N{n} R{rank}"),
            inputs,
            move |tape, v| {
                let x = Wkv6Heads {
                    decay: [&v[0], &v[1], &v[2]],
                    inputs: [&v[3], &v[4], &v[5], &v[6]],
                    bonus: &v[7],
                    norm: [&v[8], &v[9]],
                    eps: 0.1,
                };
                let y = wkv6_heads(tape, &x, &like(&state, &v[0])?)?;
                Ok(vec![y.y, y.decay])
            },
            move |x| {
                let decay = x[0].matmul(&x[1])?.broadcast_add(&x[2].reshape(width)?)?;
                let inputs = [&x[3], &x[4], &x[5], &decay, &x[7]].map(Tensor::clone);
                let y = &wkv6_reference(&inputs, &again)?[0];
                let y = norm_reference(y, &x[8], Some(&x[9]), h, true, 0.1)?;
                Ok(vec![(y * silu_reference(&x[6])?)?, decay])
            },
        ));
    }
    cases
}
