//! Tiles of 12 × 32 sums in 24 vector registers (AVX-512 BF16).

use std::arch::x86_64::{
    __m512bh, _MM_HINT_T0, _mm_prefetch, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_set1_epi32, _mm512_setzero_ps, _mm512_storeu_ps,
};

use super::{PANEL, Terms, Tile};

/// Whether the processor has the instructions.
pub(super) fn is_there() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
}

/// Asks for so many rows of a tile, two lines of the cache each.
pub(super) fn announce(rows: usize, tile: Tile) {
    for row in 0..rows {
        for half in [0, PANEL / 2] {
            let at = tile.at(row, half).sums;
            #[expect(unsafe_code, reason = "an instruction on an address")]
            // SAFETY: a hint, which reads nothing, whatever the address.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(at.cast());
            }
        }
    }
}

/// # Safety
///
/// See [`super::Path::tile`].
#[expect(unsafe_code, reason = "vector instructions on memory")]
pub(super) unsafe fn tile(count: usize, terms: Terms, tile: Tile) {
    // Neighbouring rows of packed words have places that the compiler knows.
    let packed = terms.row == 2;
    // SAFETY: handed on.
    unsafe {
        match count {
            12 if packed => rows::<12>(Terms { row: 2, ..terms }, tile),
            12 => rows::<12>(terms, tile),
            11 => rows::<11>(terms, tile),
            10 => rows::<10>(terms, tile),
            9 => rows::<9>(terms, tile),
            8 => rows::<8>(terms, tile),
            7 => rows::<7>(terms, tile),
            6 => rows::<6>(terms, tile),
            5 => rows::<5>(terms, tile),
            4 => rows::<4>(terms, tile),
            3 => rows::<3>(terms, tile),
            2 => rows::<2>(terms, tile),
            _ => rows::<1>(terms, tile),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bf16")]
#[expect(unsafe_code, reason = "vector instructions on memory")]
unsafe fn rows<const R: usize>(terms: Terms, tile: Tile) {
    let Terms { mut a, row, step, mut b, pairs } = terms;
    let Tile { sums, stride, add } = tile;
    let mut acc = [[_mm512_setzero_ps(); 2]; R];
    // SAFETY: the caller answers for R rows of `pairs` steps, the panel's pairs and R rows of 32 sums.
    unsafe {
        if add {
            for (r, acc) in acc.iter_mut().enumerate() {
                let at = sums.add(r * stride);
                *acc = [_mm512_loadu_ps(at), _mm512_loadu_ps(at.add(16))];
            }
        }
        for _ in 0..pairs {
            let left: __m512bh = std::mem::transmute(_mm512_loadu_si512(b.cast()));
            let right: __m512bh = std::mem::transmute(_mm512_loadu_si512(b.add(PANEL).cast()));
            for (r, acc) in acc.iter_mut().enumerate() {
                let word = a.add(r * row).cast::<i32>().read_unaligned();
                let both: __m512bh = std::mem::transmute(_mm512_set1_epi32(word));
                acc[0] = _mm512_dpbf16_ps(acc[0], both, left);
                acc[1] = _mm512_dpbf16_ps(acc[1], both, right);
            }
            a = a.add(step);
            b = b.add(2 * PANEL);
        }
        for (r, acc) in acc.iter().enumerate() {
            let at = sums.add(r * stride);
            _mm512_storeu_ps(at, acc[0]);
            _mm512_storeu_ps(at.add(16), acc[1]);
        }
    }
}
