//! What an audit makes again with this program: defects planted where the referee does not look are seen there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, UNIX_EPOCH};

use v5gate::collect::ItemFile;
use v5gate::data::cache::TokenFile;
use v5gate::evidence::{CurveKind, Ledger, Line, Manifest, Measurement, Metric, Provenance};

use crate::program::*;

const AGAIN: [Metric; 4] =
    [Metric::AuditConfiguration, Metric::AuditData, Metric::AuditStretches, Metric::AuditProbes];

/// Forty steps of GPT-2 alone, long enough for a stretch in each half.
fn written(folder: &Path) -> PathBuf {
    let text = protocol(40, 9).replace("context_length = 32", "context_length = 64");
    let text = text.replace("\"gpt2\", \"groundthink\"", "\"gpt2\"").replace(", groundthink = 0", "");
    let path = folder.join("p.toml");
    fs::write(&path, text.replace("token_count = 2560", "token_count = 5120")).unwrap();
    path
}

/// Evidence that is sound, collected once; each test spoils a copy.
pub fn sound() -> &'static (tempfile::TempDir, PathBuf) {
    static SOUND: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    SOUND.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        done(&["collect", "--protocol", text(&path), "--out", text(&folder.path().join("out"))]);
        (folder, path)
    })
}

pub fn copied() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    copy(&sound().0.path().join("out"), &out);
    (folder, out)
}

pub fn values(out: &Path, metric: Metric) -> Vec<f64> {
    let ledger = Ledger::open(out.join("ledger.jsonl")).unwrap();
    ledger.measurements().filter(|m| m.metric() == metric).map(|m| m.value().raw()).collect()
}

pub fn run_of(out: &Path) -> PathBuf {
    fs::read_dir(out.join("runs")).unwrap().next().unwrap().unwrap().path()
}

/// The exit code of an audit, and what it says.
pub fn audited(out: &Path, more: &[&str]) -> (Option<i32>, String) {
    let protocol = &sound().1;
    let arguments = ["audit", "--protocol", text(protocol), "--out", text(out)];
    let output = run(&[&arguments[..], more].concat());
    (output.status.code(), stdout(&output) + &stderr(&output))
}

#[test]
fn sound_evidence_is_made_again_bit_for_bit() {
    let (_folder, out) = copied();
    for metric in AGAIN {
        assert_eq!(values(&out, metric), [0.0], "{}", metric.id());
    }
    // Every probe, those that train anew included.
    let (code, said) = audited(&out, &["--whole"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("overfit"), "{said}");
}

#[test]
fn another_configuration_is_seen() {
    let (_folder, out) = copied();
    let path = run_of(&out).join("final/config.json");
    let config = fs::read_to_string(&path).unwrap();
    assert!(config.contains("\"n_head\": 2"), "{config}");
    fs::write(&path, config.replace("\"n_head\": 2", "\"n_head\": 1")).unwrap();
    let (code, said) = audited(&out, &[]);
    assert_eq!(code, Some(10), "{said}");
    assert!(values(&out, Metric::AuditConfiguration).contains(&f64::INFINITY), "{said}");
}

#[test]
fn a_step_that_was_made_otherwise_is_seen() {
    let (_folder, out) = copied();
    let path = run_of(&out).join("run.json");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    // One that no kept state stands beside; the last digit of a loss.
    let loss = record["curve"][5]["loss"].as_f64().unwrap();
    record["curve"][5]["loss"] = serde_json::json!(f64::from_bits(loss.to_bits() + 1));
    fs::write(&path, record.to_string()).unwrap();
    let (code, said) = audited(&out, &[]);
    assert_eq!(code, Some(10), "{said}");
    assert!(values(&out, Metric::AuditStretches).contains(&f64::INFINITY), "{said}");
}

#[test]
fn a_number_without_items_is_seen_when_its_probe_is_put_again() {
    let (_folder, out) = copied();
    let path = out.join("ledger.jsonl");
    let ledger = Ledger::open(&path).unwrap();
    let forged = |m: &Measurement| {
        let value = m.value().raw() * 0.9;
        Measurement::new(m.subject().clone(), m.metric(), value, m.n(), None, m.provenance().clone())
    };
    let line = |line: &Line| match line {
        Line::Measurement(m) if m.metric() == Metric::UnigramLoss => Line::Measurement(forged(m)),
        other => other.clone(),
    };
    let lines: Vec<Line> = ledger.lines().iter().map(line).collect();
    fs::remove_file(&path).unwrap();
    Ledger::open_or_empty(path).unwrap().append(&lines).unwrap();
    let (code, said) = audited(&out, &["--whole"]);
    assert_eq!(code, Some(10), "{said}");
    assert!(values(&out, Metric::AuditProbes).contains(&f64::INFINITY), "{said}");
}

#[test]
fn tokens_that_are_not_the_texts_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (written(folder.path()), folder.path().join("out"));
    copy(&sound().0.path().join("out/cache"), &out.join("cache"));
    let cache = fs::read_dir(out.join("cache")).unwrap().next().unwrap().unwrap().path();
    let (file, tokenizer) = (
        cache.join("valid.tokens"),
        v5gate::data::tokenizer::Tokenizer::from_file(&cache.join("tokenizer.json")).unwrap(),
    );
    // The first document five times, under the header of the text that it is not.
    let own = TokenFile::open(&file).unwrap();
    let first: Vec<u32> = own.tokens(own.document(0)).collect();
    let (source, count) = (own.header().source.clone(), own.documents());
    drop(own);
    fs::remove_file(&file).unwrap();
    TokenFile::from_ids(&file, &source, &tokenizer, vec![first; count]).unwrap();
    done(&["collect", "--protocol", text(&path), "--out", text(&out)]);
    assert_eq!(values(&out, Metric::AuditData), [f64::INFINITY]);
}

