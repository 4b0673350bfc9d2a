//! What the compiler made of the kernels, as docs/kernels.json has it from `scripts/cubins.py`: made of these sources,
//! without spills where it counts, and with as many blocks at a time as launch bounds promise.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// What a multiprocessor has: registers in granules of a warp, threads, blocks, bytes of shared memory, and those that
/// each block costs besides what it declares (CUDA C++ Programming Guide, "Compute Capabilities"); from sm_90 on the
/// compiler counts these as declared.
struct Architecture {
    name: &'static str,
    threads: usize,
    blocks: usize,
    shared: usize,
    reserved: usize,
}
const REGISTERS: usize = 65_536;
const GRANULE: usize = 256;
const ARCHITECTURES: [Architecture; 3] = [
    Architecture { name: "sm_80", threads: 2048, blocks: 32, shared: 164 << 10, reserved: 1024 },
    Architecture { name: "sm_90a", threads: 2048, blocks: 32, shared: 228 << 10, reserved: 0 },
    Architecture { name: "sm_100", threads: 2048, blocks: 32, shared: 228 << 10, reserved: 0 },
];

#[derive(Deserialize)]
struct Facts {
    files: BTreeMap<String, File>,
}

#[derive(Deserialize)]
struct File {
    digest: String,
    kernels: BTreeMap<String, Kernel>,
}

/// Launch bounds, and what came out for each architecture.
#[derive(Deserialize)]
struct Kernel {
    threads: usize,
    blocks: usize,
    #[serde(flatten)]
    made: BTreeMap<String, Made>,
}

#[derive(Deserialize)]
struct Made {
    registers: usize,
    /// Bytes of shared memory that it declares.
    #[serde(rename = "static")]
    fixed: usize,
    /// Bytes written and read because registers did not suffice.
    spills: [usize; 2],
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn facts() -> Result<Facts, Failed> {
    Ok(serde_json::from_slice(&std::fs::read(root().join("docs/kernels.json"))?)?)
}

/// A kernel file and what it includes of ours, in order of appearance.
fn sources(path: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if found.iter().any(|known| known == path) {
        return Ok(());
    }
    found.push(path.to_owned());
    let text = std::fs::read_to_string(path)?;
    let names =
        text.split("#include \"").skip(1).filter_map(|rest| rest.split_once('"')).map(|(name, _)| name);
    names
        .filter(|name| name.ends_with(".cuh"))
        .try_for_each(|name| sources(&path.with_file_name(name), found))
}

/// Of a file's sources and of what build.rs gives nvcc: `digest` of scripts/cubins.py.
fn digest(path: &Path) -> Result<String, Failed> {
    let build = std::fs::read_to_string(root().join("build.rs"))?;
    let (_, rest) = build.split_once(".args([\"-fatbin\"").ok_or("build.rs gives nvcc no -fatbin")?;
    let (more, _) = rest.split_once("])").ok_or("no end of nvcc's arguments")?;
    let mut files = Vec::new();
    sources(path, &mut files)?;
    let mut hash = Sha256::new();
    for file in files {
        hash.update(std::fs::read_to_string(file)?.replace("\r\n", "\n"));
    }
    hash.update(format!("-fatbin{}", more.replace([',', '"'], "")));
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Every kernel file is as it was when the facts were made.
fn are_of_these_sources() -> Result<(), Failed> {
    let facts = facts()?;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(root().join("kernels"))? {
        let path = entry?.path();
        if path.extension().is_none_or(|end| end != "cu") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match facts.files.get(&name) {
            Some(file) if file.digest == digest(&path)? => {}
            _ => wrong.push(name),
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "docs/kernels.json is not of these kernels: {}; scripts/cubins.py makes it anew",
            wrong.join(", ")
        )
        .into()),
    }
}

fn kernels() -> Result<BTreeMap<String, Kernel>, Failed> {
    Ok(facts()?.files.into_values().flat_map(|file| file.kernels).collect())
}

fn do_not_spill() -> Result<(), Failed> {
    let mut wrong = Vec::new();
    for (name, kernel) in kernels()?.iter().filter(|(name, _)| name.ends_with("_bf16")) {
        for (architecture, made) in &kernel.made {
            if made.spills != [0, 0] {
                wrong.push(format!("{name} on {architecture}: {:?} bytes", made.spills));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// Blocks that a multiprocessor holds at a time.
fn occupancy(on: &Architecture, registers: usize, threads: usize, shared: usize) -> usize {
    let of_warp = (registers * 32).next_multiple_of(GRANULE);
    let warps = threads.div_ceil(32);
    let by_registers = REGISTERS / of_warp / warps;
    let by_shared = on.shared / (shared + on.reserved).next_multiple_of(128).max(1);
    by_registers.min(by_shared).min(on.threads / threads).min(on.blocks)
}

/// As many blocks at a time as launch bounds promise, by threads, registers and the shared memory that kernels declare.
fn fill_multiprocessors() -> Result<(), Failed> {
    let mut wrong = Vec::new();
    for (name, kernel) in kernels()?.iter().filter(|(_, kernel)| kernel.threads > 0) {
        for on in &ARCHITECTURES {
            let Some(made) = kernel.made.get(on.name) else {
                return Err(format!("{name}: no {}", on.name).into());
            };
            let blocks = occupancy(on, made.registers, kernel.threads, made.fixed);
            if blocks < kernel.blocks {
                let expected = kernel.blocks;
                wrong.push(format!("{name} on {}: {blocks} blocks at a time, expected {expected}", on.name));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("cubins::are_of_these_sources", are_of_these_sources),
        Trial::test("cubins::do_not_spill", do_not_spill),
        Trial::test("cubins::fill_multiprocessors", fill_multiprocessors),
    ]
}
