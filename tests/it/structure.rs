//! The structure of `src`, read off its tokens: no circle between files, short functions, one type of a name, and a
//! digest that covers every file whose code makes numbers. Each check is also shown a planted violation.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

/// Most lines of a function, from its signature to its closing brace.
const FUNCTION_LINES: usize = 60;
/// Modules whose code makes no numbers: they carry, judge or show them.
const MAKES_NO_NUMBERS: &[&str] = &["fleet", "evidence", "gate", "report", "progress.rs", "bin"];

/// All that the referee shares with the program that it checks: readers of files, and the recipe as it is read.
const READERS: &[&str] = &[
    "data/batches.rs",
    "data/cache.rs",
    "data/synthetic/item.rs",
    "data/tokenizer.rs",
    "files.rs",
    "train/recipe.rs",
];
/// What the program computes from a recipe, which the referee computes by itself.
const COMPUTED: &[&str] = &["recipe.learning_rate", "recipe.steps", "recipe.tokens_per_step"];

/// The files of `src` by path below it, with slashes.
type Files = BTreeMap<String, String>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files() -> Files {
    let (src, mut folders, mut found) = (root().join("src"), vec![root().join("src")], Files::new());
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let below = path.strip_prefix(&src).unwrap().iter().map(|part| part.to_string_lossy());
                let name = below.collect::<Vec<_>>().join("/");
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(found.len() > 50, "only {} files found", found.len());
    found
}

fn planted(files: &[(&str, &str)]) -> Files {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

/// The tokens of a file without its tests, doc comments, declarations of modules and re-exports: a door is no room.
fn tokens(text: &str) -> TokenStream {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let mut parsed = syn::parse_file(code).expect("Rust source");
    parsed.items.retain(|item| match item {
        syn::Item::Mod(module) => module.content.is_some(),
        syn::Item::Use(line) => matches!(line.vis, syn::Visibility::Inherited),
        _ => true,
    });
    parsed.into_token_stream()
}

/// The module that a file is, as the names from the crate's root: `ops/linear.rs` is `[ops, linear]`.
fn module_of(path: &str) -> Vec<String> {
    let stem = path.trim_end_matches(".rs").trim_end_matches("/mod").trim_end_matches("/main");
    if stem == "lib" { Vec::new() } else { stem.split('/').map(str::to_owned).collect() }
}

/// Every path in the tokens, group imports as one path each: `use super::{a::B, c}` gives two.
fn paths(tokens: TokenStream) -> Vec<Vec<String>> {
    let (mut found, mut path) = (Vec::new(), Vec::new());
    collect_paths(tokens, &mut path, &mut found);
    found
}

/// Collects the paths of one group of tokens; `path` is the one being read.
fn collect_paths(tokens: TokenStream, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let (mut colons, outer) = (2, path.clone());
    let mut finish = |path: &mut Vec<String>| {
        if path.len() > outer.len() {
            found.push(path.clone());
        }
        path.clone_from(&outer);
    };
    let mut groups = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Ident(name) => {
                if colons != 2 {
                    finish(path);
                }
                path.push(name.to_string());
                colons = 0;
            }
            TokenTree::Punct(mark) if mark.as_char() == ':' => colons += 1,
            TokenTree::Group(group) => {
                let continues =
                    colons == 2 && path.len() > outer.len() && group.delimiter() == Delimiter::Brace;
                groups.push((group.stream(), if continues { path.clone() } else { Vec::new() }));
                finish(path);
                colons = 2;
            }
            _ => {
                finish(path);
                colons = 2;
            }
        }
    }
    finish(path);
    for (stream, mut start) in groups {
        collect_paths(stream, &mut start, found);
    }
}

/// What a path in `module` means from the root of the crate, where it starts there, at a parent or at a child module.
fn absolute(
    module: &[String],
    path: &[String],
    modules: &BTreeMap<Vec<String>, &String>,
) -> Option<Vec<String>> {
    let ups = path.iter().take_while(|name| *name == "super").count();
    if ups == path.len() {
        // `pub(super)` names nothing.
        return None;
    }
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([module, &path[1..]].concat()),
        "super" => Some([module.get(..module.len().checked_sub(ups)?)?, &path[ups..]].concat()),
        child => {
            let below = [module, &[child.to_owned()]].concat();
            modules.contains_key(&below).then(|| [module, path].concat())
        }
    }
}

/// What the `pub use` lines of every file give other names to: absolute name to absolute meaning.
fn re_exports(files: &Files, modules: &BTreeMap<Vec<String>, &String>) -> BTreeMap<Vec<String>, Vec<String>> {
    let mut meanings = BTreeMap::new();
    for (file, text) in files.iter().filter(|(file, _)| file.ends_with("mod.rs") || *file == "lib.rs") {
        let module = module_of(file);
        let parsed = syn::parse_file(text).expect("Rust source");
        for item in parsed.items {
            let syn::Item::Use(line) = item else { continue };
            for path in paths(line.tree.to_token_stream()) {
                if let (Some(last), Some(meaning)) = (path.last(), absolute(&module, &path, modules)) {
                    meanings.insert([module.clone(), vec![last.clone()]].concat(), meaning);
                }
            }
        }
    }
    meanings
}

