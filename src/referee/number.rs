//! The numbers that the referee computes with.
//!
//! Everything is written once for float64 and float32. In float64 it says what is right; in float32 every product and
//! every partial sum is rounded as it goes, from the first term to the last, and how far that strays from float64 says
//! what a program that computes in float32 may be expected to stray. For a program that keeps activations and matrices
//! in bfloat16 and computes with them in float32 (ruling R28) there is [`Brief`].

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub, SubAssign};

use half::bf16;

/// float64, float32, or float32 that is stored as bfloat16.
pub trait Number:
    Copy
    + Debug
    + PartialEq
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + Send
    + Sync
    + 'static
{
    /// Whether this is a type whose rounding is looked at. Where a formula can be computed in two ways, such a one
    /// takes the one that rounding hurts more.
    const ROUNDED: bool;
    /// Whether what is stored has fewer digits than what is computed with.
    const BRIEF: bool = false;

    /// The nearest number.
    fn of(x: f64) -> Self;
    /// In float64, exactly.
    fn wide(self) -> f64;
    /// What is left of it where it is stored.
    fn stored(self) -> Self {
        self
    }
    /// 0.
    fn zero() -> Self {
        Self::of(0.0)
    }
    /// 1.
    fn one() -> Self {
        Self::of(1.0)
    }
    /// −∞.
    fn neg_infinity() -> Self {
        Self::of(f64::NEG_INFINITY)
    }
    /// eˣ.
    fn exp(self) -> Self;
    /// eˣ − 1.
    fn exp_m1(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// ln(1 + x).
    fn ln_1p(self) -> Self;
    /// The root.
    fn sqrt(self) -> Self;
    /// The hyperbolic tangent.
    fn tanh(self) -> Self;
    /// The size.
    fn abs(self) -> Self;
    /// The larger one.
    fn max(self, other: Self) -> Self;
    /// The smaller one.
    fn min(self, other: Self) -> Self;
}

macro_rules! functions {
    ($type:ty, $inner:ty, $get:expr, $make:expr) => {
        fn of(x: f64) -> Self {
            $make(x as $inner)
        }
        fn wide(self) -> f64 {
            f64::from($get(self))
        }
        functions!(@one $inner, $get, $make, exp exp_m1 ln ln_1p sqrt tanh abs);
        fn max(self, other: Self) -> Self {
            $make(<$inner>::max($get(self), $get(other)))
        }
        fn min(self, other: Self) -> Self {
            $make(<$inner>::min($get(self), $get(other)))
        }
    };
    (@one $inner:ty, $get:expr, $make:expr, $($f:ident)*) => {
        $(fn $f(self) -> Self {
            $make(<$inner>::$f($get(self)))
        })*
    };
}

impl Number for f64 {
    const ROUNDED: bool = false;
    functions!(f64, f64, |x| x, |x| x);
}

impl Number for f32 {
    const ROUNDED: bool = true;
    functions!(f32, f32, |x| x, |x| x);
}

/// float32 that is stored as bfloat16.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Brief(f32);

impl Number for Brief {
    const ROUNDED: bool = true;
    const BRIEF: bool = true;
    functions!(Brief, f32, |x: Brief| x.0, Brief);
    fn stored(self) -> Self {
        Brief(bf16::from_f32(self.0).to_f32())
    }
}

macro_rules! operators {
    ($($trait:ident $f:ident $op:tt),*) => {
        $(impl $trait for Brief {
            type Output = Brief;
            fn $f(self, other: Brief) -> Brief {
                Brief(self.0 $op other.0)
            }
        })*
    };
}

operators!(Add add +, Sub sub -, Mul mul *, Div div /);

impl Neg for Brief {
    type Output = Brief;
    fn neg(self) -> Brief {
        Brief(-self.0)
    }
}

impl AddAssign for Brief {
    fn add_assign(&mut self, other: Brief) {
        self.0 += other.0;
    }
}

impl SubAssign for Brief {
    fn sub_assign(&mut self, other: Brief) {
        self.0 -= other.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brief_is_rounded_where_it_is_stored_alone() {
        let third = Brief::of(1.0) / Brief::of(3.0);
        assert_eq!(third.wide(), f64::from(1.0f32 / 3.0));
        // Eight digits of 1.0101010₂·2⁻² are left.
        assert_eq!(third.stored().wide(), 171.0 / 512.0);
        assert_eq!((Brief::of(2.0) * Brief::of(3.0) - Brief::one()).wide(), 5.0);
    }
}
