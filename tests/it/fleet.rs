//! A protocol in tasks: each by a process of its own, and together the same evidence as of one process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use v5gate::collect::{AUDIT, FleetTask, REVISION, tasks};
use v5gate::evidence::{Condition, Ledger, Line, Measurement, Metric, Provenance, Subject};
use v5gate::fleet::{Fleet, Rate, TaskState};
use v5gate::gate::judge;
use v5gate::probes::PROBES;
use v5gate::protocol::Protocol;

use crate::program::*;

/// Two trials of one model, eight steps each.
fn written() -> (tempfile::TempDir, PathBuf) {
    let text = protocol(8, 3).replace("context_length = 32", "context_length = 64");
    let text = text.replace("\"gpt2\", \"groundthink\"", "\"gpt2\"").replace(", groundthink = 0", "");
    let text = text.replace("token_count = 512", "token_count = 1024").replace("[1]", "[1, 2]");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.toml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn task(protocol: &Path, out: &Path, number: &str) -> Command {
    let mut command = program();
    command.args(["run", "--protocol", text(protocol), "--out", text(out), "--task", number]);
    command
}

/// What was measured of whom, from where, but for times and for what audits drew.
fn told(out: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for m in Ledger::open_below(out).unwrap().measurements() {
        let times = [Metric::TrainSeconds, Metric::TrainTokensPerSecond];
        // What an audit looks at is drawn from the record of the run, which tells how long it took.
        let varies = ["efficiency", AUDIT].contains(&m.provenance().probe.as_str());
        if !varies && !times.contains(&m.metric()) {
            let key = format!("{:?} {:?}", m.subject(), m.metric());
            let value = format!("{:?} {:?} {:?} {:?}", m.value(), m.n(), m.interval(), m.provenance());
            all.entry(key).or_default().insert(value);
        }
    }
    all
}

#[test]
fn tasks_give_the_evidence_of_one_process() {
    let (folder, protocol) = written();
    let (whole, out) = (folder.path().join("whole"), folder.path().join("out"));
    let arguments = ["run", "--protocol", text(&protocol), "--out", text(&whole)];
    assert_eq!(run(&arguments).status.code(), Some(10), "eight steps teach nothing");

    // Times come after trainings.
    let early = finish(task(&protocol, &out, "2"));
    assert_refused(&early, &["expected the trained gpt2 smoke seed 1, got none", "its task comes first"]);
    assert_refused(&finish(task(&protocol, &out, "4")), &["--task: expected 0 to 3, got 4"]);
    let both = ["0", "1"].map(|number| task(&protocol, &out, number).spawn().unwrap());
    for mut child in both {
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    let before = told(&out);
    // Done again, nothing changes; an engine's number is as good as an option.
    let mut again = program();
    again.args(["run", "--protocol", text(&protocol), "--out", text(&out)]).env("SLURM_ARRAY_TASK_ID", "1");
    assert_eq!(finish(again).status.code(), Some(0));
    assert_eq!(told(&out), before);
    assert!(before.values().all(|values| values.len() == 1), "a question was answered twice");
    assert_eq!(before, told(&whole));
    let [one, other] = [&whole, &out].map(|folder| Ledger::open_below(folder).unwrap());
    assert_eq!(judge(&one).verdict, judge(&other).verdict);
    assert_eq!(other.manifests().count(), 1);
    // A process that does all of it finds everything done.
    let arguments = ["run", "--protocol", text(&protocol), "--out", text(&out)];
    assert_eq!(run(&arguments).status.code(), Some(10));
    assert_eq!(told(&out), before);

    let listed: Value =
        serde_json::from_str(&done(&["fleet", "--protocol", text(&protocol), "--out", text(&out), "--json"]))
            .unwrap();
    let states: Vec<&str> =
        listed["tasks"].as_array().unwrap().iter().map(|t| t["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["proven", "proven", "waiting", "waiting"]);

    // What is not understood in a run's ledger is a fault of the whole.
    let run_ledger =
        fs::read_dir(out.join("runs")).unwrap().map(|run| run.unwrap().path().join("ledger.jsonl"));
    let run_ledger = run_ledger.filter(|path| path.exists()).min().unwrap();
    fs::write(&run_ledger, fs::read_to_string(&run_ledger).unwrap() + "{}\n").unwrap();
    let faults = Ledger::open_below(&out).unwrap().faults().to_vec();
    assert!(faults.len() == 1 && faults[0].starts_with("runs/smoke-gpt2-seed-1-"), "{faults:?}");
}

#[test]
fn a_task_that_is_stopped_says_that_it_goes_on() {
    let (folder, protocol) = written();
    let long =
        fs::read_to_string(&protocol).unwrap().replace("token_count = 1024", "token_count = 12_800_000");
    fs::write(&protocol, long).unwrap();
    let out = folder.path().join("out");
    let mut child = task(&protocol, &out, "0").spawn().unwrap();
    let step = || fs::read_dir(out.join("runs")).ok()?.flatten().find_map(|run| newest_step(&run.path()));
    wait_for(|| step().is_some());
    signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(75));
    let read =
        || Fleet::read(&Protocol::load(text(&protocol)).unwrap(), &out, None, || Rate::given(1.0)).unwrap().0;
    let fleet = read();
    assert_eq!(fleet.tasks[0].state, TaskState::Begun);
    assert!(fleet.tasks[0].steps > 0 && fleet.tasks[0].steps < fleet.tasks[0].of_steps);
    assert!(fleet.tasks[0].hours_left > 0.0 && fleet.open(|_| true) == [0, 1, 2, 3]);
}

#[test]
fn full_is_eighty_trainings() {
    let full = Protocol::load("full").unwrap();
    let all = tasks(&full);
    let trainings = all.iter().filter(|task| matches!(task, FleetTask::Trial(_))).count();
    assert_eq!((trainings, all.len()), (80, 120));
    assert_eq!(all[0].label(), "groundthink 125M seed 42", "the costliest first");
    let names: BTreeSet<String> = all.iter().map(FleetTask::label).collect();
    assert_eq!(names.len(), all.len());
    let folder = tempfile::tempdir().unwrap();
    let (fleet, _) = Fleet::read(&full, folder.path(), None, || Rate::given(100.0)).unwrap();
    // Of a GPT-2 of 124,439,808 parameters, to which attention and the head are added, on two billion tokens.
    let of_gpt2 = fleet.tasks.iter().find(|task| task.task == "gpt2 125M seed 42").unwrap().cost;
    let least = 6.0 * 124_439_808.0 * of_gpt2.tokens as f64;
    assert!(of_gpt2.flops > least && of_gpt2.flops < 1.2 * least, "{of_gpt2:?}");
    assert_eq!(of_gpt2.tokens, 3814 * 512 * 1024);
}

/// What is written for engines is at least what their parsers take.
#[test]
fn scripts_are_well_formed() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("o u t'");
    let written = |more: &[&str]| {
        done(&[&["fleet", "--protocol", "smoke", "--out", text(&out), "--rate", "1"], more].concat())
    };
    for more in [&[][..], &["--stop-for-futility"]] {
        let script = folder.path().join("fleet.sh");
        fs::write(&script, written(more)).unwrap();
        assert!(Command::new("sh").arg("-n").arg(&script).status().unwrap().success());
    }
    let list: Value = serde_json::from_str(&written(&["--engine", "kubernetes"])).unwrap();
    let jobs = list["items"].as_array().unwrap();
    let counts: Vec<u64> = jobs.iter().map(|job| job["spec"]["completions"].as_u64().unwrap()).collect();
    assert_eq!(counts, [6, 3, 1]);
    let task: Value = serde_json::from_str(&written(&["--engine", "skypilot"])).unwrap();
    assert_eq!(task["resources"]["job_recovery"]["recover_on_exit_codes"][0], 75);
    refused(&["fleet", "--protocol", "smoke", "--rate", "0"], &["--rate", "a positive number"]);
    assert!(!out.exists(), "listing makes nothing");
}

/// Folders as that many tasks leave them: `V5_FLEET` trials, 100 where it is not set.
#[test]
fn a_large_fleet_is_listed_and_judged() {
    let trials: u64 = std::env::var("V5_FLEET").map_or(100, |n| n.parse().unwrap());
    let (folder, path) = written();
    let text = fs::read_to_string(&path).unwrap();
    let seeds: Vec<String> = (1..=trials).map(|seed| seed.to_string()).collect();
    fs::write(&path, text.replace("[1, 2]", &format!("[{}]", seeds.join(", ")))).unwrap();
    let protocol = Protocol::load(path.to_str().unwrap()).unwrap();
    let out = folder.path().join("out");
    let scale = protocol.scales().next().unwrap();
    let probes = PROBES.iter().filter(|p| p.is_available(&protocol.eval_data(None)));
    let mut asked: Vec<_> = probes.map(|probe| (probe.id, probe.metrics)).collect();
    asked.push((AUDIT, &[Metric::AuditParameters]));
    for seed in 1..=trials {
        let run = out.join(format!("runs/smoke-gpt2-seed-{seed}-00000000"));
        fs::create_dir_all(&run).unwrap();
        let mut lines = String::new();
        for (probe, metrics) in &asked {
            let provenance = Provenance {
                recipe: protocol.recipe_digest(scale),
                revision: REVISION.to_owned(),
                probe: (*probe).to_owned(),
                weights: format!("{seed:064}"),
                ..Provenance::default()
            };
            for (i, &metric) in metrics.iter().enumerate() {
                for &condition in &Condition::ALL[..if *probe == "recall" { 6 } else { 1 }] {
                    let (model, scale) = ("gpt2".to_owned(), "smoke".to_owned());
                    let of = Subject { model, scale, seed, condition };
                    let value = 0.001 * seed as f64 + i as f64;
                    let m = Measurement::new(of, metric, value, Some(9), None, provenance.clone());
                    lines += &(serde_json::to_string(&Line::Measurement(m)).unwrap() + "\n");
                }
            }
        }
        // The last one was killed in between.
        let torn = if seed == trials { lines.len() / 2 } else { lines.len() };
        fs::write(run.join("ledger.jsonl"), &lines.as_bytes()[..torn]).unwrap();
    }
    let start = std::time::Instant::now();
    let (fleet, ledger) = Fleet::read(&protocol, &out, None, || Rate::given(1.0)).unwrap();
    let listed = start.elapsed();
    let judgement = judge(&ledger);
    let proven = fleet.tasks.iter().filter(|task| task.state == TaskState::Proven).count() as u64;
    assert_eq!(proven, trials - 1);
    assert!(!judgement.problems.is_empty());
    println!(
        "{trials} tasks, {} measurements: listed and merged in {listed:?}, judged in {:?}",
        ledger.measurements().count(),
        start.elapsed() - listed
    );
}
