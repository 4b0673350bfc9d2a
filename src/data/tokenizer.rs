//! Byte-level BPE with GPT-2's way of splitting text: loaded from the usual files or trained here.
//!
//! Invariant: encoding loses nothing (any text comes back from `decode(encode(text))`), and two
//! tokenizers with the same digest give the same ids.

use std::io::Write;
use std::path::{Path, PathBuf};

use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::{ModelWrapper, TrainerWrapper};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer as Inner};

use super::corpora::END_OF_TEXT;
use crate::files::{sha256, write_atomically};

/// Every byte has a token and so has the end of a text: no vocabulary can be smaller.
pub const SMALLEST_VOCABULARY: usize = 257;

/// A vocabulary and the rules that turn text into its ids and back.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: Inner,
    eot: u32,
    digest: String,
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

fn failed(doing: &'static str) -> impl Fn(tokenizers::Error) -> TokenizerError {
    move |error| TokenizerError::Failed { doing, message: error.to_string() }
}

impl Tokenizer {
    /// Loads `tokenizer.json` from a folder, or else `vocab.json` with `merges.txt`.
    pub fn from_dir(folder: &Path) -> Result<Self, TokenizerError> {
        let whole = folder.join("tokenizer.json");
        let (vocab, merges) = (folder.join("vocab.json"), folder.join("merges.txt"));
        if whole.is_file() {
            return Self::from_file(&whole);
        }
        if !(vocab.is_file() && merges.is_file()) {
            return Err(TokenizerError::NoFiles(folder.to_owned()));
        }
        let unreadable = |error: tokenizers::Error| TokenizerError::Unreadable {
            path: folder.to_owned(),
            message: error.to_string(),
        };
        let files = BPE::from_file(&vocab.to_string_lossy(), &merges.to_string_lossy());
        Self::finish(byte_level(files.build().map_err(unreadable)?)?, &folder.to_string_lossy())
    }

    /// Loads a `tokenizer.json`.
    pub fn from_file(path: &Path) -> Result<Self, TokenizerError> {
        let inner = Inner::from_file(path).map_err(|error| TokenizerError::Unreadable {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        Self::finish(inner, &path.to_string_lossy())
    }

    /// Learns a vocabulary of exactly that size; the same documents give the same vocabulary.
    pub fn train<S>(documents: &[S], vocab_size: usize) -> Result<Self, TokenizerError>
    where
        S: AsRef<str> + Sync,
    {
        if vocab_size < SMALLEST_VOCABULARY {
            return Err(TokenizerError::TooSmall(vocab_size));
        }
        let trainer = BpeTrainer::builder()
            .vocab_size(vocab_size)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
            .build();
        let mut inner = byte_level(BPE::default())?;
        let texts = documents.iter().map(AsRef::as_ref);
        inner.train(&mut TrainerWrapper::BpeTrainer(trainer), texts).map_err(failed("learn a vocabulary"))?;
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
        let json = inner.to_string(false).map_err(failed("serialise it"))?;
        Ok(Self { inner, eot, digest: sha256(json.as_bytes()) })
    }

    /// The ids of a text. The text `<|endoftext|>` inside it becomes the token of that name.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.inner.encode_fast(text, false).map_err(failed("encode"))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of some ids; the end-of-text token is written out.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        self.inner.decode(ids, false).map_err(failed("decode"))
    }

    /// How many tokens there are; every id is smaller.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The token that ends a document.
    pub fn eot(&self) -> u32 {
        self.eot
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
