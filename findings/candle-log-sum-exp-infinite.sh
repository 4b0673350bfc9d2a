#!/usr/bin/env bash
# candle's log_sum_exp is NaN wherever the largest entry is infinite.
#
# Guess:  of [-inf, -inf] it is -inf and of [inf, 1] it is inf, as in PyTorch 2.15.0 and scipy.
# Seen:   candle-core@0.11.1 on a CPU: NaN both times, since infinity is subtracted from itself.
# Matters because a row that a mask leaves nothing of is a NaN in a loss instead of a probability of zero.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cargo init --quiet --name finding "$folder" && cd "$folder"
cargo add --quiet candle-core@=0.11.1
cat > src/main.rs <<'RUST'
use candle_core::{Device, Result, Tensor};

fn main() -> Result<()> {
    const INF: f32 = f32::INFINITY;
    let rows = Tensor::new(&[[-INF, -INF], [INF, 1.0], [1000.0, 1000.0]], &Device::Cpu)?;
    let sums = rows.log_sum_exp(1)?.to_vec1::<f32>()?;
    println!("log_sum_exp of [-inf, -inf], [inf, 1], [1000, 1000]: {sums:?}");
    assert!(sums[0].is_nan() && sums[1].is_nan() && (sums[2] - 1000.6931).abs() < 1e-3, "it changed");
    Ok(())
}
RUST
cargo run --quiet --release
