//! The program as its users meet it: bad input ends with exit code 2 and one message that names
//! file and place, what was there before stays byte for byte, and good input gives the promised
//! output.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use v5gate::data::conversations::{Amount, Split, conversations};
use v5gate::evidence::{Condition, Metric};
use v5gate::gate::{CRITERIA, GPT2};
use v5gate::models::MODELS;
use v5gate::probes::PROBES;
use v5gate::scale::SCALES;

use crate::world::World;

const VOCABULARY: usize = 1024;

/// A protocol of a few seconds.
pub fn protocol(steps: u64, checkpoint_every: u64) -> String {
    let tokens = 64 * steps;
    format!(
        r#"name = "mini"
about = "a few steps"
models = ["gpt2", "groundthink"]
scales = ["smoke"]
seeds = [1]
checkpoint_every = {checkpoint_every}
tuning = {{ gpt2 = 0, groundthink = 0 }}

[data]
kind = "conversations"
seed = 1
train_tokens = 20_000
valid_documents = 5
vocab_size = {VOCABULARY}

[recipe]
token_count = {tokens}
batch_size = 2
micro_batch_size = 2
context_length = 32
learning_rate_schedule = "cosine"
warmup_steps = 1
max_lr = 2e-3
min_lr = 1e-4
weight_decay = 0.1
optimizer = "AdamW"
betas = [0.9, 0.95]
eps = 1e-8
grad_clip = 1.0
precision = "float32"
"#
    )
}

fn program() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("v5gate"));
    // Backtraces are asked for: no message may become one.
    command.env("RUST_BACKTRACE", "1").stdin(Stdio::null());
    for name in ["V5_PROTOCOL", "V5_OUT", "V5_DATA", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"] {
        command.env_remove(name);
    }
    command
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What should be refused at once must not go on for ever where it is not.
const PATIENCE: Duration = Duration::from_secs(120);

fn finish(command: Command) -> Output {
    assert_cmd::Command::from_std(command).timeout(PATIENCE).output().unwrap()
}

fn run(arguments: &[&str]) -> Output {
    let mut command = program();
    command.args(arguments);
    finish(command)
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Exit code 2, nothing on stdout and one message on stderr, which says all of `says`.
fn assert_refused(output: &Output, says: &[&str]) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(output.stdout.is_empty(), "{}", stdout(output));
    assert!(message.starts_with("error: "), "{message}");
    assert_eq!(message.matches("error: ").count(), 1, "{message}");
    // A TOML message shows the line; all others are one line themselves.
    let lines = message.trim_end().lines().count();
    assert!(lines == 1 || message.contains("TOML parse error"), "{message}");
    assert!(message.matches("(os error").count() <= 1, "told twice: {message}");
    for part in says {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

fn refused(arguments: &[&str], says: &[&str]) {
    assert_refused(&run(arguments), says);
}

fn done(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stdout(&output)
}

/// Every file below a folder with its bytes.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(snapshot(&path)),
            false => drop(files.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
    files
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => drop(fs::copy(&path, &target).unwrap()),
        }
    }
}

/// A way to damage a file.
type Spoil = dyn Fn(&Path);

fn truncate(path: &Path, bytes: u64) {
    let file = File::options().write(true).open(path).unwrap();
    assert!(file.metadata().unwrap().len() > bytes);
    file.set_len(bytes).unwrap();
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// What many tests need and none may change: an ended run and one that was interrupted.
struct Shared {
    folder: PathBuf,
}

impl Shared {
    fn get() -> &'static Self {
        static SHARED: OnceLock<Shared> = OnceLock::new();
        SHARED.get_or_init(|| {
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli");
            drop(fs::remove_dir_all(&folder));
            fs::create_dir_all(&folder).unwrap();
            let shared = Shared { folder };
            fs::write(shared.short(), protocol(4, 3)).unwrap();
            fs::write(shared.long(), protocol(100_000, 2)).unwrap();
            train(&shared.short(), &shared.folder.join("ended"));
            shared.interrupt();
            shared
        })
    }

    fn interrupt(&self) {
        let out = self.folder.join("interrupted");
        let mut child = start("gpt2", &self.long(), &out);
        wait_for(|| newest_step(&out).is_some());
        signal(&child, "-TERM");
        assert_eq!(child.wait().unwrap().code(), Some(2));
        let steps = steps(&out);
        assert_eq!(steps.len(), 1, "{steps:?}");
    }

    fn short(&self) -> PathBuf {
        self.folder.join("short.toml")
    }

    fn long(&self) -> PathBuf {
        self.folder.join("long.toml")
    }

    fn checkpoint(&self) -> PathBuf {
        self.folder.join("ended/final")
    }

    /// A copy of the checkpoint to spoil.
    fn checkpoint_copy(&self) -> TempDir {
        self.copy_of("ended/final")
    }

    fn copy_of(&self, name: &str) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        copy(&self.folder.join(name), folder.path());
        folder
    }

    /// A folder to collect in: the token files are there, and evidence from earlier.
    fn collected(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        copy(&self.folder.join("ended/cache"), &folder.path().join("cache"));
        write_ledger(&folder.path().join("ledger.jsonl"), &World::good("earlier", &["smoke"], 3));
        folder
    }
}

