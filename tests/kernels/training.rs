//! Whole trainings through the program: on a CPU, and through kernels in float32 and bfloat16.

use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use v5gate::train::{Ending, Run};

/// More positions than a chunk of the recurrences has, and not a multiple of one; a step of two micro-batches, so
/// that gradients add up.
fn protocol(precision: &str, steps: u64, max_lr: f64) -> String {
    let tokens = steps * 2 * 72;
    format!(
        r#"name = "tiny"
about = "a few steps"
models = ["gpt2", "groundthink"]
scales = ["smoke"]
seeds = [1]
checkpoint_every = 2
tuning = {{ gpt2 = 0, groundthink = 0 }}

[data]
kind = "conversations"
seed = 1
train_tokens = 20_000
valid_documents = 5
vocab_size = 1024

[recipe]
token_count = {tokens}
batch_size = 2
micro_batch_size = 1
context_length = 72
learning_rate_schedule = "cosine"
warmup_steps = 1
max_lr = {max_lr:e}
min_lr = 0.0
weight_decay = 0.1
optimizer = "AdamW"
betas = [0.9, 0.95]
eps = 1e-8
grad_clip = 1.0
precision = "{precision}"
"#
    )
}

/// One training with the program, and its record.
struct Training<'a> {
    folder: &'a Path,
    device: &'a str,
    precision: &'a str,
    steps: u64,
    max_lr: f64,
}

impl Training<'_> {
    fn command(&self, model: &str, out: &Path) -> Result<Command, Failed> {
        let recipe = self.folder.join(format!("{}-{}-{}.toml", self.precision, self.steps, self.max_lr));
        std::fs::write(&recipe, protocol(self.precision, self.steps, self.max_lr))?;
        // Elsewhere than where it was built, somebody has to say where it lies.
        let built = || env!("CARGO_BIN_EXE_v5gate").into();
        let mut command = Command::new(std::env::var_os("V5_PROGRAM").unwrap_or_else(built));
        command.args(["train", "--model", model, "--scale", "smoke", "--seed", "1", "--recipe"]).arg(recipe);
        command.arg("--out").arg(out).env("V5_DEVICE", self.device).env_remove("V5_DATA");
        Ok(command)
    }

    fn run(&self, model: &str) -> Result<Run, Failed> {
        let out = tempfile::tempdir_in(self.folder)?;
        let output = self.command(model, out.path())?.output()?;
        let read = || Ok::<_, Failed>(serde_json::from_slice(&std::fs::read(run_file(out.path()))?)?);
        read().map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned().into())
    }
}

fn run_file(out: &Path) -> PathBuf {
    out.join("run.json")
}

/// The largest difference of losses and of gradient norms, relative.
fn apart(a: &Run, b: &Run) -> Result<[f64; 2], Failed> {
    if a.curve.len() != b.curve.len() || a.consumed != b.consumed || a.position != b.position {
        return Err(format!("{} steps against {}, or other batches", a.curve.len(), b.curve.len()).into());
    }
    let largest = |f: fn(&v5gate::train::StepRecord) -> f64| {
        let relative = a.curve.iter().zip(&b.curve).map(|(a, b)| (f(a) - f(b)).abs() / f(b));
        relative.fold(0.0, |m: f64, x| if x > m || x.is_nan() { x } else { m })
    };
    Ok([largest(|r| r.loss), largest(|r| r.grad_norm)])
}

/// Three steps in float32 are those of the CPU; in bfloat16 they are near them, and are the same again.
///
/// In float32 a loss is a mean over 144 tokens of numbers that a chain of some fifty ops has rounded, 6e-8 each:
/// at most 3e-6; and AdamW's first steps move a parameter by the learning rate whatever its gradient's size, so that
/// where rounding turns a sign near zero a parameter goes elsewhere: a few times that, 1e-5. A norm squares gradients
/// and halves that again, over chains twice as long: 1e-4 leaves room for those signs. In bfloat16 the same
/// chains round by 2^-9, but independently over tokens and channels: 50·2^-9/√144 = 8e-3 of a logit's spread, which is
/// below a tenth of the loss here: 2e-3; and 2e-2 for norms, which no mean over tokens smooths.
fn follows_float32(device: &str, model: &str) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let with = |device, precision| {
        Training { folder: folder.path(), device, precision, steps: 3, max_lr: 1e-3 }.run(model)
    };
    let expected = with("cpu", "float32")?;
    let single = apart(&with(device, "float32")?, &expected)?;
    let first = with(device, "bfloat16")?;
    let half = apart(&first, &expected)?;
    eprintln!(
        "{model:12} {device}: float32 loss {:.1e}, norm {:.1e}; bfloat16 loss {:.1e}, norm {:.1e}",
        single[0], single[1], half[0], half[1]
    );
    let [loss, norm] = [[single[0], half[0]], [single[1], half[1]]];
    if !(loss[0] < 1e-5 && norm[0] < 1e-4 && loss[1] < 2e-3 && norm[1] < 2e-2) {
        return Err(format!("float32 {single:?}, bfloat16 {half:?}").into());
    }
    let again = with(device, "bfloat16")?;
    if first.weights != again.weights || first.curve != again.curve {
        return Err("a second training did not repeat the first bit for bit".into());
    }
    Ok(())
}

