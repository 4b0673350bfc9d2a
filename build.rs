//! Digests of the code that makes numbers, so that evidence names the code it came from (ruling
//! R14): `V5_REVISION` covers everything above the waist, `V5_TRAIN_REVISION` what decides the
//! outcome of a training.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// What decides the outcome of a training.
const TRAINING: &[&str] = &["Cargo.lock", "src/data", "src/ops", "src/models", "src/train", "src/scale.rs"];
/// What else makes numbers.
const MEASURING: &[&str] = &[
    "src/probes",
    "src/collect.rs",
    "src/collect",
    "src/evidence/metric.rs",
    "src/evidence/ratings.rs",
    "src/statistics",
    "src/protocol.rs",
    "src/heap.rs",
    "src/lib.rs",
    "benches/gate.rs",
    "Cargo.toml",
];

fn main() {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let mut hash = Sha256::new();
    TRAINING.iter().for_each(|part| add(&mut hash, &root, Path::new(part)));
    println!("cargo::rustc-env=V5_TRAIN_REVISION={}", hex(hash.clone()));
    MEASURING.iter().for_each(|part| add(&mut hash, &root, Path::new(part)));
    println!("cargo::rustc-env=V5_REVISION={}", hex(hash));
}

/// Adds a file, or every file of a folder in the order of names.
fn add(hash: &mut Sha256, root: &Path, part: &Path) {
    let path = root.join(part);
    println!("cargo::rerun-if-changed={}", part.display());
    if path.is_dir() {
        let entries = fs::read_dir(&path).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|e| part.join(e.file_name())).collect();
        names.sort();
        names.iter().for_each(|name| add(hash, root, name));
    } else {
        // Line endings differ between checkouts; the code does not.
        let text = fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
        hash.update(format!("{}\n{}\n", part.display(), text.len()));
        hash.update(text);
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
