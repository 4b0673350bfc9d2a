//! What people's ratings were read from, kept as it was written, so that whoever audits can count again.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::audit::{AuditReport, Depth, PageAgain};
use super::collector::Collector;
use super::error::CollectError;
use super::measure::to_measurement;
use super::trial::{Trained, Trial};
use crate::evidence::{Compared, Key, Line, Measurement, Metric, Tally, read_ratings};
use crate::files::{sha256, write_atomically};
use crate::models::{self, MODELS};
use crate::probes::Reading;
use crate::random::Random;
use crate::referee::Deviation;
use crate::train::CheckpointError;

/// A stream of chance; that of the dialogues is another.
const SIDES: u64 = 1;

/// A number of both models and of which is A: whoever knows the sides of one page knows those of no other, and a key in
/// which A and B have changed places tells sides that were not drawn.
fn of_both(a: &Compared, b: &Compared) -> u64 {
    let digest = sha256([a.weights.as_str(), b.weights.as_str()].concat().as_bytes());
    digest.bytes().fold(0, |sum, digit| sum.rotate_left(5) ^ u64::from(digit))
}

/// Of every pair of a page, whether A's reply is on the left: of half of them, so that no seed favours a model.
pub fn sides(seed: u64, [a, b]: [&Compared; 2], pairs: usize) -> Vec<bool> {
    let mut random = Random::new(seed ^ of_both(a, b), SIDES);
    let first = random.chance(50);
    let mut all: Vec<bool> = (0..pairs).map(|i| (i % 2 == 0) == first).collect();
    random.shuffle(&mut all);
    all
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

/// The tables of a page that were counted.
fn counted(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let tables = (1..).map(|number| folder.join(format!("ratings-{number}.csv")));
    tables.take_while(|path| path.exists())
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
    let tables: Vec<(String, String)> = counted(&folder)
        .map(|path| Ok((path.display().to_string(), read(&path)?)))
        .collect::<Result<_, String>>()?;
    let ratings = read_ratings(&key, &tables).map_err(|e| e.to_string())?;
    let tally = Tally::of(&key, &ratings);
    Ok((key, tally))
}

/// Raters' own tables of a page beside those that were counted: every table is both, where there are any.
fn beside_kept(out: &Path, page: &str, tables: &[PathBuf]) -> Vec<Deviation> {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let own: Vec<(&PathBuf, String)> =
        tables.iter().map(|path| (path, read(path))).filter(|(_, text)| is_of(text, page)).collect();
    let counted: Vec<(PathBuf, String)> =
        counted(&folder(out, page)).map(|p| (p.clone(), read(&p))).collect();
    let was_counted = |(path, text): &(&PathBuf, String)| {
        let same = counted.iter().any(|(_, kept)| kept == text);
        Deviation::fact(format!("the ratings that were counted are those of {}", path.display()), same)
    };
    let was_shown = |(path, text): &(PathBuf, String)| {
        let same = own.iter().any(|(_, shown)| shown == text);
        Deviation::fact(format!("a rater has the table that was counted as {}", path.display()), same)
    };
    let shown = counted.iter().filter(|_| !own.is_empty()).map(was_shown);
    own.iter().map(was_counted).chain(shown).collect()
}

/// Whether a table is of a page: one that cannot be read, or says of no page to be of it, is of every page.
fn is_of(table: &str, page: &str) -> bool {
    table.lines().nth(1).is_none_or(|row| row.contains(page))
}

impl Collector<'_> {
    /// Whether the weights that a preference is about, and the other's of the same trial, are those that replied.
    fn are_rated(&self, m: &Measurement, key: &Key) -> bool {
        let (subject, source) = (m.subject(), m.provenance());
        let (own, other) = if key.a.model == subject.model { (&key.a, &key.b) } else { (&key.b, &key.a) };
        let is_other = |o: &Measurement| {
            let of = o.subject();
            (&of.model, &of.scale, of.seed) == (&other.model, &subject.scale, subject.seed)
                && o.provenance().weights == other.weights
        };
        (&own.model, &own.weights) == (&subject.model, &source.weights)
            && self.told(|o| is_other(o).then_some(())).is_some()
    }

    /// Whether a page shows what its models reply, in the dialogues that are here.
    fn page_again(
        &self,
        trained: &Trained<'_>,
        key: &Key,
        again: PageAgain,
    ) -> Result<[Deviation; 2], String> {
        let folder = |compared: &Compared| {
            let name = &compared.model;
            let spec = models::find(name).ok_or_else(|| format!("expected a model, got {name:?}"))?;
            let (_, run) = self.place(Trial { spec, ..trained.trial }).map_err(|error| error.to_string())?;
            Ok::<_, String>(run.checkpoint())
        };
        let (a, b) = (folder(&key.a)?, folder(&key.b)?);
        let made = again(key, [&a, &b], self.options).map_err(|error| error.to_string())?;
        Ok([
            Deviation::fact("dialogues of the page, read again", made.data == key.data),
            Deviation::fact(
                "replies of the page, made again",
                made.page == key.page && made.file == key.file,
            ),
        ])
    }

    /// People's preferences on record beside what they wrote.
    pub(super) fn ratings_again(
        &self,
        trained: &Trained<'_>,
        told: &[Measurement],
        depth: Depth<'_>,
        compared: &mut Vec<Deviation>,
        report: &mut AuditReport,
    ) {
        let on_record = self.all_told(|m| m.metric() == Metric::HumanPreference);
        for path in depth.tables {
            let own = fs::read_to_string(path).unwrap_or_default();
            let known = on_record.iter().any(|m| is_of(&own, &m.provenance().validation));
            compared
                .push(Deviation::fact(format!("ratings on record of the page of {}", path.display()), known));
        }
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
                    let alike = key.unlike_evidence(&m.provenance().device).is_none();
                    compared.push(Deviation::fact("seed, nucleus and device of the page", alike));
                    compared.push(Deviation::fact("whose replies were rated", self.are_rated(m, &key)));
                    compared.extend(beside_kept(self.options.out, &key.page, depth.tables));
                    match depth.page.filter(|_| depth.whole).map(|page| self.page_again(trained, &key, page))
                    {
                        Some(Ok(same)) => compared.extend(same),
                        Some(Err(problem)) => {
                            report.not_covered.push(format!("replies of the page: {problem}"))
                        }
                        None => {}
                    }
                }
                // What is there and cannot be counted again was not counted.
                Err(problem) if folder(self.options.out, &m.provenance().validation).exists() => {
                    compared.push(Deviation::fact(format!("people's ratings: {problem}"), false));
                }
                Err(problem) => {
                    report.not_covered.push(format!("people's ratings: {problem}"));
                    // Nothing was kept, and yet somebody rated.
                    compared.extend(beside_kept(self.options.out, &m.provenance().validation, depth.tables));
                }
            }
        }
    }
}
