//! `v5gate judge`, `report`, `explain`, `diff` and `items`: what a ledger says, to whom it is to be told.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use v5gate::collect::ItemFile;
use v5gate::evidence::{LEDGER, Ledger, RUNS, line_counts};
use v5gate::files::sha256;
use v5gate::gate::{Judgement, judge};
use v5gate::probes::produced_by;
use v5gate::report;

use super::output::{print, print_json, write};

/// A ledger, or all those of a folder of evidence.
pub fn open(path: &Path) -> Result<Ledger> {
    if !path.is_dir() {
        return Ok(Ledger::open_broken(path)?);
    }
    let ledger = Ledger::open_below(path)?;
    if ledger.lines().is_empty() && ledger.faults().is_empty() {
        let shown = path.display();
        bail!("{shown}: expected a folder with {LEDGER} or {RUNS}/*/{LEDGER}, got one with no line of either")
    }
    Ok(ledger)
}

/// The judgement of a ledger, and of whether its runs can be audited.
pub fn judged(ledger: &Ledger) -> Judgement {
    judge(ledger).without_runs(ledger.trials_without_runs())
}

fn judge_only(ledger: &Ledger, as_json: bool, brief: bool) -> Result<u8> {
    let judgement = judged(ledger);
    if as_json {
        print_json(&document(ledger, &judgement, counts_of(ledger).as_ref()))?;
    } else {
        let screen = report::TerminalStyle { brief, ..report::TerminalStyle::of(&console::Term::stdout()) };
        print(&report::terminal(ledger, &judgement, screen))?;
    }
    tell_github(ledger, &judgement)?;
    Ok(judgement.verdict.exit_code())
}

/// What is said of a report that this program would not write.
pub const FORGED: &str = "not what this program reports of this ledger";

/// Judges a ledger, and says which reports beside it say something else.
pub fn judge_beside(path: &Path, as_json: bool) -> Result<u8> {
    let ledger = open(path)?;
    let code = judge_only(&ledger, as_json, false)?;
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
    let others = OtherReports::beside(&ledger, folder)?;
    if !others.names.is_empty() {
        let what = if others.of_this_ledger { FORGED } else { "written when the ledger was another" };
        let (names, path) = (others.names.join(", "), path.display());
        eprintln!("{names}: {what}; `v5gate report {path}` writes it anew");
    }
    Ok(code)
}

/// Reports beside a ledger that are not what this program writes of it.
pub struct OtherReports {
    /// Their paths.
    pub names: Vec<String>,
    /// Whether they say that they are about lines that the ledger has, and this program would not write them of these.
    pub of_this_ledger: bool,
    /// Whether they do not say which lines they are about, as this program does.
    pub of_no_lines: bool,
}

impl OtherReports {
    pub fn beside(ledger: &Ledger, folder: &Path) -> Result<Self> {
        let report = fs::read(folder.join("report.json")).unwrap_or_default();
        let mut report: serde_json::Value = serde_json::from_slice(&report).unwrap_or_default();
        let names = Self::names(ledger, counts_of(ledger).as_ref(), folder)?;
        if names.is_empty() || report["ledger"] == digest(ledger) {
            return Ok(Self { names, of_this_ledger: true, of_no_lines: false });
        }
        // What the ledger was when it was counted.
        let Ok(counts) = serde_json::from_value(report["lines"].take()) else {
            return Ok(Self { names, of_this_ledger: false, of_no_lines: report.is_object() });
        };
        let then = Self::names(&Ledger::open_below_at(folder, &counts)?, Some(&counts), folder)?;
        let is_older = then.is_empty();
        let names = if is_older { names } else { then };
        Ok(Self { names, of_this_ledger: !is_older, of_no_lines: false })
    }

    fn names(ledger: &Ledger, counts: Option<&Counts>, folder: &Path) -> Result<Vec<String>> {
        // One that was written where the runs are tells nothing of their absence.
        let [here, there] =
            [judged(ledger), judge(ledger)].map(|judgement| reports(ledger, &judgement, counts));
        let (here, there) = (here?, there?);
        Ok((here.iter().zip(&there))
            .map(|((name, here), (_, there))| (folder.join(name), [here, there]))
            .filter(|(path, texts)| fs::read_to_string(path).is_ok_and(|found| !texts.contains(&&found)))
            .map(|(path, _)| path.display().to_string())
            .collect())
    }
}

/// SHA-256 of every line, in their order.
fn digest(ledger: &Ledger) -> String {
    // Lines that were read from text, or are to be written as such.
    let texts = ledger.lines().iter().filter_map(|line| serde_json::to_string(line).ok());
    sha256(texts.collect::<Vec<_>>().join("\n").as_bytes())
}

