//! A folder of evidence that many processes have filled: its ledger and those of its runs, read as one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::ledger::read;
use super::{Ledger, LedgerError, Line, Manifest};

/// The name of a ledger in its folder.
pub const LEDGER: &str = "ledger.jsonl";
/// The folder, below a folder of evidence, that has a folder for every run.
pub const RUNS: &str = "runs";

impl Ledger {
    /// As much as is understood of the ledger in a folder of evidence and of the ledgers in the folders of its
    /// runs; the rest are faults. Which process wrote what does not matter, nor in which order: a promise that
    /// several have written down is one promise. What is added goes to the folder's own ledger.
    ///
    /// # Errors
    /// A ledger that is there and cannot be read. That none is there is no error: nothing was collected.
    pub fn open_below(folder: &Path) -> Result<Self, LedgerError> {
        Self::open_whole_or_first(folder, None)
    }

    /// The same of each ledger's first lines, so many as [`line_counts`] gave of its name then: what was there when it
    /// was counted, as nothing is ever written but behind what is there.
    ///
    /// # Errors
    /// As [`Ledger::open_below`].
    pub fn open_below_at(folder: &Path, counts: &BTreeMap<String, usize>) -> Result<Self, LedgerError> {
        Self::open_whole_or_first(folder, Some(counts))
    }

    fn open_whole_or_first(
        folder: &Path,
        counts: Option<&BTreeMap<String, usize>>,
    ) -> Result<Self, LedgerError> {
        let path = folder.join(LEDGER);
        let mut all = match opened(folder, &path, counts) {
            Err(LedgerError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => Self::at(path),
            other => other?,
        };
        all.add([Self::of_runs_at(folder, counts)?]);
        Ok(all)
    }

    /// The same without the folder's own ledger.
    ///
    /// # Errors
    /// As [`Ledger::open_below`].
    pub fn of_runs(folder: &Path) -> Result<Self, LedgerError> {
        Self::of_runs_at(folder, None)
    }

    fn of_runs_at(folder: &Path, counts: Option<&BTreeMap<String, usize>>) -> Result<Self, LedgerError> {
        let paths = ledgers_of_runs(folder)?;
        let named = |path: &PathBuf| {
            let mut ledger = opened(folder, path, counts)?;
            let name = below(folder, path);
            let told = ledger.faults.iter_mut().chain(&mut ledger.breaks.first);
            told.for_each(|fault| *fault = format!("{name}, {fault}"));
            Ok(ledger)
        };
        /// So many at a time: each has the whole promise, of which one is kept.
        const AT_A_TIME: usize = 64;
        let mut all = Self::default();
        for paths in paths.chunks(AT_A_TIME) {
            let read: Result<Vec<Self>, LedgerError> = paths.par_iter().map(named).collect();
            all.add(read?);
        }
        Ok(all)
    }

    /// These lines and those of another ledger; what is added goes where it would have gone.
    pub fn joined(mut self, other: Self) -> Self {
        self.add([other]);
        self
    }

    /// How many of the trials that the governing manifest promises have no trained weights in a folder of runs beside
    /// the ledger: what nobody can audit (ruling R23).
    pub fn trials_without_runs(&self) -> usize {
        let folder = self.path().parent().unwrap_or(Path::new(""));
        let runs = fs::read_dir(folder.join(RUNS)).into_iter().flatten().flatten();
        let trained = runs.filter(|run| run.path().join("final").join("model.safetensors").is_file());
        // A run's folder is called SCALE-MODEL-seed-SEED-IDENTITY.
        let trial = |name: String| Some(name.rsplit_once('-')?.0.to_owned());
        let there: BTreeSet<String> =
            trained.filter_map(|run| trial(run.file_name().to_string_lossy().into_owned())).collect();
        let Some(manifest) = self.manifest() else { return 0 };
        let mut promised = BTreeSet::new();
        for scale in &manifest.scales {
            for model in &manifest.models {
                promised.extend(manifest.seeds.iter().map(|seed| format!("{scale}-{model}-seed-{seed}")));
            }
        }
        promised.difference(&there).count()
    }

    fn add(&mut self, others: impl IntoIterator<Item = Self>) {
        // Each ledger counts its own promises.
        let content = |manifest: &Manifest| Manifest { number: 0, ..manifest.clone() };
        let mut known: BTreeSet<_> = self.manifests().map(content).collect();
        for other in others {
            let promised: Vec<_> = other.manifests().map(content).collect();
            let is_new =
                |line: &Line| !matches!(line, Line::Manifest(manifest) if known.contains(&content(manifest)));
            self.lines.extend(other.lines.into_iter().filter(is_new));
            self.faults.extend(other.faults);
            self.breaks.join(other.breaks);
            known.extend(promised);
        }
    }
}

/// How many lines every ledger in a folder of evidence has, by its path below the folder.
///
/// # Errors
/// As [`Ledger::open_below`].
pub fn line_counts(folder: &Path) -> Result<BTreeMap<String, usize>, LedgerError> {
    let own = folder.join(LEDGER);
    let paths = own.is_file().then_some(own).into_iter().chain(ledgers_of_runs(folder)?);
    let counted = |path: PathBuf| Ok((below(folder, &path), ends(&read(&path)?).count()));
    paths.map(counted).collect()
}

/// A ledger, or as many lines of it as it is said to have had.
fn opened(
    folder: &Path,
    path: &Path,
    counts: Option<&BTreeMap<String, usize>>,
) -> Result<Ledger, LedgerError> {
    let Some(counts) = counts else { return Ledger::open_broken(path) };
    let (bytes, count) = (read(path)?, counts.get(&below(folder, path)).copied().unwrap_or(0));
    let end = if count == 0 { Some(0) } else { ends(&bytes).nth(count - 1) };
    Ok(Ledger::from_bytes(&bytes[..end.unwrap_or(bytes.len())]).kept_at(path))
}

/// Behind every line.
fn ends(bytes: &[u8]) -> impl Iterator<Item = usize> {
    bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(i, _)| i + 1)
}

fn below(folder: &Path, path: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).display().to_string()
}

/// In the order of their names.
fn ledgers_of_runs(folder: &Path) -> Result<Vec<PathBuf>, LedgerError> {
    let runs = folder.join(RUNS);
    let failed = |source| LedgerError::Read { path: runs.clone(), source };
    let entries = match fs::read_dir(&runs) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path().join(LEDGER);
        if path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
