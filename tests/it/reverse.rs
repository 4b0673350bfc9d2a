//! Reverse tests: the trainer here and PyTorch's own loop, from the same weights over the same batches.

use serde_json::Value;
use v5gate::data::batches::Batches;
use v5gate::data::cache::TokenFile;
use v5gate::data::tokenizer::Tokenizer;
use v5gate::models::Config;
use v5gate::train::{Optimizer, Precision, Recipe, Schedule, TrainJob, Trainer};

use super::golden::{fixture, load};

/// Largest relative difference of the loss at any step. One weight moved by 1e-6 at the start moves
/// PyTorch's own curves by up to 8e-6, float64 in place of float32 by 1e-6, and the least of the
/// mistakes that the fixtures list (ε 1e-6) by 3e-4. Measured: 1e-6.
const APART: f64 = 1e-4;

struct Reverse {
    config: Config,
    recipe: Recipe,
    /// PyTorch's.
    losses: Vec<f64>,
    name: String,
}

fn reverse(model: &str) -> Reverse {
    let name = format!("reverse_{model}");
    let path = format!("{}/fixtures/reference/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let whole = |key: &str| all["recipe"][key].as_u64().unwrap();
    let number = |key: &str| all["recipe"][key].as_f64().unwrap();
    let (batch_size, context_length) = (whole("batch_size") as usize, whole("context_length") as usize);
    let recipe = Recipe {
        token_count: whole("steps") * (batch_size * context_length) as u64,
        batch_size,
        // Gradients of two halves add up to PyTorch's of the whole.
        micro_batch_size: batch_size / 2,
        context_length,
        learning_rate_schedule: Schedule::Cosine,
        warmup_steps: whole("warmup_steps"),
        max_lr: number("max_lr"),
        min_lr: number("min_lr"),
        weight_decay: number("weight_decay"),
        optimizer: Optimizer::AdamW,
        betas: serde_json::from_value(all["recipe"]["betas"].clone()).unwrap(),
        eps: number("eps"),
        grad_clip: number("grad_clip"),
        precision: Precision::Float32,
    };
    let config = serde_json::from_value(all["model"].clone()).unwrap();
    let losses: Vec<f64> = serde_json::from_value(all["losses"].clone()).unwrap();
    assert_eq!(losses.len() as u64, recipe.steps());
    Reverse { config, recipe, losses, name }
}

/// The largest relative difference between the trainer's losses and PyTorch's, over the first `steps`.
fn apart(r: &Reverse, recipe: &Recipe, steps: usize) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let all = fixture(&r.name);
    let ids = all["tokens"].to_vec1::<u8>().unwrap().into_iter().map(u32::from).collect();
    let tokenizer = Tokenizer::train(&["a"], 257).unwrap();
    let path = folder.path().join("train.tokens");
    let file = TokenFile::from_ids(&path, &r.name, &tokenizer, vec![ids]).unwrap();
    let job = TrainJob {
        compute: v5gate::device::current(),
        config: r.config.clone(),
        recipe: recipe.clone(),
        seed: 0,
        batches: Batches::in_sequence(&file, recipe.context_length).unwrap(),
        data: file.digest().to_owned(),
        tokenizer: &tokenizer,
        checkpoint_every: u64::MAX,
        label: r.name.clone(),
    };
    let model = load(&r.config, &all, candle_core::DType::F32);
    let mut trainer = Trainer::from_model(&job, model).unwrap();
    let mut off = 0.0f64;
    for expected in &r.losses[..steps] {
        let record = trainer.step().unwrap().unwrap();
        off = off.max((record.loss - expected).abs() / expected);
    }
    off
}

#[test]
fn training_follows_pytorchs_curve() {
    for model in ["gpt2", "mamba2"] {
        let r = reverse(model);
        assert!(r.losses[0] > 4.0 && *r.losses.last().unwrap() < 1.0, "{model} learns nothing");
        let off = apart(&r, &r.recipe, r.losses.len());
        println!("{model}: {off:.2e}");
        assert!(off <= APART, "{model}: losses differ by {off:e}");
    }
}

/// A recipe with one thing changed leaves the curve by more than a thousandth.
#[test]
fn a_wrong_recipe_leaves_the_curve() {
    for model in ["gpt2", "mamba2"] {
        let r = reverse(model);
        let right = &r.recipe;
        let wrong = [
            Recipe { betas: [right.betas[0], 0.999], ..right.clone() },
            Recipe { weight_decay: 0.0, ..right.clone() },
            Recipe { warmup_steps: right.warmup_steps + 1, ..right.clone() },
            Recipe { grad_clip: 1e9, ..right.clone() },
        ];
        for wrong in wrong {
            let off = apart(&r, &wrong, 100);
            println!("{model}: {off:.2e}");
            assert!(off > 1e-3, "{model} with {wrong:?}: {off:e}");
        }
    }
}
