//! What the documents refer to exists: linked files and anchors, paths named in the text, and every ruling
//! that is cited anywhere. Each check is a function of text and is shown a planted violation.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The page that defines the rulings.
const RULINGS: &str = "docs/rulings.md";
/// Where rulings are cited.
const CITING: &[&str] = &["benches", "docs", "fixtures", "kernels", "protocols", "scripts", "src", "tests"];
/// Ends of the names of files that hold text.
const TEXT: &[&str] = &["cpp", "css", "cu", "cuh", "h", "js", "md", "py", "rs", "sh", "snap", "toml"];
/// Folders whose files are named with their whole path.
const ROOTS: &[&str] =
    &["benches/", "docs/", "fixtures/", "kernels/", "protocols/", "scripts/", "src/", "tests/", ".github/"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file of the repository; `None` where there is no such file.
fn read(path: &str) -> Option<String> {
    fs::read_to_string(root().join(path)).ok()
}

/// The documents, by path.
fn documents() -> Vec<String> {
    let mut found: Vec<String> = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(str::to_owned).to_vec();
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        found.extend(name.ends_with(".md").then(|| format!("docs/{name}")));
    }
    found.sort();
    found
}

/// The lines outside fenced code.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let mut kept = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            kept += line;
            kept.push('\n');
        }
    }
    kept
}

/// What stands between single backticks.
fn code_spans(prose: &str) -> Vec<&str> {
    prose.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// The prose without its code spans.
fn spoken(prose: &str) -> String {
    let kept = prose.lines().map(|line| line.split('`').step_by(2).collect::<String>());
    kept.collect::<Vec<_>>().join("\n")
}

/// The targets of Markdown links and images that lead into the repository.
fn links(text: &str) -> Vec<String> {
    let text = prose(text);
    let spoken = spoken(&text);
    let starts = spoken.match_indices("](").map(|(at, open)| &spoken[at + open.len()..]);
    let targets = starts.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.trim().to_owned());
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:")).collect()
}

/// What a link to a page may name behind `#`: explicit ids, and headings as GitHub names them.
fn anchors(text: &str) -> BTreeSet<String> {
    let text = prose(text);
    let ids = text.split("<a id=\"").skip(1).filter_map(|rest| rest.split_once('"')).map(|(id, _)| id);
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#'));
    ids.map(str::to_owned).chain(headings.map(slug)).collect()
}

/// A heading as GitHub names it.
fn slug(heading: &str) -> String {
    let lower = heading.trim().to_lowercase();
    let kept = lower.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The path that a link of a page leads to, from the root of the repository.
fn resolved(page: &str, target: &str) -> String {
    let mut path = PathBuf::new();
    for part in Path::new(page).with_file_name(target).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            Component::CurDir => {}
            part => path.push(part),
        }
    }
    path.to_string_lossy().into_owned()
}

/// Links of a page that lead nowhere.
fn dead_links(page: &str, text: &str) -> Vec<String> {
    let dead = |target: &String| {
        let (file, anchor) = target.split_once('#').map_or((target.as_str(), None), |(f, a)| (f, Some(a)));
        let path = if file.is_empty() { page.to_owned() } else { resolved(page, file) };
        match anchor {
            None => !root().join(path).exists(),
            Some(anchor) => {
                let linked = if file.is_empty() { Some(text.to_owned()) } else { read(&path) };
                linked.is_none_or(|linked| !anchors(&linked).contains(anchor))
            }
        }
    };
    links(text).iter().filter(|target| dead(target)).map(|t| format!("{page} links to {t}")).collect()
}

/// Paths that a page names in code and that do not exist. What has a capital in it is a placeholder.
fn dead_paths(page: &str, text: &str) -> Vec<String> {
    let text = prose(text);
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "/._-".contains(c);
    let named = code_spans(&text).into_iter().filter(|span| ROOTS.iter().any(|r| span.starts_with(r)));
    let paths = named.filter(|span| span.chars().all(plain));
    paths.filter(|path| !root().join(path).exists()).map(|path| format!("{page} names {path}")).collect()
}

