//! What a rule found, as numbers. Reports put it into words and draw it; nothing here decides.

use serde::Serialize;

use super::gap::ModelTrial;
use super::rule::{Effect, Threshold};
use crate::evidence::{Field, Metric, Value};
use crate::statistics::Law;

/// A number held against a limit in the same unit: all that a forest plot draws.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The number.
    pub value: Value,
    /// Its interval, where there is one: of 95 % unless the fact says otherwise.
    pub interval: Option<[Value; 2]>,
    /// Which of these has to be good.
    pub decided_by: Decisive,
    /// Which numbers are good; nothing where what it would be held against is missing.
    pub good: Option<Threshold>,
}

/// What of an estimate is held against the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decisive {
    /// The number itself.
    Value,
    /// The lower end of its interval.
    LowerEnd,
    /// The upper end of its interval.
    UpperEnd,
    /// Both ends of its interval.
    BothEnds,
}

impl Estimate {
    /// A number that decides by itself.
    pub(super) fn of(value: f64, good: Threshold) -> Self {
        Estimate { value: Value::from(value), interval: None, decided_by: Decisive::Value, good: Some(good) }
    }

    /// The same with an interval that this end of decides.
    pub(super) fn with(self, interval: Option<[f64; 2]>, decided_by: Decisive) -> Self {
        Estimate { interval: interval.map(|ends| ends.map(Value::from)), decided_by, ..self }
    }

    /// How far what decides lies on the good side of the limit, in the same unit: negative on the
    /// bad side, NaN where there is no telling.
    pub fn margin(&self) -> f64 {
        let value = self.value.raw();
        let [low, high] = self.interval.map_or([f64::NAN; 2], |ends| ends.map(Value::raw));
        let ends = match self.decided_by {
            Decisive::Value => [value; 2],
            Decisive::LowerEnd => [low; 2],
            Decisive::UpperEnd => [high; 2],
            Decisive::BothEnds => [low, high],
        };
        match self.good {
            Some(Threshold::AtLeast(least) | Threshold::Above(least)) => ends[0] - least,
            Some(Threshold::AtMost(most) | Threshold::Below(most)) => most - ends[1],
            Some(Threshold::Within(least, most)) => {
                let (below, above) = (ends[0] - least, most - ends[1]);
                if below.is_nan() || below < above { below } else { above }
            }
            None => f64::NAN,
        }
    }

    /// Of several, the one that decides: whose margin is least.
    pub(super) fn worst(all: impl Iterator<Item = Self>) -> Option<Self> {
        let margin = |e: &Self| if e.margin().is_nan() { f64::NEG_INFINITY } else { e.margin() };
        all.min_by(|a, b| margin(a).total_cmp(&margin(b)))
    }
}

/// A mean over trials.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The mean.
    pub mean: Value,
    /// The sample deviation; nothing of a single trial.
    pub sd: Option<Value>,
}

/// A fitted scaling law L = a·N^(−b) + c.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FittedLaw {
    /// The factor.
    pub a: Value,
    /// The exponent.
    pub b: Value,
    /// The loss that no size undercuts; nothing in a pure power law.
    pub c: Option<Value>,
    /// The 95 % interval of the exponent, where there are points enough.
    pub b_interval: Option<[Value; 2]>,
    /// The share of the variance of ln L that the law explains.
    pub r_squared: Value,
}

impl From<&Law> for FittedLaw {
    fn from(law: &Law) -> Self {
        FittedLaw {
            a: Value::from(law.a),
            b: Value::from(law.b),
            c: (law.parameters > 2).then(|| Value::from(law.c)),
            b_interval: law.b_interval.map(|ends| ends.map(Value::from)),
            r_squared: Value::from(law.r_squared),
        }
    }
}

