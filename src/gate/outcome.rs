//! What became of a criterion at a scale: met, unmet, unproven or outside (ruling R14), with
//! everything that this rests on.

use serde::Serialize;

use super::citation::{Citation, as_text};
use super::criterion::{Criterion, Role};
use super::fact::Fact;
use super::gap::Gap;
use super::rule::Rule;
use crate::evidence::{Metric, Value};
use crate::scale::Scale;

/// The answer to a criterion at a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The evidence satisfies it.
    Met,
    /// The evidence violates it, or is not finite.
    Unmet,
    /// There is no evidence, or none that counts.
    Unproven,
    /// The protocol does not ask.
    Outside,
}

impl Status {
    pub(super) fn of(met: bool) -> Self {
        if met { Status::Met } else { Status::Unmet }
    }

    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Met => "met",
            Status::Unmet => "unmet",
            Status::Unproven => "unproven",
            Status::Outside => "outside",
        }
    }
}

/// One number that a finding rests on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SeedValue {
    /// The model.
    pub model: &'static str,
    /// The trial.
    pub seed: u64,
    /// What was measured.
    pub metric: Metric,
    /// The number.
    pub value: Value,
    /// The number of the same subject that it is held against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<Value>,
    /// The measured 95 % interval, where the rule looks at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<[Value; 2]>,
}

/// What one rule comes to at one scale.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Of each thing that the rule demands.
    pub statuses: Vec<Status>,
    /// Every number looked at.
    pub values: Vec<SeedValue>,
    /// What was found.
    pub facts: Vec<Fact>,
    /// What is missing.
    pub gaps: Vec<Gap>,
    /// The 95 % interval over trials, of rules that have one.
    pub interval: Option<[Value; 2]>,
}

/// What one trial comes to: whether the rule is satisfied, and the number; or what is missing.
pub(super) type TrialResult = (Status, Option<SeedValue>, Option<Gap>);

impl Outcome {
    /// Adds what one trial comes to.
    pub(super) fn merge(&mut self, (status, value, gap): TrialResult) {
        self.statuses.push(status);
        self.values.extend(value);
        self.gaps.extend(gap);
    }

    /// One violation is enough; short of that, one gap is; and nothing asked proves nothing.
    pub(super) fn overall(&self) -> Status {
        if self.statuses.contains(&Status::Unmet) {
            Status::Unmet
        } else if self.statuses.is_empty() || self.statuses.iter().any(|&s| s != Status::Met) {
            Status::Unproven
        } else {
            Status::Met
        }
    }
}

/// What is missing: the first of it, and how much more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shortfall {
    /// The first.
    pub first: Gap,
    /// How many more.
    pub more: usize,
}

/// One criterion at one scale.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The criterion's id.
    pub criterion: &'static str,
    /// Its group.
    pub group: &'static str,
    /// The scale's label.
    pub scale: &'static str,
    /// Met, unmet, unproven or outside.
    pub status: Status,
    /// Whether it can change the verdict.
    #[serde(rename = "weight")]
    pub role: Role,
    /// What the criterion claims.
    pub claim: &'static str,
    /// What it demands.
    pub rule: Rule,
    /// What was found; nothing when there are no numbers.
    pub facts: Vec<Fact>,
    /// What is missing, when something is.
    pub missing: Option<Shortfall>,
    /// Why it is demanded.
    pub why: &'static str,
    /// Where the demand comes from; written as a line of text.
    #[serde(serialize_with = "as_text")]
    pub source: &'static [Citation],
    /// Every number looked at.
    pub values: Vec<SeedValue>,
    /// The 95 % interval over trials, of rules that have one.
    pub interval: Option<[Value; 2]>,
}

impl Finding {
    pub(super) fn new(
        criterion: &Criterion,
        role: Role,
        scale: &'static Scale,
        status: Status,
        outcome: Outcome,
    ) -> Self {
        let more = outcome.gaps.len().saturating_sub(1);
        let first = outcome.gaps.into_iter().next().filter(|_| status != Status::Met);
        Finding {
            criterion: criterion.id,
            group: criterion.group,
            scale: scale.name,
            status,
            role,
            claim: criterion.claim,
            rule: criterion.rule,
            facts: outcome.facts,
            missing: first.map(|first| Shortfall { first, more }),
            why: criterion.why,
            source: criterion.source,
            values: outcome.values,
            interval: outcome.interval,
        }
    }
}
