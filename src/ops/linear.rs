//! Matrix products: `y = x W (+ b)`, for weights stored either way round.
//!
//! | symbol | shape | |
//! |---|---|---|
//! | x | [.., in] | input |
//! | W | [out, in] or [in, out] | weight, see [`Layout`] |
//! | b | [out] | bias |

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::data::{Data, ROWS, rows_cols, tensor};
use super::{Case, Real, Tape, Var, real, simd};

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

    fn last_index(&self) -> usize {
        match (self.rows, self.cols) {
            (0, _) | (_, 0) => 0,
            (r, c) => (r - 1) * self.row_stride + (c - 1) * self.col_stride + 1,
        }
    }
}

/// `out = keep·out + scale·a·b`, rows of `out` lying `stride` apart.
pub(crate) fn matmul<T: Real>(
    a: Mat<'_, T>,
    b: Mat<'_, T>,
    out: &mut [T],
    stride: usize,
    keep: bool,
    scale: T,
) {
    let (m, n) = (a.rows, b.cols);
    assert!(m == 0 || n == 0 || (m - 1) * stride + n <= out.len());
    #[expect(unsafe_code, reason = "the matrix product of the `gemm` crate takes pointers")]
    // SAFETY: the assert above keeps what is written inside `out`, which is borrowed mutably, so it
    // overlaps neither operand; its elements are initialised.
    unsafe {
        gemm_to(a, b, out.as_mut_ptr(), stride, keep, scale);
    }
}

/// `scale·a·b` in `out`, whose old contents are dropped and whose memory is used again.
pub(crate) fn product_into<T: Real>(a: Mat<'_, T>, b: Mat<'_, T>, out: &mut Vec<T>, scale: T) {
    let (m, n) = (a.rows, b.cols);
    out.clear();
    if a.cols == 0 {
        return out.resize(m * n, T::zero());
    }
    out.reserve(m * n);
    #[expect(unsafe_code, reason = "the product writes every element: zeros first would be one more pass")]
    // SAFETY: `out` has room for m·n elements, and with at least one term in every sum and `keep` off
    // each of them is written and none is read.
    unsafe {
        gemm_to(a, b, out.as_mut_ptr(), n, false, scale);
        out.set_len(m * n);
    }
}

/// `scale·a·b`, row-major.
pub(crate) fn product<T: Real>(a: Mat<'_, T>, b: Mat<'_, T>) -> Vec<T> {
    let mut out = Vec::new();
    product_into(a, b, &mut out, T::one());
    out
}

/// # Safety
///
/// Rows of `b.cols` elements, `stride` apart, as many as `a` has, must be writable at `out`, overlap
/// neither operand, and be initialised where `keep` is set.
#[expect(unsafe_code, reason = "the matrix product of the `gemm` crate takes pointers")]
unsafe fn gemm_to<T: Real>(a: Mat<'_, T>, b: Mat<'_, T>, out: *mut T, stride: usize, keep: bool, scale: T) {
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
            gemm::Parallelism::Rayon(0),
        );
    }
}

/// Sums of columns, over blocks of fixed size.
pub(crate) fn column_sums<T: Real>(x: &[T], cols: usize) -> Vec<T> {
    let partial: Vec<Vec<T>> = x
        .par_chunks(ROWS * cols.max(1))
        .map(|block| {
            let mut sum = vec![T::zero(); cols];
            simd(
                #[inline(always)]
                || {
                    for row in block.chunks_exact(cols) {
                        sum.iter_mut().zip(row).for_each(|(s, v)| *s += *v);
                    }
                },
            );
            sum
        })
        .collect();
    sum_in_order(&partial, cols)
}

/// Adds vectors in the order given.
pub(crate) fn sum_in_order<T: Real>(partial: &[Vec<T>], len: usize) -> Vec<T> {
    let mut total = vec![T::zero(); len];
    for p in partial {
        total.iter_mut().zip(p).for_each(|(s, v)| *s += *v);
    }
    total
}

fn oriented<T>(w: Mat<'_, T>, layout: Layout) -> Mat<'_, T> {
    match layout {
        Layout::OutIn => w.t(),
        Layout::InOut => w,
    }
}

fn forward<T: Real>(x: &Tensor, w: &Tensor, b: Option<&Tensor>, layout: Layout) -> Result<Tensor> {
    let (rows, inner) = rows_cols(x);
    let (w_rows, w_cols) = w.dims2()?;
    let (xd, wd) = (Data::of(x)?, Data::of(w)?);
    let weight = oriented(Mat::new(wd.get::<T>()?, w_rows, w_cols), layout);
    if weight.rows != inner {
        bail!("linear: input has {inner} columns, weight {:?} takes {}", w.dims(), weight.rows);
    }
    let outer = weight.cols;
    let x = Mat::new(xd.get::<T>()?, rows, inner);
    let Some(b) = b else { return tensor(product(x, weight), &[rows, outer]) };
    let mut y = Data::of(b)?.get::<T>()?.repeat(rows);
    matmul(x, weight, &mut y, outer, true, T::one());
    tensor(y, &[rows, outer])
}

/// Gradients of x, W and (if asked) b.
fn backward<T: Real>(
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

/// `y = x W (+ b)`: [rows, in] to [rows, out].
pub fn linear(tape: &Tape, x: &Var, w: &Var, b: Option<&Var>, layout: Layout) -> Result<Var> {
    let dtype = x.tensor().dtype();
    let bias = b.map(|b| b.tensor());
    let y = real!(dtype, T => forward::<T>(x.tensor(), w.tensor(), bias, layout))?;
    if !(tape.follows(&[x, w]) || b.is_some_and(|b| tape.follows(&[b]))) {
        return Ok(Var::constant(y));
    }
    let (xs, ws, bs) = (x.slot(), w.slot(), b.and_then(Var::slot));
    let (x, w) = (x.tensor().clone(), w.tensor().clone());
    Ok(tape.push_one(y, move |dy, sink| {
        let (dx, dw, db) = real!(dtype, T => backward::<T>(&x, &w, &dy, layout, bs.is_some()))?;
        sink.add(xs, dx)?;
        sink.add(ws, dw)?;
        db.map_or(Ok(()), |db| sink.add(bs, db))
    }))
}

pub(super) fn cases(normal: &mut super::Normal<'_>) -> Vec<Case> {
    let mut cases = Vec::new();
    for (rows, inner, outer) in [(1, 1, 1), (7, 5, 3), (70, 33, 17)] {
        for layout in [Layout::OutIn, Layout::InOut] {
            let shape = if layout == Layout::OutIn { [outer, inner] } else { [inner, outer] };
            cases.push(Case::new(
                format!("{rows}x{inner}x{outer} {layout:?}"),
                vec![normal(&[rows, inner]), normal(&shape), normal(&[outer])],
                move |tape, v| Ok(vec![linear(tape, &v[0], &v[1], Some(&v[2]), layout)?]),
                move |t| {
                    let w = if layout == Layout::OutIn { t[1].t()? } else { t[1].clone() };
                    Ok(vec![t[0].matmul(&w)?.broadcast_add(&t[2])?])
                },
            ));
        }
    }
    cases
}
