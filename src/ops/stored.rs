//! Element types as they are stored and as they are computed with.
//!
//! bfloat16 is computed with in float32 (ruling R28). A task that goes over a few rows widens what it reads and rounds
//! what it has written, both in the first-level cache; float32 and float64 are computed with where they lie.

use candle_core::WithDType;
use half::bf16;
use rayon::prelude::*;

use super::matmul::matmul;
use super::real::{Real, dot, dot_widened};
use crate::products::{
    BLOCK, Columns, Mat, Rows, Threads, matmul_wide, round_into, rounded, widen, widened, zeros,
};

/// float32, float64, or bfloat16.
pub(crate) trait Stored: WithDType + Default + Send + Sync {
    /// What it is computed with.
    type Real: Real;

    /// Shows elements to `f`.
    fn loaded<R>(x: &[Self], f: impl FnOnce(&[Self::Real]) -> R) -> R;

    /// Keeps what `f` writes, which is every element.
    fn stored<R>(y: &mut [Self], f: impl FnOnce(&mut [Self::Real]) -> R) -> R;

    /// As it is computed with.
    fn widen(self) -> Self::Real;

    /// As it is stored.
    fn narrow(x: Self::Real) -> Self;

    /// As they are stored.
    fn kept(x: Vec<Self::Real>) -> Vec<Self>;

    /// `out = keep·out + a·b`, rows of `out` lying `stride` apart.
    fn matmul(a: Mat<'_, Self>, b: Mat<'_, Self>, out: &mut [Self::Real], stride: usize, keep: bool);

    /// Σ x·w.
    fn dot(x: &[Self::Real], w: &[Self]) -> Self::Real;
}

macro_rules! as_it_is {
    ($T:ty) => {
        impl Stored for $T {
            type Real = Self;

            #[inline(always)]
            fn loaded<R>(x: &[Self], f: impl FnOnce(&[Self]) -> R) -> R {
                f(x)
            }

            #[inline(always)]
            fn stored<R>(y: &mut [Self], f: impl FnOnce(&mut [Self]) -> R) -> R {
                f(y)
            }

            #[inline(always)]
            fn widen(self) -> Self {
                self
            }

            #[inline(always)]
            fn narrow(x: Self) -> Self {
                x
            }

            fn kept(x: Vec<Self>) -> Vec<Self> {
                x
            }

            fn matmul(a: Mat<'_, Self>, b: Mat<'_, Self>, out: &mut [Self], stride: usize, keep: bool) {
                matmul(a, b, out, stride, keep, 1.0, Threads::All);
            }

            #[inline(always)]
            fn dot(x: &[Self], w: &[Self]) -> Self {
                dot(x, w)
            }
        }
    };
}
as_it_is!(f32);
as_it_is!(f64);

impl Stored for bf16 {
    type Real = f32;

    #[inline(always)]
    fn loaded<R>(x: &[Self], f: impl FnOnce(&[f32]) -> R) -> R {
        f(&widen(x))
    }

    #[inline(always)]
    fn stored<R>(y: &mut [Self], f: impl FnOnce(&mut [f32]) -> R) -> R {
        let mut wide = vec![0.0; y.len()];
        let result = f(&mut wide);
        round_into(y, &wide);
        result
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        widened(self)
    }

    #[inline(always)]
    fn narrow(x: f32) -> Self {
        rounded(x)
    }

    fn kept(x: Vec<f32>) -> Vec<Self> {
        let mut y = zeros(x.len());
        y.par_chunks_mut(BLOCK).zip(x.par_chunks(BLOCK)).for_each(|(y, x)| round_into(y, x));
        y
    }

    fn matmul(a: Mat<'_, Self>, b: Mat<'_, Self>, out: &mut [f32], stride: usize, keep: bool) {
        let (left, right) = (Rows::of(a, Threads::All), Columns::of(b, Threads::All));
        matmul_wide((&left, &right), a.cols, out, stride, keep, 1.0, Threads::All);
    }

    #[inline(always)]
    fn dot(x: &[f32], w: &[Self]) -> f32 {
        dot_widened(x, w, widened)
    }
}

/// Runs `$body` with `$S` bound to the element type named by a `DType`, bfloat16 among them.
macro_rules! dispatch_stored {
    ($dtype:expr, $S:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::BF16 => {
                type $S = half::bf16;
                $body
            }
            other => $crate::ops::dispatch_dtype!(other, $S => $body),
        }
    };
}
pub(crate) use dispatch_stored;
