//! `cargo bench --bench depth -- KEY=VALUE …`: one training of SMOKE's recipe with what is asked for changed, and how
//! far it recalls as it goes: the experiments of `docs/depth.md`. A line of JSON for every look, the first with the
//! arguments.
//!
//! | key | |
//! |---|---|
//! | model, scale, blocks | `groundthink`, `smoke`, as many as the scale has |
//! | without | `rwkv` or `mamba`: that branch's output is zero throughout |
//! | seed, tokens, lr, low, warmup, beta2, decay, clip, batch, context | of the recipe; `low` is the last learning rate over the highest |
//! | times | `PART=FACTOR,…`: initial values whose name contains the part are multiplied |
//! | std | `PART=STD,…`: drawn anew, normal |
//! | set | `PART=NUMBER,…`: all of them are this number |
//! | width, heads | in place of the scale's |
//! | task | `conversations` or `mqar`: associative recall as the probe asks it, `vocab`, `length` and `pairs` its size |
//! | every, stop | steps between looks; 1 ends a training that recalls |

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use serde_json::json;
use v5gate::data::batches::{Batches, Order, window_count};
use v5gate::data::dataset::{Dataset, prepare};
use v5gate::data::synthetic::grammar::POOLS;
use v5gate::data::synthetic::mqar::{Example, MqarSize};
use v5gate::models::{self, Branch, Config, LanguageModel, Params};
use v5gate::ops::{Tape, embedding, likeliest, linear_cross_entropy, on_worker};
use v5gate::protocol::Protocol;
use v5gate::scale::{self, Scale};
use v5gate::statistics::mean;
use v5gate::train::{AdamW, Recipe, TrainJob, Trainer};
use v5gate::{device, keep_freed_memory};

/// Held-out windows that are looked at.
const WINDOWS: usize = 160;
/// Values that training states of a relation, every one equally likely.
const VALUES: f64 = 16.0;
/// Tokens from which on a recall is called far.
const FAR: usize = 32;

struct Args(BTreeMap<String, String>);

impl Args {
    fn read() -> Result<Self> {
        let pairs = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
        let pairs = pairs.map(|arg| {
            let (key, value) = arg.split_once('=').with_context(|| format!("{arg:?} is no KEY=VALUE"))?;
            Ok((key.to_owned(), value.to_owned()))
        });
        Ok(Self(pairs.collect::<Result<_>>()?))
    }

    fn text(&self, key: &str, default: &str) -> String {
        self.0.get(key).map_or(default, String::as_str).to_owned()
    }

    fn number(&self, key: &str, default: f64) -> Result<f64> {
        self.0.get(key).map_or(Ok(default), |text| text.parse().with_context(|| format!("{key}={text}")))
    }

    /// `PART=NUMBER,…`
    fn parts(&self, key: &str) -> Result<Vec<(String, f64)>> {
        let text = self.text(key, "");
        let parts = text.split(',').filter(|part| !part.is_empty()).map(|part| {
            let (name, number) = part.split_once('=').with_context(|| format!("{key}={part}"))?;
            Ok((name.to_owned(), number.parse()?))
        });
        parts.collect()
    }
}

/// The configuration at a scale, with so many blocks.
fn config(name: &str, scale: &Scale, vocab: usize, context: usize, blocks: Option<usize>) -> Result<Config> {
    let spec = models::find(name).with_context(|| format!("no model is called {name}"))?;
    let Some(blocks) = blocks else { return Ok((spec.config)(scale, vocab, context)) };
    let with = |n_layer| (spec.config)(&Scale { n_layer, ..*scale }, vocab, context);
    let count = |config: &Config| match config {
        Config::Gpt2(c) => c.n_layer,
        Config::Groundthink(c) => c.n_layer,
        Config::Mamba2(c) => c.num_hidden_layers,
        Config::Rwkv6(c) => c.num_hidden_layers,
    };
    (1..64).map(with).find(|config| count(config) == blocks).context("no GPT-2 is matched by so many blocks")
}

