//! The evidence that lies in the repository, judged again: what is said of it is what it gives.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use v5gate::collect::ItemFile;
use v5gate::evidence::{Ledger, Metric};
use v5gate::files::sha256;
use v5gate::gate::{Judgement, judge};
use v5gate::report;

/// All of it together, in bytes.
const MOST: u64 = 8 << 20;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("evidence/pilot")
}

fn judged(ledger: &Ledger) -> Judgement {
    judge(ledger).without_runs(ledger.trials_without_runs())
}

/// What became of every criterion at every scale.
fn statuses(report: &Value) -> BTreeMap<(String, String), String> {
    let word = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap().iter();
    findings.map(|f| ((word(f, "criterion"), word(f, "scale")), word(f, "status"))).collect()
}

/// A criterion that is new or changed since makes another report: `v5gate report evidence/pilot` writes it, and the
/// difference is there to be read.
#[test]
fn the_released_verdict_is_found_again() {
    let ledger = Ledger::open_below(&folder()).unwrap();
    assert!(ledger.faults().is_empty(), "{:?}", ledger.faults());
    let again = report::json(&ledger, &judged(&ledger));
    let released: Value = serde_json::from_slice(&fs::read(folder().join("report.json")).unwrap()).unwrap();
    assert_eq!(again["verdict"], released["verdict"]);
    assert_eq!(again["problems"], released["problems"]);
    assert_eq!(statuses(&again), statuses(&released));
}

/// Anyone can compute means and intervals again from what lies there.
#[test]
fn the_released_items_are_those_of_the_ledger() {
    let ledger = Ledger::open_below(&folder()).unwrap();
    let of_items = ledger.measurements().filter(|m| m.items().is_some());
    let found: Vec<_> = of_items.map(|m| (m, ItemFile::behind(m, &folder().join("runs")))).collect();
    assert!(found.len() > 500, "{} measurements over items", found.len());
    for (m, items) in found {
        let items = items.unwrap_or_else(|e| panic!("{}: {e}", m.metric().id()));
        assert!(items.is_some_and(|items| Some(items.count()) == m.n()), "{}", m.metric().id());
    }
}

/// What the other program wrote lies beside what was made of it.
#[test]
fn the_released_references_are_those_of_the_ledger() {
    let ledger = Ledger::open_below(&folder()).unwrap();
    let ratios: Vec<_> = ledger.measurements().filter(|m| m.metric() == Metric::ReferenceLossRatio).collect();
    assert!(!ratios.is_empty());
    for m in ratios {
        let digest = &m.provenance().validation;
        let name = format!("reference-{}.jsonl", &digest[..16]);
        let runs = fs::read_dir(folder().join("runs")).unwrap();
        let log = runs.filter_map(|run| fs::read(run.unwrap().path().join(&name)).ok()).next().unwrap();
        assert_eq!(sha256(&log), *digest);
        let steps = log.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{\"step\""));
        assert_eq!(Some(steps.count() as u64), m.n());
    }
}

/// A number that is changed by hand is seen without a run beside it.
#[test]
fn a_released_number_that_was_changed_is_seen() {
    let text = fs::read_to_string(folder().join("ledger.jsonl")).unwrap();
    let line = text.lines().find(|line| line.contains("\"metric\":\"validation_loss\"")).unwrap();
    let mut parsed: Value = serde_json::from_str(line).unwrap();
    parsed["measurement"]["value"] = 1.25.into();
    let changed = text.replacen(line, &parsed.to_string(), 1);
    let [before, after] = [&text, &changed].map(|text| {
        let ledger = Ledger::from_bytes(text.as_bytes());
        report::json(&ledger, &judge(&ledger))["problems"].clone()
    });
    assert_ne!(before, after);
}

#[test]
fn the_released_evidence_is_small() {
    fn bytes(folder: &Path) -> u64 {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|p| if p.is_dir() { bytes(&p) } else { p.metadata().unwrap().len() }).sum()
    }
    let all = bytes(&folder());
    assert!(all <= MOST, "{all} bytes");
}
