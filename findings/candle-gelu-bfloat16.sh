#!/usr/bin/env bash
# candle computes GELU of bfloat16 in bfloat16, step by step.
#
# Guess:  gelu of a bfloat16 tensor is the function in float32, rounded once: off by at most 2^-9 of its value.
# Seen:   candle-core@0.11.1 on a CPU: at -3 it gives -0.00586 where the function is -0.00364 (61 % off), at -4 it gives 0
#         where it is -0.00007: 1 + tanh cancels in eight bits. PyTorch 2.15.0 computes it in float32.
# Matters for models scored in bfloat16 on a CPU.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cargo init --quiet --name finding "$folder" && cd "$folder"
cargo add --quiet candle-core@=0.11.1
cat > src/main.rs <<'RUST'
use candle_core::{DType, Device, Result, Tensor};

fn main() -> Result<()> {
    let x = Tensor::new(&[-3f32, -4f32], &Device::Cpu)?;
    let exact = x.gelu()?.to_vec1::<f32>()?;
    let rounded = x.to_dtype(DType::BF16)?.gelu()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
    println!("gelu(-3), gelu(-4): {exact:?} in float32, {rounded:?} in bfloat16");
    assert!((rounded[0] / exact[0] - 1.0).abs() > 0.5, "it changed");
    assert!(rounded[1] == 0.0 && exact[1] < -7e-5, "it changed");
    Ok(())
}
RUST
cargo run --quiet --release