fn write_ledger(path: &Path, world: &World) {
    let lines = world.lines().into_iter().map(|line| serde_json::to_string(&line).unwrap() + "\n");
    fs::write(path, lines.collect::<String>()).unwrap();
}

fn train_arguments<'a>(model: &'a str, protocol: &'a Path, out: &'a Path) -> Vec<&'a str> {
    let fixed = ["train", "--scale", "smoke", "--seed", "1", "--model", model];
    [&fixed[..], &["--recipe", text(protocol), "--out", text(out)]].concat()
}

fn train(protocol: &Path, out: &Path) {
    done(&train_arguments("gpt2", protocol, out));
}

/// Of `collect` or `run`.
fn collect_arguments<'a>(command: &'a str, protocol: &'a Path, out: &'a Path) -> [&'a str; 5] {
    [command, "--protocol", text(protocol), "--out", text(out)]
}

fn start(model: &str, protocol: &Path, out: &Path) -> Child {
    program().args(train_arguments(model, protocol, out)).stderr(Stdio::null()).spawn().unwrap()
}

fn signal(child: &Child, which: &str) {
    let sent = Command::new("kill").args([which, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

fn wait_for(mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < PATIENCE, "waited in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The checkpoints of a run that goes on, oldest first.
fn steps(run: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(run).into_iter().flatten().flatten();
    let named = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("step-");
    let mut found: Vec<_> = entries.map(|e| e.path()).filter(named).collect();
    found.sort();
    found
}

fn newest_step(run: &Path) -> Option<PathBuf> {
    steps(run).pop()
}

fn score_arguments<'a>(checkpoint: &'a Path, tokens: &'a Path) -> [&'a str; 5] {
    ["score", "--checkpoint", text(checkpoint), "--tokens", text(tokens)]
}

fn tokens(folder: &TempDir, content: &str) -> PathBuf {
    let path = folder.path().join("tokens.json");
    fs::write(&path, content).unwrap();
    path
}

#[test]
fn score_prints_one_document() {
    let (shared, folder) = (Shared::get(), tempfile::tempdir().unwrap());
    let path = tokens(&folder, "[1, 2, 3, 1023]");
    let checkpoint = shared.checkpoint();
    let plain = score_arguments(&checkpoint, &path);
    assert!(done(&plain).starts_with("4 tokens, "));
    let document: Value = serde_json::from_str(&done(&[&plain[..], &["--json"]].concat())).unwrap();
    let keys: Vec<_> = document.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["mean", "model_type", "nll", "sum", "tokens"]);
    assert_eq!((&document["model_type"], &document["tokens"]), (&"gpt2".into(), &4.into()));
    let nll: Vec<f64> = serde_json::from_value(document["nll"].clone()).unwrap();
    assert!(nll.len() == 3 && nll.iter().all(|loss| *loss > 0.0), "{nll:?}");
    let sum = document["sum"].as_f64().unwrap();
    assert!((sum - nll.iter().sum::<f64>()).abs() < 1e-12);
    assert!((document["mean"].as_f64().unwrap() - sum / 3.0).abs() < 1e-12);
}

#[test]
fn a_single_token_has_no_loss() {
    let (shared, folder) = (Shared::get(), tempfile::tempdir().unwrap());
    let path = tokens(&folder, "[1]");
    let checkpoint = shared.checkpoint();
    let arguments = [&score_arguments(&checkpoint, &path)[..], &["--json"]].concat();
    let document: Value = serde_json::from_str(&done(&arguments)).unwrap();
    assert_eq!((&document["nll"], &document["mean"]), (&Value::Array(Vec::new()), &Value::Null));
    assert_eq!(document["sum"].to_string(), "0.0");
}

#[test]
fn score_names_the_position_of_a_bad_token() {
    let (shared, folder) = (Shared::get(), tempfile::tempdir().unwrap());
    let (long, checkpoint) = (format!("{:?}", vec![1; 40]), shared.checkpoint());
    let bad = [
        ("[5000]", "position 0: expected a token id below 1024, got 5000"),
        ("[1, 1024, 3]", "position 1: expected a token id below 1024, got 1024"),
        ("[1, 2, 5000]", "position 2: expected a token id below 1024, got 5000"),
        ("[1, -2]", "line 1 column 6"),
        ("[1, 2.5]", "line 1 column 7"),
        ("{\"ids\": []}", "expected a list of token ids"),
        ("", "expected a list of token ids"),
        ("[]", "expected at least one token id"),
        (&long, "window of 32"),
    ];
    for (content, says) in bad {
        let path = tokens(&folder, content);
        refused(&score_arguments(&checkpoint, &path), &[text(&path), says]);
    }
}

#[test]
fn score_refuses_a_truncated_checkpoint() {
    let (shared, folder) = (Shared::get(), tempfile::tempdir().unwrap());
    let path = tokens(&folder, "[1, 2]");
    for (file, bytes) in [
        ("model.safetensors", 100_000),
        ("model.safetensors", 100),
        ("model.safetensors", 0),
        ("config.json", 20),
    ] {
        let spoilt = shared.checkpoint_copy();
        let file = spoilt.path().join(file);
        truncate(&file, bytes);
        let before = snapshot(spoilt.path());
        refused(&score_arguments(spoilt.path(), &path), &[text(&file), "expected"]);
        assert_eq!(snapshot(spoilt.path()), before);
    }
}

#[test]
fn impossible_dimensions_are_named() {
    let (shared, folder) = (Shared::get(), tempfile::tempdir().unwrap());
    let path = tokens(&folder, "[1, 2]");
    let gpt2 = fs::read_to_string(shared.checkpoint().join("config.json")).unwrap();
    let spec = v5gate::models::find("groundthink").unwrap();
    let config = (spec.config)(&SCALES[0], VOCABULARY, 32);
    let groundthink = serde_json::to_string_pretty(&config).unwrap();
    let bad = [
        (&gpt2, "\"n_head\": 2", "\"n_head\": 0", "n_head 0"),
        (&gpt2, "\"n_head\": 2", "\"n_head\": 5", "n_head 5"),
        (&gpt2, "\"model_type\": \"gpt2\"", "\"model_type\": \"gpt9\"", "gpt9"),
        (&groundthink, "\"head_size\": 32", "\"head_size\": 0", "rwkv.head_size 0"),
        (&groundthink, "\"head_dim\": 32", "\"head_dim\": 0", "mamba.head_dim 0"),
        (&groundthink, "\"n_groups\": 1", "\"n_groups\": 3", "mamba.n_groups 3"),
    ];
    for (config, from, to, says) in bad {
        let spoilt = shared.checkpoint_copy();
        let file = spoilt.path().join("config.json");
        assert!(config.contains(from), "{config}");
        fs::write(&file, config.replace(from, to)).unwrap();
        refused(&score_arguments(spoilt.path(), &path), &[text(&file), says]);
    }
}

#[test]
fn train_refuses_a_spoilt_step() {
    let shared = Shared::get();
    let cut = |path: &Path| truncate(path, 500);
    let spoil = |path: &Path| flip(path, 100_001);
    let ways: [(&str, &Spoil); 4] = [
        ("model.safetensors", &cut),
        ("optimizer.safetensors", &cut),
        ("optimizer.safetensors", &spoil),
        ("trainer.json", &cut),
    ];
    for (file, spoil) in ways {
        let run = shared.copy_of("interrupted");
        let file = newest_step(run.path()).unwrap().join(file);
        spoil(&file);
        let before = snapshot(run.path());
        refused(&train_arguments("gpt2", &shared.long(), run.path()), &[text(&file), "expected"]);
        assert_eq!(snapshot(run.path()), before);
    }
}

#[test]
fn train_refuses_the_folder_of_another_run() {
    let shared = Shared::get();
    let run = shared.copy_of("ended");
    let before = snapshot(run.path());
    let says = [text(run.path()), "another run lives here"];
    refused(&train_arguments("groundthink", &shared.short(), run.path()), &says);
    assert_eq!(snapshot(run.path()), before);
}

#[test]
fn train_refuses_another_order() {
    let shared = Shared::get();
    let run = shared.copy_of("interrupted");
    let order = run.path().join("order-seed-1.npy");
    for (spoil, says) in [
        (&(|path: &Path| flip(path, 200)) as &Spoil, "expected the order"),
        (&|path: &Path| truncate(path, 150), "order-seed-1.npy: "),
    ] {
        spoil(&order);
        let before = snapshot(run.path());
        refused(&train_arguments("gpt2", &shared.long(), run.path()), &[text(&order), says]);
        assert_eq!(snapshot(run.path()), before);
    }
}

#[test]
fn collect_refuses_a_corrupt_token_file() {
    let shared = Shared::get();
    for (file, at, says) in [
        ("train.tokens", 5000, "payload corrupt"),
        ("valid.tokens", 5000, "payload corrupt"),
        ("train.tokens", 3, "expected a token file"),
        ("train.tokens", 20, "cannot read its header"),
        ("tokenizer.json", 300, "cannot load tokenizer"),
    ] {
        let out = shared.collected();
        let cache = fs::read_dir(out.path().join("cache")).unwrap().next().unwrap().unwrap().path();
        flip(&cache.join(file), at);
        let before = snapshot(out.path());
        let short = shared.short();
        refused(&collect_arguments("collect", &short, out.path()), &[text(&cache.join(file)), says]);
        assert_eq!(snapshot(out.path()), before);
    }
}

#[test]
fn a_broken_ledger_line_is_named_and_left() {
    let shared = Shared::get();
    let out = shared.collected();
    let ledger = out.path().join("ledger.jsonl");
    let mut lines: Vec<String> = fs::read_to_string(&ledger).unwrap().lines().map(str::to_owned).collect();
    lines[6].truncate(40);
    fs::write(&ledger, lines.join("\n")).unwrap();
    let before = snapshot(out.path());
    let short = shared.short();
    let (protocol, folder) = (text(&short), text(out.path()));
    let commands: [&[&str]; 2] = [
        &["collect", "--protocol", protocol, "--out", folder],
        &["run", "--protocol", protocol, "--out", folder],
    ];
    for arguments in commands {
        refused(arguments, &[&format!("{}, line 7: ", ledger.display())]);
        assert_eq!(snapshot(out.path()), before, "{arguments:?}");
    }
    // Who only judges gets findings all the same, and the line among the problems.
    for arguments in [&["judge", text(&ledger)][..], &["judge", "--json", text(&ledger)]] {
        let judged = run(arguments);
        assert_ne!(judged.status.code(), Some(0));
        assert!(stdout(&judged).contains("line 7: "), "{}", stdout(&judged));
        assert_eq!(snapshot(out.path()), before, "{arguments:?}");
    }
}

#[test]
fn a_criterion_is_explained() {
    insta::assert_snapshot!(done(&["explain", "statefulness-significantly-better"]));
    insta::assert_snapshot!(done(&["explain", "graduation-8m"]));
    assert!(done(&["explain", "prefill-significantly-better"]).contains("measured by `cargo bench`"));
    refused(&["explain", "statefulnes"], &["got \"statefulnes\"", "similar: ", "statefulness-advantage"]);
    refused(&["explain", ""], &["explain"]);
    for c in CRITERIA {
        let rows = v5gate::report::explain(c, &|_| None);
        let text: Vec<&str> = rows.iter().flatten().map(String::as_str).collect();
        for said in [c.claim, c.why, c.source] {
            assert!(text.contains(&said), "{}", c.id);
        }
    }
}

#[test]
fn a_difference_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = ["old.jsonl", "new.jsonl"].map(|name| folder.path().join(name));
    let good = World::good("smoke", &["smoke"], 3);
    let mut bad = good.clone();
    bad.context.revision = "code-2".to_owned();
    bad.facts.values_mut().for_each(|f| f.provenance.revision = "code-2".to_owned());
    let losses = bad.select("smoke", Some(GPT2), Condition::Trained, Metric::OverfitLoss, Some(1));
    losses.for_each(|(_, fact)| fact.value = 0.9);
    bad.facts.retain(|key, _| key.3 != Metric::Causal);
    write_ledger(&old, &good);
    write_ledger(&new, &bad);
    assert_eq!(
        done(&["diff", text(&old), text(&old)]),
        "verdict: INCOMPLETE, as before\nnothing that counts has changed\n"
    );
    insta::assert_snapshot!(done(&["diff", text(&old), text(&new)]));
    let document: Value = serde_json::from_str(&done(&["diff", text(&old), text(&new), "--json"])).unwrap();
    assert_eq!(document["verdict"], serde_json::json!(["INCOMPLETE", "FAIL"]));
    refused(&["diff", text(&old), text(&folder.path().join("none"))], &["none", "No such file"]);
}

#[test]
fn a_protocol_that_cannot_be_followed_is_refused() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("bad.toml");
    // Of an unknown key in [data] the parser knows the table's line only.
    let bad = [
        ("max_lr", "maxlr", "line 23, column 1", "unknown field `maxlr`"),
        ("checkpoint_every", "checkpoint_evry", "line 6, column 1", "unknown field `checkpoint_evry`"),
        ("vocab_size", "vocab_sise", "line 9, column 1", "unknown field `vocab_sise`"),
        ("[recipe]", "[recipe", "line 16", "TOML parse error"),
        ("warmup_steps = 1\n", "", "missing field", "warmup_steps"),
        ("scales = [\"smoke\"]", "scales = [\"smoky\"]", "scales: expected some of", "\"smoky\""),
        ("name = \"mini\"", "name = \"../mini\"", "name: expected letters", "\"../mini\""),
        ("seeds = [1]", "seeds = []", "seeds: expected at least one", "none"),
        ("seeds = [1]", "seeds = [1, 2, 1]", "seeds: expected each once", "\"1\""),
        ("micro_batch_size = 2", "micro_batch_size = 3", "micro_batch_size: expected a divisor", "got 3"),
    ];
    for (from, to, place, says) in bad {
        let good = protocol(4, 3);
        assert!(good.contains(from));
        fs::write(&path, good.replacen(from, to, 1)).unwrap();
        let folder = out.path().join("out");
        for command in ["collect", "run"] {
            let arguments = collect_arguments(command, &path, &folder);
            refused(&arguments, &[text(&path), place, says]);
        }
        refused(&train_arguments("gpt2", &path, &folder), &[text(&path), place, says]);
        assert!(!folder.exists());
    }
}

