#!/usr/bin/env bash
# candle drops NaN in max, argmax and relu, depending on where it stands.
#
# Guess:  a maximum with a NaN in it is NaN (PyTorch, numpy), and relu of NaN is NaN.
# Seen:   candle-core@0.11.1 on a CPU: max of [1, NaN, 3, 2] is 3 and argmax 2; of [NaN, 1, 3, 2] they are NaN and 0.
#         relu of NaN is 0, while clamp and maximum keep it. PyTorch 2.15.0: NaN, and the index of the NaN, both times.
# Matters because a model with NaN weights answers, and a network with relu even gives finite losses.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cargo init --quiet --name finding "$folder" && cd "$folder"
cargo add --quiet candle-core@=0.11.1
cat > src/main.rs <<'RUST'
use candle_core::{Device, Result, Tensor};

fn main() -> Result<()> {
    let vector = |data: [f32; 4]| Tensor::new(&data, &Device::Cpu);
    let (inside, first) = (vector([1.0, f32::NAN, 3.0, 2.0])?, vector([f32::NAN, 1.0, 3.0, 2.0])?);
    let largest = |t: &Tensor| t.max(0)?.to_scalar::<f32>();
    let index = |t: &Tensor| t.argmax(0)?.to_scalar::<u32>();
    println!("[1, NaN, 3, 2]: max {}, argmax {}", largest(&inside)?, index(&inside)?);
    println!("[NaN, 1, 3, 2]: max {}, argmax {}", largest(&first)?, index(&first)?);
    let (relu, clamp) = (first.relu()?.to_vec1::<f32>()?[0], first.clamp(0f32, 9f32)?.to_vec1::<f32>()?[0]);
    println!("relu(NaN) {relu}, clamp(NaN) {clamp}");
    assert_eq!((largest(&inside)?, index(&inside)?), (3.0, 2), "it changed");
    assert!(largest(&first)?.is_nan() && index(&first)? == 0, "it changed");
    assert!(relu == 0.0 && clamp.is_nan(), "it changed");
    Ok(())
}
RUST
cargo run --quiet --release