/// Between documents, where no document's tokens lie: with a header that fits, written by hand.
#[test]
fn a_token_between_documents_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (written(folder.path()), folder.path().join("out"));
    copy(&sound().0.path().join("out/cache"), &out.join("cache"));
    let cache = fs::read_dir(out.join("cache")).unwrap().next().unwrap().unwrap().path();
    let file = cache.join("valid.tokens");
    let own = TokenFile::open(&file).unwrap();
    let (after, width, said) = (own.document(1).end, own.header().width, own.header().payload.clone());
    drop(own);
    const PAGE: usize = 4096;
    let mut bytes = fs::read(&file).unwrap();
    bytes[PAGE + after * width] ^= 1;
    let payload = v5gate::files::sha256(&bytes[PAGE..]);
    let at = bytes.windows(said.len()).position(|bytes| bytes == said.as_bytes()).unwrap();
    bytes[at..at + said.len()].copy_from_slice(payload.as_bytes());
    fs::remove_file(&file).unwrap();
    fs::write(&file, bytes).unwrap();
    done(&["collect", "--protocol", text(&path), "--out", text(&out)]);
    assert_eq!(values(&out, Metric::AuditData), [f64::INFINITY]);
}

/// What a text begins with is told in a file of its own, which is in no digest.
#[test]
fn another_first_token_is_seen() {
    let (_folder, out) = copied();
    let cache = fs::read_dir(out.join("cache")).unwrap().next().unwrap().unwrap().path();
    fs::write(cache.join("tokenizer_config.json"), r#"{"bos_token": "e"}"#).unwrap();
    let (code, said) = audited(&out, &[]);
    assert_eq!(code, Some(10), "{said}");
    assert!(values(&out, Metric::AuditData).contains(&f64::INFINITY), "{said}");
}

#[test]
fn a_number_of_a_probe_that_does_not_measure_it_is_seen() {
    let (_folder, out) = copied();
    let path = out.join("ledger.jsonl");
    let ledger = Ledger::open(&path).unwrap();
    let any = ledger.measurements().find(|m| m.metric() == Metric::ValidationLoss).unwrap();
    let foreign = |probe: &str| {
        let source = Provenance { probe: probe.to_owned(), ..any.provenance().clone() };
        Line::Measurement(Measurement::new(
            any.subject().clone(),
            Metric::WikitextLoss,
            3.0,
            Some(60),
            None,
            source,
        ))
    };
    // By hand, under a name of its own; and under the right name, where nobody has the text.
    for (probe, expected) in [("wikitext", 11), ("lm-eval", 10)] {
        let mut changed = Ledger::open(&path).unwrap();
        changed.append(&[foreign(probe)]).unwrap();
        let (code, said) = audited(&out, &[]);
        assert_eq!(code, Some(expected), "{probe}: {said}");
        assert!(said.contains("probe wikitext: its data are not here"), "{said}");
    }
}

#[test]
fn a_curve_that_was_drawn_otherwise_is_seen() {
    let (_folder, out) = copied();
    let path = out.join("ledger.jsonl");
    let ledger = Ledger::open(&path).unwrap();
    let line = |line: &Line| match serde_json::to_value(line).unwrap() {
        mut value if value["curve"]["kind"] == "training_loss" => {
            let y = &mut value["curve"]["y"][3];
            *y = serde_json::json!(y.as_f64().unwrap() * 1.15);
            serde_json::from_value(value).unwrap()
        }
        _ => line.clone(),
    };
    let lines: Vec<Line> = ledger.lines().iter().map(line).collect();
    assert_ne!(lines, ledger.lines());
    fs::remove_file(&path).unwrap();
    Ledger::open_or_empty(path).unwrap().append(&lines).unwrap();
    let (code, said) = audited(&out, &[]);
    assert_eq!(code, Some(10), "{said}");
    assert!(values(&out, Metric::AuditProbes).contains(&f64::INFINITY), "{said}");
}

#[test]
fn weights_of_another_step_before_the_last_tenth_are_seen() {
    let (_folder, out) = copied();
    let run = run_of(&out);
    let (from, to) = (run.join("final"), run.join("before-last-tenth"));
    fs::copy(from.join("model.safetensors"), to.join("model.safetensors")).unwrap();
    let (code, said) = audited(&out, &[]);
    assert_eq!(code, Some(10), "{said}");
    assert!(values(&out, Metric::AuditStretches).contains(&f64::INFINITY), "{said}");
}

/// A training three times as long: its protocol, its evidence, and after how many steps states were kept.
fn longer(folder: &Path) -> (PathBuf, PathBuf, Vec<usize>) {
    let (path, out) = (written(folder), folder.join("out"));
    let text_of = fs::read_to_string(&path).unwrap();
    fs::write(&path, text_of.replace("token_count = 5120", "token_count = 15360")).unwrap();
    done(&["collect", "--protocol", text(&path), "--out", text(&out)]);
    let kept = |name: &str| name.strip_prefix("audit-")?.parse::<usize>().ok();
    let entries = fs::read_dir(run_of(&out)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut states: Vec<usize> = names.filter_map(|name| kept(&name)).collect();
    states.sort_unstable();
    (path, out, states)
}

/// Far from every kept state, where only a whole audit looks: a record, and a jump of the weights from one kept state
/// to the next.
#[test]
fn what_lies_between_the_stretches_is_seen_by_a_whole_audit() {
    let folder = tempfile::tempdir().unwrap();
    let (path, out, states) = longer(folder.path());
    // The step in the middle of the longest stretch.
    let gap = states.windows(2).max_by_key(|pair| pair[1] - pair[0]).unwrap();
    let step = gap[0].midpoint(gap[1]);
    assert!(step > gap[0] + 12, "{states:?}");
    let record = run_of(&out).join("run.json");
    let text_of = fs::read_to_string(&record).unwrap();
    let mut changed: serde_json::Value = serde_json::from_str(&text_of).unwrap();
    let loss = changed["curve"][step]["loss"].as_f64().unwrap();
    changed["curve"][step]["loss"] = serde_json::json!(f64::from_bits(loss.to_bits() + 1));
    fs::write(&record, changed.to_string()).unwrap();
    let output = run(&["audit", "--protocol", text(&path), "--out", text(&out), "--whole"]);
    let said = stdout(&output) + &stderr(&output);
    assert_eq!(output.status.code(), Some(10), "{said}");
    assert!(values(&out, Metric::AuditStretches).contains(&f64::INFINITY), "{said}");
}

/// Made otherwise wherever no audit looked so far: behind the stretch after each kept state.
#[test]
fn nothing_is_safe_for_lying_far_behind_a_kept_state() {
    let folder = tempfile::tempdir().unwrap();
    let (path, out, states) = longer(folder.path());
    let record = run_of(&out).join("run.json");
    let mut changed: serde_json::Value = serde_json::from_str(&fs::read_to_string(&record).unwrap()).unwrap();
    let curve = changed["curve"].as_array_mut().unwrap();
    for (step, reading) in curve.iter_mut().enumerate() {
        if !states.iter().any(|state| (*state..state + 12).contains(&step)) {
            let loss = reading["loss"].as_f64().unwrap();
            reading["loss"] = serde_json::json!(f64::from_bits(loss.to_bits() + 1));
        }
    }
    fs::write(&record, changed.to_string()).unwrap();
    // An audit sees it where the step that is drawn lies there: two or three times in five.
    // The record's curves are not the ledger's any more, which every audit sees; here only stretches count.
    let seen = |_| {
        run(&["audit", "--protocol", text(&path), "--out", text(&out)]);
        values(&out, Metric::AuditStretches).contains(&f64::INFINITY)
    };
    assert!((0..20).any(seen));
}

/// One that its probe gives of longer trainings only, and would meet a required row.
#[test]
fn a_number_that_its_probe_does_not_give_is_seen() {
    let (_folder, out) = copied();
    let path = out.join("ledger.jsonl");
    let mut ledger = Ledger::open(&path).unwrap();
    let of_training = |m: &&Measurement| m.metric() == Metric::TrainLoss;
    let any = ledger.measurements().find(of_training).unwrap().clone();
    let source = any.provenance().clone();
    let made_up = Measurement::new(any.subject().clone(), Metric::LossFell, 0.5, None, None, source);
    ledger.append(&[Line::Measurement(made_up)]).unwrap();
    let (code, said) = audited(&out, &["--whole"]);
    assert_eq!(code, Some(10), "{said}");
    assert!(values(&out, Metric::AuditProbes).contains(&f64::INFINITY), "{said}");
    let what = "loss_fell (trained), which nobody measures";
    let told = said.split("Differs").nth(1).unwrap();
    assert!(told.contains(what), "{said}");
    // The same for programs.
    let words = ["audit", "--protocol", text(&sound().1), "--out", text(&out), "--whole", "--json"];
    let all: serde_json::Value = serde_json::from_str(&stdout(&run(&words))).unwrap();
    let questions = all[0]["questions"].as_array().unwrap();
    let compared = questions.iter().flat_map(|q| q["compared"].as_array().unwrap());
    let wrong: Vec<_> = compared.filter(|c| c["agrees"] == false).map(|c| c["what"].clone()).collect();
    assert_eq!(wrong, [what]);
}

/// Hidden in the ledger of a run, of a higher number, with other text: it would count instead of what was asked for.
#[test]
fn another_promise_does_not_outrank_the_protocols() {
    let (_folder, out) = copied();
    let own = Ledger::open_below(&out).unwrap().manifest().cloned().unwrap();
    let mut other = Manifest { number: own.number + 7, ..own.clone() };
    other.expected.iter_mut().for_each(|run| run.data = "0".repeat(64));
    let mut hidden = Ledger::open_or_empty(run_of(&out).join("ledger.jsonl")).unwrap();
    hidden.append(&[Line::Manifest(other)]).unwrap();
    let governing = |out: &Path| Ledger::open_below(out).unwrap().manifest().cloned().unwrap();
    assert_ne!(governing(&out).expected, own.expected);
    let (code, said) = audited(&out, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(governing(&out), Manifest { number: own.number + 8, ..own });
    // Once said it stays.
    let number = governing(&out).number;
    done(&["collect", "--protocol", text(&sound().1), "--out", text(&out)]);
    assert_eq!(governing(&out).number, number);
}

/// The more of the text a document makes, the surer it is looked at.
#[test]
fn a_document_that_grew_is_seen() {
    use v5gate::data::dataset::{DataSpec, Encoded, prepare};
    use v5gate::data::vocabulary::Patience;
    let folder = tempfile::tempdir().unwrap();
    let spec =
        DataSpec::Conversations { seed: 1, train_tokens: 60_000, valid_documents: 3, vocab_size: VOCABULARY };
    let dataset = prepare(&spec, None, folder.path()).unwrap();
    let (source, count) = (dataset.train.header().source.clone(), dataset.train.documents());
    assert!(count > 100, "{count}");
    let ids = |i: usize| dataset.train.tokens(dataset.train.document(i)).collect::<Vec<u32>>();
    let mut all: Vec<Vec<u32>> = (0..count).map(ids).collect();
    all[count / 2] = all[0].repeat(200);
    let cache = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let file = cache.join("train.tokens");
    let tokenizer = dataset.tokenizer;
    drop(dataset.train);
    fs::remove_file(&file).unwrap();
    TokenFile::from_ids(&file, &source, &tokenizer, all).unwrap();
    let forged = prepare(&spec, None, folder.path()).unwrap();
    let mut state = 1_u64;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    for which in [Encoded::All, Encoded::Drawn(&mut draw)] {
        let facts = forged.beside_its_text(&spec, None, &Patience::endless(), which).unwrap();
        let wrong: Vec<&str> = facts.iter().filter(|(_, holds)| !holds).map(|(what, _)| &**what).collect();
        let document = format!("document {} of the training text", count / 2);
        assert_eq!(
            wrong,
            [format!("what the tokens of {document} spell"), format!("{document}, encoded again")]
        );
    }
    // Wherever is looked: what it spells is read of every document.
    let mut first = |_| 0;
    let facts =
        forged.beside_its_text(&spec, None, &Patience::endless(), Encoded::Drawn(&mut first)).unwrap();
    assert_eq!(facts.iter().filter(|(_, holds)| !holds).count(), 1, "{facts:?}");
}

#[test]
fn another_audit_of_sound_evidence_is_no_contradiction() {
    let (_folder, out) = copied();
    let verdict = |out: &Path| -> serde_json::Value {
        serde_json::from_str(&stdout(&run(&["judge", text(out), "--json"]))).unwrap()
    };
    let before = verdict(&out);
    for _ in 0..2 {
        assert_eq!(audited(&out, &[]).0, Some(0));
    }
    let after = verdict(&out);
    assert_eq!((&before["verdict"], &before["problems"]), (&after["verdict"], &after["problems"]));
}

#[test]
fn states_that_were_kept_elsewhere_are_seen() {
    let (_folder, out) = copied();
    let run = run_of(&out);
    // The state before the last step, as if it were of another one.
    fs::rename(run.join("audit-00000039"), run.join("audit-00000037")).unwrap();
    let (code, said) = audited(&out, &[]);
    assert_eq!(code, Some(10), "{said}");
}

/// The state from which a plateau is read is asked with its own configuration.
#[test]
fn another_configuration_before_the_last_tenth_is_seen() {
    let (_folder, out) = copied();
    let path = run_of(&out).join("before-last-tenth/config.json");
    let config = fs::read_to_string(&path).unwrap();
    let own = "\"layer_norm_epsilon\": 0.00001";
    assert!(config.contains(own), "{config}");
    fs::write(&path, config.replace(own, "\"layer_norm_epsilon\": 0.004")).unwrap();
    let (code, said) = audited(&out, &[]);
    assert_eq!(code, Some(10), "{said}");
    assert!(values(&out, Metric::AuditStretches).contains(&f64::INFINITY), "{said}");
}

/// The ledger with one of its lines in another form.
pub fn changed(out: &Path, change: impl Fn(&mut serde_json::Value)) {
    let path = out.join("ledger.jsonl");
    let ledger = Ledger::open(&path).unwrap();
    let line = |line: &Line| {
        let mut value = serde_json::to_value(line).unwrap();
        change(&mut value);
        serde_json::from_value(value).unwrap()
    };
    let lines: Vec<Line> = ledger.lines().iter().map(line).collect();
    assert_ne!(lines, ledger.lines());
    fs::remove_file(&path).unwrap();
    Ledger::open_or_empty(path).unwrap().append(&lines).unwrap();
}

/// Nobody draws the curve of a model that was published, or of a part of no mixture.
#[test]
fn a_curve_that_nobody_draws_is_seen() {
    for (change, whole) in [("condition", false), ("kind", true)] {
        let (_folder, out) = copied();
        let ledger = Ledger::open(out.join("ledger.jsonl")).unwrap();
        let of = |line: &&Line| matches!(line, Line::Curve(c) if c.kind() == CurveKind::TrainingLoss);
        let mut forged = serde_json::to_value(ledger.lines().iter().find(of).unwrap()).unwrap();
        let curve = &mut forged["curve"];
        match change {
            "condition" => curve["subject"]["condition"] = "published".into(),
            _ => {
                (curve["kind"], curve["provenance"]["probe"]) =
                    ("loss_by_part".into(), "language-modeling".into())
            }
        }
        let forged: Line = serde_json::from_value(forged).unwrap();
        Ledger::open(out.join("ledger.jsonl")).unwrap().append(&[forged]).unwrap();
        let (code, said) = audited(&out, if whole { &["--whole"] } else { &[] });
        assert_eq!(code, Some(10), "{change}: {said}");
        assert!(values(&out, Metric::AuditProbes).contains(&f64::INFINITY), "{said}");
    }
}

/// The checkpoint's own tokenizer is what `eval` and `human` read with.
#[test]
fn another_tokenizer_beside_the_weights_is_seen() {
    let (_folder, out) = copied();
    let path = run_of(&out).join("final/tokenizer.json");
    let mut file: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let words = file["model"]["vocab"].as_object_mut().unwrap();
    let (a, b) = (words["e"].clone(), words["t"].clone());
    words.insert("e".to_owned(), b);
    words.insert("t".to_owned(), a);
    fs::write(&path, file.to_string()).unwrap();
    let (code, said) = audited(&out, &[]);
    assert_eq!(code, Some(10), "{said}");
    assert!(values(&out, Metric::AuditConfiguration).contains(&f64::INFINITY), "{said}");
}

/// Exchanged between items: means, counts and intervals stay, and pairs with the other model's do not.
#[test]
fn items_in_another_order_are_seen() {
    let (_folder, out) = copied();
    let run = run_of(&out);
    let ledger = Ledger::open(out.join("ledger.jsonl")).unwrap();
    let own = ledger.measurements().find(|m| m.metric() == Metric::ValidationLoss).unwrap().clone();
    let probe = &own.provenance().probe;
    let mut items = ItemFile::read(&run, probe, own.items().unwrap()).unwrap();
    items.0.iter_mut().for_each(|of| of.items.values.reverse());
    items.write(&run, probe).unwrap();
    let (old, new) = (own.items().unwrap().to_owned(), items.digest().unwrap());
    changed(&out, |line| {
        if line["measurement"]["items"] == old.as_str() {
            line["measurement"]["items"] = new.as_str().into();
        }
    });
    let (code, said) = audited(&out, &["--whole"]);
    assert_eq!(code, Some(10), "{said}");
    assert!(values(&out, Metric::AuditProbes).contains(&f64::INFINITY), "{said}");
}

/// A probe whose answers somebody did not like.
#[test]
fn a_probe_without_an_answer_is_seen() {
    let (_folder, out) = copied();
    let path = out.join("ledger.jsonl");
    let kept: Vec<Line> = (Ledger::open(&path).unwrap().lines().iter())
        .filter(|line| !matches!(line, Line::Measurement(m) if m.provenance().probe == "overlap"))
        .cloned()
        .collect();
    fs::remove_file(&path).unwrap();
    Ledger::open_or_empty(&path).unwrap().append(&kept).unwrap();
    let (code, said) = audited(&out, &[]);
    assert_eq!(code, Some(10), "{said}");
    assert!(said.contains("probe overlap: no answer on record"), "{said}");
}

/// The record counts twice as many windows as its steps have read.
#[test]
fn a_count_that_does_not_follow_from_the_steps_is_seen() {
    let (_folder, out) = copied();
    let path = run_of(&out).join("run.json");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    record["position"] = serde_json::json!(2 * record["position"].as_u64().unwrap());
    fs::write(&path, record.to_string()).unwrap();
    let (code, said) = audited(&out, &[]);
    assert_eq!(code, Some(10), "{said}");
    assert!(said.contains("windows that were read"), "{said}");
}

/// States that were deleted are no steps that agree.
#[test]
fn without_kept_states_nothing_is_said_of_steps() {
    let (_folder, out) = copied();
    let told = values(&out, Metric::AuditStretches).len();
    for entry in fs::read_dir(run_of(&out)).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.file_name().unwrap().to_string_lossy().starts_with("audit-") {
            fs::remove_dir_all(entry).unwrap();
        }
    }
    let (code, said) = audited(&out, &[]);
    assert_eq!(code, Some(11), "{said}");
    assert!(said.contains("none is kept"), "{said}");
    assert_eq!(values(&out, Metric::AuditStretches).len(), told, "{said}");
}

/// By a clock that goes half as fast as the machine's a training ends before it has kept its last state.
#[test]
fn a_clock_that_goes_slowly_is_seen() {
    let (_folder, out) = copied();
    let record = fs::read(run_of(&out).join("run.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let start = record["starts"].as_array().unwrap().last().unwrap();
    let [from, to] = ["from", "to"].map(|end| start[end].as_f64().unwrap());
    for (last, expected) in [(to, Some(0)), (to + (to - from), Some(10))] {
        for folder in fs::read_dir(run_of(&out)).unwrap().map(|entry| entry.unwrap().path()) {
            let name = folder.file_name().unwrap().to_string_lossy().into_owned();
            let Some(steps) = name.strip_prefix("audit-") else { continue };
            let written = if steps == "00000040" { last } else { to };
            let file = fs::File::options().write(true).open(folder.join("weights.safetensors")).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs_f64(written)).unwrap();
        }
        let (code, said) = audited(&out, &[]);
        assert_eq!(code, expected, "{said}");
        assert_eq!(said.contains("kept states before it ended"), expected == Some(10), "{said}");
    }
}
