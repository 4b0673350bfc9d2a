//! RWKV-6's inputs from the residual stream on: norm, token shift and mixes, and the products that read them.
//!
//! The ops of `token_mix.rs` with a norm before them and products between and behind them; a decoded token goes
//! through each in one launch (`row.rs` says when, and that both round alike).

use candle_core::{Result, Tensor};

use super::case::like;
use super::norm::reference as norm_reference;
use super::row::{Normed, weight};
use super::{Case, Layout, Tape, Var, lerp, linear, tanh, token_shift};
use crate::launch::row as launch;

/// What RWKV-6's mixes are made of.
///
/// # Shapes
/// B sequences of T positions, width d, five maps of rank R.
pub struct ShiftedRows {
    /// The normalised input h, [B·T, d].
    pub x: Var,
    /// Δ = the position before − this one, [B·T, d].
    pub delta: Var,
    /// `tanh((h + Δ·μ) W)`, [B·T, 5·R].
    pub low_rank: Var,
}

/// Token shift of a norm, and the low-rank map of its static mix.
///
/// # Shapes
/// - `x`: [B·T, d]
/// - `tail`: [B, d], the normalised input before `x`; no gradient flows there
/// - `mu`: d elements, in any shape
/// - `w`: [d, 5·R]
/// - result: see [`ShiftedRows`]
pub fn shifted_rows(tape: &Tape, x: &Normed, tail: &Tensor, mu: &Var, w: &Var) -> Result<ShiftedRows> {
    if let Some((row, norm)) = x.pending() {
        let [x, delta, low_rank] =
            launch::shifted(row, norm, tail, mu.tensor(), w.tensor())?.map(Var::constant);
        return Ok(ShiftedRows { x, delta, low_rank });
    }
    let x = x.rows(tape)?;
    let delta = token_shift(tape, &x, tail)?;
    let base = lerp(tape, &x, &delta, mu)?;
    let low_rank = tanh(tape, &linear(tape, &base, w, None, Layout::InOut)?)?;
    Ok(ShiftedRows { x, delta, low_rank })
}

/// What is made of five mixes.
///
/// # Shapes
/// - `low`: [N, R]
/// - `others`: four of [N, out]
pub struct MixProducts {
    /// `tanh(x₀ W₀)`.
    pub low: Var,
    /// `xᵢ Wᵢ` of the other four.
    pub others: [Var; 4],
}

/// The products that read the five mixes.
///
/// # Shapes
/// - `x`: five of [N, d]
/// - `low`: W₀ [d, R]
/// - `others`: four of [out, d]
/// - result: see [`MixProducts`]
pub fn mix_products(tape: &Tape, x: [&Var; 5], low: &Var, others: [&Var; 4]) -> Result<MixProducts> {
    let [a, b, c, d] = others;
    if tape.decodes(x[0]) {
        let weights = [low, a, b, c, d].map(Var::tensor);
        let [low, a, b, c, d] = launch::mixed(x.map(Var::tensor), weights)?.map(Var::constant);
        return Ok(MixProducts { low, others: [a, b, c, d] });
    }
    let product = |i: usize, w: &Var| linear(tape, x[i], w, None, Layout::OutIn);
    let others = [product(1, a)?, product(2, b)?, product(3, c)?, product(4, d)?];
    let low = tanh(tape, &linear(tape, x[0], low, None, Layout::InOut)?)?;
    Ok(MixProducts { low, others })
}

pub(super) fn cases(normal: &mut super::Normal<'_>) -> Vec<Case> {
    let mut all = Vec::new();
    for (rows, d, rank) in [(1, 1, 1), (1, 35, 37), (1, 264, 8), (3, 11, 5)] {
        for centred in [false, true] {
            all.push(shift_case([rows, d, rank], centred, normal));
        }
        all.push(product_case([rows, d, rank], normal));
    }
    all
}

/// Of x, the norm's weights, μ, W and, where it is centred, the norm's bias; one sequence.
fn shift_case([rows, d, rank]: [usize; 3], centred: bool, normal: &mut super::Normal<'_>) -> Case {
    let tail = normal(&[1, d]);
    let again = tail.clone();
    let mut inputs =
        vec![normal(&[rows, d]), normal(&[d]), normal(&[1, 1, d]), weight(&[d, rank], d, normal)];
    if centred {
        inputs.push(normal(&[d]));
    }
    Case::new(
        format!("shift of {rows}x{d}, rank {rank}, centred {centred}"),
        inputs,
        move |tape, v| {
            let x = match v.get(4) {
                Some(b) => Normed::layer(tape, &v[0], &v[1], b, 0.1)?,
                None => Normed::rms(tape, &v[0], &v[1], 0.1)?,
            };
            let y = shifted_rows(tape, &x, &like(&tail, &v[0])?, &v[2], &v[3])?;
            Ok(vec![y.x, y.delta, y.low_rank])
        },
        move |t| {
            let h = norm_reference(&t[0], &t[1], t.get(4), 1, centred, 0.1)?;
            let before = Tensor::cat(&[&again, &h], 0)?.narrow(0, 0, rows)?;
            let delta = (before - &h)?;
            let base = (&h + delta.broadcast_mul(&t[2].reshape(d)?)?)?;
            Ok(vec![h, delta, base.matmul(&t[3])?.tanh()?])
        },
    )
}

/// Of five rows, W₀ and four Wᵢ.
fn product_case([rows, d, rank]: [usize; 3], normal: &mut super::Normal<'_>) -> Case {
    let outer = d + 3;
    let mut inputs: Vec<_> = (0..5).map(|_| normal(&[rows, d])).collect();
    inputs.push(weight(&[d, rank], d, normal));
    inputs.extend((0..4).map(|_| weight(&[outer, d], d, normal)));
    Case::new(
        format!("products of five mixes of {rows}x{d}, rank {rank}"),
        inputs,
        |tape, v| {
            let x = [&v[0], &v[1], &v[2], &v[3], &v[4]];
            let y = mix_products(tape, x, &v[5], [&v[6], &v[7], &v[8], &v[9]])?;
            Ok([y.low].into_iter().chain(y.others).collect())
        },
        |t| {
            let others = (1..5).map(|i| t[i].matmul(&t[5 + i].t()?));
            [t[0].matmul(&t[5])?.tanh()].into_iter().chain(others).collect()
        },
    )
}
