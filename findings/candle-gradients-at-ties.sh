#!/usr/bin/env bash
# candle gives every one of several equal maxima the whole gradient.
#
# Guess:  the gradients of a maximum sum to the one that came in: PyTorch divides it among equal maxima (amax).
# Seen:   candle-core@0.11.1: the maximum of [2, 2, 1] has gradients 1, 1, 0. At 0, relu and abs have slope 1 (PyTorch
#         2.15.0: 0 both).
# Matters for references built with candle's backward pass: data with ties or exact zeros prove another function right.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cargo init --quiet --name finding "$folder" && cd "$folder"
cargo add --quiet candle-core@=0.11.1
cat > src/main.rs <<'RUST'
use candle_core::{Device, Result, Tensor, Var};

fn gradient(x: &[f32], f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Vec<f32>> {
    let x = Var::from_tensor(&Tensor::new(x, &Device::Cpu)?)?;
    let all = f(&x)?.sum_all()?.backward()?;
    all.get(&x).map_or_else(|| Ok(Vec::new()), |g| g.to_vec1())
}

fn main() -> Result<()> {
    let max = gradient(&[2.0, 2.0, 1.0], |x| x.max(0))?;
    let (relu, abs) = (gradient(&[0.0], Tensor::relu)?, gradient(&[0.0], Tensor::abs)?);
    println!("max of [2, 2, 1]: {max:?}; relu at 0: {relu:?}; abs at 0: {abs:?}");
    assert_eq!((max, relu, abs), (vec![1.0, 1.0, 0.0], vec![1.0], vec![1.0]), "it changed");
    Ok(())
}
RUST
cargo run --quiet --release
