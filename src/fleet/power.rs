//! What the promised trials will be able to tell, foretold from those that are there.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::collect::REVISION;
use crate::evidence::{Condition, Ledger, Metric};
use crate::protocol::Protocol;
use crate::statistics::{detectable_with, sd};

/// The metrics that the verdict compares over trials.
const COMPARED: [Metric; 2] = [Metric::ValidationLoss, Metric::StatefulnessScore];

/// What a protocol's trials can detect at one scale.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// The size.
    pub scale: String,
    /// What is compared.
    pub metric: Metric,
    /// Pairs of trials that are there.
    pub pairs: usize,
    /// Trials that are promised.
    pub trials: usize,
    /// The least mean difference that the paired t test at 5 % finds in four cases of five, in the metric's unit.
    pub detectable: f64,
    /// What the difference of means must exceed by ruling R7: twice the root of both models' variances.
    pub significant: f64,
}

/// One forecast for every scale and metric of which two pairs of trials or more are there.
pub fn forecast(protocol: &Protocol, ledger: &Ledger) -> Vec<Forecast> {
    let [baseline, candidate] = protocol.models.as_slice() else { return Vec::new() };
    let mut values: BTreeMap<(&str, Metric, &str, u64), f64> = BTreeMap::new();
    for m in ledger.measurements() {
        let (of, metric) = (m.subject(), m.metric());
        let counts = COMPARED.contains(&metric)
            && of.condition == Condition::Trained
            && m.provenance().revision == REVISION;
        if let Some(value) = m.value().finite().filter(|_| counts) {
            values.insert((of.scale.as_str(), metric, of.model.as_str(), of.seed), value);
        }
    }
    let mut all = Vec::new();
    for scale in protocol.scales() {
        for metric in COMPARED {
            let of = |model: &str, seed: u64| values.get(&(scale.name, metric, model, seed)).copied();
            let pair = |&seed: &u64| Some((of(baseline, seed)?, of(candidate, seed)?));
            let pairs: Vec<(f64, f64)> = protocol.seeds.iter().filter_map(pair).collect();
            let differences: Vec<f64> = pairs.iter().map(|(a, b)| b - a).collect();
            let (first, second): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
            let trials = protocol.seeds.len();
            let found = sd(&differences).and_then(|sd| detectable_with(sd, trials));
            if let (Some(detectable), Some(a), Some(b)) = (found, sd(&first), sd(&second)) {
                let (scale, pairs, significant) = (scale.name.to_owned(), pairs.len(), 2.0 * a.hypot(b));
                all.push(Forecast { scale, metric, pairs, trials, detectable, significant });
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_foretold_from_nothing() {
        let protocol = Protocol::load("full").unwrap();
        assert_eq!(forecast(&protocol, &Ledger::default()), []);
    }
}
