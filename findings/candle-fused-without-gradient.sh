#!/usr/bin/env bash
# candle's fused softmax and norms end the gradient without a word.
#
# Guess:  a gradient flows through softmax_last_dim, layer_norm and rms_norm, or backward says that it cannot.
# Seen:   candle-nn@0.11.1 on a CPU: backward succeeds and the store has no gradient for the variable below any of the
#         three; the slow forms (softmax, layer_norm_slow, rms_norm_slow) have one.
# Matters because a model with one of them trains without complaint, its layers below the last norm frozen.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cargo init --quiet --name finding "$folder" && cd "$folder"
cargo add --quiet candle-core@=0.11.1 candle-nn@=0.11.1
cat > src/main.rs <<'RUST'
use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::ops;

fn has_gradient(op: impl Fn(&Tensor, &Tensor) -> Result<Tensor>) -> Result<bool> {
    let x = Var::new(&[[-1f32, 0.5, 2.0]], &Device::Cpu)?;
    let weight = Tensor::ones(3, DType::F32, &Device::Cpu)?;
    let first = op(x.as_tensor(), &weight)?.get(0)?.get(0)?;
    Ok(first.backward()?.get(&x).is_some())
}

fn main() -> Result<()> {
    let fused = [
        has_gradient(|x, _| ops::softmax_last_dim(x))?,
        has_gradient(|x, w| ops::layer_norm(x, w, w, 1e-5))?,
        has_gradient(|x, w| ops::rms_norm(x, w, 1e-5))?,
    ];
    let slow = [
        has_gradient(|x, _| ops::softmax(x, D::Minus1))?,
        has_gradient(|x, w| ops::layer_norm_slow(x, w, w, 1e-5))?,
        has_gradient(|x, w| ops::rms_norm_slow(x, w, 1e-5))?,
    ];
    println!("a gradient through softmax, layer norm, RMS norm: fused {fused:?}, slow {slow:?}");
    assert_eq!((fused, slow), ([false; 3], [true; 3]), "it changed");
    Ok(())
}
RUST
cargo run --quiet --release
