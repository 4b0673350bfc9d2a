//! Norms that are taken where their rows are read.
//!
//! A decoded token is a single row, and what it costs a device is launches. So a [`Normed`] may put its norm off to
//! the products that read it, each of which makes it again: a norm is as many numbers as the row has, a product as
//! many as its weights have. It does so where a single row goes to kernels and no gradient is recorded. Everywhere
//! else the norm is taken at once, and the ops here are those of `norm.rs`, `linear.rs` and `elementwise.rs` one
//! after the other. Both ways round the same values to the activations' type.

use candle_core::{DType, Error, Result, Tensor, bail};

use super::case::like;
use super::elementwise::gelu_reference;
use super::norm::reference as norm_reference;
use super::{Case, Layout, Tape, Var, gated_fusion, gelu, layer_norm, linear, rms_norm, tanh};
use crate::launch::row::{self as launch, DenseWeights, NormWeights, Pointwise};

/// Normalised rows, or a row and the norm that is yet to be taken.
///
/// # Shapes
/// - [N, d]
pub struct Normed {
    x: Var,
    norm: Option<PendingNorm>,
}

/// Layer norm where there is a bias, else RMS norm.
struct PendingNorm {
    w: Var,
    b: Option<Var>,
    eps: f64,
}

impl PendingNorm {
    fn of(&self, tape: &Tape, x: &Var) -> Result<Var> {
        match &self.b {
            Some(b) => layer_norm(tape, x, &self.w, b, self.eps),
            None => rms_norm(tape, x, &self.w, self.eps),
        }
    }

    fn weights(&self) -> NormWeights<'_> {
        NormWeights { w: self.w.tensor(), b: self.b.as_ref().map(Var::tensor), eps: self.eps }
    }
}

impl Normed {
    /// [`layer_norm`].
    ///
    /// # Shapes
    /// - `x`: [N, d]
    /// - `w`, `b`: `[d]`
    /// - result: [N, d]
    pub fn layer(tape: &Tape, x: &Var, w: &Var, b: &Var, eps: f64) -> Result<Self> {
        Self::new(tape, x, PendingNorm { w: w.clone(), b: Some(b.clone()), eps })
    }

    /// [`rms_norm`].
    ///
    /// # Shapes
    /// - `x`: [N, d]
    /// - `w`: `[d]`
    /// - result: [N, d]
    pub fn rms(tape: &Tape, x: &Var, w: &Var, eps: f64) -> Result<Self> {
        Self::new(tape, x, PendingNorm { w: w.clone(), b: None, eps })
    }

    fn new(tape: &Tape, x: &Var, norm: PendingNorm) -> Result<Self> {
        match tape.decodes(x) {
            true => Ok(Self { x: x.clone(), norm: Some(norm) }),
            false => Ok(Self { x: norm.of(tape, x)?, norm: None }),
        }
    }

    /// The row and its norm, where the norm is yet to be taken.
    pub(super) fn pending(&self) -> Option<(&Tensor, NormWeights<'_>)> {
        self.norm.as_ref().map(|norm| (self.x.tensor(), norm.weights()))
    }

    /// The rows.
    ///
    /// # Shapes
    /// - result: [N, d]
    pub fn rows(&self, tape: &Tape) -> Result<Var> {
        self.norm.as_ref().map_or_else(|| Ok(self.x.clone()), |norm| norm.of(tape, &self.x))
    }
}

impl Pointwise {
    /// The function of `x W + b`.
    fn of_linear(self, tape: &Tape, x: &Var, w: &Var, b: Option<&Var>, layout: Layout) -> Result<Var> {
        match self {
            Self::Identity => linear(tape, x, w, b, layout),
            Self::Gelu => match b {
                Some(b) => gelu(tape, &linear(tape, x, w, None, layout)?, b),
                None => bail!("GELU takes a bias"),
            },
            Self::Tanh => tanh(tape, &linear(tape, x, w, b, layout)?),
        }
    }
}

/// `y = then(x W + b)`.
///
/// # Shapes
/// - `x`: [N, in]
/// - `w`: [out, in] or [in, out], as `layout` says
/// - `b`: `[out]`, which GELU must have
/// - result: [N, out]
pub fn linear_of_norm(
    tape: &Tape,
    x: &Normed,
    w: &Var,
    b: Option<&Var>,
    layout: Layout,
    then: Pointwise,
) -> Result<Var> {
    let Some((row, norm)) = x.pending() else { return then.of_linear(tape, &x.x, w, b, layout) };
    let dense = DenseWeights { w: w.tensor(), b: b.map(Var::tensor) };
    Ok(Var::constant(launch::of_norm(row, norm, dense, layout == Layout::OutIn, then)?))
}

/// What [`gated_fusion`] takes.
///
/// # Shapes
/// - `x`, `a`, `b`: [N, d]
/// - `w`: [1, 2·d]
/// - `c`: `[1]`
pub struct FusionInputs<'a> {
    /// The residual stream.
    pub x: &'a Var,
    /// One branch's output.
    pub a: &'a Var,
    /// The other's.
    pub b: &'a Var,
    /// The gate's weights.
    pub w: &'a Var,
    /// Its bias.
    pub c: &'a Var,
}