#[test]
fn an_unusable_corpus_is_named() {
    let shared = Shared::get();
    let (out, data) = (shared.collected(), tempfile::tempdir().unwrap());
    let (head, rest) =
        protocol(4, 3).split_once("[data]").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let recipe = rest.split_once("[recipe]").unwrap().1;
    let spec =
        "[data]\nkind = \"text\"\ntrain = \"train.txt\"\nvalid = \"valid.txt\"\ntokenizer = \"train:300\"\n";
    let path = data.path().join("text.toml");
    fs::write(&path, format!("{head}{spec}[recipe]{recipe}")).unwrap();
    let before = snapshot(out.path());
    let train = data.path().join("train.txt");
    let arguments = collect_arguments("collect", &path, out.path());
    let with_data = [&arguments[..], &["--data", text(data.path())]].concat();
    refused(&arguments, &["expected a data folder to read train.txt from"]);
    refused(&with_data, &[text(&train), "No such file"]);
    for content in ["", " \n\n", "<|endoftext|>\n<|endoftext|>\n"] {
        fs::write(&train, content).unwrap();
        refused(&with_data, &[text(&train), "expected at least one document, got none"]);
    }
    fs::write(&train, b"fine\n\xff\n").unwrap();
    refused(&with_data, &[text(&train), "line 2: expected UTF-8"]);
    fs::write(&train, "some text").unwrap();
    refused(&with_data, &[text(&data.path().join("valid.txt")), "No such file"]);
    fs::create_dir(data.path().join("valid.txt")).unwrap();
    refused(&with_data, &["valid.txt", "expected a file, got a folder"]);
    assert_eq!(snapshot(out.path()), before);
}

