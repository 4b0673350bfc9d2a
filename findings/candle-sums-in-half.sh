#!/usr/bin/env bash
# candle adds bfloat16 numbers up in bfloat16.
#
# Guess:  a sum over bfloat16 is accumulated in float32 and rounded once, as PyTorch does and as candle's own products do.
# Seen:   candle-core@0.11.1 on a CPU: 4,096 ones sum to 256 in bfloat16 and to 2,048 in float16, where adding one more
#         changes nothing; their mean in bfloat16 is 0.0625. PyTorch 2.15.0 gives 4,096. The product with a vector of ones
#         is right. In float32 the mean of 2^24 times 0.1 is 0.1004 (PyTorch: 0.1 to 1e-7).
# Matters for every norm, loss and softmax that is written with sum or mean over half precision.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cargo init --quiet --name finding "$folder" && cd "$folder"
cargo add --quiet candle-core@=0.11.1
cat > src/main.rs <<'RUST'
use candle_core::{DType, Device, Result, Tensor};

fn number(t: &Tensor) -> Result<f32> {
    t.to_dtype(DType::F32)?.to_scalar()
}

fn main() -> Result<()> {
    let ones = |dtype| Tensor::ones((1, 4096), DType::F32, &Device::Cpu)?.to_dtype(dtype);
    let (bf16, f16) = (ones(DType::BF16)?, ones(DType::F16)?);
    let product = bf16.matmul(&bf16.t()?)?.squeeze(0)?.squeeze(0)?;
    let tenths = Tensor::full(0.1f32, 1 << 24, &Device::Cpu)?;
    let seen = [bf16.sum_all()?, bf16.mean_all()?, f16.sum_all()?, product].map(|t| number(&t));
    let [sum, mean, half, product] = seen;
    let (sum, mean, half, product, tenth) = (sum?, mean?, half?, product?, number(&tenths.mean_all()?)?);
    println!("4,096 ones: bfloat16 sum {sum}, mean {mean}, product {product}; float16 sum {half}");
    println!("mean of 2^24 times 0.1 in float32: {tenth}");
    assert_eq!((sum, mean, half, product), (256.0, 0.0625, 2048.0, 4096.0), "it changed");
    assert!((tenth - 0.1).abs() > 1e-4, "it changed");
    Ok(())
}
RUST
cargo run --quiet --release
