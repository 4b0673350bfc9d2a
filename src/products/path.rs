//! By which instructions products are made.

use std::sync::OnceLock;

use super::{Terms, Tile, portable};
#[cfg(target_arch = "x86_64")]
use super::{amx, avx512};

/// Rows of a tile of vectors.
pub(super) const GROUP: usize = 12;

/// How terms of bfloat16 are multiplied and added up in float32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// Tiles of 16 × 32 numbers (AMX): even and odd terms of 32 add up apart, then together, then to the sum.
    Amx,
    /// Vectors (AVX-512 BF16): of each pair first the second term is added, then the first, rounding each time.
    Avx512,
    /// The same sums as [`Path::Avx512`], but for numbers below 2⁻¹²⁶, by whatever instructions there are.
    Portable,
}

impl Path {
    /// All that this processor can take, the fastest first.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if avx512::is_there() {
                all.insert(0, Self::Avx512);
            }
            if amx::is_there() {
                all.insert(0, Self::Amx);
            }
        }
        all
    }

    /// What decides the last bits of its sums, as a part of a training's identity.
    pub fn sums(self) -> &'static str {
        if self == Self::Amx { "cpu tiles" } else { "cpu" }
    }

    /// Rows of a tile, at most.
    pub(super) fn rows(self) -> usize {
        if self == Self::Amx { 32 } else { GROUP }
    }

    /// Terms of a step.
    pub(super) fn terms(self) -> usize {
        if self == Self::Amx { 32 } else { 2 }
    }

    /// Asks for the memory of a tile that comes next and is added to: it may be anywhere, as nothing is read.
    pub(super) fn announce(self, tile: Tile) {
        #[cfg(target_arch = "x86_64")]
        if self != Self::Portable {
            avx512::announce(self.rows(), tile);
        }
    }

    /// The sums of `count` rows and 32 columns.
    ///
    /// # Safety
    ///
    /// The processor has what the path needs, `count` is 1 to [`Path::rows`], and `terms` and `tile` point to as
    /// many rows, steps and columns, of which nobody else writes the sums.
    #[expect(unsafe_code, reason = "tiles are read and written through pointers")]
    pub(super) unsafe fn tile(self, count: usize, terms: Terms, tile: Tile) {
        // SAFETY: handed on.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Self::Amx => amx::tile(count, terms, tile),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => avx512::tile(count, terms, tile),
                _ => portable::tile(count, terms, tile),
            }
        }
    }
}

/// The fastest that this processor can take.
pub(crate) fn path() -> Path {
    static FASTEST: OnceLock<Path> = OnceLock::new();
    *FASTEST.get_or_init(|| Path::all()[0])
}
