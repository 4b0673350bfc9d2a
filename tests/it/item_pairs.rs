//! The two models item by item: `v5gate items`.

use std::fs;
use std::path::Path;

use serde_json::Value;
use v5gate::collect::ItemFile;
use v5gate::evidence::{Condition, ItemValues, Ledger, Line, MeasuredItems, Metric};
use v5gate::gate::GROUNDTHINK;

use crate::program::{done, refused, run, stderr, text};
use crate::world::World;

/// A ledger whose held-out losses have items: every window is harder than the one before, and GroundThink 0.1 better,
/// once a little more and once a little less.
fn with_items(folder: &Path) {
    let lines = World::good("smoke", &["smoke"], 3).lines().into_iter().map(|line| match line {
        Line::Measurement(m)
            if (m.metric(), m.subject().condition) == (Metric::ValidationLoss, Condition::Trained) =>
        {
            let of = m.subject();
            let gain = |i: usize| if of.model == GROUNDTHINK { 0.1 + 0.01 * (i % 2) as f64 } else { 0.0 };
            let values: Vec<f64> = (0..8).map(|i| 2.0 + i as f64 - gain(i)).collect();
            let items = ItemValues::independent(32, &values);
            let file = ItemFile(vec![MeasuredItems {
                metric: m.metric(),
                condition: of.condition,
                place: None,
                items,
            }]);
            let run = folder.join(format!("runs/{}-{}-seed-{}-01234567", of.scale, of.model, of.seed));
            fs::create_dir_all(run.join("items")).unwrap();
            file.write(&run, "synthetic").unwrap();
            Line::Measurement(m.with_items(&file.digest().unwrap()))
        }
        other => other,
    });
    let path = folder.join("ledger.jsonl");
    Ledger::open_or_empty(path).unwrap().append(&lines.collect::<Vec<_>>()).unwrap();
}

#[test]
fn both_models_are_compared_item_by_item() {
    let folder = tempfile::tempdir().unwrap();
    with_items(folder.path());
    let arguments = ["items", text(folder.path()), "--json"];
    let pairs: Value = serde_json::from_str(&done(&arguments)).unwrap();
    let [pair] = &pairs.as_array().unwrap()[..] else { panic!("{pairs}") };
    assert_eq!((&pair["metric"], &pair["items"]), (&"validation_loss".into(), &8.into()));
    assert_eq!(pair["seeds"].as_array().unwrap().len(), 3);
    let number = |value: &Value| value.as_f64().unwrap();
    assert!((number(&pair["difference"]) + 0.105).abs() < 1e-12, "{pair}");
    // Half of the windows by 0.1, half by 0.11: a deviation of 0.00535, a standard error of 0.00189, t of 2.365.
    assert!((number(&pair["interval"][1]) + 0.105 - 0.004_47).abs() < 1e-5, "{pair}");
    assert!(number(&pair["narrowed"]) < 0.01 && number(&pair["better"]) == 1.0, "{pair}");
    let shown = done(&["items", text(folder.path())]);
    assert!(shown.contains("validation_loss") && shown.contains("8 (8), 3 trials"), "{shown}");
}

#[test]
fn items_that_are_others_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    with_items(folder.path());
    let items = |model: &str| folder.path().join(format!("runs/smoke-{model}-seed-0-01234567/items"));
    let file = |model: &str| fs::read_dir(items(model)).unwrap().next().unwrap().unwrap().path();
    fs::copy(file("gpt2"), file("groundthink")).unwrap();
    let arguments = ["items", text(folder.path())];
    refused(&arguments, &["seed-0", "expected items of digest"]);
    // What is not there is left out.
    fs::remove_file(file("groundthink")).unwrap();
    assert!(done(&arguments).contains("8 (8), 2 trials"));
    fs::remove_dir_all(folder.path().join("runs")).unwrap();
    let without = run(&arguments);
    assert_eq!(without.status.code(), Some(2));
    assert!(stderr(&without).contains("expected items of both models beside their runs, got none"));
}
