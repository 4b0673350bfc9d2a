//! The values of a probe's items in the folder of the run: one compressed JSON file a probe, whose digest, before it is
//! compressed, is in the ledger.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::evidence::{Condition, CurveKind, ItemValues, MeasuredItems, Measurement, Metric};
use crate::files::{sha256, write_atomically};

/// The folder of the files, in that of the run.
const ITEMS: &str = "items";
/// Bytes that a file may hold uncompressed; more is no file of ours.
const MOST: u64 = 1 << 32;

/// Everything that a probe measured over items of one trial.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ItemFile(pub Vec<MeasuredItems>);

impl ItemFile {
    /// The text that is kept.
    fn text(&self) -> io::Result<Vec<u8>> {
        Ok(serde_json::to_vec(&self.0)?)
    }

    /// Digest of what is kept, before it is compressed.
    pub fn digest(&self) -> io::Result<String> {
        Ok(sha256(&self.text()?))
    }

    /// Where a probe's file lies.
    pub fn path(run: &Path, probe: &str, digest: &str) -> PathBuf {
        run.join(ITEMS).join(format!("{probe}-{}.json.gz", digest.get(..16).unwrap_or(digest)))
    }

    /// Writes the file into the folder of a run.
    pub fn write(&self, run: &Path, probe: &str) -> io::Result<()> {
        let text = self.text()?;
        let path = Self::path(run, probe, &sha256(&text));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&text)?;
        let bytes = encoder.finish()?;
        write_atomically(&path, |error| error, |file| file.write_all(&bytes))
    }

    /// Reads the file of that digest, which its contents must have.
    pub fn read(run: &Path, probe: &str, digest: &str) -> io::Result<Self> {
        let path = Self::path(run, probe, digest);
        let named = |what: String| io::Error::other(format!("{}: {what}", path.display()));
        let file = File::open(&path).map_err(|e| named(e.to_string()))?;
        let mut text = Vec::new();
        GzDecoder::new(file).take(MOST).read_to_end(&mut text).map_err(|e| named(e.to_string()))?;
        let got = sha256(&text);
        if got != digest {
            return Err(named(format!("expected items of digest {digest}, got {got}")));
        }
        Ok(Self(serde_json::from_slice(&text).map_err(|e| named(e.to_string()))?))
    }

    /// The values behind a measurement, from the folder of the run, among these, that has them; `None` where none has.
    ///
    /// # Errors
    /// A file that is there and has other items than the measurement names.
    pub fn behind(m: &Measurement, runs: &Path) -> io::Result<Option<ItemValues>> {
        let (subject, probe) = (m.subject(), &m.provenance().probe);
        let Some(digest) = m.items() else { return Ok(None) };
        let name = format!("{}-{}-seed-{}-", subject.scale, subject.model, subject.seed);
        let has_them = |run: &PathBuf| {
            let is_named = run.file_name().is_some_and(|run| run.to_string_lossy().starts_with(&name));
            is_named && Self::path(run, probe, digest).is_file()
        };
        let mut there = fs::read_dir(runs).into_iter().flatten().flatten().map(|run| run.path());
        let Some(run) = there.find(has_them) else { return Ok(None) };
        Ok(Self::read(&run, probe, digest)?.of(m.metric(), subject.condition).cloned())
    }

    /// The values of one metric.
    pub fn of(&self, metric: Metric, condition: Condition) -> Option<&ItemValues> {
        let is_it = |m: &&MeasuredItems| m.metric == metric && m.condition == condition && m.place.is_none();
        self.0.iter().find(is_it).map(|m| &m.items)
    }

    /// The values of a point of a curve.
    pub fn at(&self, place: (CurveKind, u64), condition: Condition) -> Option<&ItemValues> {
        let is_it = |m: &&MeasuredItems| m.place == Some(place) && m.condition == condition;
        self.0.iter().find(is_it).map(|m| &m.items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Value;

    fn file() -> ItemFile {
        let items = ItemValues::new(3, [(1, 0.25), (0, 1.0), (1, 0.75), (0, f64::NAN)]);
        let (metric, condition) = (Metric::ValidationLoss, Condition::Trained);
        ItemFile(vec![MeasuredItems { metric, condition, place: None, items }])
    }

    #[test]
    fn a_file_is_read_back_and_another_one_refused() {
        let (folder, file) = (tempfile::tempdir().unwrap(), file());
        let digest = file.digest().unwrap();
        file.write(folder.path(), "recall").unwrap();
        assert_eq!(ItemFile::read(folder.path(), "recall", &digest).unwrap(), file);
        let path = ItemFile::path(folder.path(), "recall", &digest);
        let mut other = file.clone();
        other.0[0].items.values[0] = Value::from(0.5);
        other.write(folder.path(), "recall").unwrap();
        let there = ItemFile::path(folder.path(), "recall", &other.digest().unwrap());
        fs::rename(there, &path).unwrap();
        let error = ItemFile::read(folder.path(), "recall", &digest).unwrap_err().to_string();
        assert!(error.contains("expected items of digest"), "{error}");
        fs::remove_file(&path).unwrap();
        assert!(ItemFile::read(folder.path(), "recall", &digest).is_err());
    }
}
