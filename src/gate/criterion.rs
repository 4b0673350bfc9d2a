//! The shapes that a demand can take. A criterion is data: its rule is one of a few closed
//! shapes, so every demand can be printed, listed and driven by a test. Nothing here decides.

use serde::Serialize;

use super::criteria::CRITERIA;
use super::{GPT2, GROUNDTHINK};
use crate::evidence::{Condition, Field, Metric, Value};
use crate::scale::{Scale, Tier};

/// What an answer does to the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// Unmet fails, unproven leaves the verdict incomplete.
    Required,
    /// Does not decide by itself, but a required row is made of it and others.
    Part,
    /// Shown; cannot change the verdict.
    Informs,
}

impl Weight {
    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Weight::Required => "required",
            Weight::Part => "part of a required row",
            Weight::Informs => "informs only",
        }
    }
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
    /// A ratio: more by this share where more is better, less by this share where less is; of seconds, the
    /// speed is more by this share.
    Relative(f64),
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
    /// The lower end of the measured 95 % interval is more.
    LowerAbove(f64),
    /// The upper end of the measured 95 % interval is no more.
    UpperAtMost(f64),
    /// In every trial the mean of the metrics is no less.
    MeanAtLeast(f64),
    /// In every trial the mean of the metrics is this other metric, up to rounding.
    MeanIs(Metric),
    /// The scatter over trials is so small that ruling R7 can see a relative effect of this size
    /// between two models that scatter alike: 2·√2·s / mean is no more.
    Steady(f64),
    /// Over the trials the value, a ratio, is equivalent to 1 within this share, by two one-sided
    /// tests at 5 % of its logarithm.
    Equivalent(f64),
    /// In every trial the models' values differ by at most this share of GPT-2's.
    Matched(f64),
    /// In every trial GroundThink's value divided by GPT-2's lies between both.
    RatioWithin(f64, f64),
    /// GroundThink's mean is at most this many times GPT-2's.
    RatioAtMost(f64),
    /// GroundThink's mean is at least this many times GPT-2's.
    RatioAtLeast(f64),
    /// GroundThink's mean is less than this many times GPT-2's.
    RatioBelow(f64),
    /// GroundThink's mean is more than this many times GPT-2's.
    RatioAbove(f64),
    /// The upper 95 % bound of the perplexity ratio is at most this (ruling R6; asked of losses).
    NonInferior(f64),
    /// GroundThink is better by ruling R7: both statistically and practically.
    SignificantlyBetter(Effect),
    /// GPT-2 is not better by ruling R7.
    NotSignificantlyWorse(Effect),
    /// The paired 95 % interval of GroundThink's advantage lies above zero.
    MeasurablyBetter,
    /// The paired 95 % interval of GroundThink's advantage does not lie below zero.
    NotMeasurablyWorse,
    /// At least one model's 95 % interval over the trials lies above 1/K (ruling R17).
    EitherAboveChance,
    /// In every trial both models' values come from the same thing.
    SameProvenance(Field),
    /// Every trial of either model has one of its own.
    DistinctProvenance(Field),
    /// Everything measured of a trained model in one trial names the same one.
    OneSource(Field),
    /// From the named scale to this one, GroundThink's mean falls by at least this share of what
    /// GPT-2's falls by.
    FallsLike(&'static str, f64),
    /// Over all scales, the scaling law of each model explains at least this share of the variance
    /// of the logarithms.
    LawFits(f64),
    /// Over all scales, the exponents of the models' scaling laws differ by at most this share of
    /// GPT-2's.
    LawParallel(f64),
    /// Over all scales, GroundThink's scaling law is at least as steep as GPT-2's.
    LawSteeper,
    /// The named criteria are met, those of them that are asked at this scale.
    All(&'static [&'static str]),
    /// At least so many of the named criteria are met.
    AtLeastOf(usize, &'static [&'static str]),
    /// Not so many iterations in a row, the recorded ones and the present one last, lacked any of
    /// the named criteria.
    NotInARow(usize, &'static [&'static str]),
}

