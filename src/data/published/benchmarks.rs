//! The published files of language-modelling benchmarks, from bytes to the texts that are scored.
//!
//! Invariant: what is read is what the EleutherAI harness reads from the same file, to the character;
//! white space is what Python calls white space.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::data::corpora::{CorpusError, TextFile};

/// Why a benchmark could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BenchmarkError {
    /// The file.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// A line is not an item.
    #[error("{path}, line {line}: expected an item of {benchmark}: {reason}", path = path.display())]
    BadItem {
        /// The file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// Of which benchmark.
        benchmark: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// Python's white space: Unicode's, and the four information separators.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// A line of the Penn Treebank as Mikolov distributed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PtbLine {
    /// The text with the line break that ends it.
    pub text: String,
    /// Its words and the end of the sentence, as the published counts have it.
    pub words: usize,
}

/// A passage of LAMBADA (OpenAI's variant) without and with its last word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// All but what follows the last space.
    pub context: String,
    /// That space and the last word.
    pub target: String,
}

/// A question of HellaSwag, cleaned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Activity and context.
    pub query: String,
    /// What may come next.
    pub endings: Vec<String>,
    /// Which of them does.
    pub truth: usize,
}

/// The lines of a file of the Penn Treebank.
pub fn ptb(file: &TextFile) -> Result<Vec<PtbLine>, BenchmarkError> {
    let line = |text: &str| PtbLine { text: text.to_owned(), words: 1 + text.split_whitespace().count() };
    not_empty(&file.path, file.text.split_inclusive('\n').map(line).collect())
}

/// The passages of a file of LAMBADA: JSON lines with a field `text`.
pub fn lambada(file: &TextFile) -> Result<Vec<Passage>, BenchmarkError> {
    #[derive(Deserialize)]
    struct LambadaLine {
        text: String,
    }
    json_lines(file, "LAMBADA", |item: LambadaLine| match item.text.rsplit_once(' ') {
        Some((context, word)) => Ok(Passage { context: context.to_owned(), target: format!(" {word}") }),
        None => Ok(Passage { context: String::new(), target: format!(" {}", item.text) }),
    })
}

/// The questions of a file of HellaSwag: JSON lines.
pub fn hellaswag(file: &TextFile) -> Result<Vec<Question>, BenchmarkError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Label {
        Number(usize),
        Text(String),
    }
    #[derive(Deserialize)]
    struct HellaswagLine {
        activity_label: String,
        ctx_a: String,
        ctx_b: String,
        endings: Vec<String>,
        label: Label,
    }
    json_lines(file, "HellaSwag", |item: HellaswagLine| {
        let context = format!("{}: {} {}", item.activity_label, item.ctx_a, capitalised(&item.ctx_b));
        let truth = match item.label {
            Label::Number(truth) => truth,
            Label::Text(text) => text.parse().map_err(|_| format!("label {text:?} is no number"))?,
        };
        if item.endings.len() < 2 || truth >= item.endings.len() {
            return Err(format!("label {truth} of {} endings", item.endings.len()));
        }
        let endings: Vec<_> = item.endings.iter().map(|ending| cleaned(ending)).collect();
        if endings.iter().any(String::is_empty) {
            return Err("an ending without text".to_owned());
        }
        Ok(Question { query: cleaned(&context), endings, truth })
    })
}

fn json_lines<T: DeserializeOwned, U>(
    file: &TextFile,
    benchmark: &'static str,
    item: impl Fn(T) -> Result<U, String>,
) -> Result<Vec<U>, BenchmarkError> {
    let filled = file.text.split('\n').enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = |(index, line): (usize, &str)| {
        let parsed = serde_json::from_str(line).map_err(|error| error.to_string());
        parsed.and_then(&item).map_err(|reason| BenchmarkError::BadItem {
            path: file.path.clone(),
            line: index + 1,
            benchmark,
            reason,
        })
    };
    not_empty(&file.path, filled.map(read).collect::<Result<_, _>>()?)
}

