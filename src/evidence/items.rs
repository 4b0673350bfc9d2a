//! The values behind a mean, item by item: whoever has them computes mean, interval and count again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Condition, CurveKind, Metric, Value};
use crate::statistics::mean;

/// Values of items, each of a group within which items are not independent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemValues {
    /// What an item counts for in the measurement's `n`: 1, or the tokens whose mean it is.
    pub weight: u64,
    /// The group of every item.
    pub groups: Vec<u64>,
    /// The value of every item, in the unit of the metric.
    pub values: Vec<Value>,
}

/// What was measured over which items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredItems {
    /// What was measured.
    pub metric: Metric,
    /// In which state of the model.
    pub condition: Condition,
    /// The point of a curve, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<(CurveKind, u64)>,
    /// The values.
    pub items: ItemValues,
}

impl ItemValues {
    /// Items in groups.
    pub fn new(weight: u64, items: impl IntoIterator<Item = (u64, f64)>) -> Self {
        let (groups, values) = items.into_iter().map(|(group, value)| (group, Value::from(value))).unzip();
        Self { weight, groups, values }
    }

    /// Items that are each a group by itself.
    pub fn independent(weight: u64, values: &[f64]) -> Self {
        Self::new(weight, (0..).zip(values.iter().copied()))
    }

    /// The mean of every group, in the order of the groups' numbers.
    pub fn group_means(&self) -> Vec<f64> {
        let mut groups: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for (group, value) in self.groups.iter().zip(&self.values) {
            groups.entry(*group).or_default().push(value.raw());
        }
        groups.values().map(|values| mean(values)).collect()
    }

    /// What the measurement counts.
    pub fn count(&self) -> u64 {
        self.weight.saturating_mul(self.values.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_means_of_their_items() {
        let items = ItemValues::new(3, [(7, 0.25), (2, 1.0), (7, 0.75)]);
        assert_eq!((items.group_means(), items.count()), (vec![1.0, 0.5], 9));
        assert_eq!(ItemValues::independent(1, &[3.0, 4.0]).group_means(), [3.0, 4.0]);
    }
}
