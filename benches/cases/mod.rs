//! What is timed, by name: `train/gpt2/8M`, `prefill/groundthink/tiny`, `wkv6/8M`. The same list serves
//! the Criterion benches and the comparison with peers.

use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use v5gate::data::batches::{Batches, Order, window_count};
use v5gate::data::cache::TokenFile;
use v5gate::data::tokenizer::Tokenizer;
use v5gate::models::{self, Config, GroundThinkConfig, LanguageModel};
use v5gate::ops::{SsdInputs, Tape, Var, Wkv6Inputs, ssd, wkv6};
use v5gate::scale::{Scale, Tier};
use v5gate::train::{Optimizer, Precision, Recipe, Schedule, TrainJob, Trainer};

/// A size at which things are timed.
pub struct Size {
    pub name: &'static str,
    n_layer: usize,
    n_head: usize,
    d_model: usize,
    vocab: usize,
    /// Context and sequences of a training step.
    pub time: usize,
    pub batch: usize,
}

/// `smoke` is what people run daily, `tiny` shows what a step costs besides arithmetic, and the others are
/// the two smallest gated scales.
pub const SIZES: [Size; 4] = [
    Size { name: "smoke", n_layer: 2, n_head: 2, d_model: 64, vocab: 1024, time: 96, batch: 4 },
    Size { name: "tiny", n_layer: 2, n_head: 2, d_model: 64, vocab: 512, time: 128, batch: 8 },
    Size { name: "3.5M", n_layer: 3, n_head: 4, d_model: 256, vocab: 50_257, time: 256, batch: 4 },
    Size { name: "8M", n_layer: 6, n_head: 6, d_model: 384, vocab: 50_257, time: 256, batch: 2 },
];

/// Positions of the inference models, and tokens of a prefill.
pub const PREFILL: usize = 1024;
/// Tokens fed before generation starts, and tokens generated.
pub const PROMPT: usize = 16;
pub const GENERATED: usize = 128;

const MODELS: [&str; 2] = ["gpt2", "groundthink"];

/// One unit of work, to be timed: a step, a prefill, a generation.
pub type Work = Box<dyn FnMut() -> Result<()>>;

/// The names of every case of a kind (`train`, `prefill`, `generate`, `wkv6`, `ssd`).
pub fn names(kind: &str) -> Vec<String> {
    let all = SIZES.iter().flat_map(|size| {
        MODELS.iter().map(move |model| match kind {
            "wkv6" | "ssd" => format!("{kind}/{}", size.name),
            _ => format!("{kind}/{model}/{}", size.name),
        })
    });
    let mut all: Vec<String> = all.collect();
    all.dedup();
    all
}

/// The work that a name stands for, ready to run.
pub fn work(name: &str) -> Result<Work> {
    let parts: Vec<&str> = name.split('/').collect();
    let size = |name: &str| {
        SIZES
            .iter()
            .find(|s| s.name == name)
            .with_context(|| format!("no size {name:?}: one of smoke, tiny, 3.5M, 8M"))
    };
    match parts[..] {
        ["train", model, at] => training(model, size(at)?),
        ["prefill", model, at] => {
            let model = model_at(model, size(at)?, PREFILL)?;
            Ok(Box::new(move || {
                model.last_logits(&tokens(PREFILL), &mut model.new_state(1)?)?;
                Ok(())
            }))
        }
        ["generate", model, at] => {
            let model = model_at(model, size(at)?, PREFILL)?;
            Ok(Box::new(move || {
                let new = model.continue_greedily(&tokens(PROMPT), GENERATED, None)?;
                anyhow::ensure!(new.len() == GENERATED, "{} tokens generated", new.len());
                Ok(())
            }))
        }
        ["wkv6", at] => wkv6_pass(size(at)?),
        ["ssd", at] => ssd_pass(size(at)?),
        _ => bail!("no case {name:?}"),
    }
}

fn config(model: &str, size: &Size, context: usize) -> Result<Config> {
    let Size { name, n_layer, n_head, d_model, vocab, .. } = *size;
    let scale = Scale { name, tier: Tier::Smoke, n_layer, n_head, d_model, d_ff: 4 * d_model };
    let spec = models::find(model).with_context(|| format!("no model {model:?}"))?;
    Ok((spec.config)(&scale, vocab, context))
}