pub(super) fn not_empty<T>(path: &Path, items: Vec<T>) -> Result<Vec<T>, BenchmarkError> {
    if items.is_empty() { Err(CorpusError::Empty(path.to_owned()).into()) } else { Ok(items) }
}

/// The first letter large, the others small.
fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let Some(first) = letters.next() else { return String::new() };
    let mut large = first.to_uppercase();
    // One letter may become several, of which only the first stays large.
    let head: String = large.by_ref().take(1).collect();
    let rest: String = large.flat_map(char::to_lowercase).collect();
    head + &rest + &letters.as_str().to_lowercase()
}

/// Without the marks that WikiHow's headings left.
fn cleaned(text: &str) -> String {
    let text = text.trim_matches(is_space).replace(" [title]", ". ");
    without_brackets(&text).replace("  ", " ")
}

/// Without `[…]`; no bracket closes in another line.
fn without_brackets(text: &str) -> String {
    let (mut kept, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(open) = rest.find('[') {
        let inner = &rest[open + 1..];
        let close = inner.find([']', '\n']).filter(|&at| inner[at..].starts_with(']'));
        kept.push_str(&rest[..open]);
        match close {
            Some(close) => rest = &inner[close + 1..],
            None => {
                kept.push('[');
                rest = inner;
            }
        }
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> TextFile {
        TextFile { path: "file".into(), sha256: String::new(), text: text.to_owned() }
    }

    #[test]
    fn passages_end_at_the_last_space() {
        let file = file("{\"text\": \"one two\\nthree four\"}\n\n{\"text\": \"word\"}\n");
        let passage =
            |context: &str, target: &str| Passage { context: context.to_owned(), target: target.to_owned() };
        assert_eq!(lambada(&file).unwrap(), [passage("one two\nthree", " four"), passage("", " word")]);
    }

    #[test]
    fn questions_are_cleaned() {
        let item = r#"{"activity_label": "Hair", "ctx_a": " [header] How to  cut [title] Wash.", "ctx_b": "the LADY", "endings": [" go [step] on ", "[x", "b]"], "label": "1"}"#;
        let file = file(item);
        let got = hellaswag(&file).unwrap().remove(0);
        // Of three spaces two are left, as there.
        assert_eq!(got.query, "Hair:  How to cut. Wash. The lady");
        assert_eq!(got.endings, ["go on", "[x", "b]"]);
        assert_eq!(got.truth, 1);
        assert_eq!(
            (without_brackets("a[b\nc]d[e]"), capitalised("ßA")),
            ("a[b\nc]d".to_owned(), "Ssa".to_owned())
        );
    }

    #[test]
    fn a_wrong_item_is_named() {
        let good = r#"{"activity_label": "", "ctx_a": "", "ctx_b": "", "endings": ["x", "y"], "label": 0}"#;
        for (bad, says) in [
            ("{}", "missing field"),
            (&good.replace("\"label\": 0", "\"label\": 2"), "label 2 of 2 endings"),
            (&good.replace("\"label\": 0", "\"label\": \"x\""), "is no number"),
            (&good.replace("\"x\"", "\"[x]\""), "without text"),
        ] {
            let file = file(&format!("{good}\n{bad}\n"));
            let error = hellaswag(&file).unwrap_err().to_string();
            assert!(error.contains("line 2") && error.contains(says), "{error}");
        }
        let file = file("\n");
        assert!(lambada(&file).unwrap_err().to_string().contains("at least one"));
    }

    #[test]
    fn sentences_end_in_a_word() {
        let file = file(" a b c \n d \n");
        let lines = ptb(&file).unwrap();
        assert_eq!(lines.iter().map(|line| line.words).collect::<Vec<_>>(), [4, 2]);
        assert_eq!(lines.iter().map(|line| line.text.as_str()).collect::<String>(), " a b c \n d \n");
    }
}
