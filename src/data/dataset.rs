//! A data set ready to train on: tokenizer, training and validation tokens, and a digest of it all.
//!
//! Invariant: the digest covers every byte that training and validation see, it is computed from the
//! text at every preparation, and no validation document also occurs in training.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;
use serde::Serialize;

use super::batches::{Order, OrderError, window_count};
use super::cache::{CacheError, TokenFile};
pub use super::dataset_error::DatasetError;
use super::sources::{Source, Vocabulary, read, refuse_overlap};
pub use super::spec::{DataSpec, PartSource, PartSpec};
use super::synthetic::{cloze, conversations};
use super::tokenizer::{Tokenizer, TokenizerError};
use super::vocabulary::Patience;
use crate::files::{FileLock, digest_of_texts, sha256, sweep};

/// A part of a data set that is ready to train on; a data set that is no mixture is one part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TextPart {
    /// Its name.
    pub name: String,
    /// Its declared share of the tokens that are trained on.
    pub share: f64,
    /// Where it lies in the training tokens.
    pub train: Range<usize>,
    /// Where it lies in the validation tokens.
    pub valid: Range<usize>,
}

/// The windows of a text of `tokens` that begin within `range`.
pub fn windows_in(range: &Range<usize>, tokens: usize, context_length: usize) -> Range<usize> {
    let all = window_count(tokens, context_length);
    let from = |at: usize| at.div_ceil(context_length).min(all);
    from(range.start)..from(range.end)
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
    /// Its parts, in the order of their text; a data set that is no mixture is one part.
    pub parts: Vec<TextPart>,
    /// Digest of tokenizer, training and validation tokens, and of a mixture's parts.
    pub digest: String,
    /// Where the training and the validation text come from.
    origins: [String; 2],
}

impl Dataset {
    /// The order in which trainings with this seed read so many windows of the training text (rulings R13 and R27).
    pub fn order(&self, context: usize, sequences: usize, seed: u64) -> Result<Order, OrderError> {
        let windows = |part: &TextPart| (windows_in(&part.train, self.train.len(), context), part.share);
        Order::draw_mixture(&self.parts.iter().map(windows).collect::<Vec<_>>(), sequences, seed)
    }

    /// Refuses a data set whose training or validation text is shorter than a window of so many tokens and the token
    /// after it, and a mixture of which a part has no window of its own.
    pub fn expect_windows(&self, context: usize) -> Result<(), DatasetError> {
        for (file, origin) in [&self.train, &self.valid].into_iter().zip(&self.origins) {
            let (expected, got) = (context.saturating_add(1), file.len());
            if got < expected {
                return Err(DatasetError::TooShort { origin: origin.clone(), expected, context, got });
            }
        }
        for part in &self.parts {
            let of = [("training", &part.train, &self.train), ("validation", &part.valid, &self.valid)];
            let empty =
                of.into_iter().find(|(_, range, file)| windows_in(range, file.len(), context).is_empty());
            if let Some((split, range, _)) = empty {
                let (part, got) = (part.name.clone(), range.len());
                return Err(DatasetError::PartTooShort { part, split, context, got });
            }
        }
        Ok(())
    }
}

/// Most places of a split, and most bytes of text, that are encoded again.
const AGAIN: usize = 200;
const BYTES_AGAIN: usize = 4 << 20;

/// How many of a text's documents are encoded again.
pub enum Encoded<'a> {
    /// All.
    All,
    /// Those in which places lie that this chooses among so many tokens: a document is the likelier, the more of the
    /// text it makes.
    Drawn(&'a mut dyn FnMut(usize) -> usize),
}

