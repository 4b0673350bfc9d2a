//! The program's answers: good input gives the documented output, as text and as JSON.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde_json::Value;
use v5gate::data::synthetic::conversations::{Amount, Split, conversations};
use v5gate::evidence::{Condition, Ledger, Line, Measurement, Metric, Subject};
use v5gate::gate::{CRITERIA, GPT2, cited};
use v5gate::models::MODELS;
use v5gate::probes::PROBES;
use v5gate::scale::SCALES;

use crate::program::*;
use crate::world::World;

#[test]
fn score_prints_one_document() {
    let (shared, folder) = (Shared::get(), tempfile::tempdir().unwrap());
    let path = tokens(&folder, "[1, 2, 3, 1023]");
    let checkpoint = shared.checkpoint();
    let plain = score_arguments(&checkpoint, &path);
    assert!(done(&plain).starts_with("4 tokens, "));
    let document: Value = serde_json::from_str(&done(&[&plain[..], &["--json"]].concat())).unwrap();
    let keys: Vec<_> = document.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["mean", "model_type", "nll", "sum", "tokens"]);
    assert_eq!((&document["model_type"], &document["tokens"]), (&"gpt2".into(), &4.into()));
    let nll: Vec<f64> = serde_json::from_value(document["nll"].clone()).unwrap();
    assert!(nll.len() == 3 && nll.iter().all(|loss| *loss > 0.0), "{nll:?}");
    let sum = document["sum"].as_f64().unwrap();
    assert!((sum - nll.iter().sum::<f64>()).abs() < 1e-12);
    assert!((document["mean"].as_f64().unwrap() - sum / 3.0).abs() < 1e-12);
}

#[test]
fn a_single_token_has_no_loss() {
    let (shared, folder) = (Shared::get(), tempfile::tempdir().unwrap());
    let path = tokens(&folder, "[1]");
    let checkpoint = shared.checkpoint();
    let arguments = [&score_arguments(&checkpoint, &path)[..], &["--json"]].concat();
    let document: Value = serde_json::from_str(&done(&arguments)).unwrap();
    assert_eq!((&document["nll"], &document["mean"]), (&Value::Array(Vec::new()), &Value::Null));
    assert_eq!(document["sum"].to_string(), "0.0");
}

#[test]
fn score_names_the_position_of_a_bad_token() {
    let (shared, folder) = (Shared::get(), tempfile::tempdir().unwrap());
    let (long, checkpoint) = (format!("{:?}", vec![1; 40]), shared.checkpoint());
    let bad = [
        ("[5000]", "position 0: expected a token id below 1024, got 5000"),
        ("[1, 1024, 3]", "position 1: expected a token id below 1024, got 1024"),
        ("[1, 2, 5000]", "position 2: expected a token id below 1024, got 5000"),
        ("[1, -2]", "line 1 column 6"),
        ("[1, 2.5]", "line 1 column 7"),
        ("{\"ids\": []}", "expected a list of token ids"),
        ("", "expected a list of token ids"),
        ("[]", "expected at least one token id"),
        (&long, "window of 32"),
    ];
    for (content, says) in bad {
        let path = tokens(&folder, content);
        refused(&score_arguments(&checkpoint, &path), &[text(&path), says]);
    }
}

#[test]
fn a_criterion_is_explained() {
    insta::assert_snapshot!(done(&["explain", "statefulness-significantly-better"]));
    insta::assert_snapshot!(done(&["explain", "graduation-8m"]));
    assert!(done(&["explain", "prefill-significantly-better"]).contains("measured by `cargo bench`"));
    refused(&["explain", "statefulnes"], &["got \"statefulnes\"", "similar: ", "statefulness-advantage"]);
    refused(&["explain", ""], &["explain"]);
    for c in CRITERIA {
        let rows = v5gate::report::explain(c, &|_| None);
        let text: Vec<&str> = rows.iter().flatten().map(String::as_str).collect();
        for said in [c.claim, c.why, &cited(c.source)] {
            assert!(text.contains(&said), "{}", c.id);
        }
    }
}

