//! The same tiles by whatever vectors there are.

use super::{PANEL, Terms, Tile, simd};

/// Columns and rows whose sums fit the registers of common processors.
const COLS: usize = 16;
const ROWS: usize = 4;

/// # Safety
///
/// See [`super::Path::tile`].
#[expect(unsafe_code, reason = "tiles are read and written through pointers")]
pub(super) unsafe fn tile(count: usize, terms: Terms, tile: Tile) {
    simd(
        #[inline(always)]
        || {
            for col in (0..PANEL).step_by(COLS) {
                for row in (0..count).step_by(ROWS) {
                    // SAFETY: inside what the caller answers for.
                    unsafe {
                        let (a, b) = (terms.a.add(row * terms.row), terms.b.add(2 * col));
                        let sums = tile.sums.add(row * tile.stride + col);
                        let (terms, tile) = (Terms { a, b, ..terms }, Tile { sums, ..tile });
                        match count - row {
                            1 => part::<1>(terms, tile),
                            2 => part::<2>(terms, tile),
                            3 => part::<3>(terms, tile),
                            _ => part::<ROWS>(terms, tile),
                        }
                    }
                }
            }
        },
    );
}

/// The two halves of a word as float32.
#[inline(always)]
fn both(word: u32) -> [f32; 2] {
    [f32::from_bits(word << 16), f32::from_bits(word & 0xffff_0000)]
}

#[expect(unsafe_code, reason = "tiles are read and written through pointers")]
#[inline(always)]
unsafe fn part<const R: usize>(terms: Terms, tile: Tile) {
    let Terms { mut a, row, step, mut b, pairs } = terms;
    let mut acc = [[0f32; COLS]; R];
    // SAFETY: the caller answers for R rows of `pairs` steps, as many of 16 words, and R rows of 16 sums.
    unsafe {
        if tile.add {
            for (r, acc) in acc.iter_mut().enumerate() {
                *acc = tile.sums.add(r * tile.stride).cast::<[f32; COLS]>().read();
            }
        }
        for _ in 0..pairs {
            let words = b.cast::<[u32; COLS]>().read_unaligned();
            for (r, acc) in acc.iter_mut().enumerate() {
                let [first, second] = both(a.add(r * row).cast::<u32>().read_unaligned());
                for (sum, word) in acc.iter_mut().zip(words) {
                    let [x, y] = both(word);
                    *sum = first.mul_add(x, second.mul_add(y, *sum));
                }
            }
            a = a.add(step);
            b = b.add(2 * PANEL);
        }
        for (r, acc) in acc.iter().enumerate() {
            tile.sums.add(r * tile.stride).cast::<[f32; COLS]>().write(*acc);
        }
    }
}
