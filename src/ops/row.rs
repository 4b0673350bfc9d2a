//! Norms that are taken where their rows are read.
//!
//! A decoded token is a single row, and what it costs a device is launches. So a [`Normed`] may put its norm off to
//! the products that read it, each of which makes it again: a norm is as many numbers as the row has, a product as
//! many as its weights have. It does so where a single row goes to kernels and no gradient is recorded. Everywhere
//! else the norm is taken at once, and the ops here are those of `norm.rs`, `linear.rs` and `elementwise.rs` one
//! after the other. Both ways round the same values to the activations' type.

use candle_core::{Result, Tensor, bail};

use super::data::rows_cols;
use super::elementwise::gelu_reference;
use super::norm::reference as norm_reference;
use super::{Case, Layout, Tape, Var, gelu, layer_norm, linear, rms_norm, tanh};
use crate::launch::row::{self, DenseWeights, NormWeights, Pointwise};
use crate::launch::runs_on_kernels;

/// Whether this is a single row for kernels, and nobody will ask for its gradient.
pub(super) fn is_decoded(tape: &Tape, x: &Var) -> bool {
    !tape.is_recording() && rows_cols(x.tensor()).0 == 1 && runs_on_kernels(x.tensor())
}

/// Normalised rows, or a row and the norm that is yet to be taken.
///
/// # Shapes
/// - [N, d]
pub struct Normed {
    x: Var,
    norm: Option<Norm>,
}

/// Layer norm where there is a bias, else RMS norm.
struct Norm {
    w: Var,
    b: Option<Var>,
    eps: f64,
}

impl Norm {
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
        Self::new(tape, x, Norm { w: w.clone(), b: Some(b.clone()), eps })
    }

    /// [`rms_norm`].
    ///
    /// # Shapes
    /// - `x`: [N, d]
    /// - `w`: `[d]`
    /// - result: [N, d]
    pub fn rms(tape: &Tape, x: &Var, w: &Var, eps: f64) -> Result<Self> {
        Self::new(tape, x, Norm { w: w.clone(), b: None, eps })
    }

    fn new(tape: &Tape, x: &Var, norm: Norm) -> Result<Self> {
        match is_decoded(tape, x) {
            true => Ok(Self { x: x.clone(), norm: Some(norm) }),
            false => Ok(Self { x: norm.of(tape, x)?, norm: None }),
        }
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
    let Some(norm) = &x.norm else { return then.of_linear(tape, &x.x, w, b, layout) };
    let dense = DenseWeights { w: w.tensor(), b: b.map(Var::tensor) };
    Ok(Var::constant(row::of_norm(x.x.tensor(), norm.weights(), dense, layout == Layout::OutIn, then)?))
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
    }
    all
}

/// A weight with sums of a size that no function levels out.
fn weight(shape: &[usize], inner: usize, normal: &mut super::Normal<'_>) -> Tensor {
    let w = normal(shape);
    (&w / (inner as f64).sqrt()).unwrap_or(w)
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
