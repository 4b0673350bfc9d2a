#!/usr/bin/env bash
# candle reads zero, not an error, at the index u32::MAX.
#
# Guess:  an index beyond the end is refused, whatever it is.
# Seen:   candle-core@0.11.1 on a CPU: index_select at 4 of 4 is an error, at u32::MAX it is 0.
# Matters because a padding id of -1 stored as u32, or 0 - 1 in a release build, becomes an embedding of zeros.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cargo init --quiet --name finding "$folder" && cd "$folder"
cargo add --quiet candle-core@=0.11.1
cat > src/main.rs <<'RUST'
use candle_core::{Device, Result, Tensor};

fn main() -> Result<()> {
    let rows = Tensor::new(&[5f32, 6.0, 7.0, 8.0], &Device::Cpu)?;
    let at = |id: u32| -> Result<f32> {
        rows.index_select(&Tensor::new(&[id], &Device::Cpu)?, 0)?.get(0)?.to_scalar()
    };
    println!("at 1: {:?}; at 4: refused {}; at u32::MAX: {:?}", at(1)?, at(4).is_err(), at(u32::MAX)?);
    assert!(at(1)? == 6.0 && at(4).is_err() && at(u32::MAX)? == 0.0, "it changed");
    Ok(())
}
RUST
cargo run --quiet --release
