//! A number of the record beside what it should be: by its samples, or by other numbers.

use crate::evidence::{ItemValues, Measurement, Value};
use crate::referee::Deviation;
use crate::statistics::{median, median_interval};

/// Sums and quotients in float64.
const ROUNDING: f64 = 1e-9;

/// A value, its interval, and how many numbers are behind it.
pub(super) type Expected = (f64, Option<[f64; 2]>, Option<u64>);

/// What the record says.
pub(super) struct RecordedNumber {
    pub(super) value: Value,
    pub(super) interval: Option<[Value; 2]>,
    pub(super) n: Option<u64>,
}

impl RecordedNumber {
    pub(super) fn of(m: &Measurement) -> Self {
        Self { value: m.value(), interval: m.interval(), n: m.n() }
    }

    /// Beside what is expected: value, interval and number.
    pub(super) fn beside(&self, name: &str, (value, interval, n): Expected) -> Vec<Deviation> {
        let what = |of: &str| format!("{name} ({of})");
        let apart = |recorded: Value, expected: f64| (recorded.raw() / expected - 1.0).abs();
        let interval = match (self.interval, interval) {
            (Some(recorded), Some(expected)) => {
                let ends = [0, 1].map(|i| apart(recorded[i], expected[i]));
                // NaN, where there is one, wins.
                let farther = if ends[0].is_nan() || ends[0] > ends[1] { ends[0] } else { ends[1] };
                Deviation::new(what("interval"), farther, ROUNDING)
            }
            (recorded, expected) => {
                Deviation::fact(what("interval"), recorded.is_none() && expected.is_none())
            }
        };
        vec![
            Deviation::new(what("value"), apart(self.value, value), ROUNDING),
            interval,
            Deviation::fact(what("number"), self.n == n),
        ]
    }

    /// Beside the median of its samples.
    pub(super) fn beside_samples(&self, name: &str, samples: Option<&ItemValues>) -> Vec<Deviation> {
        let Some(samples) = samples else {
            return vec![Deviation::fact(format!("{name}: not among the samples"), false)];
        };
        let values: Vec<f64> = samples.values.iter().map(|value| value.raw()).collect();
        let expected = (median(&values), median_interval(&values), Some(samples.count()));
        self.beside(&format!("{name} of its samples"), expected)
    }
}
