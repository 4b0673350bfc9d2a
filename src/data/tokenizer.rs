//! Byte-level BPE with GPT-2's way of splitting text: loaded from the usual files or trained here.
//!
//! Invariant: encoding loses nothing (any text comes back from `decode(encode(text))`), and two
//! tokenizers with the same digest give the same ids.

use std::collections::HashMap;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::{Value, json};
use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, PostProcessor, Tokenizer as Inner};

use super::corpora::END_OF_TEXT;
use super::guard::guarded;
use super::pieces::{PIECE, is_separable, pieces};
use super::vocabulary::{Patience, Unlearnt, learn};
use crate::files::{sha256, write_atomically};

/// Every byte has a token and so has the end of a text: no vocabulary can be smaller.
pub const SMALLEST_VOCABULARY: usize = 257;

/// A vocabulary and the rules that turn text into its ids and back.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: Inner,
    eot: u32,
    /// The `bos_token` of transformers, or else the end of a text.
    bos: u32,
    digest: String,
    /// Whether no token reaches over a place where white space begins, so that a text may be cut there.
    separable: bool,
}

/// Why a tokenizer could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A folder holds neither of the two layouts.
    #[error("{}: expected tokenizer.json, or vocab.json and merges.txt; found neither", .0.display())]
    NoFiles(PathBuf),
    /// A file could not be understood.
    #[error("cannot load tokenizer {path}: {message}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        message: String,
    },
    /// The vocabulary lacks the token that separates documents.
    #[error("{origin}: expected a token {END_OF_TEXT}, got a vocabulary of {vocab_size} without it")]
    NoEndOfText {
        /// Where the vocabulary came from.
        origin: String,
        /// How many tokens it has.
        vocab_size: usize,
    },
    /// A vocabulary too small to hold every byte was asked for.
    #[error("expected a vocabulary of at least {SMALLEST_VOCABULARY} (all bytes and {END_OF_TEXT}), got {0}")]
    TooSmall(usize),
    /// Somebody asked to stop.
    #[error("interrupted while learning a vocabulary of {0} tokens")]
    Interrupted(usize),
    /// It took too long.
    #[error(
        "learning a vocabulary of {asked} tokens was not done after {seconds} s: expected text with words and spaces, \
         or less of it; or take a tokenizer.json that there is"
    )]
    TooLong {
        /// The vocabulary asked for.
        asked: usize,
        /// How long was waited.
        seconds: u64,
    },
    /// The text ran out of pairs to merge before the vocabulary was full.
    #[error("expected text varied enough for {asked} tokens, got only {got}")]
    TooLittleText {
        /// The vocabulary asked for.
        asked: usize,
        /// The vocabulary reached.
        got: usize,
    },
    /// The tokenizer itself failed.
    #[error("tokenizer: cannot {doing}: {message}")]
    Failed {
        /// What was attempted.
        doing: &'static str,
        /// What it said.
        message: String,
    },
    /// A file could not be written.
    #[error("cannot write tokenizer {path}: {source}", path = path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What the library does, its panics being errors like others.
fn tamed<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    guarded(call).unwrap_or_else(|said| Err(said.into()))
}

fn failed(doing: &'static str) -> impl Fn(tokenizers::Error) -> TokenizerError {
    move |error| TokenizerError::Failed { doing, message: error.to_string() }
}

impl Tokenizer {
    /// Loads `tokenizer.json` from a folder, or else `vocab.json` with `merges.txt`.
    pub fn from_dir(folder: &Path) -> Result<Self, TokenizerError> {
        let whole = folder.join("tokenizer.json");
        if whole.is_file() {
            return Self::from_file(&whole);
        }
        Self::from_vocabulary(folder)?.with_bos_of(folder)
    }

    /// Loads a `tokenizer.json`, and what a `tokenizer_config.json` beside it says of the beginning of a text.
    pub fn from_file(path: &Path) -> Result<Self, TokenizerError> {
        let unreadable = |error: tokenizers::Error| TokenizerError::Unreadable {
            path: path.to_owned(),
            message: error.to_string(),
        };
        let inner = tamed(|| Inner::from_file(path)).map_err(unreadable)?;
        let tokenizer = Self::finish(inner, &path.to_string_lossy())?;
        tokenizer.with_bos_of(path.parent().unwrap_or(Path::new("")))
    }

    /// Loads `vocab.json` with `merges.txt`, whatever else lies beside them.
    pub fn from_vocabulary(folder: &Path) -> Result<Self, TokenizerError> {
        let (vocab, merges) = (folder.join("vocab.json"), folder.join("merges.txt"));
        if !(vocab.is_file() && merges.is_file()) {
            return Err(TokenizerError::NoFiles(folder.to_owned()));
        }
        let unreadable = |error: tokenizers::Error| TokenizerError::Unreadable {
            path: folder.to_owned(),
            message: error.to_string(),
        };
        let files = BPE::from_file(&vocab.to_string_lossy(), &merges.to_string_lossy());
        Self::finish(byte_level(tamed(|| files.build()).map_err(unreadable)?)?, &folder.to_string_lossy())
    }

