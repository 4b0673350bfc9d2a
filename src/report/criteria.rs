//! The table of criteria, for `v5gate list criteria`, and by groups for the README.

use std::fmt::Write;

use serde_json::{Value, json};

use super::demands::demanded;
use crate::gate::{CRITERIA, Criterion};

/// The table in short: id, claim, source.
pub fn criteria_markdown() -> String {
    let mut text = "| id | claim | source |\n|---|---|---|\n".to_owned();
    for c in CRITERIA {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| `{}` | {} | {} |", c.id, c.claim, c.source);
    }
    text
}

/// The table by groups, for the README: how many rows, and their ids.
pub fn criteria_summary() -> String {
    let mut text = "| group | rows | ids |\n|---|---|---|\n".to_owned();
    for group in CRITERIA.chunk_by(|a, b| a.group == b.group) {
        let ids: Vec<String> = group.iter().map(|c| format!("`{}`", c.id)).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {} | {} | {} |", group[0].group, group.len(), ids.join(" "));
    }
    text
}

/// The table in full.
pub fn criteria_json() -> Value {
    let row = |c: &Criterion| {
        let mut row = json!(c);
        row["demanded"] = json!(demanded(c.rule));
        row
    };
    CRITERIA.iter().map(row).collect()
}
