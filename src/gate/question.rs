//! A question to a ledger, and why it may have no answer.

use serde::Serialize;

use crate::evidence::{Condition, Field, Metric};

/// Which number is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Query<'q> {
    /// The scale's label.
    pub scale: &'q str,
    /// The trial.
    pub seed: u64,
    /// The model's name.
    pub model: &'q str,
    /// The state in which the model was questioned.
    pub condition: Condition,
    /// What was measured.
    pub metric: Metric,
}

/// Why there is no number (ruling R14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing<S> {
    /// Nobody measured it.
    NotMeasured,
    /// The manifest expects nothing of this trial, or two different things.
    #[serde(rename = "not_promised")]
    NotInManifest,
    /// It was measured under other circumstances than expected.
    Elsewhere {
        /// The first field that differs.
        field: Field,
        /// What the manifest says.
        expected: S,
        /// What the evidence says.
        got: S,
    },
    /// It was measured more than once, with different results, of which the worst counts.
    Contradictory,
}

impl Missing<&str> {
    /// The same without the ledger.
    pub fn owned(self) -> Missing<String> {
        match self {
            Missing::NotMeasured => Missing::NotMeasured,
            Missing::NotInManifest => Missing::NotInManifest,
            Missing::Elsewhere { field, expected, got } => {
                Missing::Elsewhere { field, expected: expected.to_owned(), got: got.to_owned() }
            }
            Missing::Contradictory => Missing::Contradictory,
        }
    }
}