/// Numbers behind an R that stands by itself.
fn rulings_cited(text: &str) -> BTreeSet<u32> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    words.filter_map(|word| word.strip_prefix('R')?.parse().ok()).collect()
}

/// Rulings that a text cites and the page of rulings does not define.
fn unknown_rulings(path: &str, text: &str, defined: &BTreeSet<String>) -> Vec<String> {
    let unknown = rulings_cited(text).into_iter().filter(|n| !defined.contains(&format!("r{n}")));
    unknown.map(|n| format!("{path} cites ruling {n}, which {RULINGS} does not define")).collect()
}

/// Modules of a `lib.rs` that its reading order leaves out.
fn unread_modules(lib: &str) -> Vec<String> {
    let order: String = lib.lines().filter(|line| line.starts_with("//!")).collect();
    let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let unread = modules.filter(|name| !order.contains(&format!("[`{name}`]")));
    unread.map(|name| format!("src/lib.rs does not say where to read {name}")).collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let (mut folders, mut found) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| TEXT.iter().any(|text| end == *text)) {
                found.push(path);
            }
        }
    }
    found
}

fn assert_none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn no_link_of_a_document_is_dead() {
    let pages = documents().into_iter().map(|page| (read(&page).expect("a document"), page));
    assert_none(
        pages
            .flat_map(|(text, page)| [dead_links(&page, &text), dead_paths(&page, &text)])
            .flatten()
            .collect(),
    );
}

#[test]
fn a_dead_link_is_seen() {
    let dead = |text: &str| dead_links("docs/x.md", text).len();
    assert_eq!(dead("[a](nowhere.md)"), 1);
    assert_eq!(dead("![a](../docs/nowhere.png) and [b](../README.md)"), 1);
    assert_eq!(dead("[a](rulings.md#r7) [b](rulings.md#r0)"), 1);
    assert_eq!(dead("## Here, now\n[a](#here-now) [b](#there)"), 1);
    assert_eq!(dead("```\n[a](nowhere.md)\n```\n`[a](nowhere.md)` [b](https://example.org/x#y)"), 0);
    let paths = |text: &str| dead_paths("docs/x.md", text).len();
    assert_eq!(paths("`src/lib.rs` `src/nowhere.rs` `tests/`"), 1);
    assert_eq!(paths("`src/ops/NAME.rs` `cargo run src/nowhere.rs` `kernels/*.cu`"), 0);
}

#[test]
fn every_ruling_that_is_cited_is_defined() {
    let defined = anchors(&read(RULINGS).expect("the page of rulings"));
    let numbers = defined.iter().filter_map(|anchor| anchor.strip_prefix('r')?.parse::<usize>().ok());
    let count = numbers.clone().count();
    assert!(count > 0 && numbers.max() == Some(count), "a ruling between R1 and the last is missing");
    let paths = CITING.iter().flat_map(|folder| files_below(&root().join(folder)));
    let top = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root().join(name));
    let check = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap_or_default();
        unknown_rulings(&path.to_string_lossy(), &text, &defined)
    };
    assert_none(paths.chain(top).flat_map(check).collect());
}

#[test]
fn an_unknown_ruling_is_seen() {
    let defined = anchors("<a id=\"r7\"></a>\n### R7: a ruling");
    let unknown = |text: &str| unknown_rulings("src/x.rs", text, &defined).len();
    assert_eq!(unknown(concat!("// ruling R", "99, (R", "98) and R7")), 2);
    assert_eq!(unknown("RWKV-6 AR7 R2D2 r3 (R7)"), 0);
}

#[test]
fn the_reading_order_is_complete() {
    assert_none(unread_modules(&read("src/lib.rs").expect("src/lib.rs")));
    assert_eq!(unread_modules("//! Read [`data`].\n\npub mod data;\npub mod ops;").len(), 1);
}
