//! What people's ratings were read from, kept as it was written, so that whoever audits can count again.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::audit::AuditReport;
use super::collector::Collector;
use super::error::CollectError;
use super::measure::to_measurement;
use crate::evidence::{Compared, Key, Line, Measurement, Metric, Tally, read_ratings};
use crate::files::{sha256, write_atomically};
use crate::models::MODELS;
use crate::probes::Reading;
use crate::random::Random;
use crate::referee::Deviation;
use crate::train::CheckpointError;

/// A stream of chance; that of the dialogues is another.
const SIDES: u64 = 1;

/// A number of both models: whoever knows the sides of one page knows those of no other.
fn of_both(a: &Compared, b: &Compared) -> u64 {
    let mut both = [a.weights.as_str(), b.weights.as_str()];
    both.sort_unstable();
    let digest = sha256(both.concat().as_bytes());
    digest.bytes().fold(0, |sum, digit| sum.rotate_left(5) ^ u64::from(digit))
}

/// Of every pair of a page, whether A's reply is on the left.
pub fn sides(seed: u64, [a, b]: [&Compared; 2], pairs: usize) -> Vec<bool> {
    let mut random = Random::new(seed ^ of_both(a, b), SIDES);
    (0..pairs).map(|_| random.chance(50)).collect()
}

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

/// A rater's own table beside those that were kept of its page; nothing of another page.
fn beside_kept(out: &Path, key: &Key, path: &Path) -> Option<Deviation> {
    let own = fs::read_to_string(path).unwrap_or_default();
    // A table that cannot be read, or says of no page to be of it, is of every page.
    let of_another = own.lines().nth(1).is_some_and(|row| !row.contains(&key.page));
    if of_another {
        return None;
    }
    let kept = fs::read_dir(folder(out, &key.page)).into_iter().flatten().flatten();
    let mut kept = kept.filter(|entry| entry.path().extension().is_some_and(|kind| kind == "csv"));
    let same = kept.any(|entry| fs::read_to_string(entry.path()).is_ok_and(|kept| kept == own));
    Some(Deviation::fact(format!("the ratings that were counted are those of {}", path.display()), same))
}

impl Collector<'_> {
    /// People's preferences on record beside what they wrote.
    pub(super) fn ratings_again(
        &self,
        told: &[Measurement],
        tables: &[PathBuf],
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
                    let drawn = sides(key.seed, [&key.a, &key.b], key.a_is_left.len());
                    compared.push(Deviation::fact("sides of the page, drawn again", drawn == key.a_is_left));
                    compared
                        .extend(tables.iter().filter_map(|path| beside_kept(self.options.out, &key, path)));
                }
                Err(problem) => report.not_covered.push(format!("people's ratings: {problem}")),
            }
        }
    }
}