fn initial(config: &Config, seed: u64, args: &Args) -> Result<Box<dyn LanguageModel>> {
    let model = config.init(seed)?;
    let mut flat: Vec<f32> = model.params().flat().to_vec1()?;
    let (times, std, set) = (args.parts("times")?, args.parts("std")?, args.parts("set")?);
    let mut random = ChaCha20Rng::seed_from_u64(seed + 1_000);
    let mut normal = || {
        let (u, v): (f64, f64) = (1.0 - random.random::<f64>(), random.random());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    };
    for entry in model.params().entries() {
        let values = &mut flat[entry.offset..entry.offset + entry.len];
        let of = |parts: &[(String, f64)]| {
            parts.iter().find(|(part, _)| entry.name.contains(part.as_str())).map(|(_, number)| *number)
        };
        of(&set).into_iter().for_each(|number| values.fill(number as f32));
        of(&std).into_iter().for_each(|std| values.iter_mut().for_each(|x| *x = (std * normal()) as f32));
        of(&times).into_iter().for_each(|factor| values.iter_mut().for_each(|x| *x *= factor as f32));
    }
    let params: Params = model.params().replaced(Tensor::new(flat, &Device::Cpu)?)?;
    let model = model.over(params);
    Ok(match args.text("without", "").as_str() {
        "" => model,
        "rwkv" => model.without(Branch::Rwkv).context("no branches")?,
        "mamba" => model.without(Branch::Mamba).context("no branches")?,
        other => bail!("without={other}"),
    })
}

fn recipe(of: &Recipe, args: &Args) -> Result<Recipe> {
    let max_lr = args.number("lr", of.max_lr)?;
    Ok(Recipe {
        token_count: args.number("tokens", of.token_count as f64)? as u64,
        batch_size: args.number("batch", of.batch_size as f64)? as usize,
        micro_batch_size: args.number("micro", of.micro_batch_size as f64)? as usize,
        context_length: args.number("context", of.context_length as f64)? as usize,
        warmup_steps: args.number("warmup", of.warmup_steps as f64)? as u64,
        max_lr,
        min_lr: max_lr * args.number("low", of.min_lr / of.max_lr)?,
        weight_decay: args.number("decay", of.weight_decay)?,
        betas: [of.betas[0], args.number("beta2", of.betas[1])?],
        grad_clip: args.number("clip", of.grad_clip)?,
        ..of.clone()
    })
}

/// Mean losses: of all tokens; of values that the window has not, has, has at a distance, and has with another value of
/// the same kind between.
struct Look {
    all: f64,
    new: f64,
    seen: f64,
    far: f64,
    rival: f64,
    counts: [usize; 4],
}

/// The kind of every value, by its token.
fn values(dataset: &Dataset) -> HashMap<u32, usize> {
    let of = |(kind, word): (usize, &str)| Some((dataset.tokenizer.single_token(word)?, kind));
    let all = POOLS.iter().enumerate().flat_map(|(kind, pool)| pool.values.map(|word| (kind, word)));
    let spaced = all.map(|(kind, word)| (kind, format!(" {word}")));
    spaced.filter_map(|(kind, word)| of((kind, word.as_str())).or_else(|| of((kind, word.trim())))).collect()
}

