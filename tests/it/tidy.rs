//! The invariants of the source, read off its text. Every scan is a function of text, so that each
//! test can also be shown a planted violation.

use std::fs;
use std::path::{Path, PathBuf};

use v5gate::models::MODELS;

/// Above the waist, in order: a module names those before it, and the waist.
const ABOVE: &[&str] = &[
    "data", "launch", "products", "device", "ops", "models", "train", "probes", "protocol", "referee",
    "collect", "fleet", "evaluate",
];
/// Plain numbers, in order.
const WAIST: &[&str] = &["statistics", "scale", "evidence"];
/// Knows no tensors, in order.
const BELOW: &[&str] = &["gate", "report"];
/// What all above the waist may show to people, and ask of the machine; names nothing.
const ASIDE: &[&str] = &["files", "heap", "progress", "random"];

/// Most lines of a file.
const LINES: usize = 400;
/// Files that are longer, because they are tables.
const TABLES: &[&str] = &["data/synthetic/grammar.rs"];
/// Files with `unsafe`, each behind a safe function.
const UNSAFE: &[&str] = &[
    "data/cache.rs",
    "heap.rs",
    "launch/cuda.rs",
    "launch/emulator.rs",
    "launch/races.rs",
    "lib.rs",
    "ops/elementwise.rs",
    "ops/matmul.rs",
    "products/amx.rs",
    "products/avx512.rs",
    "products/brief.rs",
    "products/mod.rs",
    "products/path.rs",
    "products/portable.rs",
    "products/tiles_without_amx.rs",
];
/// What the code of `src` does without.
const BANNED: &[&str] = &["#[allow(", "#![allow(", ".unwrap()", "todo!", "unimplemented!", "dbg!"];
/// What a judgement must not depend on.
const OUTSIDE_WORLD: &[&str] = &["fs", "time", "env", "io", "net", "process", "thread"];
/// Where thresholds live.
const THRESHOLDS: &[&str] = &["CRITERIA", "Criterion", "Rule"];

/// A source file: its path below `src`, with slashes, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The file or folder directly below `src` that it belongs to.
    fn module(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// What leads from this file to the root of the crate.
    fn root(&self) -> &'static str {
        let top = !self.path.contains('/') || self.path.ends_with("/mod.rs");
        if top { "super" } else { "super::super" }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let (mut folders, mut found) = (vec![root().join("src")], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(source(&path));
            }
        }
    }
    assert!(found.len() > 50, "only {} files found", found.len());
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn source(path: &PathBuf) -> Source {
    let below = path.strip_prefix(root().join("src")).unwrap();
    let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
    Source { path: parts.join("/"), text: fs::read_to_string(path).unwrap() }
}

/// Nothing is wrong, or a list of what is.
fn assert_none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The text without comment lines.
fn uncommented(text: &str) -> String {
    let code = text.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
    code.collect::<Vec<_>>().join("\n")
}

/// The text without comment lines and without the tests, which stand last.
fn code(text: &str) -> String {
    uncommented(text.split("#[cfg(test)]").next().unwrap_or_default())
}

/// The words of a text: runs of letters, digits and underscores.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

/// What follows `start::` anywhere in the text: the next name, or each first name in braces.
fn named_after(text: &str, start: &str) -> Vec<String> {
    let head = format!("{start}::");
    let mut names = Vec::new();
    for (at, _) in text.match_indices(&head) {
        let before = &text[..at];
        let longer = before.ends_with("::") || before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        if longer {
            continue;
        }
        let rest = &text[at + head.len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(first_names(group)),
            None => names.extend(words(rest).next().map(str::to_owned)),
        }
    }
    names
}

/// The first name of each path in a brace group whose opening brace is already read.
fn first_names(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut path) = (1, Vec::new(), String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(std::mem::take(&mut path)),
            _ if depth == 1 => path.push(c),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names.push(path);
    names.iter().filter_map(|path| words(path).next().map(str::to_owned)).collect()
}

fn may_name(module: &str, other: &str) -> bool {
    let before = |list: &[&str]| {
        let place = |name: &str| list.iter().position(|m| *m == name);
        matches!((place(module), place(other)), (Some(own), Some(theirs)) if theirs < own)
    };
    let waist = WAIST.contains(&other);
    module == other
        || before(ABOVE)
        || before(WAIST)
        || before(BELOW)
        || (waist && (ABOVE.contains(&module) || BELOW.contains(&module)))
        || (ASIDE.contains(&other) && ABOVE.contains(&module))
}

