#!/usr/bin/env bash
# candle's cumsum is a product with a triangular matrix.
#
# Guess:  cumsum([1, 2, inf, 4]) is [1, 3, inf, inf], and twice the length takes twice the time.
# Seen:   candle-core@0.11.1 on a CPU: [NaN, NaN, inf, inf], since zero times infinity is not a number; time and memory
#         grow with the square of the length (5,000: 0.2 s; 10,000: 0.7 s; 20,000: 5.7 s and 1.6 GB for the matrix).
# Matters because one infinite decay or loss spoils the sums of everything that came before it.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cargo init --quiet --name finding "$folder" && cd "$folder"
cargo add --quiet candle-core@=0.11.1
cat > src/main.rs <<'RUST'
use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor};

fn main() -> Result<()> {
    let sums = Tensor::new(&[1f32, 2.0, f32::INFINITY, 4.0], &Device::Cpu)?.cumsum(0)?.to_vec1::<f32>()?;
    println!("cumsum([1, 2, inf, 4]) = {sums:?}");
    assert!(sums[0].is_nan() && sums[1].is_nan() && sums[2] == f32::INFINITY, "it changed");
    let seconds = |n: usize| -> Result<f64> {
        let ones = Tensor::ones(n, DType::F32, &Device::Cpu)?;
        let start = Instant::now();
        ones.cumsum(0)?;
        Ok(start.elapsed().as_secs_f64())
    };
    let (short, long) = (seconds(2_000)?, seconds(8_000)?);
    println!("2,000: {short:.4} s; 8,000: {long:.4} s; {:.1} times as long", long / short);
    assert!(long > 7.0 * short, "it changed: four times the length takes no more than seven times as long");
    Ok(())
}
RUST
cargo run --quiet --release