    /// The same with the `bos_token` of a folder's `tokenizer_config.json`, where there is one.
    fn with_bos_of(self, folder: &Path) -> Result<Self, TokenizerError> {
        let path = folder.join("tokenizer_config.json");
        let unreadable = |message| TokenizerError::Unreadable { path: path.clone(), message };
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(self),
            read => read.map_err(|error| unreadable(error.to_string()))?,
        };
        let config: Value = serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
        let bos = &config["bos_token"];
        let Some(bos) = bos.as_str().or_else(|| bos["content"].as_str()) else { return Ok(self) };
        match self.inner.token_to_id(bos) {
            Some(bos) => Ok(Self { bos, ..self }),
            None => Err(unreadable(format!("bos_token {bos:?}, which the vocabulary lacks"))),
        }
    }

    /// Learns a vocabulary of exactly that size; the same documents give the same vocabulary.
    pub fn train<S>(documents: &[S], vocab_size: usize) -> Result<Self, TokenizerError>
    where
        S: AsRef<str> + Sync,
    {
        Self::learn(documents.iter(), documents.len(), vocab_size, &Patience::endless())
    }

    /// The same from so many documents that come one after another, as long as there is patience for it.
    pub fn learn<S>(
        documents: impl Iterator<Item = S> + Send,
        count: usize,
        vocab_size: usize,
        patience: &Patience<'_>,
    ) -> Result<Self, TokenizerError>
    where
        S: AsRef<str> + Send,
    {
        if vocab_size < SMALLEST_VOCABULARY {
            return Err(TokenizerError::TooSmall(vocab_size));
        }
        let learnt = learn((documents, count), vocab_size, patience).map_err(|reason| match reason {
            Unlearnt::Stopped => TokenizerError::Interrupted(vocab_size),
            Unlearnt::TooLong => {
                TokenizerError::TooLong { asked: vocab_size, seconds: patience.limit.as_secs() }
            }
            Unlearnt::Failed(error) => failed("learn a vocabulary")(error),
        })?;
        let mut inner = byte_level(learnt)?;
        inner.add_special_tokens([AddedToken::from(END_OF_TEXT, true)]).map_err(failed("add tokens"))?;
        let got = inner.get_vocab_size(true);
        if got != vocab_size {
            return Err(TokenizerError::TooLittleText { asked: vocab_size, got });
        }
        Self::finish(inner, "trained tokenizer")
    }

    /// A tokenizer whose ids depend on the text alone: what a file says of cutting, filling up and dropping merges at
    /// random is for batches and for training, and would change texts in silence.
    fn finish(mut inner: Inner, origin: &str) -> Result<Self, TokenizerError> {
        inner.with_truncation(None).map_err(failed("switch off truncation"))?;
        inner.with_padding(None);
        without_dropout(&mut inner);
        end_of_text_is_one_token(&mut inner)?;
        let eot = inner.token_to_id(END_OF_TEXT).ok_or_else(|| TokenizerError::NoEndOfText {
            origin: origin.to_owned(),
            vocab_size: inner.get_vocab_size(true),
        })?;
        // The library writes fields in a fixed order, the vocabulary by id and merges by rank, so
        // its compact form is canonical whatever file the tokenizer came from.
        let json = tamed(|| inner.to_string(false)).map_err(failed("serialise it"))?;
        let separable = is_separable(&inner);
        Ok(Self { inner, eot, bos: eot, digest: sha256(json.as_bytes()), separable })
    }

    /// The ids of a text. The text `<|endoftext|>` inside it becomes the token of that name.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encode = |text| tamed(|| self.inner.encode_fast(text, false)).map(|done| done.get_ids().to_vec());
        let ids = match self.separable && text.len() > PIECE {
            true => pieces(text, PIECE).into_par_iter().map(encode).collect::<Result<Vec<_>, _>>(),
            false => encode(text).map(|ids| vec![ids]),
        };
        Ok(ids.map_err(failed("encode"))?.concat())
    }

    /// The ids of a text as transformers' tokenizers give them unless told otherwise, and so the EleutherAI harness:
    /// with the special tokens that the file's post-processor puts around it, unless the text begins with that of
    /// [`Self::bos`].
    pub fn encode_with_special_tokens(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let begins = text.starts_with(&self.decode(&[self.bos])?);
        let encoding = tamed(|| self.inner.encode_fast(text, !begins)).map_err(failed("encode"))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of some ids; the end-of-text token is written out.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        tamed(|| self.inner.decode(ids, false)).map_err(failed("decode"))
    }

    /// How many tokens there are; every id is smaller.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The bytes of every token, where a text is nothing but the bytes of its tokens one after another.
    pub(super) fn spelling(&self) -> Option<Vec<Vec<u8>>> {
        let added = self.inner.get_added_tokens_decoder();
        let letters = letters();
        let bytes_of = |id: u32| -> Option<Vec<u8>> {
            match added.get(&id) {
                Some(token) => Some(token.content.clone().into_bytes()),
                // An id that no token has spells nothing that a text has.
                None => self.inner.id_to_token(id).map_or(Some(vec![0xff]), |token| {
                    token.chars().map(|letter| letters.get(&letter).copied()).collect()
                }),
            }
        };
        self.separable.then(|| (0..self.vocab_size() as u32).map(bytes_of).collect())?
    }

    /// The token that ends a document.
    pub fn eot(&self) -> u32 {
        self.eot
    }

    /// Whether both make the same of every text: what one begins with is told beside a tokenizer and is in no digest.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.digest, self.bos) == (&other.digest, other.bos)
    }

    /// The token before a text of which nothing precedes: transformers' `bos_token`, or else the end of another text.
    pub fn bos(&self) -> u32 {
        self.bos
    }

    /// Whether both turn every text into the same ids, as far as their files tell: vocabulary, merges, how text is
    /// prepared and split, and which tokens are put around it or found in it as a whole.
    pub fn encodes_like(&self, other: &Self) -> Result<bool, TokenizerError> {
        Ok(self.rules()? == other.rules()?)
    }

    /// What ids depend on; empty affixes and switches that are off are as if they were absent.
    fn rules(&self) -> Result<Value, TokenizerError> {
        let json = self.inner.to_string(false).map_err(failed("serialise it"))?;
        let mut file: Value = serde_json::from_str(&json).unwrap_or_default();
        let absent = |value: &Value| matches!(value, Value::Null | Value::Bool(false)) || value == "";
        if let Value::Object(model) = &mut file["model"] {
            model.retain(|_, value| !absent(value));
        }
        if let Value::Object(split) = &mut file["pre_tokenizer"] {
            split.remove("trim_offsets");
        }
        let around = self.inner.get_post_processor().map_or(0, |p| p.added_tokens(false));
        let mut added: Vec<_> = self.inner.get_added_vocabulary().get_vocab().iter().collect();
        added.sort();
        Ok(json!([file["model"], file["pre_tokenizer"], file["normalizer"], around, added]))
    }

    /// SHA-256 of the canonical JSON.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The id of a text that is exactly one token, such as `" red"`.
    pub fn single_token(&self, text: &str) -> Option<u32> {
        match self.encode(text).ok()?.as_slice() {
            [id] => Some(*id),
            _ => None,
        }
    }

    /// Writes `tokenizer.json`, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), TokenizerError> {
        let json = self.inner.to_string(true).map_err(failed("serialise it"))?;
        let io = |source| TokenizerError::Unwritable { path: path.to_owned(), source };
        write_atomically(path, io, |file| file.write_all(json.as_bytes()).map_err(io))
    }
}

