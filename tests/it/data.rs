//! Data: nothing is read, cached or ordered otherwise than it says, and training gives nothing away.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proptest::prelude::*;
use tempfile::TempDir;
use v5gate::data::batches::{Batches, Order, window_count};
use v5gate::data::cache::{CacheError, TokenFile};
use v5gate::data::corpora::{self, Format};
use v5gate::data::dataset::{DataSpec, prepare};
use v5gate::data::synthetic::canaries;
use v5gate::data::synthetic::cloze::{self, Rivals};
use v5gate::data::synthetic::conversations::{Amount, Split, conversations, tokenizer};
use v5gate::data::synthetic::grammar::{CANDIDATES, POOLS};
use v5gate::data::synthetic::item::ClozeItem;
use v5gate::data::tokenizer::Tokenizer;
use v5gate::evidence::{Canary, RecallTest};
use v5gate::files::digest_of_texts;

use crate::held_out::{leaks, variety};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn written(folder: &TempDir, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    path
}

fn talk(documents: usize) -> Vec<String> {
    conversations(1, Split::Train, Amount::Documents(documents))
}

fn bytes_only() -> Tokenizer {
    Tokenizer::train(&["any text has these bytes"], 257).unwrap()
}

fn message<T>(result: Result<T, impl std::error::Error>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

// ---- corpora

#[test]
fn plain_text_is_split_at_separator_lines() {
    let folder = folder();
    let path =
        written(&folder, "a.txt", "one\ntwo\n<|endoftext|>\n\n<|endoftext|>\nthree <|endoftext|> here\n");
    let corpus = corpora::read(&path, None).unwrap();
    assert_eq!(corpus.documents, ["one\ntwo\n", "three <|endoftext|> here\n"]);
    assert_eq!(corpus.name, "a.txt");
}

#[test]
fn wikitext_is_split_at_level_one_headings_only() {
    let folder = folder();
    let text = " \n = First = \n \n Body . \n \n = = Part = = \n \n = not a heading =\n More . \n \n = Second = \n \n Body . \n";
    let corpus = corpora::read(&written(&folder, "wiki.x.tokens", text), None).unwrap();
    assert_eq!(corpus.documents.len(), 2);
    assert!(corpus.documents[0].contains("= = Part = =") && corpus.documents[0].contains("not a heading"));
    assert!(corpus.documents[1].starts_with(" = Second ="));
}

#[test]
fn json_lines_give_their_text() {
    let folder = folder();
    let path = written(&folder, "a.jsonl", "{\"text\": \"one\", \"id\": 1}\n\n{\"text\": \"two\"}\n");
    assert_eq!(corpora::read(&path, None).unwrap().documents, ["one", "two"]);
}

#[test]
fn a_corpus_that_cannot_be_read_says_where_and_why() {
    let folder = folder();
    let read = |path: &Path| message(corpora::read(path, None));
    assert!(read(&folder.path().join("none.txt")).contains("none.txt"));
    assert!(read(folder.path()).contains("expected a file, got a folder"));
    assert!(read(&written(&folder, "a.bin", "x")).contains("cannot tell the format"));
    assert!(read(&written(&folder, "empty.txt", "\n<|endoftext|>\n \n")).contains("at least one document"));
    assert!(
        read(&written(&folder, "bad.jsonl", "{\"text\": \"one\"}\n{\"txt\": 1}\n"))
            .contains("bad.jsonl, line 2")
    );
    let no_heading = "Once upon a time .\n\n = = Part = = \n\n There was . \n";
    assert!(read(&written(&folder, "wiki.x.raw", no_heading)).contains("wiki.x.raw: expected WikiText"));
    assert!(read(&written(&folder, "wiki.y.raw", " \n")).contains("at least one document"));
    assert!(read(&written(&folder, "bad.txt", b"fine\nfine\n\xff\n")).contains("bad.txt, line 3"));
    let stated = corpora::read(&written(&folder, "b.bin", "x"), Some(Format::Text));
    assert_eq!(stated.unwrap().documents, ["x\n"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Documents come one after another as they would from the whole text, whatever ends its lines.
    #[test]
    fn documents_are_those_of_the_whole_text(
        lines in prop::collection::vec(prop_oneof!["[a-z\u{e9} ]{0,300}", Just("<|endoftext|>".to_owned())], 0..40),
        ends in prop::collection::vec(prop_oneof![Just("\n"), Just("\r\n")], 40),
        marked: bool,
        last_ends: bool,
    ) {
        let mut text: String = lines.iter().zip(&ends).map(|(line, end)| format!("{line}{end}")).collect();
        if !last_ends {
            text.truncate(text.trim_end_matches(['\r', '\n']).len());
        }
        let all = text.lines().map(|line| format!("{line}\n")).collect::<String>();
        let mut expected = vec![String::new()];
        for line in all.split_inclusive('\n') {
            match line.trim() == "<|endoftext|>" {
                true => expected.push(String::new()),
                false => expected.last_mut().unwrap().push_str(line),
            }
        }
        expected.retain(|document| !document.trim().is_empty());
        let folder = folder();
        let mark = if marked { "\u{feff}" } else { "" };
        match corpora::read(&written(&folder, "a.txt", format!("{mark}{text}")), None) {
            Ok(corpus) => prop_assert_eq!(corpus.documents, expected),
            Err(error) => prop_assert!(expected.is_empty(), "{}", error),
        }
    }
}

// ---- tokenizer

/// A prefix that is longer than what it would stand before: the library computes a negative length.
#[test]
fn a_tokenizer_that_its_library_panics_over_is_refused() {
    let folder = folder();
    let model = serde_json::json!({
        "type": "BPE", "continuing_subword_prefix": "####", "merges": [["l", "o"]],
        "vocab": {"l": 0, "o": 1, "lo": 2, "<|endoftext|>": 3},
    });
    let file = serde_json::json!({"version": "1.0", "added_tokens": [], "model": model});
    let path = written(&folder, "tokenizer.json", file.to_string());
    let said = message(Tokenizer::from_file(&path));
    assert!(said.contains("tokenizer.json") && said.contains("panicked"), "{said}");
}

#[test]
fn training_a_tokenizer_twice_gives_the_same_whatever_the_threads() {
    let text = talk(300);
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| Tokenizer::train(&text, 700)).unwrap().digest().to_owned()
    };
    let one = with(1);
    assert!([1, 2, 3, 8].into_iter().all(|threads| with(threads) == one));
}

#[test]
fn text_survives_encoding_and_a_tokenizer_survives_saving() {
    let folder = folder();
    let tokenizer = Tokenizer::train(&talk(200), 600).unwrap();
    let text = "A: My car is red.\n\tÜber 東京 🦀 <|endoftext|>";
    let ids = tokenizer.encode(text).unwrap();
    assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    assert_eq!(ids.last(), Some(&tokenizer.eot()));
    assert_eq!(tokenizer.vocab_size(), 600);
    let path = folder.path().join("deep/tokenizer.json");
    tokenizer.save(&path).unwrap();
    let loaded = Tokenizer::from_dir(&folder.path().join("deep")).unwrap();
    assert_eq!(loaded.digest(), tokenizer.digest());
    assert_eq!(loaded.encode(text).unwrap(), ids);
}

#[test]
fn vocabulary_and_merges_load_as_gpt2_has_them() {
    let folder = folder();
    let mut letters: Vec<String> = ["H", "e", "l", "o", "Ġ", "w", "r", "d"].map(String::from).to_vec();
    letters.extend(["ll", "Ġw", "<|endoftext|>"].map(String::from));
    let vocab: std::collections::BTreeMap<_, _> =
        letters.iter().enumerate().map(|(id, token)| (token, id)).collect();
    written(&folder, "vocab.json", serde_json::to_string(&vocab).unwrap());
    assert!(message(Tokenizer::from_dir(folder.path())).contains("found neither"));
    written(&folder, "merges.txt", "#version: 0.2\nl l\nĠ w\n");
    let tokenizer = Tokenizer::from_dir(folder.path()).unwrap();
    assert_eq!(tokenizer.encode("Hello world").unwrap(), [0, 1, 8, 3, 9, 3, 6, 2, 7]);
    assert_eq!(
        (tokenizer.eot(), tokenizer.single_token(" w"), tokenizer.single_token("He")),
        (10, Some(9), None)
    );
}

/// Runs where the public files are at hand: `V5_DATA` names the folder they are in.
#[test]
fn public_gpt2_tokenizer_gives_its_published_ids() {
    let Some(data) = std::env::var_os("V5_DATA") else {
        return;
    };
    let tokenizer = Tokenizer::from_dir(&Path::new(&data).join("gpt2_tokenizer")).unwrap();
    assert_eq!(tokenizer.encode("Hello world").unwrap(), [15496, 995]);
    assert_eq!((tokenizer.vocab_size(), tokenizer.eot()), (50257, 50256));
    let values = POOLS.iter().flat_map(|pool| pool.values);
    assert!(values.into_iter().all(|value| tokenizer.single_token(&format!(" {value}")).is_some()));
}

#[test]
fn a_vocabulary_that_cannot_be_had_is_refused() {
    assert!(message(Tokenizer::train(&["text"], 200)).contains("at least 257"));
    assert!(message(Tokenizer::train(&["text"], 5000)).contains("enough for 5000 tokens"));
}

// ---- cache

fn token_file(path: &Path, documents: &[&str]) -> Result<TokenFile, CacheError> {
    let documents: Vec<String> = documents.iter().map(|text| (*text).to_owned()).collect();
    TokenFile::build_or_open(path, &digest_of_texts(&documents), &bytes_only(), &documents)
}

#[test]
fn a_token_file_gives_back_its_documents() {
    let folder = folder();
    let path = folder.path().join("a.tokens");
    let built = token_file(&path, &["one", "", "three"]).unwrap();
    let opened = token_file(&path, &["one", "", "three"]).unwrap();
    assert_eq!(built.digest(), opened.digest());
    let tokenizer = bytes_only();
    let text = |i| tokenizer.decode(&opened.tokens(opened.document(i)).collect::<Vec<_>>()).unwrap();
    assert_eq!([text(0), text(1), text(2)], ["one", "", "three"]);
    let whole: Vec<u32> = opened.tokens(0..opened.len()).collect();
    assert_eq!(tokenizer.decode(&whole).unwrap(), "one<|endoftext|><|endoftext|>three<|endoftext|>");
}

#[test]
fn a_token_file_of_something_else_is_refused_and_left_alone() {
    let folder = folder();
    let path = folder.path().join("a.tokens");
    token_file(&path, &["one"]).unwrap();
    let before = fs::read(&path).unwrap();
    let other_text = message(token_file(&path, &["two"]));
    assert!(other_text.contains("field source: expected"), "{other_text}");
    let tokenizer = Tokenizer::train(&talk(50), 300).unwrap();
    let one = ["one".to_owned()];
    let other_tokenizer = message(TokenFile::build_or_open(&path, &digest_of_texts(&one), &tokenizer, &one));
    assert!(other_tokenizer.contains("field tokenizer: expected") && other_tokenizer.contains("a.tokens"));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_damaged_token_file_is_refused() {
    let folder = folder();
    let path = folder.path().join("a.tokens");
    token_file(&path, &["one", "two"]).unwrap();
    let whole = fs::read(&path).unwrap();
    let reopened = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        message(token_file(&path, &["one", "two"]))
    };
    let flip = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    assert!(reopened(&flip(4096 + 2)).contains("payload corrupt: expected sha256"));
    assert!(reopened(&flip(whole.len() - 1)).contains("payload corrupt"));
    assert!(reopened(&whole[..whole.len() - 1]).contains("truncated"));
    assert!(reopened(&whole[..100]).contains("something else"));
    assert!(reopened(&flip(0)).contains("something else"));
    assert!(reopened(b"").contains("a.tokens"));
    // Wherever a byte of the header's own text is flipped, somebody notices.
    let end = whole.iter().position(|&byte| byte == b'}').unwrap();
    (16..=end).for_each(|at| assert!(!reopened(&flip(at)).is_empty()));
}

#[test]
fn ids_outside_the_vocabulary_are_refused_with_their_position() {
    let folder = folder();
    let path = folder.path().join("a.tokens");
    let ids = vec![vec![1, 2], vec![3, 257]];
    let refused = message(TokenFile::from_ids(&path, "none", &bytes_only(), ids));
    assert!(refused.contains("token 4: expected an id below 257, got 257"), "{refused}");
    assert!(message(token_file(&path, &[])).contains("at least one document"));
    assert!(!path.exists());
}

// ---- batches

#[test]
fn batches_follow_the_order_and_targets_follow_inputs() {
    let folder = folder();
    let file = token_file(&folder.path().join("a.tokens"), &["abcdefghijklmnopqrstuvw"]).unwrap();
    let windows = window_count(file.len(), 5);
    assert_eq!((file.len(), windows), (24, 4));
    let order = Order::draw(windows, 9, 7).unwrap();
    let batches = Batches::new(&file, order.clone(), 5).unwrap();
    for (position, &window) in order.windows().iter().enumerate() {
        let batch = batches.get(position, 1).unwrap();
        let start = window as usize * 5;
        assert_eq!(batch.inputs, file.tokens(start..start + 5).collect::<Vec<_>>());
        assert_eq!(batch.targets, file.tokens(start + 1..start + 6).collect::<Vec<_>>());
    }
    let two = batches.get(3, 2).unwrap();
    assert_eq!(two.inputs[5..], batches.get(4, 1).unwrap().inputs);
    assert!(message(batches.get(8, 2)).contains("expected 2 windows from position 8"));
    assert!(message(Batches::new(&file, order, 6)).contains("expected a window below 3"));
    assert!(message(Batches::in_sequence(&file, 24)).contains("at least 25 tokens"));
    assert_eq!(Batches::in_sequence(&file, 5).unwrap().order().windows(), [0, 1, 2, 3]);
}

#[test]
fn a_drawn_order_never_changes() {
    // Drawn once and written down: another generator, shuffle or seeding would show here.
    assert_eq!(Order::draw(8, 12, 42).unwrap().windows(), [4, 5, 1, 3, 2, 6, 0, 7, 3, 4, 6, 5]);
}

/// Of two processes that write an order one may be killed after the other has ended.
#[test]
fn an_order_that_is_found_leaves_nothing_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let (path, half) = (folder.path().join("seed-1.npy"), folder.path().join(".writing-seed-1.npy-abcdef"));
    let order = Order::draw(9, 9, 1).unwrap();
    order.save_or_verify(&path).unwrap();
    fs::write(&half, "half").unwrap();
    assert_eq!(order.save_or_verify(&path).unwrap(), order);
    assert!(!half.exists());
}

