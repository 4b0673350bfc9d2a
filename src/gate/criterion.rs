//! What a criterion is: data. One row of the table says what is demanded, of whom, where and why.

use serde::Serialize;

use super::citation::{Citation, as_text};
use super::rule::Rule;
use crate::evidence::{Condition, Metric};
use crate::scale::Tier;

/// The architecture on trial.
pub const GROUNDTHINK: &str = "groundthink";
/// The baseline.
pub const GPT2: &str = "gpt2";

/// What an outcome does to the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Unmet fails, unproven leaves the verdict incomplete.
    Required,
    /// Does not decide by itself, but a required row is made of it and others.
    #[serde(rename = "part")]
    Contributing,
    /// Shown; cannot change the verdict.
    #[serde(rename = "informs")]
    Informational,
}

impl Role {
    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Required => "required",
            Role::Contributing => "part of a required row",
            Role::Informational => "informs only",
        }
    }
}

/// Which models are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelScope {
    /// Both models, each by itself.
    Each,
    /// The architecture on trial.
    GroundThink,
    /// The baseline.
    Gpt2,
    /// Both models, one against the other, trial by trial.
    Pair,
}

impl ModelScope {
    /// The models asked.
    pub const fn models(self) -> &'static [&'static str] {
        match self {
            ModelScope::Each | ModelScope::Pair => &[GROUNDTHINK, GPT2],
            ModelScope::GroundThink => &[GROUNDTHINK],
            ModelScope::Gpt2 => &[GPT2],
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Criterion {
    /// Stable name.
    pub id: &'static str,
    /// The heading under which it is reported.
    pub group: &'static str,
    /// A sentence that is true when the criterion is met.
    pub claim: &'static str,
    /// Why it is demanded, or what follows when it is not met.
    pub why: &'static str,
    /// Where it comes from; written as a line of text.
    #[serde(serialize_with = "as_text")]
    pub source: &'static [Citation],
    /// Tiers at which it must be met.
    pub required: &'static [Tier],
    /// Tiers at which it is shown only.
    pub informs: &'static [Tier],
    /// The scales it is about; every one of those tiers when empty.
    pub scales: &'static [&'static str],
    /// Which models are asked.
    #[serde(rename = "of")]
    pub scope: ModelScope,
    /// In what state they are asked.
    pub condition: Condition,
    /// What is looked at.
    pub metrics: &'static [Metric],
    /// The demand.
    pub rule: Rule,
}
