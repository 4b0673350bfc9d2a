//! The ledger: JSON lines, only ever added to, whose order means nothing. A line that is not
//! understood is never skipped in silence: whoever adds to the ledger stops with its number, and
//! whoever judges gets it as a fault. Adding is all or nothing: a full disk or a killed process
//! leaves the file as it was. Every line carries a link to the one before ([`super::chain`]): a line that was
//! changed, taken out or put in by hand is found, and such a ledger cannot pass.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::chain::{Breaks, Chain, Link};
use super::{Curve, Iteration, Manifest, Measurement, SCHEMA};

/// One line of a ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// What a protocol run is to consist of; the latest governs.
    #[serde(rename = "context")]
    Manifest(Manifest),
    /// One number.
    Measurement(Measurement),
    /// One row of numbers for a plot.
    Curve(Curve),
    /// What was ruled on an iteration of the architecture.
    Iteration(Iteration),
}

/// Why a ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A line that is not understood.
    #[error(
        "{path}, line {line}: expected one JSON object \
         {{\"context\"|\"measurement\"|\"curve\"|\"iteration\": …}}, got: {problem}"
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
///
/// # Example
///
/// A line that is there already is not added again; a line that is not understood is a fault, or an error:
///
/// ```
/// use v5gate::evidence::{Iteration, Ledger, LedgerError, Line};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("ledger.jsonl");
/// let line = Line::Iteration(Iteration {
///     number: 1,
///     measurements: 0,
///     revision: "v1".to_owned(),
///     protocol: "smoke".to_owned(),
///     met: Vec::new(),
/// });
/// let mut ledger = Ledger::open_or_empty(&path)?;
/// assert_eq!(ledger.append(&[line.clone()])?, 1);
/// assert_eq!(ledger.append(&[line])?, 0);
/// assert_eq!(Ledger::open(&path)?, ledger);
///
/// std::fs::write(&path, "{}\n")?;
/// assert!(matches!(Ledger::open(&path), Err(LedgerError::Line { line: 1, .. })));
/// assert_eq!(Ledger::open_broken(&path)?.faults().len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    path: PathBuf,
    pub(super) lines: Vec<Line>,
    pub(super) faults: Vec<String>,
    pub(super) breaks: Breaks,
}