/// A BPE model with GPT-2's splitting, no space put before the text, and the end-of-text token.
fn byte_level(model: BPE) -> Result<Inner, TokenizerError> {
    let mut inner = Inner::new(model);
    inner.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    inner.with_decoder(Some(ByteLevelDecoder::new(false, true, true)));
    Ok(inner)
}

/// The byte that each letter of a byte-level vocabulary stands for: itself where Latin-1 prints it, and the others in
/// order from U+0100.
fn letters() -> HashMap<char, u8> {
    let printed = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let others = (0..=u8::MAX).filter(|byte| !printed(byte)).zip(256_u32..);
    let others = others.filter_map(|(byte, code)| Some((char::from_u32(code)?, byte)));
    (0..=u8::MAX).filter(printed).map(|byte| (char::from(byte), byte)).chain(others).collect()
}

/// Makes the end of a text one token wherever the vocabulary has it, whether or not the file says so.
fn end_of_text_is_one_token(inner: &mut Inner) -> Result<(), TokenizerError> {
    let added = inner.get_added_vocabulary().get_vocab().contains_key(END_OF_TEXT);
    if !added && inner.token_to_id(END_OF_TEXT).is_some() {
        inner.add_special_tokens([AddedToken::from(END_OF_TEXT, true)]).map_err(failed("add tokens"))?;
    }
    Ok(())
}

fn without_dropout(inner: &mut Inner) {
    let ModelWrapper::BPE(bpe) = inner.get_model() else { return };
    if bpe.dropout.is_some() {
        let mut bpe = bpe.clone();
        bpe.dropout = None;
        inner.with_model(bpe);
    }
}
