//! Reverse mode: every value that was computed, and for each how a gradient flows from it to what it was made of.
//!
//! Here are the functions of one element and of whole matrices; what mixes positions is in `recurrence`,
//! `attention` and `norm`. One window at a time: row t of every matrix belongs to position t.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fault::Fault;
use super::matrix::{Matrix, product};
use super::number::Number;

/// Parameters by name: a vector is one row, and of more than two dimensions all but the last are rows.
pub type Weights<N> = BTreeMap<String, Arc<Matrix<N>>>;

/// A value of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueId(usize);

/// Gradients on their way back.
pub struct Slopes<N>(Vec<Option<Matrix<N>>>);

impl<N: Number> Slopes<N> {
    /// Adds to the gradient of a value.
    pub fn add(&mut self, to: ValueId, slope: Matrix<N>) {
        match &mut self.0[to.0] {
            Some(sum) => sum.add(&slope),
            empty => *empty = Some(slope),
        }
    }
}

/// The values of a graph.
pub struct Values<N>(Vec<Arc<Matrix<N>>>);

impl<N> Values<N> {
    /// One of them.
    pub fn at(&self, place: ValueId) -> &Matrix<N> {
        &self.0[place.0]
    }
}

type Back<N> = Box<dyn Fn(&Values<N>, &Matrix<N>, &mut Slopes<N>)>;

/// A computation in progress.
pub struct Graph<'a, N> {
    weights: &'a Weights<N>,
    leaves: BTreeMap<String, ValueId>,
    values: Values<N>,
    back: Vec<Option<Back<N>>>,
    /// Whether what gradients need is kept.
    keeps: bool,
    fault: Option<Fault>,
}

impl<'a, N: Number> Graph<'a, N> {
    /// Nothing computed yet.
    pub fn new(weights: &'a Weights<N>, fault: Option<Fault>) -> Self {
        let (leaves, values, back) = (BTreeMap::new(), Values(Vec::new()), Vec::new());
        Self { weights, leaves, values, back, keeps: true, fault }
    }

    /// The same, of which nobody wants gradients: every state of a recurrence over a long document would fill the
    /// memory.
    pub fn forward(weights: &'a Weights<N>, fault: Option<Fault>) -> Self {
        Self { keeps: false, ..Self::new(weights, fault) }
    }

    /// Whether somebody wants gradients.
    pub fn keeps(&self) -> bool {
        self.keeps
    }

    /// Whether this mistake is to be made.
    pub fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// A computed value.
    pub fn value(&self, place: ValueId) -> &Matrix<N> {
        self.values.at(place)
    }

    /// The parameter of that name.
    ///
    /// # Panics
    /// Where there is none: `Design` has looked whether all are there.
    pub fn weight(&mut self, name: &str) -> ValueId {
        if let Some(place) = self.leaves.get(name) {
            return *place;
        }
        let Some(weight) = self.weights.get(name) else { panic!("no parameter {name:?}") };
        // A matrix is stored as activations are; what belongs to a channel is not.
        let brief = N::BRIEF && weight.rows > 1;
        self.values.0.push(if brief { Arc::new(weight.map(N::stored)) } else { Arc::clone(weight) });
        self.back.push(None);
        let place = ValueId(self.back.len() - 1);
        self.leaves.insert(name.to_owned(), place);
        place
    }

    /// Whether there is a parameter of that name.
    pub fn knows(&self, name: &str) -> bool {
        self.weights.contains_key(name)
    }

    /// A value, and how its gradient flows back.
    pub fn push(
        &mut self,
        value: Matrix<N>,
        back: impl Fn(&Values<N>, &Matrix<N>, &mut Slopes<N>) + 'static,
    ) -> ValueId {
        let value = if N::BRIEF { value.map(N::stored) } else { value };
        self.values.0.push(Arc::new(value));
        self.back.push(self.keeps.then(|| Box::new(back) as Back<N>));
        ValueId(self.back.len() - 1)
    }

    /// Gradients of all parameters that were used, of a number whose gradients with respect to some values are given.
    pub fn backward<const ENDS: usize>(
        &self,
        ends: [(ValueId, Matrix<N>); ENDS],
    ) -> BTreeMap<String, Matrix<N>> {
        let mut slopes = Slopes((0..self.back.len()).map(|_| None).collect());
        ends.into_iter().for_each(|(end, slope)| slopes.add(end, slope));
        for i in (0..self.back.len()).rev() {
            let Some(back) = &self.back[i] else { continue };
            if let Some(slope) = slopes.0[i].take() {
                let slope = if N::BRIEF { slope.map(N::stored) } else { slope };
                back(&self.values, &slope, &mut slopes);
            }
        }
        let of = |(name, place): (&String, &ValueId)| Some((name.clone(), slopes.0[place.0].take()?));
        self.leaves.iter().filter_map(of).collect()
    }

    /// The rows of a table with these numbers.
    pub fn lookup(&mut self, table: ValueId, rows: &[usize]) -> ValueId {
        let (from, rows) = (self.value(table), rows.to_vec());
        let mut y = Matrix::zeros(rows.len(), from.cols);
        for (i, row) in rows.iter().enumerate() {
            y.row_mut(i).copy_from_slice(from.row(*row));
        }
        self.push(y, move |values, dy, slopes| {
            let mut dx = Matrix::zeros(values.at(table).rows, dy.cols);
            for (i, row) in rows.iter().enumerate() {
                dx.row_mut(*row).iter_mut().zip(dy.row(i)).for_each(|(a, b)| *a += *b);
            }
            slopes.add(table, dx);
        })
    }

