//! What others wrote, and an audit reads again: another program's log, and people's ratings.

use std::fs;
use std::path::{Path, PathBuf};

use v5gate::collect::{keep_ratings, sides};
use v5gate::evidence::{
    Compared, Key, Ledger, Line, Measurement, Metric, Provenance, Subject, Tally, read_ratings,
};

use crate::audited_again::{audited, changed, copied, run_of, sound, values};
use crate::benchmarks::Files;
use crate::program::*;

/// A copy with the log of another program, a fifth better than here, as evidence; and the task that was followed.
fn with_reference() -> (tempfile::TempDir, PathBuf, String) {
    let (folder, out) = copied();
    let exchange = folder.path().join("exchange");
    let protocol = text(&sound().1);
    let run = run_of(&out);
    let words = ["--protocol", protocol, "--out", text(&out)];
    let trial = ["--scale", "smoke", "--seed", "1", text(&exchange)];
    done(&[&["reference", "export"], &words[..], &trial[..]].concat());
    let task = v5gate::files::sha256(&fs::read(exchange.join("task.json")).unwrap());
    let header = serde_json::json!({
        "task": task, "software": "another", "device": "cpu", "precision": "float32",
    });
    let record: serde_json::Value = serde_json::from_slice(&fs::read(run.join("run.json")).unwrap()).unwrap();
    let mut log = format!("{header}\n");
    for step in record["curve"].as_array().unwrap() {
        // A fifth better than here.
        let loss = step["loss"].as_f64().unwrap() * 0.8;
        let (number, norm, rate) = (&step["step"], &step["grad_norm"], &step["lr"]);
        let line = serde_json::json!({"step": number, "loss": loss, "grad_norm": norm, "lr": rate});
        log += &format!("{line}\n");
    }
    fs::write(exchange.join("log.jsonl"), log).unwrap();
    done(&[&["reference", "import"], &words[..], &[text(&exchange)]].concat());
    (folder, out, task)
}

/// Another program's training is believed only as far as its log goes, which is kept.
#[test]
fn a_reference_that_its_log_does_not_give_is_seen() {
    let (folder, out, _) = with_reference();
    assert!((values(&out, Metric::ReferenceLossRatio)[0] - 1.25).abs() < 1e-9);
    let exchange = folder.path().join("exchange");
    let beside = ["--reference", text(&exchange)];
    let (code, said) = audited(&out, &beside);
    assert_eq!(code, Some(0), "{said}");
    // The other program was told to train another model than the trial's.
    let path = exchange.join("initial/config.json");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replace("\"n_head\": 2", "\"n_head\": 1")).unwrap();
    let (code, said) = audited(&out, &beside);
    assert_eq!(code, Some(10), "{said}");
    assert!(said.contains("config.json of"), "{said}");
    fs::write(&path, config).unwrap();
    // Whoever ran the other program has another log than the one that was imported.
    let log = fs::read_to_string(exchange.join("log.jsonl")).unwrap();
    fs::write(exchange.join("log.jsonl"), format!("{log}\n")).unwrap();
    let (code, said) = audited(&out, &beside);
    assert_eq!(code, Some(10), "{said}");

    changed(&out, |line| {
        if line["measurement"]["metric"] == "reference_loss_ratio" {
            line["measurement"]["value"] = serde_json::json!(1.02);
        }
    });
    let (code, said) = audited(&out, &[]);
    assert_eq!(code, Some(10), "{said}");
    assert!(values(&out, Metric::AuditProbes).contains(&f64::INFINITY), "{said}");
    // Nobody kept the log: that of whoever wrote it says as much.
    fs::remove_file(log_of(&out)).unwrap();
    let (code, said) = audited(&out, &[]);
    assert_eq!(code, Some(11), "{said}");
    fs::write(exchange.join("log.jsonl"), log).unwrap();
    let (code, said) = audited(&out, &beside);
    assert_eq!(code, Some(10), "{said}");
    assert!(said.contains("reference_loss_ratio"), "{said}");
}

/// The log that is kept beside a run.
fn log_of(out: &Path) -> PathBuf {
    let mut files = fs::read_dir(run_of(out)).unwrap().map(|entry| entry.unwrap().path());
    let is_log = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("reference-");
    files.find(is_log).unwrap()
}

