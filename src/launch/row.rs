//! A single row on its way through a layer, in as few launches as sums over its width allow.

use candle_core::{Result, Tensor, bail};

use super::{LaunchShape, Out, THREADS, args, launch, vector};

/// Threads where a block shares sums or makes much of its row itself.
const MANY: usize = 512;
/// Outputs of a block where the weight is [in, out].
const COLUMNS: usize = 32;

/// What is done with a product and its bias; the numbers are those of `row.cu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pointwise {
    /// Nothing.
    Identity,
    /// GELU in GPT-2's tanh form.
    Gelu,
    /// Hyperbolic tangent.
    Tanh,
}

/// A norm: layer norm where there is a bias, else RMS norm.
#[derive(Clone, Copy)]
pub(crate) struct NormWeights<'a> {
    pub w: &'a Tensor,
    pub b: Option<&'a Tensor>,
    pub eps: f64,
}

/// A weight and, where there is one, a bias.
#[derive(Clone, Copy)]
pub(crate) struct DenseWeights<'a> {
    pub w: &'a Tensor,
    pub b: Option<&'a Tensor>,
}

/// Outputs and inputs of a product with a row of `x`'s type.
fn sizes(x: &Tensor, w: &Tensor, out_in: bool) -> Result<[usize; 2]> {
    let (a, b) = w.dims2()?;
    let (inner, outer) = if out_in { (b, a) } else { (a, b) };
    if x.elem_count() != inner || w.dtype() != x.dtype() {
        bail!("a row {:?} of {:?} and weights {:?} of {:?}", x.dims(), x.dtype(), w.dims(), w.dtype());
    }
    Ok([inner, outer])
}

/// Checks the lengths of what goes along a row: a tensor of another length would be read beyond its end.
fn fits(n: usize, all: &[Option<&Tensor>]) -> Result<()> {
    match all.iter().flatten().find(|t| t.elem_count() != n) {
        Some(t) => bail!("{:?} beside a row of {n}", t.dims()),
        None => Ok(()),
    }
}

/// Bytes of a row, and of the partial sums of a weight that is [in, out].
fn room(x: &Tensor, n: usize) -> usize {
    (n * x.dtype().size_in_bytes()).next_multiple_of(16)
}

fn partials(x: &Tensor) -> usize {
    4 * MANY * (16 / x.dtype().size_in_bytes())
}

/// `then(norm(x) W + b)`.
pub(crate) fn of_norm(
    x: &Tensor,
    norm: NormWeights<'_>,
    dense: DenseWeights<'_>,
    out_in: bool,
    then: Pointwise,
) -> Result<Tensor> {
    let [inner, outer] = sizes(x, dense.w, out_in)?;
    fits(inner, &[Some(norm.w), norm.b])?;
    fits(outer, &[dense.b])?;
    let [nb, b] = [norm.b, dense.b].map(|b| b.map(vector).transpose());
    let (nw, nb, b, mut y) = (vector(norm.w)?, nb?, b?, Out::new(&[1, outer], x.dtype(), x)?);
    let (then, row) = (then as usize, room(x, inner));
    let mut args = args![x, &nw, nb.as_ref(), dense.w, b.as_ref(), &mut y, inner, outer, then, norm.eps];
    let (name, shape) = match out_in {
        true => ("row_normed_out_in", LaunchShape::new(outer.div_ceil(THREADS / 32), THREADS).shared(row)),
        false => {
            let shape = LaunchShape::new(outer.div_ceil(COLUMNS), MANY);
            ("row_normed_in_out", shape.shared(row + partials(x)))
        }
    };
    launch(name, x.dtype(), shape, &mut args)?;
    y.finish()
}
