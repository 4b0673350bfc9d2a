//! The role of a criterion at a scale: it depends on the rows that are made of it.

use super::criteria::CRITERIA;
use super::criterion::{Criterion, Role};
use crate::scale::Scale;

impl Criterion {
    /// Its role at a scale; `None` where it is not asked.
    pub fn role(&self, scale: &Scale) -> Option<Role> {
        if !self.scales.is_empty() && !self.scales.contains(&scale.name) {
            None
        } else if self.required.contains(&scale.tier) {
            Some(Role::Required)
        } else if !self.informs.contains(&scale.tier) {
            None
        } else if CRITERIA.iter().any(|c| c.rule.parts().contains(&self.id) && decides(c, scale)) {
            Some(Role::Contributing)
        } else {
            Some(Role::Informational)
        }
    }
}

/// Whether a row can change the verdict at a scale, by itself or within another.
fn decides(c: &Criterion, scale: &Scale) -> bool {
    matches!(c.role(scale), Some(Role::Required | Role::Contributing))
}
