//! The optimizer and the schedule against PyTorch's, step by step; training on any number of threads.

use candle_core::{DType, Device, Tensor};
use serde_json::Value;
use v5gate::data::batches::Batches;
use v5gate::data::cache::TokenFile;
use v5gate::data::tokenizer::Tokenizer;
use v5gate::models::{Config, Gpt2Config, MODELS, Params};
use v5gate::ops::{Tape, linear_cross_entropy, to_vec_f64};
use v5gate::scale;
use v5gate::train::{AdamW, Optimizer, Precision, Recipe, Schedule, TrainJob, Trainer};

fn recipe() -> Recipe {
    Recipe {
        token_count: 40 * 4 * 24,
        batch_size: 4,
        micro_batch_size: 4,
        context_length: 24,
        learning_rate_schedule: Schedule::Cosine,
        warmup_steps: 5,
        max_lr: 1e-2,
        min_lr: 1e-3,
        weight_decay: 0.1,
        optimizer: Optimizer::AdamW,
        betas: [0.9, 0.95],
        eps: 1e-8,
        grad_clip: 1.0,
        precision: Precision::Float32,
    }
}

/// The tokens that the fixture's formula gives for step s: inputs and targets.
fn batch(s: u32) -> (Vec<u32>, Vec<u32>) {
    let token = |b: u32, t: u32| (7 * b + 3 * t + 11 * s + b * t + (t * t) / 3) % 61;
    let rows = |from: u32| (0..4).flat_map(move |b| (from..from + 24).map(move |t| token(b, t))).collect();
    (rows(0), rows(1))
}

/// Forty steps from the same weights on the same batches: loss, gradient norm and learning rate of
/// every step. In float64 both sides only round differently; the fixture names what mistakes cost:
/// a wrong ε 2e-5, decay on every tensor 8e-4, no clipping 1e-2.
#[test]
fn forty_steps_equal_pytorchs() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/reference/");
    let weights =
        candle_core::safetensors::load(format!("{folder}gpt2_small.safetensors"), &Device::Cpu).unwrap();
    let text = std::fs::read_to_string(format!("{folder}adamw_curve.json")).unwrap();
    let curve: Value = serde_json::from_str(&text).unwrap();
    let config = Config::Gpt2(Gpt2Config {
        vocab_size: 61,
        n_positions: 40,
        n_embd: 24,
        n_layer: 2,
        n_head: 3,
        n_inner: None,
        layer_norm_epsilon: 1e-5,
        activation_function: None,
        scale_attn_weights: true,
        scale_attn_by_inverse_layer_idx: false,
        tie_word_embeddings: true,
    });
    let get = |name: &str| weights.get(&format!("w.{name}")).cloned();
    let start = config.build(Params::from_tensors(&config.declare(), DType::F64, get).unwrap());
    let mut optimizer = AdamW::new(start.as_ref()).unwrap();
    let model = config.build(optimizer.params().clone());
    let recipe = recipe();
    for step in 0..40 {
        let (inputs, targets) = batch(step);
        let tape = Tape::recording(model.params().entries().len());
        let hidden = model.backbone(&tape, &inputs, &mut model.new_state(4).unwrap()).unwrap();
        let head = model.params().scope(&tape, "").get(model.head()).unwrap();
        let loss = linear_cross_entropy(&tape, &hidden, &head, &targets).unwrap();
        let value = to_vec_f64(loss.tensor()).unwrap()[0];
        let seed = Tensor::ones((), DType::F64, &Device::Cpu).unwrap();
        let mut gradients = tape.backward(&loss, seed).unwrap();
        let lr = recipe.learning_rate(u64::from(step));
        let norms = optimizer.step(&mut gradients, &recipe, lr).unwrap();
        for (name, got) in [("loss", value), ("grad_norm", norms.total), ("lr", lr)] {
            let expected = curve["steps"][step as usize][name].as_f64().unwrap();
            let off = (got - expected).abs() / expected;
            assert!(off < 1e-9, "step {step}: {name} is {got}, PyTorch has {expected}");
        }
    }
}

/// Steps of the real trainer, large enough that its products are shared between threads: losses and
/// weights are the same bits on one, two and three.
#[test]
fn training_does_not_depend_on_threads() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = Tokenizer::train(&["a"], 257).unwrap();
    let ids = (0..4000u32).map(|i| i * i % 257).collect();
    let file = TokenFile::from_ids(&folder.path().join("ids"), "ids", &tokenizer, vec![ids]).unwrap();
    let recipe = Recipe {
        token_count: 3 * 6 * 100,
        batch_size: 6,
        micro_batch_size: 6,
        context_length: 100,
        warmup_steps: 1,
        ..recipe()
    };
    for spec in MODELS {
        let job = TrainJob {
            compute: v5gate::device::current(),
            config: (spec.config)(scale::find("smoke").unwrap(), 1500, 100),
            recipe: recipe.clone(),
            seed: 5,
            batches: Batches::in_sequence(&file, 100).unwrap(),
            data: file.digest().to_owned(),
            tokenizer: &tokenizer,
            checkpoint_every: u64::MAX,
            label: spec.name.to_owned(),
        };
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut trainer = Trainer::new(&job).unwrap();
                let losses: Vec<u64> =
                    (0..3).map(|_| trainer.step().unwrap().unwrap().loss.to_bits()).collect();
                let said = trainer.model().continue_greedily(&[1, 2, 3], 20, None).unwrap();
                (losses, said, trainer.model().params().digest().unwrap())
            })
        };
        let one = run(1);
        assert_eq!(one, run(2), "{}", spec.name);
        assert_eq!(one, run(3), "{}", spec.name);
    }
}
