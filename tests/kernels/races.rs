//! The kernels under the emulator's detector of races: every op, and every barrier left out once.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use libtest_mimic::{Failed, Trial};
use v5gate::launch::{barriers_met, detect_races, without_barrier};
use v5gate::models::{Config, Gpt2Config};
use v5gate::ops::{Gradients, OPS};
use v5gate::train::{AdamW, Optimizer, Precision, Recipe, Schedule};

use crate::compare::{self, BlockMemory};
use crate::launches;

/// Barriers whose absence nothing shows, and why they stay: file, the line's text, and the reason.
const REDUNDANT: &[(&str, &str, &str)] = &[];

/// What orders accesses to memory.
const BARRIERS: [&str; 4] = ["__syncthreads(", "__syncwarp(", "copy_commit(", "copy_wait<"];

/// A line of a kernel that waits, or ends a group of copies.
struct Barrier {
    file: String,
    line: u32,
    text: String,
}

/// Every barrier of `kernels`, but not what defines them.
fn barriers() -> Result<Vec<Barrier>, Failed> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !(file.ends_with(".cu") || file.ends_with(".cuh")) {
            continue;
        }
        for (i, line) in std::fs::read_to_string(&path)?.lines().enumerate() {
            let text = line.split("//").next().unwrap_or_default().trim();
            let defines = ["inline", "asm", "template"].iter().any(|word| text.contains(word));
            if !defines && BARRIERS.iter().any(|word| text.contains(word)) {
                all.push(Barrier { file: file.clone(), line: i as u32 + 1, text: text.to_owned() });
            }
        }
    }
    all.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    Ok(all)
}

type Bits = Vec<Vec<u8>>;

/// Something that runs kernels, what it computes, and how long that takes.
struct Run {
    name: String,
    again: Box<dyn Fn() -> candle_core::Result<Bits>>,
    bits: Bits,
    took: Duration,
}

/// All of them, and which of them come to which barrier.
#[derive(Default)]
struct Runs {
    all: Vec<Run>,
    met: BTreeMap<(String, u32), Vec<usize>>,
}

impl Runs {
    fn add(
        &mut self,
        name: String,
        again: impl Fn() -> candle_core::Result<Bits> + 'static,
    ) -> Result<(), Failed> {
        let begun = Instant::now();
        let bits = detect_races(&again).map_err(|e| format!("{name}: {e}"))?;
        for at in barriers_met()? {
            self.met.entry(at).or_default().push(self.all.len());
        }
        self.all.push(Run { name, again: Box::new(again), bits, took: begun.elapsed() });
        Ok(())
    }

    /// Every case of every op, the search for the likeliest word, and the optimizer.
    fn new() -> Result<Self, Failed> {
        let mut runs = Self::default();
        barriers_met()?;
        for dtype in [DType::F32, DType::BF16] {
            for op in OPS {
                for case in compare::cases(op.name) {
                    let name = format!("{} in {}: {}", op.name, compare::name(dtype), case.name);
                    let inputs = case.inputs.iter().map(|t| t.to_dtype(dtype));
                    let inputs = inputs.collect::<candle_core::Result<Vec<_>>>()?;
                    runs.add(name, move || bits(&compare::run_op(&case, &inputs, &Device::Cpu)?))?;
                }
            }
            let logits = Tensor::arange(0f32, 1500f32, &Device::Cpu)?.sin()?.to_dtype(dtype)?;
            let logits = logits.reshape((1, ()))?;
            let likeliest = move || Ok(vec![v5gate::ops::likeliest(&logits)?.to_le_bytes().to_vec()]);
            runs.add(format!("likeliest in {}", compare::name(dtype)), likeliest)?;
        }
        runs.add("adamw".to_owned(), adamw)?;
        let Self { all, met } = &mut runs;
        met.values_mut().for_each(|cases| cases.sort_by_key(|i| all[*i].took));
        Ok(runs)
    }

    /// How a barrier's absence shows, if it does, in those that come to it.
    fn show(&self, barrier: &Barrier, which: &[usize]) -> Result<Option<String>, Failed> {
        for run in which.iter().map(|i| &self.all[*i]) {
            match without_barrier(&barrier.file, barrier.line, &run.again)? {
                Err(error) => {
                    // A backtrace may follow.
                    let says = error.to_string().lines().next().unwrap_or_default().to_owned();
                    return Ok(Some(format!("{says} ({})", run.name)));
                }
                Ok(bits) if bits != run.bits => return Ok(Some(format!("other values ({})", run.name))),
                Ok(_) => {}
            }
        }
        Ok(None)
    }
}

