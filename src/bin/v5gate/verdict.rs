//! `v5gate judge`, `report`, `explain`, `diff` and `items`: what a ledger says, to whom it is to be told.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use v5gate::collect::ItemFile;
use v5gate::evidence::{LEDGER, Ledger, RUNS};
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

pub fn judge_only(ledger: &Ledger, as_json: bool, brief: bool) -> Result<u8> {
    let judgement = judged(ledger);
    if as_json {
        print_json(&report::json(ledger, &judgement))?;
    } else {
        let screen = report::TerminalStyle { brief, ..report::TerminalStyle::of(&console::Term::stdout()) };
        print(&report::terminal(ledger, &judgement, screen))?;
    }
    tell_github(ledger, &judgement)?;
    Ok(judgement.verdict.exit_code())
}

pub fn judge_and_report(ledger: &Ledger, out: &Path) -> Result<u8> {
    let judgement = judged(ledger);
    write(&out.join("report.md"), &report::markdown(ledger, &judgement))?;
    let document = serde_json::to_string_pretty(&report::json(ledger, &judgement))?;
    write(&out.join("report.json"), &document)?;
    write(&out.join("report.html"), &report::html(ledger, &judgement))?;
    write(&out.join("junit.xml"), &report::junit(&judgement)?)?;
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
