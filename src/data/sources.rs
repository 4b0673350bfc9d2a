//! The text of a data set before it becomes tokens: read or generated, part after part.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::corpora::{self, CorpusError, TextFile};
use super::dataset_error::DatasetError;
use super::documents::{Documents, Text};
use super::published::dialogues::{Dialogue, dailydialog};
use super::spec::{DataSpec, PartSource, PartSpec};
use super::synthetic::conversations::{self, Amount, Split};
use crate::files::{add_text, hex};

/// Text before tokens. That to train on is gone through document after document: it may be larger than memory.
pub(super) struct Source {
    pub(super) name: String,
    /// By part.
    pub(super) train: Vec<Documents>,
    pub(super) valid: Vec<String>,
    pub(super) origins: [String; 2],
    /// Of a mixture each part's name and share, and how many documents it has to validate on.
    pub(super) parts: Vec<(String, f64, usize)>,
}

/// What going through a training text once tells of it.
pub(super) struct Survey {
    /// Digest of its documents.
    pub(super) digest: String,
    /// Documents of every part.
    pub(super) documents: Vec<usize>,
}

impl Source {
    /// Text that is no mixture.
    fn whole(name: String, train: Documents, valid: Vec<String>, origins: [String; 2]) -> Self {
        Self { name, train: vec![train], valid, origins, parts: Vec::new() }
    }

    /// Every document to train on.
    pub(super) fn texts(&self) -> impl Iterator<Item = Text<'_>> + Send + '_ {
        self.train.iter().flat_map(Documents::each)
    }

    /// The same, and after the last an error where they are not the documents of that digest any more.
    pub(super) fn texts_of(&self, expected: &str) -> impl Iterator<Item = Text<'_>> + Send {
        let (mut texts, mut digest) = (self.texts(), Some(Sha256::new()));
        std::iter::from_fn(move || {
            let Some(text) = texts.next() else {
                let got = hex(digest.take()?);
                let (name, expected) = (self.name.clone(), expected.to_owned());
                return (got != expected).then_some(Err(CorpusError::Changed { name, expected, got }));
            };
            if let (Ok(text), Some(digest)) = (&text, &mut digest) {
                add_text(digest, text);
            }
            Some(text)
        })
    }

    /// Bytes of all of them, about.
    pub(super) fn bytes(&self) -> u64 {
        self.train.iter().map(Documents::bytes).sum()
    }

    /// Goes through the training text; `tell` is told how many bytes are behind it.
    ///
    /// # Errors
    /// A text that cannot be read, and validation text that would be measured by heart.
    pub(super) fn survey(&self, tell: &dyn Fn(u64)) -> Result<Survey, DatasetError> {
        let mut held_out = HashMap::<&str, bool>::new();
        held_out.extend(self.valid.iter().map(|text| (text.trim(), false)));
        let (mut digest, mut bytes, mut documents) = (Sha256::new(), 0, Vec::new());
        for part in &self.train {
            let mut count = 0;
            for text in part.each() {
                let text = text?;
                add_text(&mut digest, &text);
                if let Some(known) = held_out.get_mut(text.trim()) {
                    *known = true;
                }
                count += 1;
                bytes += text.len() as u64;
                tell(bytes);
            }
            documents.push(count);
        }
        let known = |(_, text): &(usize, &String)| held_out.get(text.trim()).is_some_and(|known| *known);
        let mut both = self.valid.iter().enumerate().filter(known);
        match both.next() {
            Some((first, _)) => {
                Err(DatasetError::Overlap { name: self.name.clone(), count: 1 + both.count(), first })
            }
            None => Ok(Survey { digest: hex(digest), documents }),
        }
    }

    fn mixture(parts: &[PartSpec], data: Option<&Path>) -> Result<Self, DatasetError> {
        let (train, valid) = (Vec::new(), Vec::new());
        let mut mixed =
            Self { name: "mixture".to_owned(), train, valid, origins: Default::default(), parts: Vec::new() };
        let mut origins = [Vec::new(), Vec::new()];
        for part in parts {
            let text = part.source.read(data)?;
            if text.train.is_empty() || text.valid.is_empty() {
                return Err(DatasetError::NoDocuments(part.name.clone()));
            }
            mixed.parts.push((part.name.clone(), part.share, text.valid.len()));
            mixed.train.push(text.train);
            mixed.valid.extend(text.valid);
            origins.iter_mut().zip(text.origins).for_each(|(all, origin)| all.push(origin));
        }
        Ok(Self { origins: origins.map(|all| all.join(" and ")), ..mixed })
    }
}

