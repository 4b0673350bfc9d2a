//! What every form of a report shares: marks, order, who is spoken of, and names made harmless.

use crate::evidence::Ledger;
use crate::gate::{Finding, Judgement, Role, Status};

/// The mark of a finding, readable without colour.
pub(super) fn glyph(finding: &Finding) -> &'static str {
    match (finding.status, finding.role) {
        (Status::Met, _) => "✓",
        (Status::Unmet, Role::Required) => "✗",
        (Status::Unproven, Role::Required) => "?",
        (Status::Unmet, _) => "x",
        (Status::Unproven, _) => "-",
        (Status::Outside, _) => " ",
    }
}

pub(super) const LEGEND: &str =
    "✓ met, ✗ unmet, ? unproven; x unmet and - unproven where it does not decide by itself";

/// Rows that only inform and that nobody measured: named together, not one by one.
pub(super) fn is_unmeasured_info(finding: &Finding) -> bool {
    finding.role == Role::Informational && finding.status == Status::Unproven && finding.facts.is_empty()
}

/// What the ledger is about, in a few lines.
pub(super) fn about(ledger: &Ledger) -> Vec<String> {
    let Some(manifest) = ledger.manifest() else {
        return Vec::new();
    };
    vec![
        format!("protocol {}, revision {}", manifest.protocol, manifest.revision),
        format!(
            "models {}; scales {}; trials {}",
            elide(&manifest.models),
            elide(&manifest.scales),
            elide(&manifest.seeds)
        ),
    ]
}

/// A list that a ledger may have made as long as it liked.
pub(super) fn elide(all: &[impl ToString]) -> String {
    const MOST: usize = 32;
    const LETTERS: usize = 40;
    let name = |x: &_| ToString::to_string(x).chars().take(LETTERS).collect::<String>();
    let mut text = all.iter().take(MOST).map(name).collect::<Vec<_>>().join(", ");
    if all.len() > MOST {
        text += &format!(" and {} more", all.len() - MOST);
    }
    text
}

/// The verdict's reasons in one line.
pub(super) fn tally(judgement: &Judgement) -> String {
    let count = |status| judgement.count(Role::Required, status);
    let own = if judgement.own_criteria_met() { "; everything that this protocol asks is met" } else { "" };
    format!(
        "required: {} met, {} unmet, {} unproven, {} outside this protocol{own}",
        count(Status::Met),
        count(Status::Unmet),
        count(Status::Unproven),
        count(Status::Outside)
    )
}

/// The findings of each scale, then of each group, in the order of the table. A scale that the
/// protocol does not ask about comes as a single group.
pub(super) fn by_scale(judgement: &Judgement) -> impl Iterator<Item = &[Finding]> {
    judgement.findings.chunk_by(|a, b| a.scale == b.scale)
}

pub(super) fn by_group(findings: &[Finding]) -> impl Iterator<Item = &[Finding]> {
    findings.chunk_by(|a, b| a.group == b.group)
}

pub(super) fn is_outside(findings: &[Finding]) -> bool {
    findings.iter().all(|f| f.status == Status::Outside)
}

/// What is required and not met, though the protocol asks for it.
pub(super) fn not_met(judgement: &Judgement) -> Vec<&Finding> {
    let open =
        |f: &&Finding| f.role == Role::Required && matches!(f.status, Status::Unmet | Status::Unproven);
    let mut list: Vec<&Finding> = judgement.findings.iter().filter(open).collect();
    list.sort_by_key(|f| f.status);
    list
}

/// Names come from the ledger, which may hold anything: characters that nobody sees, but that steer
/// a reader's screen or break a document, become visible ones. Lines may break.
pub(super) fn escape_controls(text: &str) -> String {
    let hidden = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    text.chars().map(|c| if hidden(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