/// The fusion s of two branches, and `gelu(rms_norm(s) W + b)`: the way from one residual branch into the next.
///
/// # Shapes
/// - `x`: see [`FusionInputs`]
/// - `norm`: weights `[d]` and ε
/// - `w`: [out, d]
/// - `b`: `[out]`
/// - result: [N, d] and [N, out]
pub fn gelu_of_fusion(
    tape: &Tape,
    x: &FusionInputs<'_>,
    norm: (&Var, f64),
    w: &Var,
    b: &Var,
) -> Result<(Var, Var)> {
    if !tape.decodes(x.x) {
        let s = gated_fusion(tape, x.x, x.a, x.b, x.w, x.c)?;
        let h = rms_norm(tape, &s, norm.0, norm.1)?;
        let y = Pointwise::Gelu.of_linear(tape, &h, w, Some(b), Layout::OutIn)?;
        return Ok((s, y));
    }
    let fused = [x.a, x.b, x.w, x.c].map(Var::tensor);
    let norm = NormWeights { w: norm.0.tensor(), b: None, eps: norm.1 };
    let dense = DenseWeights { w: w.tensor(), b: Some(b.tensor()) };
    let [s, y] = launch::fused(x.x.tensor(), fused, norm, dense, Pointwise::Gelu)?;
    Ok((Var::constant(s), Var::constant(y)))
}

/// The slow obvious function, in candle's differentiable functions.
fn pointwise_reference(then: Pointwise, x: &Tensor) -> Result<Tensor> {
    match then {
        Pointwise::Identity => Ok(x.clone()),
        Pointwise::Gelu => gelu_reference(x),
        Pointwise::Tanh => x.tanh(),
    }
}

pub(super) fn cases(normal: &mut super::Normal<'_>) -> Vec<Case> {
    let mut all = Vec::new();
    // Rows of whole packs of 16 bytes and others, shorter than a warp and longer; outputs of a block and of several.
    for (rows, inner, outer) in [(1, 1, 1), (1, 35, 37), (1, 520, 24), (3, 11, 5)] {
        for (layout, centred, then) in [
            (Layout::InOut, true, Pointwise::Identity),
            (Layout::InOut, true, Pointwise::Gelu),
            (Layout::OutIn, false, Pointwise::Gelu),
            (Layout::OutIn, false, Pointwise::Tanh),
        ] {
            all.push(norm_case([rows, inner, outer], layout, centred, then, normal));
        }
        all.push(fusion_case([rows, inner, outer], normal));
    }
    all
}

/// A weight with sums of a size that no function levels out.
pub(super) fn weight(shape: &[usize], inner: usize, normal: &mut super::Normal<'_>) -> Tensor {
    let w = normal(shape);
    (&w / (inner as f64).sqrt()).unwrap_or(w)
}

/// What bfloat16 holds exactly, so that rounding it is no error of the op.
fn rounded(t: &Tensor) -> Tensor {
    t.to_dtype(DType::BF16).and_then(|b| b.to_dtype(t.dtype())).unwrap_or_else(|_| t.clone())
}

/// Of x, the norm's weights and bias, W and b.
fn norm_case(
    [rows, inner, outer]: [usize; 3],
    layout: Layout,
    centred: bool,
    then: Pointwise,
    normal: &mut super::Normal<'_>,
) -> Case {
    let w = if layout == Layout::OutIn { [outer, inner] } else { [inner, outer] };
    let mut inputs =
        vec![normal(&[rows, inner]), normal(&[inner]), weight(&w, inner, normal), normal(&[outer])];
    if centred {
        inputs.push(normal(&[inner]));
    }
    Case::new(
        format!("{then:?} of {rows}x{inner}x{outer} {layout:?} of a norm, centred {centred}"),
        inputs,
        move |tape, v| {
            let x = match v.get(4) {
                Some(b) => Normed::layer(tape, &v[0], &v[1], b, 0.1)?,
                None => Normed::rms(tape, &v[0], &v[1], 0.1)?,
            };
            Ok(vec![linear_of_norm(tape, &x, &v[2], Some(&v[3]), layout, then)?])
        },
        move |t| {
            let x = norm_reference(&t[0], &t[1], t.get(4), 1, centred, 0.1)?;
            let w = if layout == Layout::OutIn { t[2].t()? } else { t[2].clone() };
            Ok(vec![pointwise_reference(then, &x.matmul(&w)?.broadcast_add(&t[3])?)?])
        },
    )
}

/// Of x, a and b; the norm's weights, W and b. The gate's own gradients, each a sum of both signs for a single row, are
/// those of `fusion.rs`.
fn fusion_case([rows, inner, outer]: [usize; 3], normal: &mut super::Normal<'_>) -> Case {
    let mut inputs: Vec<_> = (0..3).map(|_| normal(&[rows, inner])).collect();
    inputs.extend([normal(&[inner]), weight(&[outer, inner], inner, normal), normal(&[outer])]);
    let gate = (rounded(&weight(&[1, 2 * inner], inner, normal)), rounded(&normal(&[1])));
    let again = gate.clone();
    Case::new(
        format!("gelu of {rows}x{inner}x{outer} of a fusion"),
        inputs,
        move |tape, v| {
            let [w, c] = [&gate.0, &gate.1].map(|t| Ok::<_, Error>(Var::constant(like(t, &v[0])?)));
            let x = FusionInputs { x: &v[0], a: &v[1], b: &v[2], w: &w?, c: &c? };
            let (s, y) = gelu_of_fusion(tape, &x, (&v[3], 0.1), &v[4], &v[5])?;
            Ok(vec![s, y])
        },
        move |t| {
            let z = Tensor::cat(&[&t[1], &t[2]], 1)?.matmul(&again.0.t()?)?.broadcast_add(&again.1)?;
            let g = (z.neg()?.exp()? + 1.0)?.recip()?;
            let rest = (1.0 - &g)?;
            let s = ((t[1].broadcast_mul(&g)? + t[2].broadcast_mul(&rest)?)? + &t[0])?;
            let h = norm_reference(&s, &t[3], None, 1, false, 0.1)?;
            let y = gelu_reference(&h.matmul(&t[4].t()?)?.broadcast_add(&t[5])?)?;
            Ok(vec![s, y])
        },
    )
}
