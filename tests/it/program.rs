//! The program started as its users start it, and what tests of it share: a protocol of a few seconds, a
//! trained checkpoint, folders to compare and files to spoil.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use v5gate::evidence::Ledger;
use v5gate::files::FileLock;

use crate::world::World;

pub const VOCABULARY: usize = 1024;

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

pub fn program() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("v5gate"));
    // Backtraces are asked for: no message may become one.
    command.env("RUST_BACKTRACE", "1").env("V5_DEVICE", "cpu").stdin(Stdio::null());
    for name in ["V5_PROTOCOL", "V5_OUT", "V5_DATA", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"] {
        command.env_remove(name);
    }
    command
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What should be refused at once must not go on for ever where it is not.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub fn finish(command: Command) -> Output {
    assert_cmd::Command::from_std(command).timeout(PATIENCE).output().unwrap()
}

pub fn run(arguments: &[&str]) -> Output {
    let mut command = program();
    command.args(arguments);
    finish(command)
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Exit code 2, nothing on stdout and one message on stderr, which says all of `says`.
pub fn assert_refused(output: &Output, says: &[&str]) {
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

pub fn refused(arguments: &[&str], says: &[&str]) {
    assert_refused(&run(arguments), says);
}

pub fn done(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stdout(&output)
}

/// Every file below a folder with its bytes.
pub fn snapshot(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
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

pub fn copy(from: &Path, to: &Path) {
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
pub type Spoil = dyn Fn(&Path);

pub fn truncate(path: &Path, bytes: u64) {
    let file = File::options().write(true).open(path).unwrap();
    assert!(file.metadata().unwrap().len() > bytes);
    file.set_len(bytes).unwrap();
}

pub fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// What many tests need and none may change: an ended run and one that was interrupted.
pub struct Shared {
    pub folder: PathBuf,
}

impl Shared {
    pub fn get() -> &'static Self {
        static SHARED: OnceLock<Shared> = OnceLock::new();
        SHARED.get_or_init(|| {
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli");
            // Made once by each build of the program, whether tests are threads or processes.
            let lock = folder.with_extension("lock");
            let _held = FileLock::acquire(&lock, "making what tests share", &|_| (), &|| false).unwrap();
            let built = fs::metadata(program().get_program()).unwrap().modified().unwrap();
            let (stamp, built) = (folder.join("built"), format!("{built:?}"));
            let shared = Shared { folder };
            if fs::read_to_string(&stamp).is_ok_and(|of| of == built) {
                return shared;
            }
            drop(fs::remove_dir_all(&shared.folder));
            fs::create_dir_all(&shared.folder).unwrap();
            fs::write(shared.short(), protocol(4, 3)).unwrap();
            fs::write(shared.long(), protocol(100_000, 2)).unwrap();
            train(&shared.short(), &shared.folder.join("ended"));
            shared.interrupt();
            fs::write(stamp, built).unwrap();
            shared
        })
    }

    pub fn interrupt(&self) {
        let out = self.folder.join("interrupted");
        let mut child = start("gpt2", &self.long(), &out);
        wait_for(|| newest_step(&out).is_some());
        signal(&child, "-TERM");
        assert_eq!(child.wait().unwrap().code(), Some(75));
        let steps = steps(&out);
        assert_eq!(steps.len(), 1, "{steps:?}");
    }

    pub fn short(&self) -> PathBuf {
        self.folder.join("short.toml")
    }

    pub fn long(&self) -> PathBuf {
        self.folder.join("long.toml")
    }

    pub fn checkpoint(&self) -> PathBuf {
        self.folder.join("ended/final")
    }

    /// A copy of the checkpoint to spoil.
    pub fn checkpoint_copy(&self) -> TempDir {
        self.copy_of("ended/final")
    }

    pub fn copy_of(&self, name: &str) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        copy(&self.folder.join(name), folder.path());
        folder
    }

    /// A folder to collect in: the token files are there, and evidence from earlier.
    pub fn collected(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        copy(&self.folder.join("ended/cache"), &folder.path().join("cache"));
        write_ledger(&folder.path().join("ledger.jsonl"), &World::good("earlier", &["smoke"], 3));
        folder
    }
}

pub fn write_ledger(path: &Path, world: &World) {
    let _ = fs::remove_file(path);
    Ledger::open_or_empty(path).unwrap().append(&world.lines()).unwrap();
}

pub fn train_arguments<'a>(model: &'a str, protocol: &'a Path, out: &'a Path) -> Vec<&'a str> {
    let fixed = ["train", "--scale", "smoke", "--seed", "1", "--model", model];
    [&fixed[..], &["--recipe", text(protocol), "--out", text(out)]].concat()
}

pub fn train(protocol: &Path, out: &Path) {
    done(&train_arguments("gpt2", protocol, out));
}

/// Of `collect` or `run`.
pub fn collect_arguments<'a>(command: &'a str, protocol: &'a Path, out: &'a Path) -> [&'a str; 5] {
    [command, "--protocol", text(protocol), "--out", text(out)]
}

pub fn start(model: &str, protocol: &Path, out: &Path) -> Child {
    program().args(train_arguments(model, protocol, out)).stderr(Stdio::null()).spawn().unwrap()
}

pub fn signal(child: &Child, which: &str) {
    let sent = Command::new("kill").args([which, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

pub fn wait_for(mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < PATIENCE, "waited in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The checkpoints of a run that goes on, oldest first.
pub fn steps(run: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(run).into_iter().flatten().flatten();
    let named = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("step-");
    let mut found: Vec<_> = entries.map(|e| e.path()).filter(named).collect();
    found.sort();
    found
}

pub fn newest_step(run: &Path) -> Option<PathBuf> {
    steps(run).pop()
}

pub fn score_arguments<'a>(checkpoint: &'a Path, tokens: &'a Path) -> [&'a str; 5] {
    ["score", "--checkpoint", text(checkpoint), "--tokens", text(tokens)]
}

pub fn tokens(folder: &TempDir, content: &str) -> PathBuf {
    let path = folder.path().join("tokens.json");
    fs::write(&path, content).unwrap();
    path
}