#[test]
fn a_file_that_is_no_order_is_refused() {
    let folder = folder();
    let path = folder.path().join("order.npy");
    assert!(message(Order::load_npy(&path)).contains("order.npy"));
    Order::draw(9, 9, 1).unwrap().save_npy(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!((bytes.len() - 36) % 64, 0);
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let said = message(Order::load_npy(&path));
        assert!(said.contains("order.npy") && said.contains("expected a"), "{said}");
    };
    [4, 3, bytes.len() - 9].iter().for_each(|lacking| refused(&bytes[..bytes.len() - lacking]));
    refused(&[&bytes[..], &[0; 4]].concat());
    // Shapes and types that are not there, in as many letters.
    for (from, to) in [("(9,)", "(8,)"), ("<u4", "<i4"), ("(9,)", "(0x)"), ("NUMPY", "NUMPX")] {
        let at = bytes.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
        refused(&[&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat());
    }
    let long = "{'descr': '<u4', 'fortran_order': False, 'shape': (4611686018427387904,), }\n";
    refused(&[b"\x93NUMPY\x01\x00", &(long.len() as u16).to_le_bytes()[..], long.as_bytes()].concat());
}

/// A token file of three tokens whose digest fits, whatever it says.
fn made_tokens(folder: &TempDir, ids: [u16; 3], offsets: [u64; 3]) -> PathBuf {
    let payload: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).chain([0; 2]).collect();
    let payload = [payload, offsets.iter().flat_map(|at| at.to_le_bytes()).collect()].concat();
    let header = serde_json::json!({
        "tokenizer": "t", "source": "s", "vocab_size": 10, "tokens": 3, "documents": 2, "width": 2,
        "payload": v5gate::files::sha256(&payload),
    });
    let json = header.to_string().into_bytes();
    let mut file = [b"V5TOKENS\x01\0\0\0", &(json.len() as u32).to_le_bytes()[..], &json].concat();
    file.resize(4096, 0);
    written(folder, "made.tokens", [file, payload].concat())
}

