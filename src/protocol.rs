//! What to collect: models, scales, seeds, data and recipe, as one TOML document. The built-in
//! protocols are such documents too, so there is one way to say it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data::dataset::DataSpec;
use crate::device::Compute;
use crate::files::sha256;
use crate::models;
use crate::probes::{EvalData, Grid, LongTexts};
use crate::scale::{self, Scale};
use crate::train::{Recipe, RecipeError};

/// A protocol.
///
/// # Example
///
/// ```
/// use v5gate::protocol::Protocol;
///
/// let smoke = Protocol::load("smoke")?;
/// assert_eq!(smoke.seeds, [1, 2, 3]);
/// assert_eq!(smoke.recipe.steps(), 7_000);
///
/// // A protocol is a TOML document, and what it names must exist.
/// let mut text = toml::to_string(&smoke).expect("a document");
/// assert_eq!(Protocol::parse("mine.toml", &text)?, smoke);
/// text = text.replace("groundthink", "groundthought");
/// let refused = Protocol::parse("mine.toml", &text).expect_err("no such model");
/// assert!(refused.to_string().starts_with("mine.toml: models: expected some of gpt2, groundthink"));
/// # Ok::<(), v5gate::protocol::ProtocolError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// Its name, which the report carries.
    pub name: String,
    /// What it is for.
    pub about: String,
    /// Models, the baseline first.
    pub models: Vec<String>,
    /// Labels of scales.
    pub scales: Vec<String>,
    /// Trials: trial k of every model has the same seed, data order and items (ruling R7).
    pub seeds: Vec<u64>,
    /// Steps between checkpoints; changes no result.
    pub checkpoint_every: u64,
    /// Trainings that were spent on tuning the recipe, for every model (ruling R12).
    pub tuning: BTreeMap<String, u64>,
    /// Most items of each benchmark whose file the data folder has; all where absent, none for 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub benchmark_items: Option<usize>,
    /// Sizes of associative recall, which is trained from scratch: `none`, `small` or `full`.
    #[serde(default)]
    pub mqar: Grid,
    /// Most long documents (ruling R20): of the data folder's novels all where absent, none for 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long_documents: Option<usize>,
    /// What to train on.
    pub data: DataSpec,
    /// How.
    pub recipe: Recipe,
}

/// Why a protocol cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// No such file.
    #[error("{path}: {error}; built-in protocols are {built_in}", path = .path.display(), built_in = names())]
    Read {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Not a protocol.
    #[error("{path}: TOML parse error at line {line}, column {column}, in `{text}`: {message}")]
    Syntax {
        /// Where.
        path: String,
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1.
        column: usize,
        /// What stands in that line.
        text: String,
        /// What is wrong with it.
        message: String,
    },
    /// A recipe that no run can follow.
    #[error("{path}: {error}")]
    Recipe {
        /// Where.
        path: String,
        /// What is wrong.
        error: RecipeError,
    },
    /// Something named that does not exist, or nothing named.
    #[error("{path}: {field}: expected {expected}, got {got:?}")]
    Unknown {
        /// Where.
        path: String,
        /// Which key.
        field: &'static str,
        /// What there is.
        expected: String,
        /// What was asked for.
        got: String,
    },
}

/// Most long documents: their tokens take about 1 GiB.
const MOST_LONG_DOCUMENTS: usize = 10_000;

const BUILT_IN: &[(&str, &str)] = &[
    ("smoke", include_str!("../protocols/smoke.toml")),
    ("pilot", include_str!("../protocols/pilot.toml")),
    ("quick", include_str!("../protocols/quick.toml")),
    ("full", include_str!("../protocols/full.toml")),
];

