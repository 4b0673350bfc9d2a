//! Readers: a file becomes a named list of documents.
//!
//! Invariant: a corpus that was read has at least one document and none that is blank; whatever
//! stands in the way is an error that names the file and, where there is one, the line.

use std::fs;
use std::path::{Path, PathBuf};

use super::documents::DocumentReader;
use super::text_format::refuse_stand_in;
pub use super::text_format::{CorpusError, END_OF_TEXT, Format};
use crate::files::sha256;

/// Documents from one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corpus {
    /// The file's name without its folder.
    pub name: String,
    /// The documents, in the order of the file, none of them blank.
    pub documents: Vec<String>,
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
    let documents = DocumentReader::open(path, format)?.collect::<Result<_, _>>()?;
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
