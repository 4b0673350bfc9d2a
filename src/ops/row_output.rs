//! The product at the end of a layer, and those at the ends of two layers side by side.
//!
//! Such a product may be put off until its neighbour's is made as well (`row.rs` says when, and that both ways round
//! alike): a decoded token goes through both in one launch.

use candle_core::Result;

use super::norm::{reference as norm_reference, silu_reference};
use super::row::weight;
use super::{Case, Layout, Tape, Var, gated_rms_norm, linear};
use crate::launch::row::{self as launch, DenseWeights, Gated, NormWeights};

/// `x W`, or `gated_rms_norm(x, gate) W + b`; made, or yet to be made.
///
/// # Shapes
/// - [N, out]
pub struct LayerOutput(Stage);

enum Stage {
    Made(Var),
    Plain(Var, Var),
    Gated { x: Var, gate: Var, norm: (Var, f64), groups: usize, w: Var, b: Option<Var> },
}

/// What [`gated_rms_norm`] takes.
///
/// # Shapes
/// - `x`, `gate`: [N, d]
/// - `w`: `[d]`
pub struct GatedNorm<'a> {
    /// What is normalised.
    pub x: &'a Var,
    /// What it is multiplied by, through SiLU, before.
    pub gate: &'a Var,
    /// The norm's weights.
    pub w: &'a Var,
    /// Groups of columns.
    pub groups: usize,
    /// ε.
    pub eps: f64,
}

impl LayerOutput {
    /// `x W`.
    ///
    /// # Shapes
    /// - `x`: [N, d]
    /// - `w`: [out, d]
    /// - result: [N, out]
    pub fn of(tape: &Tape, x: &Var, w: &Var) -> Result<Self> {
        match tape.decodes(x) {
            true => Ok(Self(Stage::Plain(x.clone(), w.clone()))),
            false => Ok(Self(Stage::Made(linear(tape, x, w, None, Layout::OutIn)?))),
        }
    }

    /// `gated_rms_norm(x) W + b`.
    ///
    /// # Shapes
    /// - `x`: see [`GatedNorm`]
    /// - `w`: [out, d]
    /// - `b`: `[out]`
    /// - result: [N, out]
    pub fn of_gated_norm(tape: &Tape, x: &GatedNorm<'_>, w: &Var, b: Option<&Var>) -> Result<Self> {
        if !tape.decodes(x.x) {
            let h = gated_rms_norm(tape, x.x, x.gate, x.w, x.groups, x.eps)?;
            return Ok(Self(Stage::Made(linear(tape, &h, w, b, Layout::OutIn)?)));
        }
        let (gate, norm) = (x.gate.clone(), (x.w.clone(), x.eps));
        let (x, groups, w, b) = (x.x.clone(), x.groups, w.clone(), b.cloned());
        Ok(Self(Stage::Gated { x, gate, norm, groups, w, b }))
    }

    /// Made.
    ///
    /// # Shapes
    /// - result: [N, out]
    pub fn make(&self, tape: &Tape) -> Result<Var> {
        match (&self.0, self.gated()) {
            (Stage::Made(y), _) => Ok(y.clone()),
            (Stage::Plain(x, w), _) => linear(tape, x, w, None, Layout::OutIn),
            (_, Some(gated)) => Ok(Var::constant(launch::gated(&gated, None)?.0)),
            (Stage::Gated { .. }, None) => candle_core::bail!("a gated norm without its parts"),
        }
    }

    fn gated(&self) -> Option<Gated<'_>> {
        let Stage::Gated { x, gate, norm, groups, w, b } = &self.0 else { return None };
        let norm = NormWeights { w: norm.0.tensor(), b: None, eps: norm.1 };
        let dense = DenseWeights { w: w.tensor(), b: b.as_ref().map(Var::tensor) };
        Some(Gated { x: x.tensor(), gate: gate.tensor(), norm, groups: *groups, dense })
    }
}

/// Two layers' outputs, of which the second may have a gated norm.
///
/// # Shapes
/// - result: [N, out] each
pub fn layer_outputs(tape: &Tape, a: &LayerOutput, b: &LayerOutput) -> Result<[Var; 2]> {
    if let (Stage::Plain(x, w), Some(gated)) = (&a.0, b.gated()) {
        let (b, a) = launch::gated(&gated, Some((x.tensor(), w.tensor())))?;
        if let Some(a) = a {
            return Ok([Var::constant(a), Var::constant(b)]);
        }
    }
    Ok([a.make(tape)?, b.make(tape)?])
}

pub(super) fn cases(normal: &mut super::Normal<'_>) -> Vec<Case> {
    let mut all = Vec::new();
    // Groups of whole packs of 16 bytes and others.
    for (rows, inner, groups, outer) in [(1, 1, 1, 1), (1, 35, 5, 37), (1, 520, 2, 24), (3, 12, 3, 5)] {
        all.extend([false, true].map(|beside| case([rows, inner, groups, outer], beside, normal)));
    }
    all
}

/// Of x, gate, the norm's weights, W and b; and of a row and a weight beside them.
fn case([rows, inner, groups, outer]: [usize; 4], beside: bool, normal: &mut super::Normal<'_>) -> Case {
    let other = inner / 2 + 1;
    let mut inputs = vec![normal(&[rows, inner]), normal(&[rows, inner]), normal(&[inner])];
    inputs.extend([weight(&[outer, inner], inner, normal), normal(&[outer])]);
    if beside {
        inputs.extend([normal(&[rows, other]), weight(&[outer, other], other, normal)]);
    }
    Case::new(
        format!("gated norm of {rows}x{inner}x{outer} in {groups}, beside it another: {beside}"),
        inputs,
        move |tape, v| {
            let x = GatedNorm { x: &v[0], gate: &v[1], w: &v[2], groups, eps: 0.1 };
            let gated = LayerOutput::of_gated_norm(tape, &x, &v[3], Some(&v[4]))?;
            match v.get(5..7) {
                Some([x, w]) => Ok(layer_outputs(tape, &LayerOutput::of(tape, x, w)?, &gated)?.into()),
                _ => Ok(vec![gated.make(tape)?]),
            }
        },
        move |t| {
            let h = norm_reference(&(&t[0] * silu_reference(&t[1])?)?, &t[2], None, groups, false, 0.1)?;
            let y = h.matmul(&t[3].t()?)?.broadcast_add(&t[4])?;
            let other = t.get(5..7).map(|pair| pair[0].matmul(&pair[1].t()?)).transpose()?;
            Ok(other.into_iter().chain([y]).collect())
        },
    )
}