#[test]
fn a_digest_that_fits_is_not_enough_for_a_token_file() {
    let folder = folder();
    let open = |ids, offsets| TokenFile::open(&made_tokens(&folder, ids, offsets));
    assert_eq!(open([1, 9, 9], [0, 2, 3]).unwrap().document(0), 0..1);
    assert!(message(open([1, 10, 9], [0, 2, 3])).contains("token 1: expected an id below 10, got 10"));
    for offsets in [[1, 2, 3], [0, 2, 2], [0, 0, 3], [0, 4, 3], [0, u64::MAX, 3], [0, 2, 4]] {
        assert!(message(open([1, 9, 9], offsets)).contains("2 documents that follow"), "{offsets:?}");
    }
}

proptest! {
    #[test]
    fn every_window_comes_once_per_epoch(windows in 1usize..200, epochs in 1usize..4, seed: u64) {
        let order = Order::draw(windows, windows * epochs, seed).unwrap();
        for epoch in order.windows().chunks(windows) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            prop_assert!(sorted.into_iter().eq(0..windows as u32));
        }
        let shorter = Order::draw(windows, windows * epochs - 1, seed).unwrap();
        prop_assert_eq!(shorter.windows(), &order.windows()[..order.len() - 1]);
    }

    #[test]
    fn an_order_survives_saving_and_its_seed_names_it(windows in 20usize..200, seed: u64) {
        let folder = folder();
        let path = folder.path().join("order.npy");
        let order = Order::draw(windows, windows, seed).unwrap();
        order.save_npy(&path).unwrap();
        let loaded = Order::load_npy(&path).unwrap();
        prop_assert_eq!(&loaded, &order);
        prop_assert_eq!(loaded.digest(), Order::draw(windows, windows, seed).unwrap().digest());
        prop_assert_ne!(loaded.digest(), Order::draw(windows, windows, seed ^ 1).unwrap().digest());
    }
}

