//! Digests of the code that makes numbers, so that evidence names the code it came from (ruling
//! R14): `V5_REVISION` covers everything above the waist, `V5_TRAIN_REVISION` what decides the
//! outcome of a training. Then the kernels: for a GPU, and for the CPU.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// What decides the outcome of a training.
const TRAINING: &[&str] = &[
    "Cargo.lock",
    "kernels",
    "src/data",
    "src/files.rs",
    "src/random.rs",
    "src/device.rs",
    "src/launch",
    "src/ops",
    "src/products",
    "src/models",
    "src/train",
    "src/scale.rs",
];
/// What else makes numbers.
const MEASURING: &[&str] = &[
    "src/probes",
    "src/collect",
    "src/referee",
    "src/evaluate",
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

    let kernels = kernels(&root.join("kernels"));
    if std::env::var_os("CARGO_FEATURE_EMULATE").is_some() {
        emulated(&root.join("kernels"), &kernels);
    }
    if std::env::var_os("CARGO_FEATURE_CUDA").is_some() {
        compiled(&root.join("kernels"), &kernels);
    }
}

/// Every `.cu` file, by name.
fn kernels(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "cu")).collect();
    files.sort();
    files
}

fn out(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default()).join(name)
}

/// How kernels become C++ for the emulator.
fn emulator(folder: &Path) -> cc::Build {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").opt_level(2).define("V5_EMULATE", None).include(folder);
    build.flag("-fno-strict-aliasing").flag("-ffp-contract=off").flag_if_supported("-Wno-unknown-pragmas");
    build
}

/// The emulated kernels, linked in; and once more as a library that shows every access to the detector of races.
/// They take minutes, and are kept while neither their sources nor the compiler change.
fn emulated(folder: &Path, kernels: &[PathBuf]) {
    let races = out("libv5_races.so");
    std::thread::scope(|scope| {
        scope.spawn(|| linked_in(folder, kernels));
        with_detector(folder, kernels, &races);
    });
    println!("cargo::rustc-link-search=native={}", out("").display());
    println!("cargo::rustc-link-lib=static=v5_emulated_kernels");
    println!("cargo::rustc-link-lib={}", if cfg!(target_os = "macos") { "c++" } else { "stdc++" });
    println!("cargo::rustc-env=V5_RACES_LIBRARY={}", races.display());
}

/// Calls `make` unless `made` was made of the same sources and headers by the same command. Whether it was made anew.
fn keep(made: &Path, folder: &Path, sources: &[&PathBuf], command: &str, make: impl FnOnce()) -> bool {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let header = |path: &PathBuf| path.extension().is_some_and(|e| e == "h" || e == "cuh");
    let mut all: Vec<_> = files.filter(header).chain(sources.iter().map(|path| path.to_path_buf())).collect();
    all.sort();
    let mut hash = Sha256::new();
    for path in &all {
        hash.update(fs::read(path).unwrap_or_default());
    }
    hash.update(command);
    let (stamp, digest) = (made.with_extension("digest"), hex(hash));
    if made.exists() && fs::read_to_string(&stamp).is_ok_and(|old| old == digest) {
        return false;
    }
    let _ = fs::remove_file(&stamp);
    make();
    write(&stamp, &digest);
    true
}

/// All kernels and the emulator as one C++ file, because what registers a kernel must not be left out by the
/// linker.
fn linked_in(folder: &Path, kernels: &[PathBuf]) {
    let own = ["emulate.cpp", "planted.cpp"].map(|name| folder.join(name));
    let all: Vec<_> = own.iter().chain(kernels).collect();
    let command = format!("{:?}", emulator(folder).get_compiler());
    keep(&out("libv5_emulated_kernels.a"), folder, &all, &command, || {
        let text = all.iter().map(|path| format!("#include {:?}\n", path.display().to_string()));
        let source = out("kernels.cpp");
        write(&source, &text.collect::<String>());
        emulator(folder).file(source).cargo_metadata(false).compile("v5_emulated_kernels");
    });
}