fn model_at(model: &str, size: &Size, context: usize) -> Result<Box<dyn LanguageModel>> {
    Ok(config(model, size, context)?.init(1)?)
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

/// A training step of the real trainer: batch, forward, backward, clipping, AdamW.
fn training(model: &str, size: &Size) -> Result<Work> {
    let config = config(model, size, size.time)?;
    let recipe = Recipe {
        token_count: (1_000_000 * size.batch * size.time) as u64,
        batch_size: size.batch,
        micro_batch_size: size.batch,
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
        precision: Precision::Float32,
    };
    let folder = tempfile::tempdir()?;
    let texts: Vec<String> = (0..64).map(|i| format!("{i} is a number, and {} another", i * i)).collect();
    // Nothing here outlives the process, and the trainer borrows: leaked on purpose.
    let tokenizer: &'static Tokenizer = Box::leak(Box::new(Tokenizer::train(&texts, 300)?));
    let path: &Path = &folder.path().join("tokens.bin");
    let file: &'static TokenFile =
        Box::leak(Box::new(TokenFile::from_ids(path, "bench", tokenizer, vec![tokens(200_000)])?));
    let order = Order::draw(window_count(file.len(), size.time), 100_000 * size.batch, 1)?;
    let job: &'static TrainJob<'static> = Box::leak(Box::new(TrainJob {
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
    Ok(Box::new(move || trainer.step()?.map(|_| ()).context("the loss is not finite")))
}

/// Pseudo-random numbers in ±scale, other ones for every seed.
fn noise(seed: u32, shape: &[usize], scale: f32) -> Result<Var> {
    let n = shape.iter().product::<usize>() as u32;
    let unit = |i: u32| bits(i ^ (seed << 24)) as f32 / u32::MAX as f32;
    let values: Vec<f32> = (0..n).map(|i| (2.0 * unit(i) - 1.0) * scale).collect();
    Ok(Var::constant(Tensor::from_vec(values, shape, &Device::Cpu)?))
}

/// The dimensions of GroundThink's branches at a size.
fn branches(size: &Size) -> Result<GroundThinkConfig> {
    match config("groundthink", size, size.time)? {
        Config::Groundthink(c) => Ok(c),
        other => bail!("groundthink became {}", other.name()),
    }
}

/// Runs forward and backward over what `op` builds on a tape whose leaves are `inputs`.
fn forward_backward(inputs: Vec<Var>, op: impl Fn(&Tape, &[Var]) -> Result<Var> + 'static) -> Work {
    Box::new(move || {
        let tape = Tape::recording(inputs.len());
        let leaves: Vec<Var> = inputs.iter().enumerate().map(|(i, v)| tape.leaf(i, v.tensor())).collect();
        let y = op(&tape, &leaves)?;
        let seed = y.tensor().ones_like()?;
        tape.backward(&y, seed)?;
        Ok(())
    })
}

fn wkv6_pass(size: &Size) -> Result<Work> {
    let c = branches(size)?;
    let (rows, d, n) = (size.batch * size.time, c.d_model, c.rwkv.head_size);
    let wide = |seed: u32| noise(seed, &[rows, d], 1.0);
    let inputs = vec![wide(1)?, wide(2)?, wide(3)?, wide(4)?, noise(5, &[d / n, n], 1.0)?];
    let state = Tensor::zeros((size.batch, d / n, n, n), candle_core::DType::F32, &Device::Cpu)?;
    Ok(forward_backward(inputs, move |tape, v| {
        let x = Wkv6Inputs { r: &v[0], k: &v[1], v: &v[2], decay: &v[3], bonus: &v[4] };
        Ok(wkv6(tape, &x, &state)?.0)
    }))
}

fn ssd_pass(size: &Size) -> Result<Work> {
    let c = branches(size)?;
    let (rows, m) = (size.batch * size.time, c.mamba);
    let (inner, maps) = (m.expand * c.d_model, m.n_groups * m.state_size);
    let heads = inner / m.head_dim;
    let vector = |seed: u32| noise(seed, &[heads], 1.0);
    let mut inputs = vec![noise(1, &[rows, inner], 1.0)?, noise(2, &[rows, heads], 1.0)?];
    inputs.extend([noise(3, &[rows, maps], 0.3)?, noise(4, &[rows, maps], 0.3)?]);
    inputs.extend([vector(5)?, vector(6)?, vector(7)?]);
    let state =
        Tensor::zeros((size.batch, heads, m.state_size, m.head_dim), candle_core::DType::F32, &Device::Cpu)?;
    Ok(forward_backward(inputs, move |tape, v| {
        let [x, dt, b, c, a_log, dt_bias, d] = [0, 1, 2, 3, 4, 5, 6].map(|i| &v[i]);
        let dt_limit = (0.0, f64::INFINITY);
        let inputs = SsdInputs { x, dt, b, c, a_log, dt_bias, d, groups: m.n_groups, dt_limit };
        Ok(ssd(tape, &inputs, &state)?.0)
    }))
}