// ---- conversations

#[test]
fn conversations_depend_on_seed_and_split_only() {
    let ten = |seed, split| conversations(seed, split, Amount::Documents(10));
    assert_eq!(ten(1, Split::Train), ten(1, Split::Train));
    assert_ne!(ten(1, Split::Train), ten(2, Split::Train));
    assert_ne!(ten(1, Split::Train), ten(1, Split::Valid));
    let more = conversations(1, Split::Train, Amount::Tokens(20_000));
    assert_eq!(more[..10], ten(1, Split::Train));
}

#[test]
fn training_text_states_nothing_that_evaluation_asks() {
    for split in [Split::Train, Split::Valid] {
        let text = conversations(3, split, Amount::Documents(2000)).concat();
        assert_eq!(leaks(&text), Vec::<String>::new());
    }
}

#[test]
fn a_leak_would_be_found() {
    let found = |text: &str| leaks(text).len();
    assert_eq!(found("A: My favorite color is red.\n"), 1);
    assert_eq!(found("B: I think your favorite color is red.\n"), 1);
    assert_eq!(found("A: My favorite color is blue.\n"), 0);
    assert_eq!(found("A: Alice is 30. Bob is 25.\n"), 1);
    assert_eq!(found("B: The older one is Alice.\n"), 1);
    assert_eq!(found("A: As I told you, my car is red.\n"), 1);
    for item in tests().filter(|test| *test != "document_wording").flat_map(items) {
        // A canary's instruction may be all that nobody is taught.
        let least = if Canary::find(item.test).is_some() { 1 } else { 3 };
        let text = format!("{}{}{}", item.context, item.stem, item.candidates[item.truth]);
        assert!(found(&text) >= least, "{item:?}");
    }
}

