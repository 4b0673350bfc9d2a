//! Scaling laws: loss L as a function of size N, L = a·N^(−b) + c, by least squares of ln L.

use super::cholesky::{inverse_of_square, solve};
use super::student::t_quantile;
use super::{CONFIDENCE, largest, mean};

/// Fewer different sizes get a pure power law.
const LEAST_SIZES: usize = 4;
/// Where to start looking for c, as shares of the smallest loss.
const STARTS: [f64; 8] = [0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.97, 0.995];

/// A fitted law L = a·N^(−b) + c.
#[derive(Clone, Debug, PartialEq)]
pub struct Law {
    /// The factor, in the unit of L (at N = 1).
    pub a: f64,
    /// The exponent, without a unit.
    pub b: f64,
    /// The loss that no size undercuts, in the unit of L; 0 in a pure power law.
    pub c: f64,
    /// Two in a pure power law, three with c.
    pub parameters: usize,
    /// The share of the variance of ln L that the law explains; NaN if all losses are equal.
    pub r_squared: f64,
    /// Points less parameters.
    pub freedom: usize,
    /// Standard errors of ln a, b and c (of c: 0 in a pure law), from the residuals' variance and
    /// the law's derivatives at the fit (Gauss and Newton); `None` without degrees of freedom.
    pub errors: Option<[f64; 3]>,
    /// The 95 % t interval of b; `None` without degrees of freedom.
    pub b_interval: Option<[f64; 2]>,
    /// The mean of ln N.
    centre: f64,
    /// Of ln a at the centre, b and c.
    covariance: Option<[[f64; 3]; 3]>,
}

/// The law through these points (N, L): pure while there are fewer than four different sizes, else
/// with c; the pure one too where least squares has no minimum with finite a > 0 and c ≥ 0 (beyond
/// c = 0 the best law without negative c is the pure one). `None` where [`power_law`] is.
pub fn fit(points: &[(f64, f64)]) -> Option<Law> {
    offset_power_law(points).or_else(|| power_law(points))
}

/// The power law L = a·N^(−b) through these points (N, L), by least squares in the logarithms.
/// `None` unless all are positive and finite and at two or more different N.
pub fn power_law(points: &[(f64, f64)]) -> Option<Law> {
    let logs = Logs::of(points)?;
    let (level, slope) = logs.line(&logs.y)?;
    let residuals: Vec<f64> = logs.x.iter().zip(&logs.y).map(|(x, y)| y - (level - slope * x)).collect();
    let n = points.len() as f64;
    let spread: f64 = logs.x.iter().map(|x| x * x).sum();
    let factors = [[1.0 / n, 0.0, 0.0], [0.0, 1.0 / spread, 0.0], [0.0; 3]];
    Law::of(&logs, [level, slope, 0.0], 2, &residuals, factors)
}

/// The law L = a·N^(−b) + c through these points (N, L), by least squares of ln L. `None` unless
/// all are positive and finite and at four or more different N, and where no minimum with finite
/// a > 0 and c ≥ 0 is found.
pub fn offset_power_law(points: &[(f64, f64)]) -> Option<Law> {
    let logs = Logs::of(points)?;
    if logs.sizes < LEAST_SIZES {
        return None;
    }
    let least = logs.y.iter().copied().fold(f64::INFINITY, f64::min).exp();
    let minima = STARTS.iter().filter_map(|share| logs.descend(share * least));
    let best = minima.min_by(|one, other| logs.squares(*one).total_cmp(&logs.squares(*other)))?;
    if best[2] < 0.0 {
        return None;
    }
    let at = logs.differentiate(best)?;
    Law::of(&logs, best, 3, &at.residuals, inverse_of_square(&at.slopes)?)
}

