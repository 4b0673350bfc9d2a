//! Documents as token ids in one memory-mapped file, encoded once and checked at every opening.
//!
//! Layout, little-endian: one page of header (magic, version, length of the JSON, the JSON, zeros),
//! the tokens (u16 while the vocabulary allows, else u32), zeros up to a multiple of eight, then for
//! every document its first token and for the last one its end, as u64. Each document is followed by
//! one end-of-text token, which belongs to no document.
//!
//! Invariant: an opened file is exactly what its header promises and what the caller expects; a file
//! that differs is refused, never rebuilt in silence, because a run may already depend on it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::cache_writer::Writer;
use super::tokenizer::{Tokenizer, TokenizerError};
use crate::files::{sha256, write_atomically};

pub(super) const MAGIC: &[u8; 8] = b"V5TOKENS";
pub(super) const VERSION: u32 = 1;
pub(super) const PAGE: usize = 4096;
const JSON_AT: usize = 16;
/// Documents encoded side by side between two writes.
const CHUNK: usize = 1024;

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

/// Token ids of many documents, read in place.
#[derive(Debug)]
pub struct TokenFile {
    map: Mmap,
    header: Header,
    digest: String,
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
    /// The text could not be encoded.
    #[error("token file {path}: {source}", path = path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What the tokenizer said.
        source: TokenizerError,
    },
}

impl TokenFile {
    /// Opens the file, or encodes the documents into it if there is none. `source_digest` names the
    /// text; the caller vouches that it belongs to `documents`.
    pub fn build_or_open(
        path: &Path,
        source_digest: &str,
        tokenizer: &Tokenizer,
        documents: &[String],
    ) -> Result<Self, CacheError> {
        if !path.exists() {
            let ids = documents.chunks(CHUNK).map(|chunk| {
                let encoded = chunk.par_iter().map(|text| tokenizer.encode(text));
                encoded.collect::<Result<Vec<_>, _>>()
            });
            build(path, source_digest, tokenizer, ids)?;
        }
        let file = Self::open(path)?;
        file.expect("tokenizer", tokenizer.digest(), &file.header.tokenizer, path)?;
        file.expect("source", source_digest, &file.header.source, path)?;
        file.expect("vocab_size", tokenizer.vocab_size(), file.header.vocab_size, path)?;
        file.expect("documents", documents.len(), file.header.documents, path)?;
        Ok(file)
    }

    /// Encoded documents straight into a file, for ids that come from elsewhere.
    pub fn from_ids(
        path: &Path,
        source_digest: &str,
        tokenizer: &Tokenizer,
        documents: Vec<Vec<u32>>,
    ) -> Result<Self, CacheError> {
        build(path, source_digest, tokenizer, std::iter::once(Ok(documents)))?;
        Self::open(path)
    }

    /// Opens a file and checks it against its own header.
    pub fn open(path: &Path) -> Result<Self, CacheError> {
        let io = |source| CacheError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        // SAFETY: the map is only ever read. A token file gets its name by renaming a finished file
        // and is never written to afterwards, so no process of this program changes mapped bytes.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        let json = header_json(&map).ok_or_else(|| CacheError::NotATokenFile(path.to_owned()))?;
        let header: Header = serde_json::from_slice(json)
            .map_err(|source| CacheError::BadHeader { path: path.to_owned(), source })?;
        let digest = sha256(json);
        check(path, &header, &map)?;
        Ok(Self { map, header, digest })
    }

    fn expect(
        &self,
        field: &'static str,
        expected: impl ToString,
        got: impl ToString,
        path: &Path,
    ) -> Result<(), CacheError> {
        let (expected, got) = (expected.to_string(), got.to_string());
        if expected == got {
            return Ok(());
        }
        Err(CacheError::Differs { path: path.to_owned(), field, expected, got })
    }

    /// How many tokens there are, end-of-text tokens included.
    pub fn len(&self) -> usize {
        self.header.tokens
    }

    /// Never true: an empty file cannot be built.
    pub fn is_empty(&self) -> bool {
        self.header.tokens == 0
    }

    /// How many documents there are.
    pub fn documents(&self) -> usize {
        self.header.documents
    }

    /// What the file says about itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// SHA-256 of the header, which contains that of the payload: it stands for the whole file.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Some of the tokens; panics beyond `len`, as a slice would.
    pub fn tokens(&self, range: Range<usize>) -> impl ExactSizeIterator<Item = u32> + '_ {
        assert!(range.end <= self.len(), "tokens {range:?} of {}", self.len());
        let width = self.header.width;
        let bytes = &self.map[PAGE + range.start * width..PAGE + range.end * width];
        bytes.chunks_exact(width).map(|token| {
            let mut wide = [0; 4];
            wide[..token.len()].copy_from_slice(token);
            u32::from_le_bytes(wide)
        })
    }

    /// Where document `i` lies in the tokens, without the end-of-text token after it.
    pub fn document(&self, i: usize) -> Range<usize> {
        assert!(i < self.documents(), "document {i} of {}", self.documents());
        self.offset(i)..self.offset(i + 1) - 1
    }

    fn offset(&self, i: usize) -> usize {
        let at = PAGE + tokens_bytes(&self.header) + i * 8;
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.map[at..at + 8]);
        u64::from_le_bytes(bytes) as usize
    }
}

/// The bytes of the tokens, padded so that the offsets behind them are aligned.
pub(super) fn tokens_bytes(header: &Header) -> usize {
    header.tokens.saturating_mul(header.width).div_ceil(8).saturating_mul(8)
}

fn header_json(map: &[u8]) -> Option<&[u8]> {
    let rest = map.strip_prefix(MAGIC)?.strip_prefix(&VERSION.to_le_bytes())?;
    let length = u32::from_le_bytes(*rest.first_chunk()?) as usize;
    map.get(..PAGE)?.get(JSON_AT..)?.get(..length)
}

fn check(path: &Path, header: &Header, map: &[u8]) -> Result<(), CacheError> {
    let path = path.to_owned();
    if !matches!(header.width, 2 | 4) {
        let (expected, got) = ("2 or 4".to_owned(), header.width.to_string());
        return Err(CacheError::Differs { path, field: "width", expected, got });
    }
    // Saturating: a damaged header may hold any number, and must lead to an error, not a panic.
    let offsets = header.documents.saturating_add(1).saturating_mul(8);
    let expected = PAGE.saturating_add(tokens_bytes(header)).saturating_add(offsets);
    if map.len() != expected {
        return Err(CacheError::WrongLength { path, expected, got: map.len() });
    }
    let got = sha256(&map[PAGE..]);
    if got != header.payload {
        return Err(CacheError::Corrupt { path, expected: header.payload.clone(), got });
    }
    Ok(())
}

type Chunk = Result<Vec<Vec<u32>>, TokenizerError>;

fn build(
    path: &Path,
    source_digest: &str,
    tokenizer: &Tokenizer,
    chunks: impl Iterator<Item = Chunk>,
) -> Result<(), CacheError> {
    let io = |source| CacheError::Io { path: path.to_owned(), source };
    write_atomically(path, io, |file| {
        let mut writer = Writer::new(path, file, source_digest, tokenizer)?;
        for chunk in chunks {
            let chunk = chunk.map_err(|source| CacheError::Tokenizer { path: path.to_owned(), source })?;
            chunk.iter().try_for_each(|ids| writer.document(ids, tokenizer.eot()))?;
        }
        writer.finish()
    })
}
