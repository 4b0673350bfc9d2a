//! Rules that compare GroundThink with GPT-2, trial by trial: trial k of both models has the same
//! seed, data order and evaluation items (ruling R7). A comparison over trials needs every
//! trial of the manifest, of both models, so that none can be left out because it disappoints.

use crate::evidence::{Condition, Direction, Metric, Value};
use crate::gate::criterion::{Criterion, GPT2, GROUNDTHINK};
use crate::gate::evidence_index::Evidence;
use crate::gate::fact::{Decisive, Estimate, Fact, Spread};
use crate::gate::gap::{Gap, ModelTrial};
use crate::gate::manifest::least_trials;
use crate::gate::outcome::{Outcome, SeedValue, Status};
use crate::gate::question::Query;
use crate::gate::rule::{AgreementRule, ContrastRule, Effect, PairedRule, RatioThreshold, Threshold};
use crate::statistics::{detectable, mean, sd, separation_rule, t_interval, trials_needed};

/// What a rule that compares the models comes to.
pub(in crate::gate) fn evaluate(
    rule: PairedRule,
    criterion: &Criterion,
    evidence: &Evidence<'_>,
    scale: &str,
) -> Outcome {
    let mut outcome = Outcome::default();
    for &metric in criterion.metrics {
        let pairs = Pairs::gather(evidence, scale, criterion.condition, metric, &mut outcome);
        match rule {
            PairedRule::Trial(rule) => pairs.trial_by_trial(rule, &mut outcome),
            PairedRule::Trials(rule) => pairs.over_trials(rule, evidence, &mut outcome),
        }
    }
    outcome
}

struct Pairs<'s> {
    scale: &'s str,
    condition: Condition,
    metric: Metric,
    seeds: Vec<u64>,
    /// Values of the trials that both models have.
    candidate: Vec<f64>,
    baseline: Vec<f64>,
    diverged: bool,
    complete: bool,
}

impl<'s> Pairs<'s> {
    fn gather(
        evidence: &Evidence<'_>,
        scale: &'s str,
        condition: Condition,
        metric: Metric,
        outcome: &mut Outcome,
    ) -> Self {
        let (mut candidate, mut baseline) = (Vec::new(), Vec::new());
        let (mut diverged, mut complete) = (false, true);
        let seeds = evidence.seeds().to_vec();
        for &seed in &seeds {
            let both = [GROUNDTHINK, GPT2].map(|model| {
                let found = evidence.find(Query { scale, seed, model, condition, metric });
                let found = found.map_err(|reason| {
                    let trial = ModelTrial { model, seed, scale: None };
                    outcome.gaps.push(Gap::Measurement { trial, condition, metric, reason: reason.owned() });
                });
                let value = found.ok()?.value();
                outcome.values.push(SeedValue { model, seed, metric, value, against: None, interval: None });
                diverged |= !metric.can_be(value.raw());
                Some(value.raw())
            });
            match both {
                [Some(one), Some(other)] => {
                    candidate.push(one);
                    baseline.push(other);
                }
                _ => complete = false,
            }
        }
        Pairs { scale, condition, metric, seeds, candidate, baseline, diverged, complete }
    }

    fn trial_by_trial(&self, rule: AgreementRule, outcome: &mut Outcome) {
        let pairs = self.candidate.iter().zip(&self.baseline);
        let ratios: Vec<f64> = pairs.clone().map(|(one, other)| one / other).collect();
        for ((one, other), ratio) in pairs.zip(&ratios) {
            outcome.statuses.push(Status::of(match rule {
                AgreementRule::Matched(share) => {
                    Threshold::AtMost(share * other.abs()).admits((one - other).abs())
                }
                AgreementRule::RatioWithin(low, high) => Threshold::Within(low, high).admits(*ratio),
                // Of these the numbers themselves say nothing.
                AgreementRule::SameItems => false,
            }));
        }
        outcome.statuses.extend(self.diverged.then_some(Status::Unmet));
        outcome.statuses.extend((!self.complete).then_some(Status::Unproven));
        let good = match rule {
            AgreementRule::Matched(share) => Threshold::Within(1.0 - share, 1.0 + share),
            AgreementRule::RatioWithin(low, high) => Threshold::Within(low, high),
            AgreementRule::SameItems => Threshold::Within(1.0, 1.0),
        };
        outcome.facts.extend(extremes(&ratios).map(|range| Fact::TrialRatios {
            metric: self.metric,
            candidate: Value::from(mean(&self.candidate)),
            baseline: Value::from(mean(&self.baseline)),
            range,
            worst: Estimate::worst(ratios.iter().map(|&ratio| Estimate::of(ratio, good))),
        }));
    }

