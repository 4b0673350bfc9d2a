//! A data set ready to train on: tokenizer, training and validation tokens, and a digest of it all.
//!
//! Invariant: the digest covers every byte that training and validation see, it is computed from the
//! text at every preparation, and no validation document also occurs in training.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cache::{CacheError, TokenFile};
use super::corpora::{self, CorpusError};
use super::synthetic::cloze;
use super::synthetic::conversations::{self, Amount, Split};
use super::tokenizer::{Tokenizer, TokenizerError};
use super::vocabulary::Patience;
use crate::files::{FileLock, digest_of_texts, sha256, sweep};

/// What to prepare. Unknown fields are refused, so that a typing error cannot go unnoticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
        match self {
            Self::Conversations { seed: _, train_tokens, valid_documents, vocab_size } => {
                above("data.train_tokens", *train_tokens, MOST_TOKENS)
                    .or_else(|| above("data.valid_documents", *valid_documents, MOST_DOCUMENTS))
                    .or_else(|| above("data.vocab_size", *vocab_size, MOST_VOCABULARY))
            }
            Self::Text { tokenizer, .. } => {
                let size = tokenizer.strip_prefix("train:")?.parse().ok()?;
                above("data.tokenizer", size, MOST_VOCABULARY)
            }
        }
    }
}

/// A prepared data set.
#[derive(Debug)]
pub struct Dataset {
    /// A short name for people.
    pub name: String,
    /// What made the ids.
    pub tokenizer: Tokenizer,
    /// To learn from.
    pub train: TokenFile,
    /// To measure the loss on.
    pub valid: TokenFile,
    /// Digest of tokenizer, training and validation tokens.
    pub digest: String,
    /// Where the training and the validation text come from.
    origins: [String; 2],
}

impl Dataset {
    /// Refuses a data set whose training or validation text is shorter than a window of so many tokens and the token
    /// after it.
    pub fn expect_windows(&self, context: usize) -> Result<(), DatasetError> {
        for (file, origin) in [&self.train, &self.valid].into_iter().zip(&self.origins) {
            let (expected, got) = (context.saturating_add(1), file.len());
            if got < expected {
                return Err(DatasetError::TooShort { origin: origin.clone(), expected, context, got });
            }
        }
        Ok(())
    }
}

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

/// Text before tokens.
struct Source {
    name: String,
    train: Vec<String>,
    valid: Vec<String>,
    origins: [String; 2],
}

/// Where the vocabulary comes from.
enum Vocabulary {
    Learn(usize),
    /// As [`Vocabulary::Learn`], every value of the conversations being one token.
    LearnValues(usize),
    Load(PathBuf),
}

/// Reads or generates the text, then makes or reuses tokenizer and token files under `cache_dir`.
/// `data` is the folder that paths in the specification start from.
pub fn prepare(spec: &DataSpec, data: Option<&Path>, cache_dir: &Path) -> Result<Dataset, DatasetError> {
    prepare_with(spec, data, cache_dir, &Patience::endless())
}

/// The same, as long as there is patience for learning a vocabulary.
pub fn prepare_with(
    spec: &DataSpec,
    data: Option<&Path>,
    cache_dir: &Path,
    patience: &Patience<'_>,
) -> Result<Dataset, DatasetError> {
    let (source, vocabulary) = read(spec, data)?;
    refuse_overlap(&source)?;
    let (train, valid) = (digest_of_texts(&source.train), digest_of_texts(&source.valid));
    let made_of = match &vocabulary {
        Vocabulary::Learn(size) => format!("{train} {valid} learn {size}"),
        Vocabulary::LearnValues(size) => format!("{train} {valid} learn with values {size}"),
        Vocabulary::Load(path) => format!("{train} {valid} load {}", load(path)?.digest()),
    };
    let folder = cache_dir.join(format!("{}-{}", source.name, &sha256(made_of.as_bytes())[..16]));
    let purpose = format!("preparing {}", source.name);
    let say = |line: &str| patience.screen.say(line);
    let lock = FileLock::acquire(&folder.join(".lock"), &purpose, &say, patience.stopping);
    let io = |error| CacheError::Io { path: folder.clone(), source: error };
    let lock = lock.map_err(io)?;
    if lock.holds() {
        sweep(&folder).map_err(io)?;
    }
    let tokenizer = tokenizer(&vocabulary, &source.train, &folder, patience)?;
    let train = TokenFile::build_or_open(&folder.join("train.tokens"), &train, &tokenizer, &source.train)?;
    let valid = TokenFile::build_or_open(&folder.join("valid.tokens"), &valid, &tokenizer, &source.valid)?;
    let digest = digest_of_texts(&[tokenizer.digest(), train.digest(), valid.digest()]);
    Ok(Dataset { name: source.name, tokenizer, train, valid, digest, origins: source.origins })
}