/// A row made of no more rows than this names them.
const NAMED: usize = 9;

/// How far a control may be from its exact value: sums of 1/K round.
pub(super) const EXACT: f64 = 1e-9;

/// Which part of the gate answers a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Looks at each model by itself.
    Single,
    /// Compares the models trial by trial.
    Pair,
    /// Looks at where numbers come from.
    Source,
    /// Looks at several scales.
    Scales,
    /// Looks at other findings.
    Composite,
    /// Looks at earlier rulings.
    History,
}

impl Rule {
    pub(super) const fn kind(self) -> Kind {
        match self {
            Rule::Matched(_)
            | Rule::RatioWithin(..)
            | Rule::RatioAtMost(_)
            | Rule::RatioAtLeast(_)
            | Rule::RatioBelow(_)
            | Rule::RatioAbove(_)
            | Rule::NonInferior(_)
            | Rule::SignificantlyBetter(_)
            | Rule::NotSignificantlyWorse(_)
            | Rule::MeasurablyBetter
            | Rule::NotMeasurablyWorse
            | Rule::EitherAboveChance => Kind::Pair,
            Rule::SameProvenance(_) | Rule::DistinctProvenance(_) | Rule::OneSource(_) => Kind::Source,
            Rule::FallsLike(..) | Rule::LawFits(_) | Rule::LawParallel(_) | Rule::LawSteeper => Kind::Scales,
            Rule::All(_) | Rule::AtLeastOf(..) => Kind::Composite,
            Rule::NotInARow(..) => Kind::History,
            _ => Kind::Single,
        }
    }

    /// Whether it holds the two models against each other.
    pub const fn compares(self) -> bool {
        match self {
            Rule::SameProvenance(_) | Rule::FallsLike(..) | Rule::LawParallel(_) | Rule::LawSteeper => true,
            rule => matches!(rule.kind(), Kind::Pair),
        }
    }

