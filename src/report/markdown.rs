//! The report as Markdown.

use std::fmt::Write;

use super::demands::demanded;
use super::shared::{LEGEND, about, by_group, by_scale, escape_controls, glyph, is_outside, not_met, tally};
use super::summary::summary_tables;
use super::table::Table;
use super::tables::tables;
use super::words::{attempts, problem, render};
use crate::evidence::Ledger;
use crate::gate::{Finding, Judgement, Role, cited};

/// The report as Markdown.
pub fn markdown(ledger: &Ledger, judgement: &Judgement) -> String {
    let verdict = judgement.verdict.name();
    let mut text = format!("# V5 gate: {verdict}\n\n{}.\n\n", tally(judgement));
    for line in about(ledger) {
        line_of(&mut text, &format!("- {}", escaped(&line)));
    }
    for line in attempts(judgement) {
        line_of(&mut text, &format!("- {}", escaped(&line)));
    }
    for p in &judgement.problems {
        line_of(&mut text, &format!("- **{}**", escaped(&problem(p))));
    }
    line_of(&mut text, &format!("- {LEGEND}"));
    let titled = |text: &mut String, t: &Table| {
        line_of(text, &format!("\n## {}\n", escaped(&t.title)));
        table(text, t);
    };
    summary_tables(judgement).iter().for_each(|t| titled(&mut text, t));
    for findings in by_scale(judgement) {
        scale(&mut text, findings);
    }
    open(&mut text, judgement);
    tables(ledger, judgement).iter().for_each(|t| titled(&mut text, t));
    line_of(&mut text, &format!("\n**Verdict: {verdict}** (exit code {})", judgement.verdict.exit_code()));
    escape_controls(&text)
}

fn line_of(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}

fn scale(text: &mut String, findings: &[Finding]) {
    let Some(first) = findings.first() else {
        return;
    };
    line_of(text, &format!("\n## Scale {}\n", first.scale));
    if is_outside(findings) {
        let n = findings.len();
        line_of(text, &format!("Outside this protocol: {n} criteria are not asked."));
        return;
    }
    let mut rows = Vec::new();
    for group in by_group(findings) {
        for f in group {
            let id = match f.role {
                Role::Required => format!("`{}`", f.criterion),
                role => format!("`{}` ({})", f.criterion, role.name()),
            };
            let cells = [glyph(f), f.group, &id, f.claim, &render(f), &demanded(f.rule)];
            rows.push(cells.map(str::to_owned).to_vec());
        }
    }
    let head = ["", "group", "criterion", "claim", "found", "demanded"].map(str::to_owned).to_vec();
    table(text, &Table { title: String::new(), head, rows });
}

fn open(text: &mut String, judgement: &Judgement) {
    let list = not_met(judgement);
    if !list.is_empty() {
        line_of(text, "\n## Required and not met\n");
    }
    for f in list {
        let (status, found) = (f.status.name(), escaped(&render(f)));
        line_of(
            text,
            &format!(
                "- {status} `{}` at {}: {found}; demanded {}. {} ({})",
                f.criterion,
                f.scale,
                escaped(&demanded(f.rule)),
                f.why,
                cited(f.source)
            ),
        );
    }
}

/// A table without its title.
pub(super) fn table(text: &mut String, table: &Table) {
    let row = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|c| escaped(c)).collect();
        format!("| {} |", cells.join(" | "))
    };
    line_of(text, &row(&table.head));
    line_of(text, &format!("|{}", "---|".repeat(table.head.len())));
    for cells in &table.rows {
        line_of(text, &row(cells));
    }
}

/// Names come from the ledger, which may hold anything: keep them from becoming markup.
pub(super) fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('|', "\\|").replace("](", "]\\(");
    text.replace('<', "&lt;").replace(['\n', '\r'], " ")
}