#[test]
fn whatever_is_not_there_is_named() {
    let (shared, folder) = (Shared::get(), tempfile::tempdir().unwrap());
    let (short, good) = (shared.short(), tokens(&folder, "[1]"));
    // Nothing there; nothing can be there, since a file is in the way; a folder where a file should be.
    let missing = folder.path().join("missing");
    let blocked = short.join("below");
    let a_folder = folder.path().join("folder");
    fs::create_dir(&a_folder).unwrap();
    let unlike = [(&missing, "No such file"), (&blocked, "Not a directory"), (&a_folder, "Is a directory")];
    for (path, says) in unlike {
        let (named, checkpoint) = (text(path), shared.checkpoint());
        let new = folder.path().join("out");
        let commands: [&[&str]; 6] = [
            &["judge", named],
            &["judge", "--json", named],
            &["report", named],
            &["collect", "--protocol", named, "--out", text(&new)],
            &["run", "--protocol", named, "--out", text(&new)],
            &score_arguments(&checkpoint, path),
        ];
        commands.iter().for_each(|arguments| refused(arguments, &[named, says]));
        refused(&train_arguments("gpt2", path, &new), &[named, says]);
        assert!(!new.exists());
    }
    for (path, says) in
        [(&missing, "No such file"), (&blocked, "Not a directory"), (&a_folder, "No such file")]
    {
        refused(&score_arguments(path, &good), &[text(path), says]);
        refused(&["generate", "--prompt", "x", "--checkpoint", text(path)], &[text(path), says]);
    }
    let textless = shared.checkpoint_copy();
    fs::remove_file(textless.path().join("tokenizer.json")).unwrap();
    refused(
        &["generate", "--prompt", "x", "--checkpoint", text(textless.path())],
        &[text(textless.path()), "tokenizer.json"],
    );
}