fn look(model: &dyn LanguageModel, batches: &Batches<'_>, kinds: &HashMap<u32, usize>) -> Result<Look> {
    let (mut all, mut by) = (Vec::new(), [const { Vec::new() }; 4]);
    let windows = WINDOWS.min(batches.order().len());
    for first in (0..windows).step_by(8) {
        let batch = batches.get(first, 8.min(windows - first))?;
        let losses = model.losses(&batch.inputs, &batch.targets, &mut model.new_state(batch.batch_size)?)?;
        let rows = losses.chunks(batch.context_length).zip(batch.targets.chunks(batch.context_length));
        for ((losses, targets), inputs) in rows.zip(batch.inputs.chunks(batch.context_length)) {
            for (at, (loss, target)) in losses.iter().zip(targets).enumerate() {
                let Some(kind) = kinds.get(target) else { continue };
                let Some(last) = inputs[..=at].iter().rposition(|token| token == target) else {
                    by[0].push(*loss);
                    continue;
                };
                by[1].push(*loss);
                if at - last >= FAR {
                    by[2].push(*loss);
                }
                if inputs[last + 1..=at].iter().any(|token| kinds.get(token) == Some(kind)) {
                    by[3].push(*loss);
                }
            }
        }
        all.extend(losses);
    }
    let [new, seen, far, rival] = by.each_ref().map(|losses| mean(losses));
    Ok(Look { all: mean(&all), new, seen, far, rival, counts: by.map(|losses| losses.len()) })
}

fn main() -> Result<()> {
    keep_freed_memory();
    let args = Args::read()?;
    let protocol = Protocol::load("smoke")?;
    let recipe = recipe(&protocol.recipe, &args)?;
    let name = args.text("scale", "smoke");
    let scale = scale::find(&name).with_context(|| format!("no scale is called {name}"))?;
    let d_model = args.number("width", scale.d_model as f64)? as usize;
    let n_head = args.number("heads", scale.n_head as f64)? as usize;
    let scale = &Scale { d_model, n_head, d_ff: 4 * d_model, ..*scale };
    let blocks = args.0.get("blocks").map(|text| text.parse()).transpose()?;
    if args.text("task", "conversations") == "mqar" {
        return associate(&args, &recipe, scale, blocks);
    }
    let dataset = prepare(&protocol.data, None, &std::env::temp_dir().join("v5gate-depth"))?;
    let vocab = dataset.tokenizer.vocab_size();
    let config = config(&args.text("model", "groundthink"), scale, vocab, recipe.context_length, blocks)?;
    let seed = args.number("seed", 1.0)? as u64;
    let context = recipe.context_length;
    let needed = recipe.steps() as usize * recipe.batch_size;
    let order = Order::draw(window_count(dataset.train.len(), context), needed, seed)?;
    let job = TrainJob {
        config: config.clone(),
        recipe,
        seed,
        batches: Batches::new(&dataset.train, order, context)?,
        data: dataset.digest.clone(),
        tokenizer: &dataset.tokenizer,
        compute: device::current(),
        checkpoint_every: u64::MAX,
        label: String::new(),
    };
    println!("{}", json!({"args": args.0, "config": config, "parameters": config.model_stats().total}));
    follow(&args, &job, &dataset, seed)
}

fn follow(args: &Args, job: &TrainJob<'_>, dataset: &Dataset, seed: u64) -> Result<()> {
    let (every, stop) = (args.number("every", 100.0)? as u64, args.number("stop", 0.0)? > 0.0);
    let valid = Batches::in_sequence(&dataset.valid, job.recipe.context_length)?;
    let kinds = values(dataset);
    let found: HashSet<usize> = kinds.values().copied().collect();
    anyhow::ensure!(found.len() == POOLS.len(), "not all values are single tokens");
    let mut trainer = Trainer::from_model(job, initial(&job.config, seed, args)?)?;
    let (start, steps) = (Instant::now(), job.recipe.steps());
    let (mut recent, mut norms) = (Vec::new(), Vec::new());
    for step in 1..=steps {
        let Some(record) = trainer.step()? else {
            println!("{}", json!({"diverged": step}));
            return Ok(());
        };
        recent.push(record.loss);
        norms.push(record.grad_norm);
        if step % every != 0 && step != steps {
            continue;
        }
        let l = look(trainer.model(), &valid, &kinds)?;
        let line = json!({
            "tokens": record.tokens, "train": mean(&recent), "norm": mean(&norms), "valid": l.all, "new": l.new,
            "seen": l.seen, "far": l.far, "rival": l.rival, "counts": l.counts,
            "seconds": start.elapsed().as_secs_f64(),
        });
        println!("{line}");
        (recent, norms) = (Vec::new(), Vec::new());
        if stop && l.seen < VALUES.ln() / 4.0 {
            break;
        }
    }
    Ok(())
}

