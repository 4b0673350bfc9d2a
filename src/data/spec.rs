//! What a protocol says about data: where the text comes from, and how large the vocabulary is.
//!
//! Invariant: what stands here and cannot be followed is refused before anything is read.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What to prepare. Unknown fields are refused, so that a typing error cannot go unnoticed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum DataSpec {
    /// The built-in conversations.
    Conversations {
        /// Which conversations.
        seed: u64,
        /// About how many tokens to train on.
        train_tokens: usize,
        /// How many conversations to validate on.
        valid_documents: usize,
        /// Size of the vocabulary learnt from the training text.
        vocab_size: usize,
    },
    /// Text from files under the data folder.
    Text {
        /// The training file.
        train: PathBuf,
        /// The validation file.
        valid: PathBuf,
        /// `train:4096` learns a vocabulary of that size; anything else is a path to a tokenizer.
        tokenizer: String,
    },
    /// Named parts with shares of the tokens (ruling R27).
    Mixture {
        /// As of text.
        tokenizer: String,
        /// The parts.
        parts: Vec<PartSpec>,
    },
}

/// Most tokens of conversations to train on: as text and tokens they take some GB.
const MOST_TOKENS: usize = 1_000_000_000;
/// Most conversations to validate on.
const MOST_DOCUMENTS: usize = 1_000_000;
/// Most tokens of a vocabulary to be learnt.
const MOST_VOCABULARY: usize = 1 << 20;

impl DataSpec {
    /// The key of a number that nothing can be made of, what is possible, and the number.
    pub fn out_of_range(&self) -> Option<(&'static str, String, String)> {
        let above = |field, got: usize, most: usize| {
            (got > most).then(|| (field, format!("at most {most}"), got.to_string()))
        };
        let amounts = |part: &PartSpec| match part.source {
            PartSource::Conversations { seed: _, train_tokens, valid_documents } => {
                above("data.parts.source.train_tokens", train_tokens, MOST_TOKENS)
                    .or_else(|| above("data.parts.source.valid_documents", valid_documents, MOST_DOCUMENTS))
            }
            PartSource::Text { .. } | PartSource::Dailydialog { .. } => None,
        };
        match self {
            Self::Conversations { seed: _, train_tokens, valid_documents, vocab_size } => {
                above("data.train_tokens", *train_tokens, MOST_TOKENS)
                    .or_else(|| above("data.valid_documents", *valid_documents, MOST_DOCUMENTS))
                    .or_else(|| above("data.vocab_size", *vocab_size, MOST_VOCABULARY))
            }
            Self::Text { tokenizer, .. } => above("data.tokenizer", learnt(tokenizer)?, MOST_VOCABULARY),
            Self::Mixture { tokenizer, parts } => unfit(parts)
                .or_else(|| parts.iter().find_map(amounts))
                .or_else(|| above("data.tokenizer", learnt(tokenizer)?, MOST_VOCABULARY)),
        }
    }

    /// The size of the vocabulary, where it stands in the specification.
    pub fn vocab_size(&self) -> Option<usize> {
        match self {
            Self::Conversations { vocab_size, .. } => Some(*vocab_size),
            Self::Text { tokenizer, .. } | Self::Mixture { tokenizer, .. } => learnt(tokenizer),
        }
    }
}

/// The size of a vocabulary that is to be learnt.
fn learnt(tokenizer: &str) -> Option<usize> {
    tokenizer.strip_prefix("train:")?.parse().ok()
}

/// A part of a mixture as a protocol names it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartSpec {
    /// Its name in reports.
    pub name: String,
    /// Its share of the tokens that are trained on; all shares add up to one.
    pub share: f64,
    /// Where its text comes from.
    pub source: PartSource,
}

/// Where the text of a part comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum PartSource {
    /// Text from files below the data folder.
    Text {
        /// The training file.
        train: PathBuf,
        /// The validation file.
        valid: PathBuf,
    },
    /// DailyDialog's files, a dialogue a document and a turn a line. Held-out dialogues that the training file has too
    /// (69 of 1,000 in the official split) are left out.
    Dailydialog {
        /// The training file.
        train: PathBuf,
        /// The validation file.
        valid: PathBuf,
    },
    /// The built-in conversations.
    Conversations {
        /// Which conversations.
        seed: u64,
        /// About how many tokens to train on.
        train_tokens: usize,
        /// How many conversations to validate on.
        valid_documents: usize,
    },
}

/// Shares that are said to add up to one do so within rounding of a few decimal numbers.
const ROUNDING: f64 = 1e-9;

/// The key of what is wrong with the parts of a mixture, what was expected, and what is there.
fn unfit(parts: &[PartSpec]) -> Option<(&'static str, String, String)> {
    if parts.len() < 2 {
        return Some(("data.parts", "at least two".to_owned(), parts.len().to_string()));
    }
    for (i, part) in parts.iter().enumerate() {
        let share = part.share;
        if part.name.trim().is_empty() || parts[..i].iter().any(|p| p.name == part.name) {
            return Some(("data.parts.name", "a name of its own".to_owned(), part.name.clone()));
        }
        if share.is_nan() || share <= 0.0 || share >= 1.0 {
            return Some(("data.parts.share", "a share between 0 and 1".to_owned(), share.to_string()));
        }
    }
    let sum: f64 = parts.iter().map(|part| part.share).sum();
    let adds_up = (sum - 1.0).abs() <= ROUNDING;
    (!adds_up).then(|| ("data.parts.share", "shares that add up to 1".to_owned(), sum.to_string()))
}
