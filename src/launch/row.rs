//! A single row on its way through a layer, in as few launches as sums over its width allow.

use candle_core::{Result, Tensor, bail};

use super::{Arg, LaunchShape, Out, THREADS, args, launch, vector};

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

/// h = norm(x), Δ = tail − h, and tanh((h + Δ·μ) W) for W as [in, out].
pub(crate) fn shifted(
    x: &Tensor,
    norm: NormWeights<'_>,
    tail: &Tensor,
    mu: &Tensor,
    w: &Tensor,
) -> Result<[Tensor; 3]> {
    let [inner, outer] = sizes(x, w, false)?;
    fits(inner, &[Some(norm.w), norm.b, Some(tail), Some(mu)])?;
    let (nw, nb, mu) = (vector(norm.w)?, norm.b.map(vector).transpose()?, vector(mu)?);
    let tail = tail.to_dtype(x.dtype())?;
    let row = || Out::new(&[1, inner], x.dtype(), x);
    let (mut h, mut delta, mut y) = (row()?, row()?, Out::new(&[1, outer], x.dtype(), x)?);
    let shape = LaunchShape::new(outer.div_ceil(COLUMNS), MANY).shared(room(x, inner) + partials(x));
    let mut args =
        args![x, &nw, nb.as_ref(), &tail, &mu, w, &mut h, &mut delta, &mut y, inner, outer, norm.eps];
    launch("row_shifted", x.dtype(), shape, &mut args)?;
    Ok([h.finish()?, delta.finish()?, y.finish()?])
}

/// tanh(x₀ W₀), W₀ as [in, out], and xᵢ Wᵢ for the other four, Wᵢ as [out, in].
pub(crate) fn mixed(x: [&Tensor; 5], w: [&Tensor; 5]) -> Result<[Tensor; 5]> {
    let (like, [inner, rank], [_, outer]) = (x[0], sizes(x[0], w[0], false)?, sizes(x[1], w[1], true)?);
    for i in 1..5 {
        if sizes(x[i], w[i], true)? != [inner, outer] {
            bail!("mixed: weights {:?} beside {:?}", w[i].dims(), w[1].dims());
        }
    }
    let out = |n| Out::new(&[1, n], like.dtype(), like);
    let [mut y0, mut y1, mut y2, mut y3, mut y4] =
        [out(rank)?, out(outer)?, out(outer)?, out(outer)?, out(outer)?];
    let blocks = rank.div_ceil(COLUMNS).max(outer.div_ceil(MANY / 32));
    let shape = LaunchShape { grid: [blocks, 5, 1], threads: MANY, shared: partials(like) };
    let mut args = args![
        x[0], w[0], &mut y0, x[1], w[1], &mut y1, x[2], w[2], &mut y2, x[3], w[3], &mut y3, x[4], w[4],
        &mut y4, inner, outer, rank
    ];
    launch("row_mixed", like.dtype(), shape, &mut args)?;
    Ok([y0.finish()?, y1.finish()?, y2.finish()?, y3.finish()?, y4.finish()?])
}

/// RMSNorm(x·SiLU(gate)) W + b, the norm over each of `groups` groups.
pub(crate) struct Gated<'a> {
    pub x: &'a Tensor,
    pub gate: &'a Tensor,
    pub norm: NormWeights<'a>,
    pub groups: usize,
    pub dense: DenseWeights<'a>,
}

/// That, and beside it in the same launch the product of another row and weight; weights as [out, in].
pub(crate) fn gated(a: &Gated<'_>, beside: Option<(&Tensor, &Tensor)>) -> Result<(Tensor, Option<Tensor>)> {
    let (x, [inner, outer]) = (a.x, sizes(a.x, a.dense.w, true)?);
    fits(inner, &[Some(a.gate), Some(a.norm.w)])?;
    fits(outer, &[a.dense.b])?;
    let other = beside.map(|(x, w)| sizes(x, w, true)).transpose()?;
    if a.groups == 0 || inner % a.groups != 0 || other.is_some_and(|[_, n]| n != outer) {
        bail!("a row of {inner} in {} groups, {outer} out, beside it {other:?}", a.groups);
    }
    let (nw, b) = (vector(a.norm.w)?, a.dense.b.map(vector).transpose()?);
    let out = || Out::new(&[1, outer], x.dtype(), x);
    let (mut y, mut second) = (out()?, beside.map(|_| out()).transpose()?);
    let grid = [outer.div_ceil(MANY / 32), 1 + usize::from(beside.is_some()), 1];
    let shape = LaunchShape { grid, threads: MANY, shared: 2 * room(x, inner) };
    let (size, [inner_beside, _]) = (inner / a.groups, other.unwrap_or([0, 0]));
    let (x_beside, w_beside) = beside.unzip();
    let y_beside = second.as_mut().map_or(Arg::Null, Arg::from);
    let mut args = args![
        x,
        a.gate,
        &nw,
        a.dense.w,
        b.as_ref(),
        &mut y,
        inner,
        size,
        a.norm.eps,
        x_beside,
        w_beside,
        y_beside,
        inner_beside,
        outer
    ];
    launch("row_gated", x.dtype(), shape, &mut args)?;
    Ok((y.finish()?, second.map(Out::finish).transpose()?))
}

/// s = x + g·a + (1 − g)·b with g = sigmoid(W [a; b] + c), of `[a, b, w, c]`; and then(RMSNorm(s) V + d), V as [out, in].
pub(crate) fn fused(
    x: &Tensor,
    [a, b, w, c]: [&Tensor; 4],
    norm: NormWeights<'_>,
    dense: DenseWeights<'_>,
    then: Pointwise,
) -> Result<[Tensor; 2]> {
    let [inner, outer] = sizes(x, dense.w, true)?;
    fits(inner, &[Some(a), Some(b), Some(norm.w)])?;
    fits(2 * inner, &[Some(w)])?;
    fits(outer, &[dense.b])?;
    let (c, nw, d) = (vector(c)?, vector(norm.w)?, dense.b.map(vector).transpose()?);
    let (mut sum, mut y) = (Out::new(&[1, inner], x.dtype(), x)?, Out::new(&[1, outer], x.dtype(), x)?);
    let shape = LaunchShape::new(outer.div_ceil(THREADS / 32), THREADS).shared(2 * room(x, inner));
    let then = then as usize;
    let mut args =
        args![x, a, b, w, &c, &nw, dense.w, d.as_ref(), &mut sum, &mut y, inner, outer, then, norm.eps];
    launch("row_fused", x.dtype(), shape, &mut args)?;
    Ok([sum.finish()?, y.finish()?])
}
