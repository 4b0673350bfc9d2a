//! What a training records of itself; the same whether it was interrupted or not, but for the seconds.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::observed::Observed;
use crate::models::Branch;

/// What one step recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Counted from one.
    pub step: u64,
    /// Tokens read so far.
    pub tokens: u64,
    /// Mean loss of the step, nats per token.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Its part in each branch of a hybrid, `rwkv_norm` and so on in files.
    #[serde(flatten, with = "branch_norms")]
    pub branch_norms: BTreeMap<Branch, f64>,
    /// Learning rate.
    pub lr: f64,
}

/// A branch's norm under the branch's name with `_norm` after it.
mod branch_norms {
    use std::collections::BTreeMap;

    use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer, value::StrDeserializer};
    use serde::ser::{SerializeMap, Serializer};

    use crate::models::Branch;

    pub(super) fn serialize<S: Serializer>(norms: &BTreeMap<Branch, f64>, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(norms.len()))?;
        for (branch, norm) in norms {
            map.serialize_entry(&format!("{}_norm", branch.name()), norm)?;
        }
        map.end()
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<Branch, f64>, D::Error> {
        let all = BTreeMap::<String, f64>::deserialize(from)?;
        let branch = |(key, norm): (String, f64)| {
            let name = key.strip_suffix("_norm").unwrap_or(&key);
            let name: StrDeserializer<'_, D::Error> = name.into_deserializer();
            Ok((Branch::deserialize(name).map_err(|e| D::Error::custom(format!("{key:?}: {e}")))?, norm))
        };
        all.into_iter().map(branch).collect()
    }
}

/// How a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// All steps were made.
    Completed,
    /// Loss or gradient was not finite at this step; nothing moved since.
    Diverged(u64),
    /// Somebody asked to stop; it can go on.
    Interrupted,
}

/// One start of a training until it ended or was interrupted, or the last checkpoint that it left, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingStart {
    /// Before its first step.
    pub from: f64,
    /// After its last.
    pub to: f64,
}

impl TrainingStart {
    /// One that begins now.
    pub(super) fn now() -> Self {
        let from = seconds_since_1970();
        Self { from, to: from }
    }

    /// It goes on until now.
    pub(super) fn go_on(&mut self) {
        self.to = seconds_since_1970();
    }
}

/// None of a clock that stands before it.
fn seconds_since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// A training that has ended, or stands where it was interrupted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// [`super::TrainJob::identity`].
    pub identity: String,
    /// How it ended.
    pub ending: Ending,
    /// Finite steps.
    pub curve: Vec<StepRecord>,
    /// Digest chained over the very tokens that were fed, inputs and targets.
    #[serde(rename = "fed")]
    pub consumed: String,
    /// Next window in the order: the data position.
    pub position: u64,
    /// Optimizer steps made.
    pub optimizer_steps: u64,
    /// Time spent, over all starts.
    pub seconds: f64,
    /// The starts, by the machine's clock.
    #[serde(default)]
    pub starts: Vec<TrainingStart>,
    /// Digest of the final weights.
    pub weights: String,
    /// What was seen where it was used.
    #[serde(default)]
    pub observed: Observed,
}