/// The file in which a path ends: the longest module that it starts with.
fn file_of<'a>(modules: &BTreeMap<Vec<String>, &'a String>, path: &[String]) -> Option<&'a String> {
    (1..=path.len()).rev().find_map(|n| modules.get(&path[..n]).copied())
}

/// Which files each file names, re-exports followed to where the item is defined.
fn named_files(files: &Files) -> BTreeMap<&str, BTreeSet<&str>> {
    let modules: BTreeMap<_, _> = files.keys().map(|file| (module_of(file), file)).collect();
    let meanings = re_exports(files, &modules);
    let follow = |mut path: Vec<String>| {
        for _ in 0..4 {
            let known = (1..=path.len()).rev().find_map(|n| Some((n, meanings.get(&path[..n])?)));
            let Some((n, meaning)) = known else { break };
            let next = [meaning.as_slice(), &path[n..]].concat();
            if next == path {
                break;
            }
            path = next;
        }
        path
    };
    let mut named = BTreeMap::new();
    for (file, text) in files {
        let module = module_of(file);
        let absolute = paths(tokens(text)).into_iter().filter_map(|path| absolute(&module, &path, &modules));
        let others = absolute.filter_map(|path| file_of(&modules, &follow(path)));
        let mut others: BTreeSet<&str> = others.map(String::as_str).collect();
        others.remove(file.as_str());
        named.insert(file.as_str(), others);
    }
    named.remove("lib.rs");
    named
}

/// Groups of files that name each other in a circle.
fn circles(files: &Files) -> Vec<String> {
    let named = named_files(files);
    let reach = |from: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(file) = open.pop() {
            for next in named.get(file.as_str()).into_iter().flatten() {
                if seen.insert((*next).to_owned()) {
                    open.push((*next).to_owned());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<_, _> = named.keys().map(|file| (*file, reach(file))).collect();
    let mut groups = BTreeSet::new();
    for (file, others) in &reached {
        let back =
            others.iter().filter(|other| reached.get(other.as_str()).is_some_and(|r| r.contains(*file)));
        let group: BTreeSet<&str> = back.map(String::as_str).collect();
        if !group.is_empty() {
            groups.insert(group.into_iter().collect::<Vec<_>>().join(" <-> "));
        }
    }
    groups.into_iter().collect()
}

/// The functions of a file that are too long.
fn long_functions(path: &str, text: &str) -> Vec<String> {
    struct Lengths(Vec<(String, usize)>);
    impl Lengths {
        fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
            let lines = block.span().end().line - signature.span().start().line + 1;
            self.0.push((signature.ident.to_string(), lines));
        }
    }
    impl<'a> Visit<'a> for Lengths {
        fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
            self.add(&item.sig, &item.block);
            visit::visit_item_fn(self, item);
        }
        fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
            self.add(&item.sig, &item.block);
            visit::visit_impl_item_fn(self, item);
        }
    }
    let mut lengths = Lengths(Vec::new());
    lengths.visit_file(&syn::parse_file(text).expect("Rust source"));
    let long = lengths.0.into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES);
    long.map(|(name, lines)| format!("{path}: {name} has {lines} lines, more than {FUNCTION_LINES}"))
        .collect()
}

/// Names that more than one type has, with the files.
fn shared_type_names(files: &Files) -> Vec<String> {
    struct Types<'a>(&'a str, BTreeMap<String, Vec<String>>);
    impl<'a> Visit<'a> for Types<'_> {
        fn visit_item(&mut self, item: &'a syn::Item) {
            let name = match item {
                syn::Item::Struct(item) => &item.ident,
                syn::Item::Enum(item) => &item.ident,
                syn::Item::Trait(item) => &item.ident,
                // `Result` is each module's own with its error, as in the standard library.
                syn::Item::Type(item) if item.ident != "Result" => &item.ident,
                _ => return visit::visit_item(self, item),
            };
            self.1.entry(name.to_string()).or_default().push(self.0.to_owned());
            visit::visit_item(self, item);
        }
    }
    let mut types = Types("", BTreeMap::new());
    for (path, text) in files {
        types.0 = path;
        types.visit_file(&syn::parse_file(text).expect("Rust source"));
    }
    let shared = types.1.into_iter().filter(|(_, places)| places.len() > 1);
    shared.map(|(name, places)| format!("{name}: {}", places.join(", "))).collect()
}