#[test]
fn what_cannot_be_written_is_named() {
    let shared = Shared::get();
    let (short, ledger) = (shared.short(), shared.collected());
    let before = snapshot(ledger.path());
    // A device and a file, neither of which can have files below it.
    for out in [Path::new("/dev/full"), &short, &short.join("below")] {
        for command in ["collect", "run"] {
            let arguments = collect_arguments(command, &short, out);
            refused(&arguments, &[text(out), "Not a directory"]);
        }
        refused(&train_arguments("gpt2", &short, out), &[text(out), "(os error"]);
        let from = ledger.path().join("ledger.jsonl");
        refused(&["report", text(&from), "--out", text(out)], &[text(out), "(os error"]);
    }
    // A folder in the place of the ledger.
    let out = tempfile::tempdir().unwrap();
    fs::create_dir(out.path().join("ledger.jsonl")).unwrap();
    let arguments = collect_arguments("collect", &short, out.path());
    refused(&arguments, &["ledger.jsonl", "Is a directory"]);
    assert_eq!(snapshot(ledger.path()), before);
}

/// The program where no file may grow beyond some KiB, which fails as a full disk does.
fn on_a_full_disk(limit: u32, arguments: &[&str]) -> Output {
    let limited = format!("trap '' XFSZ; ulimit -f {limit}; exec \"$0\" \"$@\"");
    let full = program();
    let mut command = Command::new("bash");
    command.args(["-c", &limited]).arg(full.get_program()).args(arguments);
    for (name, value) in full.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    finish(command)
}

