//! Matrix products: `y = x W (+ b)`, for weights stored either way round.

use candle_core::{Result, Tensor, bail};
use num_traits::Float;
use rayon::prelude::*;

use super::data::{Data, ROWS, column_sums, is_brief, rows_cols, sum_in_order, tensor};
use super::linear_brief as in_brief;
use super::stored::Stored;
use super::{Case, Real, Tape, Var, dispatch_dtype, simd};
use crate::launch;

/// How a weight matrix is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// [out, in], as `torch.nn.Linear` and both recurrent models publish it.
    OutIn,
    /// [in, out], as GPT-2's `Conv1D` publishes it.
    InOut,
}

/// A matrix operand: elements, and the strides from one row or column to the next.
#[derive(Clone, Copy)]
pub(crate) struct Mat<'a, T> {
    pub data: &'a [T],
    pub rows: usize,
    pub cols: usize,
    pub row_stride: usize,
    pub col_stride: usize,
}

impl<'a, T> Mat<'a, T> {
    /// A row-major matrix.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// Rows of `cols` elements that lie `row_stride` apart.
    pub fn strided(data: &'a [T], rows: usize, cols: usize, row_stride: usize) -> Self {
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// The transpose, without moving anything.
    pub fn t(self) -> Self {
        let Self { data, rows, cols, row_stride, col_stride } = self;
        Self { data, rows: cols, cols: rows, row_stride: col_stride, col_stride: row_stride }
    }

    pub fn last_index(&self) -> usize {
        match (self.rows, self.cols) {
            (0, _) | (_, 0) => 0,
            (r, c) => (r - 1) * self.row_stride + (c - 1) * self.col_stride + 1,
        }
    }
}

/// Who computes a product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// All threads share it.
    All,
    /// The calling one: the others have products of their own.
    This,
}

/// `out = keep·out + scale·a·b`, rows of `out` lying `stride` apart.
pub(crate) fn matmul<T: Real>(
    a: Mat<'_, T>,
    b: Mat<'_, T>,
    out: &mut [T],
    stride: usize,
    keep: bool,
    scale: T,
    threads: Threads,
) {
    let (m, n) = (a.rows, b.cols);
    assert!(m == 0 || n == 0 || (m - 1) * stride + n <= out.len());
    #[expect(unsafe_code, reason = "the matrix product of the `gemm` crate takes pointers")]
    // SAFETY: the assert above keeps what is written inside `out`, which is borrowed mutably, so it
    // overlaps neither operand; its elements are initialised.
    unsafe {
        gemm_to(a, b, out.as_mut_ptr(), stride, keep, scale, threads);
    }
}

/// `scale·a·b`, row-major, after what `out` holds.
pub(crate) fn append_product<T: Real>(
    a: Mat<'_, T>,
    b: Mat<'_, T>,
    out: &mut Vec<T>,
    scale: T,
    threads: Threads,
) {
    let (old, new) = (out.len(), a.rows * b.cols);
    if a.cols == 0 {
        return out.resize(old + new, T::zero());
    }
    out.reserve(new);
    #[expect(unsafe_code, reason = "the product writes every element: zeros first would be one more pass")]
    // SAFETY: `out` has room for m·n elements more, and with at least one term in every sum and `keep`
    // off each of them is written and none is read.
    unsafe {
        gemm_to(a, b, out.as_mut_ptr().add(old), b.cols, false, scale, threads);
        out.set_len(old + new);
    }
}

/// `a·b`, row-major.
pub(crate) fn product<T: Real>(a: Mat<'_, T>, b: Mat<'_, T>) -> Vec<T> {
    let mut out = Vec::new();
    append_product(a, b, &mut out, T::one(), Threads::All);
    out
}