/// How many lines each file of a folder of evidence has, by its name.
type Counts = BTreeMap<String, usize>;

/// How many lines each file of the ledger's folder has, if these are the ledger's lines.
fn counts_of(ledger: &Ledger) -> Option<Counts> {
    let folder = ledger.path().parent()?;
    let counts = line_counts(folder).ok()?;
    let all = Ledger::open_below_at(folder, &counts).ok()?;
    (digest(&all) == digest(ledger)).then_some(counts)
}

/// The report as JSON, and which lines it is about.
fn document(ledger: &Ledger, judgement: &Judgement, counts: Option<&Counts>) -> serde_json::Value {
    let mut document = report::json(ledger, judgement);
    (document["ledger"], document["lines"]) = (json!(digest(ledger)), json!(counts));
    document
}

/// Every format of a report, by the name of its file.
fn reports(
    ledger: &Ledger,
    judgement: &Judgement,
    counts: Option<&Counts>,
) -> Result<[(&'static str, String); 4]> {
    Ok([
        ("report.md", report::markdown(ledger, judgement)),
        ("report.json", serde_json::to_string_pretty(&document(ledger, judgement, counts))?),
        ("report.html", report::html(ledger, judgement)),
        ("junit.xml", report::junit(judgement)?),
    ])
}

pub fn judge_and_report(ledger: &Ledger, out: &Path) -> Result<u8> {
    let judgement = judged(ledger);
    for (name, text) in reports(ledger, &judgement, counts_of(ledger).as_ref())? {
        write(&out.join(name), &text)?;
    }
    judge_only(ledger, false, true)?;
    eprintln!(
        "report: {}, and report.md, report.json, junit.xml beside it",
        out.join("report.html").display()
    );
    Ok(judgement.verdict.exit_code())
}

/// On GitHub's machines a verdict is also told in GitHub's way. Not on stdout, which may be a
/// document: commands are read from stderr as well.
fn tell_github(ledger: &Ledger, judgement: &Judgement) -> Result<()> {
    if std::env::var_os("GITHUB_ACTIONS").is_none_or(|value| value != "true") {
        return Ok(());
    }
    eprint!("{}", report::annotations(judgement));
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let text = report::job_summary(ledger, judgement);
    let file = fs::OpenOptions::new().create(true).append(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| Path::new(&path).display().to_string())
}

pub fn explain(id: &str) -> Result<u8> {
    let Some(criterion) = report::find_criterion(id) else {
        let similar = report::similar_ids(id);
        let hint =
            if similar.is_empty() { String::new() } else { format!("; similar: {}", similar.join(", ")) };
        bail!("explain: expected an id of `v5gate list criteria`, got {id:?}{hint}")
    };
    let collected_by = |metric| produced_by(metric, criterion.condition);
    let screen = report::TerminalStyle::of(&console::Term::stdout());
    print(&report::show_rows(&report::explain(criterion, &collected_by), screen)).map(|()| 0)
}

pub fn diff(old: &Path, new: &Path, as_json: bool) -> Result<u8> {
    let [old, new] = [open(old)?, open(new)?];
    let [before, after] = [judged(&old), judged(&new)];
    let difference = report::Difference::between((&old, &before), (&new, &after));
    if as_json {
        return print_json(&json!(difference));
    }
    let [was, is] = difference.verdict;
    print(&if was == is {
        format!("verdict: {is}, as before\n")
    } else {
        format!("verdict: {was} before, {is} now\n")
    })?;
    if difference.is_empty() {
        return print("nothing that counts has changed\n").map(|()| 0);
    }
    let screen = report::TerminalStyle::of(&console::Term::stdout());
    print(&report::show_tables(&difference.tables(), screen)).map(|()| 0)
}

/// `v5gate items`: the comparison over items, trials as they are.
pub fn items(evidence: &Path, as_json: bool) -> Result<u8> {
    let ledger = open(evidence)?;
    let runs = ledger.path().parent().unwrap_or(Path::new("")).join(RUNS);
    let pairs = report::item_pairs(&ledger, |m| ItemFile::behind(m, &runs))?;
    if as_json {
        return print_json(&json!(pairs));
    }
    if pairs.is_empty() {
        bail!("{}: expected items of both models beside their runs, got none", evidence.display());
    }
    let screen = report::TerminalStyle::of(&console::Term::stdout());
    print(&report::show_tables(&report::tables_of_pairs(&pairs), screen)).map(|()| 0)
}
