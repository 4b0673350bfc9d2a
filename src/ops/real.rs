//! The two element types of the CPU path, and how its inner loops reach the vector units.
//!
//! float32 computes; float64 exists so that gradients can be checked against finite differences.

use candle_core::WithDType;
use num_traits::Float;

/// float32 or float64.
pub trait Real:
    Float
    + WithDType
    + Default
    + Send
    + Sync
    + std::iter::Sum
    + std::ops::AddAssign
    + std::ops::SubAssign
    + 'static
{
    /// e^x. The float32 version is a polynomial that vectorises: relative error below 3e-7 over
    /// [-87, 88], exactly 0 below it, infinity above, NaN for NaN.
    fn fast_exp(self) -> Self;
    /// The nearest value to an `f64`.
    fn of(x: f64) -> Self;
    /// The value as `f64`, exactly.
    fn wide(self) -> f64;

    /// 1 / (1 + e^-x).
    #[inline(always)]
    fn sigmoid(self) -> Self {
        Self::one() / (Self::one() + (-self).fast_exp())
    }

    /// tanh(x) = 2·sigmoid(2x) − 1; absolute error below 2e-7 in float32.
    #[inline(always)]
    fn fast_tanh(self) -> Self {
        let two = Self::one() + Self::one();
        two * (two * self).sigmoid() - Self::one()
    }

    /// x · sigmoid(x).
    #[inline(always)]
    fn silu(self) -> Self {
        self * self.sigmoid()
    }

    /// The derivative of [`Real::silu`].
    #[inline(always)]
    fn silu_slope(self) -> Self {
        let s = self.sigmoid();
        s * (Self::one() + self * (Self::one() - s))
    }
}

impl Real for f32 {
    #[inline(always)]
    fn fast_exp(self) -> Self {
        const LOG2_E: f32 = std::f32::consts::LOG2_E;
        // ln 2 in two parts, the first exact in few bits (Cody and Waite).
        const LN2_HIGH: f32 = 0.693_359_4;
        const LN2_LOW: f32 = -2.121_944_4e-4;
        // 1.5 · 2^23: adding it rounds to an integer in the low bits.
        const ROUND: f32 = 12_582_912.0;
        let x = if self > 88.7 { 88.7 } else { self };
        let shifted = x.mul_add(LOG2_E, ROUND);
        let n = shifted - ROUND;
        let r = (-n).mul_add(LN2_LOW, (-n).mul_add(LN2_HIGH, x));
        let terms = [0.008_333_76, 0.041_666_42, 0.166_666_67, 0.5, 1.0, 1.0];
        let p = terms.into_iter().fold(0.001_394_9, |p: f32, term| p.mul_add(r, term));
        // 2^n built in the exponent bits; the integer n sits in the low bits of `shifted`.
        let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
        let y = p * scale;
        let y = if self > 88.7 { f32::INFINITY } else { y };
        let y = if self < -87.0 { 0.0 } else { y };
        if self.is_nan() { self } else { y }
    }
    #[inline(always)]
    fn of(x: f64) -> Self {
        x as f32
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    #[inline(always)]
    fn fast_exp(self) -> Self {
        self.exp()
    }
    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
}

/// Lanes of a sum: one vector register of float32 where they are widest.
pub(crate) const LANES: usize = 16;

/// The sum of sixteen lanes, in halves: short chains, and the same order everywhere.
#[inline(always)]
pub(crate) fn total<T: Real>(mut lanes: [T; LANES]) -> T {
    let mut half = LANES / 2;
    while half > 0 {
        let (low, high) = lanes.split_at_mut(half);
        low.iter_mut().zip(high).for_each(|(a, b)| *a += *b);
        half /= 2;
    }
    lanes[0]
}

/// Σ a·b.
#[inline(always)]
pub(crate) fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    dot_widened(
        a,
        b,
        #[inline(always)]
        |b| b,
    )
}

/// Σ a·b for a `b` that is stored more narrowly, in four times sixteen lanes: four registers, because a sum into one
/// would wait for itself, and each an array of its own, because one of 64 numbers may come to lie in memory.
#[inline(always)]
pub(crate) fn dot_widened<T: Real, S: Copy>(a: &[T], b: &[S], widen: impl Fn(S) -> T) -> T {
    let mut lanes = [[T::zero(); LANES]; 4];
    let (wide_a, wide_b) = (a.chunks_exact(4 * LANES), b.chunks_exact(4 * LANES));
    let (a, b) = (wide_a.remainder().chunks_exact(LANES), wide_b.remainder().chunks_exact(LANES));
    for (a, b) in wide_a.zip(wide_b) {
        for ((lanes, a), b) in lanes.iter_mut().zip(a.chunks_exact(LANES)).zip(b.chunks_exact(LANES)) {
            for l in 0..LANES {
                lanes[l] = a[l].mul_add(widen(b[l]), lanes[l]);
            }
        }
    }
    let [mut sum, second, third, fourth] = lanes;
    for l in 0..LANES {
        sum[l] = (sum[l] + second[l]) + (third[l] + fourth[l]);
    }
    let rest =
        a.remainder().iter().zip(b.remainder()).fold(T::zero(), |rest, (a, b)| a.mul_add(widen(*b), rest));
    for (a, b) in a.zip(b) {
        for l in 0..LANES {
            sum[l] = a[l].mul_add(widen(b[l]), sum[l]);
        }
    }
    total(sum) + rest
}

/// The largest element, in sixteen lanes; NaN is passed over, nothing gives −∞.
#[inline(always)]
pub(crate) fn largest<T: Real>(x: &[T]) -> T {
    let larger = |a: T, b: T| if b > a { b } else { a };
    let mut lanes = [T::neg_infinity(); LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, x)| *lane = larger(*lane, *x));
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, x)| *lane = larger(*lane, *x));
    lanes.into_iter().fold(T::neg_infinity(), larger)
}

/// Turns every x into exp(x − shift); returns their sum, in sixteen lanes.
#[inline(always)]
pub(crate) fn exponentials<T: Real>(x: &mut [T], shift: T) -> T {
    let mut lanes = [T::zero(); LANES];
    // Whole registers apart from the rest: a chunk of unknown length would not be one.
    let mut chunks = x.chunks_exact_mut(LANES);
    for chunk in &mut chunks {
        for (x, lane) in chunk.iter_mut().zip(&mut lanes) {
            *x = (*x - shift).fast_exp();
            *lane += *x;
        }
    }
    for (x, lane) in chunks.into_remainder().iter_mut().zip(&mut lanes) {
        *x = (*x - shift).fast_exp();
        *lane += *x;
    }
    total(lanes)
}

/// Runs `$body` with `$T` bound to the element type named by a `DType`.
macro_rules! dispatch_dtype {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $T = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $T = f64;
                $body
            }
            other => candle_core::bail!("ops take f32 or f64, got {other:?}"),
        }
    };
}
pub(crate) use dispatch_dtype;

#[cfg(test)]
mod tests {
    use super::Real;

    #[test]
    fn exp_is_exp() {
        for i in -8600..8800 {
            let x = i as f32 * 0.01 + 0.003;
            let exact = f64::from(x).exp();
            let relative = (f64::from(x.fast_exp()) - exact).abs() / exact;
            assert!(relative < 3e-7, "exp({x}): relative error {relative}");
        }
        assert!(f32::NAN.fast_exp().is_nan());
        assert_eq!(f32::INFINITY.fast_exp(), f32::INFINITY);
        assert_eq!(f32::NEG_INFINITY.fast_exp(), 0.0);
        assert_eq!(0f32.fast_exp(), 1.0);
    }
}
