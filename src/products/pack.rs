//! Operands as tiles read them.

use half::bf16;
use rayon::prelude::*;

use super::path::{Path, path};
use super::{Mat, PANEL, Threads, simd, zeros};

/// The left operand.
pub(crate) struct Rows<'a> {
    path: Path,
    rows: usize,
    /// Terms of a row, padding included.
    depth: usize,
    terms: RowTerms<'a>,
}

enum RowTerms<'a> {
    /// Neighbouring terms, rows so far apart.
    Lying(&'a [bf16], usize),
    /// The same in a copy, padded with zeros.
    Copied(Vec<bf16>),
    /// Groups of rows, of each group one pair of terms after the other, a word a row.
    Packed(Vec<u32>),
}

/// The two as one word, the first in its lower half.
#[inline(always)]
fn pair(first: bf16, second: bf16) -> u32 {
    u32::from(first.to_bits()) | u32::from(second.to_bits()) << 16
}

impl<'a> Rows<'a> {
    /// The rows of a matrix.
    pub fn of(a: Mat<'a, bf16>, threads: Threads) -> Self {
        Self::on(path(), a, threads)
    }

    /// The same for a path.
    pub(super) fn on(path: Path, a: Mat<'a, bf16>, threads: Threads) -> Self {
        assert!(a.last_index() <= a.data.len());
        let depth = a.cols.next_multiple_of(path.terms());
        let terms = match (a.row_stride, a.col_stride) {
            (stride, 1) if depth == a.cols => RowTerms::Lying(a.data, stride),
            (1, _) if path != Path::Amx => RowTerms::Packed(in_groups(a, depth / 2, path.rows(), threads)),
            _ => RowTerms::Copied(copied(a, depth, threads)),
        };
        Self { path, rows: a.rows, depth, terms }
    }

    pub(super) fn path(&self) -> Path {
        self.path
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// A term of a row that begins a group, and how far apart rows and steps are.
    pub(super) fn at(&self, row: usize, term: usize) -> (*const u16, usize, usize) {
        let step = self.path.terms();
        match &self.terms {
            RowTerms::Lying(data, stride) => (data[row * stride + term..].as_ptr().cast(), *stride, step),
            RowTerms::Copied(data) => (data[row * self.depth + term..].as_ptr().cast(), self.depth, step),
            RowTerms::Packed(words) => {
                let group = self.path.rows();
                assert!(row.is_multiple_of(group));
                (words[row * self.depth / 2 + term / 2 * group..].as_ptr().cast(), 2, 2 * group)
            }
        }
    }
}

/// A copy whose rows have neighbouring terms, `depth` of them.
fn copied(a: Mat<'_, bf16>, depth: usize, threads: Threads) -> Vec<bf16> {
    let mut data = zeros(a.rows * depth);
    let row = |(i, row): (usize, &mut [bf16])| {
        for (k, to) in row[..a.cols].iter_mut().enumerate() {
            *to = a.data[i * a.row_stride + k * a.col_stride];
        }
    };
    each(&mut data, depth, threads, row);
    data
}

/// Groups of rows of a matrix whose columns lie one after the other.
fn in_groups(a: Mat<'_, bf16>, pairs: usize, group: usize, threads: Threads) -> Vec<u32> {
    let mut words = zeros(a.rows.div_ceil(group) * pairs * group);
    each(&mut words, pairs * group, threads, |(g, words)| {
        let rows = g * group..a.rows.min((g + 1) * group);
        let column = |k: usize| &a.data[k * a.col_stride + rows.start..];
        // A vector is longer than a group: what it writes too far, the next pair overwrites.
        let room =
            |p: usize| p + 1 < pairs && (2 * p + 1) * a.col_stride + rows.start + VECTOR <= a.data.len();
        simd(
            #[inline(always)]
            || {
                for p in 0..a.cols / 2 {
                    let (x, y, words) = (column(2 * p), column(2 * p + 1), &mut words[p * group..]);
                    if rows.len() == group && room(p) {
                        side_by_side::<VECTOR>(words, x, y);
                    } else {
                        let both = x[..rows.len()].iter().zip(y);
                        words.iter_mut().zip(both).for_each(|(w, (x, y))| *w = pair(*x, *y));
                    }
                }
            },
        );
        if a.cols % 2 == 1 {
            let (last, words) = (&column(a.cols - 1)[..rows.len()], &mut words[(pairs - 1) * group..]);
            words.iter_mut().zip(last).for_each(|(w, x)| *w = pair(*x, bf16::ZERO));
        }
    });
    words
}

/// Words of a vector where it is widest, at least a group.
const VECTOR: usize = 16;

/// Pairs of two rows of known length: a compiler makes vectors of them.
#[inline(always)]
fn side_by_side<const N: usize>(words: &mut [u32], x: &[bf16], y: &[bf16]) {
    let (words, x, y) = (&mut words[..N], &x[..N], &y[..N]);
    for i in 0..N {
        words[i] = pair(x[i], y[i]);
    }
}

/// Runs `f` on every part of so many elements.
fn each<T: Send>(all: &mut [T], size: usize, threads: Threads, f: impl Fn((usize, &mut [T])) + Send + Sync) {
    match threads {
        Threads::All => all.par_chunks_exact_mut(size.max(1)).enumerate().for_each(f),
        Threads::This => all.chunks_exact_mut(size.max(1)).enumerate().for_each(f),
    }
}

/// The right operand: panels of 32 columns, of each panel one pair of terms after the other, a word a column. Both
/// are padded with zeros.
pub(crate) struct Columns {
    path: Path,
    words: Vec<u32>,
    cols: usize,
    /// Pairs of terms, padding included.
    pairs: usize,
}

impl Columns {
    /// The columns of a matrix.
    pub fn of(b: Mat<'_, bf16>, threads: Threads) -> Self {
        Self::on(path(), b, threads)
    }

