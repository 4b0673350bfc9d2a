//! The text of a data set before it becomes tokens: read or generated, part after part.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::corpora::{self, Corpus, TextFile};
use super::dataset_error::DatasetError;
use super::published::dialogues::{Dialogue, dailydialog};
use super::spec::{DataSpec, PartSource, PartSpec};
use super::synthetic::conversations::{self, Amount, Split};

/// Text before tokens.
pub(super) struct Source {
    pub(super) name: String,
    pub(super) train: Vec<String>,
    pub(super) valid: Vec<String>,
    pub(super) origins: [String; 2],
    /// Of a mixture each part's name and share, and how many documents it has to train and to validate on.
    pub(super) parts: Vec<(String, f64, [usize; 2])>,
}

impl Source {
    /// Text that is no mixture.
    fn whole(name: String, [train, valid]: [Vec<String>; 2], origins: [String; 2]) -> Self {
        Self { name, train, valid, origins, parts: Vec::new() }
    }

    fn mixture(parts: &[PartSpec], data: Option<&Path>) -> Result<Self, DatasetError> {
        let mut mixed = Self::whole("mixture".to_owned(), [Vec::new(), Vec::new()], Default::default());
        let mut origins = [Vec::new(), Vec::new()];
        for part in parts {
            let text = part.source.read(data)?;
            if text.train.is_empty() || text.valid.is_empty() {
                return Err(DatasetError::NoDocuments(part.name.clone()));
            }
            mixed.parts.push((part.name.clone(), part.share, [text.train.len(), text.valid.len()]));
            mixed.train.extend(text.train);
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
            Ok((Source::whole(name, [train, valid], origins), Vocabulary::LearnValues(*vocab_size)))
        }
        DataSpec::Text { train, valid, tokenizer } => {
            let folder = data.ok_or_else(|| DatasetError::NoDataFolder(train.clone()))?;
            let vocabulary = vocabulary(tokenizer, data)?;
            let files = [folder.join(train), folder.join(valid)];
            let origins = files.each_ref().map(|path| path.display().to_string());
            let train = corpora::read(&files[0], None)?;
            let valid = corpora::read(&files[1], None)?.documents;
            Ok((Source::whole(train.name, [train.documents, valid], origins), vocabulary))
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

/// Refuses validation text that would be measured by heart.
pub(super) fn refuse_overlap(source: &Source) -> Result<(), DatasetError> {
    let known: HashSet<&str> = source.train.iter().map(|text| text.trim()).collect();
    let twice = |(_, text): &(usize, &String)| known.contains(text.trim());
    let mut both = source.valid.iter().enumerate().filter(twice);
    let Some((first, _)) = both.next() else {
        return Ok(());
    };
    Err(DatasetError::Overlap { name: source.name.clone(), count: 1 + both.count(), first })
}

/// The documents of a part: to train on and to validate on, and where they come from.
struct PartText {
    train: Vec<String>,
    valid: Vec<String>,
    origins: [String; 2],
}

impl PartSource {
    /// Whether its text has values that recall is asked for.
    fn has_values(&self) -> bool {
        matches!(self, Self::Conversations { .. })
    }

    fn read(&self, data: Option<&Path>) -> Result<PartText, DatasetError> {
        let files = |train: &Path, valid: &Path, read: &dyn Fn(&Path) -> Result<Corpus, DatasetError>| {
            let folder = data.ok_or_else(|| DatasetError::NoDataFolder(train.to_owned()))?;
            let files = [folder.join(train), folder.join(valid)];
            let origins = files.each_ref().map(|path| path.display().to_string());
            let [train, valid] = files.each_ref().map(|path| read(path));
            Ok(PartText { train: train?.documents, valid: valid?.documents, origins })
        };
        match self {
            Self::Text { train, valid } => files(train, valid, &|path| Ok(corpora::read(path, None)?)),
            Self::Dailydialog { train, valid } => {
                let mut text = files(train, valid, &dialogues)?;
                let known: HashSet<&str> = text.train.iter().map(String::as_str).collect();
                text.valid.retain(|dialogue| !known.contains(dialogue.as_str()));
                Ok(text)
            }
            Self::Conversations { seed, train_tokens, valid_documents } => Ok(PartText {
                train: conversations::conversations(*seed, Split::Train, Amount::Tokens(*train_tokens)),
                valid: conversations::conversations(*seed, Split::Valid, Amount::Documents(*valid_documents)),
                origins: ["data.parts.source.train_tokens", "data.parts.source.valid_documents"]
                    .map(str::to_owned),
            }),
        }
    }
}

fn dialogues(path: &Path) -> Result<Corpus, DatasetError> {
    let of = |dialogue: Dialogue| dialogue.turns.iter().map(|turn| format!("{turn}\n")).collect();
    let all = dailydialog(&TextFile::read(path)?)?;
    Ok(Corpus { name: path.display().to_string(), documents: all.into_iter().map(of).collect() })
}
