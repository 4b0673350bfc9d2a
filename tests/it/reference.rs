//! The exchange with another program: what is written for it, what is believed of its log, and what that comes to.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use v5gate::collect::{ReferenceHeader, ReferenceStep, ReferenceTask};
use v5gate::evidence::{Condition, CurveKind, Ledger, Metric};
use v5gate::files::sha256;
use v5gate::train::{Run, load_model};

use crate::program::*;

type Change<'a> = &'a dyn Fn(&mut Vec<ReferenceStep>);

/// 120 steps, so that one in the middle is looked at.
const STEPS: u64 = 120;

fn import(protocol: &Path, out: &Path, folder: &Path) -> Vec<String> {
    let words = ["reference", "import", "--protocol", text(protocol), "--out", text(out), text(folder)];
    words.map(str::to_owned).to_vec()
}

fn refused_import(arguments: &[String], says: &[&str]) {
    refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), says);
}

/// A log as another program writes it.
fn write_log(folder: &Path, header: &ReferenceHeader, steps: &[ReferenceStep]) {
    let lines = steps.iter().map(|step| serde_json::to_string(step).unwrap() + "\n");
    let all = serde_json::to_string(header).unwrap() + "\n" + &lines.collect::<String>();
    fs::write(folder.join("log.jsonl"), all).unwrap();
}

fn numbers(out: &Path, metric: Metric) -> Vec<f64> {
    let ledger = Ledger::open(out.join("ledger.jsonl")).unwrap();
    ledger.measurements().filter(|m| m.metric() == metric).map(|m| m.value().raw()).collect()
}