/// Modules that a file names and must not.
fn wrong_imports(source: &Source) -> Vec<String> {
    let text = uncommented(&source.text);
    let mut named = named_after(&text, "crate");
    named.extend(named_after(&code(&source.text), source.root()));
    let wrong = named.iter().filter(|other| !may_name(source.module(), other));
    wrong.map(|other| format!("{} names {other}", source.path)).collect()
}

/// What a file says that its module must not know of.
fn forbidden_words(source: &Source, text: &str, forbidden: &[&str]) -> Vec<String> {
    let wrong = words(text).filter(|word| forbidden.contains(word));
    wrong.map(|word| format!("{} mentions {word}", source.path)).collect()
}

/// Doors to the outside world in a text of `gate`.
fn doors(source: &Source) -> Vec<String> {
    let text = uncommented(&source.text);
    let named = named_after(&text, "std");
    let std = named.iter().filter(|name| OUTSIDE_WORLD.contains(&name.as_str()) || *name == "self");
    let mut wrong: Vec<_> = std.map(|name| format!("{} uses std::{name}", source.path)).collect();
    let alias = text.contains("use std as ") || text.contains("use std;");
    wrong.extend(alias.then(|| format!("{} renames std", source.path)));
    wrong.extend(forbidden_words(source, &text, &["println", "print", "eprintln", "eprint"]));
    wrong
}

/// Thresholds that a file knows of. A variable may be called `gate`: GroundThink has one.
fn thresholds(source: &Source) -> Vec<String> {
    let text = uncommented(&source.text);
    let mut wrong = forbidden_words(source, &text, THRESHOLDS);
    wrong.extend(text.contains("gate::").then(|| format!("{} mentions gate::", source.path)));
    wrong
}

/// Whether a file makes measurements; the evidence's own tests may.
fn makes_measurements(source: &Source) -> bool {
    let text = match source.module() {
        "evidence" => code(&source.text),
        _ => uncommented(&source.text),
    };
    text.contains("Measurement::new") || text.contains("Measurement as ")
}

/// Files of a folder that contain `mark` but have no row `STEM::ROW` in its table.
fn not_in_table(files: &[Source], mark: &str, table: &str, row: &str) -> Vec<String> {
    let wanted = files.iter().filter(|s| !s.path.ends_with("mod.rs") && code(&s.text).contains(mark));
    let stem = |s: &Source| s.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned();
    let listed = |s: &&Source| code(table).contains(&format!(" {}::{row}", stem(s)));
    wanted.filter(|s| !listed(s)).map(|s| format!("{} is in no row", s.path)).collect()
}

fn folder(name: &str) -> Vec<Source> {
    sources().into_iter().filter(|s| s.module() == name).collect()
}

/// What is too long, banned or unsafe about a file.
fn untidy(source: &Source) -> Vec<String> {
    let path = &source.path;
    let (lines, code) = (source.text.lines().count(), code(&source.text));
    let mut wrong = Vec::new();
    if lines > LINES && !TABLES.contains(&path.as_str()) {
        wrong.push(format!("{path} has {lines} lines, more than {LINES}"));
    }
    wrong.extend(BANNED.iter().filter(|b| code.contains(**b)).map(|b| format!("{path} contains {b}")));
    if !UNSAFE.contains(&path.as_str()) {
        wrong.extend(forbidden_words(source, &uncommented(&source.text), &["unsafe"]));
    }
    if !source.text.starts_with("//!") {
        wrong.push(format!("{path} does not open by saying what it is for"));
    }
    wrong
}

/// What is wrong with a README.
fn readme_faults(readme: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let lines = readme.lines().count();
    if lines > 150 {
        wrong.push(format!("README.md has {lines} lines, more than 150"));
    }
    wrong
}

/// Whether a text names somebody's folders.
fn of_one_machine(text: &str) -> bool {
    [concat!("/", "home/"), concat!("/", "Users/"), concat!("/", "root/")].iter().any(|p| text.contains(p))
}