#[test]
fn there_is_much_to_say() {
    let variety = variety(&talk(2000));
    insta::assert_debug_snapshot!(variety);
}

#[test]
fn values_are_stated_equally_often() {
    // In how many conversations, since within one a value comes back as often as it is asked for.
    let texts = conversations(5, Split::Train, Amount::Documents(6000));
    for pool in &POOLS {
        let counts = pool
            .values
            .map(|value| texts.iter().filter(|text| words(text).any(|word| word == value)).count() as f64);
        let mean = counts.iter().sum::<f64>() / counts.len() as f64;
        // Counts scatter by about the root of their mean.
        let even = counts.iter().all(|count| (count - mean).abs() < 4.5 * mean.sqrt());
        assert!(even, "{} {counts:?}", pool.name);
    }
}

// ---- cloze items

fn items(test: &str) -> Vec<ClozeItem> {
    cloze::items(test, Rivals::Absent).or_else(|| canaries::items(test, words_and_values())).unwrap()
}

/// With those of the gated scales.
fn all_items(test: &str) -> Vec<ClozeItem> {
    [items(test), cloze::items(test, Rivals::Named).unwrap_or_default()].concat()
}

/// The vocabulary of SMOKE, learnt once.
fn words_and_values() -> &'static Tokenizer {
    static LEARNT: LazyLock<Tokenizer> = LazyLock::new(|| {
        let text = conversations(1, Split::Train, Amount::Tokens(1_000_000));
        tokenizer(&text, 1024).unwrap()
    });
    &LEARNT
}

