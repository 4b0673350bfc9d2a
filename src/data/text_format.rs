//! How documents stand in a file of text, and why one cannot be read.

use std::io;
use std::path::{Path, PathBuf};

/// Separates documents in plain text, on a line of its own, and is the token between documents.
pub const END_OF_TEXT: &str = "<|endoftext|>";

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
    /// It is not what it was when it was read before.
    #[error("{name}: expected the text that was read before ({expected}), got another ({got})")]
    Changed {
        /// Of the text.
        name: String,
        /// Digest of its documents.
        expected: String,
        /// The same, now.
        got: String,
    },
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

/// Refuses what is often found in the place of a text that was not fetched: a pointer, or a page about it.
pub(super) fn refuse_stand_in(path: &Path, bytes: &[u8]) -> Result<(), CorpusError> {
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