fn planted(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

#[test]
fn every_module_has_its_place() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let mut declared: Vec<_> = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")).collect();
    declared.iter_mut().for_each(|name| *name = name.trim_end_matches(';'));
    let mut placed = [ABOVE, WAIST, BELOW, ASIDE].concat();
    declared.sort_unstable();
    placed.sort_unstable();
    assert_eq!(declared, placed);
}

#[test]
fn imports_point_one_way() {
    let all = sources();
    let inside = all.iter().filter(|s| !["lib", "bin"].contains(&s.module()));
    assert_none(inside.flat_map(wrong_imports).collect());
}

#[test]
fn a_wrong_import_is_seen() {
    let wrong = [
        ("data/x.rs", "use crate::ops::Tape;"),
        ("ops/x.rs", "fn f() { crate::models::find() }"),
        ("gate/x.rs", "use crate::{evidence::{Ledger, Line}, report};"),
        ("evidence/x.rs", "use crate::gate::judge;"),
        ("evidence/x.rs", "use super::super::{gate};"),
        ("train/mod.rs", "use super::probes::PROBES;"),
        ("scale.rs", "use super::evidence::Ledger;"),
        ("report/x.rs", "pub(in crate::data) fn f() {}"),
        ("progress.rs", "use crate::scale::Scale;"),
    ];
    for (path, text) in wrong {
        assert_eq!(wrong_imports(&planted(path, text)).len(), 1, "{path}: {text}");
    }
    let right = [
        ("ops/x.rs", "use crate::data::cache;\nuse super::tape::Tape;"),
        ("models/x.rs", "// not crate::gate\nuse crate::{ops::Tape, scale::{Scale, Tier}};"),
        ("report/x.rs", "use crate::gate::judge;\nuse crate::evidence::Ledger;"),
        ("collect/mod.rs", "use crate::progress::Screen;"),
    ];
    for (path, text) in right {
        assert_none(wrong_imports(&planted(path, text)));
    }
}

#[test]
fn below_the_waist_there_are_no_tensors() {
    let modules = [WAIST, BELOW].concat();
    let all = sources();
    let numbers = all.iter().filter(|s| modules.contains(&s.module()));
    let tensors = ["candle", "candle_core", "candle_nn"];
    assert_none(numbers.flat_map(|s| forbidden_words(s, &s.text, &tensors)).collect());
    let wrong = planted("gate/x.rs", "use candle_core::Tensor;");
    assert_eq!(forbidden_words(&wrong, &wrong.text, &tensors).len(), 1);
}

#[test]
fn the_gate_has_no_door() {
    assert_none(folder("gate").iter().flat_map(doors).collect());
    let wrong = [
        "use std::fs;",
        "use std::{cmp::Ordering, io::{self, Write}};",
        "let now = std::time::Instant::now();",
        "println!(\"{x}\");",
        "use std as outside;",
    ];
    for text in wrong {
        assert_eq!(doors(&planted("gate/x.rs", text)).len(), 1, "{text}");
    }
    assert_none(doors(&planted("gate/x.rs", "// not std::fs\nuse std::collections::BTreeMap;")));
}

#[test]
fn only_collect_makes_measurements() {
    let makers: Vec<_> = sources().into_iter().filter(makes_measurements).map(|s| s.path).collect();
    assert_eq!(makers, ["collect/measure.rs"]);
    let tests = "fn f() {}\n#[cfg(test)]\nmod tests { fn g() { Measurement::new() } }";
    assert!(makes_measurements(&planted("probes/x.rs", tests)));
    assert!(!makes_measurements(&planted("evidence/x.rs", tests)));
    assert!(makes_measurements(&planted("evidence/x.rs", "fn f() { Measurement::new() }")));
    assert!(makes_measurements(&planted("gate/x.rs", "use crate::evidence::Measurement as M;")));
}

#[test]
fn no_probe_trainer_or_op_knows_a_threshold() {
    let asked: Vec<_> = ["probes", "train", "models", "ops"].into_iter().flat_map(folder).collect();
    assert_none(asked.iter().flat_map(thresholds).collect());
    for text in ["use crate::gate::judge;", "if CRITERIA.is_empty() {}", "Rule::AtMost(2.0)"] {
        assert_eq!(thresholds(&planted("probes/x.rs", text)).len(), 1, "{text}");
    }
    assert_none(thresholds(&planted("ops/x.rs", "// Rule of thumb\nlet gate = rule(1);")));
}

