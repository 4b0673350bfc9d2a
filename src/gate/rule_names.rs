//! Short names of the shapes, for the rows of the table.

use super::rule::{
    AgreementRule, CompositeRule, ContrastRule, Effect, HistoryRule, Identity, LawRule, MeanRule, PairedRule,
    ProvenanceRule, RatioThreshold, Rule, ScalingRule, SingleRule, Threshold, TrialRule, TrialsRule,
};
use crate::evidence::{Field, Metric};

impl Rule {
    pub(super) const HOLDS: Self = Self::trial(TrialRule::Holds);
    pub(super) const FINITE: Self = Self::trial(TrialRule::Finite);
    pub(super) const ABOVE_CHANCE: Self = Self::trial(TrialRule::AboveChance);
    pub(super) const SAME_ITEMS: Self = Rule::Paired(PairedRule::Trial(AgreementRule::SameItems));
    pub(super) const MEASURABLY_BETTER: Self = Self::contrast(ContrastRule::MeasurablyBetter);
    pub(super) const NOT_MEASURABLY_WORSE: Self = Self::contrast(ContrastRule::NotMeasurablyWorse);
    pub(super) const EITHER_ABOVE_CHANCE: Self = Self::contrast(ContrastRule::EitherAboveChance);
    pub(super) const LAW_STEEPER: Self = Self::Scaling(ScalingRule::Law(LawRule::Steeper));

    const fn trial(rule: TrialRule) -> Self {
        Rule::Single(SingleRule::Trial(rule))
    }

    const fn value(threshold: Threshold) -> Self {
        Self::trial(TrialRule::Value(threshold))
    }

    const fn contrast(rule: ContrastRule) -> Self {
        Rule::Paired(PairedRule::Trials(rule))
    }

    const fn ratio(threshold: RatioThreshold) -> Self {
        Self::contrast(ContrastRule::Ratio(threshold))
    }

    pub(super) const fn at_least(limit: f64) -> Self {
        Self::value(Threshold::AtLeast(limit))
    }

    pub(super) const fn at_most(limit: f64) -> Self {
        Self::value(Threshold::AtMost(limit))
    }

    pub(super) const fn above(limit: f64) -> Self {
        Self::value(Threshold::Above(limit))
    }

    pub(super) const fn below(limit: f64) -> Self {
        Self::value(Threshold::Below(limit))
    }

    pub(super) const fn within(low: f64, high: f64) -> Self {
        Self::value(Threshold::Within(low, high))
    }

    pub(super) const fn less_than(other: Metric) -> Self {
        Self::trial(TrialRule::LessThan(other))
    }

    pub(super) const fn at_chance(within: f64) -> Self {
        Self::trial(TrialRule::AtChance(within))
    }

    pub(super) const fn lower_above(limit: f64) -> Self {
        Self::trial(TrialRule::LowerAbove(limit))
    }

    pub(super) const fn upper_at_most(limit: f64) -> Self {
        Self::trial(TrialRule::UpperAtMost(limit))
    }

    pub(super) const fn mean_at_least(limit: f64) -> Self {
        Rule::Single(SingleRule::Mean(MeanRule::AtLeast(limit)))
    }

    pub(super) const fn mean_is(other: Metric) -> Self {
        Rule::Single(SingleRule::Mean(MeanRule::Is(other)))
    }

    pub(super) const fn steady(effect: f64) -> Self {
        Rule::Single(SingleRule::Trials(TrialsRule::Steady(effect)))
    }

    pub(super) const fn equivalent(share: f64) -> Self {
        Rule::Single(SingleRule::Trials(TrialsRule::Equivalent(share)))
    }

    pub(super) const fn scatters(least: f64) -> Self {
        Rule::Single(SingleRule::Trials(TrialsRule::Scatters(least)))
    }

    pub(super) const fn identity(identity: Identity) -> Self {
        Rule::Single(SingleRule::Identity(identity))
    }

    pub(super) const fn matched(share: f64) -> Self {
        Rule::Paired(PairedRule::Trial(AgreementRule::Matched(share)))
    }

    pub(super) const fn ratio_within(low: f64, high: f64) -> Self {
        Rule::Paired(PairedRule::Trial(AgreementRule::RatioWithin(low, high)))
    }

    pub(super) const fn ratio_at_most(limit: f64) -> Self {
        Self::ratio(RatioThreshold::RatioAtMost(limit))
    }

    pub(super) const fn ratio_at_least(limit: f64) -> Self {
        Self::ratio(RatioThreshold::RatioAtLeast(limit))
    }

    pub(super) const fn ratio_below(limit: f64) -> Self {
        Self::ratio(RatioThreshold::RatioBelow(limit))
    }

    pub(super) const fn ratio_above(limit: f64) -> Self {
        Self::ratio(RatioThreshold::RatioAbove(limit))
    }

    pub(super) const fn non_inferior(limit: f64) -> Self {
        Self::contrast(ContrastRule::NonInferior(limit))
    }

    pub(super) const fn significantly_better(effect: Effect) -> Self {
        Self::contrast(ContrastRule::SignificantlyBetter(effect))
    }

    pub(super) const fn not_significantly_worse(effect: Effect) -> Self {
        Self::contrast(ContrastRule::NotSignificantlyWorse(effect))
    }

    pub(super) const fn same(field: Field) -> Self {
        Rule::Provenance(ProvenanceRule::Same(field))
    }

    pub(super) const fn distinct(field: Field) -> Self {
        Rule::Provenance(ProvenanceRule::Distinct(field))
    }

    pub(super) const fn one_source(field: Field) -> Self {
        Rule::Provenance(ProvenanceRule::OneSource(field))
    }

    pub(super) const fn falls_like(from: &'static str, share: f64) -> Self {
        Rule::Scaling(ScalingRule::FallsLike(from, share))
    }

    pub(super) const fn law_fits(least: f64) -> Self {
        Rule::Scaling(ScalingRule::Law(LawRule::Fits(least)))
    }

    pub(super) const fn law_parallel(share: f64) -> Self {
        Rule::Scaling(ScalingRule::Law(LawRule::Parallel(share)))
    }

    pub(super) const fn all(ids: &'static [&'static str]) -> Self {
        Rule::Composite(CompositeRule::All(ids))
    }

    pub(super) const fn at_least_of(n: usize, ids: &'static [&'static str]) -> Self {
        Rule::Composite(CompositeRule::AtLeastOf(n, ids))
    }

    pub(super) const fn not_in_a_row(n: usize, ids: &'static [&'static str]) -> Self {
        Rule::History(HistoryRule::NotInARow(n, ids))
    }
}