/// Recall tests and canaries.
fn tests() -> impl Iterator<Item = &'static str> {
    let recall = RecallTest::ALL.iter().map(|test| test.name());
    recall.chain([cloze::DOCUMENT_WORDING]).chain(Canary::ALL.iter().map(|canary| canary.name()))
}

/// Candidates that an item mentions: the truth, and those that it could be mistaken for.
fn mentioned(test: &str, template: usize) -> usize {
    match (test, template) {
        ("contextual_correction" | "multi_fact_composition" | "persona_consistency", _)
        | ("document_wording", 1 | 3) => 2,
        ("C1d" | "C2b" | "C3b" | "C5c" | "C6a" | "C6b", _) => 2,
        ("C3c", template) => 2 + template % 2,
        _ => 1,
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric())
}

#[test]
fn every_item_states_its_truth_and_nothing_else_gives_it_away() {
    for item in tests().flat_map(all_items) {
        let truth = item.candidates[item.truth].trim();
        assert_eq!(item.candidates.len(), CANDIDATES);
        let mut unique = item.candidates.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), CANDIDATES);
        assert!(item.context[item.evidence..].starts_with(truth), "{item:?}");
        assert!(!words(&item.context[item.evidence + truth.len()..]).any(|word| word == truth));
        assert!(
            item.candidates.iter().all(|value| !words(&item.stem).any(|word| word == value.trim())),
            "{item:?}"
        );
        let found =
            item.candidates.iter().filter(|value| words(&item.context).any(|word| word == value.trim()));
        let rivals = if item.rivals { 4 } else { 0 };
        assert_eq!(found.count(), mentioned(item.test, item.template) + rivals, "{item:?}");
    }
    assert!(
        cloze::items("no such test", Rivals::Named).is_none()
            && canaries::items("C7", words_and_values()).is_none()
    );
}

#[test]
fn every_template_comes_once_with_every_candidate_and_is_otherwise_the_same() {
    for test in tests() {
        for template in all_items(test).chunks(CANDIDATES) {
            let truths: Vec<usize> = template.iter().map(|item| item.truth).collect();
            assert_eq!(truths, (0..CANDIDATES).collect::<Vec<_>>());
            // Whoever ignores the context sees one and the same question, so is right once in K.
            assert!(
                template
                    .iter()
                    .all(|item| item.stem == template[0].stem && item.template == template[0].template)
            );
            assert!(template.iter().all(|item| item.candidates == template[0].candidates));
            let blanked = |item: &ClozeItem| {
                let blank = |word| {
                    if item.candidates.iter().any(|value| value.trim() == word) { "_" } else { word }
                };
                words(&item.context).map(blank).collect::<Vec<_>>().join(" ")
            };
            let two_people = matches!(
                (test, template[0].template),
                ("multi_fact_composition", _) | ("document_wording", 3) | ("C2b", 0 | 1)
            );
            let step = if two_people { 2 } else { 1 };
            assert!(template.iter().step_by(step).all(|item| blanked(item) == blanked(&template[0])));
        }
        assert_eq!(items(test), items(test));
    }
}

