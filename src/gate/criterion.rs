//! The shapes that a demand can take. A criterion is data: its rule is one of a few closed
//! shapes, so every demand can be printed, listed and driven by a test. Nothing here decides.

use serde::Serialize;

use super::{GPT2, GROUNDTHINK};
use crate::evidence::{Condition, Field, Metric};
use crate::scale::{Scale, Tier};

/// What an answer does to the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// Unmet fails, unproven leaves the verdict incomplete.
    Required,
    /// Shown; cannot change the verdict.
    Informs,
}

/// Which models are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// Both models, each by itself.
    Each,
    /// The architecture on trial.
    GroundThink,
    /// The baseline.
    Gpt2,
    /// Both models, one against the other, trial by trial.
    Pair,
}

impl Of {
    /// The models asked.
    pub const fn models(self) -> &'static [&'static str] {
        match self {
            Of::Each | Of::Pair => &[GROUNDTHINK, GPT2],
            Of::GroundThink => &[GROUNDTHINK],
            Of::Gpt2 => &[GPT2],
        }
    }
}

/// The least difference that counts in practice (ruling R7).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// A difference of more than this, in the metric's unit.
    Absolute(f64),
    /// Of a loss: the perplexity it means is lower by more than this share.
    Perplexity(f64),
}

/// The demand itself. Where a criterion names several metrics, it is made of each.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The value is 1.
    Holds,
    /// The value is a finite number.
    Finite,
    /// The value is no less.
    AtLeast(f64),
    /// The value is no more.
    AtMost(f64),
    /// The value is more.
    Above(f64),
    /// The value is less.
    Below(f64),
    /// The value lies between both, ends included.
    Within(f64, f64),
    /// The value is less than another of the same subject.
    LessThan(Metric),
    /// The lower end of the measured 95 % interval is above 1/K of the same subject.
    AboveChance,
    /// The value differs from 1/K of the same subject by no more than this.
    AtChance(f64),
    /// In every trial the models' values differ by at most this share of GPT-2's.
    Matched(f64),
    /// In every trial GroundThink's value divided by GPT-2's lies between both.
    RatioWithin(f64, f64),
    /// GroundThink's mean is at most this many times GPT-2's.
    RatioAtMost(f64),
    /// GroundThink's mean is at least this many times GPT-2's.
    RatioAtLeast(f64),
    /// The upper 95 % bound of the perplexity ratio is at most this (ruling R6; asked of losses).
    NonInferior(f64),
    /// GroundThink is better by ruling R7: both statistically and practically.
    SignificantlyBetter(Effect),
    /// GPT-2 is not better by ruling R7.
    NotSignificantlyWorse(Effect),
    /// The paired 95 % interval of GroundThink's advantage lies above zero.
    MeasurablyBetter,
    /// At least one model's 95 % interval over the trials lies above 1/K (ruling R17).
    EitherAboveChance,
    /// In every trial both models' values come from the same thing.
    SameProvenance(Field),
    /// Nothing measures this yet: always unproven, so that its absence cannot pass.
    Awaits(&'static str),
}

/// How far a control may be from its exact value: sums of 1/K round.
pub(super) const EXACT: f64 = 1e-9;

impl Rule {
    /// Whether it compares the two models.
    pub const fn compares(self) -> bool {
        matches!(
            self,
            Rule::Matched(_)
                | Rule::RatioWithin(..)
                | Rule::RatioAtMost(_)
                | Rule::RatioAtLeast(_)
                | Rule::NonInferior(_)
                | Rule::SignificantlyBetter(_)
                | Rule::NotSignificantlyWorse(_)
                | Rule::MeasurablyBetter
                | Rule::EitherAboveChance
                | Rule::SameProvenance(_)
        )
    }

    /// The demand in a few words.
    pub fn demanded(self) -> String {
        match self {
            Rule::Holds => "yes".to_owned(),
            Rule::Finite => "a finite number".to_owned(),
            Rule::AtLeast(limit) => format!(">= {limit}"),
            Rule::AtMost(limit) => format!("<= {limit}"),
            Rule::Above(limit) => format!("> {limit}"),
            Rule::Below(limit) => format!("< {limit}"),
            Rule::Within(low, high) => format!("in [{low}, {high}]"),
            Rule::LessThan(other) => format!("< {}", other.id()),
            Rule::AboveChance => "lower 95 % bound > 1/K".to_owned(),
            Rule::AtChance(within) if within <= EXACT => "exactly 1/K".to_owned(),
            Rule::AtChance(within) => format!("1/K ± {within}"),
            Rule::Matched(share) if share <= 0.0 => "equal".to_owned(),
            Rule::Matched(share) => format!("within {} %", 100.0 * share),
            Rule::RatioWithin(low, high) => format!("ratio in [{low}, {high}]"),
            Rule::RatioAtMost(limit) => format!("ratio of means <= {limit}"),
            Rule::RatioAtLeast(limit) => format!("ratio of means >= {limit}"),
            Rule::NonInferior(limit) => format!("95 % bound of perplexity ratio <= {limit}"),
            Rule::SignificantlyBetter(effect) => {
                format!("better beyond trials' scatter and {}", effect.text())
            }
            Rule::NotSignificantlyWorse(effect) => {
                format!("not worse beyond both trials' scatter and {}", effect.text())
            }
            Rule::MeasurablyBetter => "95 % interval of the advantage > 0".to_owned(),
            Rule::EitherAboveChance => "one model's 95 % interval > 1/K".to_owned(),
            Rule::SameProvenance(field) => format!("same {}", field.name()),
            Rule::Awaits(what) => what.to_owned(),
        }
    }
}

impl Effect {
    fn text(self) -> String {
        match self {
            Effect::Absolute(least) => format!("by > {least}"),
            Effect::Perplexity(share) => {
                format!("perplexity by > {} %", 100.0 * share)
            }
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
    /// The ruling or section it comes from.
    pub source: &'static str,
    /// Tiers at which it must be met.
    pub required: &'static [Tier],
    /// Tiers at which it is shown only.
    pub informs: &'static [Tier],
    /// The scales it is about; every one of those tiers when empty.
    pub scales: &'static [&'static str],
    /// Which models are asked.
    pub of: Of,
    /// In what state they are asked.
    pub condition: Condition,
    /// What is looked at.
    pub metrics: &'static [Metric],
    /// The demand.
    pub rule: Rule,
}

impl Criterion {
    /// What it weighs at a scale; `None` where it is not asked.
    pub fn weight(&self, scale: &Scale) -> Option<Weight> {
        if !self.scales.is_empty() && !self.scales.contains(&scale.name) {
            None
        } else if self.required.contains(&scale.tier) {
            Some(Weight::Required)
        } else {
            self.informs.contains(&scale.tier).then_some(Weight::Informs)
        }
    }
}