fn names() -> String {
    BUILT_IN.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

impl Protocol {
    /// The folder below `out` for its evidence: NAME, or NAME-gpu where a GPU computes, so that neither's
    /// manifest replaces the other's.
    pub fn folder(&self, on: &Compute) -> String {
        let device = if on.is_asynchronous() { "-gpu" } else { "" };
        format!("{}{device}", self.name)
    }

    /// A built-in protocol by name, or one from a file.
    pub fn load(name: &str) -> Result<Self, ProtocolError> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(n, _)| *n == name) {
            return Self::parse(name, text);
        }
        let path = Path::new(name);
        let text =
            fs::read_to_string(path).map_err(|error| ProtocolError::Read { path: path.to_owned(), error })?;
        let protocol = Self::parse(name, &text)?;
        protocol.check_name(name)?;
        Ok(protocol)
    }

    /// A file may bear the name of a built-in protocol only if it differs from it in its data, or in what
    /// changes no result.
    fn check_name(&self, path: &str) -> Result<(), ProtocolError> {
        let Some((_, text)) = BUILT_IN.iter().find(|(name, _)| *name == self.name) else { return Ok(()) };
        let built_in = Self::parse(&self.name, text)?;
        let renamed = Self {
            about: self.about.clone(),
            data: self.data.clone(),
            checkpoint_every: self.checkpoint_every,
            ..built_in
        };
        if *self == renamed {
            return Ok(());
        }
        Err(ProtocolError::Unknown {
            path: path.to_owned(),
            field: "name",
            expected: "a name of its own, or all but the data as in the built-in protocol".to_owned(),
            got: self.name.clone(),
        })
    }

    /// A protocol from its text; `path` is for messages.
    pub fn parse(path: &str, text: &str) -> Result<Self, ProtocolError> {
        let protocol: Self = toml::from_str(text).map_err(|error| syntax(path, text, &error))?;
        protocol.check(path)?;
        Ok(protocol)
    }

    fn check(&self, path: &str) -> Result<(), ProtocolError> {
        let unknown = |field, expected: String, got: &str| {
            let (path, got) = (path.to_owned(), got.to_owned());
            Err(ProtocolError::Unknown { path, field, expected, got })
        };
        // The name becomes a folder of its own.
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
        if !self.name.chars().all(plain) || self.name.starts_with('.') || self.name.is_empty() {
            let expected = "letters, digits, '-', '_' and '.', the first no '.'".to_owned();
            return unknown("name", expected, &self.name);
        }
        for name in &self.models {
            if models::find(name).is_none() {
                let all: Vec<_> = models::MODELS.iter().map(|m| m.name).collect();
                return unknown("models", format!("some of {}", all.join(", ")), name);
            }
        }
        for name in &self.scales {
            if scale::find(name).is_none() {
                let all: Vec<_> = scale::SCALES.iter().map(|s| s.name).collect();
                return unknown("scales", format!("some of {}", all.join(", ")), name);
            }
        }
        let seeds = self.seeds.iter().map(u64::to_string).collect();
        for (field, list) in [("models", &self.models), ("scales", &self.scales), ("seeds", &seeds)] {
            if list.is_empty() {
                return unknown(field, "at least one".to_owned(), "none");
            }
            // Two trials of one name would train in one folder at the same time.
            if let Some((_, twice)) = list.iter().enumerate().find(|(i, name)| list[..*i].contains(name)) {
                return unknown(field, "each once".to_owned(), twice);
            }
        }
        if !self.models.iter().all(|m| self.tuning.contains_key(m)) {
            let known: Vec<_> = self.tuning.keys().map(String::as_str).collect();
            return unknown("tuning", "a number for every model".to_owned(), &known.join(", "));
        }
        if self.checkpoint_every == 0 {
            return unknown("checkpoint_every", "at least 1".to_owned(), "0");
        }
        if let Some(documents) = self.long_documents.filter(|n| *n > MOST_LONG_DOCUMENTS) {
            let expected = format!("at most {MOST_LONG_DOCUMENTS}");
            return unknown("long_documents", expected, &documents.to_string());
        }
        if let Some((field, expected, got)) = self.data.out_of_range() {
            return unknown(field, expected, &got);
        }
        self.recipe.check().map_err(|error| ProtocolError::Recipe { path: path.to_owned(), error })
    }

    /// What it wants asked beyond the held-out split, of what a data folder has.
    pub fn eval_data(&self, data: Option<&Path>) -> EvalData {
        EvalData {
            folder: data.filter(|_| self.benchmark_items != Some(0)).map(Path::to_owned),
            items: self.benchmark_items,
            mqar: self.mqar,
            long: LongTexts::of(&self.data, data, self.long_documents),
        }
    }

    /// The scales.
    pub fn scales(&self) -> impl Iterator<Item = &'static Scale> {
        self.scales.iter().filter_map(|name| scale::find(name))
    }

    /// Digest of hyper-parameters and scale: what evidence calls its recipe.
    pub fn recipe_digest(&self, scale: &Scale) -> String {
        recipe_digest(&self.recipe, scale)
    }

    /// Digest of how text becomes tokens.
    pub fn preprocessing(&self) -> String {
        // Names and numbers: serialising them cannot fail.
        sha256(serde_json::to_string(&self.data).unwrap_or_default().as_bytes())
    }
}

/// What the parser says, on one line.
fn syntax(path: &str, text: &str, error: &toml::de::Error) -> ProtocolError {
    let at = error.span().map_or(0, |span| span.start);
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
    let message = error.message().lines().collect::<Vec<_>>().join("; ");
    let shown = text.lines().nth(line).unwrap_or_default().trim().chars().take(80).collect();
    ProtocolError::Syntax { path: path.to_owned(), line: line + 1, column: column + 1, text: shown, message }
}

/// Digest of these hyper-parameters at a scale.
pub fn recipe_digest(recipe: &Recipe, scale: &Scale) -> String {
    let scale = serde_json::to_string(scale).unwrap_or_default();
    sha256(format!("{}\n{scale}", recipe.digest()).as_bytes())
}
