//! Norms over the columns of a row, and the functions of one element that have a name.

use super::fault::Fault;
use super::graph::{Graph, ValueId};
use super::matrix::Matrix;
use super::number::Number;

/// 1 / (1 + e^-x).
pub fn sigmoid<N: Number>(x: N) -> N {
    N::one() / (N::one() + (-x).exp())
}

/// tanh, where rounding is looked at as 2·sigmoid(2x) − 1, which loses the digits of small x.
fn tanh<N: Number>(x: N) -> N {
    let two = N::of(2.0);
    if N::ROUNDED { two * sigmoid(two * x) - N::one() } else { x.tanh() }
}

impl<N: Number> Graph<'_, N> {
    /// sigmoid(x).
    pub fn sigmoid(&mut self, x: ValueId) -> ValueId {
        self.each(x, sigmoid, |x| sigmoid(x) * (N::one() - sigmoid(x)))
    }

    /// tanh(x).
    pub fn tanh(&mut self, x: ValueId) -> ValueId {
        self.each(x, tanh, |x| N::one() - tanh(x) * tanh(x))
    }

    /// x·sigmoid(x).
    pub fn silu(&mut self, x: ValueId) -> ValueId {
        self.each(x, |x| x * sigmoid(x), |x| sigmoid(x) * (N::one() + x * (N::one() - sigmoid(x))))
    }

    /// max(x, 0)².
    pub fn squared_relu(&mut self, x: ValueId) -> ValueId {
        let positive = |x: N| if x > N::zero() { x } else { N::zero() };
        self.each(x, move |x| positive(x) * positive(x), move |x| N::of(2.0) * positive(x))
    }

    /// GELU in its tanh form: ½x(1 + tanh(√(2/π)(x + 0.044715x³))) (Hendrycks & Gimpel 2016).
    pub fn gelu(&mut self, x: ValueId) -> ValueId {
        let root = N::of((2.0 / std::f64::consts::PI).sqrt());
        let (cubic, half) = (N::of(0.044_715), N::of(0.5));
        let u = move |x: N| root * (x + cubic * x * x * x);
        let slope = move |x: N| {
            let t = tanh(u(x));
            let du = root * (N::one() + N::of(3.0) * cubic * x * x);
            half * (N::one() + t) + half * x * (N::one() - t * t) * du
        };
        self.each(x, move |x| half * x * (N::one() + tanh(u(x))), slope)
    }

    /// Every row's groups of columns, each divided by its root mean square, after subtracting its mean where
    /// `centred`.
    pub fn norm(&mut self, x: ValueId, groups: usize, centred: bool, eps: f64) -> ValueId {
        let from = self.value(x);
        let width = from.cols / groups;
        let n = N::of(width as f64);
        let (mut y, mut inverse) = (from.clone(), Vec::new());
        for group in y.data.chunks_exact_mut(width) {
            let sum = |g: &[N], f: &dyn Fn(N) -> N| g.iter().fold(N::zero(), |sum, x| sum + f(*x));
            let mean = if centred { sum(group, &|x| x) / n } else { N::zero() };
            let square = sum(group, &|x| (x - mean) * (x - mean)) / n;
            let scale = N::one() / (square + N::of(eps)).sqrt();
            group.iter_mut().for_each(|x| *x = (*x - mean) * scale);
            inverse.push(scale);
        }
        let (hat, constant) = (y.clone(), self.has(Fault::NormAsConstant));
        self.push(y, move |_, dy, slopes| {
            let mut dx = Matrix::zeros(dy.rows, dy.cols);
            let parts = dy.data.chunks_exact(width).zip(hat.data.chunks_exact(width)).zip(&inverse);
            for (dx, ((dy, hat), scale)) in dx.data.chunks_exact_mut(width).zip(parts) {
                let (mut mean, mut along) = (N::zero(), N::zero());
                for (dy, hat) in dy.iter().zip(hat) {
                    mean += *dy;
                    along += *dy * *hat;
                }
                let mean = if centred { mean / n } else { N::zero() };
                let along = if constant { N::zero() } else { along / n };
                for (dx, (dy, hat)) in dx.iter_mut().zip(dy.iter().zip(hat)) {
                    *dx = (*dy - mean - *hat * along) * *scale;
                }
            }
            slopes.add(x, dx);
        })
    }

    /// Layer norm with the parameters `name.weight` and `name.bias`.
    pub fn layer_norm(&mut self, x: ValueId, name: &str, eps: f64) -> ValueId {
        let (w, b) = (self.weight(&format!("{name}.weight")), self.weight(&format!("{name}.bias")));
        let x = self.norm(x, 1, true, eps);
        let x = self.times_row(x, w);
        self.plus_row(x, b)
    }

    /// RMS norm with the parameter `name.weight`.
    pub fn rms_norm(&mut self, x: ValueId, name: &str, eps: f64) -> ValueId {
        let w = self.weight(&format!("{name}.weight"));
        let x = self.norm(x, 1, false, eps);
        self.times_row(x, w)
    }
}