#[test]
fn every_op_model_and_probe_is_in_its_table() {
    let (ops, probes, models) = (folder("ops"), folder("probes"), folder("models"));
    let ops_table = &ops.iter().find(|s| s.path == "ops/table.rs").unwrap().text;
    assert_none(not_in_table(&ops, "fn cases(", ops_table, "cases"));
    let rows = &probes.iter().find(|s| s.path == "probes/table.rs").unwrap().text;
    assert_none(not_in_table(&probes, "const PROBE:", rows, "PROBE"));
    let rows: String = MODELS.iter().map(|m| format!(" {}::MODEL\n", m.name)).collect();
    assert_none(not_in_table(&models, "impl Architecture for", &rows, "MODEL"));
}

/// Ops that record a backward pass which no conformance case puts to the test.
fn untested_backward(source: &Source) -> bool {
    let code = code(&source.text);
    source.path != "ops/tape.rs" && code.contains("tape.record") && !code.contains("fn cases(")
}

#[test]
fn ops_that_differentiate_have_a_case() {
    let wrong = folder("ops").into_iter().filter(untested_backward).map(|s| s.path);
    assert_none(wrong.collect());
    assert!(untested_backward(&planted("ops/x.rs", "fn f() { tape.record_one(y) }")));
    assert!(!untested_backward(&planted("ops/x.rs", "fn f() { tape.record_one(y) }\nfn cases() {}")));
}

#[test]
fn a_file_without_a_row_is_seen() {
    let files = [planted("ops/old.rs", "pub(super) fn cases() {}"), planted("ops/mod.rs", "fn cases() {}")];
    assert_eq!(not_in_table(&files, "fn cases(", "row(older::cases)", "cases"), ["ops/old.rs is in no row"]);
    assert_eq!(not_in_table(&files, "fn cases(", "// old::cases", "cases"), ["ops/old.rs is in no row"]);
    assert_none(not_in_table(&files, "fn cases(", "cases: old::cases", "cases"));
}

#[test]
fn files_are_short_and_tidy() {
    let all = sources();
    assert_none(all.iter().flat_map(untidy).collect());
    for table in TABLES {
        let listed = all.iter().find(|s| s.path == *table).map(|s| s.text.lines().count());
        assert!(listed.is_some_and(|lines| lines > LINES), "{table} needs no exception");
    }
    for path in UNSAFE {
        let listed = all.iter().find(|s| s.path == *path).map(|s| s.text.contains("unsafe {"));
        assert_eq!(listed, Some(true), "{path} needs no exception");
    }
}

#[test]
fn an_untidy_file_is_seen() {
    let long = format!("//! Long.\n{}", "\n".repeat(LINES));
    let wrong = [
        long.as_str(),
        "//! X.\n#[allow(dead_code)]\nfn f() {}",
        "//! X.\nfn f() { x.unwrap() }",
        "//! X.\nfn f() { todo!() }",
        "//! X.\nfn f() { unsafe { g() } }",
        "fn f() {}",
    ];
    for text in wrong {
        assert_eq!(untidy(&planted("data/x.rs", text)).len(), 1, "{text}");
    }
    assert_none(untidy(&planted("data/cache.rs", "//! X.\nfn f() { unsafe { g() } }")));
    assert_none(untidy(&planted("data/x.rs", "//! X.\n#[cfg(test)]\nmod tests { fn f() { x.unwrap() } }")));
}

#[test]
fn the_readme_is_short() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    assert_none(readme_faults(&readme));
}

#[test]
fn a_long_readme_is_seen() {
    assert_none(readme_faults("# V5\n"));
    assert_eq!(readme_faults(&"\n".repeat(151)).len(), 1);
}

#[test]
fn nothing_speaks_of_a_machine() {
    for folder in
        ["src", "tests", "tests/it", "tests/common", "tests/mutants", "tests/kernels", "scripts", "protocols"]
    {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let text = if path.is_file() { fs::read_to_string(&path).unwrap() } else { String::new() };
            assert!(!of_one_machine(&text), "{} names somebody's folders", path.display());
        }
    }
    assert!(of_one_machine(concat!("cd /", "home/somebody")));
}