/// The referee finds a training in bfloat16 to be what its record says, with tolerances that follow from bfloat16.
fn is_audited(device: &str, model: &str) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let training = Training { folder: folder.path(), device, precision: "bfloat16", steps: 9, max_lr: 1e-3 };
    let out = folder.path().join("out");
    let here = out.join("here");
    training.command(model, &here)?.output()?;
    let run: Run = serde_json::from_slice(&std::fs::read(run_file(&here))?)?;
    // Where a protocol would have it.
    let name = format!("smoke-{model}-seed-1-{}", &run.identity[..8]);
    std::fs::create_dir_all(out.join("runs"))?;
    std::fs::rename(&here, out.join("runs").join(name))?;
    let text = protocol("bfloat16", 9, 1e-3).replace(r#"["gpt2", "groundthink"]"#, &format!("[{model:?}]"));
    let text = text.replace("gpt2 = 0, groundthink = 0", &format!("{model} = 0"));
    let asked = folder.path().join("audited.toml");
    std::fs::write(&asked, text)?;
    let built = || env!("CARGO_BIN_EXE_v5gate").into();
    let mut command = Command::new(std::env::var_os("V5_PROGRAM").unwrap_or_else(built));
    command.arg("audit").arg("--protocol").arg(&asked).arg("--out").arg(&out);
    let output = command.env("V5_DEVICE", device).env("COLUMNS", "200").env_remove("V5_DATA").output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    eprintln!("{said}");
    // 11: nothing differs, and what was not evaluated is not covered.
    match output.status.code() {
        Some(11) if said.contains("audit_training") && said.contains("in a row") => Ok(()),
        code => Err(format!("{code:?}: {said}{}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

/// A learning rate that makes it diverge: the run ends with the same weights as on a CPU, those before the step
/// that failed, although the device had begun others by then.
fn diverges(device: &str) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let with = |device| {
        Training { folder: folder.path(), device, precision: "float32", steps: 40, max_lr: 1e30 }.run("gpt2")
    };
    let (cpu, other) = (with("cpu")?, with(device)?);
    match (cpu.ending, other.ending) {
        (Ending::Diverged(a), Ending::Diverged(b)) if a == b && cpu.consumed == other.consumed => Ok(()),
        (a, b) => Err(format!("on the CPU {a:?}, here {b:?}").into()),
    }
}

/// An unknown device is named.
fn refuses() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let says = |device, precision, expected: &str| {
        let training = Training { folder: folder.path(), device, precision, steps: 1, max_lr: 1e-3 };
        let output = training.command("gpt2", &folder.path().join("out"))?.output()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let refused = output.status.code() == Some(2) && text.contains(expected);
        if refused { Ok(()) } else { Err(Failed::from(text)) }
    };
    says("gpu", "float32", "V5_DEVICE: expected cpu")
}

/// Trials for a device of this name; ignored where it is not there.
pub fn trials(device: &'static str, there: bool) -> Vec<Trial> {
    let mut all: Vec<Trial> = ["gpt2", "groundthink", "mamba2", "rwkv6"]
        .map(|model| {
            Trial::test(format!("{device}::training::{model}"), move || follows_float32(device, model))
        })
        .into();
    all.extend(["gpt2", "groundthink", "mamba2", "rwkv6"].map(|model| {
        Trial::test(format!("{device}::training::audited::{model}"), move || is_audited(device, model))
    }));
    all.push(Trial::test(format!("{device}::training::diverges"), move || diverges(device)));
    all.push(Trial::test(format!("{device}::training::refuses"), refuses));
    all.into_iter().map(|trial| trial.with_ignored_flag(!there)).collect()
}