/// One thing that a rule found.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fact {
    /// The values of one model, over trials and metrics.
    Values {
        /// The model.
        model: &'static str,
        /// The smallest and the largest value.
        range: [Value; 2],
        /// The smallest and the largest of the ends of the measured intervals that the rule looks at.
        bounds: Option<[Value; 2]>,
        /// The smallest and the largest of the numbers that the values are held against.
        against: Option<[Value; 2]>,
        /// The value that decides, of all the one farthest on the bad side.
        worst: Option<Estimate>,
    },
    /// The mean of several metrics in one trial.
    Mean {
        /// The model.
        model: &'static str,
        /// The trial.
        seed: u64,
        /// The mean.
        estimate: Estimate,
    },
    /// A number beside what others of the same trial make of it.
    Identity {
        /// The model.
        model: &'static str,
        /// Of what, with the trial that lies farthest off.
        metric: Metric,
        /// The number.
        estimate: Estimate,
    },
    /// The scatter over trials that ruling R7 would need an effect to exceed, as a share of the mean.
    Scatter {
        /// The model.
        model: &'static str,
        /// Of what.
        metric: Metric,
        /// 2·√2·s / mean.
        estimate: Estimate,
    },
    /// Two one-sided tests of a ratio.
    Equivalence {
        /// The model.
        model: &'static str,
        /// Of what.
        metric: Metric,
        /// The geometric mean of the ratio with its 90 % interval, whose ends must lie inside the limits.
        estimate: Estimate,
    },
    /// GroundThink's value divided by GPT-2's, trial by trial.
    TrialRatios {
        /// Of what.
        metric: Metric,
        /// GroundThink's mean.
        candidate: Value,
        /// GPT-2's mean.
        baseline: Value,
        /// The smallest and the largest ratio.
        range: [Value; 2],
        /// The ratio that decides.
        worst: Option<Estimate>,
    },
    /// The means of both models.
    Means {
        /// Of what.
        metric: Metric,
        /// GroundThink's.
        candidate: Spread,
        /// GPT-2's.
        baseline: Spread,
    },
    /// GroundThink's mean divided by GPT-2's.
    Ratio {
        /// Of what.
        metric: Metric,
        /// The ratio.
        estimate: Estimate,
    },
    /// GroundThink's perplexity divided by GPT-2's.
    PerplexityRatio {
        /// The loss whose exponential the perplexity is.
        metric: Metric,
        /// The ratio with the interval over paired trials.
        estimate: Estimate,
    },
    /// GroundThink's advantage over GPT-2, trial by trial: positive is better.
    PairedDifference {
        /// Of what, in whose unit the advantage is.
        metric: Metric,
        /// How many trials.
        trials: usize,
        /// The least difference that so many trials with such a scatter detect with a power of 80 %.
        detectable: Option<Value>,
        /// The mean advantage with its interval. Where ruling R7 decides, the limit is the least
        /// effect that counts, and the scatter decides besides.
        estimate: Estimate,
    },
    /// The statistical half of ruling R7.
    Separation {
        /// Of what.
        metric: Metric,
        /// The difference of the means, held against 2·√(s₁² + s₂²).
        estimate: Estimate,
    },
    /// The practical half of ruling R7.
    PracticalEffect {
        /// Of what.
        metric: Metric,
        /// In which unit, and how much counts.
        effect: Effect,
        /// By how much one model is better: GroundThink, or GPT-2 where it must not be better.
        estimate: Estimate,
    },
    /// How many trials the paired test needs to see the least effect that counts.
    TrialsNeeded {
        /// Of what.
        metric: Metric,
        /// So many trials.
        trials: usize,
        /// To see this, in the metric's unit.
        effect: Value,
    },
    /// By how much a model's score exceeds chance.
    AboveChance {
        /// The model.
        model: &'static str,
        /// The mean margin with its interval over trials.
        estimate: Estimate,
    },
    /// What both models' evidence names in one trial.
    Sources {
        /// The trial.
        seed: u64,
        /// What is named.
        field: Field,
        /// By GroundThink's evidence.
        candidate: Vec<String>,
        /// By GPT-2's.
        baseline: Vec<String>,
        /// Whether they agree.
        same: bool,
    },
    /// How many different ones the trials have.
    DistinctSources {
        /// Of what.
        field: Field,
        /// How many.
        count: usize,
    },
    /// One that several trials share.
    SharedSource {
        /// What is shared.
        field: Field,
        /// Its name.
        name: String,
        /// Who has it.
        owners: Vec<ModelTrial>,
    },
    /// Several that the evidence of one trial names.
    MixedSources {
        /// The trial.
        #[serde(flatten)]
        trial: ModelTrial,
        /// What is mixed.
        field: Field,
        /// Their names.
        names: Vec<String>,
    },
    /// The evidence of no trial names several.
    UniformSources {
        /// Of what.
        field: Field,
    },
    /// How one model's mean changes from one scale to another.
    Fall {
        /// The model.
        model: &'static str,
        /// The smaller scale.
        from: &'static str,
        /// The larger scale.
        to: &'static str,
        /// The mean at the smaller scale.
        before: Value,
        /// The mean at the larger scale.
        after: Value,
    },
    /// GroundThink's fall divided by GPT-2's.
    FallShare {
        /// The share.
        estimate: Estimate,
    },
    /// A model's scaling law.
    ScalingLaw {
        /// The model.
        model: &'static str,
        /// The law.
        law: FittedLaw,
        /// What of it is held against a limit: the explained share of the variance, or the exponent.
        estimate: Option<Estimate>,
    },
    /// The rows that this one is made of.
    Parts {
        /// How many must be met.
        needed: usize,
        /// How many are asked at this scale.
        asked: usize,
        /// How many are met.
        met: usize,
        /// Which are unmet.
        unmet: Vec<&'static str>,
        /// Which are unproven.
        unproven: Vec<&'static str>,
    },
    /// The iterations before the present code.
    Iterations {
        /// How many are on record.
        earlier: usize,
        /// How many of the last of them lacked a row, one after the other.
        lacking: usize,
        /// So many in a row, the present one among them, are too many.
        too_many: usize,
        /// Which rows the present one does not meet.
        unmet: Vec<&'static str>,
        /// Whether there are too many.
        reached: bool,
    },
}

impl Fact {
    /// The number that it holds against a limit.
    pub fn estimate(&self) -> Option<&Estimate> {
        match self {
            Fact::Values { worst, .. } | Fact::TrialRatios { worst, .. } => worst.as_ref(),
            Fact::ScalingLaw { estimate, .. } => estimate.as_ref(),
            Fact::Mean { estimate, .. }
            | Fact::Identity { estimate, .. }
            | Fact::Scatter { estimate, .. }
            | Fact::Equivalence { estimate, .. }
            | Fact::Ratio { estimate, .. }
            | Fact::PerplexityRatio { estimate, .. }
            | Fact::PairedDifference { estimate, .. }
            | Fact::Separation { estimate, .. }
            | Fact::PracticalEffect { estimate, .. }
            | Fact::AboveChance { estimate, .. }
            | Fact::FallShare { estimate } => Some(estimate),
            Fact::Means { .. }
            | Fact::TrialsNeeded { .. }
            | Fact::Sources { .. }
            | Fact::DistinctSources { .. }
            | Fact::SharedSource { .. }
            | Fact::MixedSources { .. }
            | Fact::UniformSources { .. }
            | Fact::Fall { .. }
            | Fact::Parts { .. }
            | Fact::Iterations { .. } => None,
        }
    }
}
