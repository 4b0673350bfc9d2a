//! Human comparisons: the page, its blinding, and what ratings amount to.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde_json::Value;
use v5gate::data::tokenizer::Tokenizer;
use v5gate::evaluate::{ReplyComparison, human_preference};
use v5gate::evidence::{Choice, Compared, Key, Line, Measurement, Metric, Pair, Rating, Tally, read_ratings};
use v5gate::probes::find_task;
use v5gate::progress::Screen;
use v5gate::report::rating_page;
use v5gate::statistics::krippendorff_alpha;
use v5gate::train::save_model;

use crate::benchmarks::{Files, small_tokenizer};
use crate::dialogues::speaker;
use crate::models::small;
use crate::world::World;

#[test]
fn agreement_is_krippendorff_s() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/reference/agreement.json");
    let cases: Vec<Value> = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(cases.len(), 200);
    let mut worst = 0.0f64;
    for case in &cases {
        let units: Vec<Vec<u64>> = serde_json::from_value(case["units"].clone()).unwrap();
        let (got, reference) = (krippendorff_alpha(&units).unwrap(), case["alpha"].as_f64().unwrap());
        // Sums of some hundred quotients: rounding is 1e-14; a unit more or less shows in the third digit.
        worst = worst.max((got - reference).abs());
    }
    assert!(worst < 1e-10, "{worst:e}");
    eprintln!("largest difference from krippendorff: {worst:.1e}");
}

fn key(a_is_left: &[bool]) -> Key {
    let compared = |name: &str| Compared {
        checkpoint: name.to_owned(),
        model: "gpt2".to_owned(),
        weights: format!("w{name}"),
        tokenizer: "t".to_owned(),
    };
    Key {
        page: "p1".to_owned(),
        file: String::new(),
        task: "dailydialog".to_owned(),
        data: "d".to_owned(),
        seed: 1,
        top_p: 0.9,
        device: "cpu".to_owned(),
        a: compared("a"),
        b: compared("b"),
        a_is_left: a_is_left.to_vec(),
    }
}

fn file(name: &str, rows: &str) -> (String, String) {
    (name.to_owned(), format!("page,rater,pair,choice\r\n{rows}"))
}

#[test]
fn ratings_amount_to_a_preference() {
    let key = key(&[true, false, true, false]);
    // Ann prefers A, A, tie and B; Bo A, B, and leaves two out.
    let files = [
        file("ann.csv", "p1,Ann,1,left\np1,Ann,2,right\np1,Ann,3,tie\np1,Ann,4,left\n"),
        file("bo.csv", "p1,\"Bo, \"\"B\"\"\",1,left\r\np1,\"Bo, \"\"B\"\"\",2,left\r\n"),
    ];
    let ratings = read_ratings(&key, &files).unwrap();
    assert_eq!(ratings[1], Rating { rater: "Ann".to_owned(), pair: 1, choice: Choice::Right });
    let tally = Tally::of(&key, &ratings);
    assert_eq!((tally.for_a, tally.for_b, tally.ties), (3, 2, 1));
    assert_eq!((tally.pairs, tally.rated, tally.missing), (4, 4, 2));
    assert_eq!((tally.preference, tally.left), (3.5 / 6.0, 4.5 / 6.0));
    assert_eq!(tally.raters.get("Bo, \"B\""), Some(&2));
    let [low, high] = tally.interval.unwrap();
    assert!(low < tally.preference && tally.preference < high);
    // Both rated A on the first pair and differ on the second: observed 1/2, of four ratings three A, expected 1/2.
    assert_eq!(tally.alpha, Some(0.0));
    // Who swaps the key swaps the preference.
    let swapped = Key { a_is_left: key.a_is_left.iter().map(|left| !left).collect(), ..key.clone() };
    assert!((Tally::of(&swapped, &ratings).preference + tally.preference - 1.0).abs() < 1e-12);
    // One rater, who always chooses the left side: no agreement to speak of, and no preference.
    let rows: String = (1..=4).map(|i| format!("p1,x,{i},left\n")).collect();
    let tally = Tally::of(&key, &read_ratings(&key, &[file("x", &rows)]).unwrap());
    assert_eq!((tally.preference, tally.left, tally.alpha), (0.5, 1.0, None));
}