/// Ruling R16: from the gated scales on half of the items of these tests name other candidates in other roles, before
/// and after the fact; whoever goes by place or number of mentions stays below the midpoint of chance and 1.
#[test]
fn readers_without_understanding_fail_where_rivals_are_named() {
    for test in RecallTest::ALL {
        assert!(items(test.name()).iter().all(|item| !item.rivals));
        let all = cloze::items(test.name(), Rivals::Named).unwrap();
        let with: Vec<&ClozeItem> = all.iter().filter(|item| item.rivals).collect();
        if !test.has_rivals() {
            assert!(with.is_empty());
            continue;
        }
        assert_eq!(2 * with.len(), all.len(), "{}", test.name());
        let plain = items(test.name()).into_iter().zip(&all).filter(|(_, item)| !item.rivals);
        assert!(plain.into_iter().all(|(plain, item)| plain == *item), "the others stay as they were");
        let mut places = [0; 8];
        let (mut first, mut last, mut most) = (0, 0, 0.0);
        for item in &with {
            let candidate = |word: &str| item.candidates.iter().position(|value| value.trim() == word);
            let named: Vec<usize> = words(&item.context).filter_map(candidate).collect();
            places[named.iter().position(|named| *named == item.truth).unwrap()] += 1;
            first += usize::from(named.first() == Some(&item.truth));
            last += usize::from(named.last() == Some(&item.truth));
            let count = |i: usize| named.iter().filter(|named| **named == i).count();
            let top = (0..CANDIDATES).map(count).max().unwrap();
            let tied = (0..CANDIDATES).filter(|i| count(*i) == top).count();
            most += if count(item.truth) == top { 1.0 / tied as f64 } else { 0.0 };
        }
        let midpoint = (1.0 + 1.0 / CANDIDATES as f64) / 2.0 * with.len() as f64;
        assert!((first as f64) < midpoint && (last as f64) < midpoint && most < midpoint);
        // Each place alike; in a persona one fact of its own stands beside the truth.
        if *test != RecallTest::PersonaConsistency {
            assert!(places[..5].iter().all(|n| 5 * n == with.len()), "{} {places:?}", test.name());
        }
    }
}

#[test]
fn neither_place_nor_name_answers_a_comparison() {
    for template in items("multi_fact_composition").chunks(CANDIDATES) {
        let first = |item: &&ClozeItem| {
            let mentioned =
                words(&item.context).find(|word| item.candidates.iter().any(|value| value.trim() == *word));
            mentioned == Some(item.candidates[item.truth].trim())
        };
        assert_eq!(template.iter().filter(first).count(), CANDIDATES / 2);
        for name in &template[0].candidates {
            let mentions =
                template.iter().filter(|item| words(&item.context).any(|word| word == name.trim())).count();
            assert_eq!(mentions, 2);
        }
    }
}

#[test]
fn candidates_are_single_tokens_and_versions_equally_long() {
    let tokenizer = words_and_values();
    assert_eq!(cloze::split_candidates(tokenizer), Vec::<String>::new());
    for test in tests() {
        for template in all_items(test).chunks(CANDIDATES) {
            let length = |item: &ClozeItem| tokenizer.encode(&item.context).unwrap().len();
            // The document's own words begin with a name, which has no space before it there.
            let equal = template.iter().all(|item| length(item) == length(&template[0]));
            assert!(equal || test == "document_wording", "{test}");
            for value in &template[0].candidates {
                assert!(tokenizer.single_token(value).is_some(), "{value}");
            }
        }
    }
}

/// Who only knows which candidates were mentioned is right as often for each of them.
#[test]
fn another_candidate_is_as_often_the_right_one() {
    for test in tests().filter(|test| mentioned(test, 0) > 1 && *test != "document_wording") {
        for template in items(test).chunks(CANDIDATES) {
            for value in &template[0].candidates {
                let shown = |item: &&ClozeItem| words(&item.context).any(|word| word == value.trim());
                let times = template.iter().filter(shown).count();
                assert_eq!(times, mentioned(test, template[0].template), "{test} {value}");
            }
        }
    }
}

#[test]
fn canaries_have_the_lengths_they_say() {
    let sentences = |item: &ClozeItem| {
        let after = item.context[item.evidence..].lines().skip(1);
        after.map(|line| line.matches(['.', '?']).count()).sum::<usize>()
    };
    // The question is one more.
    for (canary, between) in [("C1a", 0), ("C1b3", 3), ("C1b", 5), ("C1c", 10), ("C1d", 5)] {
        assert!(items(canary).iter().all(|item| sentences(item) == between + 1), "{canary}");
    }
    for canary in Canary::ALL.iter().map(|canary| canary.name()) {
        let variants = items(canary).len() / CANDIDATES;
        assert!((3..=5).contains(&variants), "{canary} has {variants} variants");
    }
    let turns = |item: &ClozeItem| item.context[item.evidence..].lines().count() - 1;
    assert!(items("C5b").iter().all(|item| turns(item) >= 5));
    for topics in items("C3a").chunks(CANDIDATES).map(|template| &template[0]) {
        let changes = topics
            .context
            .lines()
            .filter(|line| line.contains("Let us leave that") || line.contains("Here is another matter"));
        assert!((4..=5).contains(&changes.count()));
    }
    // Three facts in 2,000 tokens, as the vocabulary at hand counts them.
    let tokens = |text: &str| words_and_values().encode(text).unwrap().len();
    for item in items("C2a") {
        assert!((1_950..=2_200).contains(&tokens(&item.context)), "{}", tokens(&item.context));
    }
    let distance = |template: usize| {
        let item = &items("C2a")[template * CANDIDATES];
        tokens(&item.context[item.evidence..]) as f64 / 2_000.0
    };
    assert!(
        (distance(0) - 1.0).abs() < 0.1
            && (distance(1) - 0.67).abs() < 0.1
            && (distance(2) - 0.33).abs() < 0.1
    );
}