    /// The other criteria that it is made of.
    pub const fn parts(self) -> &'static [&'static str] {
        match self {
            Rule::All(ids) | Rule::AtLeastOf(_, ids) | Rule::NotInARow(_, ids) => ids,
            _ => &[],
        }
    }

    /// The demand in a few words.
    pub fn demanded(self) -> String {
        let percent = |share: f64| format!("{} %", Value::from(100.0 * share));
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
            Rule::LowerAbove(limit) => format!("lower 95 % bound > {limit}"),
            Rule::UpperAtMost(limit) => format!("upper 95 % bound <= {}", Value::from(limit)),
            Rule::MeanAtLeast(limit) => format!("mean >= {limit}"),
            Rule::MeanIs(other) => format!("mean = {}", other.id()),
            Rule::Steady(effect) => format!("2·√2·s <= {} of the mean", percent(effect)),
            Rule::Equivalent(share) => format!("equivalent within {} (two one-sided tests)", percent(share)),
            Rule::Matched(share) if share <= 0.0 => "equal".to_owned(),
            Rule::Matched(share) => format!("within {}", percent(share)),
            Rule::RatioWithin(low, high) => {
                format!("ratio in [{}, {}]", Value::from(low), Value::from(high))
            }
            Rule::RatioAtMost(limit) => format!("ratio of means <= {}", Value::from(limit)),
            Rule::RatioAtLeast(limit) => format!("ratio of means >= {}", Value::from(limit)),
            Rule::RatioBelow(limit) => format!("ratio of means < {}", Value::from(limit)),
            Rule::RatioAbove(limit) => format!("ratio of means > {}", Value::from(limit)),
            Rule::NonInferior(limit) => {
                let sign = if limit > 1.0 { "<=" } else { "<" };
                format!("95 % bound of perplexity ratio {sign} {limit}")
            }
            Rule::SignificantlyBetter(effect) => {
                format!("better beyond trials' scatter and {}", effect.text())
            }
            Rule::NotSignificantlyWorse(effect) => {
                format!("not worse beyond both trials' scatter and {}", effect.text())
            }
            Rule::MeasurablyBetter => "95 % interval of the advantage > 0".to_owned(),
            Rule::NotMeasurablyWorse => "95 % interval of the advantage not < 0".to_owned(),
            Rule::EitherAboveChance => "one model's 95 % interval > 1/K".to_owned(),
            Rule::SameProvenance(Field::Fed) => "the same batches consumed".to_owned(),
            Rule::SameProvenance(field) => format!("same {}", field.name()),
            Rule::DistinctProvenance(field) => format!("{} of its own in every trial", field.name()),
            Rule::OneSource(field) => format!("the same {} throughout each trial", field.name()),
            Rule::FallsLike(from, share) => format!("since {from}, >= {} of GPT-2's fall", percent(share)),
            Rule::LawFits(r2) => format!("R² > {r2} for both models"),
            Rule::LawParallel(share) => format!("exponents within {}", percent(share)),
            Rule::LawSteeper => "exponent >= GPT-2's".to_owned(),
            Rule::All(ids) if ids.len() > NAMED => {
                format!("all met of the {} rows that `v5gate explain` names", ids.len())
            }
            Rule::All(ids) => format!("all met of {}", ids.join(", ")),
            Rule::AtLeastOf(n, ids) => format!("at least {n} met of {}", ids.join(", ")),
            Rule::NotInARow(n, ids) => {
                format!("no {n} iterations in a row that lack any of {}", ids.join(", "))
            }
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
            Effect::Relative(share) => format!("by > {} %", 100.0 * share),
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
    /// A row of this one's family.
    pub(super) const fn row(
        self,
        id: &'static str,
        claim: &'static str,
        why: &'static str,
        source: &'static str,
    ) -> Self {
        Criterion { id, claim, why, source, ..self }
    }

    /// The same, asking this of these.
    pub(super) const fn asks(self, metrics: &'static [Metric], rule: Rule) -> Self {
        Criterion { metrics, rule, ..self }
    }

    /// The same, made of other rows.
    pub(super) const fn made(self, rule: Rule) -> Self {
        Criterion { metrics: &[], rule, ..self }
    }

    /// The same, about these models.
    pub(super) const fn of(self, of: Of) -> Self {
        Criterion { of, ..self }
    }

    /// The same, at these scales only.
    pub(super) const fn at(self, scales: &'static [&'static str]) -> Self {
        Criterion { scales, ..self }
    }

    /// The same, required at these tiers and informing at those.
    pub(super) const fn tiers(self, required: &'static [Tier], informs: &'static [Tier]) -> Self {
        Criterion { required, informs, ..self }
    }

    /// The same under another condition.
    pub(super) const fn under(self, condition: Condition) -> Self {
        Criterion { condition, ..self }
    }

    /// What it weighs at a scale; `None` where it is not asked.
    pub fn weight(&self, scale: &Scale) -> Option<Weight> {
        if !self.scales.is_empty() && !self.scales.contains(&scale.name) {
            None
        } else if self.required.contains(&scale.tier) {
            Some(Weight::Required)
        } else if !self.informs.contains(&scale.tier) {
            None
        } else if CRITERIA.iter().any(|c| c.depends_on(self.id) && decides(c, scale)) {
            Some(Weight::Part)
        } else {
            Some(Weight::Informs)
        }
    }

    fn depends_on(&self, id: &str) -> bool {
        matches!(self.rule.kind(), Kind::Composite | Kind::History) && self.rule.parts().contains(&id)
    }
}

/// Whether a row can change the verdict at a scale, by itself or within another.
fn decides(c: &Criterion, scale: &Scale) -> bool {
    matches!(c.weight(scale), Some(Weight::Required | Weight::Part))
}
