//! What stands in the way of a data set.

use std::path::PathBuf;

use super::cache::CacheError;
use super::corpora::CorpusError;
use super::published::benchmarks::BenchmarkError;
use super::tokenizer::TokenizerError;

/// Why a data set could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A corpus could not be read.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The tokenizer could not be had.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A token file could not be built or was refused.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The specification names files but there is no folder to find them in.
    #[error("data set of files: expected a data folder to read {train} from, got none", train = .0.display())]
    NoDataFolder(PathBuf),
    /// The tokenizer's size is no number.
    #[error("tokenizer: expected train:<vocabulary size>, got {0:?}")]
    BadTokenizer(String),
    /// The dialogues of a part could not be read.
    #[error(transparent)]
    Dialogues(#[from] BenchmarkError),
    /// A split of the generator was asked to be empty.
    #[error("data set {0}: expected at least one document to train on and one to validate on, got none")]
    NoDocuments(String),
    /// Not even one window.
    #[error("{origin}: expected at least {expected} tokens, one more than a context of {context}, got {got}")]
    TooShort {
        /// A file, or the key that says how much is generated.
        origin: String,
        /// Tokens that are needed.
        expected: usize,
        /// Tokens of a window.
        context: usize,
        /// Tokens that there are.
        got: usize,
    },
    /// A part of a mixture in which no window begins.
    #[error(
        "part {part} of the mixture, {split} text: expected a window of {context} tokens that begins in it, got none in {got} tokens"
    )]
    PartTooShort {
        /// The part.
        part: String,
        /// The split.
        split: &'static str,
        /// Tokens of a window.
        context: usize,
        /// Tokens of the part.
        got: usize,
    },
    /// The vocabulary is too small for the evaluation items.
    #[error(
        "conversations: expected a vocabulary with every value as one token, got {vocab_size} tokens and these split: {split:?}"
    )]
    SplitValues {
        /// Its size.
        vocab_size: usize,
        /// Values of more than one token.
        split: Vec<String>,
    },
    /// Validation would measure what was learnt by heart.
    #[error(
        "data set {name}: expected no validation document in training, got {count}, the first being number {first}"
    )]
    Overlap {
        /// The data set.
        name: String,
        /// How many documents.
        count: usize,
        /// Which is the first, counted from zero.
        first: usize,
    },
}
