//! A data set ready to train on: tokenizer, training and validation tokens, and a digest of it all.
//!
//! Invariant: the digest covers every byte that training and validation see, it is computed from the
//! text at every preparation, and no validation document also occurs in training.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use rayon::prelude::*;
use serde::Serialize;

use super::batches::{Order, OrderError, window_count};
use super::cache::{CacheError, TokenFile};
pub use super::dataset_error::DatasetError;
use super::documents::Text;
use super::sources::{Source, Survey, Vocabulary, read};
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

/// What progress is counted in.
const MEGABYTE: u64 = 1_000_000;

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

/// Most places of a split, and most tokens, that are encoded again.
const AGAIN: usize = 200;
const TOKENS_AGAIN: usize = 1 << 20;
/// Bytes of text that are encoded again side by side.
const BYTES_AGAIN: usize = 8 << 20;

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
    /// documents there are; what the tokens of every one spell; and documents encoded again.
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
        let tokenizer = made(&vocabulary, (&source, self.train.documents()), patience)?;
        let same = tokenizer.is_same(&self.tokenizer);
        let mut facts = vec![("the tokenizer, made again".to_owned(), same)];
        let held_out = || source.valid.iter().map(|text| Ok(Cow::from(text)));
        facts.extend(self.train.beside_texts("training", &tokenizer, source.texts(), &mut which)?);
        facts.extend(self.valid.beside_texts("validation", &tokenizer, held_out(), &mut which)?);
        Ok(facts)
    }
}

impl TokenFile {
    /// Facts about the tokens of a text beside the text.
    fn beside_texts<'a>(
        &self,
        name: &str,
        tokenizer: &Tokenizer,
        texts: impl Iterator<Item = Text<'a>>,
        which: &mut Encoded<'_>,
    ) -> Result<Vec<(String, bool)>, DatasetError> {
        let (chosen, spelling) = (self.chosen(which), tokenizer.spelling());
        let mut misspelt = None;
        let (mut facts, mut count, mut bytes, mut waiting) = (Vec::new(), 0, 0, Vec::new());
        let again = |(i, text): &(usize, Cow<'_, str>)| {
            let same = self.tokens(self.document(*i)).eq(tokenizer.encode(text)?);
            Ok::<_, TokenizerError>((format!("document {i} of the {name} text, encoded again"), same))
        };
        for (i, text) in texts.enumerate() {
            let text = text?;
            count = i + 1;
            if let Some(bytes_of) = &spelling
                && misspelt.is_none()
                && i < self.documents()
                && !self.spells(i, bytes_of, &text)
            {
                misspelt = Some(i);
            }
            if i < self.documents() && chosen.as_ref().is_none_or(|chosen| chosen.contains(&i)) {
                bytes += text.len();
                waiting.push((i, text));
            }
            if bytes > BYTES_AGAIN {
                bytes = 0;
                facts.extend(waiting.par_drain(..).map(|text| again(&text)).collect::<Result<Vec<_>, _>>()?);
            }
        }
        facts.extend(waiting.par_iter().map(again).collect::<Result<Vec<_>, _>>()?);
        let same = count == self.documents();
        let mut all = vec![(format!("{count} documents of the {name} text"), same)];
        if same {
            let what = format!("end of text after every document of the {name} text");
            all.push((what, self.ends_with(tokenizer.eot())));
            all.extend(spelling.map(|_| match misspelt {
                Some(i) => (format!("what the tokens of document {i} of the {name} text spell"), false),
                None => (format!("what the tokens of all documents of the {name} text spell"), true),
            }));
            all.extend(facts);
        }
        Ok(all)
    }

    /// Whether the bytes of a document's tokens are those of a text.
    fn spells(&self, document: usize, bytes_of: &[Vec<u8>], text: &str) -> bool {
        let mut rest = text.as_bytes();
        let mut tokens = self.tokens(self.document(document));
        let spelt = tokens.all(|id| {
            let after = bytes_of.get(id as usize).and_then(|bytes| rest.strip_prefix(bytes.as_slice()));
            rest = after.unwrap_or(rest);
            after.is_some()
        });
        spelt && rest.is_empty()
    }

    /// The documents that are encoded again, each once; all of them where there is no set.
    fn chosen(&self, which: &mut Encoded<'_>) -> Option<BTreeSet<usize>> {
        let Encoded::Drawn(draw) = which else { return None };
        let (mut tokens, mut chosen) = (0, BTreeSet::new());
        for _ in 0..AGAIN {
            let i = self.document_at(draw(self.len()));
            if !chosen.contains(&i) {
                tokens += self.document(i).len();
                if tokens > TOKENS_AGAIN && !chosen.is_empty() {
                    break;
                }
                chosen.insert(i);
            }
        }
        Some(chosen)
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
    let survey = survey(&source, patience)?;
    let (train, valid) = (survey.digest.clone(), digest_of_texts(&source.valid));
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
    let documents = survey.documents.iter().sum();
    let tokenizer = tokenizer(&vocabulary, (&source, documents), &folder, patience)?;
    let train = tokens_of(&source, (&train, documents), &tokenizer, &folder.join("train.tokens"), patience)?;
    let valid = TokenFile::build_or_open(&folder.join("valid.tokens"), &valid, &tokenizer, &source.valid)?;
    let parts = parts_in(&source, &survey, &train, &valid);
    let mut digests =
        vec![tokenizer.digest().to_owned(), train.digest().to_owned(), valid.digest().to_owned()];
    if parts.len() > 1 {
        // Names and numbers: serialising them cannot fail.
        digests.push(serde_json::to_string(&parts).unwrap_or_default());
    }
    let digest = digest_of_texts(&digests);
    Ok(Dataset { name: source.name, tokenizer, train, valid, parts, digest, origins: source.origins })
}

