#!/usr/bin/env bash
# candle counts hits in eight bits.
#
# Guess:  the sum of an equality mask is the number of hits, as in PyTorch, or is refused; its mean is their share.
# Seen:   candle-core@0.11.1: eq gives u8 and sum_all stays u8, so 300 hits of 300 are 44 in a release build, and
#         mean_all is 0. No error. PyTorch 2.15.0 sums booleans and bytes in 64 bits.
# Matters because an accuracy over more than 255 items, counted this way, is wrong and looks like one.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cargo init --quiet --name finding "$folder" && cd "$folder"
cargo add --quiet candle-core@=0.11.1
cat > src/main.rs <<'RUST'
use candle_core::{DType, Device, Result, Tensor};

fn main() -> Result<()> {
    let ids = Tensor::zeros(300, DType::U32, &Device::Cpu)?;
    let hits = ids.eq(&ids)?;
    let (sum, mean) = (hits.sum_all()?.to_scalar::<u8>()?, hits.mean_all()?.to_scalar::<u8>()?);
    let wide = hits.to_dtype(DType::U32)?.sum_all()?.to_scalar::<u32>()?;
    println!("300 of 300 are equal: {:?}, sum {sum}, mean {mean}; made u32 first: {wide}", hits.dtype());
    assert_eq!((hits.dtype(), sum, mean, wide), (DType::U8, 44, 0, 300), "it changed");
    Ok(())
}
RUST
cargo run --quiet --release
