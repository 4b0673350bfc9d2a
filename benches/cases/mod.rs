//! What is timed, by name: `train/gpt2/8M`, `prefill/groundthink/tiny`, `wkv6/8M`. The same list serves
//! the Criterion benches and the comparison with peers.
//!
//! Work may go on after a unit of it has returned: [`timed`] waits for the device before it reads a clock.

pub mod ops;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use v5gate::data::batches::{Batches, Order, window_count};
use v5gate::data::cache::TokenFile;
use v5gate::data::tokenizer::Tokenizer;
use v5gate::device::{Compute, choose, current};
use v5gate::models::{self, Config};
use v5gate::scale::{Scale, Tier};
use v5gate::train::{Optimizer, Precision, Recipe, Schedule, TrainJob, Trainer};

/// A size at which things are timed.
pub struct Size {
    pub name: &'static str,
    n_layer: usize,
    n_head: usize,
    pub d_model: usize,
    pub vocab: usize,
    /// Context of a training step.
    pub time: usize,
    /// Its sequences on a GPU.
    sequences: usize,
    listed: Listed,
}

/// What a size is for. Any case can be asked for by name.
#[derive(PartialEq)]
enum Listed {
    Anywhere,
    /// Too small to keep a GPU busy.
    OnCpus,
    /// So many sequences keep a GPU busy, and a CPU for hours: there fewer, or, where none, only when asked for.
    OnGpus(Option<usize>),
    /// The same, of ops alone.
    OpsOnGpus,
}

const fn size(name: &'static str, shape: [usize; 4], batch: [usize; 2], listed: Listed) -> Size {
    let [n_layer, n_head, d_model, vocab] = shape;
    Size { name, n_layer, n_head, d_model, vocab, sequences: batch[0], time: batch[1], listed }
}

impl Size {
    /// Sequences of a training step.
    pub fn batch(&self) -> usize {
        match self.listed {
            Listed::OnGpus(Some(fewer)) if !current().is_asynchronous() => fewer,
            _ => self.sequences,
        }
    }
}

/// What models compute in: `V5_PRECISION`, float32 or bfloat16, or what the device is made for.
pub fn precision() -> Precision {
    match std::env::var("V5_PRECISION").as_deref() {
        Ok("float32") => Precision::Float32,
        Ok("bfloat16") => Precision::Bfloat16,
        _ => Precision::Native,
    }
}

/// `smoke` is what people run daily, `tiny` shows what a step costs besides arithmetic, `3.5M` and `8M` are
/// the two smallest gated scales, and `-1k` the gated ones at the context that protocols ask for. `b8-1k` is the
/// shape in which kernels for WKV-6 are published (batch 8, 8 heads of 64), and the hybrid's SSD beside it (16
/// heads of 64, state 128).
pub const SIZES: [Size; 9] = [
    size("smoke", [2, 2, 64, 1024], [4, 96], Listed::Anywhere),
    size("tiny", [2, 2, 64, 512], [8, 128], Listed::Anywhere),
    size("3.5M", [3, 4, 256, 50_257], [4, 256], Listed::Anywhere),
    size("8M", [6, 6, 384, 50_257], [2, 256], Listed::Anywhere),
    size("3.5M-1k", [3, 4, 256, 50_257], [4, 1024], Listed::OnCpus),
    size("8M-1k", [6, 6, 384, 50_257], [32, 1024], Listed::OnGpus(Some(2))),
    size("30M-1k", [12, 8, 512, 50_257], [16, 1024], Listed::OnGpus(None)),
    size("125M-1k", [12, 12, 768, 50_257], [8, 1024], Listed::OnGpus(None)),
    size("b8-1k", [12, 8, 512, 50_257], [8, 1024], Listed::OpsOnGpus),
];

/// Positions of the inference models, and tokens of a prefill.
pub const PREFILL: usize = 1024;
/// Tokens fed before generation starts, and tokens generated.
pub const PROMPT: usize = 16;
pub const GENERATED: usize = 128;

const MODELS: [&str; 2] = ["gpt2", "groundthink"];

/// One unit of work, to be timed: a step, a prefill, a generation.
pub type Work = Box<dyn FnMut() -> Result<()>>;

/// Kinds of cases that are about an op, not a model.
const OPS: [&str; 6] = ["wkv6", "ssd", "attention", "cross_entropy", "linear", "adamw"];

/// The names of every case of a kind (`train`, `prefill`, `generate`, an op) on the device that was chosen.
pub fn names(kind: &str) -> Vec<String> {
    let gpu = current().is_asynchronous();
    let listed = |size: &&Size| match size.listed {
        Listed::Anywhere => true,
        Listed::OnCpus => !gpu,
        Listed::OnGpus(fewer) => gpu || fewer.is_some(),
        Listed::OpsOnGpus => gpu && OPS.contains(&kind),
    };
    let named = |size: &Size| match OPS.contains(&kind) {
        true => vec![format!("{kind}/{}", size.name)],
        false => MODELS.map(|model| format!("{kind}/{model}/{}", size.name)).into(),
    };
    SIZES.iter().filter(listed).flat_map(named).collect()
}

