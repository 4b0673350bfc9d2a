//! Products of float32 and float64 matrices: the `gemm` crate's, behind slices.

use super::Real;
use crate::products::{Mat, Threads};

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