fn read(spec: &DataSpec, data: Option<&Path>) -> Result<(Source, Vocabulary), DatasetError> {
    match spec {
        DataSpec::Conversations { seed, train_tokens, valid_documents, vocab_size } => {
            let name = "conversations".to_owned();
            let train = conversations::conversations(*seed, Split::Train, Amount::Tokens(*train_tokens));
            let valid =
                conversations::conversations(*seed, Split::Valid, Amount::Documents(*valid_documents));
            if train.is_empty() || valid.is_empty() {
                return Err(DatasetError::NoDocuments(name));
            }
            let origins = ["data.train_tokens", "data.valid_documents"].map(str::to_owned);
            Ok((Source { name, train, valid, origins }, Vocabulary::LearnValues(*vocab_size)))
        }
        DataSpec::Text { train, valid, tokenizer } => {
            let folder = data.ok_or_else(|| DatasetError::NoDataFolder(train.clone()))?;
            let vocabulary = match tokenizer.strip_prefix("train:") {
                Some(size) => Vocabulary::Learn(
                    size.parse().map_err(|_| DatasetError::BadTokenizer(tokenizer.clone()))?,
                ),
                None => Vocabulary::Load(folder.join(tokenizer)),
            };
            let files = [folder.join(train), folder.join(valid)];
            let origins = files.each_ref().map(|path| path.display().to_string());
            let train = corpora::read(&files[0], None)?;
            let valid = corpora::read(&files[1], None)?.documents;
            Ok((Source { name: train.name, train: train.documents, valid, origins }, vocabulary))
        }
    }
}

fn refuse_overlap(source: &Source) -> Result<(), DatasetError> {
    let known: HashSet<&str> = source.train.iter().map(|text| text.trim()).collect();
    let twice = |(_, text): &(usize, &String)| known.contains(text.trim());
    let mut both = source.valid.iter().enumerate().filter(twice);
    let Some((first, _)) = both.next() else {
        return Ok(());
    };
    Err(DatasetError::Overlap { name: source.name.clone(), count: 1 + both.count(), first })
}

/// The tokenizer of the folder: the one an earlier preparation left, or a new one.
fn tokenizer(
    vocabulary: &Vocabulary,
    text: &[String],
    folder: &Path,
    patience: &Patience<'_>,
) -> Result<Tokenizer, DatasetError> {
    let kept = folder.join("tokenizer.json");
    if kept.is_file() {
        return Ok(Tokenizer::from_file(&kept)?);
    }
    let tokenizer = match vocabulary {
        Vocabulary::Learn(size) => Tokenizer::learn(text, *size, patience)?,
        Vocabulary::LearnValues(size) => whole_values(conversations::tokenizer(text, *size)?)?,
        Vocabulary::Load(path) => load(path)?,
    };
    tokenizer.save(&kept)?;
    Ok(tokenizer)
}

fn whole_values(tokenizer: Tokenizer) -> Result<Tokenizer, DatasetError> {
    let split = cloze::split_candidates(&tokenizer);
    if split.is_empty() {
        return Ok(tokenizer);
    }
    Err(DatasetError::SplitValues { vocab_size: tokenizer.vocab_size(), split })
}

fn load(path: &Path) -> Result<Tokenizer, TokenizerError> {
    if path.is_dir() { Tokenizer::from_dir(path) } else { Tokenizer::from_file(path) }
}
