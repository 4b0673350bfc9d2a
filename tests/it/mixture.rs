//! Mixtures (ruling R27): the order keeps the declared shares, and the whole path says what was learnt of each part.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use v5gate::data::batches::Order;
use v5gate::data::dataset::{DataSpec, PartSource, PartSpec, prepare, windows_in};
use v5gate::data::synthetic::conversations::{Amount, Split, conversations};
use v5gate::evidence::{CurveKind, Ledger, Metric, Value};

use crate::program::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any stretch from the start has the declared shares to within as many windows as there are parts; within a part every window comes
    /// once before one comes twice; a longer order begins with the shorter.
    #[test]
    fn an_order_is_mixed_as_declared(
        sizes in prop::collection::vec(1_usize..40, 1..6),
        weights in prop::collection::vec(1_u32..100, 6),
        needed in 1_usize..400,
        seed: u64,
    ) {
        let sum: u32 = weights[..sizes.len()].iter().sum();
        let mut start = 0;
        let parts: Vec<_> = sizes.iter().zip(&weights).map(|(&size, &weight)| {
            start += size;
            (start - size..start, f64::from(weight) / f64::from(sum))
        }).collect();
        let order = Order::draw_mixture(&parts, needed, seed).unwrap();
        prop_assert_eq!(order.len(), needed);
        let mut seen = vec![Vec::new(); parts.len()];
        for (i, &window) in order.windows().iter().enumerate() {
            let part = parts.iter().position(|(range, _)| range.contains(&(window as usize))).unwrap();
            seen[part].push(window);
            for (of, (_, share)) in seen.iter().zip(&parts) {
                let behind = share * (i + 1) as f64 - of.len() as f64;
                prop_assert!(behind.abs() < parts.len() as f64, "{behind} at {i}");
            }
        }
        for (of, (range, _)) in seen.iter().zip(&parts) {
            for epoch in of.chunks(range.len()) {
                let mut once = epoch.to_vec();
                once.sort_unstable();
                once.dedup();
                prop_assert_eq!(once.len(), epoch.len());
            }
        }
        let longer = Order::draw_mixture(&parts, needed + 50, seed).unwrap();
        prop_assert_eq!(&longer.windows()[..needed], order.windows());
        let other = Order::draw_mixture(&parts, needed + 50, seed ^ 1).unwrap();
        prop_assert!(sizes.iter().all(|&size| size < 4) || needed < 50 || other != longer);
    }
}

/// Conversations as text, made-up dialogues, and conversations.
fn written(folder: &Path) -> String {
    let text = |split, n| conversations(7, split, Amount::Documents(n)).join("<|endoftext|>\n");
    fs::write(folder.join("train.txt"), text(Split::Train, 60)).unwrap();
    fs::write(folder.join("valid.txt"), text(Split::Valid, 10)).unwrap();
    let dialogue =
        |i: usize| format!("How many ? __eou__ I have {i} . __eou__ And {} more ? __eou__\n", i + 1);
    fs::write(folder.join("spoken.txt"), (0..400).map(dialogue).collect::<String>()).unwrap();
    // The first ten were trained on.
    fs::write(folder.join("heard.txt"), (390..450).map(dialogue).collect::<String>()).unwrap();
    let data = r#"[data]
kind = "mixture"
tokenizer = "train:1024"

[[data.parts]]
name = "letters"
share = 0.5
source = { kind = "text", train = "train.txt", valid = "valid.txt" }

[[data.parts]]
name = "spoken"
share = 0.2
source = { kind = "dailydialog", train = "spoken.txt", valid = "heard.txt" }

[[data.parts]]
name = "talk"
share = 0.3
source = { kind = "conversations", seed = 1, train_tokens = 20_000, valid_documents = 5 }

[recipe]"#;
    let whole = protocol(100, 50).replace("context_length = 32", "context_length = 64");
    let whole = whole.replace("token_count = 6400", "token_count = 12_800");
    let (from, to) = (whole.find("[data]").unwrap(), whole.find("[recipe]").unwrap());
    whole.replace(&format!("{}[recipe]", &whole[from..to]), data)
}