/// Kernels with ThreadSanitizer's instrumentation and the functions that it calls, which are the detector's. An
/// access stays as wide as the source has it, and in the function that has it.
fn with_detector(folder: &Path, kernels: &[PathBuf], library: &Path) {
    let mut build = emulator(folder);
    build.define("V5_RACES", None).pic(true).flag("-fvisibility=hidden").flag("-g1");
    let tool = build.get_compiler();
    let object = |path: &Path| {
        out(&format!("races_{}", path.file_stem().unwrap_or_default().to_string_lossy())).with_extension("o")
    };
    let run = |command: &mut std::process::Command, what: &Path| match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{}: the C++ compiler ended with {status}", what.display()),
        Err(e) => panic!("{}: {e}", tool.path().display()),
    };
    let own =
        ["emulate", "races", "races_report", "traffic"].map(|name| folder.join(name).with_extension("cpp"));
    let mut all = kernels.to_vec();
    all.extend([folder.join("planted.cpp")].into_iter().chain(own.clone()));
    // The longest first.
    all.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).map_or(0, |m| m.len())));
    let seen =
        ["-fsanitize=thread", "--param=tsan-instrument-func-entry-exit=0", "-fno-tree-sra", "-fno-ipa-icf"];
    let changed = std::sync::atomic::AtomicBool::new(!library.exists());
    at_once(&all, |path| {
        let mut command = tool.to_command();
        if !own.contains(path) {
            command.args(if tool.is_like_clang() { &seen[..1] } else { &seen });
        }
        command.args(["-x", "c++", "-c", "-o"]).args([&object(path), path]);
        let text = format!("{command:?}");
        if keep(&object(path), folder, &[path], &text, || run(&mut command, path)) {
            changed.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    });
    // Who runs tests meanwhile has it open.
    if !changed.into_inner() {
        return;
    }
    let mut link = tool.to_command();
    link.args(["-shared", "-Wl,-Bsymbolic", "-o"]).arg(library).args(all.iter().map(|path| object(path)));
    run(&mut link, library);
}

/// As many at a time as there are jobs.
fn at_once(paths: &[PathBuf], each: impl Fn(&PathBuf) + Sync) {
    let jobs = std::env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1usize).max(1);
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(path) = paths.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    each(path);
                }
            });
        }
    });
}

/// Every kernel file as machine code for Hopper and as PTX for cards from Ampere on, and the list of them. They take a
/// quarter of an hour, and are kept while neither their sources nor the compiler change.
fn compiled(folder: &Path, kernels: &[PathBuf]) {
    for variable in ["NVCC", "CUDA_HOME", "NVCC_CCBIN"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let home = || std::env::var("CUDA_HOME").map(|home| format!("{home}/bin/nvcc"));
    let nvcc = std::env::var("NVCC").or_else(|_| home()).unwrap_or_else(|_| "nvcc".to_owned());
    let fatbin =
        |path: &Path| out(&path.file_stem().unwrap_or_default().to_string_lossy()).with_extension("fatbin");
    let missing = |e| panic!("{nvcc}: {e}; the feature `cuda` needs CUDA's compiler (see README, \"GPU\")");
    let version = std::process::Command::new(&nvcc).arg("--version").output().unwrap_or_else(missing).stdout;
    let compile = |path: &PathBuf| {
        let to = fatbin(path);
        let mut command = std::process::Command::new(&nvcc);
        command
            .args(["-fatbin", "-O3", "-std=c++17", "--compress-mode=size"])
            .args(["-gencode=arch=compute_90a,code=sm_90a", "-gencode=arch=compute_80,code=compute_80"])
            .arg("-o")
            .args([&to, path]);
        let text = format!("{command:?} {}", String::from_utf8_lossy(&version));
        keep(&to, folder, &[path], &text, || match command.status() {
            Ok(status) if status.success() => {}
            Ok(status) => panic!("{}: {nvcc} ended with {status}", path.display()),
            Err(e) => panic!("{nvcc}: {e}"),
        });
    };
    at_once(kernels, compile);
    let list: String = kernels
        .iter()
        .map(|path| format!("    include_bytes!({:?}),\n", fatbin(path).display().to_string()))
        .collect();
    write(&out("fatbins.rs"), &format!("static FATBINS: &[&[u8]] = &[\n{list}];\n"));
}

fn write(path: &Path, text: &str) {
    if let Err(e) = fs::write(path, text) {
        panic!("{}: {e}", path.display());
    }
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
