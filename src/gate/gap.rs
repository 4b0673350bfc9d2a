//! What a rule misses. Reports put it into words.

use serde::Serialize;

use super::question::Missing;
use crate::evidence::{Condition, Field, Metric};

/// One training of one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelTrial {
    /// The model.
    pub model: &'static str,
    /// The trial.
    pub seed: u64,
    /// The scale, where it is not the finding's.
    pub scale: Option<&'static str>,
}

/// One thing that a rule needs and the ledger does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Gap {
    /// A number that counts.
    Measurement {
        /// Of which training.
        #[serde(flatten)]
        trial: ModelTrial,
        /// In what state.
        condition: Condition,
        /// What.
        metric: Metric,
        /// Why there is none.
        reason: Missing<String>,
    },
    /// The measured 95 % interval of a number.
    Interval {
        /// Of which training.
        #[serde(flatten)]
        trial: ModelTrial,
        /// Of what.
        metric: Metric,
    },
    /// A measured 95 % interval that contains its number.
    ContainingInterval {
        /// Of which training.
        #[serde(flatten)]
        trial: ModelTrial,
        /// Of what.
        metric: Metric,
    },
    /// Trials enough for a comparison.
    Trials {
        /// Of which model, where it is one.
        model: Option<&'static str>,
        /// Of what.
        metric: Metric,
        /// How many there are.
        trials: usize,
        /// How many it takes.
        least: usize,
    },
    /// What the evidence of both models in one trial names, where it agrees with the manifest.
    SourcesOfBoth {
        /// The trial.
        seed: u64,
        /// Of what.
        metric: Metric,
        /// What should be named.
        field: Field,
    },
    /// What the evidence of one model in one trial names.
    SourceOf {
        /// Of which training.
        #[serde(flatten)]
        trial: ModelTrial,
        /// Of what.
        metric: Metric,
        /// What should be named.
        field: Field,
    },
    /// Numbers of a model that all its trials reached.
    FiniteTrials {
        /// The model.
        model: &'static str,
    },
    /// A scaling law through a model's losses.
    Law {
        /// The model.
        model: &'static str,
    },
    /// Proof of what the present iteration shows.
    PresentIteration,
}

impl Gap {
    /// The trial that lacks something, where it is one.
    pub(super) fn trial(&self) -> Option<u64> {
        match self {
            Gap::Measurement { trial, .. }
            | Gap::Interval { trial, .. }
            | Gap::ContainingInterval { trial, .. }
            | Gap::SourceOf { trial, .. } => Some(trial.seed),
            Gap::SourcesOfBoth { seed, .. } => Some(*seed),
            Gap::Trials { .. } | Gap::FiniteTrials { .. } | Gap::Law { .. } | Gap::PresentIteration => None,
        }
    }
}
