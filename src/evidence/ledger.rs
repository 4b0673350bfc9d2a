//! The ledger: JSON lines, only ever added to. Reading is strict (a line that is not understood
//! is an error with its number, never skipped) and adding is all or nothing: a full disk or a
//! killed process leaves the file as it was.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Context, Curve, Measurement, SCHEMA};

/// One line of a ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// What a protocol run promised; the latest governs.
    Context(Context),
    /// One number.
    Measurement(Measurement),
    /// One training curve.
    Curve(Curve),
}

/// Why a ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A line that is not understood.
    #[error(
        "{path}, line {line}: expected one JSON object \
         {{\"context\"|\"measurement\"|\"curve\": …}}, got: {problem}"
    )]
    Line {
        /// The ledger.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The file could not be read.
    #[error("{path}: cannot read the ledger: {source}")]
    Read {
        /// The ledger.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file could not be written; it is as it was.
    #[error("{path}: cannot write the ledger, which stays as it was: {source}")]
    Write {
        /// The ledger.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Everything that is known, in the order in which it became known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    path: PathBuf,
    lines: Vec<Line>,
}

impl Ledger {
    /// The ledger at that path, which must exist.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LedgerError> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|source| LedgerError::Read { path: path.to_owned(), source })?;
        Ok(Ledger { path: path.to_owned(), lines: parse(path, &bytes)? })
    }

    /// The ledger at that path; an empty one when there is no such file yet.
    pub fn open_or_empty(path: impl AsRef<Path>) -> Result<Self, LedgerError> {
        let path = path.as_ref();
        match Ledger::open(path) {
            Err(LedgerError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Ok(Ledger { path: path.to_owned(), lines: Vec::new() })
            }
            other => other,
        }
    }

    /// A ledger of these lines that is in no file yet.
    pub fn from_lines(lines: Vec<Line>) -> Self {
        Ledger { path: PathBuf::new(), lines }
    }

    /// Where it is kept.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every line.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The latest context, which governs.
    pub fn context(&self) -> Option<&Context> {
        self.lines.iter().rev().find_map(|line| match line {
            Line::Context(context) => Some(context),
            _ => None,
        })
    }

    /// Every measurement.
    pub fn measurements(&self) -> impl Iterator<Item = &Measurement> {
        self.lines.iter().filter_map(|line| match line {
            Line::Measurement(measurement) => Some(measurement),
            _ => None,
        })
    }

    /// Every curve.
    pub fn curves(&self) -> impl Iterator<Item = &Curve> {
        self.lines.iter().filter_map(|line| match line {
            Line::Curve(curve) => Some(curve),
            _ => None,
        })
    }

    /// Adds what the file does not hold yet and returns how many lines that was. The file is
    /// read again first, under a lock, so that two writers do not lose each other's lines.
    pub fn append(&mut self, lines: &[Line]) -> Result<usize, LedgerError> {
        let path = self.path.clone();
        let failed = |source| LedgerError::Write { path: path.clone(), source };
        let folder = folder_of(&path);
        let _lock = lock(folder).map_err(failed)?;
        let mut bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
            Err(source) => {
                return Err(LedgerError::Read { path: path.clone(), source });
            }
        };
        let mut current = Ledger { lines: parse(&path, &bytes)?, path: path.clone() };
        let added = current.lacking(lines).map_err(failed)?;
        if !added.is_empty() {
            if bytes.last().is_some_and(|&b| b != b'\n') {
                bytes.push(b'\n');
            }
            for (_, text) in &added {
                bytes.extend_from_slice(text.as_bytes());
                bytes.push(b'\n');
            }
            replace(&path, folder, &bytes).map_err(failed)?;
        }
        let count = added.len();
        current.lines.extend(added.into_iter().map(|(line, _)| line));
        *self = current;
        Ok(count)
    }

    /// The lines that are new, with their text. A context is repeated unless it already governs:
    /// otherwise going back to an earlier promise would leave the later one in force.
    fn lacking(&self, lines: &[Line]) -> io::Result<Vec<(Line, String)>> {
        let mut known = HashSet::new();
        for line in &self.lines {
            known.insert(text_of(line)?);
        }
        let mut governing = self.context().cloned();
        let mut added = Vec::new();
        for line in lines {
            let text = text_of(line)?;
            let new = match line {
                Line::Context(context) => governing.replace(context.clone()).as_ref() != Some(context),
                _ => known.insert(text.clone()),
            };
            if new {
                added.push((line.clone(), text));
            }
        }
        Ok(added)
    }
}

fn text_of(line: &Line) -> io::Result<String> {
    serde_json::to_string(line).map_err(io::Error::from)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Locks the folder itself, which leaves no lock file behind. Where the file system has no locks
/// there is nothing to wait for.
fn lock(folder: &Path) -> io::Result<Option<File>> {
    let file = File::open(folder)?;
    match file.lock() {
        Ok(()) => Ok(Some(file)),
        Err(e) if e.kind() == ErrorKind::Unsupported => Ok(None),
        Err(e) => Err(e),
    }
}

/// Puts a whole new file in the place of the old one, or leaves the old one alone.
fn replace(path: &Path, folder: &Path, bytes: &[u8]) -> io::Result<()> {
    // A temporary file would be private to its user; a ledger is an ordinary file.
    let ordinary = fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().permissions(ordinary).tempfile_in(folder)?;
    file.write_all(bytes)?;
    if let Ok(old) = fs::metadata(path) {
        file.as_file().set_permissions(old.permissions())?;
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(folder)?.sync_all()
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Line>, LedgerError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let lines = bytes.split(|&b| b == b'\n').enumerate();
    lines.map(|(i, text)| parse_line(path, i + 1, text)).collect()
}

fn parse_line(path: &Path, number: usize, text: &[u8]) -> Result<Line, LedgerError> {
    let wrong = |problem| LedgerError::Line { path: path.to_owned(), line: number, problem };
    if text.trim_ascii().is_empty() {
        return Err(wrong("an empty line".to_owned()));
    }
    let line = serde_json::from_slice(text).map_err(|e| wrong(e.to_string()))?;
    match line {
        Line::Context(Context { schema, .. }) if schema != SCHEMA => {
            Err(wrong(format!("a context of schema {schema}, where this reads schema {SCHEMA}")))
        }
        line => Ok(line),
    }
}
