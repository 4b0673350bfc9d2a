//! Readers: a file becomes a named list of documents.
//!
//! Invariant: a corpus that was read has at least one document and none that is blank; whatever
//! stands in the way is an error that names the file and, where there is one, the line.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::files::sha256;

/// Separates documents in plain text, on a line of its own, and is the token between documents.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// Documents from one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corpus {
    /// The file's name without its folder.
    pub name: String,
    /// The documents, in the order of the file, none of them blank.
    pub documents: Vec<String>,
}

/// How documents are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Plain text; a line `<|endoftext|>` separates documents. Without one the file is one document.
    Text,
    /// WikiText, tokenised or raw: a level-1 heading (` = Title = `) opens an article.
    WikiText,
    /// One JSON object per line; the document is its `text` field.
    JsonLines,
}

/// Why a corpus could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// Something that stands for the text.
    #[error("{path}: expected a text, got {what}, not the text", path = path.display())]
    StandIn {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The file could not be opened or read.
    #[error("cannot read corpus {path}: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path leads to a folder.
    #[error("cannot read corpus {}: expected a file, got a folder", .0.display())]
    IsFolder(PathBuf),
    /// The name does not say how documents are separated.
    #[error("{}: cannot tell the format from the name; expected *.txt, *.jsonl, wiki.*.tokens or wiki.*.raw", .0.display())]
    UnknownFormat(PathBuf),
    /// The bytes are no UTF-8.
    #[error("{path}, line {line}: expected UTF-8 text, got byte 0x{byte:02x}", path = path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// The first byte that does not fit.
        byte: u8,
    },
    /// A line is not the JSON object it should be.
    #[error("{path}, line {line}: expected a JSON object with a text field \"text\": {source}", path = path.display())]
    BadLine {
        /// The file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// Nothing says where an article begins.
    #[error("{path}: expected WikiText, where articles begin with a line \" = Title = \" of its own, got none", path = .0.display())]
    NoHeading(PathBuf),
    /// There is nothing in it.
    #[error("{}: expected at least one document, got none", .0.display())]
    Empty(PathBuf),
}

impl Format {
    /// The format a file name announces.
    pub fn detect(path: &Path) -> Result<Self, CorpusError> {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let extension = path.extension().map(|end| end.to_string_lossy()).unwrap_or_default();
        match extension.as_ref() {
            "jsonl" | "ndjson" => Ok(Self::JsonLines),
            "tokens" | "raw" if name.starts_with("wiki.") => Ok(Self::WikiText),
            "txt" => Ok(Self::Text),
            _ => Err(CorpusError::UnknownFormat(path.to_owned())),
        }
    }
}

/// Reads a corpus; without a stated format the file's name decides.
pub fn read(path: &Path, format: Option<Format>) -> Result<Corpus, CorpusError> {
    if path.is_dir() {
        return Err(CorpusError::IsFolder(path.to_owned()));
    }
    let format = match format {
        Some(format) => format,
        None => Format::detect(path)?,
    };
    let text = TextFile::read(path)?.text;
    let documents = match format {
        Format::Text => split_at(&text, |lines, at| lines[at].trim() == END_OF_TEXT, false),
        Format::WikiText => articles(path, &text)?,
        Format::JsonLines => json_lines(path, &text)?,
    };
    let documents: Vec<String> = documents.into_iter().filter(|text| !text.trim().is_empty()).collect();
    if documents.is_empty() {
        return Err(CorpusError::Empty(path.to_owned()));
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Corpus { name, documents })
}

/// A file of text, read once: a pipe cannot be read again.
#[derive(Clone, Debug)]
pub struct TextFile {
    /// Where it was read from.
    pub path: PathBuf,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Its text, without the byte-order mark that some editors put before it.
    pub text: String,
}

impl TextFile {
    /// Reads a file, which must be text.
    pub fn read(path: &Path) -> Result<Self, CorpusError> {
        let bytes =
            fs::read(path).map_err(|source| CorpusError::Unreadable { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), sha256: sha256(&bytes), text: text_of(path, bytes)? })
    }
}

fn text_of(path: &Path, bytes: Vec<u8>) -> Result<String, CorpusError> {
    refuse_stand_in(path, &bytes)?;
    let marked = bytes.starts_with("\u{feff}".as_bytes());
    let bytes = if marked { bytes["\u{feff}".len()..].to_vec() } else { bytes };
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let line = 1 + bytes[..good].iter().filter(|&&byte| byte == b'\n').count();
        CorpusError::NotText { path: path.to_owned(), line, byte: bytes[good] }
    })
}

/// Refuses what is often found in the place of a text that was not fetched: a pointer, or a page about it.
fn refuse_stand_in(path: &Path, bytes: &[u8]) -> Result<(), CorpusError> {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).to_lowercase();
    let start = start.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let stand_ins = [
        ("version https://git-lfs.github.com/spec/", "a Git LFS pointer"),
        ("<!doctype html", "an HTML page"),
        ("<html", "an HTML page"),
    ];
    match stand_ins.iter().find(|(mark, _)| start.starts_with(mark)) {
        Some((_, what)) => Err(CorpusError::StandIn { path: path.to_owned(), what }),
        None => Ok(()),
    }
}

/// Cuts a text before every boundary line; the line itself is kept only if it belongs to what follows.
fn split_at(text: &str, boundary: impl Fn(&[&str], usize) -> bool, keep: bool) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut documents = vec![String::new()];
    for (at, line) in lines.iter().enumerate() {
        let cut = boundary(&lines, at);
        if cut {
            documents.push(String::new());
        }
        if let Some(document) = documents.last_mut().filter(|_| keep || !cut) {
            document.push_str(line);
            document.push('\n');
        }
    }
    documents
}

/// Articles, each from its heading on; what stands before the first belongs to none of them and stays by itself.
fn articles(path: &Path, text: &str) -> Result<Vec<String>, CorpusError> {
    let parts = split_at(text, is_article_heading, true);
    match parts.len() > 1 || text.trim().is_empty() {
        true => Ok(parts),
        false => Err(CorpusError::NoHeading(path.to_owned())),
    }
}

/// A level-1 heading stands between blank lines, which tells it from a line of text such as "= x =".
fn is_article_heading(lines: &[&str], at: usize) -> bool {
    let title = |line: &str| {
        let inner = line.trim().strip_prefix("= ").and_then(|rest| rest.strip_suffix(" ="));
        inner.is_some_and(|inner| !inner.starts_with("= ") && !inner.ends_with(" ="))
    };
    let blank = |at: Option<usize>| at.and_then(|at| lines.get(at)).is_none_or(|line| line.trim().is_empty());
    title(lines[at]) && blank(at.checked_sub(1)) && blank(Some(at + 1))
}

fn json_lines(path: &Path, text: &str) -> Result<Vec<String>, CorpusError> {
    #[derive(Deserialize)]
    struct JsonDocument {
        text: String,
    }
    let filled = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    filled
        .map(|(index, line)| {
            serde_json::from_str(line)
                .map(|line: JsonDocument| line.text)
                .map_err(|source| CorpusError::BadLine { path: path.to_owned(), line: index + 1, source })
        })
        .collect()
}
