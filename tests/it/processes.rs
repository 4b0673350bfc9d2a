//! Processes beside each other: on one folder one works and the others wait, whatever becomes of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};

use v5gate::evidence::{Ledger, Line};

use crate::program::*;

/// A process whose output is kept.
fn begin(arguments: &[&str]) -> Child {
    program().args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(child: Child, code: i32) -> Output {
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    output
}

fn written(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    (folder, path)
}

/// Nothing of what processes leave to each other is left.
fn assert_no_litter(folder: &Path) {
    let names = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let hidden = snapshot(folder).into_keys().filter(|path| names(path).starts_with('.'));
    assert_eq!(hidden.collect::<Vec<_>>(), Vec::<PathBuf>::new());
    assert!(steps(folder).is_empty());
}

/// But for the time it took.
fn outcome(run: &Path) -> (String, Vec<u8>) {
    let record = fs::read_to_string(run.join("run.json")).unwrap();
    let record: Vec<_> = record.lines().filter(|line| !line.contains("\"seconds\"")).collect();
    (record.join("\n"), fs::read(run.join("final/model.safetensors")).unwrap())
}

#[test]
fn a_second_training_waits_and_finds_it_done() {
    let (folder, protocol) = written("p.toml", &protocol(20, 1));
    let (alone, both) = (folder.path().join("alone"), folder.path().join("both"));
    train(&protocol, &alone);
    let arguments = train_arguments("gpt2", &protocol, &both);
    let pair = [begin(&arguments), begin(&arguments)];
    let pids = [0, 1].map(|i| pair[i].id());
    let said = pair.map(|child| stderr(&end(child, 0)));
    // Either may come first; where they did not meet, there was nothing to wait for.
    for (own, other) in [(&said[0], pids[1]), (&said[1], pids[0])] {
        for line in own.lines().filter(|line| line.contains("waiting for")) {
            assert!(line.contains(&format!("process {other}, which is ")), "{line}");
        }
    }
    assert_eq!(outcome(&both), outcome(&alone));
    assert_no_litter(&both);
}

#[test]
fn a_waiting_process_takes_over_from_a_killed_one() {
    let (folder, protocol) = written("p.toml", &protocol(60, 1));
    let (alone, out) = (folder.path().join("alone"), folder.path().join("out"));
    train(&protocol, &alone);
    let arguments = train_arguments("gpt2", &protocol, &out);
    let mut first = begin(&arguments);
    wait_for(|| newest_step(&out).is_some());
    let second = begin(&arguments);
    // Time to notice; were it not enough, the first is killed before the second comes to wait.
    std::thread::sleep(std::time::Duration::from_millis(300));
    signal(&first, "-KILL");
    assert_eq!(first.wait().unwrap().code(), None, "it had ended before it was killed");
    let said = stderr(&end(second, 0));
    let expected = format!("waiting for process {}, which is training gpt2 smoke seed 1", first.id());
    assert!(said.matches("waiting for").count() <= 1, "{said}");
    assert!(!said.contains("waiting for") || said.contains(&expected), "{said}");
    assert_eq!(outcome(&out), outcome(&alone));
    assert_no_litter(&out);
}

#[test]
fn who_waits_can_be_told_to_stop() {
    let shared = Shared::get();
    let (out, long) = (shared.copy_of("interrupted"), shared.long());
    let arguments = train_arguments("gpt2", &long, out.path());
    let mut first = begin(&arguments);
    wait_for(|| out.path().join(".lock").exists());
    let second = begin(&arguments);
    std::thread::sleep(std::time::Duration::from_secs(1));
    signal(&second, "-TERM");
    let said = stderr(&end(second, 75));
    let expected = format!("interrupted while waiting for process {}, which is training", first.id());
    assert!(said.contains(&expected), "{said}");
    signal(&first, "-TERM");
    assert_eq!(first.wait().unwrap().code(), Some(75));
    assert!(!out.path().join(".lock").exists());
}

#[test]
fn two_runs_on_one_folder_make_one_set_of_runs() {
    let long = protocol(4, 3).replace("context_length = 32", "context_length = 64");
    let long = long.replace("\"gpt2\", \"groundthink\"", "\"gpt2\"").replace(", groundthink = 0", "");
    let (folder, protocol) = written("p.toml", &long.replace("token_count = 256", "token_count = 512"));
    let out = folder.path().join("out");
    let arguments = collect_arguments("run", &protocol, &out);
    let pair = [begin(&arguments), begin(&arguments)];
    // FAIL, both times: four steps teach nothing.
    let said = pair.map(|child| stderr(&end(child, 10)));
    assert!(said.iter().any(|said| said.contains("waiting for process")), "{said:?}");
    let runs: Vec<_> = fs::read_dir(out.join("runs")).unwrap().map(|run| run.unwrap().path()).collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs.iter().for_each(|run| assert_no_litter(run));
    let ledger = Ledger::open(out.join("ledger.jsonl")).unwrap();
    assert_eq!(ledger.manifests().count(), 1);
    let mut questions: Vec<String> = ledger
        .lines()
        .iter()
        .filter_map(|line| match line {
            Line::Measurement(m) => Some(format!("{:?} {:?}", m.subject(), m.metric())),
            _ => None,
        })
        .collect();
    let all = questions.len();
    questions.sort_unstable();
    questions.dedup();
    assert_eq!(questions.len(), all, "a question was answered twice");
    assert_no_litter(&out);
}
