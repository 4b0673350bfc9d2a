//! What GitHub shows of a verdict: annotations, which are commands among the lines that a step
//! prints, and the summary of a job.

use std::fmt::Write;

use super::demands::demanded;
use super::markdown::{escaped, table};
use super::shared::{about, escape_controls, glyph, not_met, tally};
use super::summary::summary_tables;
use super::words::{attempts, problem, render};
use crate::evidence::Ledger;
use crate::gate::{Finding, Judgement, Status, Verdict, cited};

/// GitHub shows no more annotations of one kind from one step.
const MOST: usize = 10;
/// GitHub takes no more bytes of summary from one step; a little is left for the end.
const SUMMARY: usize = 1_000_000;

/// Annotations: what is required and unmet as errors, what is unproven as warnings, the verdict.
pub fn annotations(judgement: &Judgement) -> String {
    let open = not_met(judgement);
    let mut text = String::new();
    for (kind, status) in [("error", Status::Unmet), ("warning", Status::Unproven)] {
        let list: Vec<&Finding> = open.iter().copied().filter(|f| f.status == status).collect();
        // Where they are too many, the last one tells of the rest.
        let shown = if list.len() > MOST { MOST - 1 } else { list.len() };
        let (first, rest) = list.split_at(shown);
        for f in first {
            let title = format!("{} at {}: {}", f.criterion, f.scale, f.status.name());
            let what = format!(
                "{}\nfound: {}\ndemanded: {}\n{} ({})",
                f.claim,
                render(f),
                demanded(f.rule),
                f.why,
                cited(f.source)
            );
            command(&mut text, kind, &title, &what);
        }
        if !rest.is_empty() {
            let names: Vec<String> = rest.iter().map(|f| format!("{} at {}", f.criterion, f.scale)).collect();
            let title = format!("{} more required and {}", rest.len(), status.name());
            command(&mut text, kind, &title, &names.join("\n"));
        }
    }
    let mut reasons = vec![tally(judgement)];
    reasons.extend(judgement.problems.iter().map(problem));
    command(&mut text, "notice", &format!("V5 gate: {}", judgement.verdict.name()), &reasons.join("\n"));
    text
}

/// One command: a single line, whatever the title and the message contain.
fn command(text: &mut String, kind: &str, title: &str, message: &str) {
    let data =
        |text: &str| escape_controls(text).replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    // Writing to a string cannot fail.
    let _ = writeln!(text, "::{kind} title={}::{}", property(title), data(message));
}

/// The summary of a job, in Markdown.
pub fn job_summary(ledger: &Ledger, judgement: &Judgement) -> String {
    let sign = match judgement.verdict {
        Verdict::Pass => "✅",
        Verdict::Fail => "❌",
        Verdict::Incomplete => "❔",
    };
    let mut text = format!("## {sign} V5 gate: {}\n\n{}.\n\n", judgement.verdict.name(), tally(judgement));
    let told = about(ledger).into_iter().chain(attempts(judgement));
    for line in told.chain(judgement.problems.iter().map(problem)) {
        text += &format!("- {}\n", escaped(&line));
    }
    for shown in summary_tables(judgement) {
        text += &format!("\n### {}\n\n", escaped(&shown.title));
        table(&mut text, &shown);
    }
    let open = not_met(judgement);
    if !open.is_empty() {
        text += "\n### Required and not met\n\n| | scale | criterion | found | demanded |\n|---|---|---|---|---|\n";
    }
    let rows = open.iter().map(|f| {
        let cells = [f.scale, f.claim, &render(f), &demanded(f.rule)].map(escaped);
        format!("| {} {} | {} |\n", glyph(f), f.status.name(), cells.join(" | "))
    });
    fill(&mut text, rows, SUMMARY / 2);
    if !open.is_empty() {
        text += "\n<details><summary>Why it is demanded</summary>\n\n";
        let reasons = open.iter().map(|f| {
            let [id, scale, why, source] = [f.criterion, f.scale, f.why, &cited(f.source)].map(escaped);
            format!("- `{id}` at {scale}: {why} ({source})\n")
        });
        fill(&mut text, reasons, SUMMARY);
        text += "\n</details>\n";
    }
    text += "\nMore in `report.html`, `report.md`, `report.json` and `junit.xml`.\n";
    escape_controls(&text)
}

/// Adds lines while the text stays below so many bytes, and says how many did not fit.
fn fill(text: &mut String, lines: impl ExactSizeIterator<Item = String>, most: usize) {
    let all = lines.len();
    for (i, line) in lines.enumerate() {
        if text.len() + line.len() > most {
            let _ = writeln!(text, "\n{} more are in the report.", all - i);
            return;
        }
        text.push_str(&line);
    }
}