    fn over_trials(&self, rule: ContrastRule, evidence: &Evidence<'_>, outcome: &mut Outcome) {
        let paired = self.paired();
        outcome.interval = paired.interval.map(|ends| ends.map(Value::from));
        if !self.candidate.is_empty() {
            let spread = |xs: &[f64]| Spread { mean: Value::from(mean(xs)), sd: sd(xs).map(Value::from) };
            let (candidate, baseline) = (spread(&self.candidate), spread(&self.baseline));
            outcome.facts.push(Fact::Means { metric: self.metric, candidate, baseline });
        }
        if self.diverged {
            outcome.statuses.push(Status::Unmet);
            return;
        }
        let (least, trials) = (least_trials(evidence), self.seeds.len());
        if trials < least {
            outcome.gaps.push(Gap::Trials { model: None, metric: self.metric, trials, least });
        }
        if !self.complete || trials < least {
            outcome.statuses.push(Status::Unproven);
            return;
        }
        let met = self.decide(rule, &paired, evidence, outcome);
        outcome.statuses.push(met.map_or(Status::Unproven, Status::of));
    }

    /// The differences of each trial, as an advantage: positive is better for GroundThink.
    fn paired(&self) -> PairedAdvantages {
        let sign = match self.metric.direction() {
            Direction::Lower => -1.0,
            Direction::Higher => 1.0,
            Direction::Neither => f64::NAN,
        };
        let pairs = self.candidate.iter().zip(&self.baseline);
        let advantages: Vec<f64> = pairs.map(|(one, other)| sign * (one - other)).collect();
        PairedAdvantages {
            interval: t_interval(&advantages),
            detectable: detectable(&advantages),
            advantages,
        }
    }

    /// Whether the rule is satisfied; `None` when what would tell cannot be computed.
    fn decide(
        &self,
        rule: ContrastRule,
        paired: &PairedAdvantages,
        evidence: &Evidence<'_>,
        outcome: &mut Outcome,
    ) -> Option<bool> {
        let means = (mean(&self.candidate), mean(&self.baseline));
        // Finite numbers can still overflow in the mean, and inf <= inf would hold.
        let overflows = !(means.0.is_finite() && means.1.is_finite());
        match rule {
            ContrastRule::EitherAboveChance => self.either_above_chance(evidence, outcome),
            _ if overflows => Some(false),
            ContrastRule::Ratio(good) => Some(self.ratio(good, means, outcome)),
            ContrastRule::NonInferior(limit) => self.non_inferior(limit, paired, outcome),
            ContrastRule::MeasurablyBetter => {
                let good = Threshold::Above(0.0);
                outcome.facts.push(self.difference(paired, good, Decisive::LowerEnd));
                paired.interval.map(|[low, _]| low > 0.0)
            }
            ContrastRule::NotMeasurablyWorse => {
                let good = Threshold::AtLeast(0.0);
                outcome.facts.push(self.difference(paired, good, Decisive::UpperEnd));
                paired.interval.map(|[_, high]| high >= 0.0)
            }
            ContrastRule::SignificantlyBetter(effect) => {
                self.significantly_better(effect, paired, means, outcome)
            }
            ContrastRule::NotSignificantlyWorse(effect) => {
                self.not_significantly_worse(effect, paired, means, outcome)
            }
        }
    }