#[test]
fn a_difference_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = ["old.jsonl", "new.jsonl"].map(|name| folder.path().join(name));
    let good = World::good("smoke", &["smoke"], 3);
    let mut bad = good.clone();
    bad.manifest.revision = "code-2".to_owned();
    bad.facts.values_mut().for_each(|f| f.provenance.revision = "code-2".to_owned());
    let losses = bad.select("smoke", Some(GPT2), Condition::Trained, Metric::OverfitLoss, Some(1));
    losses.for_each(|(_, fact)| fact.value = 0.9);
    bad.facts.retain(|key, _| key.3 != Metric::Causal);
    write_ledger(&old, &good);
    write_ledger(&new, &bad);
    assert_eq!(
        done(&["diff", text(&old), text(&old)]),
        "verdict: INCOMPLETE, as before\nnothing that counts has changed\n"
    );
    insta::assert_snapshot!(done(&["diff", text(&old), text(&new)]));
    let document: Value = serde_json::from_str(&done(&["diff", text(&old), text(&new), "--json"])).unwrap();
    assert_eq!(document["verdict"], serde_json::json!(["INCOMPLETE", "FAIL"]));
    refused(&["diff", text(&old), text(&folder.path().join("none"))], &["none", "No such file"]);
}

#[test]
fn a_report_writes_every_format_and_tells_github() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, summary) = (folder.path().join("ledger.jsonl"), folder.path().join("summary.md"));
    write_ledger(&ledger, &World::good("smoke", &["smoke"], 3));
    let quiet = run(&["report", text(&ledger)]);
    assert!(!String::from_utf8_lossy(&quiet.stderr).contains("::notice"));
    for name in ["report.html", "report.md", "report.json", "junit.xml"] {
        assert!(folder.path().join(name).is_file(), "{name}");
    }
    fs::write(&summary, "before\n").unwrap();
    for arguments in [&["report", text(&ledger)][..], &["judge", text(&ledger), "--json"]] {
        let mut command = program();
        command.args(arguments).env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", &summary);
        let told = finish(command);
        assert_eq!(told.stdout.contains(&b'{'), arguments.len() > 2);
        let stderr = String::from_utf8_lossy(&told.stderr).into_owned();
        assert_eq!(stderr.matches("::notice title=V5 gate%3A INCOMPLETE::").count(), 1, "{stderr}");
    }
    let written = fs::read_to_string(&summary).unwrap();
    assert!(written.starts_with("before\n"), "{written}");
    assert_eq!(written.matches("V5 gate: INCOMPLETE").count(), 2);
}

/// A report that somebody's own program wrote, or that is older than the ledger, is named.
#[test]
fn a_report_that_says_something_else_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, page) = (folder.path().join("ledger.jsonl"), folder.path().join("report.html"));
    write_ledger(&ledger, &World::good("smoke", &["smoke"], 3));
    run(&["report", text(&ledger)]);
    let said = || stderr(&run(&["judge", text(&ledger)]));
    assert!(!said().contains("report"), "{}", said());
    let told = fs::read_to_string(&page).unwrap();
    fs::write(&page, told.replace("INCOMPLETE", "PASS")).unwrap();
    assert!(said().contains("report.html: not what this program reports"), "{}", said());
    assert!(!said().contains("report.md"), "{}", said());
    // Of a ledger that has grown since.
    run(&["report", text(&ledger)]);
    let mut grown = Ledger::open(&ledger).unwrap();
    let mut lines = grown.lines().iter().filter(|line| matches!(line, Line::Measurement(_)));
    let Some(Line::Measurement(m)) = lines.next().cloned() else { panic!("no measurement") };
    let of = Subject { seed: 77, ..m.subject().clone() };
    let more = Measurement::new(of, m.metric(), 1.0, None, None, m.provenance().clone());
    grown.append(&[Line::Measurement(more)]).unwrap();
    assert!(said().contains("written when the ledger was another"), "{}", said());
    // Of lines that it never had.
    let mut others = World::good("smoke", &["smoke"], 3);
    others.facts.values_mut().take(1).for_each(|fact| fact.value += 1.0);
    write_ledger(&ledger, &others);
    assert!(said().contains("not what this program reports"), "{}", said());
}