impl Law {
    /// `parameters` are ln a at the centre, b and c, and `factors` (JᵀJ)⁻¹, all in units of the logs.
    fn of(
        logs: &Logs,
        [level, slope, offset]: [f64; 3],
        parameters: usize,
        residuals: &[f64],
        factors: [[f64; 3]; 3],
    ) -> Option<Self> {
        let freedom = residuals.len().checked_sub(parameters)?;
        let squares: f64 = residuals.iter().map(|r| r * r).sum();
        let total: f64 = logs.y.iter().map(|y| y * y).sum();
        let b = slope / logs.spread;
        let units = [1.0, 1.0 / logs.spread, logs.loss.exp()];
        let variance = (freedom > 0).then(|| squares / freedom as f64);
        let covariance = variance.map(|variance| {
            let entry = |i: usize, j: usize| variance * factors[i][j] * units[i] * units[j];
            [0, 1, 2].map(|i| [0, 1, 2].map(|j| entry(i, j)))
        });
        let errors = covariance.map(|v: [[f64; 3]; 3]| {
            let level = v[0][0] + logs.centre * (2.0 * v[0][1] + logs.centre * v[1][1]);
            [level.sqrt(), v[1][1].sqrt(), v[2][2].sqrt()]
        });
        let t = t_quantile(f64::midpoint(1.0, CONFIDENCE), freedom);
        let half = errors.zip(t).map(|(errors, t)| t * errors[1]);
        let law = Self {
            a: (logs.loss + level + b * logs.centre).exp(),
            b,
            c: offset * units[2],
            parameters,
            r_squared: if logs.flat { f64::NAN } else { 1.0 - squares / total },
            freedom,
            errors,
            b_interval: half.map(|half| [b - half, b + half]),
            centre: logs.centre,
            covariance,
        };
        (law.a.is_finite() && law.a > 0.0 && law.b.is_finite() && law.c.is_finite()).then_some(law)
    }

    /// The loss that the law predicts at a size, in the unit of L; NaN unless the size is positive.
    pub fn loss(&self, size: f64) -> f64 {
        if size > 0.0 { self.a * size.powf(-self.b) + self.c } else { f64::NAN }
    }

    /// The size at which the law has this loss, N = ((L − c)/a)^(−1/b) (ruling R8); `None` where it
    /// never has: at or below c, everywhere if b = 0, and where N is no finite positive number.
    pub fn effective_parameters(&self, loss: f64) -> Option<f64> {
        Some(self.log_size(loss)?.exp()).filter(|size| size.is_finite() && *size > 0.0)
    }

    /// The 95 % interval of [`Law::effective_parameters`] from the uncertainty of the law alone,
    /// not of the loss: exp(ln N ± t·s), s by first derivatives of ln N (the delta method). `None`
    /// also without degrees of freedom; an end may be 0 or infinite.
    pub fn effective_parameters_interval(&self, loss: f64) -> Option<[f64; 2]> {
        let log_size = self.effective_parameters(loss).and(self.log_size(loss))?;
        let covariance = self.covariance?;
        let t = t_quantile(f64::midpoint(1.0, CONFIDENCE), self.freedom)?;
        let slopes = [1.0, self.centre - log_size, 1.0 / (loss - self.c)].map(|s| s / self.b);
        let products = (0..9).map(|k| slopes[k / 3] * covariance[k / 3][k % 3] * slopes[k % 3]);
        let half = t * products.sum::<f64>().max(0.0).sqrt();
        let ends = [(log_size - half).exp(), (log_size + half).exp()];
        (!half.is_nan()).then_some(ends)
    }

    fn log_size(&self, loss: f64) -> Option<f64> {
        let above = loss - self.c;
        let log_size = (self.a.ln() - above.ln()) / self.b;
        (above > 0.0 && self.b != 0.0 && log_size.is_finite()).then_some(log_size)
    }
}

/// Points in logarithms: sizes with mean 0 and largest 1, losses with mean 0.
struct Logs {
    x: Vec<f64>,
    y: Vec<f64>,
    centre: f64,
    spread: f64,
    /// The mean of ln L.
    loss: f64,
    /// Different sizes.
    sizes: usize,
    /// All losses are equal.
    flat: bool,
}

/// The law near some parameters.
struct Near {
    /// ln L less the law's.
    residuals: Vec<f64>,
    /// Derivatives of the law's ln L by the parameters, point by point.
    slopes: Vec<[f64; 3]>,
    /// Half the gradient of the sum of squares, and half its second derivatives.
    gradient: [f64; 3],
    curvature: [[f64; 3]; 3],
}