/// What computes, by `V5_DEVICE`. Without it there is nothing to time.
pub fn device() -> &'static Compute {
    choose().unwrap_or_else(|error| {
        eprintln!("error: {error}");
        std::process::exit(2);
    })
}

/// How long so many units of work take.
pub fn timed(work: &mut Work, units: u64) -> Result<Duration> {
    let start = Instant::now();
    for _ in 0..units {
        work()?;
    }
    current().finish()?;
    Ok(start.elapsed())
}

/// What a name stands for.
pub enum Case<'a> {
    Model(&'a str, &'a str, &'static Size),
    Op(&'a str, &'static Size),
}

/// The case of that name.
pub fn find(name: &str) -> Result<Case<'_>> {
    let size = |at: &str| {
        let known = || SIZES.map(|s| s.name).join(", ");
        SIZES.iter().find(|s| s.name == at).with_context(|| format!("no size {at:?}: one of {}", known()))
    };
    match name.split('/').collect::<Vec<_>>()[..] {
        [kind @ ("train" | "prefill" | "generate"), model, at] => Ok(Case::Model(kind, model, size(at)?)),
        [kind, at] if OPS.contains(&kind) => Ok(Case::Op(kind, size(at)?)),
        _ => bail!("no case {name:?}"),
    }
}

/// The work that a name stands for, ready to run.
pub fn work(name: &str) -> Result<Work> {
    let (kind, model, size) = match find(name)? {
        Case::Op(kind, size) => return ops::work(kind, size),
        Case::Model(kind, model, size) => (kind, model, size),
    };
    if kind == "train" {
        return training(model, size, recipe(size));
    }
    let model = config(model, size, PREFILL)?.init(1)?.to_device(current(), precision())?;
    if kind == "prefill" {
        return Ok(Box::new(move || {
            model.last_logits(&tokens(PREFILL), &mut model.new_state(1)?)?;
            Ok(())
        }));
    }
    Ok(Box::new(move || {
        let new = model.continue_greedily(&tokens(PROMPT), GENERATED, None)?;
        anyhow::ensure!(new.len() == GENERATED, "{} tokens generated", new.len());
        Ok(())
    }))
}

/// The configuration of a model at a size.
pub fn config(model: &str, size: &Size, context: usize) -> Result<Config> {
    let &Size { name, n_layer, n_head, d_model, vocab, .. } = size;
    let scale = Scale { name, tier: Tier::Smoke, n_layer, n_head, d_model, d_ff: 4 * d_model };
    let spec = models::find(model).with_context(|| format!("no model {model:?}"))?;
    Ok((spec.config)(&scale, vocab, context))
}

/// Pseudo-random bits (the finaliser of MurmurHash3).
fn bits(i: u32) -> u32 {
    let i = (i ^ (i >> 16)).wrapping_mul(0x85eb_ca6b);
    let i = (i ^ (i >> 13)).wrapping_mul(0xc2b2_ae35);
    i ^ (i >> 16)
}

/// Pseudo-random token ids, all below 256.
fn tokens(n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| bits(i) >> 24).collect()
}

pub fn recipe(size: &Size) -> Recipe {
    Recipe {
        token_count: (1_000_000 * size.batch() * size.time) as u64,
        batch_size: size.batch(),
        micro_batch_size: size.batch(),
        context_length: size.time,
        learning_rate_schedule: Schedule::Cosine,
        warmup_steps: 10,
        max_lr: 1e-3,
        min_lr: 1e-4,
        weight_decay: 0.1,
        optimizer: Optimizer::AdamW,
        betas: [0.9, 0.95],
        eps: 1e-8,
        grad_clip: 1.0,
        precision: precision(),
    }
}

/// A training step of the real trainer: batch, forward, backward, clipping, AdamW.
pub fn training(model: &str, size: &Size, recipe: Recipe) -> Result<Work> {
    let config = config(model, size, size.time)?;
    let folder = tempfile::tempdir()?;
    let texts: Vec<String> = (0..64).map(|i| format!("{i} is a number, and {} another", i * i)).collect();
    // Nothing here outlives the process, and the trainer borrows: leaked on purpose.
    let tokenizer: &'static Tokenizer = Box::leak(Box::new(Tokenizer::train(&texts, 300)?));
    let path: &Path = &folder.path().join("tokens.bin");
    let file: &'static TokenFile =
        Box::leak(Box::new(TokenFile::from_ids(path, "bench", tokenizer, vec![tokens(200_000)])?));
    let order = Order::draw(window_count(file.len(), size.time), 100_000 * recipe.batch_size, 1)?;
    let job: &'static TrainJob<'static> = Box::leak(Box::new(TrainJob {
        compute: current(),
        config,
        recipe,
        seed: 1,
        batches: Batches::new(file, order, size.time)?,
        data: "bench".into(),
        tokenizer,
        checkpoint_every: u64::MAX,
        label: "bench".into(),
    }));
    let mut trainer = Trainer::new(job)?;
    Ok(Box::new(move || {
        anyhow::ensure!(trainer.step_ahead()?, "the loss is not finite");
        Ok(())
    }))
}
