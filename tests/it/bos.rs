//! Tokens before a text: the numbers of the EleutherAI harness where a tokenizer puts one before every text, or names a
//! beginning that is not its end (`fixtures/reference/harness_bos.py`); and vocabularies that are learnt.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::Deserialize;
use v5gate::data::tokenizer::{Tokenizer, TokenizerError};
use v5gate::data::vocabulary::Patience;
use v5gate::probes::{Request, windows};
use v5gate::train::load_model;

#[derive(Deserialize)]
struct Table {
    pairs: Vec<(String, String)>,
    rolling: Vec<String>,
    expected: std::collections::BTreeMap<String, Expected>,
}

#[derive(Deserialize)]
struct Expected {
    pairs: Vec<f64>,
    rolling: Vec<f64>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/bos")
}

#[test]
fn tokens_before_a_text_are_those_of_the_harness() {
    const WINDOW: usize = 16;
    let model = load_model(&fixtures()).unwrap();
    let score = |request: &Request| -> f64 {
        let mut tokens = [&request.context[..], &request.continuation].concat();
        tokens.drain(..tokens.len().saturating_sub(WINDOW + 1));
        let mut state = model.new_state(1).unwrap();
        let losses = model.losses(&tokens[..tokens.len() - 1], &tokens[1..], &mut state).unwrap();
        -losses[losses.len() - request.continuation.len()..].iter().sum::<f64>()
    };
    let table: Table =
        serde_json::from_str(&fs::read_to_string(fixtures().join("expected.json")).unwrap()).unwrap();
    assert_eq!(table.expected.len(), 4);
    for (version, expected) in &table.expected {
        let tokenizer = Tokenizer::from_dir(&fixtures().join(version)).unwrap();
        let near = |got: f64, want: f64, what: &str| {
            assert!((got - want).abs() < 1e-4, "{version}, {what:?}: {got}, the harness {want}");
        };
        for ((context, continuation), want) in table.pairs.iter().zip(&expected.pairs) {
            let pair = Request::pair(&tokenizer, (context, continuation), WINDOW, String::new).unwrap();
            near(score(&pair), *want, context);
        }
        for (text, want) in table.rolling.iter().zip(&expected.rolling) {
            let tokens = tokenizer.encode_with_special_tokens(text).unwrap();
            let got = windows(&tokens, tokenizer.bos(), WINDOW, WINDOW).iter().map(score).sum();
            near(got, *want, text);
        }
    }
}

#[test]
fn a_beginning_that_the_vocabulary_lacks_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(fixtures().join("plain/tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    fs::write(folder.path().join("tokenizer_config.json"), r#"{"bos_token": {"content": "[START]"}}"#)
        .unwrap();
    let error = Tokenizer::from_dir(folder.path()).unwrap_err().to_string();
    assert!(error.contains("tokenizer_config.json") && error.contains("[START]"), "{error}");
}

#[test]
fn tokenizers_that_give_other_ids_are_told_apart() {
    let read = |name: &str| Tokenizer::from_dir(&fixtures().join(name)).unwrap();
    assert!(read("plain").encodes_like(&read("plain")).unwrap());
    assert!(read("plain").encodes_like(&read("other_bos")).unwrap());
    assert!(!read("plain").encodes_like(&read("bos_before")).unwrap());
    let other = Tokenizer::train(&["other words than those, and other words"], 270).unwrap();
    assert!(!read("plain").encodes_like(&other).unwrap());
}

/// Made-up words enough that counting and merging take a while.
fn words() -> Vec<String> {
    let word = |n: u64| -> String {
        let letter =
            |i: u32| char::from(b'a' + (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (5 * i) & 15) as u8);
        (0..9).map(letter).collect()
    };
    (0..400).map(|d| (0..100).map(|w| word(100 * d + w)).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn learning_a_vocabulary_can_be_stopped_and_has_a_limit() {
    let documents = words();
    let patience = |stopping, limit| Patience { stopping, limit, ..Patience::endless() };
    let stopped =
        Tokenizer::learn(documents.iter(), documents.len(), 30_000, &patience(&|| true, Duration::MAX))
            .unwrap_err();
    assert!(matches!(stopped, TokenizerError::Interrupted(30_000)));
    // Not before words are counted, but when pairs are merged.
    let looks = AtomicUsize::new(0);
    let later = || looks.fetch_add(1, Ordering::Relaxed) > 0;
    let stopped =
        Tokenizer::learn(documents.iter(), documents.len(), 30_000, &patience(&later, Duration::MAX))
            .unwrap_err();
    assert!(matches!(stopped, TokenizerError::Interrupted(30_000)));
    let late =
        Tokenizer::learn(documents.iter(), documents.len(), 30_000, &patience(&|| false, Duration::ZERO))
            .unwrap_err();
    assert!(late.to_string().contains("30000 tokens was not done after 0 s"), "{late}");
}
