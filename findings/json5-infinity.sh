#!/usr/bin/env bash
# json5 read into a serde_json::Value loses Infinity and NaN in silence.
#
# Guess:  reading "[0, Infinity]" (what Python's json module writes, and transformers into config.json) into a Value is an
#         error, since a Value cannot hold it.
# Seen:   json5 1.3.7 with serde_json 1.0.154 gives [0, null] and no error; a typed read of the same text gives infinity.
# Matters where a reader looks at a configuration as a Value first: "no limit" and "null" become one.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cargo init --quiet --name finding "$folder" && cd "$folder"
cargo add --quiet json5@=1.3.7 serde_json@=1.0.154
cat > src/main.rs <<'RUST'
fn main() {
    let text = "[0, Infinity, NaN]";
    let value: serde_json::Value = json5::from_str(text).expect("a list");
    let numbers: Vec<f64> = json5::from_str(text).expect("numbers");
    println!("{text}: {value} as a Value, {numbers:?} as numbers");
    assert_eq!(value.to_string(), "[0,null,null]", "it changed");
    assert!(numbers[1] == f64::INFINITY && numbers[2].is_nan(), "it changed");
}
RUST
cargo run --quiet --release
