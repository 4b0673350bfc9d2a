//! The judgement as one JSON document: every finding with every number, unrounded.

use serde_json::{Value, json};

use super::tables::tables;
use crate::evidence::Ledger;
use crate::gate::Judgement;

/// The report as JSON.
pub fn json(ledger: &Ledger, judgement: &Judgement) -> Value {
    json!({
        "verdict": judgement.verdict,
        "exit_code": judgement.verdict.exit_code(),
        "own_criteria_met": judgement.own_criteria_met(),
        "problems": judgement.problems,
        "context": ledger.context(),
        "findings": judgement.findings,
        "tables": tables(ledger),
    })
}