#[test]
fn a_full_stdout_is_an_error() {
    let (shared, folder) = (Shared::get(), tempfile::tempdir().unwrap());
    let (ledger, checkpoint) = (folder.path().join("ledger.jsonl"), shared.checkpoint());
    write_ledger(&ledger, &World::good("smoke", &["smoke"], 3));
    let path = tokens(&folder, "[1, 2]");
    let commands: [&[&str]; 7] = [
        &["list", "criteria"],
        &["list", "models"],
        &["list", "metrics", "--json"],
        &["judge", text(&ledger)],
        &["judge", "--json", text(&ledger)],
        &score_arguments(&checkpoint, &path),
        &["generate", "--prompt", "x", "--tokens", "4", "--checkpoint", text(&checkpoint)],
    ];
    for arguments in commands {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = program().args(arguments).stdout(full).output().unwrap();
        assert_refused(&output, &["stdout: No space left on device"]);
    }
}

#[test]
fn judging_ends_with_the_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.jsonl");
    let good = World::good("smoke", &["smoke"], 3);
    let mut bad = good.clone();
    let losses = bad.select("smoke", Some(GPT2), Condition::Trained, Metric::ValidationLoss, None);
    losses.for_each(|(_, fact)| fact.value = f64::NAN);
    for (world, code, verdict) in [(&good, 11, "INCOMPLETE"), (&bad, 10, "FAIL")] {
        write_ledger(&ledger, world);
        let before = snapshot(folder.path());
        let plain = run(&["judge", text(&ledger)]);
        assert_eq!(plain.status.code(), Some(code));
        assert!(stdout(&plain).starts_with(&format!("V5 gate: {verdict}\n")), "{}", stdout(&plain));
        let json = run(&["judge", "--json", text(&ledger)]);
        assert_eq!((json.status.code(), stderr(&json).as_str()), (Some(code), ""));
        let document: Value = serde_json::from_str(&stdout(&json)).unwrap();
        assert_eq!(document["verdict"].as_str().map(str::to_uppercase).as_deref(), Some(verdict));
        assert_eq!(snapshot(folder.path()), before, "judging writes nothing");
    }
}

/// A ledger alone is judged, but nobody can audit it (ruling R23).
#[test]
fn without_its_runs_a_ledger_cannot_pass() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.jsonl");
    let world = World::good("full", &["3.5M", "8M", "30M", "125M"], 10).of_this_program();
    write_ledger(&ledger, &world);
    let judged = run(&["judge", text(&ledger)]);
    assert_eq!(judged.status.code(), Some(11), "{}", stdout(&judged));
    assert!(
        stdout(&judged).contains("unaudited: 80 of the trials have no run beside the ledger"),
        "{}",
        stdout(&judged)
    );
    for scale in &world.manifest.scales {
        for model in &world.manifest.models {
            for seed in &world.manifest.seeds {
                let run = folder.path().join(format!("runs/{scale}-{model}-seed-{seed}-01234567/final"));
                fs::create_dir_all(&run).unwrap();
                fs::write(run.join("model.safetensors"), "").unwrap();
            }
        }
    }
    let judged = run(&["judge", text(folder.path())]);
    assert_eq!(judged.status.code(), Some(0), "{}", stdout(&judged));

    // A number that somebody has changed, however little, and a line that somebody has taken out.
    let sound = fs::read_to_string(&ledger).unwrap();
    let (at, line) = sound.lines().enumerate().find(|(_, line)| line.contains("unigram_loss")).unwrap();
    let value = line.split("\"value\":").nth(1).unwrap().split(',').next().unwrap();
    let changed = line.replace(&format!("\"value\":{value}"), &format!("\"value\":{value}1"));
    for (forged, where_) in [
        (sound.replace(line, &changed), at + 1),
        (
            sound.lines().enumerate().filter(|(i, _)| *i != at).map(|(_, l)| format!("{l}\n")).collect(),
            at + 1,
        ),
    ] {
        fs::write(&ledger, forged).unwrap();
        let judged = run(&["judge", text(folder.path())]);
        assert!(matches!(judged.status.code(), Some(10 | 11)), "{}", stdout(&judged));
        let expected = format!("the ledger was changed by hand, line {where_}: expected the link");
        let said = stdout(&judged).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(&expected), "{said}");
    }
    fs::write(&ledger, sound).unwrap();
    fs::remove_dir_all(folder.path().join("runs/8M-gpt2-seed-45-01234567")).unwrap();
    let judged = run(&["judge", text(folder.path())]);
    assert_eq!(judged.status.code(), Some(11));
    assert!(stdout(&judged).contains("unaudited: 1 of the trials"), "{}", stdout(&judged));
}

