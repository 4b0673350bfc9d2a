//! The models against golden cases from independent implementations (`fixtures/reference/`).

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use v5gate::models::{Config, LanguageModel, Params, State};
use v5gate::ops::{Tape, linear_cross_entropy, to_vec_f64};

use super::models::{small_gpt2, small_groundthink, small_mamba2, small_rwkv6, worst};

type Tensors = HashMap<String, Tensor>;

/// Every golden case: its file and the configuration of its model.
fn cases() -> [(&'static str, Config); 4] {
    [
        ("gpt2_small", small_gpt2()),
        ("mamba2_small", small_mamba2()),
        ("rwkv6_small", small_rwkv6()),
        ("groundthink_small", small_groundthink()),
    ]
}

pub fn fixture(name: &str) -> Tensors {
    let path = format!("{}/fixtures/reference/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

/// A model with a fixture's weights.
pub fn load(config: &Config, all: &Tensors, dtype: DType) -> Box<dyn LanguageModel> {
    let get = |name: &str| all.get(&format!("w.{name}")).cloned();
    config.build(Params::from_tensors(&config.declare(), dtype, get).unwrap())
}

/// Largest differences from a golden case.
#[derive(Debug, Default)]
struct Distance {
    logits: f64,
    /// Of log-probabilities, at every position and for every token.
    log_probs: f64,
    /// Of the loss of every token.
    losses: f64,
    states: f64,
    gradients: f64,
    /// Of gradients, each divided by the largest entry of its tensor.
    relative_gradients: f64,
}

impl Distance {
    /// Whether float32 explains it.
    fn is_rounding(&self) -> bool {
        self.log_probs <= LOG_PROBS && self.relative_gradients <= GRADIENTS
    }
}

/// Float32 rounds by u = 2⁻²⁴ = 6e-8. A logit (10 at most in these cases) is reached through some twelve
/// operations in series: five in each of two blocks, the last norm, the head; each sums 96 terms at most.
/// Independent roundings add as squares: √12 · √96 · 10 u = 2e-5. Measured at most: 8.7e-6.
const LOG_PROBS: f64 = 2e-5;
/// An entry of a gradient is a sum over positions, so what its error is measured by is the largest entry
/// of its tensor: the entries near zero are those whose terms cancel. The path is twice as long, forward
/// and back, and an error that all 44 positions share outgrows their sum of random sign by √44:
/// √24 · √96 · √44 u = 2e-5, and exponentials multiply a relative error by their argument, 5 at most.
/// Measured at most: 1.4e-5.
const GRADIENTS: f64 = 1e-4;

fn log_probs(logits: &Tensor) -> Tensor {
    let logits = logits.to_dtype(DType::F64).unwrap();
    let highest = logits.max_keepdim(1).unwrap();
    let shifted = logits.broadcast_sub(&highest).unwrap();
    let total = shifted.exp().unwrap().sum_keepdim(1).unwrap().log().unwrap();
    shifted.broadcast_sub(&total).unwrap()
}

/// How far a model is from a golden case: forward with states, losses, and backward.
fn distance(model: &dyn LanguageModel, all: &Tensors) -> Distance {
    let rows = all["tokens"].to_vec2::<i64>().unwrap();
    let take = |from: usize, to: usize| -> Vec<u32> {
        rows.iter().flat_map(|r| r[from..to].iter().map(|x| *x as u32)).collect()
    };
    let time = rows[0].len();
    let mut state = model.new_state(rows.len()).unwrap();
    let logits = model.forward(&take(0, time), &mut state).unwrap();
    let expected = all["logits"].flatten_to(1).unwrap();
    let (inputs, targets) = (take(0, time - 1), take(1, time));
    let losses = model.losses(&inputs, &targets, &mut model.new_state(rows.len()).unwrap()).unwrap();
    let losses = Tensor::from_vec(losses, rows.len() * (time - 1), &Device::Cpu).unwrap();
    let mut far = Distance {
        logits: worst(&logits, &expected),
        log_probs: worst(&log_probs(&logits), &log_probs(&expected)),
        losses: worst(&losses, &all["losses"]),
        states: states(all, &state),
        ..Distance::default()
    };

    let params = model.params();
    let tape = Tape::recording(params.entries().len());
    let hidden = model.backbone(&tape, &inputs, &mut model.new_state(rows.len()).unwrap()).unwrap();
    let head = params.scope(&tape, "").get(model.head()).unwrap();
    let loss = linear_cross_entropy(&tape, &hidden, &head, &targets).unwrap();
    far.losses = far.losses.max(worst(loss.tensor(), &all["loss"]));
    let seed = Tensor::ones((), params.flat().dtype(), &Device::Cpu).unwrap();
    let mut gradients = tape.backward(&loss, seed).unwrap();
    for (i, entry) in params.entries().iter().enumerate() {
        let expected = &all[&format!("g.{}", entry.name)];
        let got = gradients.take(i).unwrap_or_else(|| panic!("{} has no gradient", entry.name));
        let (off, scale) = (worst(&got, expected), largest(expected));
        far.gradients = far.gradients.max(off);
        far.relative_gradients = far.relative_gradients.max(off / scale);
    }
    far
}

fn largest(t: &Tensor) -> f64 {
    to_vec_f64(t).unwrap().iter().fold(0.0, |most, x| x.abs().max(most))
}

/// The final states of every layer, where the fixture has them.
fn states(all: &Tensors, state: &State) -> f64 {
    let pairs = [
        ("rwkv.shift", "shift"),
        ("rwkv.wkv", "wkv"),
        ("rwkv.shift_ffn", "shift_ffn"),
        ("mamba.ssm", "ssm"),
        ("mamba.conv", "conv"),
    ];
    let mut far = 0.0f64;
    for (layer, (name, reference)) in (0..state.n_layer()).flat_map(|l| pairs.map(|p| (l, p))) {
        let Some(expected) = all.get(&format!("state.{layer}.{reference}")) else { continue };
        let got = state.get(layer, name).unwrap();
        let got = match reference {
            "conv" => got.transpose(1, 2).unwrap(),
            "ssm" => got.transpose(2, 3).unwrap(),
            _ => got.clone(),
        };
        far = far.max(worst(&got, expected));
    }
    far
}

/// Both precisions. In float64 what differs is rounding: 1e-16 a step over a few thousand steps.
fn agrees(name: &str, config: &Config) {
    let all = fixture(name);
    let far = distance(load(config, &all, DType::F64).as_ref(), &all);
    assert!(far.logits < 1e-11 && far.states < 1e-12, "{name}: {far:?}");
    assert!(far.losses < 1e-12 && far.gradients < 1e-12, "{name}: {far:?}");
    let far = distance(load(config, &all, DType::F32).as_ref(), &all);
    assert!(far.is_rounding() && far.losses <= LOG_PROBS, "{name} in float32: {far:?}");
}

#[test]
fn gpt2_agrees_with_transformers() {
    agrees("gpt2_small", &small_gpt2());
}

#[test]
fn mamba2_agrees_with_transformers() {
    agrees("mamba2_small", &small_mamba2());
}

#[test]
fn rwkv6_agrees_with_its_reference() {
    agrees("rwkv6_small", &small_rwkv6());
}

#[test]
fn groundthink_agrees_with_its_reference() {
    agrees("groundthink_small", &small_groundthink());
}

/// The states are compared: those with a recurrence have them.
#[test]
fn fixtures_hold_states() {
    for (name, config) in cases() {
        let states = fixture(name).keys().filter(|k| k.starts_with("state.")).count();
        let each = [("gpt2", 0), ("mamba2", 2), ("rwkv6", 3), ("groundthink", 4)];
        let each = each.iter().find(|(model, _)| *model == config.name()).unwrap().1;
        assert_eq!(states, 2 * each, "{name}");
    }
}

/// One weight off by a thousandth is seen, in whichever tensor: the one that matters most of each.
#[test]
fn one_wrong_weight_is_seen() {
    for (name, config) in cases() {
        let all = fixture(name);
        for declared in config.declare() {
            let mut spoilt = all.clone();
            let key = format!("w.{}", declared.name);
            let mut values = to_vec_f64(&all[&key]).unwrap();
            let gradient = to_vec_f64(&all[&format!("g.{}", declared.name)]).unwrap();
            let weight = |i: usize| (values[i] * gradient[i]).abs();
            let most = (0..values.len()).max_by(|&a, &b| weight(a).total_cmp(&weight(b))).unwrap();
            values[most] *= 1.001;
            let wrong = Tensor::from_vec(values, all[&key].dims(), &Device::Cpu).unwrap();
            spoilt.insert(key, wrong);
            let far = distance(load(&config, &spoilt, DType::F32).as_ref(), &all);
            assert!(!far.is_rounding(), "{name}: {} is off by 1e-3, and {far:?}", declared.name);
        }
    }
}

/// A configuration misread is seen: what a published model does besides its tensors.
#[test]
fn a_wrong_setting_is_seen() {
    let settings = [
        ("gpt2_small", small_gpt2(), "layer_norm_epsilon", "1e-6"),
        ("gpt2_small", small_gpt2(), "n_head", "2"),
        ("mamba2_small", small_mamba2(), "layer_norm_epsilon", "1e-6"),
        ("mamba2_small", small_mamba2(), "time_step_limit", "[0.05, null]"),
        ("mamba2_small", small_mamba2(), "time_step_limit", "[0.0, 0.8]"),
        ("rwkv6_small", small_rwkv6(), "layer_norm_epsilon", "1e-6"),
        ("rwkv6_small", small_rwkv6(), "head_size_divisor", "8.0"),
    ];
    for (name, config, key, wrong) in settings {
        let all = fixture(name);
        let mut json = serde_json::to_value(&config).unwrap();
        let right = json[key].take();
        json[key] = serde_json::from_str(wrong).unwrap();
        assert!(!right.is_null() && right != json[key], "{name}: {key}");
        let config: Config = serde_json::from_value(json).unwrap();
        let far = distance(load(&config, &all, DType::F32).as_ref(), &all);
        assert!(!far.is_rounding(), "{name} with {key} {wrong}: {far:?}");
    }
}
