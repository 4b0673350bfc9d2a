//! Why the referee could not look.

use std::path::{Path, PathBuf};

/// Why the referee could not look.
#[derive(Debug, thiserror::Error)]
pub enum RefereeError {
    /// A file that is not there or not what it should be.
    #[error("{path}: expected {expected}, got {got}", path = .path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// What should be there.
        expected: String,
        /// What is there.
        got: String,
    },
    /// A text could not be made tokens.
    #[error(transparent)]
    Tokenizer(#[from] crate::data::tokenizer::TokenizerError),
    /// Text and order do not fit together.
    #[error(transparent)]
    Order(#[from] crate::data::batches::OrderError),
}

impl RefereeError {
    pub(super) fn file(path: &Path, expected: impl ToString, got: impl ToString) -> Self {
        Self::File { path: path.to_owned(), expected: expected.to_string(), got: got.to_string() }
    }
}

pub(super) type Result<T> = std::result::Result<T, RefereeError>;
