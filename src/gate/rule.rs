//! The shapes that a demand can take: a few closed ones in families, so that every demand can be
//! printed, listed and driven by a test. Nothing here decides.

use serde::Serialize;

use crate::evidence::{Field, Metric};

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

/// Which values are good: those on one side of a number, or between two.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Threshold {
    /// No less than this.
    AtLeast(f64),
    /// No more than this.
    AtMost(f64),
    /// More than this.
    Above(f64),
    /// Less than this.
    Below(f64),
    /// Between both, ends included.
    Within(f64, f64),
}

/// What a value may lie beyond a limit, as a share of it (ruling R6).
const SLACK: f64 = 1e-9;

impl Threshold {
    /// Whether a value is good; NaN never is. A limit that is met at equality is met a relative 1e-9 beyond it, so that
    /// rounding decides nothing (ruling R6).
    pub fn admits(self, x: f64) -> bool {
        let slack = |limit: f64| SLACK * limit.abs();
        match self {
            Threshold::AtLeast(least) => x >= least - slack(least),
            Threshold::AtMost(most) => x <= most + slack(most),
            Threshold::Above(least) => x > least,
            Threshold::Below(most) => x < most,
            Threshold::Within(low, high) => {
                Threshold::AtLeast(low).admits(x) && Threshold::AtMost(high).admits(x)
            }
        }
    }

    /// The same in a unit of which this one's is so many.
    pub fn times(self, unit: f64) -> Self {
        match self {
            Threshold::AtLeast(least) => Threshold::AtLeast(least * unit),
            Threshold::AtMost(most) => Threshold::AtMost(most * unit),
            Threshold::Above(least) => Threshold::Above(least * unit),
            Threshold::Below(most) => Threshold::Below(most * unit),
            Threshold::Within(low, high) => Threshold::Within(low * unit, high * unit),
        }
    }
}

/// The demand itself. Where a criterion names several metrics, it is made of each.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Rule {
    /// Looks at each model by itself.
    Single(SingleRule),
    /// Compares the models trial by trial.
    Paired(PairedRule),
    /// Looks at where numbers come from.
    Provenance(ProvenanceRule),
    /// Looks at several scales.
    Scaling(ScalingRule),
    /// Looks at other findings.
    Composite(CompositeRule),
    /// Looks at earlier iterations.
    History(HistoryRule),
}

/// A demand of one model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum SingleRule {
    /// Of each metric in each trial.
    Trial(TrialRule),
    /// Of the mean over the metrics in each trial.
    Mean(MeanRule),
    /// Of each metric over the trials.
    Trials(TrialsRule),
    /// Of the metrics beside each other, in each trial.
    Identity(Identity),
}

/// A demand of one number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialRule {
    /// The value is 1.
    Holds,
    /// The value is a finite number.
    Finite,
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
    /// The value is good.
    #[serde(untagged)]
    Value(Threshold),
}

/// A demand of the mean of several metrics in one trial.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum MeanRule {
    /// It is no less.
    #[serde(rename = "mean_at_least")]
    AtLeast(f64),
    /// It is this other metric, up to rounding.
    #[serde(rename = "mean_is")]
    Is(Metric),
}

/// A demand of the trials of one model together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialsRule {
    /// The scatter over trials is so small that ruling R7 can see a relative effect of this size
    /// between two models that scatter alike: 2·√2·s / mean is no more.
    Steady(f64),
    /// Over the trials the value, a ratio, is equivalent to 1 within this share, by two one-sided
    /// tests at 5 % of its logarithm.
    Equivalent(f64),
    /// Over three or more trials the value scatters by at least this share of its mean: what scatters less was not
    /// measured anew in each trial, and proves nothing (ruling R25).
    Scatters(f64),
}

/// What the first of several metrics is in terms of the others (ruling R22).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// The exponential of the second.
    Exponential,
    /// The sum of the others.
    Sum,
    /// So many times the product of the others.
    Product(u8),
    /// The inverse of the product of the others.
    Inverse,
    /// The smaller of two others as a share of their sum.
    SmallerShare,
    /// No more than the second, and this much.
    AtMost(f64),
}

/// How far a metric may be from what others make of it. It is computed from the very numbers that the ledger has, in
/// at most four operations that each round by 1.1e-16, and an exponential makes an error in the loss larger by at most
/// the loss, which is below 100: in all below 1e-13, and this is ten times that.
pub const IDENTITY: f64 = 1e-12;

impl Identity {
    /// What the first metric has to be, by the others in their order.
    pub fn expected(self, others: &[f64]) -> f64 {
        let first = others.first().copied().unwrap_or(f64::NAN);
        let second = others.get(1).copied().unwrap_or(f64::NAN);
        match self {
            Identity::Exponential => first.exp(),
            Identity::Sum => others.iter().sum(),
            Identity::Product(times) => f64::from(times) * others.iter().product::<f64>(),
            Identity::Inverse => 1.0 / others.iter().product::<f64>(),
            Identity::SmallerShare => (if first < second { first } else { second }) / (first + second),
            Identity::AtMost(more) => first + more,
        }
    }

    /// Which values are good beside that.
    pub fn good(self, expected: f64) -> Threshold {
        let slack = IDENTITY * expected.abs();
        match self {
            Identity::AtMost(_) => Threshold::AtMost(expected),
            Identity::Exponential
            | Identity::Sum
            | Identity::Product(_)
            | Identity::Inverse
            | Identity::SmallerShare => Threshold::Within(expected - slack, expected + slack),
        }
    }
}

