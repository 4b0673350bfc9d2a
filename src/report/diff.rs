//! What changed between two ledgers: the manifest, the verdict, findings, and the numbers that count.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Table;
use super::tables::change;
use crate::evidence::{Condition, Ledger, Metric, Value};
use crate::gate::{Evidence, Finding, Judgement, Status};
use crate::statistics::mean;

/// The difference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The verdicts, before and after.
    pub verdict: [&'static str; 2],
    /// What the manifests say differently: field, before, after.
    #[serde(rename = "promise")]
    pub manifest: Vec<[String; 3]>,
    /// Findings of another status: criterion, scale, before, after, what is found now.
    pub findings: Vec<[String; 5]>,
    /// Numbers: scale, model, condition, metric, mean before, mean after, change.
    pub numbers: Vec<[String; 7]>,
}

const NONE: &str = "–";

impl Difference {
    /// From one ledger and its judgement to another.
    pub fn between(old: (&Ledger, &Judgement), new: (&Ledger, &Judgement)) -> Self {
        Difference {
            verdict: [old.1.verdict.name(), new.1.verdict.name()],
            manifest: manifests(old.0, new.0),
            findings: findings(old.1, new.1),
            numbers: numbers(old.0, new.0),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.verdict[0] == self.verdict[1]
            && self.manifest.is_empty()
            && self.findings.is_empty()
            && self.numbers.is_empty()
    }

    /// As tables for people.
    pub fn tables(&self) -> Vec<Table> {
        let table = |title: &str, head: &[&str], rows: Vec<Vec<String>>| Table {
            title: title.to_owned(),
            head: head.iter().map(|&h| h.to_owned()).collect(),
            rows,
        };
        let mut all = vec![
            table("Manifest", &["field", "before", "after"], rows(&self.manifest)),
            table("Findings", &["criterion", "scale", "before", "after", "found now"], rows(&self.findings)),
            table(
                "Numbers",
                &["scale", "model", "condition", "metric", "before", "after", "change"],
                rows(&self.numbers),
            ),
        ];
        all.retain(|t| !t.rows.is_empty());
        all
    }
}

fn rows<const N: usize>(list: &[[String; N]]) -> Vec<Vec<String>> {
    list.iter().map(|row| row.to_vec()).collect()
}

fn manifests(old: &Ledger, new: &Ledger) -> Vec<[String; 3]> {
    let said = |ledger: &Ledger| -> BTreeMap<String, String> {
        let Some(m) = ledger.manifest() else { return BTreeMap::new() };
        let mut said = BTreeMap::from([
            ("protocol".to_owned(), m.protocol.clone()),
            ("revision".to_owned(), m.revision.clone()),
            ("models".to_owned(), super::shared::elide(&m.models)),
            ("scales".to_owned(), super::shared::elide(&m.scales)),
            ("trials".to_owned(), super::shared::elide(&m.seeds)),
        ]);
        for e in &m.expected {
            let fields = [
                ("recipe", &e.recipe),
                ("data", &e.data),
                ("tokenizer", &e.tokenizer),
                ("device", &e.device),
                ("precision", &e.precision),
            ];
            for (name, value) in fields {
                said.insert(format!("{name} at {}", e.scale), value.clone());
            }
            said.insert(format!("order of trial {} at {}", e.seed, e.scale), e.order.clone());
        }
        said
    };
    let (old, new) = (said(old), said(new));
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let of = |map: &BTreeMap<String, String>, name: &str| {
        map.get(name).map_or_else(|| NONE.to_owned(), String::clone)
    };
    let row = |name: &String| [name.clone(), of(&old, name), of(&new, name)];
    names.into_iter().filter(|name| old.get(*name) != new.get(*name)).map(row).collect()
}

fn findings(old: &Judgement, new: &Judgement) -> Vec<[String; 5]> {
    let same = |a: &Finding, b: &Finding| a.criterion == b.criterion && a.scale == b.scale;
    let name = |f: Option<&Finding>| f.map_or("not asked", |f| f.status.name()).to_owned();
    let mut rows = Vec::new();
    for now in &new.findings {
        let before = old.findings.iter().find(|f| same(f, now));
        if before.map(|f| f.status) != Some(now.status) && (before.is_some() || now.status != Status::Outside)
        {
            let ids = [now.criterion.to_owned(), now.scale.to_owned()];
            let [id, scale] = ids;
            rows.push([id, scale, name(before), name(Some(now)), super::words::render(now)]);
        }
    }
    for gone in old.findings.iter().filter(|f| !new.findings.iter().any(|now| same(f, now))) {
        rows.push([
            gone.criterion.to_owned(),
            gone.scale.to_owned(),
            name(Some(gone)),
            name(None),
            String::new(),
        ]);
    }
    rows
}

/// Means over the trials of what counts.
fn means(ledger: &Ledger) -> BTreeMap<(String, String, Condition, Metric), f64> {
    let evidence = Evidence::new(ledger);
    let mut all = BTreeMap::new();
    for scale in evidence.scales() {
        for (model, condition, metric) in evidence.asked(scale) {
            let values: Vec<f64> = evidence.values(scale, model, condition, metric).into_values().collect();
            if !values.is_empty() {
                all.insert((scale.to_owned(), model.to_owned(), condition, metric), mean(&values));
            }
        }
    }
    all
}

fn numbers(old: &Ledger, new: &Ledger) -> Vec<[String; 7]> {
    let (old, new) = (means(old), means(new));
    let keys: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let mut rows = Vec::new();
    for key in keys {
        let (before, after) = (old.get(key).copied(), new.get(key).copied());
        if before.map(Value::from) != after.map(Value::from) {
            let text = |x: Option<f64>| x.map_or_else(|| NONE.to_owned(), |x| Value::from(x).to_string());
            let (scale, model, condition, metric) = key;
            let moved = before.zip(after).map_or_else(|| NONE.to_owned(), |(a, b)| change(a, b));
            rows.push([
                scale.clone(),
                model.clone(),
                condition.name().to_owned(),
                metric.id().to_owned(),
                text(before),
                text(after),
                moved,
            ]);
        }
    }
    rows
}