#[test]
fn a_full_disk_leaves_the_ledger() {
    let shared = Shared::get();
    let out = shared.collected();
    let before = snapshot(out.path());
    let (short, ledger) = (shared.short(), out.path().join("ledger.jsonl"));
    for command in ["collect", "run"] {
        let arguments = collect_arguments(command, &short, out.path());
        let says = [text(&ledger), "cannot write the ledger, which stays as it was", "File too large"];
        assert_refused(&on_a_full_disk(8, &arguments), &says);
        assert_eq!(snapshot(out.path()), before);
    }
}

#[test]
fn a_full_disk_leaves_the_checkpoint() {
    let shared = Shared::get();
    let run = shared.copy_of("interrupted");
    let before = snapshot(run.path());
    let output = on_a_full_disk(500, &train_arguments("gpt2", &shared.long(), run.path()));
    assert_refused(&output, &[text(run.path()), "model.safetensors", "File too large"]);
    assert_eq!(snapshot(run.path()), before);
}

#[test]
fn a_full_disk_leaves_no_half_token_file() {
    let (shared, out) = (Shared::get(), tempfile::tempdir().unwrap());
    let output = on_a_full_disk(8, &train_arguments("gpt2", &shared.short(), out.path()));
    assert_refused(&output, &[text(out.path()), "File too large"]);
    assert!(snapshot(out.path()).is_empty());
}

#[test]
fn a_full_disk_leaves_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.jsonl");
    write_ledger(&ledger, &World::good("smoke", &["smoke"], 3));
    assert_eq!(run(&["report", text(&ledger)]).status.code(), Some(11));
    let before = snapshot(folder.path());
    assert_eq!(before.len(), 5);
    let output = on_a_full_disk(1, &["report", text(&ledger)]);
    assert_refused(&output, &[text(&folder.path().join("report.md")), "File too large"]);
    assert_eq!(snapshot(folder.path()), before);
}

#[test]
fn a_report_writes_every_format_and_tells_github() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, summary) = (folder.path().join("ledger.jsonl"), folder.path().join("summary.md"));
    write_ledger(&ledger, &World::good("smoke", &["smoke"], 3));
    let quiet = run(&["report", text(&ledger)]);
    assert!(!String::from_utf8_lossy(&quiet.stderr).contains("::notice"));
    for name in ["report.html", "report.md", "report.json", "junit.xml"] {
        assert!(folder.path().join(name).is_file(), "{name}");
    }
    fs::write(&summary, "before\n").unwrap();
    for arguments in [&["report", text(&ledger)][..], &["judge", text(&ledger), "--json"]] {
        let mut command = program();
        command.args(arguments).env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", &summary);
        let told = finish(command);
        assert_eq!(told.stdout.contains(&b'{'), arguments.len() > 2);
        let stderr = String::from_utf8_lossy(&told.stderr).into_owned();
        assert_eq!(stderr.matches("::notice title=V5 gate%3A INCOMPLETE::").count(), 1, "{stderr}");
    }
    let written = fs::read_to_string(&summary).unwrap();
    assert!(written.starts_with("before\n"), "{written}");
    assert_eq!(written.matches("V5 gate: INCOMPLETE").count(), 2);
}

#[test]
fn a_full_stdout_is_an_error() {
    let (shared, folder) = (Shared::get(), tempfile::tempdir().unwrap());
    let (ledger, checkpoint) = (folder.path().join("ledger.jsonl"), shared.checkpoint());
    write_ledger(&ledger, &World::good("smoke", &["smoke"], 3));
    let path = tokens(&folder, "[1, 2]");
    let commands: [&[&str]; 7] = [
        &["list", "criteria"],
        &["list", "models"],
        &["list", "metrics", "--json"],
        &["judge", text(&ledger)],
        &["judge", "--json", text(&ledger)],
        &score_arguments(&checkpoint, &path),
        &["generate", "--prompt", "x", "--checkpoint", text(&checkpoint)],
    ];
    for arguments in commands {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = program().args(arguments).stdout(full).output().unwrap();
        assert_refused(&output, &["stdout: No space left on device"]);
    }
}

