//! Sizes, checkpoints and the algebra of state of every model.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use v5gate::models::{
    Architecture, Branch, Config, Gpt2Config, GroundThinkConfig, LanguageModel, MODELS, MambaShape, Params,
    RwkvShape, State,
};
use v5gate::ops::to_vec_f64;
use v5gate::scale::{SCALES, Tier};
use v5gate::train::load_model;

pub fn small_gpt2() -> Config {
    Config::Gpt2(Gpt2Config {
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
    })
}

pub fn small_groundthink() -> Config {
    Config::Groundthink(GroundThinkConfig {
        vocab_size: 61,
        d_model: 24,
        n_layer: 2,
        d_ff: 40,
        rwkv: RwkvShape { head_size: 8, mix_rank: 4, decay_rank: 6 },
        mamba: MambaShape { expand: 2, head_dim: 8, state_size: 10, n_groups: 1, conv_kernel: 4 },
    })
}

/// Odd sizes, several groups, an inner width that is not the width: as configuration files say them.
pub fn small_mamba2() -> Config {
    let text = r#"{"model_type": "mamba2", "vocab_size": 61, "hidden_size": 20, "num_hidden_layers": 2,
        "num_heads": 4, "head_dim": 10, "state_size": 7, "n_groups": 2, "conv_kernel": 3,
        "use_bias": true, "time_step_limit": [0.05, 0.8]}"#;
    serde_json::from_str(text).unwrap()
}

pub fn small_rwkv6() -> Config {
    let text = r#"{"model_type": "rwkv6", "vocab_size": 61, "hidden_size": 20, "num_hidden_layers": 2,
        "attention_hidden_size": 24, "head_size": 8, "head_size_divisor": 4, "intermediate_size": 36,
        "mix_rank": 3, "decay_rank": 5}"#;
    serde_json::from_str(text).unwrap()
}

/// Every model, small.
pub fn small() -> [Config; 4] {
    [small_gpt2(), small_groundthink(), small_mamba2(), small_rwkv6()]
}

pub fn worst(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (to_vec_f64(a).unwrap(), to_vec_f64(b).unwrap());
    assert_eq!(a.len(), b.len());
    a.iter().zip(&b).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
}

pub fn random_model(config: &Config, seed: u64) -> Box<dyn LanguageModel> {
    // Every parameter random, in float64, so that no path is silent.
    let fresh = config.init(seed).unwrap();
    let n = fresh.params().flat().elem_count();
    let noise: Vec<f64> = (0..n).map(|i| ((i as f64 + seed as f64) * 12.9898).sin() * 0.3).collect();
    let noise = Tensor::from_vec(noise, n, &Device::Cpu).unwrap();
    let flat = (fresh.params().flat().to_dtype(DType::F64).unwrap() + noise).unwrap();
    config.build(Params::over(&config.declare(), flat).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any split of a sequence into pieces, the state carried, gives the logits of the whole.
    #[test]
    fn pieces_equal_the_whole(seed in 0u64..1000, cuts in prop::collection::vec(1usize..12, 1..5), which in 0usize..4) {
        let config = &small()[which];
        let model = random_model(config, seed);
        let total: usize = cuts.iter().sum::<usize>().min(40);
        let tokens: Vec<u32> = (0..total as u32).map(|i| (i * 17 + seed as u32) % 61).collect();
        let mut state = model.new_state(1).unwrap();
        let whole = model.forward(&tokens, &mut state).unwrap();
        let mut carried = model.new_state(1).unwrap();
        let (mut parts, mut start) = (Vec::new(), 0);
        for cut in cuts {
            let end = (start + cut).min(total);
            if start < end {
                parts.push(model.forward(&tokens[start..end], &mut carried).unwrap());
            }
            start = end;
        }
        let pieces = Tensor::cat(&parts, 0).unwrap();
        prop_assert!(worst(&whole, &pieces) < 1e-9);
    }

    /// What comes later changes nothing that was said before.
    #[test]
    fn no_position_sees_the_future(seed in 0u64..1000, at in 1usize..19, which in 0usize..4) {
        let config = &small()[which];
        let model = random_model(config, seed);
        let mut tokens: Vec<u32> = (0..20).map(|i| (i * 7 + seed as u32) % 61).collect();
        let before = model.forward(&tokens, &mut model.new_state(1).unwrap()).unwrap();
        tokens[at] = (tokens[at] + 1) % 61;
        let after = model.forward(&tokens, &mut model.new_state(1).unwrap()).unwrap();
        let head = |t: &Tensor| t.narrow(0, 0, at).unwrap();
        prop_assert_eq!(worst(&head(&before), &head(&after)), 0.0);
        prop_assert!(worst(&before, &after) > 0.0);
    }
}

#[test]
fn a_saved_state_continues_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for config in small() {
        let model = config.init(3).unwrap();
        let mut state = model.new_state(2).unwrap();
        model.forward(&[1, 2, 3, 4, 5, 6], &mut state).unwrap();
        let path = folder.path().join("state.safetensors");
        state.save(&path).unwrap();
        let mut loaded = State::load(&path, v5gate::device::current()).unwrap();
        assert!(state.same(&loaded).unwrap());
        assert_eq!(state.bytes(), loaded.bytes());
        let a = model.forward(&[7, 8], &mut state).unwrap();
        let b = model.forward(&[7, 8], &mut loaded).unwrap();
        assert_eq!(worst(&a, &b), 0.0);
    }
}

