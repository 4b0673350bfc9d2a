//! What the referee asks of benchmarks again: their items lie beside the run, and another file, or another figure of an
//! item, is seen.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use v5gate::evidence::{Ledger, Metric};

use crate::program::*;

const NAMES: [&str; 6] = ["Anna", "Bert", "Cleo", "Dora", "Emil", "Fritz"];

/// Passages and questions of our own, in the files' format; `shift` makes other ones of the same number.
fn benchmarks(data: &Path, shift: usize) {
    let (mut passages, mut questions) = (String::new(), String::new());
    for (i, name) in NAMES.iter().enumerate() {
        let other = NAMES[(i + 1 + shift) % NAMES.len()];
        let line = serde_json::json!({"text": format!("{name} met {other} at the lake, and the one who laughed was {other}")});
        writeln!(passages, "{line}").unwrap();
        let endings = ["walks home.", "eats the boat and the oars too.", "sings.", "sleeps under a tree."];
        let question = serde_json::json!({
            "activity_label": "Rowing", "ctx_a": format!("{name} sits in a boat."), "ctx_b": "then",
            "endings": endings, "label": (i + shift) % endings.len(),
        });
        writeln!(questions, "{question}").unwrap();
    }
    for (path, text) in
        [("lambada/lambada_test.jsonl", passages), ("hellaswag/hellaswag_val.jsonl", questions)]
    {
        fs::create_dir_all(data.join(path).parent().unwrap()).unwrap();
        fs::write(data.join(path), text).unwrap();
    }
}

fn written(folder: &Path) -> PathBuf {
    let path = folder.join("p.toml");
    let text = protocol(12, 100).replace("context_length = 32", "context_length = 64");
    let text = text.replace("\"gpt2\", \"groundthink\"", "\"gpt2\"").replace(", groundthink = 0", "");
    fs::write(&path, text.replace("token_count = 768", "token_count = 1536")).unwrap();
    path
}

/// Exit code, what is said, and the farthest answer on record.
fn audited(protocol: &Path, out: &Path, data: &[&str]) -> (Option<i32>, String, f64) {
    let output = run(&[&["audit", "--protocol", text(protocol), "--out", text(out)], data].concat());
    let ledger = Ledger::open(out.join("ledger.jsonl")).unwrap();
    let answers = ledger.measurements().filter(|m| m.metric() == Metric::AuditAnswers);
    let farthest = answers.map(|m| m.value().raw()).fold(0.0, f64::max);
    (output.status.code(), stdout(&output) + &stderr(&output), farthest)
}

#[test]
fn items_of_benchmarks_are_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let (path, out, data) = (written(folder.path()), folder.path().join("out"), folder.path().join("data"));
    benchmarks(&data, 0);
    let with_data = ["--data", text(&data)];
    done(&[&["collect", "--protocol", text(&path), "--out", text(&out)][..], &with_data].concat());
    let (code, said, farthest) = audited(&path, &out, &with_data);
    assert!(code == Some(0) && farthest <= 1.0, "{farthest}: {said}");
    assert_eq!(said.matches("benchmarks: ").count(), 1, "{said}");
    // Nobody who lacks the file can say anything.
    let (code, said, _) = audited(&path, &out, &[]);
    assert_eq!(code, Some(11), "{said}");
    assert!(said.contains("lambada_openai: its file is not here"), "{said}");
    // Other items than those that the numbers are of.
    benchmarks(&data, 1);
    let (code, said, farthest) = audited(&path, &out, &with_data);
    assert!(code == Some(10) && farthest > 1.0, "{farthest}: {said}");
}
