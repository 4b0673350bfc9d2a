//! BLEU against sacreBLEU (`fixtures/reference/bleu_cases.py`).

use std::fs;
use std::path::Path;

use serde_json::Value;
use v5gate::probes::{BLEU_SIGNATURE, BleuCounts, distinct, tokens_13a};

/// Both sides take four logarithms and an exponential of at most 1e4 in float64, which keeps fourteen
/// digits of a score up to 100; a wrong count of one n-gram in some thousand shows in the fifth.
const APART: f64 = 1e-10;

fn reference() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/reference/bleu.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// The counts of a corpus by another way of counting.
fn counts<'a>(
    of: impl Fn(&str, &str) -> BleuCounts,
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) -> BleuCounts {
    pairs.fold(BleuCounts::default(), |sum, (hypothesis, reference)| sum + of(hypothesis, reference))
}

#[test]
fn lines_are_cut_as_sacrebleu_cuts_them() {
    for line in reference()["lines"].as_array().unwrap() {
        let [text, expected] = texts(line)[..] else { panic!("{line}") };
        assert_eq!(tokens_13a(text).join(" "), expected, "{text:?}");
    }
}

#[test]
fn every_corpus_scores_what_sacrebleu_says() {
    let golden = reference();
    assert_eq!(golden["signature"], BLEU_SIGNATURE);
    let corpora = golden["corpora"].as_array().unwrap();
    assert_eq!(corpora.len(), 200);
    let (mut worst, mut seen) = (0.0f64, [0; 2]);
    for case in corpora {
        let (hypotheses, references) = (texts(&case["hypotheses"]), texts(&case["references"]));
        let pairs = || hypotheses.iter().copied().zip(references.iter().copied());
        let got = counts(BleuCounts::of, pairs());
        let number = |value: &Value| value.as_f64().unwrap();
        let four = |name: &str| [0, 1, 2, 3].map(|n| number(&case[name][n]));
        assert_eq!((got.matched, got.total), (four("counts"), four("totals")));
        assert_eq!([got.hypothesis, got.reference], [0, 1].map(|i| number(&case["lengths"][i])));
        worst = worst.max((got.score() - number(&case["score"])).abs());
        for (n, expected) in case["distinct"].as_array().unwrap().iter().enumerate() {
            let got = distinct(&hypotheses, n + 1);
            assert!(expected.as_f64().map_or(got.is_nan(), |x| (got - x).abs() < APART), "{got} {expected}");
        }
        // Defects show: case thrown away, entities left as they are, a count not clipped.
        let lower = counts(|h, r| BleuCounts::of(&h.to_lowercase(), &r.to_lowercase()), pairs());
        let raw = counts(|h, r| BleuCounts::of(&h.replace('&', "& "), &r.replace('&', "& ")), pairs());
        seen[0] += usize::from((lower.score() - number(&case["score"])).abs() > 1e-6);
        seen[1] += usize::from((raw.score() - number(&case["score"])).abs() > 1e-6);
    }
    assert!(worst < APART, "{worst:e}");
    assert!(seen.iter().all(|n| *n > 10), "{seen:?}");
    eprintln!("largest difference from sacreBLEU: {worst:.1e}");
}
