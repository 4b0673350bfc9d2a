//! Where a number came from, and the manifest of a protocol run. Two numbers may be compared only
//! when their provenance agrees in everything that the manifest names (ruling R14).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The layout of the ledger that this code writes and reads.
pub const SCHEMA: u32 = 2;

/// Digest of the code that makes numbers, as it was built into this program.
pub const PROGRAM_REVISION: &str = env!("V5_REVISION");

/// Hexadecimal digests or names; equal strings mean equal things.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Digest of hyper-parameters, scale and protocol.
    pub recipe: String,
    /// Digest of the tokenised data set.
    pub data: String,
    /// Digest of the saved batch order.
    pub order: String,
    /// Digest chained over the token batches that the trainer consumed.
    #[serde(rename = "fed")]
    pub consumed: String,
    /// Digest of the tokenizer.
    pub tokenizer: String,
    /// Digest of the weights that were questioned.
    pub weights: String,
    /// Digest of the code that makes numbers.
    pub revision: String,
    /// The device.
    pub device: String,
    /// The arithmetic.
    pub precision: String,
    /// Digest of what it was measured on: the held-out split, or a benchmark's file.
    pub validation: String,
    /// Digest of what made tokens out of text.
    pub preprocessing: String,
    /// Trainings spent on tuning the recipe for this model (ruling R12).
    pub tuning: String,
    /// The rule that ends a training.
    pub stopping: String,
    /// Who asked.
    pub probe: String,
}

/// A field of [`Provenance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// See [`Provenance::revision`].
    Revision,
    /// See [`Provenance::recipe`].
    Recipe,
    /// See [`Provenance::data`].
    Data,
    /// See [`Provenance::order`].
    Order,
    /// See [`Provenance::consumed`].
    Fed,
    /// See [`Provenance::tokenizer`].
    Tokenizer,
    /// See [`Provenance::device`].
    Device,
    /// See [`Provenance::precision`].
    Precision,
    /// See [`Provenance::weights`].
    Weights,
    /// See [`Provenance::validation`].
    Validation,
    /// See [`Provenance::preprocessing`].
    Preprocessing,
    /// See [`Provenance::tuning`].
    Tuning,
    /// See [`Provenance::stopping`].
    Stopping,
}

impl Field {
    /// The fields of which the manifest says what they must be.
    pub const EXPECTED: &'static [Field] = &[
        Field::Revision,
        Field::Recipe,
        Field::Data,
        Field::Order,
        Field::Tokenizer,
        Field::Device,
        Field::Precision,
    ];

    /// The name used in ledgers.
    pub const fn name(self) -> &'static str {
        match self {
            Field::Revision => "revision",
            Field::Recipe => "recipe",
            Field::Data => "data",
            Field::Order => "order",
            Field::Fed => "fed",
            Field::Tokenizer => "tokenizer",
            Field::Device => "device",
            Field::Precision => "precision",
            Field::Weights => "weights",
            Field::Validation => "validation",
            Field::Preprocessing => "preprocessing",
            Field::Tuning => "tuning",
            Field::Stopping => "stopping",
        }
    }

    /// This field of a provenance.
    pub fn of(self, provenance: &Provenance) -> &str {
        match self {
            Field::Revision => &provenance.revision,
            Field::Recipe => &provenance.recipe,
            Field::Data => &provenance.data,
            Field::Order => &provenance.order,
            Field::Fed => &provenance.consumed,
            Field::Tokenizer => &provenance.tokenizer,
            Field::Device => &provenance.device,
            Field::Precision => &provenance.precision,
            Field::Weights => &provenance.weights,
            Field::Validation => &provenance.validation,
            Field::Preprocessing => &provenance.preprocessing,
            Field::Tuning => &provenance.tuning,
            Field::Stopping => &provenance.stopping,
        }
    }
}

/// What stands behind a field of a provenance (ruling R22).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Taken from what computed, where it computed.
    Observed,
    /// Stated, and held against what was observed by the criterion of this name.
    CheckedBy(&'static str),
    /// Stated alone.
    Declared,
}

impl Field {
    /// What stands behind it.
    pub const fn basis(self) -> Basis {
        match self {
            // The program's own digest, the device that holds the tensors, and digests of tokens and weights.
            Field::Revision | Field::Device | Field::Fed | Field::Weights => Basis::Observed,
            Field::Data | Field::Order => Basis::CheckedBy("loss-is-observed"),
            Field::Recipe | Field::Precision => Basis::CheckedBy("audit-training"),
            Field::Tokenizer | Field::Preprocessing => Basis::CheckedBy("audit-answers"),
            Field::Validation => Basis::CheckedBy("audit-evaluation"),
            Field::Stopping => Basis::CheckedBy("tokens-matched"),
            Field::Tuning => Basis::Declared,
        }
    }
}

/// What one trial of one scale is expected to be, for every model alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedRun {
    /// The scale's label.
    pub scale: String,
    /// The trial.
    pub seed: u64,
    /// See [`Provenance::recipe`].
    pub recipe: String,
    /// See [`Provenance::data`].
    pub data: String,
    /// See [`Provenance::order`].
    pub order: String,
    /// See [`Provenance::tokenizer`].
    pub tokenizer: String,
    /// See [`Provenance::device`].
    pub device: String,
    /// See [`Provenance::precision`].
    pub precision: String,
}

/// What a protocol run is to consist of, written before the first number: evidence counts only where it agrees.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The ledger's layout: [`SCHEMA`].
    pub schema: u32,
    /// The highest number governs; each new manifest has the next.
    pub number: u64,
    /// The protocol's name.
    pub protocol: String,
    /// The models to be measured.
    pub models: Vec<String>,
    /// The scales to be measured.
    pub scales: Vec<String>,
    /// The trials, each of which must be there.
    pub seeds: Vec<u64>,
    /// See [`Provenance::revision`].
    pub revision: String,
    /// What each trial of each scale is made of.
    pub expected: Vec<ExpectedRun>,
    /// What each probe that does not measure on the held-out split measures on, see
    /// [`Provenance::validation`]: the same file and as many items for every model. Empty for what the
    /// protocol does not ask.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub material: BTreeMap<String, String>,
    /// The names of the parts of a mixture (ruling R27), in the order of their numbers in curves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
}

impl ExpectedRun {
    /// The expected content of a field; none for the revision, which the manifest names once for all, and for a
    /// field of which nothing is expected.
    pub fn of(&self, field: Field) -> Option<&str> {
        match field {
            Field::Recipe => Some(&self.recipe),
            Field::Data => Some(&self.data),
            Field::Order => Some(&self.order),
            Field::Tokenizer => Some(&self.tokenizer),
            Field::Device => Some(&self.device),
            Field::Precision => Some(&self.precision),
            _ => None,
        }
    }
}

/// The ruling on one iteration of the architecture, so that later ones know of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Iteration {
    /// Counted from 1; the same code under the same protocol keeps its number.
    pub number: u64,
    /// Measurements that it was ruled on: of several rulings on one iteration the fullest governs.
    pub measurements: u64,
    /// See [`Provenance::revision`].
    pub revision: String,
    /// The protocol's name.
    pub protocol: String,
    /// Ids of the criteria that were met.
    pub met: Vec<String>,
}