/// Where the vocabulary comes from.
pub(super) enum Vocabulary {
    Learn(usize),
    /// As [`Vocabulary::Learn`], every value of the conversations being one token.
    LearnValues(usize),
    Load(PathBuf),
}

/// The text of a data set, whose validation text is not in its training text, and where its vocabulary comes from.
pub(super) fn read(spec: &DataSpec, data: Option<&Path>) -> Result<(Source, Vocabulary), DatasetError> {
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
            let train = Documents::Held(train);
            Ok((Source::whole(name, train, valid, origins), Vocabulary::LearnValues(*vocab_size)))
        }
        DataSpec::Text { train, valid, tokenizer } => {
            let folder = data.ok_or_else(|| DatasetError::NoDataFolder(train.clone()))?;
            let vocabulary = vocabulary(tokenizer, data)?;
            let files = [folder.join(train), folder.join(valid)];
            let origins = files.each_ref().map(|path| path.display().to_string());
            let name = files[0].file_name().map(|name| name.to_string_lossy().into_owned());
            let train = Documents::of(&files[0])?;
            let valid = corpora::read(&files[1], None)?.documents;
            Ok((Source::whole(name.unwrap_or_default(), train, valid, origins), vocabulary))
        }
        DataSpec::Mixture { tokenizer, parts } => {
            let learnt = match vocabulary(tokenizer, data)? {
                Vocabulary::Learn(size) if parts.iter().any(|part| part.source.has_values()) => {
                    Vocabulary::LearnValues(size)
                }
                other => other,
            };
            Ok((Source::mixture(parts, data)?, learnt))
        }
    }
}

fn vocabulary(tokenizer: &str, data: Option<&Path>) -> Result<Vocabulary, DatasetError> {
    match tokenizer.strip_prefix("train:") {
        Some(size) => {
            let size = size.parse().map_err(|_| DatasetError::BadTokenizer(tokenizer.to_owned()))?;
            Ok(Vocabulary::Learn(size))
        }
        None => {
            let folder = data.ok_or_else(|| DatasetError::NoDataFolder(tokenizer.into()))?;
            Ok(Vocabulary::Load(folder.join(tokenizer)))
        }
    }
}

/// The documents of a part: to train on and to validate on, and where they come from.
struct PartText {
    train: Documents,
    valid: Vec<String>,
    origins: [String; 2],
}

impl PartSource {
    /// Whether its text has values that recall is asked for.
    fn has_values(&self) -> bool {
        matches!(self, Self::Conversations { .. })
    }

    fn read(&self, data: Option<&Path>) -> Result<PartText, DatasetError> {
        let files = |train: &Path, valid: &Path| {
            let folder = data.ok_or_else(|| DatasetError::NoDataFolder(train.to_owned()))?;
            let files = [folder.join(train), folder.join(valid)];
            let origins = files.each_ref().map(|path| path.display().to_string());
            Ok::<_, DatasetError>((files, origins))
        };
        match self {
            Self::Text { train, valid } => {
                let ([train, valid], origins) = files(train, valid)?;
                let train = Documents::of(&train)?;
                Ok(PartText { train, valid: corpora::read(&valid, None)?.documents, origins })
            }
            Self::Dailydialog { train, valid } => {
                let (files, origins) = files(train, valid)?;
                let [train, mut valid] = [dialogues(&files[0])?, dialogues(&files[1])?];
                let known: HashSet<&str> = train.iter().map(String::as_str).collect();
                valid.retain(|dialogue| !known.contains(dialogue.as_str()));
                Ok(PartText { train: Documents::Held(train), valid, origins })
            }
            Self::Conversations { seed, train_tokens, valid_documents } => Ok(PartText {
                train: Documents::Held(conversations::conversations(
                    *seed,
                    Split::Train,
                    Amount::Tokens(*train_tokens),
                )),
                valid: conversations::conversations(*seed, Split::Valid, Amount::Documents(*valid_documents)),
                origins: ["data.parts.source.train_tokens", "data.parts.source.valid_documents"]
                    .map(str::to_owned),
            }),
        }
    }
}

fn dialogues(path: &Path) -> Result<Vec<String>, DatasetError> {
    let of = |dialogue: Dialogue| dialogue.turns.iter().map(|turn| format!("{turn}\n")).collect();
    Ok(dailydialog(&TextFile::read(path)?)?.into_iter().map(of).collect())
}