impl Logs {
    fn of(points: &[(f64, f64)]) -> Option<Self> {
        let good = |v: f64| v > 0.0 && v.is_finite();
        if !points.iter().all(|&(n, l)| good(n) && good(l)) {
            return None;
        }
        let mut sorted: Vec<f64> = points.iter().map(|p| p.0).collect();
        sorted.sort_by(f64::total_cmp);
        sorted.dedup();
        let (mut x, centre) = centred_logs(points.iter().map(|p| p.0).collect());
        let (y, loss) = centred_logs(points.iter().map(|p| p.1).collect());
        let spread = largest(x.iter().copied());
        x.iter_mut().for_each(|x| *x /= spread);
        let flat = points.iter().all(|p| p.1 == points[0].1);
        // Neighbouring numbers can have the same logarithm.
        (sorted.len() >= 2 && spread > 0.0).then_some(Self {
            x,
            y,
            centre,
            spread,
            loss,
            sizes: sorted.len(),
            flat,
        })
    }

    /// Level and falling slope of the line through (x, y).
    fn line(&self, y: &[f64]) -> Option<(f64, f64)> {
        let level = mean(y);
        let squares: f64 = self.x.iter().map(|x| x * x).sum();
        let slope = -self.x.iter().zip(y).map(|(x, y)| x * (y - level)).sum::<f64>() / squares;
        (level.is_finite() && slope.is_finite()).then_some((level, slope))
    }

    /// The sum of squares of ln L less the law's; NaN where the law is not positive.
    fn squares(&self, [level, slope, offset]: [f64; 3]) -> f64 {
        let residual = |(x, y): (&f64, &f64)| y - ((level - slope * x).exp() + offset).ln();
        self.x.iter().zip(&self.y).map(residual).map(|r| r * r).sum()
    }

    fn differentiate(&self, [level, slope, offset]: [f64; 3]) -> Option<Near> {
        let (mut residuals, mut slopes) = (Vec::new(), Vec::new());
        let (mut gradient, mut curvature) = ([0.0; 3], [[0.0; 3]; 3]);
        for (&x, y) in self.x.iter().zip(&self.y) {
            let power = (level - slope * x).exp();
            let whole = power + offset;
            let (residual, share, rest) = (y - whole.ln(), power / whole, offset / whole);
            if !residual.is_finite() {
                return None;
            }
            let first = [share, -x * share, 1.0 / whole];
            let bend = share * rest;
            let by_offset = -share / whole;
            let second = [
                [bend, -x * bend, by_offset],
                [-x * bend, x * x * bend, -x * by_offset],
                [by_offset, -x * by_offset, -1.0 / (whole * whole)],
            ];
            for i in 0..3 {
                gradient[i] -= residual * first[i];
                for j in 0..3 {
                    curvature[i][j] += first[i] * first[j] - residual * second[i][j];
                }
            }
            residuals.push(residual);
            slopes.push(first);
        }
        Some(Near { residuals, slopes, gradient, curvature })
    }

    /// The minimum that Newton's method, damped as Levenberg and Marquardt do, reaches from this
    /// offset and its best line; `None` if it reaches none.
    fn descend(&self, offset: f64) -> Option<[f64; 3]> {
        let above: Vec<f64> = self.y.iter().map(|y| (y.exp() - offset).ln()).collect();
        let (level, slope) = self.line(&above)?;
        let mut at = [level, slope, offset];
        let (mut damping, mut squares) = (1e-3, self.squares(at));
        for _ in 0..500 {
            let near = self.differentiate(at)?;
            // Quadratic from here on, and the sum of squares is too flat to judge a step by.
            if let Some(step) = solve(near.curvature, near.gradient).filter(|s| size(s) < 1e-7) {
                return self.polish(moved(at, step));
            }
            let mut damped = near.curvature;
            for (i, row) in damped.iter_mut().enumerate() {
                row[i] += damping * near.slopes.iter().map(|s| s[i] * s[i]).sum::<f64>();
            }
            let next = solve(damped, near.gradient).map(|step| moved(at, step));
            match next.map(|next| (next, self.squares(next))) {
                Some((next, fewer)) if fewer <= squares => {
                    (at, squares) = (next, fewer);
                    damping *= 0.1;
                }
                _ => damping *= 10.0,
            }
            if damping > 1e20 {
                return None;
            }
        }
        None
    }

    /// Newton's last steps.
    fn polish(&self, mut at: [f64; 3]) -> Option<[f64; 3]> {
        for _ in 0..4 {
            let near = self.differentiate(at)?;
            let step = solve(near.curvature, near.gradient)?;
            if size(&step) > 1e-6 {
                return None;
            }
            at = moved(at, step);
        }
        Some(at)
    }
}

