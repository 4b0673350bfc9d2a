//! Numbers in bfloat16, and loops over many numbers.

use half::bf16;
use rayon::prelude::*;

/// Elements handled by one task where each is touched once.
pub(crate) const BLOCK: usize = 64 * 1024;

/// Runs `f` compiled for the widest vectors this processor has; `f` has to be inlined, or it is
/// compiled for the narrowest: `simd(#[inline(always)] || ...)`. Only the instruction set differs: the
/// order of operations is the source's, so results are the same on every processor.
#[inline(always)]
pub(crate) fn simd<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// As many zeros. Large ones are written by all threads: a gradient of the head is fifty megabytes.
pub(crate) fn zeros<T: Copy + Default + Send>(n: usize) -> Vec<T> {
    if n < BLOCK {
        return vec![T::default(); n];
    }
    let mut all = Vec::with_capacity(n);
    let room = &mut all.spare_capacity_mut()[..n];
    room.par_chunks_mut(BLOCK).for_each(|part| part.fill(std::mem::MaybeUninit::new(T::default())));
    #[expect(unsafe_code, reason = "every element was written, by several threads")]
    // SAFETY: all n elements of `room` were written.
    unsafe {
        all.set_len(n);
    }
    all
}

/// The same number in float32.
#[inline(always)]
pub(crate) fn widened(x: bf16) -> f32 {
    f32::from_bits(u32::from(x.to_bits()) << 16)
}

/// The nearest number in bfloat16, of two as near the even one.
#[inline(always)]
pub(crate) fn rounded(x: f32) -> bf16 {
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let kept = if x.is_nan() { bits | 0x40_0000 } else { nearest };
    bf16::from_bits((kept >> 16) as u16)
}

/// The same numbers in float32.
pub(crate) fn widen(x: &[bf16]) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    widen_into(&mut y, x);
    y
}

/// Writes the same numbers in float32.
pub(crate) fn widen_into(y: &mut [f32], x: &[bf16]) {
    simd(
        #[inline(always)]
        || y.iter_mut().zip(x).for_each(|(y, x)| *y = widened(*x)),
    );
}

/// Writes the nearest numbers in bfloat16.
pub(crate) fn round_into(y: &mut [bf16], x: &[f32]) {
    simd(
        #[inline(always)]
        || y.iter_mut().zip(x).for_each(|(y, x)| *y = rounded(*x)),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every upper half of a word, with a remainder below, at and above one half: as `half` rounds.
    #[test]
    fn rounding_is_to_the_nearest() {
        for high in 0..=u16::MAX {
            for low in [0u32, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let x = f32::from_bits(u32::from(high) << 16 | low);
                let (ours, theirs) = (rounded(x), bf16::from_f32(x));
                assert!(
                    ours.to_bits() == theirs.to_bits() || x.is_nan() && ours.is_nan(),
                    "{x}: {ours} {theirs}"
                );
                if low == 0 && !x.is_nan() {
                    assert_eq!(widened(ours).to_bits(), x.to_bits());
                }
            }
        }
    }
}