#[test]
fn judging_ends_with_the_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.jsonl");
    let good = World::good("smoke", &["smoke"], 3);
    let mut bad = good.clone();
    let losses = bad.select("smoke", Some(GPT2), Condition::Trained, Metric::ValidationLoss, None);
    losses.for_each(|(_, fact)| fact.value = f64::NAN);
    for (world, code, verdict) in [(&good, 11, "INCOMPLETE"), (&bad, 10, "FAIL")] {
        write_ledger(&ledger, world);
        let before = snapshot(folder.path());
        let plain = run(&["judge", text(&ledger)]);
        assert_eq!(plain.status.code(), Some(code));
        assert!(stdout(&plain).starts_with(&format!("V5 gate: {verdict}\n")), "{}", stdout(&plain));
        let json = run(&["judge", "--json", text(&ledger)]);
        assert_eq!((json.status.code(), stderr(&json).as_str()), (Some(code), ""));
        let document: Value = serde_json::from_str(&stdout(&json)).unwrap();
        assert_eq!(document["verdict"].as_str().map(str::to_uppercase).as_deref(), Some(verdict));
        assert_eq!(snapshot(folder.path()), before, "judging writes nothing");
    }
}

#[test]
fn tables_are_listed() {
    let tables: [(&str, Vec<&str>); 5] = [
        ("criteria", CRITERIA.iter().map(|c| c.id).collect()),
        ("models", MODELS.iter().map(|m| m.name).collect()),
        ("scales", SCALES.iter().map(|s| s.name).collect()),
        ("probes", PROBES.iter().map(|p| p.id).collect()),
        ("metrics", Metric::ALL.iter().map(|m| m.id()).collect()),
    ];
    for (table, names) in tables {
        let plain = done(&["list", table]);
        let rows: Vec<Value> = serde_json::from_str(&done(&["list", table, "--json"])).unwrap();
        assert_eq!(rows.len(), names.len(), "{table}");
        for (row, name) in rows.iter().zip(names) {
            let id = row.get("id").or(row.get("name"));
            assert_eq!(id.and_then(Value::as_str), Some(name), "{table}");
            let first = |line: &str| line.trim_start_matches("| `").starts_with(name);
            assert!(plain.lines().any(first), "{name} is not in:\n{plain}");
        }
    }
    assert_eq!(run(&["list", "opinions"]).status.code(), Some(2));
}

#[test]
fn text_is_continued() {
    let checkpoint = Shared::get().checkpoint();
    let arguments = ["generate", "--prompt", "My name is", "--tokens", "5", "--checkpoint"];
    let arguments = [&arguments[..], &[text(&checkpoint)]].concat();
    let once = done(&arguments);
    assert!(once.starts_with("My name is") && once.ends_with('\n'), "{once}");
    assert_eq!(done(&arguments), once);
    let none = ["generate", "--prompt", "My name is", "--tokens", "0", "--checkpoint", text(&checkpoint)];
    assert_eq!(done(&none), "My name is\n");
}

/// Passages of LAMBADA's form, from the first documents that were trained on or from elsewhere.
fn passages(folder: &Path, seen: bool) -> PathBuf {
    let split = if seen { Split::Train } else { Split::Valid };
    let text = conversations(1, split, Amount::Documents(6));
    let line = |text: &String| format!("{}\n", serde_json::json!({ "text": text.trim_end() }));
    let path = folder.join("passages.jsonl");
    fs::write(&path, text.iter().map(line).collect::<String>()).unwrap();
    path
}

fn eval<'a>(checkpoint: &'a Path, data: &'a Path) -> Vec<&'a str> {
    vec!["eval", "--task", "lambada_openai", "--checkpoint", text(checkpoint), "--data", text(data)]
}

#[test]
fn an_evaluation_has_the_layout_of_the_harness() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Shared::get().checkpoint_copy();
    let data = passages(folder.path(), false);
    let (samples, cache) = (folder.path().join("samples.jsonl"), folder.path().join("cache"));
    let more = ["--json", "--limit", "4", "--samples", text(&samples), "--cache", text(&cache)];
    let arguments = [&eval(checkpoint.path(), &data)[..], &more].concat();
    let first = done(&arguments);
    let document: Value = serde_json::from_str(&first).unwrap();
    let results = &document["results"]["lambada_openai"];
    assert!(results["perplexity,none"].as_f64().is_some_and(|x| x > 1.0), "{results}");
    assert!(results["acc,none"].is_number() && results["acc_stderr,none"].is_number());
    assert_eq!(results["perplexity_interval,none"].as_array().map(Vec::len), Some(2));
    assert_eq!(document["n-samples"]["lambada_openai"], serde_json::json!({"original": 6, "effective": 4}));
    assert_eq!(document["versions"]["lambada_openai"], 1.0);
    assert_eq!(document["config"]["max_length"], 32);
    assert_eq!(document["truncated"]["lambada_openai"], 4);
    let written = fs::read_to_string(&samples).unwrap();
    let ids = written.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["doc_id"].clone());
    assert_eq!(ids.collect::<Vec<_>>(), [0, 1, 2, 3]);

    // The same again, out of the cache; and other weights, which must not get those answers.
    let kept = || snapshot(&cache).len();
    assert_eq!((done(&arguments), kept()), (first.clone(), 1));
    let weights = checkpoint.path().join("model.safetensors");
    let end = fs::metadata(&weights).unwrap().len() as usize;
    (1..400).for_each(|i| flip(&weights, end - 4 * i + 2));
    let other: Value = serde_json::from_str(&done(&arguments)).unwrap();
    assert_eq!(kept(), 2);
    assert_ne!(other["config"]["identity"]["weights"], document["config"]["identity"]["weights"]);
    assert_ne!(other["results"]["lambada_openai"]["perplexity,none"], results["perplexity,none"]);
}