/// # Safety
///
/// Rows of `b.cols` elements, `stride` apart, as many as `a` has, must be writable at `out`, overlap
/// neither operand, and be initialised where `keep` is set.
#[expect(unsafe_code, reason = "the matrix product of the `gemm` crate takes pointers")]
unsafe fn gemm_to<T: Real>(
    a: Mat<'_, T>,
    b: Mat<'_, T>,
    out: *mut T,
    stride: usize,
    keep: bool,
    scale: T,
    threads: Threads,
) {
    let parallelism = match threads {
        Threads::All => gemm::Parallelism::Rayon(0),
        Threads::This => gemm::Parallelism::None,
    };
    let (m, n, k) = (a.rows, b.cols, a.cols);
    assert_eq!(b.rows, k, "matmul: inner dimensions differ");
    assert!(a.last_index() <= a.data.len() && b.last_index() <= b.data.len());
    let at = |x: usize| x as isize;
    // SAFETY: the asserts above keep every element that is read inside its slice; the caller answers
    // for what is written.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out,
            1,
            at(stride),
            keep,
            a.data.as_ptr(),
            at(a.col_stride),
            at(a.row_stride),
            b.data.as_ptr(),
            at(b.col_stride),
            at(b.row_stride),
            T::one(),
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

pub(super) fn oriented<T>(w: Mat<'_, T>, layout: Layout) -> Mat<'_, T> {
    match layout {
        Layout::OutIn => w.t(),
        Layout::InOut => w,
    }
}

/// Weights that a task of [`row_product`] reads, unless that makes more than [`TASKS`]. Both are fixed,
/// because a sum depends on how it is cut.
const WEIGHTS: usize = 64 * 1024;
const TASKS: usize = 32;

/// `x·a` for a single row, where reading the weights is all there is to do and a blocked product
/// would only copy them first. Each task reads one stretch of memory from end to end.
pub(super) fn row_product<S: Stored>(x: &[S::Real], a: Mat<'_, S>) -> Vec<S::Real> {
    let zeros = |n: usize| vec![<S::Real as num_traits::Zero>::zero(); n];
    if a.rows * a.cols == 0 {
        return zeros(a.cols);
    }
    let tasks = (a.rows * a.cols / WEIGHTS).clamp(1, TASKS);
    if a.row_stride == 1 && a.col_stride >= x.len() {
        let mut y = zeros(a.cols);
        let size = a.cols.div_ceil(tasks);
        y.par_chunks_mut(size).zip(a.data.par_chunks(size * a.col_stride)).for_each(|(y, w)| {
            simd(
                #[inline(always)]
                || {
                    for (y, w) in y.iter_mut().zip(w.chunks(a.col_stride)) {
                        *y = S::dot(x, w);
                    }
                },
            );
        });
        return y;
    }
    let size = x.len().div_ceil(tasks);
    let parts = x.par_chunks(size).zip(a.data.par_chunks(size * a.row_stride)).map(|(x, w)| {
        let mut y = zeros(a.cols);
        simd(
            #[inline(always)]
            || {
                for (x, w) in x.iter().zip(w.chunks(a.row_stride)) {
                    for (y, w) in y.iter_mut().zip(w) {
                        *y = (*x).mul_add(w.widen(), *y);
                    }
                }
            },
        );
        y
    });
    sum_in_order(&parts.collect::<Vec<_>>(), a.cols)
}

/// Adds bias and residual to a product.
fn add_rest<T: Real>(y: &mut [T], b: Option<&[T]>, residual: Option<&[T]>, cols: usize) {
    let block = ROWS * cols.max(1);
    let each = |y: &mut [T], residual: Option<&[T]>| {
        simd(
            #[inline(always)]
            || {
                if let Some(r) = residual {
                    y.iter_mut().zip(r).for_each(|(y, r)| *y += *r);
                }
                if let Some(b) = b {
                    y.chunks_exact_mut(cols).for_each(|y| y.iter_mut().zip(b).for_each(|(y, b)| *y += *b));
                }
            },
        );
    };
    match residual {
        Some(r) => y.par_chunks_mut(block).zip(r.par_chunks(block)).for_each(|(y, r)| each(y, Some(r))),
        None if b.is_some() => y.par_chunks_mut(block).for_each(|y| each(y, None)),
        None => {}
    }
}

fn forward<T: Real + Stored<Real = T>>(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    residual: Option<&Tensor>,
    layout: Layout,
) -> Result<Tensor> {
    let (rows, inner) = rows_cols(x);
    let (w_rows, w_cols) = w.dims2()?;
    let (xd, wd) = (Data::of(x)?, Data::of(w)?);
    let weight = oriented(Mat::new(wd.get::<T>()?, w_rows, w_cols), layout);
    if weight.rows != inner {
        bail!("linear: input has {inner} columns, weight {:?} takes {}", w.dims(), weight.rows);
    }
    let outer = weight.cols;
    let (bd, rd) = (b.map(Data::of).transpose()?, residual.map(Data::of).transpose()?);
    let b = bd.as_ref().map(|b| b.get::<T>()).transpose()?;
    let residual = rd.as_ref().map(|r| r.get::<T>()).transpose()?;
    if b.is_some_and(|b| b.len() != outer) || residual.is_some_and(|r| r.len() != rows * outer) {
        let lens = (b.map(<[T]>::len), residual.map(<[T]>::len));
        bail!("linear: [{rows}, {outer}] out, bias and residual of {lens:?} elements");
    }
    let x = xd.get::<T>()?;
    let mut y = match rows {
        1 => row_product(x, weight),
        _ => product(Mat::new(x, rows, inner), weight),
    };
    add_rest(&mut y, b, residual, outer);
    tensor(y, &[rows, outer])
}

/// Gradients of x, W and (if asked) b.
fn backward<T: Real + Stored<Real = T>>(
    x: &Tensor,
    w: &Tensor,
    dy: &Tensor,
    layout: Layout,
    with_bias: bool,
) -> Result<(Tensor, Tensor, Option<Tensor>)> {
    let (rows, inner) = rows_cols(x);
    let (w_rows, w_cols) = w.dims2()?;
    let (xd, wd, dyd) = (Data::of(x)?, Data::of(w)?, Data::of(dy)?);
    let weight = oriented(Mat::new(wd.get::<T>()?, w_rows, w_cols), layout);
    let outer = weight.cols;
    let dy = Mat::new(dyd.get::<T>()?, rows, outer);
    let dx = product(dy, weight.t());
    let x = Mat::new(xd.get::<T>()?, rows, inner);
    let dw = match layout {
        Layout::OutIn => product(dy.t(), x),
        Layout::InOut => product(x.t(), dy),
    };
    let db = with_bias.then(|| tensor(column_sums(dy.data, outer), &[outer])).transpose()?;
    Ok((tensor(dx, &[rows, inner])?, tensor(dw, w.dims())?, db))
}

/// `y = x W (+ b)`.
///
/// # Shapes
/// - `x`: [N, in]
/// - `w`: [out, in] or [in, out], as `layout` says
/// - `b`: `[out]`
/// - result: [N, out]
pub fn linear(tape: &Tape, x: &Var, w: &Var, b: Option<&Var>, layout: Layout) -> Result<Var> {
    linear_onto(tape, None, x, w, b, layout)
}

/// `y = residual + x W (+ b)`: what ends a residual branch, in one pass.
///
/// # Shapes
/// - `residual`: [N, out]
/// - the others and the result: see [`linear`]
pub fn linear_onto(
    tape: &Tape,
    residual: Option<&Var>,
    x: &Var,
    w: &Var,
    b: Option<&Var>,
    layout: Layout,
) -> Result<Var> {
    let dtype = x.tensor().dtype();
    let (bias, onto) = (b.map(Var::tensor), residual.map(Var::tensor));
    let (on_device, brief) = (launch::runs_on_kernels(x.tensor()), is_brief(x.tensor()));
    let y = match on_device {
        true => launch::linear::forward(x.tensor(), w.tensor(), bias, onto, layout == Layout::OutIn)?,
        false if brief => in_brief::forward(x.tensor(), w.tensor(), bias, onto, layout)?,
        false => dispatch_dtype!(dtype, T => forward::<T>(x.tensor(), w.tensor(), bias, onto, layout))?,
    };
    let more: Vec<&Var> = [Some(x), Some(w), b, residual].into_iter().flatten().collect();
    if !tape.requires_grad(&more) {
        return Ok(Var::constant(y));
    }
    let (xs, ws, bs, rs) = (x.slot(), w.slot(), b.and_then(Var::slot), residual.and_then(Var::slot));
    let (x, w) = (x.tensor().clone(), w.tensor().clone());
    Ok(tape.record_one(y, move |dy, sink| {
        let (dx, dw, db) = match on_device {
            true => launch::linear::backward(&x, &w, &dy, layout == Layout::OutIn, bs.is_some())?,
            false if brief => in_brief::backward(&x, &w, &dy, layout, bs.is_some())?,
            false => dispatch_dtype!(dtype, T => backward::<T>(&x, &w, &dy, layout, bs.is_some()))?,
        };
        sink.add(xs, dx)?;
        sink.add(ws, dw)?;
        db.map_or(Ok(()), |db| sink.add(bs, db))?;
        sink.add(rs, dy)
    }))
}

fn reference(t: &[Tensor], layout: Layout) -> Result<Tensor> {
    t[0].matmul(&if layout == Layout::OutIn { t[1].t()? } else { t[1].clone() })
}

pub(super) fn cases(normal: &mut super::Normal<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for (rows, inner, outer) in [(1, 1, 1), (1, 35, 1), (1, 35, 300), (7, 5, 3), (70, 33, 17)] {
        for layout in [Layout::OutIn, Layout::InOut] {
            let shape = if layout == Layout::OutIn { [outer, inner] } else { [inner, outer] };
            cases.push(Case::new(
                format!("{rows}x{inner}x{outer} {layout:?}"),
                vec![normal(&[rows, inner]), normal(&shape), normal(&[outer])],
                move |tape, v| Ok(vec![linear(tape, &v[0], &v[1], Some(&v[2]), layout)?]),
                move |t| Ok(vec![reference(t, layout)?.broadcast_add(&t[2])?]),
            ));
            cases.push(Case::new(
                format!("{rows}x{inner}x{outer} {layout:?}, no bias"),
                vec![normal(&[rows, inner]), normal(&shape)],
                move |tape, v| Ok(vec![linear(tape, &v[0], &v[1], None, layout)?]),
                move |t| Ok(vec![reference(t, layout)?]),
            ));
            cases.push(Case::new(
                format!("{rows}x{inner}x{outer} {layout:?} onto"),
                vec![normal(&[rows, inner]), normal(&shape), normal(&[outer]), normal(&[rows, outer])],
                move |tape, v| Ok(vec![linear_onto(tape, Some(&v[3]), &v[0], &v[1], Some(&v[2]), layout)?]),
                move |t| Ok(vec![(reference(t, layout)?.broadcast_add(&t[2])? + &t[3])?]),
            ));
        }
    }
    cases
}
