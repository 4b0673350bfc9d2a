#!/usr/bin/env bash
# candle sorts nothing behind a NaN.
#
# Guess:  NaN comes last and the rest is in order, as in PyTorch 2.15.0 and numpy, or sorting is refused.
# Seen:   candle-core@0.11.1 on a CPU: [3, NaN, 1, 2] sorted ascending is [3, NaN, 1, 2].
# Matters because top-k and nucleus sampling take the first entries of what they believe is in order.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cargo init --quiet --name finding "$folder" && cd "$folder"
cargo add --quiet candle-core@=0.11.1
cat > src/main.rs <<'RUST'
use candle_core::{Device, Result, Tensor};

fn main() -> Result<()> {
    let sorted = |row: [f32; 4]| -> Result<Vec<f32>> {
        Tensor::new(&row, &Device::Cpu)?.sort_last_dim(true)?.0.to_vec1::<f32>()
    };
    let (spoilt, sound) = (sorted([3.0, f32::NAN, 1.0, 2.0])?, sorted([3.0, 0.0, 1.0, 2.0])?);
    println!("ascending: {spoilt:?}; without the NaN {sound:?}");
    assert_eq!(sound, [0.0, 1.0, 2.0, 3.0]);
    assert!(spoilt[0] == 3.0 && spoilt[1].is_nan() && spoilt[2..] == [1.0, 2.0], "it changed");
    Ok(())
}
RUST
cargo run --quiet --release