#[test]
fn tables_are_listed() {
    let tables: [(&str, Vec<&str>); 5] = [
        ("criteria", CRITERIA.iter().map(|c| c.id).collect()),
        ("models", MODELS.iter().map(|m| m.name).collect()),
        ("scales", SCALES.iter().map(|s| s.name).collect()),
        ("probes", PROBES.iter().map(|p| p.id).collect()),
        ("metrics", Metric::ALL.iter().map(|m| m.id()).collect()),
    ];
    for (table, names) in tables {
        let plain = done(&["list", table]);
        let rows: Vec<Value> = serde_json::from_str(&done(&["list", table, "--json"])).unwrap();
        assert_eq!(rows.len(), names.len(), "{table}");
        for (row, name) in rows.iter().zip(names) {
            let id = row.get("id").or(row.get("name"));
            assert_eq!(id.and_then(Value::as_str), Some(name), "{table}");
            let first = |line: &str| line.trim_start_matches("| `").starts_with(name);
            assert!(plain.lines().any(first), "{name} is not in:\n{plain}");
        }
    }
    // Ruling R1: every listing of a model prints its counts.
    assert!(done(&["list", "models"]).contains("15497728     12865792       262144        2369792"));
    assert_eq!(run(&["list", "opinions"]).status.code(), Some(2));
}

#[test]
fn text_is_continued() {
    let checkpoint = Shared::get().checkpoint();
    let arguments = ["generate", "--prompt", "My name is", "--tokens", "5", "--checkpoint"];
    let arguments = [&arguments[..], &[text(&checkpoint)]].concat();
    let once = done(&arguments);
    assert!(once.starts_with("My name is") && once.ends_with('\n'), "{once}");
    assert_eq!(done(&arguments), once);
    let none = ["generate", "--prompt", "My name is", "--tokens", "0", "--checkpoint", text(&checkpoint)];
    assert_eq!(done(&none), "My name is\n");
}

/// Passages of LAMBADA's form, from the first documents that were trained on or from elsewhere.
fn passages(folder: &Path, seen: bool) -> PathBuf {
    let split = if seen { Split::Train } else { Split::Valid };
    let text = conversations(1, split, Amount::Documents(6));
    let line = |text: &String| format!("{}\n", serde_json::json!({ "text": text.trim_end() }));
    let path = folder.join("passages.jsonl");
    fs::write(&path, text.iter().map(line).collect::<String>()).unwrap();
    path
}

fn eval<'a>(checkpoint: &'a Path, data: &'a Path) -> Vec<&'a str> {
    vec!["eval", "--task", "lambada_openai", "--checkpoint", text(checkpoint), "--data", text(data)]
}

#[test]
fn an_evaluation_has_the_layout_of_the_harness() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Shared::get().checkpoint_copy();
    let data = passages(folder.path(), false);
    let (samples, cache) = (folder.path().join("samples.jsonl"), folder.path().join("cache"));
    let more = ["--json", "--limit", "4", "--samples", text(&samples), "--cache", text(&cache)];
    let arguments = [&eval(checkpoint.path(), &data)[..], &more].concat();
    let first = done(&arguments);
    let document: Value = serde_json::from_str(&first).unwrap();
    let results = &document["results"]["lambada_openai"];
    assert!(results["perplexity,none"].as_f64().is_some_and(|x| x > 1.0), "{results}");
    assert!(results["acc,none"].is_number() && results["acc_stderr,none"].is_number());
    assert_eq!(results["perplexity_interval,none"].as_array().map(Vec::len), Some(2));
    assert_eq!(document["n-samples"]["lambada_openai"], serde_json::json!({"original": 6, "effective": 4}));
    assert_eq!(document["versions"]["lambada_openai"], 1.0);
    assert_eq!(document["config"]["max_length"], 32);
    assert_eq!(document["truncated"]["lambada_openai"], 4);
    let written = fs::read_to_string(&samples).unwrap();
    let ids = written.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["doc_id"].clone());
    assert_eq!(ids.collect::<Vec<_>>(), [0, 1, 2, 3]);

    // The same again, out of the cache; and other weights, which must not get those answers.
    let kept = || snapshot(&cache).len();
    assert_eq!((done(&arguments), kept()), (first.clone(), 1));
    let weights = checkpoint.path().join("model.safetensors");
    let end = fs::metadata(&weights).unwrap().len() as usize;
    (1..400).for_each(|i| flip(&weights, end - 4 * i + 2));
    let other: Value = serde_json::from_str(&done(&arguments)).unwrap();
    assert_eq!(kept(), 2);
    assert_ne!(other["config"]["identity"]["weights"], document["config"]["identity"]["weights"]);
    assert_ne!(other["results"]["lambada_openai"]["perplexity,none"], results["perplexity,none"]);
}

