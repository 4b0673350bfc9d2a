//! The judgement as one JSON document: every finding with every number, unrounded, and its words.

use serde_json::{Value, json};

use super::demands::demanded;
use super::tables::tables;
use super::words::{found, lacking, problem};
use crate::evidence::Ledger;
use crate::gate::{Citation, Finding, Judgement, RULINGS};

/// The report as JSON.
pub fn json(ledger: &Ledger, judgement: &Judgement) -> Value {
    json!({
        "verdict": judgement.verdict,
        "exit_code": judgement.verdict.exit_code(),
        "own_criteria_met": judgement.own_criteria_met(),
        "problems": judgement.problems.iter().map(problem).collect::<Vec<_>>(),
        "context": ledger.manifest(),
        "attempt": judgement.attempt,
        "attempts": judgement.attempts,
        "findings": judgement.findings.iter().map(in_words).collect::<Vec<_>>(),
        "tables": tables(ledger, judgement),
    })
}

/// A finding's numbers with their words beside them.
fn in_words(finding: &Finding) -> Value {
    let mut document = json!(finding);
    document["found"] = json!(found(finding));
    document["demanded"] = json!(demanded(finding.rule));
    document["lacking"] = json!(lacking(finding));
    let place = |c: &Citation| format!("{RULINGS}#{}", c.anchor());
    document["read"] = json!(finding.source.iter().map(place).collect::<Vec<_>>());
    document
}