    /// Whether means stand in the demanded ratio; below zero there is none.
    fn ratio(&self, good: RatioThreshold, (one, other): (f64, f64), outcome: &mut Outcome) -> bool {
        let estimate = Estimate::of(one / other, good.threshold());
        outcome.facts.push(Fact::Ratio { metric: self.metric, estimate });
        other >= 0.0 && good.threshold().times(other).admits(one)
    }

    /// Ruling R6. The advantage is of losses: a loss lower by x is a perplexity of exp(-x) times.
    fn non_inferior(&self, limit: f64, paired: &PairedAdvantages, outcome: &mut Outcome) -> Option<bool> {
        let [low, high] = paired.interval?;
        let (best, worst) = ((-high).exp(), (-low).exp());
        // "Exceeds" is strict: equal models do not exceed each other.
        let good = if limit > 1.0 { Threshold::AtMost(limit) } else { Threshold::Below(limit) };
        let ratio = Estimate::of((-mean(&paired.advantages)).exp(), good);
        let estimate = ratio.with(Some([best, worst]), Decisive::UpperEnd);
        outcome.interval = estimate.interval;
        outcome.facts.push(Fact::PerplexityRatio { metric: self.metric, estimate });
        Some(good.admits(worst))
    }

    fn significantly_better(
        &self,
        effect: Effect,
        paired: &PairedAdvantages,
        (one, other): (f64, f64),
        outcome: &mut Outcome,
    ) -> Option<bool> {
        let (difference, limit) = separation_rule(&self.candidate, &self.baseline)?;
        let (gain, least) = self.gain(effect, one, other);
        let good = Threshold::Above(self.least_gain(effect, other));
        outcome.facts.push(self.difference(paired, good, Decisive::Value));
        self.halves((difference, Threshold::Above(limit)), effect, (gain, Threshold::Above(least)), outcome);
        self.trials_needed(paired, effect, other, outcome);
        Some(difference > limit && gain > least)
    }

    fn not_significantly_worse(
        &self,
        effect: Effect,
        paired: &PairedAdvantages,
        (one, other): (f64, f64),
        outcome: &mut Outcome,
    ) -> Option<bool> {
        let (difference, limit) = separation_rule(&self.candidate, &self.baseline)?;
        let (loss, least) = self.gain(effect, other, one);
        let good = Threshold::AtLeast(-self.least_loss(effect, one, other));
        outcome.facts.push(self.difference(paired, good, Decisive::Value));
        self.halves(
            (difference, Threshold::AtMost(limit)),
            effect,
            (loss, Threshold::AtMost(least)),
            outcome,
        );
        Some(Threshold::AtMost(limit).admits(difference) || Threshold::AtMost(least).admits(loss))
    }

    /// Both halves of ruling R7: the difference of the means beside their scatter, and the gain
    /// beside the least that counts.
    fn halves(
        &self,
        (difference, scatter): (f64, Threshold),
        effect: Effect,
        (gain, least): (f64, Threshold),
        outcome: &mut Outcome,
    ) {
        let metric = self.metric;
        outcome.facts.push(Fact::Separation { metric, estimate: Estimate::of(difference, scatter) });
        outcome.facts.push(Fact::PracticalEffect { metric, effect, estimate: Estimate::of(gain, least) });
    }

    /// The paired advantage beside what it is held against, in the metric's unit.
    fn difference(&self, paired: &PairedAdvantages, good: Threshold, decided_by: Decisive) -> Fact {
        Fact::PairedDifference {
            metric: self.metric,
            trials: paired.advantages.len(),
            detectable: paired.detectable.map(Value::from),
            estimate: Estimate::of(mean(&paired.advantages), good).with(paired.interval, decided_by),
        }
    }