#[test]
fn an_evaluation_tells_what_training_has_seen() {
    let shared = Shared::get();
    let (folder, checkpoint) = (tempfile::tempdir().unwrap(), shared.checkpoint());
    let tokens = fs::read_dir(shared.folder.join("ended/cache")).unwrap().next().unwrap().unwrap().path();
    let tokens = tokens.join("train.tokens");
    let share = |seen: bool| {
        let data = passages(folder.path(), seen);
        let more = ["--json", "--training", text(&tokens)];
        let document = done(&[&eval(&checkpoint, &data)[..], &more].concat());
        let document: Value = serde_json::from_str(&document).unwrap();
        document["results"]["lambada_openai"]["overlap,none"].as_f64().unwrap()
    };
    let (seen, fresh) = (share(true), share(false));
    assert!(seen > 0.95 && fresh < seen - 0.2, "{seen} {fresh}");
}

#[test]
fn an_evaluation_that_cannot_be_is_refused() {
    let (folder, checkpoint) = (tempfile::tempdir().unwrap(), Shared::get().checkpoint_copy());
    let data = passages(folder.path(), false);
    let with = |more: &[&str], says: &[&str]| {
        refused(&[&eval(checkpoint.path(), &data)[..], more].concat(), says);
    };
    with(&["--limit", "0"], &["--limit", "at least 1"]);
    with(&["--window", "33"], &["1 to 32", "33"]);
    with(&["--window", "0"], &["1 to 32", "got 0"]);
    let absent = folder.path().join("absent");
    with(&["--training", text(&absent)], &["absent"]);
    refused(&eval(checkpoint.path(), &absent), &["absent"]);
    let bad = folder.path().join("bad.jsonl");
    fs::write(&bad, "{\"text\": \"a b\"}\n{\"word\": 1}\n").unwrap();
    refused(&eval(checkpoint.path(), &bad), &["bad.jsonl", "line 2", "LAMBADA"]);
    let mut unknown = eval(checkpoint.path(), &data);
    unknown[2] = "lambda";
    refused(&unknown, &["--task", "wikitext, ptb, lambada_openai, hellaswag", "lambda"]);
    fs::remove_file(checkpoint.path().join("tokenizer.json")).unwrap();
    refused(&eval(checkpoint.path(), &data), &["tokenizer.json", "found neither"]);
}

#[test]
fn any_checkpoint_can_be_asked_what_it_remembers() {
    let checkpoint = Shared::get().checkpoint();
    let arguments = ["eval", "--checkpoint", text(&checkpoint), "--task", "recall"];
    let document: Value = serde_json::from_str(&done(&[&arguments[..], &["--json"]].concat())).unwrap();
    let results = &document["results"]["recall"];
    let under = |condition: &str| -> Vec<f64> {
        let end = format!("_accuracy,{condition}");
        let all = results.as_object().unwrap().iter().filter(|(name, _)| name.ends_with(&end));
        all.filter(|(name, _)| !name.starts_with("document")).map(|(_, x)| x.as_f64().unwrap()).collect()
    };
    assert!(under("trained").len() > 3);
    for (condition, score) in [("uniform", 0.125), ("state_reset", 0.125), ("copy_oracle", 1.0)] {
        let scores = under(condition);
        assert!(
            !scores.is_empty() && scores.iter().all(|x| (x - score).abs() < 1e-9),
            "{condition} {scores:?}"
        );
    }
    let plain = done(&arguments);
    assert!(
        plain.lines().any(|line| line.starts_with("retention_1_bits") && line.contains("trained")),
        "{plain}"
    );
    refused(&[&arguments[..], &["--limit", "3"]].concat(), &["--limit", "recall does not take it"]);
    let unknown = ["eval", "--checkpoint", text(&checkpoint), "--task", "recal"];
    refused(&unknown, &["--task: expected one of wikitext, ptb", "recall, canaries", "got \"recal\""]);
    let no_data = ["eval", "--checkpoint", text(&checkpoint), "--task", "ptb"];
    refused(&no_data, &["--data: ptb needs its file"]);
}