/// Two steps of the optimizer: parameters and moments.
fn adamw() -> candle_core::Result<Bits> {
    let config = Config::Gpt2(Gpt2Config {
        vocab_size: 61,
        n_positions: 40,
        n_embd: 24,
        n_layer: 1,
        n_head: 3,
        n_inner: None,
        layer_norm_epsilon: 1e-5,
        activation_function: None,
        scale_attn_weights: true,
        scale_attn_by_inverse_layer_idx: false,
        tie_word_embeddings: true,
    });
    let recipe = Recipe {
        token_count: 1,
        batch_size: 1,
        micro_batch_size: 1,
        context_length: 1,
        learning_rate_schedule: Schedule::Cosine,
        warmup_steps: 1,
        max_lr: 1e-2,
        min_lr: 1e-3,
        weight_decay: 0.1,
        optimizer: Optimizer::AdamW,
        betas: [0.9, 0.95],
        eps: 1e-8,
        grad_clip: 1.0,
        precision: Precision::Float32,
    };
    let model = config.init(1)?;
    let mut optimizer = AdamW::new(model.as_ref())?;
    for _ in 0..2 {
        let entries = model.params().entries().iter();
        let gradients = entries.map(|entry| Tensor::ones(entry.shape.clone(), DType::F32, &Device::Cpu));
        let mut gradients = gradients.map(|g| g.map(Some)).collect::<candle_core::Result<Gradients>>()?;
        optimizer.step(&mut gradients, &recipe, 1e-2)?;
    }
    Ok(vec![compare::to_bits(optimizer.packed())?.into_iter().flat_map(u64::to_le_bytes).collect()])
}

fn bits((outputs, gradients): &compare::Found) -> candle_core::Result<Bits> {
    let all = outputs.iter().chain(gradients.iter().flatten());
    all.map(|t| Ok(compare::to_bits(t)?.into_iter().flat_map(u64::to_le_bytes).collect())).collect()
}

/// Leaves out one barrier after the other. What is found goes to standard error as a table.
fn every_barrier_is_needed() -> Result<(), Failed> {
    let runs = Runs::new()?;
    let mut wrong = Vec::new();
    for barrier in barriers()? {
        let Barrier { file, line, text } = &barrier;
        let which = runs.met.get(&(file.clone(), *line)).map_or(&[][..], Vec::as_slice);
        let found = runs.show(&barrier, which)?;
        let reason = REDUNDANT.iter().find(|(f, t, _)| f == file && t == text).map(|(_, _, reason)| *reason);
        let told = match (&found, reason, which.len()) {
            (Some(found), _, _) => found.clone(),
            (None, Some(reason), _) => format!("redundant: {reason}"),
            (None, None, 0) => "NOT REACHED".to_owned(),
            (None, None, n) => format!("NOT SEEN in {n} cases"),
        };
        eprintln!("| {file}:{line} | `{text}` | {told} |");
        if told.starts_with("NOT") {
            wrong.push(format!("{file}:{line}: {told}"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// Trials for every op and element type, and the one that leaves out barriers, which takes too long for every day.
pub fn trials() -> Vec<Trial> {
    let barriers = Trial::test("races::every_barrier_is_needed", every_barrier_is_needed);
    let mut all = vec![barriers.with_ignored_flag(true)];
    for dtype in [DType::F32, DType::BF16] {
        for op in OPS.iter().map(|spec| spec.name).chain(["likeliest"]) {
            let title = format!("races::{op}::{}", compare::name(dtype));
            let run = move || detect_races(|| compare::check(op, dtype, &Device::Cpu, BlockMemory::Enough));
            all.push(Trial::test(title, run));
        }
    }
    let smaller = |(op, kernel)| {
        let run = move || detect_races(|| launches::on_a_workstation(op, kernel));
        Trial::test(format!("races::on_a_workstation::{op}"), run)
    };
    all.extend(launches::SMALLER.map(smaller));
    all
}