    /// How many trials the paired test needs to see the least effect that counts.
    fn trials_needed(&self, paired: &PairedAdvantages, effect: Effect, other: f64, outcome: &mut Outcome) {
        let wanted = match effect {
            Effect::Absolute(least) => least,
            Effect::Perplexity(share) => -(-share).ln_1p(),
            Effect::Relative(share) => share * other.abs(),
        };
        let trials = sd(&paired.advantages).and_then(|sd| trials_needed(sd, wanted));
        let (metric, effect) = (self.metric, Value::from(wanted));
        outcome.facts.extend(trials.map(|trials| Fact::TrialsNeeded { metric, trials, effect }));
    }

    /// The least gain on GPT-2's mean that counts, in the metric's unit.
    fn least_gain(&self, effect: Effect, baseline: f64) -> f64 {
        match effect {
            Effect::Absolute(least) => least,
            Effect::Perplexity(share) => -(-share).ln_1p(),
            // Faster by a share is a time of 1 / (1 + share).
            Effect::Relative(share) if self.metric.unit() == "s" => baseline - baseline / (1.0 + share),
            Effect::Relative(share) => share * baseline,
        }
    }

    /// The least loss of GroundThink against GPT-2 that counts, in the metric's unit.
    fn least_loss(&self, effect: Effect, candidate: f64, baseline: f64) -> f64 {
        match effect {
            Effect::Absolute(least) => least,
            Effect::Perplexity(share) => -(-share).ln_1p(),
            Effect::Relative(share) if self.metric.unit() == "s" => share * baseline,
            Effect::Relative(share) => share * candidate,
        }
    }

    /// Ruling R7, practical half: by how much `one` is better than `other`, and the least gain
    /// that counts.
    fn gain(&self, effect: Effect, one: f64, other: f64) -> (f64, f64) {
        let gain = match self.metric.direction() {
            Direction::Higher => one - other,
            Direction::Lower => other - one,
            Direction::Neither => f64::NAN,
        };
        match effect {
            Effect::Absolute(least) => (gain, least),
            Effect::Perplexity(share) => (1.0 - (-gain).exp(), share),
            // Faster by a fifth is one thing, told in seconds or in tokens per second.
            Effect::Relative(share) if self.metric.unit() == "s" => (other / one - 1.0, share),
            Effect::Relative(share) => (if other > 0.0 { gain / other } else { f64::NAN }, share),
        }
    }

    fn either_above_chance(&self, evidence: &Evidence<'_>, outcome: &mut Outcome) -> Option<bool> {
        let mut above = false;
        for (model, scores) in [(GROUNDTHINK, &self.candidate), (GPT2, &self.baseline)] {
            let mut margins = Vec::new();
            for (&seed, score) in self.seeds.iter().zip(scores) {
                let (scale, condition, metric) = (self.scale, self.condition, Metric::StatefulnessChance);
                match evidence.find(Query { scale, seed, model, condition, metric }) {
                    Ok(chance) => margins.push(score - chance.value().raw()),
                    Err(reason) => {
                        let trial = ModelTrial { model, seed, scale: None };
                        outcome.gaps.push(Gap::Measurement {
                            trial,
                            condition,
                            metric,
                            reason: reason.owned(),
                        });
                        return None;
                    }
                }
            }
            let interval = t_interval(&margins)?;
            let margin = Estimate::of(mean(&margins), Threshold::Above(0.0));
            let estimate = margin.with(Some(interval), Decisive::LowerEnd);
            outcome.facts.push(Fact::AboveChance { model, estimate });
            above |= interval[0] > 0.0;
        }
        Some(above)
    }
}

struct PairedAdvantages {
    advantages: Vec<f64>,
    interval: Option<[f64; 2]>,
    detectable: Option<f64>,
}

/// The smallest and the largest.
pub(super) fn extremes(xs: &[f64]) -> Option<[Value; 2]> {
    let mut sorted = xs.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some([Value::from(*sorted.first()?), Value::from(*sorted.last()?)])
}