impl Ledger {
    /// The ledger at that path, which must exist.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LedgerError> {
        let path = path.as_ref();
        Ok(Ledger { path: path.to_owned(), ..parse(path, &read(path)?)?.0 })
    }

    /// As much of the ledger at that path as is understood; the rest are its faults.
    pub fn open_broken(path: impl AsRef<Path>) -> Result<Self, LedgerError> {
        let path = path.as_ref();
        Ok(Ledger { path: path.to_owned(), ..Ledger::from_bytes(&read(path)?) })
    }

    /// As much of these bytes as is understood; the rest are faults.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let (rows, breaks, _) = followed(bytes);
        let (mut lines, mut faults) = (Vec::new(), Vec::new());
        for (i, line) in rows.into_iter().enumerate() {
            match line {
                Ok(line) => lines.push(line),
                Err(problem) => faults.push(format!("line {}: {problem}", i + 1)),
            }
        }
        Ledger { path: PathBuf::new(), lines, faults, breaks }
    }

    /// What is not understood.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// Where a line does not follow from the one before: it, or one before it, was changed, taken out or put in by
    /// another hand than [`Ledger::append`].
    pub fn breaks(&self) -> &Breaks {
        &self.breaks
    }

    /// The ledger at that path; an empty one when there is no such file yet.
    pub fn open_or_empty(path: impl AsRef<Path>) -> Result<Self, LedgerError> {
        let path = path.as_ref();
        match Ledger::open(path) {
            Err(LedgerError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Ok(Ledger::at(path.to_owned()))
            }
            other => other,
        }
    }

    /// An empty ledger that will be kept there.
    pub(super) fn at(path: PathBuf) -> Self {
        Ledger { path, ..Ledger::default() }
    }

    /// The same, kept there.
    pub(super) fn kept_at(self, path: &Path) -> Self {
        Ledger { path: path.to_owned(), ..self }
    }

    /// A ledger of these lines that is in no file yet.
    pub fn from_lines(lines: Vec<Line>) -> Self {
        Ledger { lines, ..Ledger::default() }
    }

    /// Where it is kept.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every line.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Every manifest.
    pub fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.lines.iter().filter_map(|line| match line {
            Line::Manifest(manifest) => Some(manifest),
            _ => None,
        })
    }

    /// The manifest of the highest number, which governs.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifests().max_by_key(|m| (m.number, *m))
    }

    /// Every ruling on an iteration.
    pub fn iterations(&self) -> impl Iterator<Item = &Iteration> {
        self.lines.iter().filter_map(|line| match line {
            Line::Iteration(iteration) => Some(iteration),
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
        // What a link points to is replaced, not the link.
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let failed = |source| LedgerError::Write { path: self.path.clone(), source };
        if path.exists() && !path.is_file() {
            return Err(failed(io::Error::new(ErrorKind::InvalidInput, "expected a plain file")));
        }
        let folder = folder_of(&path);
        let _lock = lock(folder).map_err(failed)?;
        let mut bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
            Err(source) => {
                return Err(LedgerError::Read { path: self.path.clone(), source });
            }
        };
        let (there, mut chain) = parse(&self.path, &bytes)?;
        let mut current = Ledger { path: self.path.clone(), ..there };
        let added = current.lacking(lines).map_err(failed)?;
        if !added.is_empty() {
            if bytes.last().is_some_and(|&b| b != b'\n') {
                bytes.push(b'\n');
            }
            for (_, text) in &added {
                bytes.extend_from_slice(chain.linked(text).as_bytes());
                bytes.push(b'\n');
            }
            replace(&path, folder, &bytes).map_err(failed)?;
        }
        let count = added.len();
        current.lines.extend(added.into_iter().map(|(line, _)| line));
        *self = current;
        Ok(count)
    }

    /// The lines that are new, with their text. A manifest gets the next number unless it already
    /// governs: otherwise going back to an earlier one would leave the later one in force.
    fn lacking(&self, lines: &[Line]) -> io::Result<Vec<(Line, String)>> {
        let mut known = HashSet::new();
        for line in &self.lines {
            known.insert(text_of(line)?);
        }
        let mut governing = self.manifest().cloned();
        let mut added = Vec::new();
        for line in lines {
            let line = match line {
                Line::Manifest(manifest) => {
                    let number = governing.as_ref().map_or(0, |g| g.number);
                    let same = Manifest { number, ..manifest.clone() };
                    if governing.as_ref() == Some(&same) && manifest.number <= number {
                        continue;
                    }
                    let next = Manifest { number: number.saturating_add(1).max(manifest.number), ..same };
                    governing = Some(next.clone());
                    Line::Manifest(next)
                }
                other => other.clone(),
            };
            let text = text_of(&line)?;
            if known.insert(text.clone()) {
                added.push((line, text));
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

pub(super) fn read(path: &Path) -> Result<Vec<u8>, LedgerError> {
    fs::read(path).map_err(|source| LedgerError::Read { path: path.to_owned(), source })
}

/// All lines, and the chain to go on with; the first line that is not understood is an error.
fn parse(path: &Path, bytes: &[u8]) -> Result<(Ledger, Chain), LedgerError> {
    let (rows, breaks, chain) = followed(bytes);
    let wrong = |(i, line): (usize, Result<Line, String>)| {
        line.map_err(|problem| LedgerError::Line { path: path.to_owned(), line: i + 1, problem })
    };
    let lines = rows.into_iter().enumerate().map(wrong).collect::<Result<_, _>>()?;
    Ok((Ledger { lines, breaks, ..Ledger::default() }, chain))
}

/// Every line or what is wrong with it; where the chain breaks; and the chain after the last line.
fn followed(bytes: &[u8]) -> (Vec<Result<Line, String>>, Breaks, Chain) {
    let (mut chain, mut breaks) = (Chain::default(), Breaks::default());
    let mut rows = Vec::new();
    for (i, (line, link)) in parsed(bytes).into_iter().enumerate() {
        if let Some(expected) = chain.follow(&link) {
            breaks.add(|| format!("line {}: {}", i + 1, link.beside(expected)));
        }
        rows.push(line);
    }
    (rows, breaks, chain)
}

/// Every line or what is wrong with it, with its link, on all cores.
fn parsed(bytes: &[u8]) -> Vec<(Result<Line, String>, Link)> {
    /// Large enough to keep a core busy, small enough to share the work.
    const LINES: usize = 4_096;
    if bytes.is_empty() {
        return Vec::new();
    }
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let lines: Vec<&[u8]> = bytes.split(|&b| b == b'\n').collect();
    let chunk = |lines: &[&[u8]]| {
        let (mut known, mut body) = (HashSet::new(), Vec::new());
        let mut one = |text: &&[u8]| {
            let link = Link::of(text, &mut body);
            let mut line = parse_line(&body);
            if let Ok(Line::Measurement(measurement)) = &mut line {
                measurement.share(&mut known);
            }
            (line, link)
        };
        lines.iter().map(&mut one).collect::<Vec<_>>()
    };
    lines.par_chunks(LINES).flat_map_iter(chunk).collect()
}

fn parse_line(text: &[u8]) -> Result<Line, String> {
    if text.trim_ascii().is_empty() {
        return Err("an empty line".to_owned());
    }
    match serde_json::from_slice(text).map_err(|e| e.to_string())? {
        Line::Manifest(Manifest { schema, .. }) if schema != SCHEMA => {
            Err(format!("a context of schema {schema}, where this reads schema {SCHEMA}"))
        }
        line => Ok(line),
    }
}