/// A training by another recipe is no reference, even where its log is whole and says what is on record.
#[test]
fn a_reference_of_another_task_is_seen() {
    let (_folder, out, task) = with_reference();
    let log = log_of(&out);
    let told = fs::read_to_string(&log).unwrap();
    let other = told.replace(&task, &"0".repeat(64));
    let [before, after] = [&told, &other].map(|text| v5gate::files::sha256(text.as_bytes()));
    fs::write(log.with_file_name(format!("reference-{}.jsonl", &after[..16])), other).unwrap();
    changed(&out, |line| {
        for kind in ["measurement", "curve"] {
            if line[kind]["provenance"]["validation"] == before.as_str() {
                line[kind]["provenance"]["validation"] = after.as_str().into();
            }
        }
    });
    let (code, said) = audited(&out, &[]);
    assert_eq!(code, Some(10), "{said}");
    assert!(values(&out, Metric::AuditProbes).contains(&f64::INFINITY), "{said}");
}

/// Evidence and a measurement of it, with another model of the same trial beside; both models as a key has them, A being
/// the other one.
fn with_another(out: &Path) -> (Ledger, Measurement, [Compared; 2]) {
    let mut ledger = Ledger::open(out.join("ledger.jsonl")).unwrap();
    let loss = ledger.measurements().find(|m| m.metric() == Metric::ValidationLoss).unwrap().clone();
    let other = Subject { model: "another".to_owned(), ..loss.subject().clone() };
    let source = Provenance { weights: "another's".to_owned(), ..loss.provenance().clone() };
    let line = Measurement::new(other, loss.metric(), loss.value().raw(), loss.n(), None, source.clone());
    ledger.append(&[Line::Measurement(line)]).unwrap();
    let compared = |model: &str, source: &Provenance| Compared {
        checkpoint: model.to_owned(),
        model: model.to_owned(),
        weights: source.weights.clone(),
        tokenizer: source.tokenizer.clone(),
    };
    let both = [compared("another", &source), compared(&loss.subject().model, loss.provenance())];
    (ledger, loss, both)
}

/// A page of twelve pairs with a table of ratings; `change` says otherwise which reply was on the left.
fn page_of_ratings([a, b]: &[Compared; 2], change: impl Fn(bool) -> bool) -> (Key, [(String, String); 1]) {
    let (a, b) = (a.clone(), b.clone());
    let (page, drawn) = ("0123456789abcdef-page", sides(1, [&a, &b], 12));
    let key = Key {
        page: page.to_owned(),
        file: String::new(),
        task: "dailydialog".to_owned(),
        data: String::new(),
        seed: 1,
        top_p: 0.9,
        device: v5gate::device::current().name().to_owned(),
        a_is_left: drawn.into_iter().map(change).collect(),
        a,
        b,
    };
    let tables = all_for_a(&key);
    (key, tables)
}

/// The table of a rater who prefers A's reply in every pair.
fn all_for_a(key: &Key) -> [(String, String); 1] {
    let chosen = |(i, a_is_left): (usize, &bool)| {
        format!("{},x,{},{}\n", key.page, i + 1, if *a_is_left { "left" } else { "right" })
    };
    let rows: String = key.a_is_left.iter().enumerate().map(chosen).collect();
    [("x.csv".to_owned(), format!("page,rater,pair,choice\n{rows}"))]
}

/// What ratings amount to for A, as evidence about whoever a measurement is about.
fn preference(about: &Measurement, key: &Key, read_by: &Key, tables: &[(String, String)]) -> Line {
    let (probe, validation) = ("human".to_owned(), key.page.clone());
    let source = Provenance { probe, validation, ..about.provenance().clone() };
    let ratings = read_ratings(read_by, tables).unwrap();
    let (value, interval) = Tally::of(read_by, &ratings).preferred(read_by.a.model != "gpt2");
    let (of, n) = (about.subject().clone(), Some(ratings.len() as u64));
    Line::Measurement(Measurement::new(of, Metric::HumanPreference, value, n, interval, source))
}

