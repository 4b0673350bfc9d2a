//! RWKV-6's token shift and mixing.

use candle_core::{DType, Result, Tensor, bail};

use super::elementwise::column_sums;
use super::{Arg, LaunchShape, Operand, Out, OutputView, args, gemm, launch, vector};

/// A thread for every 16 bytes of a row.
fn packs(rows: usize, d: usize, dtype: DType) -> LaunchShape {
    LaunchShape::each(rows * d.div_ceil(16 / dtype.size_in_bytes()))
}

/// Δ = x[t−1] − x[t].
pub(crate) fn shift(x: &Tensor, tail: &Tensor) -> Result<Tensor> {
    let (rows, d) = x.dims2()?;
    let (time, tail, mut y) = (rows / tail.dim(0)?, tail.to_dtype(x.dtype())?, Out::like(x)?);
    launch(
        "shift_forward",
        x.dtype(),
        packs(rows, d, x.dtype()),
        &mut args![x, &tail, &mut y, rows, d, time],
    )?;
    y.finish()
}

/// The gradient of x.
pub(crate) fn shift_backward(dy: &Tensor, batch: usize) -> Result<Tensor> {
    let (rows, d) = dy.dims2()?;
    let mut dx = Out::like(dy)?;
    launch(
        "shift_backward",
        dy.dtype(),
        packs(rows, d, dy.dtype()),
        &mut args![dy, &mut dx, rows, d, rows / batch],
    )?;
    dx.finish()
}

/// What made the mixes, for the way back.
pub(crate) struct Mixes {
    pub outputs: Vec<Tensor>,
    /// The low-rank maps' outputs, [parts, rows, d].
    pub maps: Option<Tensor>,
}

/// x + Δ·(μ_i + a_i W₂_i) of every part.
pub(crate) fn mix(
    x: &Tensor,
    delta: &Tensor,
    mu: &[&Tensor],
    low: Option<(&Tensor, &Tensor)>,
) -> Result<Mixes> {
    let ((rows, d), parts) = (x.dims2()?, mu.len());
    if parts > 5 || mu.iter().any(|mu| mu.elem_count() != d) {
        bail!("mix: {d} columns, coefficients {:?}", mu.iter().map(|mu| mu.dims()).collect::<Vec<_>>());
    }
    let maps = low.map(|(a, w2)| maps(a, w2, rows, d)).transpose()?;
    let mu = mu.iter().map(|mu| vector(mu)).collect::<Result<Vec<_>>>()?;
    let mut outputs = mu.iter().map(|_| Out::like(x)).collect::<Result<Vec<_>>>()?;
    let mut args: Vec<Arg<'_>> = vec![x.into(), delta.into(), maps.as_ref().into()];
    args.extend((0..5).map(|i| Arg::from(mu.get(i))));
    let missing = (parts..5).map(|_| Arg::Null);
    args.extend(outputs.iter_mut().map(Arg::from).chain(missing));
    args.extend([rows.into(), d.into()]);
    launch("mix_forward", x.dtype(), packs(rows, d, x.dtype()), &mut args)?;
    drop(args);
    Ok(Mixes { outputs: outputs.into_iter().map(Out::finish).collect::<Result<_>>()?, maps })
}

/// The same five parts for a single row, maps included, in one launch.
pub(crate) fn mix_row(
    x: &Tensor,
    delta: &Tensor,
    mu: [&Tensor; 5],
    a: &Tensor,
    w2: &Tensor,
) -> Result<Vec<Tensor>> {
    let ((parts, rank, d), [n, changed, low]) = (w2.dims3()?, [x, delta, a].map(Tensor::elem_count));
    if parts != 5 || n != d || changed != d || low != 5 * rank || mu.iter().any(|mu| mu.elem_count() != d) {
        bail!("mix: a row {:?}, Δ {:?}, a {:?}, W₂ {:?}", x.dims(), delta.dims(), a.dims(), w2.dims());
    }
    let mu = mu.into_iter().map(vector).collect::<Result<Vec<_>>>()?;
    let mut outputs = mu.iter().map(|_| Out::like(x)).collect::<Result<Vec<_>>>()?;
    let mut args: Vec<Arg<'_>> = vec![x.into(), delta.into(), a.into(), w2.into()];
    args.extend(mu.iter().map(Arg::from).chain(outputs.iter_mut().map(Arg::from)));
    args.extend([d.into(), rank.into()]);
    let shape = LaunchShape { grid: [d.div_ceil(64), 5, 1], threads: 64, shared: 0 };
    launch("mix_row", x.dtype(), shape, &mut args)?;
    drop(args);
    outputs.into_iter().map(Out::finish).collect()
}