    /// The same for a path.
    pub(super) fn on(path: Path, b: Mat<'_, bf16>, threads: Threads) -> Self {
        assert!(b.last_index() <= b.data.len());
        let pairs = b.rows.next_multiple_of(path.terms()) / 2;
        let mut words = zeros(b.cols.div_ceil(PANEL) * pairs * PANEL);
        each(&mut words, pairs * PANEL, threads, |(j, words)| {
            let columns = j * PANEL..b.cols.min((j + 1) * PANEL);
            simd(
                #[inline(always)]
                || match b.row_stride {
                    1 if b.col_stride != 1 => down(b, columns, words),
                    _ => along(b, columns, words),
                },
            );
        });
        Self { path, words, cols: b.cols, pairs }
    }

    pub(super) fn path(&self) -> Path {
        self.path
    }

    pub(super) fn cols(&self) -> usize {
        self.cols
    }

    pub(super) fn panels(&self) -> usize {
        self.cols.div_ceil(PANEL)
    }

    /// Terms of a column, padding included.
    pub(super) fn depth(&self) -> usize {
        2 * self.pairs
    }

    pub(super) fn at(&self, panel: usize, term: usize) -> *const u16 {
        self.words[(panel * self.pairs + term / 2) * PANEL..].as_ptr().cast()
    }
}

/// A panel of a matrix whose rows lie one after the other (or with any strides, slowly).
#[inline(always)]
fn along(b: Mat<'_, bf16>, columns: std::ops::Range<usize>, words: &mut [u32]) {
    let (first, count) = (columns.start, columns.len());
    for (p, words) in words.chunks_exact_mut(PANEL).take(b.rows.div_ceil(2)).enumerate() {
        let start = 2 * p * b.row_stride + first * b.col_stride;
        let last = 2 * p + 1 == b.rows;
        if b.col_stride == 1 && !last && count == PANEL {
            side_by_side::<PANEL>(words, &b.data[start..], &b.data[start + b.row_stride..]);
            continue;
        }
        if b.col_stride == 1 && !last {
            let both = b.data[start..][..count].iter().zip(&b.data[start + b.row_stride..]);
            words.iter_mut().zip(both).for_each(|(w, (x, y))| *w = pair(*x, *y));
            continue;
        }
        for (j, word) in words[..count].iter_mut().enumerate() {
            let at = start + j * b.col_stride;
            *word = pair(b.data[at], if last { bf16::ZERO } else { b.data[at + b.row_stride] });
        }
    }
}

/// A panel of a matrix whose columns lie one after the other.
#[inline(always)]
fn down(b: Mat<'_, bf16>, columns: std::ops::Range<usize>, words: &mut [u32]) {
    // So many words a column at a time: what is written stays in the first-level cache.
    const STEPS: usize = 32;
    for first in (0..b.rows).step_by(2 * STEPS) {
        let terms = first..b.rows.min(first + 2 * STEPS);
        for (j, column) in columns.clone().enumerate() {
            let terms = &b.data[column * b.col_stride..][terms.clone()];
            let words = words[first / 2 * PANEL + j..].iter_mut().step_by(PANEL);
            let pairs = terms.chunks(2).map(|t| pair(t[0], t.get(1).copied().unwrap_or(bf16::ZERO)));
            words.zip(pairs).for_each(|(w, p)| *w = p);
        }
    }
}
