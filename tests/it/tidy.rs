//! The shape of the house, as ordinary tests over its own text. Every scan is also shown a planted
//! violation, or it would prove nothing.

use std::fs;
use std::path::{Path, PathBuf};

/// Modules above the waist, in the only direction in which they may name each other.
const ABOVE: [&str; 7] = ["data", "ops", "models", "train", "probes", "protocol", "collect"];
/// Below it.
const BELOW: [&str; 2] = ["gate", "report"];
/// Tables, which may be longer than other files.
const TABLES: [&str; 3] = ["src/data/grammar.rs", "src/gate/criteria.rs", "src/evidence/metric.rs"];
/// The only places where `unsafe` may stand.
const UNSAFE: [&str; 2] = ["src/ops/linear.rs", "src/data/cache.rs"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a folder, as (path relative to the root, text).
fn sources(folder: &str) -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.sort();
    let relative = |p: &PathBuf| p.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    found.iter().map(|p| (relative(p), fs::read_to_string(p).unwrap())).collect()
}

/// Code before the tests of a file, without comments.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]").unwrap_or(text.len());
    text[..end].lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The top-level module of a source file.
fn module(path: &str) -> &str {
    path.trim_start_matches("src/").split(['/', '.']).next().unwrap()
}

/// Modules of this crate that `text`, in module `from`, must not name.
fn wrong_imports(from: &str, text: &str) -> Vec<String> {
    let place = |m: &str| ABOVE.iter().position(|x| *x == m);
    let allowed = |to: &str| match (place(from), place(to)) {
        _ if to == from || ["scale", "evidence", "progress"].contains(&to) => {
            !(to == "progress" && (BELOW.contains(&from) || from == "evidence"))
        }
        (Some(a), Some(b)) => b < a,
        _ => from == "report" && to == "gate",
    };
    let code = code(text);
    let names = code.match_indices("crate::").map(|(i, _)| &code[i + 7..]);
    let name =
        |rest: &str| rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap().to_owned();
    let known = |m: &String| ABOVE.contains(&m.as_str()) || BELOW.contains(&m.as_str()) || m == "progress";
    names.map(name).filter(known).filter(|to| !allowed(to)).collect()
}

#[test]
fn imports_point_one_way() {
    for (path, text) in sources("src").iter().filter(|(p, _)| p != "src/main.rs" && p != "src/lib.rs") {
        let wrong = wrong_imports(module(path), text);
        assert!(wrong.is_empty(), "{path} names {wrong:?}");
    }
    assert_eq!(wrong_imports("ops", "use crate::models::State;"), ["models"]);
    assert_eq!(wrong_imports("gate", "use crate::collect::collect;"), ["collect"]);
    assert_eq!(wrong_imports("probes", "use crate::gate::CRITERIA;"), ["gate"]);
    assert!(wrong_imports("report", "use crate::gate::judge;").is_empty());
}

/// Files of `files` whose code has one of `words`.
fn mentioning<'a>(files: &'a [(String, String)], words: &[&str]) -> Vec<&'a str> {
    let has = |text: &str| words.iter().any(|w| code(text).contains(w));
    files.iter().filter(|(_, text)| has(text)).map(|(path, _)| path.as_str()).collect()
}

#[test]
fn below_the_waist_nobody_knows_tensors() {
    let mut files = sources("src/gate");
    files.extend(sources("src/report"));
    files.extend(sources("src/evidence"));
    assert_eq!(mentioning(&files, &["candle"]), [""; 0]);
    let planted = [("x.rs".to_owned(), "use candle_core::Tensor;".to_owned())];
    assert_eq!(mentioning(&planted, &["candle"]), ["x.rs"]);
}

#[test]
fn the_gate_does_no_io_and_reads_no_clock() {
    let words = ["std::fs", "std::io", "std::env", "std::time", "std::net", "std::process"];
    assert_eq!(mentioning(&sources("src/gate"), &words), [""; 0]);
}

#[test]
fn only_collect_makes_measurements() {
    let files = sources("src");
    assert_eq!(mentioning(&files, &["Measurement::new("]), ["src/collect.rs"]);
}

#[test]
fn nobody_who_measures_knows_a_threshold() {
    for folder in ["src/ops", "src/models", "src/train", "src/probes"] {
        assert_eq!(mentioning(&sources(folder), &["gate::", "CRITERIA", "Rule::"]), [""; 0], "{folder}");
    }
}

/// Files that declare something for a table which does not list them.
fn unlisted(folder: &str, marker: &str, row: impl Fn(&str) -> String) -> Vec<String> {
    let table = fs::read_to_string(root().join(folder).join("mod.rs")).unwrap();
    let stem = |path: &str| Path::new(path).file_stem().unwrap().to_string_lossy().into_owned();
    let declares = sources(folder).into_iter().filter(|(_, text)| text.contains(marker));
    declares.map(|(path, _)| stem(&path)).filter(|s| s != "mod" && !table.contains(&row(s))).collect()
}

#[test]
fn every_file_is_in_its_table() {
    assert_eq!(unlisted("src/ops", "fn cases(", |s| format!("cases: {s}::cases")), [""; 0]);
    assert_eq!(unlisted("src/probes", "const PROBE: Probe", |s| format!("{s}::PROBE")), [""; 0]);
    assert_eq!(unlisted("src/probes", "const PROBE: Probe", |s| format!("{s}::NOWHERE")).len(), 9);
}

#[test]
fn ops_that_differentiate_have_a_case() {
    for (path, text) in sources("src/ops") {
        if code(&text).contains("tape.push") && path != "src/ops/tape.rs" {
            assert!(text.contains("fn cases("), "{path} has a backward pass and no conformance case");
        }
    }
}

#[test]
fn files_are_short() {
    for (path, text) in sources("src") {
        let lines = text.lines().count();
        assert!(lines <= 450 || TABLES.contains(&path.as_str()), "{path} has {lines} lines");
    }
}

#[test]
fn no_stubs_and_no_silenced_lints() {
    let words = ["#[allow(", "#![allow(", "todo!(", "unimplemented!(", "dbg!(", ".unwrap()"];
    assert_eq!(mentioning(&sources("src"), &words), [""; 0]);
}

#[test]
fn unsafe_stands_where_it_may() {
    assert_eq!(mentioning(&sources("src"), &["unsafe {"]), {
        let mut places = UNSAFE;
        places.sort_unstable();
        places
    });
}

#[test]
fn the_readme_is_short_and_its_table_is_the_printed_one() {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(text.lines().count() <= 150, "README.md has {} lines", text.lines().count());
    let (_, rest) = text.split_once("<!-- criteria -->\n").expect("a marker <!-- criteria -->");
    let (table, _) = rest.split_once("<!-- /criteria -->").expect("a marker <!-- /criteria -->");
    assert_eq!(table, v5gate::report::criteria_markdown(), "regenerate it with `v5gate list criteria`");
}

#[test]
fn nothing_speaks_of_a_machine() {
    for folder in ["src", "tests", "scripts", "protocols"] {
        let Ok(entries) = fs::read_dir(root().join(folder)) else { continue };
        for path in entries.map(|e| e.unwrap().path()).filter(|p| p.is_file()) {
            let text = fs::read_to_string(&path).unwrap();
            assert!(!text.contains(concat!("/", "home/")), "{} names a home folder", path.display());
        }
    }
}