#[test]
fn bytes_of_state_are_what_the_shapes_say() {
    let model = small_groundthink().init(0).unwrap();
    // per layer: shift 24, wkv 3·8·8, conv 3·68, ssm 6·8·10 float32
    assert_eq!(model.new_state(2).unwrap().bytes(), 2 * 2 * 4 * (24 + 192 + 204 + 480));
    let model = small_gpt2().init(0).unwrap();
    let mut state = model.new_state(1).unwrap();
    model.forward(&[1, 2, 3], &mut state).unwrap();
    assert_eq!(state.bytes(), 2 * 2 * 3 * 24 * 4);
}

#[test]
fn gpt2_refuses_one_position_beyond_its_window() {
    let model = small_gpt2().init(0).unwrap();
    let tokens = vec![0u32; 40];
    let mut state = model.new_state(1).unwrap();
    model.forward(&tokens, &mut state).unwrap();
    let error = model.forward(&[0], &mut state).unwrap_err().to_string();
    assert!(error.contains("41 positions do not fit the window of 40"), "{error}");
}

#[test]
fn a_token_outside_the_vocabulary_is_refused() {
    for config in small() {
        let model = config.init(0).unwrap();
        let error = model.forward(&[0, 61], &mut model.new_state(1).unwrap()).unwrap_err();
        assert!(error.to_string().contains("token id 61 at position 1"), "{error}");
    }
}

/// Ruling R1's totals, and ruling R3's limits at every scale.
#[test]
fn sizes_are_as_ruled() {
    let expected = [
        ("3.5M", 15_497_728, 2_369_792),
        ("8M", 30_339_456, 10_647_552),
        ("30M", 64_085_504, 37_829_632),
        ("125M", 124_439_808, 85_056_000),
    ];
    for (name, total, blocks) in expected {
        let scale = v5gate::scale::find(name).unwrap();
        let model_stats = Gpt2Config::at(scale, 50_257, 1024).model_stats();
        assert_eq!((model_stats.total, model_stats.non_embedding), (total, blocks), "{name}");
    }
    for scale in SCALES {
        let (vocab, context) = match scale.tier {
            Tier::Smoke => (1024, 96),
            Tier::Study => (4096, 256),
            Tier::Gate => (50_257, 1024),
        };
        let base = Gpt2Config::at(scale, vocab, context).model_stats();
        let config = GroundThinkConfig::at(scale, vocab, context);
        let stats = config.model_stats();
        let off = |a: usize, b: usize| (a as f64 / b as f64 - 1.0).abs();
        assert!(off(stats.total, base.total) <= 0.01, "{}: {config:?}", scale.name);
        assert!(off(stats.non_embedding, base.non_embedding) <= 0.05, "{}: {config:?}", scale.name);
    }
}

/// The counts from the dimensions are the counts of the tensors.
#[test]
fn census_counts_what_is_declared() {
    let scale = &SCALES[0];
    for spec in MODELS {
        let config = (spec.config)(scale, 300, 64);
        let declared: usize = config.declare().iter().map(|d| d.shape.iter().product::<usize>()).sum();
        assert_eq!(config.init(1).unwrap().model_stats().total, declared, "{}", spec.name);
    }
}