/// Goes through the training text once.
fn survey(source: &Source, patience: &Patience<'_>) -> Result<Survey, DatasetError> {
    let name = format!("{}: reading, megabytes", source.name);
    let task = patience.screen.task(&name, 0, source.bytes().div_ceil(MEGABYTE));
    source.survey(&|bytes| task.at(bytes / MEGABYTE, String::new))
}

/// The training text as tokens.
fn tokens_of(
    source: &Source,
    (digest, documents): (&str, usize),
    tokenizer: &Tokenizer,
    path: &Path,
    patience: &Patience<'_>,
) -> Result<TokenFile, CacheError> {
    let name = format!("{}: to tokens, megabytes", source.name);
    let task = patience.screen.task(&name, 0, source.bytes().div_ceil(MEGABYTE));
    let start = Instant::now();
    let mut first = None;
    let mut tell = |bytes: u64| {
        let from = *first.get_or_insert(bytes);
        let speed = (bytes - from) as f64 / MEGABYTE as f64 / start.elapsed().as_secs_f64().max(1e-9);
        task.at(bytes / MEGABYTE, || format!("{speed:.0} MB/s"));
        if (patience.stopping)() { Err(CacheError::Interrupted(path.to_owned())) } else { Ok(()) }
    };
    TokenFile::of_texts(path, (digest, documents), tokenizer, source.texts_of(digest), &mut tell)
}

/// Where the parts lie in the tokens.
fn parts_in(source: &Source, survey: &Survey, train: &TokenFile, valid: &TokenFile) -> Vec<TextPart> {
    if source.parts.is_empty() {
        let (name, share) = (source.name.clone(), 1.0);
        return vec![TextPart { name, share, train: 0..train.len(), valid: 0..valid.len() }];
    }
    let start = |file: &TokenFile, document| match document < file.documents() {
        true => file.document(document).start,
        false => file.len(),
    };
    let mut from = [0, 0];
    let place = |((name, share, held_out), trained): (&(String, f64, usize), &usize)| {
        let to = [from[0] + trained, from[1] + held_out];
        let [train, valid] =
            [(train, 0), (valid, 1)].map(|(file, i)| start(file, from[i])..start(file, to[i]));
        from = to;
        TextPart { name: name.clone(), share: *share, train, valid }
    };
    source.parts.iter().zip(&survey.documents).map(place).collect()
}

/// The tokenizer of the folder: the one an earlier preparation left, or a new one.
fn tokenizer(
    vocabulary: &Vocabulary,
    text: (&Source, usize),
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
    (source, documents): (&Source, usize),
    patience: &Patience<'_>,
) -> Result<Tokenizer, DatasetError> {
    let mut unread = None;
    let texts = source.texts().map_while(|text| text.map_err(|error| unread = Some(error)).ok());
    let made = match vocabulary {
        Vocabulary::Learn(size) => Ok(Tokenizer::learn(texts, documents, *size, patience)?),
        Vocabulary::LearnValues(size) => whole_values(conversations::tokenizer(texts, *size)?),
        Vocabulary::Load(path) => Ok(load(path)?),
    };
    unread.map_or(made, |error| Err(error.into()))
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
