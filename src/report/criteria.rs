//! The table of criteria, for `v5gate list criteria`, and by groups for the README.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use super::demands::{demanded, whom};
use crate::gate::{CRITERIA, Citation, Criterion, RULINGS, Role, cited};
use crate::scale::{SCALES, Scale};

/// The table in short: id, claim, source.
pub fn criteria_markdown() -> String {
    let mut text = "| id | claim | source |\n|---|---|---|\n".to_owned();
    for c in CRITERIA {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| `{}` | {} | {} |", c.id, c.claim, cited(c.source));
    }
    text
}

/// The table as a page of the documentation: by groups, every row with its demand and where it comes from.
pub fn criteria_page() -> String {
    let mut text = PAGE_HEAD.to_owned();
    for group in CRITERIA.chunk_by(|a, b| a.group == b.group) {
        text += &format!("\n## {}\n\n", group[0].group);
        text += "| id | claim | demand | asked of | required at | shown at | why | source |\n";
        text += "|---|---|---|---|---|---|---|---|\n";
        for c in group {
            text += &page_row(c);
        }
    }
    text + &by_ruling()
}

/// Which criteria cite which ruling, in the order of the rulings.
fn by_ruling() -> String {
    let mut cited: BTreeMap<u8, Vec<&str>> = BTreeMap::new();
    for c in CRITERIA {
        for source in c.source {
            if let Citation::R(number) = source {
                cited.entry(*number).or_default().push(c.id);
            }
        }
    }
    let mut text = "\n## By ruling\n\n| ruling | criteria that cite it |\n|---|---|\n".to_owned();
    for (number, ids) in cited {
        let ids: Vec<String> = ids.iter().map(|id| format!("`{id}`")).collect();
        text += &format!("| {} | {} |\n", linked(&[Citation::R(number)]), ids.join(", "));
    }
    text
}

const PAGE_HEAD: &str = "# Criteria

Every criterion of the gate, in the order of the reports. This page is written from the table in
`src/gate/criteria/`; a test compares the two. Of a row that is made of other rows, the demand names them:
`v5gate explain ID` says more of any row. Which criteria a ruling has led to is [at the end](#by-ruling).
";

fn page_row(c: &Criterion) -> String {
    let roles = |wanted: &[Role]| {
        let at = |s: &&Scale| c.role(s).is_some_and(|role| wanted.contains(&role));
        SCALES.iter().filter(at).map(|s| s.name).collect::<Vec<_>>().join(", ")
    };
    let of = if c.rule.parts().is_empty() { whom(c) } else { "other rows" };
    let metrics: Vec<String> = c.metrics.iter().map(|m| format!("`{}`", m.id())).collect();
    let metrics =
        if metrics.len() > MOST_NAMED { format!("{} metrics", metrics.len()) } else { metrics.join(", ") };
    let cells = [
        format!("`{}`", c.id),
        c.claim.to_owned(),
        [metrics, demanded(c.rule)].join(" ").trim().to_owned(),
        of.to_owned(),
        roles(&[Role::Required]),
        roles(&[Role::Contributing, Role::Informational]),
        c.why.to_owned(),
        linked(c.source),
    ];
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

/// Sources as links within the documentation.
fn linked(sources: &[Citation]) -> String {
    let page = RULINGS.rsplit('/').next().unwrap_or(RULINGS);
    let link = |c: &Citation| format!("[{c}]({page}#{})", c.anchor());
    sources.iter().map(link).collect::<Vec<_>>().join(", ")
}

/// A row about more metrics than this counts them.
const MOST_NAMED: usize = 5;

/// The table in full.
pub fn criteria_json() -> Value {
    let row = |c: &Criterion| {
        let mut row = json!(c);
        row["demanded"] = json!(demanded(c.rule));
        row
    };
    CRITERIA.iter().map(row).collect()
}
