//! Functions of one element at a time, columns, sums over rows.

use candle_core::{DType, Result, Tensor, bail};

use super::dispatch::in_place;
use super::{LaunchShape, Out, THREADS, args, launch, vector};

/// A thread for every 16 bytes of `n` elements.
fn packs(n: usize, dtype: DType) -> LaunchShape {
    LaunchShape::each(n.div_ceil(16 / dtype.size_in_bytes()))
}

fn same(a: &Tensor, b: &Tensor) -> Result<()> {
    if a.elem_count() != b.elem_count() {
        bail!("shapes {:?} and {:?} differ", a.dims(), b.dims());
    }
    Ok(())
}

/// `kernel` of x, element by element.
pub(crate) fn map(kernel: &str, x: &Tensor) -> Result<Tensor> {
    let (n, mut y) = (x.elem_count(), Out::like(x)?);
    launch(kernel, x.dtype(), packs(n, x.dtype()), &mut args![x, &mut y, n])?;
    y.finish()
}

/// `kernel` of a and b, element by element, shaped as a.
pub(crate) fn zip(kernel: &str, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    same(a, b)?;
    let (n, mut y) = (a.elem_count(), Out::like(a)?);
    launch(kernel, a.dtype(), packs(n, a.dtype()), &mut args![a, b, &mut y, n])?;
    y.finish()
}

/// Gradients of a and b from theirs and dy.
pub(crate) fn zip_backward(kernel: &str, a: &Tensor, b: &Tensor, dy: &Tensor) -> Result<(Tensor, Tensor)> {
    same(a, dy)?;
    let (n, mut da, mut db) = (a.elem_count(), Out::like(a)?, Out::like(b)?);
    launch(kernel, a.dtype(), packs(n, a.dtype()), &mut args![a, b, dy, &mut da, &mut db, n])?;
    Ok((da.finish()?, db.finish()?))
}

/// GELU of x + b.
pub(crate) fn gelu(x: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (n, cols, mut y) = (x.elem_count(), b.elem_count(), Out::like(x)?);
    launch("gelu_forward", x.dtype(), packs(n, x.dtype()), &mut args![x, &vector(b)?, &mut y, n, cols])?;
    y.finish()
}

/// Gradients of x and b.
pub(crate) fn gelu_backward(x: &Tensor, b: &Tensor, dy: &Tensor) -> Result<(Tensor, Tensor)> {
    let (n, cols, mut dx) = (x.elem_count(), b.elem_count(), Out::like(x)?);
    launch(
        "gelu_backward",
        x.dtype(),
        packs(n, x.dtype()),
        &mut args![x, &vector(b)?, dy, &mut dx, n, cols],
    )?;
    let dx = dx.finish()?;
    let db = column_sums(&dx, cols, None)?;
    Ok((dx, db))
}

/// `residual + b` in every row, [rows, cols]: what a product is added to.
pub(crate) fn begin(residual: Option<&Tensor>, b: Option<&Tensor>, y: &mut Out, cols: usize) -> Result<()> {
    let b = b.map(vector).transpose()?;
    let (n, dtype) = (y.len(), y.dtype());
    launch("begin", dtype, packs(n, dtype), &mut args![residual, b.as_ref(), y, n, cols])
}

/// `sum += t`, in memory order.
pub(crate) fn accumulate(sum: &Tensor, t: &Tensor) -> Result<()> {
    same(sum, t)?;
    let n = t.elem_count();
    let t = t.to_dtype(sum.dtype())?;
    in_place(sum, |at| launch("accumulate", t.dtype(), packs(n, t.dtype()), &mut args![at, &t, n]))
}

/// `x *= by`.
pub(crate) fn scale(x: &Tensor, by: f64) -> Result<()> {
    let (n, dtype) = (x.elem_count(), x.dtype());
    in_place(x, |at| launch("scale", dtype, packs(n, dtype), &mut args![at, by, n]))
}

/// How many elements a thread moves at a time: as many as 16 bytes or 8 have, if that divides all numbers of columns.
fn of_word(t: &Tensor, columns: &[usize]) -> usize {
    let bytes = t.dtype().size_in_bytes();
    let first = t.layout().start_offset();
    let fits = |&n: &usize| n > 1 && columns.iter().chain([&first]).all(|columns| columns % n == 0);
    [16 / bytes, 8 / bytes].iter().copied().find(fits).unwrap_or(1)
}

/// Cuts columns into parts of these sizes.
pub(crate) fn cut(x: &Tensor, sizes: &[usize]) -> Result<Vec<Tensor>> {
    let (rows, cols) = x.dims2()?;
    let mut start = 0;
    let part = |&size: &usize| {
        let mut y = Out::new(&[rows, size], x.dtype(), x)?;
        let word = of_word(x, &[cols, start, size]);
        let mut args = args![x, &mut y, rows, cols, start, size, word];
        launch("columns_take", x.dtype(), LaunchShape::each(rows * size / word), &mut args)?;
        start += size;
        y.finish()
    };
    sizes.iter().map(part).collect()
}

/// Puts parts of these sizes side by side, zeros where one is missing.
pub(crate) fn join(parts: &[Option<Tensor>], sizes: &[usize], rows: usize) -> Result<Tensor> {
    let Some(some) = parts.iter().flatten().next() else { bail!("no part has a gradient") };
    let (cols, dtype): (usize, _) = (sizes.iter().sum(), some.dtype());
    let mut x = Out::new(&[rows, cols], dtype, some)?;
    let mut start = 0;
    for (part, &size) in parts.iter().zip(sizes) {
        let word = of_word(part.as_ref().unwrap_or(some), &[cols, start, size]);
        let mut args = args![part.as_ref(), &mut x, rows, cols, start, size, word];
        launch("columns_put", dtype, LaunchShape::each(rows * size / word), &mut args)?;
        start += size;
    }
    x.finish()
}

/// Rows that one block adds up.
const CHUNK: usize = 256;

/// The sum over rows, each times its weight where there are weights: [rows, cols] to [cols], float32.
pub(crate) fn column_sums(x: &Tensor, cols: usize, weight: Option<&Tensor>) -> Result<Tensor> {
    let rows = x.elem_count() / cols.max(1);
    let chunks = rows.div_ceil(CHUNK).max(1);
    let mut y = Out::new(&[chunks, cols], DType::F32, x)?;
    let shape = LaunchShape { grid: [cols.div_ceil(32), chunks, 1], threads: THREADS, shared: 4 * THREADS };
    launch("column_sums", x.dtype(), shape, &mut args![x, weight, &mut y, rows, cols, CHUNK])?;
    let y = y.finish()?;
    if chunks == 1 { y.reshape(cols) } else { column_sums(&y, cols, None) }
}