/// Files whose code makes numbers and that no path in quotes in `build.rs` covers.
fn outside_the_revision<'a>(files: &'a Files, build: &str) -> Vec<&'a str> {
    let covered: Vec<&str> = build.split('"').filter_map(|part| part.strip_prefix("src/")).collect();
    let covers = |file: &str| covered.iter().any(|c| file == *c || file.starts_with(&format!("{c}/")));
    let silent =
        |file: &str| MAKES_NO_NUMBERS.iter().any(|m| file == *m || file.starts_with(&format!("{m}/")));
    files.keys().map(String::as_str).filter(|file| !covers(file) && !silent(file)).collect()
}

/// What the referee shares with the program and must not.
fn shared_with_the_referee(files: &Files) -> Vec<String> {
    let own = |file: &str| file.starts_with("referee/");
    let named = named_files(files);
    let mut wrong = Vec::new();
    for (file, others) in named.iter().filter(|(file, _)| own(file)) {
        let shared = others.iter().filter(|other| !own(other) && !READERS.contains(other));
        wrong.extend(shared.map(|other| format!("{file} names {other}")));
        let computed = COMPUTED.iter().filter(|call| files[*file].contains(**call));
        wrong.extend(computed.map(|call| format!("{file} calls {call}")));
        wrong.extend(files[*file].contains("candle").then(|| format!("{file} mentions candle")));
    }
    wrong
}

fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn no_files_name_each_other_in_a_circle() {
    assert_none(&circles(&files()));
}

#[test]
fn a_circle_is_seen() {
    let re_exported = |middle: &str| {
        planted(&[
            ("lib.rs", "mod ops;"),
            ("ops/mod.rs", "mod a; mod b;\npub use a::{A, One as Other};\npub struct Own;"),
            ("ops/a.rs", "pub struct A;"),
            ("ops/b.rs", middle),
        ])
    };
    assert_none(&circles(&re_exported("use super::Own;")));
    assert_none(&circles(&re_exported("use super::A;\n#[cfg(test)]\nmod tests { use super::super::Own; }")));
    let table = planted(&[
        ("ops/mod.rs", "mod a;\nstruct Own;\nconst ALL: X = a::X;"),
        ("ops/a.rs", "use super::Own;"),
    ]);
    assert_eq!(circles(&table), ["ops/a.rs <-> ops/mod.rs"]);
    let between =
        |a: &str, b: &str| planted(&[("lib.rs", ""), ("x/mod.rs", ""), ("x/a.rs", a), ("x/b.rs", b)]);
    assert_none(&circles(&between("use super::b::B;", "// super::a\nuse std::fmt;")));
    assert_eq!(circles(&between("use super::b::B;", "fn f() { crate::x::a::g() }")), ["x/a.rs <-> x/b.rs"]);
    assert_eq!(circles(&between("use crate::{x::{b::B}};", "m!(super::a::g());")), ["x/a.rs <-> x/b.rs"]);
}

#[test]
fn functions_are_short() {
    let long: Vec<_> = files().iter().flat_map(|(path, text)| long_functions(path, text)).collect();
    assert_none(&long);
    let body = "\n".repeat(FUNCTION_LINES - 1);
    assert_eq!(long_functions("x.rs", &format!("fn f() {{{body}}}")), [""; 0]);
    assert_eq!(long_functions("x.rs", &format!("impl X {{ fn f() {{\n{body}}} }}")).len(), 1);
}

#[test]
fn a_type_name_occurs_once() {
    assert_none(&shared_type_names(&files()));
    let twice = planted(&[
        ("a.rs", "struct X; type Result<T> = ();"),
        ("b.rs", "fn f() {}\nenum X {}\ntype Result<T> = ();"),
    ]);
    assert_eq!(shared_type_names(&twice), ["X: a.rs, b.rs"]);
}

#[test]
fn the_referee_shares_readers_alone() {
    assert_none(&shared_with_the_referee(&files()));
    let all = planted(&[
        ("lib.rs", ""),
        ("referee/mod.rs", "mod a; mod b;"),
        ("referee/a.rs", "use crate::ops::linear; use super::b::B; use crate::train::Recipe;"),
        ("referee/b.rs", "fn f(recipe: &Recipe) { recipe.learning_rate(1); }"),
        ("ops/mod.rs", "mod linear; pub use linear::linear;"),
        ("ops/linear.rs", ""),
        ("train/mod.rs", "mod recipe; pub use recipe::Recipe;"),
        ("train/recipe.rs", ""),
    ]);
    let wrong = shared_with_the_referee(&all);
    assert_eq!(wrong, ["referee/a.rs names ops/linear.rs", "referee/b.rs calls recipe.learning_rate"]);
}

#[test]
fn the_revision_covers_every_file_that_makes_numbers() {
    let build = fs::read_to_string(root().join("build.rs")).unwrap();
    let all = files();
    assert_eq!(outside_the_revision(&all, &build), [""; 0]);
    let moved = planted(&[("data/x.rs", ""), ("dataset/x.rs", ""), ("gate/x.rs", ""), ("lib.rs", "")]);
    assert_eq!(outside_the_revision(&moved, r#"["src/data", "src/lib.rs"]"#), ["dataset/x.rs"]);
}