/// Associative recall: the loss at the questions alone, and the share answered of examples that no training reads.
fn associate(args: &Args, recipe: &Recipe, scale: &Scale, blocks: Option<usize>) -> Result<()> {
    let whole = |key, default| Ok::<_, anyhow::Error>(args.number(key, default)? as usize);
    let size = MqarSize {
        vocab_size: whole("vocab", 32.0)?,
        length: whole("length", 16.0)?,
        pairs: whole("pairs", 4.0)?,
    };
    let (seed, every, batch) = (whole("seed", 1.0)? as u64, whole("every", 50.0)? as u64, recipe.batch_size);
    let recipe = Recipe { context_length: size.length, ..recipe.clone() };
    let config = config(&args.text("model", "groundthink"), scale, size.vocab_size, size.length, blocks)?;
    println!("{}", json!({"args": args.0, "config": config, "parameters": config.model_stats().total}));
    let model = initial(&config, seed, args)?;
    let mut optimizer = AdamW::new(model.as_ref())?;
    let model = model.over(optimizer.params().clone());
    let tests: Vec<Example> = (0..256).map(|i| size.example(seed, (1 << 40) + i)).collect();
    let (start, mut recent) = (Instant::now(), Vec::new());
    for step in 0..recipe.steps() {
        let first = step * batch as u64;
        let examples: Vec<Example> = (first..first + batch as u64).map(|i| size.example(seed, i)).collect();
        let (tokens, places, values) = flat(&examples, size.length);
        let loss = on_worker(|| -> Result<f64> {
            let tape = Tape::recording(model.params().entries().len());
            let hidden = model.backbone(&tape, &tokens, &mut model.new_state(batch)?)?;
            let asked = embedding(&tape, &hidden, &places)?;
            let head = model.params().scope(&tape, "").get(model.head())?;
            let loss = linear_cross_entropy(&tape, &asked, &head, &values)?;
            let one = Tensor::new(1.0, &Device::Cpu)?.to_dtype(loss.tensor().dtype())?;
            let mut gradients = tape.backward(&loss, one)?;
            optimizer.step(&mut gradients, &recipe, recipe.learning_rate(step))?;
            Ok(loss.tensor().to_dtype(DType::F64)?.to_scalar()?)
        })?;
        recent.push(loss);
        if (step + 1) % every != 0 {
            continue;
        }
        let (tokens, places, values) = flat(&tests, size.length);
        let hidden = model.hidden(&tokens, &mut model.new_state(tests.len())?)?;
        let logits = model.logits(hidden.index_select(&Tensor::new(places, &Device::Cpu)?, 0)?)?;
        let right = (0..values.len()).map(|i| Ok(likeliest(&logits.narrow(0, i, 1)?)? == values[i]));
        let right: Vec<bool> = right.collect::<Result<_>>()?;
        let share = right.iter().filter(|right| **right).count() as f64 / right.len() as f64;
        let (tokens, seconds) = ((step + 1) * recipe.tokens_per_step(), start.elapsed().as_secs_f64());
        println!("{}", json!({"tokens": tokens, "train": mean(&recent), "share": share, "seconds": seconds}));
        recent = Vec::new();
        if args.number("stop", 0.0)? > 0.0 && share >= 0.99 {
            break;
        }
    }
    Ok(())
}

/// Examples one after the other: their tokens, the rows where something is asked, and the answers.
fn flat(examples: &[Example], length: usize) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    let tokens = examples.iter().flat_map(|example| example.tokens.iter().copied()).collect();
    let asked = examples.iter().enumerate().flat_map(|(row, example)| {
        example.queries.iter().map(move |(at, value)| ((row * length + at) as u32, *value))
    });
    let (places, values) = asked.unzip();
    (tokens, places, values)
}
