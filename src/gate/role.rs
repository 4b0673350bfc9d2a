//! What a criterion weighs at a scale: that depends on the rows that are made of it.

use super::criteria::CRITERIA;
use super::criterion::{Criterion, Weight};
use crate::scale::Scale;

impl Criterion {
    /// What it weighs at a scale; `None` where it is not asked.
    pub fn weight(&self, scale: &Scale) -> Option<Weight> {
        if !self.scales.is_empty() && !self.scales.contains(&scale.name) {
            None
        } else if self.required.contains(&scale.tier) {
            Some(Weight::Required)
        } else if !self.informs.contains(&scale.tier) {
            None
        } else if CRITERIA.iter().any(|c| c.rule.parts().contains(&self.id) && decides(c, scale)) {
            Some(Weight::Part)
        } else {
            Some(Weight::Informs)
        }
    }
}

/// Whether a row can change the verdict at a scale, by itself or within another.
fn decides(c: &Criterion, scale: &Scale) -> bool {
    matches!(c.weight(scale), Some(Weight::Required | Weight::Part))
}