impl Dataset {
    /// What of this data set is as its text makes it, fact by fact: the tokenizer, learnt or loaded again; how many
    /// documents there are; and documents encoded again.
    ///
    /// # Errors
    /// Text or a tokenizer that cannot be had any more.
    pub fn beside_its_text(
        &self,
        spec: &DataSpec,
        data: Option<&Path>,
        patience: &Patience<'_>,
        mut which: Encoded<'_>,
    ) -> Result<Vec<(String, bool)>, DatasetError> {
        let (source, vocabulary) = read(spec, data)?;
        let tokenizer = made(&vocabulary, &source.train, patience)?;
        let same = tokenizer.is_same(&self.tokenizer);
        let mut facts = vec![("the tokenizer, made again".to_owned(), same)];
        for (name, file, texts) in
            [("training", &self.train, &source.train), ("validation", &self.valid, &source.valid)]
        {
            let same = file.documents() == texts.len();
            facts.push((format!("{} documents of the {name} text", texts.len()), same));
            if !same {
                continue;
            }
            let what = format!("end of text after every document of the {name} text");
            facts.push((what, file.ends_with(tokenizer.eot())));
            let chosen = file.chosen(texts, &mut which);
            let again = |&i: &usize| {
                let same = file.tokens(file.document(i)).eq(tokenizer.encode(&texts[i])?);
                Ok((format!("document {i} of the {name} text, encoded again"), same))
            };
            facts.extend(chosen.par_iter().map(again).collect::<Result<Vec<_>, TokenizerError>>()?);
        }
        Ok(facts)
    }
}

impl TokenFile {
    /// The documents that are encoded again, each once.
    fn chosen(&self, texts: &[String], which: &mut Encoded<'_>) -> Vec<usize> {
        let draw = match which {
            Encoded::All => return (0..texts.len()).collect(),
            Encoded::Drawn(draw) => draw,
        };
        let (mut bytes, mut chosen) = (0, BTreeSet::new());
        for _ in 0..AGAIN {
            let i = self.document_at(draw(self.len()));
            if !chosen.contains(&i) {
                bytes += texts[i].len();
                if bytes > BYTES_AGAIN && !chosen.is_empty() {
                    break;
                }
                chosen.insert(i);
            }
        }
        chosen.into_iter().collect()
    }
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
    let file = |name: &str, digest: &str, text: &[String]| {
        let task = patience.screen.task(&format!("{}: {name} documents", source.name), 0, text.len() as u64);
        let tell = |done: usize| task.at(done as u64, || "as tokens".to_owned());
        let path = folder.join(format!("{name}.tokens"));
        TokenFile::build_or_open_telling(&path, digest, &tokenizer, text, &tell)
    };
    let train = file("train", &train, &source.train)?;
    let valid = file("valid", &valid, &source.valid)?;
    let parts = parts_in(&source, &train, &valid);
    let mut digests =
        vec![tokenizer.digest().to_owned(), train.digest().to_owned(), valid.digest().to_owned()];
    if parts.len() > 1 {
        // Names and numbers: serialising them cannot fail.
        digests.push(serde_json::to_string(&parts).unwrap_or_default());
    }
    let digest = digest_of_texts(&digests);
    Ok(Dataset { name: source.name, tokenizer, train, valid, parts, digest, origins: source.origins })
}

/// Where the parts lie in the tokens.
fn parts_in(source: &Source, train: &TokenFile, valid: &TokenFile) -> Vec<TextPart> {
    if source.parts.is_empty() {
        let (name, share) = (source.name.clone(), 1.0);
        return vec![TextPart { name, share, train: 0..train.len(), valid: 0..valid.len() }];
    }
    let start = |file: &TokenFile, document| match document < file.documents() {
        true => file.document(document).start,
        false => file.len(),
    };
    let mut from = [0, 0];
    let place = |(name, share, [trained, held_out]): &(String, f64, [usize; 2])| {
        let to = [from[0] + trained, from[1] + held_out];
        let [train, valid] =
            [(train, 0), (valid, 1)].map(|(file, i)| start(file, from[i])..start(file, to[i]));
        from = to;
        TextPart { name: name.clone(), share: *share, train, valid }
    };
    source.parts.iter().map(place).collect()
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
    let tokenizer = made(vocabulary, text, patience)?;
    tokenizer.save(&kept)?;
    Ok(tokenizer)
}

fn made(
    vocabulary: &Vocabulary,
    text: &[String],
    patience: &Patience<'_>,
) -> Result<Tokenizer, DatasetError> {
    Ok(match vocabulary {
        Vocabulary::Learn(size) => Tokenizer::learn(text, *size, patience)?,
        Vocabulary::LearnValues(size) => whole_values(conversations::tokenizer(text, *size)?)?,
        Vocabulary::Load(path) => load(path)?,
    })
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
