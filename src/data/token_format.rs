//! The format of a token file, and why one is refused.
//!
//! Layout, little-endian: one page of header (magic, version, length of the JSON, the JSON, zeros),
//! the tokens (u16 while the vocabulary allows, else u32), zeros up to a multiple of eight, then for
//! every document its first token and for the last one its end, as u64. Each document is followed by
//! one end-of-text token, which belongs to no document.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::text_format::CorpusError;
use super::tokenizer::TokenizerError;

pub(super) const MAGIC: &[u8; 8] = b"V5TOKENS";
pub(super) const VERSION: u32 = 1;
pub(super) const PAGE: usize = 4096;
pub(super) const JSON_AT: usize = 16;

/// What a token file says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Digest of the tokenizer that made the ids.
    pub tokenizer: String,
    /// Digest of the text.
    pub source: String,
    /// Size of the vocabulary; every id is smaller.
    pub vocab_size: usize,
    /// Tokens, end-of-text tokens included.
    pub tokens: usize,
    /// Documents.
    pub documents: usize,
    /// Bytes per token: 2 or 4.
    pub width: usize,
    /// SHA-256 of everything after the first page.
    pub payload: String,
}

/// Why a token file could not be built or was refused.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The file could not be read or written.
    #[error("token file {path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{}: expected a token file of version {VERSION}, got something else", .0.display())]
    NotATokenFile(PathBuf),
    /// The header is damaged.
    #[error("token file {path}: cannot read its header: {source}", path = path.display())]
    BadHeader {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The file was made from something else; delete it to have it made again.
    #[error("token file {path}: field {field}: expected {expected}, got {got} (delete the file to rebuild it)", path = path.display())]
    Differs {
        /// The file.
        path: PathBuf,
        /// The header field.
        field: &'static str,
        /// What the caller needs.
        expected: String,
        /// What the file has.
        got: String,
    },
    /// The file has another length than its header promises.
    #[error("token file {path}: truncated or overlong: expected {expected} bytes, got {got}", path = path.display())]
    WrongLength {
        /// The file.
        path: PathBuf,
        /// Bytes by the header.
        expected: usize,
        /// Bytes on disk.
        got: usize,
    },
    /// The bytes are not those that were written.
    #[error("token file {path}: payload corrupt: expected sha256 {expected}, got {got}", path = path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// By the header.
        expected: String,
        /// By the bytes.
        got: String,
    },
    /// An id no model of this vocabulary could embed.
    #[error("token file {path}: token {position}: expected an id below {vocab_size}, got {id}", path = path.display())]
    OutsideVocabulary {
        /// The file.
        path: PathBuf,
        /// Which token, counted from zero.
        position: usize,
        /// The id.
        id: u32,
        /// The size of the vocabulary.
        vocab_size: usize,
    },
    /// Nothing to write.
    #[error("token file {}: expected at least one document, got none", .0.display())]
    Empty(PathBuf),
    /// Somebody asked to stop.
    #[error("token file {}: interrupted; what was encoded is kept, and the same command goes on", .0.display())]
    Interrupted(PathBuf),
    /// The text could not be read.
    #[error(transparent)]
    Text(#[from] CorpusError),
    /// The text could not be encoded.
    #[error("token file {path}: {source}", path = path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What the tokenizer said.
        source: TokenizerError,
    },
}

/// The bytes of the tokens, padded so that the offsets behind them are aligned.
pub(super) fn tokens_bytes(header: &Header) -> usize {
    header.tokens.saturating_mul(header.width).div_ceil(8).saturating_mul(8)
}