#[test]
fn ratings_that_do_not_fit_are_refused() {
    let key = key(&[true, false]);
    let refused = |files: &[(String, String)]| read_ratings(&key, files).unwrap_err().to_string();
    let ann = file("ann.csv", "p1,Ann,1,left\n");
    for (rows, says) in [
        ("p2,Bo,1,left\n", "bo.csv, line 2: expected ratings of page p1, got of page p2"),
        ("p1,Bo,1,left\np1,Bo,3,left\n", "bo.csv, line 3: expected a pair of 1 to 2, got 3"),
        ("p1,Bo,0,left\n", "got 0"),
        ("p1,Ann,1,tie\n", "expected one rating, got another of pair 1 by \"Ann\""),
        ("p1,,1,tie\n", "no name"),
        ("p1,Bo,1,both\n", "bo.csv: expected columns page, rater, pair, choice"),
        ("p1,Bo,one,tie\n", "expected columns"),
        ("p1,Bo,1\n", "expected columns"),
    ] {
        let error = refused(&[ann.clone(), file("bo.csv", rows)]);
        assert!(error.contains(says), "{rows}: {error}");
    }
    let other = ("x.csv".to_owned(), "a,b\n1,2\n".to_owned());
    assert!(refused(&[other]).contains("x.csv: expected columns"));
    assert!(refused(&[file("x.csv", "")]).contains("at least one rating"));
}

