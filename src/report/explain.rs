//! One criterion, explained: what it asks, why, where it comes from, what would meet it, and which
//! command collects its evidence.

use super::demands::{meaning, whom};
use crate::evidence::Metric;
use crate::gate::{CRITERIA, Citation, Criterion, RULINGS, Role, cited};
use crate::scale::SCALES;

/// The row of that id.
pub fn find_criterion(id: &str) -> Option<&'static Criterion> {
    CRITERIA.iter().find(|c| c.id == id)
}

/// Ids that are like the given one, the likest first, for people who mistype.
pub fn similar_ids(id: &str) -> Vec<&'static str> {
    const LIKE: f64 = 0.8;
    const MOST: usize = 8;
    let wanted = id.to_lowercase();
    let likeness = |c: &'static Criterion| (strsim::jaro_winkler(&c.id.to_lowercase(), &wanted), c.id);
    let mut all: Vec<(f64, &str)> = CRITERIA.iter().map(likeness).filter(|(like, _)| *like >= LIKE).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    all.into_iter().take(MOST).map(|(_, id)| id).collect()
}

/// The explanation, as headings and texts. `collected_by` names what measures a metric, where
/// something does.
pub fn explain(c: &Criterion, collected_by: &dyn Fn(Metric) -> Option<String>) -> Vec<[String; 2]> {
    let mut rows = Vec::new();
    let mut line = |name: &str, value: &str| rows.push([name.to_owned(), value.to_owned()]);
    line(c.id, c.claim);
    line("why", c.why);
    line("source", &cited(c.source));
    line("read", &places(c.source));
    line("asked", &asked(c));
    line("met when", &meaning(c));
    for metric in c.metrics {
        line("metric", &format!("{} ({}): {}", metric.id(), metric.unit(), metric.doc()));
        line(
            "",
            &collected_by(*metric)
                .unwrap_or_else(|| "measured by no probe of this version: unproven".to_owned()),
        );
    }
    for part in c.rule.parts().iter().filter_map(|id| find_criterion(id)) {
        line("part", &format!("{}: {}", part.id, part.claim));
    }
    let used = CRITERIA.iter().filter(|other| other.rule.parts().contains(&c.id)).map(|other| other.id);
    let used: Vec<&str> = used.collect();
    if !used.is_empty() {
        line("part of", &used.join(", "));
    }
    rows
}

/// Where what is cited can be read.
fn places(sources: &[Citation]) -> String {
    let place = |c: &Citation| format!("{RULINGS}#{}", c.anchor());
    sources.iter().map(place).collect::<Vec<_>>().join(", ")
}

/// At which scales, of whom, and in what role.
fn asked(c: &Criterion) -> String {
    let having =
        |role| -> Vec<&str> { SCALES.iter().filter(|s| c.role(s) == Some(role)).map(|s| s.name).collect() };
    let mut parts = Vec::new();
    for role in [Role::Required, Role::Contributing, Role::Informational] {
        let scales = having(role);
        if !scales.is_empty() {
            parts.push(format!("{} at {}", role.name(), scales.join(", ")));
        }
    }
    if c.rule.parts().is_empty() {
        parts.push(format!("{}, {}", whom(c), c.condition.name()));
    }
    parts.join("; ")
}
