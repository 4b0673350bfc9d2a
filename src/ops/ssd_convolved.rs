//! Mamba-2 from its in-projection to its recurrence's output: short convolution, then SSD.
//!
//! Columns z, x, B, C, δ; y = SSD(SiLU(conv(x, B, C)), δ), and z goes by. A decoded token goes through it in one
//! launch, which reads its columns where they lie (`row.rs` says when, and that both ways round alike).

use candle_core::{Result, Tensor};

use super::case::like;
use super::convolution::reference as convolution_reference;
use super::ssd::reference as ssd_reference;
use super::{Case, SsdInputs, Tape, Var, causal_conv_silu, split, ssd};
use crate::launch::ssd::{self as launch, Ssd};

/// The inputs of [`convolved_ssd`].
///
/// # Shapes
/// H heads of P channels and N state rows, G groups; C = H·P + 2·G·N channels of the convolution, K taps.
pub struct ConvolvedSsd<'a> {
    /// z, x, B, C and δ side by side, [B·T, H·P + C + H].
    pub all: &'a Var,
    /// Filters [C, 1, K] and their bias `[C]`.
    pub filters: [&'a Var; 2],
    /// A_log, δ_bias and D, `[H]` each.
    pub heads: [&'a Var; 3],
    /// G.
    pub groups: usize,
    /// Lower and upper limit of Δ.
    pub dt_limit: (f64, f64),
}

/// What comes out.
///
/// # Shapes
/// - `y`, `z`: [B·T, H·P]
/// - `dt`: δ [B·T, H]
/// - `tail`: [B, K−1, C], and `state`: [B, H, N, P], after the last position
pub struct SsdOutput {
    /// The recurrence's output.
    pub y: Var,
    /// What gates it.
    pub z: Var,
    /// The raw steps.
    pub dt: Var,
    /// The convolution's last inputs.
    pub tail: Tensor,
    /// The state.
    pub state: Tensor,
}

/// Convolution and recurrence from their states. No gradient flows into or out of them.
///
/// # Shapes
/// - `x`: see [`ConvolvedSsd`]
/// - `tail`: [B, K−1, C]
/// - `state`: [B, H, N, P]
/// - result: see [`SsdOutput`]
pub fn convolved_ssd(tape: &Tape, x: &ConvolvedSsd<'_>, tail: &Tensor, state: &Tensor) -> Result<SsdOutput> {
    let (_, heads, n, size) = state.dims4()?;
    let (inner, maps, channels) = (heads * size, x.groups * n, tail.dim(2)?);
    let ([w, b], [a_log, dt_bias, d]) = (x.filters, x.heads);
    if tape.decodes(x.all) {
        let all = x.all.tensor();
        let (filters, per_head) = ([w, b].map(Var::tensor), [a_log, dt_bias, d].map(Var::tensor));
        let s = Ssd { batch: 1, time: 1, heads, size, state: n, groups: x.groups, limit: x.dt_limit };
        let [y, tail, state] = launch::convolved(all, filters, tail, per_head, state, s)?;
        // Columns of a single row lie together as they are.
        let part = |start, len| all.narrow(1, start, len).map(Var::constant);
        let (z, dt) = (part(0, inner)?, part(inner + channels, heads)?);
        return Ok(SsdOutput { y: Var::constant(y), z, dt, tail, state });
    }
    let parts = split(tape, x.all, &[inner, channels, heads])?;
    let (xbc, tail) = causal_conv_silu(tape, &parts[1], w, b, tail)?;
    let cut = split(tape, &xbc, &[inner, maps, maps])?;
    let inputs = SsdInputs {
        x: &cut[0],
        dt: &parts[2],
        b: &cut[1],
        c: &cut[2],
        a_log,
        dt_bias,
        d,
        groups: x.groups,
        dt_limit: x.dt_limit,
    };
    let (y, state) = ssd(tape, &inputs, state)?;
    Ok(SsdOutput { y, z: parts[0].clone(), dt: parts[2].clone(), tail, state })
}

pub(super) fn cases(normal: &mut super::Normal<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for (t, h, p, n, g, k) in [
        (1, 1, 1, 1, 1, 2),
        (1, 4, 5, 3, 2, 4),
        (1, 2, 33, 37, 1, 4),
        (1, 2, 64, 128, 1, 3),
        (3, 2, 3, 5, 1, 4),
    ] {
        let (inner, maps) = (h * p, g * n);
        let channels = inner + 2 * maps;
        let (tail, state) = (normal(&[1, k - 1, channels]), normal(&[1, h, n, p]));
        let again = (tail.clone(), state.clone());
        let mut inputs =
            vec![normal(&[t, inner + channels + h]), normal(&[channels, 1, k]), normal(&[channels])];
        inputs.extend((0..3).map(|_| normal(&[h])));
        cases.push(Case::new(
            format!("T{t} H{h} P{p} N{n} G{g} K{k}"),
            inputs,
            move |tape, v| {
                let (filters, heads) = ([&v[1], &v[2]], [&v[3], &v[4], &v[5]]);
                let dt_limit = (0.0, f64::INFINITY);
                let x = ConvolvedSsd { all: &v[0], filters, heads, groups: g, dt_limit };
                let y = convolved_ssd(tape, &x, &like(&tail, &v[0])?, &like(&state, &v[0])?)?;
                Ok(vec![y.y, y.z, y.dt])
            },
            move |x| {
                let part = |x: &Tensor, start, len| x.narrow(1, start, len)?.contiguous();
                let (z, dt) = (part(&x[0], 0, inner)?, part(&x[0], inner + channels, h)?);
                let xbc = convolution_reference(&part(&x[0], inner, channels)?, &x[1], &x[2], &again.0)?;
                let (b, c) = (part(&xbc, inner, maps)?, part(&xbc, inner + maps, maps)?);
                let of = [part(&xbc, 0, inner)?, dt.clone(), b, c, x[3].clone(), x[4].clone(), x[5].clone()];
                Ok(vec![ssd_reference(&of, &again.1, g)?.remove(0), z, dt])
            },
        ));
    }
    cases
}
