//! Documents as token ids in one memory-mapped file, encoded once and checked at every opening.
//!
//! Layout: `token_format`.
//!
//! Invariant: an opened file is exactly what its header promises and what the caller expects; a file
//! that differs is refused, never rebuilt in silence, because a run may already depend on it.

use std::borrow::Cow;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use rayon::prelude::*;

use super::cache_writer::TokenWriter;
pub use super::token_format::{CacheError, Header};
use super::token_format::{JSON_AT, MAGIC, PAGE, VERSION, tokens_bytes};
use super::tokenizer::Tokenizer;
use crate::files::sha256;

/// Documents and bytes of text that are encoded side by side while the next are read.
const CHUNK: usize = 256;
const CHUNK_BYTES: usize = 8 << 20;

/// Token ids of many documents, read in place.
#[derive(Debug)]
pub struct TokenFile {
    map: Mmap,
    header: Header,
    digest: String,
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
        let texts = documents.iter().map(|text| Ok::<_, CacheError>(Cow::from(text)));
        Self::of_texts(path, (source_digest, documents.len()), tokenizer, texts, &mut |_| Ok(()))
    }

    /// The same for documents that come one after another, of which few are in memory at a time. What a killed process
    /// had encoded is not encoded again. `tell` is told how many bytes of text are behind it, and may end it.
    pub(super) fn of_texts<'a, E>(
        path: &Path,
        (source_digest, documents): (&str, usize),
        tokenizer: &Tokenizer,
        texts: impl Iterator<Item = Result<Cow<'a, str>, E>> + Send,
        tell: &mut dyn FnMut(u64) -> Result<(), CacheError>,
    ) -> Result<Self, CacheError>
    where
        E: Into<CacheError> + Send,
    {
        if !path.exists() {
            build(path, source_digest, tokenizer, texts, tell)?;
        }
        let file = Self::open(path)?;
        file.expect("tokenizer", tokenizer.digest(), &file.header.tokenizer, path)?;
        file.expect("source", source_digest, &file.header.source, path)?;
        file.expect("vocab_size", tokenizer.vocab_size(), file.header.vocab_size, path)?;
        file.expect("documents", documents, file.header.documents, path)?;
        Ok(file)
    }

    /// Encoded documents straight into a file, for ids that come from elsewhere.
    pub fn from_ids(
        path: &Path,
        source_digest: &str,
        tokenizer: &Tokenizer,
        documents: Vec<Vec<u32>>,
    ) -> Result<Self, CacheError> {
        let mut writer = TokenWriter::begin(path, source_digest, tokenizer)?;
        let behind = writer.documents();
        documents.iter().skip(behind).try_for_each(|ids| writer.document(ids, tokenizer.eot()))?;
        writer.finish()?;
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
        bytes.chunks_exact(width).map(wide)
    }

    /// Where document `i` lies in the tokens, without the end-of-text token after it.
    pub fn document(&self, i: usize) -> Range<usize> {
        assert!(i < self.documents(), "document {i} of {}", self.documents());
        self.offset(i)..self.offset(i + 1) - 1
    }

    /// Whether that token stands after every document.
    pub fn ends_with(&self, end_of_text: u32) -> bool {
        let after = |i: usize| self.tokens(self.document(i).end..self.offset(i + 1)).eq([end_of_text]);
        (0..self.documents()).all(after)
    }

    /// The document that a token belongs to, the end-of-text token to the one before it.
    pub fn document_at(&self, token: usize) -> usize {
        let (mut low, mut high) = (0, self.documents());
        while high - low > 1 {
            let middle = low.midpoint(high);
            if self.offset(middle) <= token {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    fn offset(&self, i: usize) -> usize {
        let at = PAGE + tokens_bytes(&self.header) + i * 8;
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.map[at..at + 8]);
        u64::from_le_bytes(bytes) as usize
    }
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
    check_payload(path, header, map)
}

/// Whether every token is in the vocabulary and documents follow one another to the end: a digest only says that the
/// bytes are those that somebody wrote.
fn check_payload(path: PathBuf, header: &Header, map: &[u8]) -> Result<(), CacheError> {
    let (tokens, offsets) = map[PAGE..].split_at(tokens_bytes(header));
    let vocab_size = header.vocab_size;
    let outside = |(_, id): &(usize, u32)| *id as usize >= vocab_size;
    let ids = tokens[..header.tokens * header.width].chunks_exact(header.width).map(wide);
    if let Some((position, id)) = ids.enumerate().find(outside) {
        return Err(CacheError::OutsideVocabulary { path, position, id, vocab_size });
    }
    let mut offsets = offsets.as_chunks::<8>().0.iter().map(|at| u64::from_le_bytes(*at));
    let first = offsets.next();
    let last = offsets.try_fold(first.unwrap_or(u64::MAX), |before, at| (before < at).then_some(at));
    if [first, last] != [Some(0), Some(header.tokens as u64)] {
        let expected =
            format!("{} documents that follow one another to token {}", header.documents, header.tokens);
        return Err(CacheError::Differs { path, field: "documents", expected, got: "others".to_owned() });
    }
    if header.documents == 0 { Err(CacheError::Empty(path)) } else { Ok(()) }
}

/// A token of two or four bytes.
fn wide(token: &[u8]) -> u32 {
    let mut wide = [0; 4];
    wide[..token.len()].copy_from_slice(token);
    u32::from_le_bytes(wide)
}

/// Reads documents until there are enough to encode side by side.
fn read_chunk<'a, E>(
    texts: &mut (impl Iterator<Item = Result<Cow<'a, str>, E>> + Send),
) -> Result<Vec<Cow<'a, str>>, E> {
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    while chunk.len() < CHUNK * rayon::current_num_threads() && bytes < CHUNK_BYTES {
        let Some(text) = texts.next().transpose()? else { break };
        bytes += text.len();
        chunk.push(text);
    }
    Ok(chunk)
}

fn build<'a, E: Into<CacheError> + Send>(
    path: &Path,
    source_digest: &str,
    tokenizer: &Tokenizer,
    mut texts: impl Iterator<Item = Result<Cow<'a, str>, E>> + Send,
    tell: &mut dyn FnMut(u64) -> Result<(), CacheError>,
) -> Result<(), CacheError> {
    let mut writer = TokenWriter::begin(path, source_digest, tokenizer)?;
    let mut bytes = 0;
    for _ in 0..writer.documents() {
        let Some(text) = texts.next().transpose().map_err(E::into)? else { break };
        bytes += text.len() as u64;
    }
    let mut chunk = read_chunk(&mut texts).map_err(E::into)?;
    while !chunk.is_empty() {
        tell(bytes)?;
        let encode = || chunk.par_iter().map(|text| tokenizer.encode(text)).collect::<Result<Vec<_>, _>>();
        let (ids, next) = rayon::join(encode, || read_chunk(&mut texts));
        let ids = ids.map_err(|source| CacheError::Tokenizer { path: path.to_owned(), source })?;
        ids.iter().try_for_each(|ids| writer.document(ids, tokenizer.eot()))?;
        bytes += chunk.iter().map(|text| text.len() as u64).sum::<u64>();
        chunk = next.map_err(E::into)?;
    }
    writer.finish()
}