/// a_i of [rows, parts·rank].
fn part<'a>(a: &'a Tensor, i: usize, rank: usize) -> Operand<'a> {
    Operand { start: i * rank, ..Operand::of(a) }
}

fn maps(a: &Tensor, w2: &Tensor, rows: usize, d: usize) -> Result<Tensor> {
    let (parts, rank, _) = w2.dims3()?;
    let mut maps = Out::new(&[parts, rows, d], a.dtype(), a)?;
    for i in 0..parts {
        let place = OutputView { start: i * rows * d, stride: d, keep: false };
        let w = Operand { start: i * rank * d, ..Operand::of(w2) };
        gemm(&mut maps, place, [rows, d, rank], part(a, i, rank), w)?;
    }
    maps.finish()
}

/// Gradients of a mix.
pub(crate) struct MixGradients {
    pub dx: Tensor,
    pub ddelta: Tensor,
    pub dmu: Vec<Tensor>,
    pub low: Option<(Tensor, Tensor)>,
}

/// The way back through [`mix`].
pub(crate) fn mix_backward(
    delta: &Tensor,
    maps: Option<&Tensor>,
    mu: &[Tensor],
    low: Option<(&Tensor, &Tensor)>,
    dys: &[Option<Tensor>],
) -> Result<MixGradients> {
    let ((rows, d), parts) = (delta.dims2()?, dys.len());
    let mu = mu.iter().map(vector).collect::<Result<Vec<_>>>()?;
    let (mut dx, mut ddelta) = (Out::like(delta)?, Out::like(delta)?);
    let mut dm = Out::new(&[parts, rows, d], delta.dtype(), delta)?;
    let mut args: Vec<Arg<'_>> = vec![delta.into(), maps.into()];
    args.extend((0..5).map(|i| Arg::from(mu.get(i))));
    args.extend((0..5).map(|i| Arg::from(dys.get(i).and_then(Option::as_ref))));
    args.extend([(&mut dx).into(), (&mut ddelta).into(), (&mut dm).into()]);
    args.extend([rows.into(), d.into(), parts.into()]);
    launch("mix_backward", delta.dtype(), packs(rows, d, delta.dtype()), &mut args)?;
    drop(args);
    let dm = dm.finish()?;
    let dmu = (0..parts).map(|i| column_sums(&dm.get(i)?, d, None)).collect::<Result<_>>()?;
    let low = low.map(|(a, w2)| low_backward(a, w2, &dm)).transpose()?;
    Ok(MixGradients { dx: dx.finish()?, ddelta: ddelta.finish()?, dmu, low })
}

/// Gradients of a and W₂ from those of their products.
fn low_backward(a: &Tensor, w2: &Tensor, dm: &Tensor) -> Result<(Tensor, Tensor)> {
    let ((parts, rank, d), rows) = (w2.dims3()?, a.dim(0)?);
    let (mut da, mut dw) = (Out::like(a)?, Out::new(w2.dims(), DType::F32, a)?);
    for i in 0..parts {
        let g = Operand { start: i * rows * d, ..Operand::of(dm) };
        let w = Operand { start: i * rank * d, ..Operand::of(w2) };
        let place = OutputView { start: i * rank, stride: parts * rank, keep: false };
        gemm(&mut da, place, [rows, rank, d], g, w.t())?;
        let place = OutputView { start: i * rank * d, stride: d, keep: false };
        gemm(&mut dw, place, [rank, d, rows], part(a, i, rank).t(), g)?;
    }
    Ok((da.finish()?, dw.finish()?))
}
