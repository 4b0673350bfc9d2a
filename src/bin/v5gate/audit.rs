//! `v5gate audit`: what the referee finds when it makes a part of the evidence again.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use v5gate::collect::{AuditReport, Depth, Options, REVISION, audit};
use v5gate::evidence::{Ledger, Metric};
use v5gate::protocol::Protocol;
use v5gate::referee::{Deviation, farthest};
use v5gate::report::{self, Table};

use super::output::{print, print_json};
use super::verdict::{FORGED, OtherReports};

/// Differences of a question that are told one by one; of the others it is said how many there are.
const TOLD: usize = 20;

/// Audits every trial of a folder of evidence. The exit code is 0 where all agree, 10 where something differs and 11
/// where something could not be looked at.
pub fn run(protocol: &Protocol, options: &Options<'_>, depth: Depth<'_>, json: bool) -> Result<u8> {
    let forged = forged_reports(options.out)?;
    let reports = audit(protocol, options, depth)?;
    if json {
        print_json(&Value::Array(reports.iter().map(as_json).collect()))?;
        forged.iter().for_each(|name| eprintln!("{name}: {FORGED}"));
    } else {
        let screen = report::TerminalStyle::of(&console::Term::stdout());
        let mut tables = vec![comparisons(&reports), coverage(&reports)];
        tables.extend(differences(&reports, &forged));
        print(&report::show_tables(&tables, screen))?;
    }
    let differs = reports.iter().flat_map(|r| &r.questions).any(|(_, all)| all.iter().any(differs));
    let lacking = reports.iter().any(|r| !r.not_covered.is_empty());
    Ok(if differs || !forged.is_empty() {
        10
    } else if lacking {
        11
    } else {
        0
    })
}

/// Reports of this program's own evidence that it would not write: not of the lines that they say they are about, or of
/// none that they name.
fn forged_reports(folder: &Path) -> Result<Vec<String>> {
    let Ok(ledger) = Ledger::open_below(folder) else { return Ok(Vec::new()) };
    let is_own = ledger.manifest().is_some_and(|manifest| manifest.revision == REVISION);
    let others = OtherReports::beside(&ledger, folder)?;
    Ok(if is_own && (others.of_this_ledger || others.of_no_lines) { others.names } else { Vec::new() })
}

/// Whether a comparison is no agreement; one that is no number is none.
fn differs(deviation: &Deviation) -> bool {
    deviation.share().is_nan() || deviation.share() > 1.0
}

/// Every comparison of a trial; a difference that is no number, or without bounds, is null.
fn as_json(report: &AuditReport) -> Value {
    let comparison = |d: &Deviation| {
        json!({
            "what": d.what, "difference": d.difference, "tolerance": d.tolerance, "agrees": !differs(d),
        })
    };
    let question = |(metric, all): &(Metric, Vec<Deviation>)| json!({"metric": metric.id(), "compared": all.iter().map(comparison).collect::<Vec<_>>()});
    json!({
        "trial": report.trial,
        "questions": report.questions.iter().map(question).collect::<Vec<_>>(),
        "covered": report.covered,
        "not_covered": report.not_covered,
    })
}

/// Everything that differs; no table where nothing does.
fn differences(reports: &[AuditReport], forged: &[String]) -> Option<Table> {
    let of_report = |name: &String| vec![String::new(), "report".to_owned(), format!("{name}: {FORGED}")];
    let mut rows: Vec<Vec<String>> = forged.iter().map(of_report).collect();
    for report in reports {
        for (metric, all) in &report.questions {
            let line = |what: String| vec![report.trial.clone(), metric.id().to_owned(), what];
            let wrong: Vec<&Deviation> = all.iter().filter(|d| differs(d)).collect();
            rows.extend(wrong.iter().take(TOLD).map(|d| line(d.what.clone())));
            if let Some(more) = wrong.len().checked_sub(TOLD + 1) {
                rows.push(line(format!("and {} more", more + 1)));
            }
        }
    }
    let head = ["trial", "question", "what"].map(str::to_owned).to_vec();
    (!rows.is_empty()).then(|| Table { title: "Differs".to_owned(), head, rows })
}

/// The farthest comparison of every question about every trial.
fn comparisons(reports: &[AuditReport]) -> Table {
    let head = ["trial", "question", "compared", "farthest", "difference", "tolerance", "share"];
    let row = |trial: &str, (metric, all): &(Metric, Vec<Deviation>)| {
        let worst = farthest(all)?;
        Some(vec![
            trial.to_owned(),
            metric.id().to_owned(),
            all.len().to_string(),
            worst.what.clone(),
            format!("{:.2e}", worst.difference),
            format!("{:.2e}", worst.tolerance),
            format!("{:.3}", worst.share()),
        ])
    };
    let rows = reports.iter().flat_map(|r| r.questions.iter().filter_map(|q| row(&r.trial, q))).collect();
    Table { title: "Audit".to_owned(), head: head.map(str::to_owned).to_vec(), rows }
}

/// What was looked at, and what was not.
fn coverage(reports: &[AuditReport]) -> Table {
    let rows = |r: &AuditReport| {
        let line = |state: &str, what: &String| vec![r.trial.clone(), state.to_owned(), what.clone()];
        let covered = r.covered.iter().map(|what| line("covered", what)).collect::<Vec<_>>();
        covered
            .into_iter()
            .chain(r.not_covered.iter().map(|what| line("not covered", what)))
            .collect::<Vec<_>>()
    };
    let head = ["trial", "", "what"].map(str::to_owned).to_vec();
    Table { title: "Coverage".to_owned(), head, rows: reports.iter().flat_map(rows).collect() }
}
