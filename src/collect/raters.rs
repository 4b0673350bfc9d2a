//! What people's ratings were read from, kept as it was written, so that whoever audits can count again.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::audit::AuditReport;
use super::collector::Collector;
use super::error::CollectError;
use super::measure::to_measurement;
use crate::evidence::{Key, Line, Measurement, Metric, Tally, read_ratings};
use crate::files::write_atomically;
use crate::models::MODELS;
use crate::probes::Reading;
use crate::referee::Deviation;
use crate::train::CheckpointError;

/// What opens the blinding.
const KEY: &str = "key.json";

/// Where, below the folder of evidence, the ratings of a page are.
fn folder(out: &Path, page: &str) -> PathBuf {
    out.join("human").join(page.get(..16).unwrap_or(page))
}

/// Keeps a key and the tables of ratings, each a name and a text, below the folder of evidence.
///
/// # Errors
/// A folder that cannot be written.
pub fn keep_ratings(
    out: &Path,
    page: &str,
    key: &str,
    tables: &[(String, String)],
) -> Result<(), CollectError> {
    let folder = folder(out, page);
    fs::create_dir_all(&folder).map_err(CheckpointError::io(&folder))?;
    let names = (1..).map(|number| format!("ratings-{number}.csv"));
    let texts = tables.iter().map(|(_, text)| text.as_str());
    for (name, text) in [(KEY.to_owned(), key)].into_iter().chain(names.zip(texts)) {
        let path = folder.join(name);
        let io = CheckpointError::io(&path);
        write_atomically(&path, &io, |file| file.write_all(text.as_bytes()).map_err(&io))?;
    }
    Ok(())
}

/// The key and the ratings that were kept of a page.
fn kept(out: &Path, page: &str) -> Result<(Key, Tally), String> {
    let folder = folder(out, page);
    let read = |path: &Path| fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()));
    let path = folder.join(KEY);
    let key: Key = serde_json::from_str(&read(&path)?).map_err(|e| format!("{}: {e}", path.display()))?;
    if key.page != page {
        return Err(format!("{}: expected the key of page {page}, got of {}", path.display(), key.page));
    }
    let tables = (1..).map(|number| folder.join(format!("ratings-{number}.csv")));
    let tables = tables.take_while(|path| path.exists());
    let tables: Vec<(String, String)> =
        tables.map(|path| Ok((path.display().to_string(), read(&path)?))).collect::<Result<_, String>>()?;
    let ratings = read_ratings(&key, &tables).map_err(|e| e.to_string())?;
    let tally = Tally::of(&key, &ratings);
    Ok((key, tally))
}

impl Collector<'_> {
    /// People's preferences on record beside what they wrote.
    pub(super) fn ratings_again(
        &self,
        told: &[Measurement],
        compared: &mut Vec<Deviation>,
        report: &mut AuditReport,
    ) {
        for m in told.iter().filter(|m| m.metric() == Metric::HumanPreference) {
            match kept(self.options.out, &m.provenance().validation) {
                Ok((key, tally)) => {
                    let (value, interval) = tally.preferred(key.a.model != MODELS[0].name);
                    let ratings = tally.raters.values().sum::<usize>() as u64;
                    let reading = Reading { n: Some(ratings), interval, ..Reading::new(m.metric(), value) };
                    let again = to_measurement(m.subject().clone(), reading, m.provenance().clone());
                    let same = matches!(&again, Line::Measurement(again) if m.agrees(again));
                    compared.push(Deviation::fact("human_preference beside the ratings", same));
                }
                Err(problem) => report.not_covered.push(format!("people's ratings: {problem}")),
            }
        }
    }
}
