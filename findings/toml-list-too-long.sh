#!/usr/bin/env bash
# toml drops what is too much in a list.
#
# Guess:  a list of three read into an array of two is an error, as serde_json makes it one ("trailing characters").
# Seen:   toml 1.2.1 reads betas = [0.9, 0.95, 0.99] into [f64; 2] as [0.9, 0.95], without a word; a list that is too short
#         is refused.
# Matters for recipes: a value too many is a value that somebody believes in.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cargo init --quiet --name finding "$folder" && cd "$folder"
cargo add --quiet toml@=1.2.1 serde_json@=1.0.154 && cargo add --quiet serde@1 --features derive
cat > src/main.rs <<'RUST'
#[derive(serde::Deserialize, Debug)]
struct Recipe {
    betas: [f64; 2],
}

fn main() {
    let from_toml: Recipe = toml::from_str("betas = [0.9, 0.95, 0.99]").expect("it changed");
    let from_json = serde_json::from_str::<Recipe>(r#"{"betas": [0.9, 0.95, 0.99]}"#);
    println!("three into two: toml {from_toml:?}, json {from_json:?}");
    assert_eq!(from_toml.betas, [0.9, 0.95], "it changed");
    assert!(from_json.is_err(), "it changed");
    assert!(toml::from_str::<Recipe>("betas = [0.9]").is_err(), "it changed");
}
RUST
cargo run --quiet --release