#[test]
fn retention_items_have_as_many_turns_as_they_say() {
    for turns in [1, 5, 10, 20, 50] {
        for item in items(&format!("retention_{turns}")) {
            assert_eq!(item.context[item.evidence..].lines().count(), turns + 1);
        }
    }
}

// ---- data sets

fn small() -> DataSpec {
    DataSpec::Conversations { seed: 1, train_tokens: 100_000, valid_documents: 20, vocab_size: 1024 }
}

#[test]
fn a_prepared_data_set_is_found_again() {
    let cache = folder();
    let first = prepare(&small(), None, cache.path()).unwrap();
    let started = std::time::Instant::now();
    let second = prepare(&small(), None, cache.path()).unwrap();
    assert!(started.elapsed().as_secs_f64() < 1.0);
    assert_eq!(first.digest, second.digest);
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1);
    assert_eq!((second.valid.documents(), second.tokenizer.vocab_size()), (20, 1024));
    let DataSpec::Conversations { train_tokens, valid_documents, vocab_size, .. } = small() else {
        unreachable!()
    };
    let other = DataSpec::Conversations { seed: 2, train_tokens, valid_documents, vocab_size };
    assert_ne!(prepare(&other, None, cache.path()).unwrap().digest, first.digest);
}

#[test]
fn a_vocabulary_too_small_for_the_items_is_refused() {
    let cache = folder();
    let spec = DataSpec::Conversations { seed: 1, train_tokens: 10_000, valid_documents: 2, vocab_size: 500 };
    let refused = message(prepare(&spec, None, cache.path()));
    assert!(refused.contains("got 500 tokens and these split"), "{refused}");
}

#[test]
fn text_files_are_prepared_with_a_tokenizer_learnt_or_given() {
    let (cache, data) = (folder(), folder());
    written(&data, "train.txt", talk(100).join("<|endoftext|>\n"));
    written(&data, "valid.txt", conversations(1, Split::Valid, Amount::Documents(5)).join("<|endoftext|>\n"));
    let spec = |valid: &str, tokenizer: &str| DataSpec::Text {
        train: "train.txt".into(),
        valid: valid.into(),
        tokenizer: tokenizer.into(),
    };
    let learnt = prepare(&spec("valid.txt", "train:400"), Some(data.path()), cache.path()).unwrap();
    assert_eq!((learnt.train.documents(), learnt.valid.documents()), (100, 5));
    learnt.tokenizer.save(&data.path().join("t.json")).unwrap();
    let given = prepare(&spec("valid.txt", "t.json"), Some(data.path()), cache.path()).unwrap();
    assert_eq!(given.digest, learnt.digest);
    let refused = |spec, data| message(prepare(&spec, data, cache.path()));
    assert!(
        refused(spec("train.txt", "train:400"), Some(data.path()))
            .contains("got 100, the first being number 0")
    );
    assert!(refused(spec("valid.txt", "train:x"), Some(data.path())).contains("\"train:x\""));
    assert!(refused(spec("none.txt", "t.json"), Some(data.path())).contains("none.txt"));
    assert!(refused(spec("valid.txt", "none.json"), Some(data.path())).contains("none.json"));
    assert!(refused(spec("valid.txt", "t.json"), None).contains("expected a data folder"));
}

#[test]
fn a_misspelt_field_is_refused() {
    let good = serde_json::to_string(&small()).unwrap();
    assert_eq!(serde_json::from_str::<DataSpec>(&good).unwrap(), small());
    let bad = good.replace("\"seed\"", "\"sead\":1,\"seed\"");
    assert!(message(serde_json::from_str::<DataSpec>(&bad)).contains("sead"));
    let toml = "kind = \"text\"\ntrain = \"a\"\nvalid = \"b\"\ntokenizer = \"train:300\"\nextra = 1\n";
    assert!(toml::from_str::<DataSpec>(toml).unwrap_err().to_string().contains("extra"));
}
