//! Initial weights from a seed: ChaCha20, 64 bits a draw, parameter after parameter in the order of declaration.
//! A number in [0, 1) is the upper 53 bits over 2⁵³; a normal one takes two of them (Box and Muller); an orthogonal
//! matrix is made of normal rows by Gram and Schmidt, twice.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// How a parameter starts.
pub enum Start {
    /// The same number everywhere.
    Same(f64),
    /// Normal with mean zero and this standard deviation.
    Normal(f64),
    /// Uniform between minus and plus this.
    Uniform(f64),
    /// Orthonormal along the shorter side, times a gain: gain and columns.
    Orthogonal(f64, usize),
    /// A formula.
    Given(Vec<f64>),
    /// Uniform between two numbers, then through a function.
    Through(f64, f64, fn(f64) -> f64),
}

/// A parameter to be drawn.
pub struct Draw {
    /// Its name.
    pub name: String,
    /// Its numbers.
    pub count: usize,
    /// How it starts.
    pub start: Start,
}

impl Draw {
    /// A parameter to be drawn.
    pub fn new(name: impl Into<String>, count: usize, start: Start) -> Self {
        Self { name: name.into(), count, start }
    }
}

/// All parameters with their values, drawn one after the other.
pub fn draw(all: &[Draw], seed: u64) -> Vec<(&str, Vec<f64>)> {
    let mut source = Draws(ChaCha20Rng::seed_from_u64(seed));
    all.iter().map(|d| (d.name.as_str(), source.values(d))).collect()
}

struct Draws(ChaCha20Rng);

impl Draws {
    fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.unit(), self.unit());
        (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
    }

    fn values(&mut self, d: &Draw) -> Vec<f64> {
        match &d.start {
            Start::Same(x) => vec![*x; d.count],
            Start::Normal(std) => (0..d.count).map(|_| std * self.normal()).collect(),
            Start::Uniform(a) => (0..d.count).map(|_| self.between(-a, *a)).collect(),
            Start::Through(low, high, f) => (0..d.count).map(|_| f(self.between(*low, *high))).collect(),
            Start::Given(values) => values.clone(),
            Start::Orthogonal(gain, cols) => self.orthogonal(d.count / cols, *cols, *gain),
        }
    }

    /// [rows, cols]: the vectors of the shorter side are drawn one by one.
    fn orthogonal(&mut self, rows: usize, cols: usize, gain: f64) -> Vec<f64> {
        let (count, length) = (rows.min(cols), rows.max(cols));
        let mut vectors: Vec<Vec<f64>> = Vec::new();
        for _ in 0..count {
            let mut v: Vec<f64> = (0..length).map(|_| self.normal()).collect();
            for _ in 0..2 {
                for u in &vectors {
                    let share: f64 = (0..length).map(|i| v[i] * u[i]).sum();
                    (0..length).for_each(|i| v[i] -= share * u[i]);
                }
            }
            let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
            vectors.push(v.iter().map(|x| x / norm).collect());
        }
        let mut all = vec![0.0; rows * cols];
        for (i, v) in vectors.iter().enumerate() {
            for (j, x) in v.iter().enumerate() {
                let at = if rows <= cols { i * cols + j } else { j * cols + i };
                all[at] = gain * x;
            }
        }
        all
    }
}
