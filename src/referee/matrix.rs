//! Matrices of the referee.

use super::number::Number;

/// Rows of numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix<N> {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Row after row.
    pub data: Vec<N>,
}

impl<N: Number> Matrix<N> {
    /// All zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self { rows, cols, data: vec![N::zero(); rows * cols] }
    }

    /// From numbers, row after row.
    pub fn new(rows: usize, cols: usize, data: Vec<N>) -> Self {
        assert_eq!(data.len(), rows * cols, "{} numbers for [{rows}, {cols}]", data.len());
        Self { rows, cols, data }
    }

    /// One row.
    pub fn row(&self, i: usize) -> &[N] {
        &self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// One row, to be changed.
    pub fn row_mut(&mut self, i: usize) -> &mut [N] {
        &mut self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// Rows as columns.
    pub fn transposed(&self) -> Self {
        let mut out = Self::zeros(self.cols, self.rows);
        for i in 0..self.rows {
            for (j, x) in self.row(i).iter().enumerate() {
                out.data[j * self.rows + i] = *x;
            }
        }
        out
    }

    /// Every element through a function.
    pub fn map(&self, f: impl Fn(N) -> N) -> Self {
        Self { data: self.data.iter().map(|x| f(*x)).collect(), ..*self }
    }

    /// Pairs of elements through a function.
    pub fn zip(&self, other: &Self, f: impl Fn(N, N) -> N) -> Self {
        assert_eq!((self.rows, self.cols), (other.rows, other.cols), "shapes differ");
        Self { data: self.data.iter().zip(&other.data).map(|(a, b)| f(*a, *b)).collect(), ..*self }
    }

    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        assert_eq!((self.rows, self.cols), (other.rows, other.cols), "shapes differ");
        self.data.iter_mut().zip(&other.data).for_each(|(a, b)| *a += *b);
    }
}

/// Columns that are summed side by side.
const TILE: usize = 16;

/// a·b; each element is summed from the first term to the last.
///
/// # Shapes
/// - `a`: [n, k], `b`: [k, m]
/// - result: [n, m]
pub fn product<N: Number>(a: &Matrix<N>, b: &Matrix<N>) -> Matrix<N> {
    assert_eq!(a.cols, b.rows, "[{}, {}] times [{}, {}]", a.rows, a.cols, b.rows, b.cols);
    let mut out = Matrix::zeros(a.rows, b.cols);
    for first in (0..b.cols).step_by(TILE) {
        let width = TILE.min(b.cols - first);
        let mut tile = vec![[N::zero(); TILE]; b.rows];
        for (k, tile) in tile.iter_mut().enumerate() {
            tile[..width].copy_from_slice(&b.row(k)[first..first + width]);
        }
        for i in 0..a.rows {
            let mut sums = [N::zero(); TILE];
            for (x, tile) in a.row(i).iter().zip(&tile) {
                for (sum, y) in sums.iter_mut().zip(tile) {
                    *sum += *x * *y;
                }
            }
            out.row_mut(i)[first..first + width].copy_from_slice(&sums[..width]);
        }
    }
    out
}
