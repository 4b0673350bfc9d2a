//! The head and its loss: logits of some tokens at a time, never of all.

use candle_core::{DType, Result, Tensor, bail};

use super::elementwise::{column_sums, scale};
use super::embedding::ids;
use super::{Arg, LaunchShape, Operand, Out, OutputView, gemm, launch};

/// The most threads of a row's block, and the logits that each is to have at least.
const THREADS: usize = 1024;
const EACH: usize = 8;
/// Logits kept at a time: a quarter of a gibibyte of float32.
const LOGITS: usize = 64 * 1024 * 1024;
/// Columns to which rows of logits are padded, so that products take whole tiles.
const TILE: usize = 64;

/// KernelLosses of every token, float32, and where asked for the gradients of their mean.
pub(crate) struct KernelLosses {
    pub each: Tensor,
    pub gradients: Option<(Tensor, Tensor)>,
}

/// KernelLosses of `targets` under softmax(h Wᵀ), so many tokens at a time that their logits stay few.
pub(crate) fn losses(h: &Tensor, w: &Tensor, targets: &[u32], gradients: bool) -> Result<KernelLosses> {
    let (vocab, _) = w.dims2()?;
    let stride = vocab.next_multiple_of(TILE);
    in_parts(h, w, targets, gradients, (LOGITS / stride).max(TILE))
}

/// The same, at most `at_once` tokens at a time.
fn in_parts(
    h: &Tensor,
    w: &Tensor,
    targets: &[u32],
    gradients: bool,
    at_once: usize,
) -> Result<KernelLosses> {
    let ((rows, width), (vocab, w_width)) = (h.dims2()?, w.dims2()?);
    if rows != targets.len() || width != w_width || width == 0 || rows == 0 {
        bail!("loss: hidden {:?}, head {:?}, {} targets", h.dims(), w.dims(), targets.len());
    }
    if let Some((i, t)) = targets.iter().enumerate().find(|(_, t)| **t as usize >= vocab) {
        bail!("target id {t} at position {i} is outside the vocabulary of {vocab}");
    }
    let (dtype, stride) = (h.dtype(), vocab.next_multiple_of(TILE));
    let targets = ids(targets, h)?;
    let (mut dh, mut dw) = (Out::like(h)?, Out::new(w.dims(), DType::F32, h)?);
    let mut all = Vec::new();
    for first in (0..rows).step_by(at_once) {
        let n = at_once.min(rows - first);
        let mut logits = Out::new(&[n, stride], DType::F32, h)?;
        let fresh = OutputView { start: 0, stride, keep: false };
        let part = Operand { start: first * width, ..Operand::of(h) };
        gemm(&mut logits, fresh, [n, vocab, width], part, Operand::of(w).t())?;
        let (logits, mut each) = (logits.finish()?, Out::new(&[n], DType::F32, h)?);
        let mut dz = gradients.then(|| Out::new(&[n, stride], dtype, h)).transpose()?;
        let slope = dz.as_mut().map_or(Arg::Null, Arg::from);
        let mut args = vec![(&logits).into()];
        let part_targets = targets.narrow(0, first, n)?;
        args.extend([(&part_targets).into(), (&mut each).into(), slope]);
        args.extend([vocab.into(), stride.into(), (1.0 / rows as f64).into()]);
        let threads = stride.div_ceil(EACH).next_multiple_of(32).min(THREADS);
        launch("cross_entropy", dtype, LaunchShape::new(n, threads).shared(8 * threads / 32), &mut args)?;
        drop(args);
        all.push(each.finish()?);
        if let Some(dz) = dz {
            let dz = dz.finish()?;
            let place = OutputView { start: first * width, stride: width, keep: false };
            gemm(&mut dh, place, [n, width, vocab], Operand::of(&dz), Operand::of(w))?;
            let place = OutputView { start: 0, stride: width, keep: first > 0 };
            gemm(&mut dw, place, [vocab, width, n], Operand::of(&dz).t(), part)?;
        }
    }
    let each = if all.len() == 1 { all.remove(0) } else { Tensor::cat(&all, 0)? };
    let gradients = if gradients { Some((dh.finish()?, dw.finish()?)) } else { None };
    Ok(KernelLosses { each, gradients })
}

/// The mean of float32 losses, a scalar where they lie.
pub(crate) fn mean(each: &Tensor) -> Result<Tensor> {
    let sum = column_sums(each, 1, None)?;
    scale(&sum, 1.0 / each.elem_count() as f64)?;
    sum.reshape(())
}
