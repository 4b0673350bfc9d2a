//! `v5gate audit`: what the referee finds when it makes a part of the evidence again.

use anyhow::Result;

use v5gate::collect::{AuditReport, Options, audit};
use v5gate::evidence::Metric;
use v5gate::protocol::Protocol;
use v5gate::referee::farthest;
use v5gate::report::{self, Table};

use super::output::print;

/// Audits every trial of a folder of evidence. The exit code is 0 where all agree, 10 where something differs and 11
/// where something could not be looked at.
pub fn run(protocol: &Protocol, options: &Options<'_>, whole: bool) -> Result<u8> {
    let reports = audit(protocol, options, whole)?;
    let screen = report::TerminalStyle::of(&console::Term::stdout());
    print(&report::show_tables(&[comparisons(&reports), coverage(&reports)], screen))?;
    let shares = reports.iter().flat_map(|r| &r.questions).filter_map(|(_, all)| farthest(all));
    let differs = shares.map(v5gate::referee::Deviation::share).any(|share| share.is_nan() || share > 1.0);
    let lacking = reports.iter().any(|r| !r.not_covered.is_empty());
    Ok(if differs {
        10
    } else if lacking {
        11
    } else {
        0
    })
}

/// The farthest comparison of every question about every trial.
fn comparisons(reports: &[AuditReport]) -> Table {
    let head = ["trial", "question", "compared", "farthest", "difference", "tolerance", "share"];
    let row = |trial: &str, (metric, all): &(Metric, Vec<v5gate::referee::Deviation>)| {
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