/// Whoever imports ratings reads every pair by the other side.
#[test]
fn ratings_that_were_counted_otherwise_are_seen() {
    for (is_shifted, expected) in [(false, Some(0)), (true, Some(10))] {
        let (_folder, out) = copied();
        let (mut ledger, loss, both) = with_another(&out);
        let (key, tables) = page_of_ratings(&both, |left| left);
        let page = key.page.as_str();
        let left = key.a_is_left.iter().map(|left| left ^ is_shifted).collect();
        let read_by = Key { a_is_left: left, ..key.clone() };
        ledger.append(&[preference(&loss, &key, &read_by, &tables)]).unwrap();
        let (code, said) = audited(&out, &[]);
        assert_eq!(code, Some(11), "without what people wrote nothing can be said: {said}");
        assert!(said.contains("people's ratings"), "{said}");
        // A rater's own table, of which nothing was kept.
        let own = out.join("x.csv");
        fs::write(&own, &tables[0].1).unwrap();
        let (code, said) = audited(&out, &["--ratings", text(&own)]);
        assert_eq!(code, Some(10), "{said}");
        keep_ratings(&out, page, &serde_json::to_string(&key).unwrap(), &tables).unwrap();
        let (code, said) = audited(&out, &[]);
        assert_eq!(code, expected, "{said}");
        // A rater's own table, and one of whom somebody left out a row.
        let (code, said) = audited(&out, &["--ratings", text(&own)]);
        assert_eq!(code, expected, "{said}");
        fs::write(&own, format!("{}{page},y,1,right\n", tables[0].1)).unwrap();
        let (code, said) = audited(&out, &["--ratings", text(&own)]);
        assert_eq!(code, Some(10), "{said}");
        // Kept, but not among those that were counted.
        fs::copy(&own, out.join("human").join(&page[..16]).join("careless.csv")).unwrap();
        let (code, said) = audited(&out, &["--ratings", text(&own)]);
        assert_eq!(code, Some(10), "{said}");
    }
}