#[test]
fn a_mixture_is_trained_on_and_reported_part_by_part() {
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (folder.path().join("p.toml"), folder.path().join("out"));
    fs::write(&path, written(folder.path())).unwrap();
    let arguments =
        ["collect", "--protocol", text(&path), "--data", text(folder.path()), "--out", text(&out)];
    done(&arguments);
    let ledger = Ledger::open(out.join("ledger.jsonl")).unwrap();
    assert_eq!(ledger.manifest().unwrap().parts, ["letters", "spoken", "talk"]);
    let errors: Vec<f64> = ledger
        .measurements()
        .filter(|m| m.metric() == Metric::MixtureError)
        .map(|m| m.value().raw())
        .collect();
    // 200 windows are 100, 40 and 60.
    assert!(errors.len() == 2 && errors.iter().all(|error| *error < 1e-12), "{errors:?}");
    let whole: Vec<f64> = ledger
        .measurements()
        .filter(|m| {
            m.metric() == Metric::ValidationLoss
                && m.subject().condition == v5gate::evidence::Condition::Trained
        })
        .map(|m| m.value().raw())
        .collect();
    let curves: Vec<_> = ledger.curves().filter(|c| c.kind() == CurveKind::LossByPart).collect();
    assert_eq!(curves.len(), 2);
    for curve in curves {
        let points: Vec<(u64, Value)> = curve.points().collect();
        assert_eq!(points.iter().map(|p| p.0).collect::<Vec<_>>(), [1, 2, 3]);
        let losses: Vec<f64> = points.iter().map(|p| p.1.raw()).collect();
        let by_shares = 0.5 * losses[0] + 0.2 * losses[1] + 0.3 * losses[2];
        let measured = ledger
            .measurements()
            .filter(|m| m.metric() == Metric::HeldOutByShares && m.subject().model == curve.subject().model);
        let measured: Vec<f64> = measured.map(|m| m.value().raw()).collect();
        assert!(measured.iter().all(|loss| (loss - by_shares).abs() < 1e-9), "{measured:?} {by_shares}");
        assert!(!measured.is_empty());
        // The whole lies between its parts.
        let between = |x: &f64| losses.iter().any(|l| l < x) && losses.iter().any(|l| l > x);
        assert!(whole.iter().any(between), "{whole:?} {losses:?}");
    }
    let page = {
        done_with(&["report", text(&out)]);
        fs::read_to_string(out.join("report.html")).unwrap()
    };
    assert!(["letters", "spoken", "talk"].iter().all(|part| page.contains(&format!(">{part}</text>"))));
}

/// A verdict of a hundred steps is no pass.
fn done_with(arguments: &[&str]) {
    assert!([Some(10), Some(11)].contains(&run(arguments).status.code()));
}

#[test]
fn parts_lie_where_their_text_is() {
    let folder = tempfile::tempdir().unwrap();
    let protocol = v5gate::protocol::Protocol::parse("p.toml", &written(folder.path())).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let set = prepare(&protocol.data, Some(folder.path()), cache.path()).unwrap();
    let ends = |of: fn(&v5gate::data::dataset::TextPart) -> &std::ops::Range<usize>, whole: usize| {
        let ranges: Vec<_> = set.parts.iter().map(of).collect();
        assert_eq!((ranges[0].start, ranges[2].end), (0, whole));
        assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start && !pair[0].is_empty()));
    };
    ends(|part| &part.train, set.train.len());
    ends(|part| &part.valid, set.valid.len());
    let spoken = &set.parts[1];
    let first: Vec<u32> = set.train.tokens(spoken.train.start..spoken.train.start + 40).collect();
    assert!(set.tokenizer.decode(&first).unwrap().starts_with("How many ?\nI have 0 .\nAnd 1 more ?\n"));
    // Ten of sixty held-out dialogues were trained on, and are left out.
    assert_eq!(set.valid.documents(), 10 + 50 + 5);
    let all: usize = set.parts.iter().map(|part| windows_in(&part.train, set.train.len(), 32).len()).sum();
    assert_eq!(all, v5gate::data::batches::window_count(set.train.len(), 32), "every window is of one part");

    // Other shares are another data set, whose order is another.
    let DataSpec::Mixture { tokenizer, mut parts } = protocol.data.clone() else { unreachable!() };
    (parts[0].share, parts[1].share) = (0.2, 0.5);
    let turned = prepare(&DataSpec::Mixture { tokenizer, parts }, Some(folder.path()), cache.path()).unwrap();
    assert_ne!(turned.digest, set.digest);
    assert_ne!(turned.order(32, 50, 1).unwrap(), set.order(32, 50, 1).unwrap());
    // A part without a window of its own cannot have its share.
    let refused = set.expect_windows(1_300).unwrap_err().to_string();
    assert!(
        refused.contains("of the mixture, validation text: expected a window of 1300 tokens"),
        "{refused}"
    );
}

#[test]
fn a_mixture_that_does_not_add_up_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let good = written(folder.path());
    let parse = |text: &str| v5gate::protocol::Protocol::parse("p.toml", text);
    assert!(parse(&good).is_ok());
    for (from, to, says) in [
        ("share = 0.5", "share = 0.4", "data.parts.share: expected shares that add up to 1, got \"0.9"),
        ("share = 0.5", "share = nan", "data.parts.share: expected a share between 0 and 1, got \"NaN\""),
        ("share = 0.5", "share = 0.0", "expected a share between 0 and 1, got \"0\""),
        ("\"spoken\"", "\"talk\"", "data.parts.name: expected a name of its own, got \"talk\""),
        ("share = 0.5", "share = 0.5\nweight = 1", "unknown field `weight`"),
        ("kind = \"text\", train", "kind = \"text\", tran", "unknown field `tran`"),
        (
            "train_tokens = 20_000, valid",
            "train_tokens = 2_000_000_000, valid",
            "data.parts.source.train_tokens",
        ),
        ("train:1024", "train:2000000", "data.tokenizer: expected at most 1048576"),
    ] {
        let refused = parse(&good.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(refused.contains(says), "{says} is not in {refused}");
    }
    let one = PartSpec {
        name: "one".to_owned(),
        share: 1.0,
        source: PartSource::Text { train: "a.txt".into(), valid: "b.txt".into() },
    };
    let spec = DataSpec::Mixture { tokenizer: "train:400".to_owned(), parts: vec![one] };
    assert_eq!(spec.out_of_range().unwrap().0, "data.parts");
}
