//! The ledger keeps every bit, refuses what it does not understand, and never loses what it has.

use std::fs;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use v5gate::evidence::{
    Condition, Curve, CurveKind, Ledger, LedgerError, Line, Measurement, Metric, Subject, Value,
};

use crate::world::{World, provenance};

fn subject() -> Subject {
    Subject {
        model: "gpt2".to_owned(),
        scale: "smoke".to_owned(),
        seed: u64::MAX,
        condition: Condition::Trained,
    }
}

fn line(value: f64) -> Line {
    let interval = Some([value, f64::INFINITY]);
    let p = provenance("smoke", 0);
    Line::Measurement(Measurement::new(subject(), Metric::TrainLoss, value, Some(3), interval, p))
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.jsonl");
    assert!(matches!(Ledger::open(&path), Err(LedgerError::Read { .. })));
    let mut ledger = Ledger::open_or_empty(&path).unwrap();
    let mut lines = World::good("test", &["smoke"], 2).lines();
    let losses = vec![Value::from(4.5), Value::from(f64::NAN)];
    let curve =
        Curve::new(subject(), CurveKind::TrainingLoss, vec![1, 2], losses, provenance("smoke", 0)).unwrap();
    lines.push(Line::Curve(curve));
    assert_eq!(ledger.append(&lines).unwrap(), lines.len());
    assert_eq!(ledger.append(&lines).unwrap(), 0, "identical lines are not added again");
    assert_eq!(Ledger::open(&path).unwrap(), ledger);
    assert_eq!(ledger.lines(), lines);
}

#[test]
fn going_back_to_an_earlier_manifest_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open_or_empty(folder.path().join("l")).unwrap();
    let [a, b] = ["a", "b"].map(|name| World::good(name, &["smoke"], 1).lines().swap_remove(0));
    for line in [&a, &b, &a] {
        assert_eq!(ledger.append(std::slice::from_ref(line)).unwrap(), 1);
    }
    assert_eq!(ledger.manifest().unwrap().protocol, "a");
    assert_eq!(ledger.append(&[b.clone(), a.clone(), a]).unwrap(), 2);
    assert_eq!(ledger.manifest().unwrap().protocol, "a");
}

#[test]
fn two_writers_keep_each_others_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l");
    let mut one = Ledger::open_or_empty(&path).unwrap();
    let mut two = Ledger::open_or_empty(&path).unwrap();
    one.append(&[line(1.0)]).unwrap();
    two.append(&[line(2.0)]).unwrap();
    assert_eq!(Ledger::open(&path).unwrap().lines(), [line(1.0), line(2.0)]);
}

#[test]
fn a_line_that_is_not_understood_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.jsonl");
    let good = serde_json::to_string(&line(1.0)).unwrap();
    let context = serde_json::to_string(&World::good("a", &["smoke"], 1).lines()[0]).unwrap();
    let points = (vec![1], vec![Value::from(4.5)]);
    let curve = Curve::new(subject(), CurveKind::TrainingLoss, points.0, points.1, provenance("smoke", 0));
    let curve = serde_json::to_string(&Line::Curve(curve.unwrap())).unwrap();
    let broken = [
        ("not JSON", "expected"),
        ("", "empty line"),
        ("{\"measurement\":", "EOF"),
        ("{\"opinion\":{}}", "unknown variant"),
        (&good.replace("train_loss", "brain_loss"), "unknown metric \"brain_loss\""),
        (&good.replace("\"n\":3", "\"m\":3"), "unknown field"),
        (&good.replace("\"value\":1.0", "\"value\":\"big\""), "\"nan\""),
        (&good.replace("\"value\":1.0", "\"value\":null"), "expected a number"),
        (&good.replace("trained", "drilled"), "unknown variant"),
        (&context.replace("\"schema\":2", "\"schema\":3"), "schema 3"),
        (&curve.replace("\"y\":[4.5]", "\"y\":[]"), "columns of one length"),
        (&curve.replace("training_loss", "straining_loss"), "unknown variant"),
    ];
    for (bad, says) in broken {
        fs::write(&path, format!("{good}\n{bad}\n{good}\n")).unwrap();
        let error = Ledger::open(&path).unwrap_err();
        assert!(matches!(error, LedgerError::Line { line: 2, .. }), "{bad}: {error}");
        let text = error.to_string();
        assert!(text.contains(says), "{bad}: {text}");
        assert!(text.contains("ledger.jsonl, line 2") && text.contains("measurement"), "{text}");
    }
}

#[test]
fn a_missing_last_newline_does_not_glue_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l");
    fs::write(&path, serde_json::to_string(&line(1.0)).unwrap()).unwrap();
    Ledger::open(&path).unwrap().append(&[line(2.0)]).unwrap();
    assert_eq!(Ledger::open(&path).unwrap().lines(), [line(1.0), line(2.0)]);
}

#[test]
fn a_broken_ledger_is_not_added_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l");
    let mut ledger = Ledger::open_or_empty(&path).unwrap();
    fs::write(&path, "{\"measure").unwrap();
    assert!(matches!(ledger.append(&[line(1.0)]), Err(LedgerError::Line { line: 1, .. })));
    assert_eq!(fs::read(&path).unwrap(), b"{\"measure");
}

#[test]
fn a_failed_write_names_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sub").join("l");
    let mut ledger = Ledger::open_or_empty(&path).unwrap();
    fs::write(folder.path().join("sub"), "a file where the folder should be").unwrap();
    let error = ledger.append(&[line(1.0)]).unwrap_err();
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    assert!(ledger.lines().is_empty());
}

const CHILD: &str = "V5GATE_TEST_FULL_DISK";

/// Runs itself again under a limit on the size of files, which makes the write fail half way as
/// a full disk would.
#[test]
fn a_full_disk_leaves_the_old_file() {
    if let Some(path) = std::env::var_os(CHILD) {
        fill_the_disk(Path::new(&path));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l");
    Ledger::open_or_empty(&path).unwrap().append(&[line(1.0)]).unwrap();
    let before = fs::read(&path).unwrap();
    let output = Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 8; exec \"$0\" --exact ledger::a_full_disk_leaves_the_old_file",
        ])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
}

fn fill_the_disk(path: &Path) {
    let mut ledger = Ledger::open(path).unwrap();
    let lines: Vec<Line> = (0..1000).map(|i| line(f64::from(i))).collect();
    let error = ledger.append(&lines).unwrap_err();
    assert!(matches!(error, LedgerError::Write { .. }), "{error}");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    assert_eq!(ledger.lines().len(), 1);
}

#[test]
fn every_metric_has_a_name_of_its_own() {
    for &metric in Metric::ALL {
        assert_eq!(Metric::find(metric.id()), Some(metric), "{}", metric.id());
        let snake = metric.id().chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        assert!(snake && !metric.doc().is_empty() && !metric.unit().is_empty(), "{}", metric.id());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn floats_keep_every_bit(bits in any::<u64>()) {
        let value = Value::from(f64::from_bits(bits));
        let text = serde_json::to_string(&line(value.raw())).unwrap();
        let again: Line = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(again, line(value.raw()));
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &bytes).unwrap();
        let opened = Ledger::open(file.path());
        prop_assert_eq!(opened.is_ok(), bytes.is_empty());
    }
}