#[test]
fn the_gate_starts_at_three_tenths_and_ablation_zeroes_a_branch() {
    let model = small_groundthink().init(5).unwrap();
    let bias = to_vec_f64(&model.params().tensor("blocks.0.gate.bias").unwrap()).unwrap()[0];
    assert!((1.0 / (1.0 + (-bias).exp()) - 0.3).abs() < 1e-7);
    // At the start RWKV-6's output projection is zero, so only Mamba-2 can matter.
    let tokens = [1, 2, 3, 4];
    let run = |m: &dyn LanguageModel| m.forward(&tokens, &mut m.new_state(1).unwrap()).unwrap();
    let whole = run(model.as_ref());
    assert_eq!(worst(&whole, &run(model.without(Branch::Rwkv).unwrap().as_ref())), 0.0);
    assert!(worst(&whole, &run(model.without(Branch::Mamba).unwrap().as_ref())) > 0.0);
}

/// Writes a model's weights as two shards under names that `rename` makes, with an index.
fn write_shards(folder: &Path, model: &dyn LanguageModel, rename: impl Fn(&str) -> String) {
    let config = serde_json::to_string(&model.config()).unwrap();
    fs::write(folder.join("config.json"), config).unwrap();
    let mut shards = [HashMap::new(), HashMap::new()];
    let mut map = HashMap::new();
    for (i, entry) in model.params().entries().iter().enumerate() {
        let name = rename(&entry.name);
        map.insert(name.clone(), format!("model-{}.safetensors", i % 2));
        shards[i % 2].insert(name, model.params().view(i).unwrap().contiguous().unwrap());
    }
    for (i, shard) in shards.iter().enumerate() {
        candle_core::safetensors::save(shard, folder.join(format!("model-{i}.safetensors"))).unwrap();
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": map }).to_string();
    fs::write(folder.join("model.safetensors.index.json"), index).unwrap();
}

#[test]
fn sharded_checkpoints_load_under_public_names() {
    for config in small() {
        let folder = tempfile::tempdir().unwrap();
        let model = config.init(5).unwrap();
        let prefix = if config.name() == "gpt2" { "transformer." } else { "" };
        write_shards(folder.path(), model.as_ref(), |name| format!("{prefix}{name}"));
        let loaded = load_model(folder.path()).unwrap();
        assert_eq!(loaded.params().digest().unwrap(), model.params().digest().unwrap());
        fs::remove_file(folder.path().join("model-1.safetensors")).unwrap();
        let error = load_model(folder.path()).err().unwrap().to_string();
        assert!(error.contains("model-1.safetensors"), "{error}");
    }
}

#[test]
fn a_shard_may_not_lie_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), serde_json::to_string(&small_gpt2()).unwrap()).unwrap();
    let index = r#"{"weight_map": {"wte.weight": "../secret.safetensors"}}"#;
    fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    let error = load_model(folder.path()).err().unwrap().to_string();
    assert!(error.contains("names of files beside it, got ../secret.safetensors"), "{error}");
}

/// The ranks of RWKV-6's low-rank maps are no keys of the authors' configuration.
#[test]
fn ranks_are_read_off_the_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let model = small_rwkv6().init(5).unwrap();
    write_shards(folder.path(), model.as_ref(), str::to_owned);
    let path = folder.path().join("config.json");
    let text = fs::read_to_string(&path).unwrap();
    let without = text.replace(r#","mix_rank":3,"decay_rank":5"#, "");
    assert_ne!(text, without);
    fs::write(&path, without).unwrap();
    assert_eq!(load_model(folder.path()).unwrap().config(), small_rwkv6());
}

/// Python writes infinities that JSON does not know.
#[test]
fn infinite_limits_are_read() {
    for limit in ["[0.0, Infinity]", r#"[0.0, {"__float__": "Infinity"}]"#, "[0.0, null]"] {
        let folder = tempfile::tempdir().unwrap();
        let model = small_mamba2().init(5).unwrap();
        write_shards(folder.path(), model.as_ref(), str::to_owned);
        let path = folder.path().join("config.json");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("[0.05,0.8]"));
        fs::write(&path, text.replace("[0.05,0.8]", limit)).unwrap();
        let Config::Mamba2(config) = load_model(folder.path()).unwrap().config() else { panic!() };
        assert_eq!(config.time_step_limit, (0.0, f64::INFINITY), "{limit}");
    }
}
