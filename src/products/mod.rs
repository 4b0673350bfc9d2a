//! Products of matrices in bfloat16 with sums in float32 (ruling R28): what a GPU's tensor cores do, on a CPU.
//!
//! Terms are taken in pairs, and `Path` says by which instructions. Columns of the right operand are packed 32 side
//! by side, each pair of terms in one word; rows of the left one are read where they lie, if their terms are
//! neighbours, else packed too. A product is cut into blocks of rows and columns; a block's sums stay in the
//! second-level cache until whoever asked has made something of them (`sums_of`).
//!
//! The order in which terms are added follows from the product's shape and the path, never from the number of threads.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod brief;
mod matrix;
mod pack;
mod path;
mod portable;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tiles_without_amx;

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

pub(crate) use brief::{BLOCK, round_into, rounded, simd, widen, widen_into, widened, zeros};
pub(crate) use matrix::{Mat, Threads};
pub(crate) use pack::{Columns, Rows};
pub(crate) use path::{Path, path};

/// Columns of a packed panel.
const PANEL: usize = 32;

/// Terms that are added up before a sum goes back to memory: a multiple of what any path takes at a time.
const DEPTH: usize = 1024;

/// Rows and columns of a block, unless that makes too few blocks.
const BLOCK_SIDES: [usize; 2] = [96, 256];

/// The fewest blocks that keep some threads equally busy.
const BLOCKS: usize = 16;

/// Where the terms of a tile lie: of the left operand's first row, how far apart rows and steps are, and a panel.
#[derive(Clone, Copy)]
struct Terms {
    a: *const u16,
    /// From one row to the next, and from one step of the path to the next, in numbers.
    row: usize,
    step: usize,
    b: *const u16,
    /// Pairs of terms.
    pairs: usize,
}

/// Where sums go: rows `stride` apart, of a tile 32 columns; `add` adds them to what is there.
#[derive(Clone, Copy)]
struct Tile {
    sums: *mut f32,
    stride: usize,
    add: bool,
}

impl Tile {
    /// The same from another row and column on.
    fn at(self, row: usize, col: usize) -> Self {
        Self { sums: self.sums.wrapping_add(row * self.stride + col), ..self }
    }
}