/// A demand of GroundThink's numbers beside GPT-2's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum PairedRule {
    /// In each trial.
    Trial(AgreementRule),
    /// Over the trials.
    Trials(ContrastRule),
}

/// A demand of both models' numbers in one trial.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AgreementRule {
    /// The values differ by at most this share of GPT-2's.
    Matched(f64),
    /// GroundThink's value divided by GPT-2's lies between both.
    RatioWithin(f64, f64),
    /// The values are means over as many items.
    SameItems,
}

/// A demand of both models' numbers over the trials.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ContrastRule {
    /// The upper 95 % bound of the perplexity ratio is at most this (ruling R6). For losses in nats alone: the ratio
    /// is the exponential of their difference. A ratio of anything else is a [`RatioThreshold`].
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
    /// GroundThink's mean divided by GPT-2's is good.
    #[serde(untagged)]
    Ratio(RatioThreshold),
}

/// Which ratios of means are good.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RatioThreshold {
    /// GroundThink's mean is at most this many times GPT-2's.
    RatioAtMost(f64),
    /// GroundThink's mean is at least this many times GPT-2's.
    RatioAtLeast(f64),
    /// GroundThink's mean is less than this many times GPT-2's.
    RatioBelow(f64),
    /// GroundThink's mean is more than this many times GPT-2's.
    RatioAbove(f64),
}

impl RatioThreshold {
    /// The ratios that are good.
    pub const fn threshold(self) -> Threshold {
        match self {
            RatioThreshold::RatioAtMost(most) => Threshold::AtMost(most),
            RatioThreshold::RatioAtLeast(least) => Threshold::AtLeast(least),
            RatioThreshold::RatioBelow(most) => Threshold::Below(most),
            RatioThreshold::RatioAbove(least) => Threshold::Above(least),
        }
    }
}

/// A demand of where numbers come from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProvenanceRule {
    /// In every trial both models' values come from the same thing.
    #[serde(rename = "same_provenance")]
    Same(Field),
    /// Every trial of either model has one of its own.
    #[serde(rename = "distinct_provenance")]
    Distinct(Field),
    /// Everything measured of a trained model in one trial names the same one.
    OneSource(Field),
}

/// A demand of the means at several scales.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScalingRule {
    /// From the named scale to this one, GroundThink's mean falls by at least this share of what
    /// GPT-2's falls by.
    FallsLike(&'static str, f64),
    /// Over all scales, of the models' scaling laws.
    #[serde(untagged)]
    Law(LawRule),
}

/// A demand of the models' scaling laws.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum LawRule {
    /// The law of each model explains at least this share of the variance of the logarithms.
    #[serde(rename = "law_fits")]
    Fits(f64),
    /// The exponents differ by at most this share of GPT-2's.
    #[serde(rename = "law_parallel")]
    Parallel(f64),
    /// GroundThink's law is at least as steep as GPT-2's.
    #[serde(rename = "law_steeper")]
    Steeper,
}

/// A demand of other findings at the same scale.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CompositeRule {
    /// The named criteria are met, those of them that are asked at this scale.
    All(&'static [&'static str]),
    /// At least so many of the named criteria are met.
    AtLeastOf(usize, &'static [&'static str]),
}

/// A demand of the iterations so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryRule {
    /// Not so many iterations in a row, the recorded ones and the present one last, lacked any of
    /// the named criteria.
    NotInARow(usize, &'static [&'static str]),
}

/// How far a control may be from its exact value: sums of 1/K round.
pub const EXACT: f64 = 1e-9;

impl Rule {
    /// Whether it holds the two models against each other.
    pub const fn compares(self) -> bool {
        match self {
            Rule::Paired(_) | Rule::Provenance(ProvenanceRule::Same(_)) => true,
            Rule::Scaling(ScalingRule::FallsLike(..)) => true,
            Rule::Scaling(ScalingRule::Law(LawRule::Parallel(_) | LawRule::Steeper)) => true,
            Rule::Single(_) | Rule::Composite(_) | Rule::History(_) => false,
            Rule::Provenance(ProvenanceRule::Distinct(_) | ProvenanceRule::OneSource(_)) => false,
            Rule::Scaling(ScalingRule::Law(LawRule::Fits(_))) => false,
        }
    }

    /// Whether each trial satisfies or violates it by itself, whatever the others show.
    pub const fn by_trial(self) -> bool {
        match self {
            Rule::Single(SingleRule::Trial(_) | SingleRule::Mean(_) | SingleRule::Identity(_)) => true,
            Rule::Paired(PairedRule::Trial(_)) => true,
            Rule::Single(SingleRule::Trials(_)) | Rule::Paired(PairedRule::Trials(_)) => false,
            Rule::Provenance(_) | Rule::Scaling(_) | Rule::Composite(_) | Rule::History(_) => false,
        }
    }

    /// The other criteria that it is made of.
    pub const fn parts(self) -> &'static [&'static str] {
        match self {
            Rule::Composite(CompositeRule::All(ids) | CompositeRule::AtLeastOf(_, ids)) => ids,
            Rule::History(HistoryRule::NotInARow(_, ids)) => ids,
            Rule::Single(_) | Rule::Paired(_) | Rule::Provenance(_) | Rule::Scaling(_) => &[],
        }
    }
}
