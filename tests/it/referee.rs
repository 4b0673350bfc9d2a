//! The referee beside the program: the same logits and gradients of random models, in float64, and its own gradients
//! beside finite differences.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;
use v5gate::models::{Config, LanguageModel};
use v5gate::ops::{Tape, linear_cross_entropy, to_vec_f64};
use v5gate::referee::{Design, Matrix, Weights};

use crate::models::{random_model, small};

/// One window: what is read, and what comes next.
fn window(length: usize) -> (Vec<usize>, Vec<usize>) {
    let token = |t: usize| (t * t + 3 * t) % 61;
    ((0..length).map(token).collect(), (1..=length).map(token).collect())
}

fn ids(tokens: &[usize]) -> Vec<u32> {
    tokens.iter().map(|t| *t as u32).collect()
}

fn design(config: &Config) -> Design {
    serde_json::from_str(&serde_json::to_string(config).unwrap()).unwrap()
}

fn weights(model: &dyn LanguageModel) -> Weights<f64> {
    let params = model.params();
    let of = |i: usize| {
        let (entry, tensor) = (&params.entries()[i], params.exact(i).unwrap());
        let cols = *entry.shape.last().unwrap();
        (entry.name.clone(), Arc::new(Matrix::new(entry.len / cols, cols, to_vec_f64(&tensor).unwrap())))
    };
    (0..params.entries().len()).map(of).collect()
}

/// The program's loss and gradients in float64.
fn program(
    model: &dyn LanguageModel,
    inputs: &[usize],
    targets: &[usize],
) -> (f64, BTreeMap<String, Vec<f64>>) {
    let entries = model.params().entries();
    let tape = Tape::recording(entries.len());
    let mut state = model.new_state(1).unwrap();
    let hidden = model.backbone(&tape, &ids(inputs), &mut state).unwrap();
    let head = model.params().scope(&tape, "").get(model.head()).unwrap();
    let loss = linear_cross_entropy(&tape, &hidden, &head, &ids(targets)).unwrap();
    let value = to_vec_f64(loss.tensor()).unwrap()[0];
    let one = Tensor::new(1f64, &candle_core::Device::Cpu).unwrap();
    let mut gradients = tape.backward(&loss, one).unwrap();
    let of = |i: usize| Some((entries[i].name.clone(), to_vec_f64(&gradients.take(i)?).unwrap()));
    (value, (0..entries.len()).filter_map(of).collect())
}

fn norm(xs: impl IntoIterator<Item = f64>) -> f64 {
    xs.into_iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// float64 on both sides: some thousand operations of 1.1e-16 each, and exponentials of numbers up to 10.
const CLOSE: f64 = 1e-10;

#[test]
fn losses_and_gradients_are_the_programs() {
    for config in small() {
        let model = random_model(&config, 5);
        for length in [1, 2, 33] {
            let (inputs, targets) = window(length);
            let (loss, expected) = program(model.as_ref(), &inputs, &targets);
            let (losses, got) =
                design(&config).gradients(&weights(model.as_ref()), (&inputs, &targets), 1.0, None);
            let mean = losses.iter().sum::<f64>() / length as f64;
            assert!((mean - loss).abs() < CLOSE * loss, "{config:?}: {mean} and {loss}");
            assert!(got.keys().eq(expected.keys()), "{:?} and {:?}", got.keys(), expected.keys());
            for (name, expected) in &expected {
                let size = norm(expected.iter().copied());
                let off = norm(got[name].data.iter().zip(expected).map(|(a, b)| a - b));
                assert!(off <= CLOSE * (size + 1.0), "{name} of {length} tokens: off by {off} of {size}");
            }
        }
    }
}

#[test]
fn gradients_are_finite_differences() {
    for config in small() {
        let (design, weights) = (design(&config), weights(random_model(&config, 2).as_ref()));
        let (inputs, targets) = window(9);
        let (_, gradients) = design.gradients(&weights, (&inputs, &targets), 1.0, None);
        for (name, gradient) in &gradients {
            // Along the gradient itself, where the slope is its norm; the error is of the order of the step's square.
            let size = norm(gradient.data.iter().copied());
            if size < 1e-9 {
                continue;
            }
            let step = 1e-4;
            let loss = |by: f64| {
                let mut moved = weights.clone();
                let along = weights[name].zip(gradient, |w, g| w + by * g / size);
                moved.insert(name.clone(), Arc::new(along));
                design.losses(&moved, &inputs, &targets).iter().sum::<f64>() / inputs.len() as f64
            };
            let slope = (loss(step) - loss(-step)) / (2.0 * step);
            assert!((slope - size).abs() < 1e-5 * size + 1e-8, "{name}: {slope} and {size}");
        }
    }
}
