//! Rules made of other findings at the same scale.
//!
//! One row unmet is enough to make `All` unmet; `AtLeastOf` is unmet once too few can still be met.
//! Rows that are not asked at a scale are left out; if none is asked, nothing is proven.

use crate::gate::fact::Fact;
use crate::gate::outcome::{Finding, Outcome, Status};
use crate::gate::rule::CompositeRule;

/// What a rule made of the findings so far comes to; `None` while one of them is still to come.
pub(in crate::gate) fn evaluate(
    rule: CompositeRule,
    asked: &[&str],
    findings: &[Finding],
) -> Option<Outcome> {
    let (CompositeRule::All(ids) | CompositeRule::AtLeastOf(_, ids)) = rule;
    let parts = ids.iter().filter(|id| asked.contains(*id));
    let parts: Option<Vec<&Finding>> = parts.map(|id| findings.iter().find(|f| f.criterion == *id)).collect();
    let parts = parts?;
    let named = |status| -> Vec<&'static str> {
        parts.iter().filter(|f| f.status == status).map(|f| f.criterion).collect()
    };
    let (met, unmet) = (named(Status::Met).len(), named(Status::Unmet));
    let needed = match rule {
        CompositeRule::All(_) => parts.len(),
        CompositeRule::AtLeastOf(n, _) => n,
    };
    let status = if parts.is_empty() {
        Status::Unproven
    } else if met >= needed {
        Status::Met
    } else if parts.len() - unmet.len() < needed {
        Status::Unmet
    } else {
        Status::Unproven
    };
    let unproven = named(Status::Unproven);
    let parts = Fact::Parts { needed, asked: parts.len(), met, unmet, unproven };
    Some(Outcome { statuses: vec![status], facts: vec![parts], ..Outcome::default() })
}