/// Sums of `rows` × all columns of some panels, over all terms.
///
/// # Safety
///
/// `out` points to as many rows and columns, which nobody else reads or writes.
#[expect(unsafe_code, reason = "tiles are read and written through pointers")]
unsafe fn sums(
    (a, rows): (&Rows<'_>, Range<usize>),
    (b, panels): (&Columns, Range<usize>),
    depth: usize,
    out: Tile,
) {
    assert!(rows.end <= a.rows() && panels.end <= b.panels() && depth <= b.depth() && depth <= a.depth());
    let path = a.path();
    assert_eq!(path, b.path());
    let group = path.rows();
    for first in (0..depth).step_by(DEPTH) {
        let pairs = (depth.min(first + DEPTH) - first).next_multiple_of(path.terms()) / 2;
        for (j, panel) in panels.clone().enumerate() {
            for row in rows.clone().step_by(group) {
                let (count, at) = (group.min(rows.end - row), row - rows.start);
                let (left, apart, step) = a.at(row, first);
                let terms = Terms { a: left, row: apart, step, b: b.at(panel, first), pairs };
                let tile = Tile { add: out.add || first > 0, ..out.at(at, j * PANEL) };
                if out.add {
                    let below = at + group < rows.len();
                    let next = if below { out.at(at + group, j * PANEL) } else { out.at(0, (j + 1) * PANEL) };
                    path.announce(next);
                }
                // SAFETY: the asserts above keep `count` rows of `pairs` pairs of a and the panel's pairs of b inside
                // what a and b hold, and the caller answers for the sums; `path` was found on this processor.
                unsafe {
                    path.tile(count, terms, tile);
                }
            }
        }
    }
}

/// The same for the calling thread's own block, whose rows lie as far apart as the panels are wide, for `f`: with them
/// it gets how far that is.
fn sums_of_block<R>(
    (a, rows): (&Rows<'_>, Range<usize>),
    (b, panels): (&Columns, Range<usize>),
    depth: usize,
    f: impl FnOnce(&mut [f32], usize) -> R,
) -> R {
    let stride = panels.len() * PANEL;
    SUMS.with_borrow_mut(|all| {
        let len = rows.len() * stride;
        if all.len() < len {
            all.resize(len, 0.0);
        }
        let all = &mut all[..len];
        if depth == 0 {
            all.fill(0.0);
        }
        let out = Tile { sums: all.as_mut_ptr(), stride, add: false };
        #[expect(unsafe_code, reason = "tiles are read and written through pointers")]
        // SAFETY: `all` has room for all rows and panels, and is this thread's own.
        unsafe {
            sums((a, rows), (b, panels), depth, out);
        }
        f(all, stride)
    })
}

thread_local! {
    /// Sums of the block that a thread is at.
    static SUMS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Sums of some rows and all columns, for `f`: with them it gets how far rows lie apart.
pub(crate) fn sums_in_block<R>(
    (a, rows): (&Rows<'_>, Range<usize>),
    b: &Columns,
    depth: usize,
    f: impl FnOnce(&mut [f32], usize) -> R,
) -> R {
    sums_of_block((a, rows), (b, 0..b.panels()), depth, f)
}

/// A product block by block: `finish` gets the place of some sums, row and first column, and these.
fn sums_of(
    (a, b): (&Rows<'_>, &Columns),
    depth: usize,
    threads: Threads,
    finish: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    each_block(a.rows(), b.cols(), threads, |rows, cols| {
        let panels = cols.start / PANEL..cols.end.div_ceil(PANEL);
        sums_of_block((a, rows.clone()), (b, panels), depth, |sums, stride| {
            for (row, sums) in rows.zip(sums.chunks_exact_mut(stride)) {
                finish(row, cols.start, &mut sums[..cols.len()]);
            }
        });
    });
}

/// Runs `f` on rows and columns of every block.
fn each_block(
    rows: usize,
    cols: usize,
    threads: Threads,
    f: impl Fn(Range<usize>, Range<usize>) + Sync + Send,
) {
    let ([high, wide], across) = blocks(rows, cols, threads);
    let block = |i: usize| {
        let (row, col) = (i / across * high, i % across * wide);
        f(row..rows.min(row + high), col..cols.min(col + wide));
    };
    let count = rows.div_ceil(high) * across;
    match threads {
        Threads::All if count > 1 => (0..count).into_par_iter().with_max_len(1).for_each(block),
        _ => (0..count).for_each(block),
    }
}

/// Rows and columns of a block, and how many blocks lie side by side.
fn blocks(rows: usize, cols: usize, threads: Threads) -> ([usize; 2], usize) {
    let [mut high, mut wide] = BLOCK_SIDES;
    let count = |high: usize, wide: usize| rows.div_ceil(high) * cols.div_ceil(wide);
    while threads == Threads::All && count(high, wide) < BLOCKS && wide > 2 * PANEL {
        wide /= 2;
    }
    while threads == Threads::All && count(high, wide) < BLOCKS && high > 24 {
        high /= 2;
    }
    ([high, wide], cols.div_ceil(wide).max(1))
}

/// A matrix that tasks write in parts.
struct Shared<T> {
    first: *mut T,
    len: usize,
}

#[expect(unsafe_code, reason = "tasks write different parts of one matrix")]
// SAFETY: only `Shared::part` gives access, and its callers ask for parts that do not overlap.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn new(all: &mut [T]) -> Self {
        Self { first: all.as_mut_ptr(), len: all.len() }
    }

    fn first(&self) -> *mut T {
        self.first
    }

    /// # Safety
    ///
    /// No other part that is in use may overlap this one.
    #[expect(unsafe_code, clippy::mut_from_ref, reason = "tasks write different parts of one matrix")]
    unsafe fn part(&self, at: usize, len: usize) -> &mut [T] {
        assert!(at + len <= self.len);
        // SAFETY: inside the slice that this was made of, and the caller answers for the rest.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(at), len) }
    }
}

/// `out = keep·out + scale·a·b` in float32, rows of `out` lying `stride` apart.
pub(crate) fn matmul_wide(
    (a, b): (&Rows<'_>, &Columns),
    depth: usize,
    out: &mut [f32],
    stride: usize,
    keep: bool,
    scale: f32,
    threads: Threads,
) {
    assert!(b.cols() <= stride);
    let shared = Shared::new(out);
    if scale == 1.0 && depth > 0 && b.cols().is_multiple_of(PANEL) {
        return sums_in_place((a, b), depth, &shared, stride, keep, threads);
    }
    sums_of((a, b), depth, threads, |row, col, sums| {
        #[expect(unsafe_code, reason = "tasks write different parts of one matrix")]
        // SAFETY: `sums_of` hands out every place once.
        let out = unsafe { shared.part(row * stride + col, sums.len()) };
        simd(
            #[inline(always)]
            || match keep {
                true => out.iter_mut().zip(sums).for_each(|(out, sum)| *out += *sum * scale),
                false => out.iter_mut().zip(sums).for_each(|(out, sum)| *out = *sum * scale),
            },
        );
    });
}

/// `out = keep·out + a·b`, whole panels of it: tiles are added up where they end.
fn sums_in_place(
    (a, b): (&Rows<'_>, &Columns),
    depth: usize,
    out: &Shared<f32>,
    stride: usize,
    add: bool,
    threads: Threads,
) {
    each_block(a.rows(), b.cols(), threads, |rows, cols| {
        assert!((rows.end - 1) * stride + cols.end <= out.len && cols.end.is_multiple_of(PANEL));
        let tile = Tile { sums: out.first(), stride, add }.at(rows.start, cols.start);
        #[expect(unsafe_code, reason = "tasks write different parts of one matrix")]
        // SAFETY: the assert keeps the block inside `out`, and `each_block` hands out every place once.
        unsafe {
            sums((a, rows), (b, cols.start / PANEL..cols.end / PANEL), depth, tile);
        }
    });
}

/// What is added to the sums of a product before they are rounded: a bias of its columns, and a matrix of its shape.
pub(crate) struct Added<'a> {
    pub bias: Option<&'a [f32]>,
    pub residual: Option<&'a [bf16]>,
}

/// `a·b + bias + residual`, each sum rounded once.
pub(crate) fn matmul_brief(a: Mat<'_, bf16>, b: Mat<'_, bf16>, added: &Added<'_>) -> Vec<bf16> {
    let (m, n) = (a.rows, b.cols);
    let mut all = Vec::with_capacity(m * n);
    let shared = Shared::new(&mut all.spare_capacity_mut()[..m * n]);
    // Packing the larger operand for a few rows would take longer than the product.
    match m <= PANEL && m < n && b.row_stride == 1 {
        true => few_rows(a, b, added, &shared),
        false => many_rows(a, b, added, &shared),
    }
    #[expect(unsafe_code, reason = "every sum was written: zeros first would be one more pass")]
    // SAFETY: `sums_of` hands out every place of the m × n.
    unsafe {
        all.set_len(m * n);
    }
    all
}

fn many_rows(a: Mat<'_, bf16>, b: Mat<'_, bf16>, added: &Added<'_>, out: &Shared<MaybeUninit<bf16>>) {
    let n = b.cols;
    let (rows, columns) = (Rows::of(a, Threads::All), Columns::of(b, Threads::All));
    sums_of((&rows, &columns), a.cols, Threads::All, |row, col, sums| {
        #[expect(unsafe_code, reason = "tasks write different parts of one matrix")]
        // SAFETY: `sums_of` hands out every place once.
        let out = unsafe { out.part(row * n + col, sums.len()) };
        simd(
            #[inline(always)]
            || {
                if let Some(bias) = added.bias {
                    sums.iter_mut().zip(&bias[col..]).for_each(|(sum, b)| *sum += *b);
                }
                if let Some(residual) = added.residual {
                    let residual = &residual[row * n + col..];
                    sums.iter_mut().zip(residual).for_each(|(sum, r)| *sum += widened(*r));
                }
                out.iter_mut().zip(sums).for_each(|(out, sum)| _ = out.write(rounded(*sum)));
            },
        );
    });
}

/// The same as bᵀ·aᵀ, to the bit, where the terms of a column of b are neighbours: b is read where it lies.
fn few_rows(a: Mat<'_, bf16>, b: Mat<'_, bf16>, added: &Added<'_>, out: &Shared<MaybeUninit<bf16>>) {
    let n = b.cols;
    let (rows, columns) = (Rows::of(b.t(), Threads::All), Columns::of(a.t(), Threads::All));
    sums_of((&rows, &columns), a.cols, Threads::All, |col, first, sums| {
        for (i, sum) in sums.iter_mut().enumerate() {
            let at = (first + i) * n + col;
            if let Some(bias) = added.bias {
                *sum += bias[col];
            }
            if let Some(residual) = added.residual {
                *sum += widened(residual[at]);
            }
            #[expect(unsafe_code, reason = "tasks write different parts of one matrix")]
            // SAFETY: `sums_of` hands out every place once.
            let out = unsafe { out.part(at, 1) };
            out[0].write(rounded(*sum));
        }
    });
}