#[test]
fn a_training_goes_out_and_comes_back_as_evidence() {
    let folder = tempfile::tempdir().unwrap();
    let [path, out, exchange] = ["p.toml", "out", "exchange"].map(|name| folder.path().join(name));
    fs::write(&path, protocol(STEPS, 50)).unwrap();
    let export = |scale, seed| {
        let words = ["reference", "export", "--protocol", text(&path), "--out", text(&out)];
        [&words[..], &["--scale", scale, "--seed", seed, text(&exchange)]].concat()
    };
    refused(&export("8M", "1"), &["--scale: expected one of smoke, got \"8M\""]);
    refused(&export("smoke", "2"), &["--seed: expected one of [1], got 2"]);
    assert!(done(&export("smoke", "1")).contains("gpt2 smoke seed 1, 120 steps of 2 × 32 tokens in float32"));

    // The weights are those that a training starts from, and the tokens those that it reads.
    let asked = fs::read(exchange.join("task.json")).unwrap();
    let task: ReferenceTask = serde_json::from_slice(&asked).unwrap();
    let initial = load_model(&exchange.join("initial")).unwrap();
    assert_eq!(initial.params().digest().unwrap(), task.weights);
    let array = fs::read(exchange.join("batches.npy")).unwrap();
    assert_eq!(task.batches, sha256(&array));
    let data = &array[array.iter().position(|b| *b == b'\n').unwrap() + 1..];
    assert!(
        String::from_utf8_lossy(&array[..128]).contains("'<u2', 'fortran_order': False, 'shape': (240, 33)")
    );
    assert_eq!(data.len(), 240 * 33 * 2);

    // Nothing was trained; importing does it first.
    let header = ReferenceHeader {
        task: sha256(&asked),
        software: "another program 1.0".to_owned(),
        device: "cpu".to_owned(),
        precision: "float32".to_owned(),
    };
    let arguments = import(&path, &out, &exchange);
    refused_import(&arguments, &["log.jsonl: "]);
    let own: Run = {
        let (run, words) =
            (folder.path().join("run"), ["--model", "gpt2", "--scale", "smoke", "--seed", "1"]);
        let train = ["train", "--recipe", text(&path), "--out", text(&run)];
        done(&[&train[..], &words].concat());
        serde_json::from_slice(&fs::read(run.join("run.json")).unwrap()).unwrap()
    };
    let step = |r: &v5gate::train::StepRecord| ReferenceStep {
        step: r.step,
        loss: r.loss,
        grad_norm: r.grad_norm,
        lr: r.lr,
    };
    let steps: Vec<ReferenceStep> = own.curve.iter().map(step).collect();
    let changed = |change: Change<'_>| {
        let mut other = steps.clone();
        change(&mut other);
        write_log(&exchange, &header, &other);
    };

    // What is no whole training of this task is no reference.
    let wrong: [(Change<'_>, &str); 4] = [
        (&|s| s.truncate(119), "expected 120 steps, all of the training, got 119"),
        (&|s| s.swap(3, 4), "line 5: expected step 4, got 5"),
        (&|s| s[60].lr *= 1.001, "line 62: expected the recipe's learning rate"),
        (&|s| s[7].loss = f64::NAN, "line 9: expected a step"),
    ];
    for (change, says) in wrong {
        changed(change);
        refused_import(&arguments, &["log.jsonl: ", says]);
    }
    for (other, says) in [
        (ReferenceHeader { task: sha256(b"other"), ..header.clone() }, "expected a training of the task"),
        (ReferenceHeader { precision: "bfloat16".to_owned(), ..header.clone() }, "ruling R28"),
    ] {
        write_log(&exchange, &other, &steps);
        refused_import(&arguments, &["log.jsonl: line 1: ", says]);
    }
    let mut of_other: Value = serde_json::from_slice(&asked).unwrap();
    of_other["recipe"]["max_lr"] = json!(0.5);
    fs::write(exchange.join("task.json"), of_other.to_string()).unwrap();
    refused_import(&arguments, &["task.json: expected the task that this protocol, data and program export"]);
    fs::write(exchange.join("task.json"), &asked).unwrap();
    assert!(numbers(&out, Metric::ReferenceLossRatio).is_empty(), "nothing refused becomes evidence");

    // The same losses: 1 and 0. Twice the same log is once the evidence.
    write_log(&exchange, &header, &steps);
    for _ in 0..2 {
        let said = done(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let log = sha256(&fs::read(exchange.join("log.jsonl")).unwrap());
        let expected = format!(
            "another program 1.0 on cpu\nlog                      {log}\nfinal loss here / there  1\n"
        );
        assert!(said.starts_with(&expected), "{said}");
        assert_eq!(numbers(&out, Metric::ReferenceLossRatio), [1.0]);
        assert_eq!(numbers(&out, Metric::ReferenceDeparture), [0.0]);
        assert_eq!(numbers(&out, Metric::ReferenceIdentical), [1.0], "our own record is no reference");
    }
    let ledger = Ledger::open(out.join("ledger.jsonl")).unwrap();
    let drawn = ledger.curves().filter(|c| c.subject().condition == Condition::Reference);
    assert_eq!(
        drawn.map(|c| c.kind()).collect::<Vec<_>>(),
        [CurveKind::TrainingLoss, CurveKind::GradientNorm]
    );

    // One that ends lower by a tenth, and one that only strays on the way.
    changed(&|s| s.iter_mut().skip(100).for_each(|s| s.loss *= 0.9));
    done(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    changed(&|s| s[99].loss *= 0.8);
    done(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let close = |got: &[f64], expected: [f64; 3]| {
        assert!(
            got.iter().zip(expected).all(|(got, e)| (got - e).abs() < 1e-12) && got.len() == 3,
            "{got:?}"
        );
    };
    close(&numbers(&out, Metric::ReferenceLossRatio), [1.0, 1.0 / 0.9, 1.0]);
    close(&numbers(&out, Metric::ReferenceDeparture), [0.0, 1.0 / 0.9 - 1.0, 0.25]);
    close(&numbers(&out, Metric::ReferenceIdentical), [1.0, 99.0 / 119.0, 118.0 / 119.0]);
}