#[test]
fn a_preference_becomes_evidence_about_the_model_that_is_no_baseline() {
    let mut world = World::good("full", &["8M"], 2);
    world.facts.retain(|key, _| key.3 != Metric::HumanPreference);
    let ledger = world.ledger();
    let compared = |model: &str, seed: u64| Compared {
        checkpoint: "c".to_owned(),
        model: model.to_owned(),
        weights: format!("weights-{model}-8M-{seed}"),
        tokenizer: "tokenizer".to_owned(),
    };
    let misread = Compared { tokenizer: "another".to_owned(), ..compared("groundthink", 43) };
    let between = |a: Compared, b: Compared| Key { a, b, ..key(&[true; 4]) };
    let rows = "p1,x,1,left\np1,x,2,left\np1,x,3,tie\np1,x,4,right\n";
    let found = |key: &Key| {
        let tally = Tally::of(key, &read_ratings(key, &[file("x", rows)]).unwrap());
        human_preference(&ledger, key, &tally).map(|line| match line {
            Line::Measurement(m) => m,
            other => panic!("{other:?}"),
        })
    };
    // A is preferred by 2.5 of 4.
    let as_a = found(&between(compared("groundthink", 43), compared("gpt2", 43))).unwrap();
    let as_b = found(&between(compared("gpt2", 43), compared("groundthink", 43))).unwrap();
    assert_eq!((as_a.value().raw(), as_b.value().raw()), (0.625, 0.375));
    let ends = |m: &Measurement| m.interval().unwrap().map(|end| end.raw());
    let [low, high] = ends(&as_a);
    assert_eq!(ends(&as_b), [1.0 - high, 1.0 - low]);
    for m in [&as_a, &as_b] {
        assert_eq!((m.subject().model.as_str(), m.subject().seed, m.n()), ("groundthink", 43, Some(4)));
        assert_eq!((m.provenance().probe.as_str(), m.provenance().validation.as_str()), ("human", "p1"));
        assert_eq!(m.provenance().weights, "weights-groundthink-8M-43");
    }
    for (a, b, says) in [
        (
            compared("groundthink", 43),
            compared("gpt2", 49),
            "evidence about c's weights and tokenizer, got none",
        ),
        (misread, compared("gpt2", 43), "evidence about c's weights and tokenizer, got none"),
        (compared("groundthink", 43), compared("gpt2", 42), "of its scale and trial"),
        (compared("groundthink", 43), compared("groundthink", 42), "expected gpt2 and another model"),
    ] {
        let error = found(&between(a, b)).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    // Nobody may make several pages and keep the best, nor one that cannot be made again beside the evidence.
    let good = between(compared("groundthink", 43), compared("gpt2", 43));
    let other = |change: fn(&mut Key)| {
        let mut key = good.clone();
        change(&mut key);
        found(&key).unwrap_err().to_string()
    };
    assert!(other(|key| key.seed = 2).contains("expected a page of seed 1 and nucleus 0.9"));
    assert!(other(|key| key.top_p = 0.5).contains("got seed 1, nucleus 0.5"));
    assert!(other(|key| key.device = "cuda".to_owned()).contains("made on \"cpu\""));
}

const HOSTILE: &str = "</script><img src=x onerror=\"alert(1)\">&lt;<!-- ' \u{202e}";

#[test]
fn what_models_say_is_text() {
    let text = |name: &str| format!("{HOSTILE} {name}");
    let pair = Pair {
        opening: vec![text("opening")],
        turns: vec![text("first"), text("last")],
        left: text("left"),
        right: String::new(),
    };
    let page = rating_page("0123abcd", &[pair]);
    assert!(!page.contains("<img") && !page.contains('\u{202e}') && page.contains("(says nothing)"));
    assert_eq!((page.matches("<script").count(), page.matches("</script>").count()), (1, 1));
    assert_eq!(
        page.matches("&lt;/script&gt;&lt;img src=x onerror=&quot;alert(1)&quot;&gt;&amp;lt;").count(),
        4
    );
    // Nothing is loaded: no address, and a policy that forbids it.
    for outside in ["http:", "https:", " src=", "url(", "@import", "fetch(", "innerHTML"] {
        let own = page.replace("img src=x", "");
        assert!(!own.contains(outside), "{outside}");
    }
    assert!(page.contains("default-src 'none'; script-src 'nonce-0123abcd'"));
}

/// A checkpoint of random weights.
fn checkpoint(folder: &Path, name: &str, which: usize, tokenizer: &Tokenizer) -> PathBuf {
    let path = folder.join(name);
    let model = speaker(&small()[which], 3, 64);
    save_model(&path, &model.config(), model.params(), tokenizer).unwrap();
    path
}

#[test]
fn a_page_is_blinded_and_drawn_from_its_seed() {
    let (files, tokenizer) = (Files::new(20, 31), small_tokenizer());
    let folder = tempfile::tempdir().unwrap();
    let a = checkpoint(folder.path(), "first-checkpoint", 0, &tokenizer);
    let b = checkpoint(folder.path(), "second-checkpoint", 1, &tokenizer);
    let (screen, stop) = (Screen::quiet(), AtomicBool::new(false));
    let made = |a: &Path, b: &Path, task: &str, pairs: usize, seed: u64| {
        let (task, data) = (find_task(task).unwrap(), files.folder());
        ReplyComparison {
            a,
            b,
            task,
            data,
            pairs,
            seed,
            top_p: 0.9,
            compute: v5gate::device::current(),
            screen: &screen,
            stop: &stop,
        }
        .run()
    };
    let (pairs, key) = made(&a, &b, "dailydialog", 12, 5).unwrap();
    assert_eq!((pairs.len(), key.a_is_left.len()), (12, 12));
    // No seed favours a model.
    assert_eq!(key.a_is_left.iter().filter(|left| **left).count(), 6);
    let again = made(&a, &b, "dailydialog", 12, 5).unwrap();
    assert_eq!((&again.0, &again.1), (&pairs, &key));
    assert_ne!(made(&a, &b, "dailydialog", 12, 6).unwrap().1.page, key.page);
    // Whoever is A says the same: the sides are drawn, the replies are not. Those of B and A are not those of A and B.
    let (turned, other) = made(&b, &a, "dailydialog", 12, 5).unwrap();
    let replies = |pairs: &[Pair], key: &Key| -> Vec<[String; 2]> {
        let of = |(pair, a_is_left): (&Pair, &bool)| match a_is_left {
            true => [pair.left.clone(), pair.right.clone()],
            false => [pair.right.clone(), pair.left.clone()],
        };
        pairs.iter().zip(&key.a_is_left).map(of).collect()
    };
    let of_others = replies(&turned, &other).into_iter().map(|[b, a]| [a, b]);
    assert_eq!(replies(&pairs, &key), of_others.collect::<Vec<_>>());
    assert_eq!((&other.a, &other.b), (&key.b, &key.a));
    assert_ne!(other.a_is_left, key.a_is_left);
    // Nothing in the source tells who is who.
    let page = rating_page(&key.page, &pairs);
    for secret in [&key.a, &key.b].iter().flat_map(|c| [&c.checkpoint, &c.model, &c.weights]) {
        assert!(!page.contains(secret.as_str()), "{secret}");
    }
    assert!(!page.contains("checkpoint") && !page.contains("seed"));
    // The key comes back from its file.
    assert_eq!(serde_json::from_str::<Key>(&serde_json::to_string(&key).unwrap()).unwrap(), key);
    let roles = made(&a, &b, "personachat", 3, 5).unwrap().0;
    assert!(roles.iter().all(|pair| pair.opening.len() == 1 && pair.turns.len() % 2 == 1));
    for (task, pairs, says) in [
        ("dailydialog", 21, "expected 1 to 20 pairs"),
        ("dailydialog", 0, "got 0"),
        ("ptb", 1, "task of dialogue"),
    ] {
        let error = made(&a, &b, task, pairs, 5).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