#[test]
fn an_evaluation_tells_what_training_has_seen() {
    let shared = Shared::get();
    let (folder, checkpoint) = (tempfile::tempdir().unwrap(), shared.checkpoint());
    let tokens = fs::read_dir(shared.folder.join("ended/cache")).unwrap().next().unwrap().unwrap().path();
    let tokens = tokens.join("train.tokens");
    let share = |seen: bool| {
        let data = passages(folder.path(), seen);
        let more = ["--json", "--training", text(&tokens)];
        let document = done(&[&eval(&checkpoint, &data)[..], &more].concat());
        let document: Value = serde_json::from_str(&document).unwrap();
        document["results"]["lambada_openai"]["overlap,none"].as_f64().unwrap()
    };
    let (seen, fresh) = (share(true), share(false));
    assert!(seen > 0.95 && fresh < seen - 0.2, "{seen} {fresh}");
}

#[test]
fn an_evaluation_that_cannot_be_is_refused() {
    let (folder, checkpoint) = (tempfile::tempdir().unwrap(), Shared::get().checkpoint_copy());
    let data = passages(folder.path(), false);
    let with = |more: &[&str], says: &[&str]| {
        refused(&[&eval(checkpoint.path(), &data)[..], more].concat(), says);
    };
    with(&["--limit", "0"], &["--limit", "at least 1"]);
    with(&["--window", "33"], &["1 to 32", "33"]);
    with(&["--window", "0"], &["1 to 32", "got 0"]);
    let absent = folder.path().join("absent");
    with(&["--training", text(&absent)], &["absent"]);
    refused(&eval(checkpoint.path(), &absent), &["absent"]);
    let bad = folder.path().join("bad.jsonl");
    fs::write(&bad, "{\"text\": \"a b\"}\n{\"word\": 1}\n").unwrap();
    refused(&eval(checkpoint.path(), &bad), &["bad.jsonl", "line 2", "LAMBADA"]);
    let mut unknown = eval(checkpoint.path(), &data);
    unknown[2] = "lambda";
    refused(&unknown, &["--task", "wikitext, ptb, lambada_openai, hellaswag", "lambda"]);
    fs::remove_file(checkpoint.path().join("tokenizer.json")).unwrap();
    refused(&eval(checkpoint.path(), &data), &["tokenizer.json", "found neither"]);
}

#[test]
fn an_unknown_model_or_scale_is_named() {
    let out = tempfile::tempdir().unwrap();
    let mut arguments = ["train", "--model", "gpt3", "--scale", "smoke", "--seed", "1", "--recipe", "smoke"];
    let folder = out.path().join("out");
    let refuse = |arguments: &[&str], says: &[&str]| {
        refused(&[arguments, &["--out", text(&folder)]].concat(), says);
        assert!(!folder.exists());
    };
    refuse(&arguments, &["--model: expected one of gpt2, groundthink, mamba2, rwkv6, got \"gpt3\""]);
    (arguments[2], arguments[4]) = ("gpt2", "huge");
    refuse(&arguments, &["--scale: expected one of smoke", "got \"huge\""]);
}

/// What a run has become, without the time it took.
fn outcome(run: &Path) -> (Value, Vec<u8>) {
    let mut record: Value = serde_json::from_slice(&fs::read(run.join("run.json")).unwrap()).unwrap();
    record["seconds"] = Value::Null;
    (record, fs::read(run.join("final/model.safetensors")).unwrap())
}

/// The whole of it, with twenty kills at random moments, is `scripts/kill-resume.sh`.
#[test]
fn a_run_killed_three_times_ends_as_if_it_had_not_been() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mini.toml");
    fs::write(&path, protocol(60, 7)).unwrap();
    let [whole, killed] = ["whole", "killed"].map(|name| folder.path().join(name));
    done(&train_arguments("groundthink", &path, &whole));
    for wait in [0, 13, 37] {
        let (before, mut child) = (newest_step(&killed), start("groundthink", &path, &killed));
        wait_for(|| newest_step(&killed) > before || child.try_wait().unwrap().is_some());
        std::thread::sleep(Duration::from_millis(wait));
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(!killed.join("run.json").exists());
    done(&train_arguments("groundthink", &path, &killed));
    assert_eq!(outcome(&killed), outcome(&whole));
    let left: Vec<_> = fs::read_dir(&killed).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".writing")), "{left:?}");
}