/// Logarithms less their mean, and the mean. Of ratios to the first number, where these exist: a
/// logarithm far from 0 is rounded more.
fn centred_logs(mut xs: Vec<f64>) -> (Vec<f64>, f64) {
    let first = xs.first().copied().unwrap_or(1.0);
    for x in &mut xs {
        let ratio = *x / first;
        *x = if ratio.is_normal() { ratio.ln() } else { x.ln() - first.ln() };
    }
    let middle = mean(&xs);
    xs.iter_mut().for_each(|x| *x -= middle);
    (xs, first.ln() + middle)
}

fn size(step: &[f64; 3]) -> f64 {
    largest(step.iter().copied())
}

fn moved(at: [f64; 3], step: [f64; 3]) -> [f64; 3] {
    [0, 1, 2].map(|i| at[i] - step[i])
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    fn points(law: impl Fn(f64) -> f64, sizes: &[f64]) -> Vec<(f64, f64)> {
        sizes.iter().map(|&n| (n, law(n))).collect()
    }

    #[test]
    fn laws_find_their_own_parameters() {
        let pure = points(|n| 20.0 * n.powf(-0.1), &[1e6, 1e7, 1e8]);
        let law = fit(&pure).unwrap();
        assert_relative_eq!(law.a, 20.0, max_relative = 1e-12);
        assert_relative_eq!(law.b, 0.1, max_relative = 1e-12);
        assert_eq!((law.c, law.parameters, law.freedom), (0.0, 2, 1));
        assert_relative_eq!(law.effective_parameters(law.loss(3e7)).unwrap(), 3e7, max_relative = 1e-11);
        let offset = points(|n| 400.0 * n.powf(-0.34) + 1.7, &[1e6, 4e6, 2e7, 1e8, 1e9]);
        let law = fit(&offset).unwrap();
        assert_relative_eq!(law.a, 400.0, max_relative = 1e-9);
        assert_relative_eq!(law.b, 0.34, max_relative = 1e-9);
        assert_relative_eq!(law.c, 1.7, max_relative = 1e-9);
        assert_relative_eq!(law.r_squared, 1.0, max_relative = 1e-12);
        assert_eq!(law.effective_parameters(1.6), None);
        assert_eq!(law.effective_parameters(law.c), None);
        assert_relative_eq!(law.effective_parameters(law.loss(3e7)).unwrap(), 3e7, max_relative = 1e-9);
    }

    #[test]
    fn two_points_have_a_law_without_uncertainty() {
        let law = fit(&[(1e6, 5.0), (1e7, 4.0)]).unwrap();
        assert_eq!((law.freedom, law.errors, law.b_interval), (0, None, None));
        assert_eq!(law.effective_parameters_interval(4.5), None);
        assert!(law.effective_parameters(4.5).is_some());
    }

    #[test]
    fn no_law_through_such_points() {
        assert_eq!(fit(&[]), None);
        assert_eq!(fit(&[(1e6, 4.0)]), None);
        assert_eq!(fit(&[(1e6, 4.0), (1e6, 3.0)]), None);
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(fit(&[(1e6, 4.0), (1e7, bad)]), None);
            assert_eq!(fit(&[(1e6, 4.0), (bad, 3.0), (1e7, 2.0), (1e8, 1.0), (1e9, 0.5)]), None);
        }
        let extreme =
            [(1e-300, 1e300), (1e300, 1e-300), (1.0, 1.0), (f64::MAX, f64::MIN_POSITIVE), (3.0, 2.0)];
        fit(&extreme);
        fit(&[(1.0, 2.0), (1.0 + f64::EPSILON, 3.0)]);
    }

    #[test]
    fn equal_losses_explain_nothing() {
        let sizes = [1e6, 1e7, 1e8, 1e9, 1e10];
        let law = fit(&points(|_| 3.3, &sizes)).unwrap();
        assert!(law.r_squared.is_nan());
        assert!(law.b.abs() < 1e-15);
    }

    #[test]
    fn a_curve_that_falls_ever_faster_has_no_floor() {
        let sizes = [1e6, 1e7, 1e8, 1e9, 1e10];
        let law = fit(&points(|n| 10.0 - 0.4 * n.ln(), &sizes)).unwrap();
        assert_eq!((law.parameters, law.c), (2, 0.0));
    }
}
