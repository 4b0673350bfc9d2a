//! Processes beside each other: on one folder one works and the others wait, whatever becomes of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};

use v5gate::evidence::{Ledger, Line};
use v5gate::files::FileLock;

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

/// Every file below a folder that may not be there yet.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    if folder.exists() { snapshot(folder).into_keys().collect() } else { Vec::new() }
}

/// But for the time it took.
fn outcome(run: &Path) -> (serde_json::Value, Vec<u8>) {
    let mut record: serde_json::Value =
        serde_json::from_slice(&fs::read(run.join("run.json")).unwrap()).unwrap();
    (record["seconds"], record["starts"]) = (serde_json::Value::Null, serde_json::Value::Null);
    (record, fs::read(run.join("final/model.safetensors")).unwrap())
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

/// What processes leave that are killed between a run's record and the tidying-up.
fn litter(run: &Path) {
    let step = run.join("step-00000003");
    copy(&run.join("final"), &step);
    fs::create_dir(run.join(".writing-step")).unwrap();
    [".lock", ".writing-record"].iter().for_each(|name| fs::write(run.join(name), "left").unwrap());
}

#[test]
fn what_was_left_beside_a_record_is_swept() {
    let shared = Shared::get();
    let run = shared.copy_of("ended");
    let before = snapshot(run.path());
    litter(run.path());
    train(&shared.short(), run.path());
    assert_eq!(snapshot(run.path()), before);
    assert_no_litter(run.path());
    // In the cache, a token file that was not written to its end.
    let half = before.keys().find(|path| path.ends_with("train.tokens")).unwrap();
    fs::write(half.with_file_name(".writing-half"), "tokens").unwrap();
    train(&shared.short(), run.path());
    assert_eq!(snapshot(run.path()), before);
}

#[test]
fn what_lies_beside_a_record_stays_while_another_is_at_work() {
    let shared = Shared::get();
    let (short, run) = (shared.short(), shared.copy_of("ended"));
    let before = snapshot(run.path());
    litter(run.path());
    let lock = run.path().join(".lock");
    let held = FileLock::acquire(&lock, "tidying up", &|_| (), &|| false).unwrap();
    let littered = snapshot(run.path());
    let mut child = begin(&train_arguments("gpt2", &short, run.path()));
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(child.try_wait().unwrap().is_none(), "it did not wait");
    assert_eq!(snapshot(run.path()), littered);
    drop(held);
    let said = stderr(&end(child, 0));
    assert!(said.contains("waiting for process") && said.contains("which is tidying up"), "{said}");
    assert_eq!(snapshot(run.path()), before);
}

/// The library merges a word of this length for minutes, in one call.
#[test]
fn learning_a_vocabulary_obeys_a_signal_and_leaves_nothing() {
    let short = protocol(4, 3);
    let (before, after) = short.split_once("[data]").unwrap();
    let recipe = &after[after.find("[recipe]").unwrap()..];
    let data = "[data]\nkind = \"text\"\ntrain = \"t.txt\"\nvalid = \"v.txt\"\ntokenizer = \"train:30000\"\n";
    let (folder, protocol) = written("p.toml", &format!("{before}{data}{recipe}"));
    let mut letter = 1_u64;
    let mut word = |_| {
        letter = letter.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'a' + (letter >> 33) as u8 % 26)
    };
    fs::write(folder.path().join("t.txt"), (0..3_000_000).map(&mut word).collect::<String>()).unwrap();
    fs::write(folder.path().join("v.txt"), "something else").unwrap();
    let out = folder.path().join("out");
    let mut arguments = train_arguments("gpt2", &protocol, &out);
    arguments.extend(["--data", text(folder.path())]);
    let child = begin(&arguments);
    let locked = || files_below(&out).iter().any(|path| path.ends_with(".lock"));
    wait_for(locked);
    // Into the merging, which begins at once: the words are counted.
    std::thread::sleep(std::time::Duration::from_millis(700));
    signal(&child, "-TERM");
    let sent = std::time::Instant::now();
    let said = stderr(&end(child, 75));
    assert!(sent.elapsed().as_secs() < 20, "{:?}", sent.elapsed());
    assert!(said.contains("vocabulary") && said.contains("interrupted"), "{said}");
    assert_eq!(files_below(&out), Vec::<PathBuf>::new());
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
