//! The writing half of `cache`: a payload of unknown length, streamed.
//!
//! Invariant: ids reach the disk only after a check against the vocabulary, and the header, which
//! holds the digest of the payload, is written last over a page kept free for it.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::token_format::{CacheError, Header, MAGIC, PAGE, VERSION, tokens_bytes};
use super::tokenizer::Tokenizer;
use crate::files::hex;

/// Writes the payload as it comes and the header, which needs its digest, last.
pub(super) struct TokenWriter<'a> {
    path: &'a Path,
    file: &'a mut BufWriter<File>,
    header: Header,
    offsets: Vec<u64>,
    payload: Sha256,
}

impl<'a> TokenWriter<'a> {
    /// Begins a file with an empty page.
    pub(super) fn new(
        path: &'a Path,
        file: &'a mut BufWriter<File>,
        source: &str,
        tokenizer: &Tokenizer,
    ) -> Result<Self, CacheError> {
        let vocab_size = tokenizer.vocab_size();
        let header = Header {
            tokenizer: tokenizer.digest().to_owned(),
            source: source.to_owned(),
            vocab_size,
            tokens: 0,
            documents: 0,
            width: if vocab_size <= usize::from(u16::MAX) + 1 { 2 } else { 4 },
            payload: String::new(),
        };
        let mut writer = Self { path, file, header, offsets: vec![0], payload: Sha256::new() };
        writer.raw(&[0; PAGE])?;
        Ok(writer)
    }

    /// Appends a document and the end-of-text token after it.
    pub(super) fn document(&mut self, ids: &[u32], eot: u32) -> Result<(), CacheError> {
        let mut bytes = Vec::with_capacity((ids.len() + 1) * self.header.width);
        for (i, &id) in ids.iter().chain([&eot]).enumerate() {
            if id as usize >= self.header.vocab_size {
                let (path, vocab_size) = (self.path.to_owned(), self.header.vocab_size);
                let position = self.header.tokens + i;
                return Err(CacheError::OutsideVocabulary { path, position, id, vocab_size });
            }
            bytes.extend_from_slice(&id.to_le_bytes()[..self.header.width]);
        }
        self.header.tokens += ids.len() + 1;
        self.header.documents += 1;
        self.offsets.push(self.header.tokens as u64);
        self.hashed(&bytes)
    }

    /// Completes the file.
    pub(super) fn finish(mut self) -> Result<(), CacheError> {
        if self.header.documents == 0 {
            return Err(CacheError::Empty(self.path.to_owned()));
        }
        let written = self.header.tokens * self.header.width;
        self.hashed(&vec![0; tokens_bytes(&self.header) - written])?;
        let offsets: Vec<u8> = self.offsets.iter().flat_map(|at| at.to_le_bytes()).collect();
        self.hashed(&offsets)?;
        self.header.payload = hex(std::mem::take(&mut self.payload));
        let json = serde_json::to_vec(&self.header)
            .map_err(|source| CacheError::BadHeader { path: self.path.to_owned(), source })?;
        self.file.seek(SeekFrom::Start(0)).map_err(|source| self.io(source))?;
        let length = json.len() as u32;
        self.raw(&[MAGIC.as_slice(), &VERSION.to_le_bytes(), &length.to_le_bytes(), &json].concat())
    }

    fn hashed(&mut self, bytes: &[u8]) -> Result<(), CacheError> {
        self.payload.update(bytes);
        self.raw(bytes)
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<(), CacheError> {
        self.file.write_all(bytes).map_err(|source| self.io(source))
    }

    fn io(&self, source: io::Error) -> CacheError {
        CacheError::Io { path: self.path.to_owned(), source }
    }
}