    /// x·w.
    pub fn times(&mut self, x: ValueId, w: ValueId) -> ValueId {
        let y = product(self.value(x), self.value(w));
        self.push(y, move |values, dy, slopes| {
            slopes.add(x, product(dy, &values.at(w).transposed()));
            slopes.add(w, product(&values.at(x).transposed(), dy));
        })
    }

    /// x·wᵀ.
    pub fn times_transposed(&mut self, x: ValueId, w: ValueId) -> ValueId {
        let y = product(self.value(x), &self.value(w).transposed());
        self.push(y, move |values, dy, slopes| {
            slopes.add(x, product(dy, values.at(w)));
            slopes.add(w, product(&dy.transposed(), values.at(x)));
        })
    }

    /// a + b.
    pub fn plus(&mut self, a: ValueId, b: ValueId) -> ValueId {
        let y = self.value(a).zip(self.value(b), |a, b| a + b);
        self.push(y, move |_, dy, slopes| {
            slopes.add(a, dy.clone());
            slopes.add(b, dy.clone());
        })
    }

    /// a·b, element by element.
    pub fn each_times(&mut self, a: ValueId, b: ValueId) -> ValueId {
        let y = self.value(a).zip(self.value(b), |a, b| a * b);
        self.push(y, move |values, dy, slopes| {
            slopes.add(a, dy.zip(values.at(b), |dy, b| dy * b));
            slopes.add(b, dy.zip(values.at(a), |dy, a| dy * a));
        })
    }

    /// Adds one row, [1, d], to every row.
    pub fn plus_row(&mut self, x: ValueId, row: ValueId) -> ValueId {
        let mut y = self.value(x).clone();
        let add = self.value(row).data.clone();
        for i in 0..y.rows {
            y.row_mut(i).iter_mut().zip(&add).for_each(|(y, b)| *y += *b);
        }
        self.push(y, move |values, dy, slopes| {
            let shape = values.at(row);
            slopes.add(row, Matrix::new(shape.rows, shape.cols, column_sums(dy)));
            slopes.add(x, dy.clone());
        })
    }

    /// Multiplies every row by one row, [1, d].
    pub fn times_row(&mut self, x: ValueId, row: ValueId) -> ValueId {
        let by = |m: &Matrix<N>, w: &Matrix<N>| {
            let mut y = m.clone();
            for i in 0..y.rows {
                y.row_mut(i).iter_mut().zip(&w.data).for_each(|(y, w)| *y = *y * *w);
            }
            y
        };
        let y = by(self.value(x), self.value(row));
        self.push(y, move |values, dy, slopes| {
            let shape = values.at(row);
            let sums = column_sums(&dy.zip(values.at(x), |dy, x| dy * x));
            slopes.add(row, Matrix::new(shape.rows, shape.cols, sums));
            slopes.add(x, by(dy, values.at(row)));
        })
    }

    /// Multiplies row i by the i-th number of a column, [n, 1].
    pub fn times_column(&mut self, x: ValueId, column: ValueId) -> ValueId {
        let by = |m: &Matrix<N>, c: &Matrix<N>| {
            let mut y = m.clone();
            for i in 0..y.rows {
                y.row_mut(i).iter_mut().for_each(|y| *y = *y * c.data[i]);
            }
            y
        };
        let y = by(self.value(x), self.value(column));
        self.push(y, move |values, dy, slopes| {
            let x_dy = dy.zip(values.at(x), |dy, x| dy * x);
            let sums = (0..dy.rows).map(|i| x_dy.row(i).iter().fold(N::zero(), |sum, x| sum + *x));
            slopes.add(column, Matrix::new(dy.rows, 1, sums.collect()));
            slopes.add(x, by(dy, values.at(column)));
        })
    }

    /// Every element through `f`, whose slope is `df`.
    pub fn each(&mut self, x: ValueId, f: impl Fn(N) -> N, df: impl Fn(N) -> N + 'static) -> ValueId {
        let y = self.value(x).map(f);
        self.push(y, move |values, dy, slopes| {
            slopes.add(x, dy.zip(values.at(x), |dy, x| dy * df(x)));
        })
    }

    /// Some columns.
    pub fn columns(&mut self, x: ValueId, first: usize, count: usize) -> ValueId {
        let from = self.value(x);
        let mut y = Matrix::zeros(from.rows, count);
        for i in 0..from.rows {
            y.row_mut(i).copy_from_slice(&from.row(i)[first..first + count]);
        }
        self.push(y, move |values, dy, slopes| {
            let mut dx = Matrix::zeros(dy.rows, values.at(x).cols);
            for i in 0..dy.rows {
                dx.row_mut(i)[first..first + count].copy_from_slice(dy.row(i));
            }
            slopes.add(x, dx);
        })
    }

    /// Some rows.
    pub fn some_rows(&mut self, x: ValueId, first: usize, count: usize) -> ValueId {
        let from = self.value(x);
        let cols = from.cols;
        let y = Matrix::new(count, cols, from.data[first * cols..(first + count) * cols].to_vec());
        self.push(y, move |values, dy, slopes| {
            let mut dx = Matrix::zeros(values.at(x).rows, cols);
            dx.data[first * cols..(first + count) * cols].copy_from_slice(&dy.data);
            slopes.add(x, dx);
        })
    }
}

/// The sum of every column, from the first row to the last.
pub fn column_sums<N: Number>(x: &Matrix<N>) -> Vec<N> {
    let mut sums = vec![N::zero(); x.cols];
    for i in 0..x.rows {
        sums.iter_mut().zip(x.row(i)).for_each(|(sum, x)| *sum += *x);
    }
    sums
}