/// A table was counted that no rater has.
#[test]
fn a_rater_who_is_none_is_seen() {
    let (_folder, out) = copied();
    let (mut ledger, loss, both) = with_another(&out);
    let (key, [own]) = page_of_ratings(&both, |left| left);
    let made_up = ("y.csv".to_owned(), own.1.replace(",x,", ",y,"));
    let tables = [own.clone(), made_up.clone()];
    ledger.append(&[preference(&loss, &key, &key, &tables)]).unwrap();
    keep_ratings(&out, &key.page, &serde_json::to_string(&key).unwrap(), &tables).unwrap();
    let [x, y] = [own, made_up].map(|(name, table)| {
        fs::write(out.join(&name), table).unwrap();
        out.join(name)
    });
    let (code, said) = audited(&out, &["--ratings", text(&x), "--ratings", text(&y)]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = audited(&out, &["--ratings", text(&x)]);
    assert_eq!(code, Some(10), "{said}");
    assert!(said.contains("a rater has the table that was counted as"), "{said}");
}

/// Of every pair A's reply is on the left; A and B have changed places; another trial's weights replied; another page
/// was chosen; one that cannot be made again where the evidence can.
#[test]
fn a_page_that_was_not_drawn_or_is_of_others_is_seen() {
    let chosen = Some("seed, nucleus and device of the page");
    for (way, problem) in [
        (0, None),
        (1, Some("sides of")),
        (2, Some("sides of")),
        (3, Some("whose replies")),
        (4, chosen),
        (5, chosen),
    ] {
        let (_folder, out) = copied();
        let (mut ledger, loss, mut both) = with_another(&out);
        if way == 3 {
            both[1].weights = "another trial's".to_owned();
        }
        let (mut key, tables) = page_of_ratings(&both, |left| left || way == 1);
        match way {
            2 => std::mem::swap(&mut key.a, &mut key.b),
            4 => (key.seed, key.a_is_left) = (7, sides(7, [&both[0], &both[1]], 12)),
            5 => key.device = "cuda".to_owned(),
            _ => {}
        }
        let tables = if way == 4 { all_for_a(&key) } else { tables };
        ledger.append(&[preference(&loss, &key, &key, &tables)]).unwrap();
        keep_ratings(&out, &key.page, &serde_json::to_string(&key).unwrap(), &tables).unwrap();
        let (code, said) = audited(&out, &[]);
        assert_eq!(code, Some(if way == 0 { 0 } else { 10 }), "{way}: {said}");
        assert!(problem.is_none_or(|problem| said.contains(problem)), "{way}: {said}");
    }
}

/// Raters were shown other replies than those of the models.
#[test]
fn a_page_of_other_replies_is_seen() {
    for (shown, dialogues) in [(None, None), (Some("0123456789abcdef-other"), None), (None, Some("other"))] {
        let (_folder, out) = copied();
        let files = Files::new(20, 31);
        let (model, page) = (run_of(&out).join("final"), out.join("page.html"));
        let data = ["--data", text(files.folder())];
        let export = ["human", "export", "--a", text(&model), "--b", text(&model), "--pairs", "4"];
        done(&[&export[..], &data, &["--out", text(&page)]].concat());
        let key = fs::read_to_string(page.with_extension("key.json")).unwrap();
        let mut key: Key = serde_json::from_str(&key).unwrap();
        key.page = shown.unwrap_or(&key.page).to_owned();
        key.data = dialogues.unwrap_or(&key.data).to_owned();
        let mut ledger = Ledger::open(out.join("ledger.jsonl")).unwrap();
        let loss = ledger.measurements().find(|m| m.metric() == Metric::ValidationLoss).unwrap().clone();
        let tables = all_for_a(&key);
        ledger.append(&[preference(&loss, &key, &key, &tables)]).unwrap();
        keep_ratings(&out, &key.page, &serde_json::to_string(&key).unwrap(), &tables).unwrap();
        let (code, said) = audited(&out, &[&["--whole"], &data[..]].concat());
        assert!(shown.or(dialogues).is_none() || code == Some(10), "{said}");
        assert_eq!(said.contains("dialogues of the page, read again"), dialogues.is_some(), "{said}");
        assert_eq!(said.contains("replies of the page, made again"), shown.is_some(), "{said}");
        // Without the dialogues nothing can be said of the replies.
        let (code, said) = audited(&out, &["--whole"]);
        assert!(said.contains("replies of the page:") && code >= Some(10), "{said}");
    }
}

/// The numbers on record are of a training that the protocol does not make.
#[test]
fn a_training_of_another_configuration_is_seen() {
    let (_folder, out) = copied();
    let run = run_of(&out);
    let name = run.file_name().unwrap().to_string_lossy().into_owned();
    let other = format!("{}-{}", name.rsplit_once('-').unwrap().0, "0".repeat(8));
    fs::rename(&run, run.with_file_name(&other)).unwrap();
    let (code, said) = audited(&out, &[]);
    assert_eq!(code, Some(10), "{said}");
    assert!(said.contains("training of the protocol's configuration"), "{said}");
    assert!(values(&out, Metric::AuditConfiguration).contains(&f64::INFINITY), "{said}");
}

/// Whatever wrote the report told something else than the ledger.
#[test]
fn a_report_of_something_else_is_seen() {
    let (_folder, out) = copied();
    let page = out.join("report.md");
    for (forged, expected) in [(false, Some(0)), (true, Some(10))] {
        run(&["report", text(&out)]);
        if forged {
            let told = fs::read_to_string(&page).unwrap();
            fs::write(&page, told + "More.\n").unwrap();
        }
        // The first audit has added to what the report is about.
        for _ in 0..2 {
            let (code, said) = audited(&out, &[]);
            assert_eq!(code, expected, "{said}");
            assert_eq!(said.contains("report.md: not what this program reports"), forged, "{said}");
        }
    }
    // A report of lines that the ledger never had.
    let ledger = out.join("ledger.jsonl");
    let own = fs::read(&ledger).unwrap();
    changed(&out, |line| {
        if line["measurement"]["metric"] == "validation_loss" {
            line["measurement"]["value"] = serde_json::json!(0.5);
        }
    });
    run(&["report", text(&out)]);
    fs::write(&ledger, own).unwrap();
    let page = out.join("report.json");
    for names_lines in [true, false] {
        let mut report: serde_json::Value = serde_json::from_slice(&fs::read(&page).unwrap()).unwrap();
        if !names_lines {
            report["lines"] = serde_json::Value::Null;
        }
        fs::write(&page, report.to_string()).unwrap();
        let (code, said) = audited(&out, &[]);
        assert_eq!(code, Some(10), "{said}");
        assert!(said.contains("report.json: not what this program reports"), "{said}");
    }
}
