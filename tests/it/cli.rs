//! The program as its users meet it: bad input ends with exit code 2 and one message that names
//! file and place, and what was there before stays byte for byte.

use std::fs::{self};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use v5gate::scale::SCALES;

use crate::program::*;
use crate::world::World;

#[test]
fn score_refuses_a_truncated_checkpoint() {
    let (shared, folder) = (Shared::get(), tempfile::tempdir().unwrap());
    let path = tokens(&folder, "[1, 2]");
    for (file, bytes) in [
        ("model.safetensors", 100_000),
        ("model.safetensors", 100),
        ("model.safetensors", 0),
        ("config.json", 20),
    ] {
        let spoilt = shared.checkpoint_copy();
        let file = spoilt.path().join(file);
        truncate(&file, bytes);
        let before = snapshot(spoilt.path());
        refused(&score_arguments(spoilt.path(), &path), &[text(&file), "expected"]);
        assert_eq!(snapshot(spoilt.path()), before);
    }
}

#[test]
fn impossible_dimensions_are_named() {
    let (shared, folder) = (Shared::get(), tempfile::tempdir().unwrap());
    let path = tokens(&folder, "[1, 2]");
    let gpt2 = fs::read_to_string(shared.checkpoint().join("config.json")).unwrap();
    let spec = v5gate::models::find("groundthink").unwrap();
    let config = (spec.config)(&SCALES[0], VOCABULARY, 32);
    let groundthink = serde_json::to_string_pretty(&config).unwrap();
    let bad = [
        (&gpt2, "\"n_head\": 2", "\"n_head\": 0", "n_head 0"),
        (&gpt2, "\"n_head\": 2", "\"n_head\": 5", "n_head 5"),
        (&gpt2, "\"model_type\": \"gpt2\"", "\"model_type\": \"gpt9\"", "gpt9"),
        (&groundthink, "\"head_size\": 32", "\"head_size\": 0", "rwkv.head_size 0"),
        (&groundthink, "\"head_dim\": 32", "\"head_dim\": 0", "mamba.head_dim 0"),
        (&groundthink, "\"n_groups\": 1", "\"n_groups\": 3", "mamba.n_groups 3"),
    ];
    for (config, from, to, says) in bad {
        let spoilt = shared.checkpoint_copy();
        let file = spoilt.path().join("config.json");
        assert!(config.contains(from), "{config}");
        fs::write(&file, config.replace(from, to)).unwrap();
        refused(&score_arguments(spoilt.path(), &path), &[text(&file), says]);
    }
}

#[test]
fn train_refuses_a_spoilt_step() {
    let shared = Shared::get();
    let cut = |path: &Path| truncate(path, 500);
    let spoil = |path: &Path| flip(path, 100_001);
    let ways: [(&str, &Spoil); 4] = [
        ("model.safetensors", &cut),
        ("optimizer.safetensors", &cut),
        ("optimizer.safetensors", &spoil),
        ("trainer.json", &cut),
    ];
    for (file, spoil) in ways {
        let run = shared.copy_of("interrupted");
        let file = newest_step(run.path()).unwrap().join(file);
        spoil(&file);
        let before = snapshot(run.path());
        refused(&train_arguments("gpt2", &shared.long(), run.path()), &[text(&file), "expected"]);
        assert_eq!(snapshot(run.path()), before);
    }
}

#[test]
fn train_refuses_the_folder_of_another_run() {
    let shared = Shared::get();
    let run = shared.copy_of("ended");
    let before = snapshot(run.path());
    let says = [text(run.path()), "another run lives here"];
    refused(&train_arguments("groundthink", &shared.short(), run.path()), &says);
    assert_eq!(snapshot(run.path()), before);
}

#[test]
fn train_refuses_another_order() {
    let shared = Shared::get();
    let run = shared.copy_of("interrupted");
    let order = run.path().join("order-seed-1.npy");
    for (spoil, says) in [
        (&(|path: &Path| flip(path, 200)) as &Spoil, "expected the order"),
        (&|path: &Path| truncate(path, 150), "order-seed-1.npy: "),
    ] {
        spoil(&order);
        let before = snapshot(run.path());
        refused(&train_arguments("gpt2", &shared.long(), run.path()), &[text(&order), says]);
        assert_eq!(snapshot(run.path()), before);
    }
}

#[test]
fn collect_refuses_a_corrupt_token_file() {
    let shared = Shared::get();
    for (file, at, says) in [
        ("train.tokens", 5000, "payload corrupt"),
        ("valid.tokens", 5000, "payload corrupt"),
        ("train.tokens", 3, "expected a token file"),
        ("train.tokens", 20, "cannot read its header"),
        ("tokenizer.json", 300, "cannot load tokenizer"),
    ] {
        let out = shared.collected();
        let cache = fs::read_dir(out.path().join("cache")).unwrap().next().unwrap().unwrap().path();
        flip(&cache.join(file), at);
        let before = snapshot(out.path());
        let short = shared.short();
        refused(&collect_arguments("collect", &short, out.path()), &[text(&cache.join(file)), says]);
        assert_eq!(snapshot(out.path()), before);
    }
}

#[test]
fn a_broken_ledger_line_is_named_and_left() {
    let shared = Shared::get();
    let out = shared.collected();
    let ledger = out.path().join("ledger.jsonl");
    let mut lines: Vec<String> = fs::read_to_string(&ledger).unwrap().lines().map(str::to_owned).collect();
    lines[6].truncate(40);
    fs::write(&ledger, lines.join("\n")).unwrap();
    let before = snapshot(out.path());
    let short = shared.short();
    let (protocol, folder) = (text(&short), text(out.path()));
    let commands: [&[&str]; 2] = [
        &["collect", "--protocol", protocol, "--out", folder],
        &["run", "--protocol", protocol, "--out", folder],
    ];
    for arguments in commands {
        refused(arguments, &[&format!("{}, line 7: ", ledger.display())]);
        assert_eq!(snapshot(out.path()), before, "{arguments:?}");
    }
    // Who only judges gets findings all the same, and the line among the problems.
    for arguments in [&["judge", text(&ledger)][..], &["judge", "--json", text(&ledger)]] {
        let judged = run(arguments);
        assert_ne!(judged.status.code(), Some(0));
        assert!(stdout(&judged).contains("line 7: "), "{}", stdout(&judged));
        assert_eq!(snapshot(out.path()), before, "{arguments:?}");
    }
}

#[test]
fn a_protocol_that_cannot_be_followed_is_refused() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("bad.toml");
    // Of an unknown key in [data] the parser knows the table's line only.
    let bad = [
        ("max_lr", "maxlr", "line 23, column 1", "unknown field `maxlr`"),
        ("checkpoint_every", "checkpoint_evry", "line 6, column 1", "unknown field `checkpoint_evry`"),
        ("vocab_size", "vocab_sise", "line 9, column 1", "unknown field `vocab_sise`"),
        ("[recipe]", "[recipe", "line 16", "TOML parse error"),
        ("warmup_steps = 1\n", "", "missing field", "warmup_steps"),
        ("scales = [\"smoke\"]", "scales = [\"smoky\"]", "scales: expected some of", "\"smoky\""),
        ("name = \"mini\"", "name = \"../mini\"", "name: expected letters", "\"../mini\""),
        ("name = \"mini\"", "name = \"full\"", "name: expected a name of its own", "\"full\""),
        ("seeds = [1]", "seeds = []", "seeds: expected at least one", "none"),
        ("seeds = [1]", "seeds = [1, 2, 1]", "seeds: expected each once", "\"1\""),
        ("micro_batch_size = 2", "micro_batch_size = 3", "micro_batch_size: expected a divisor", "got 3"),
    ];
    for (from, to, place, says) in bad {
        let good = protocol(4, 3);
        assert!(good.contains(from));
        fs::write(&path, good.replacen(from, to, 1)).unwrap();
        let folder = out.path().join("out");
        for command in ["collect", "run"] {
            let arguments = collect_arguments(command, &path, &folder);
            refused(&arguments, &[text(&path), place, says]);
        }
        refused(&train_arguments("gpt2", &path, &folder), &[text(&path), place, says]);
        assert!(!folder.exists());
    }
}

#[test]
fn an_unusable_corpus_is_named() {
    let shared = Shared::get();
    let (out, data) = (shared.collected(), tempfile::tempdir().unwrap());
    let (head, rest) =
        protocol(4, 3).split_once("[data]").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let recipe = rest.split_once("[recipe]").unwrap().1;
    let spec =
        "[data]\nkind = \"text\"\ntrain = \"train.txt\"\nvalid = \"valid.txt\"\ntokenizer = \"train:300\"\n";
    let path = data.path().join("text.toml");
    fs::write(&path, format!("{head}{spec}[recipe]{recipe}")).unwrap();
    let before = snapshot(out.path());
    let train = data.path().join("train.txt");
    let arguments = collect_arguments("collect", &path, out.path());
    let with_data = [&arguments[..], &["--data", text(data.path())]].concat();
    refused(&arguments, &["expected a data folder to read train.txt from"]);
    refused(&with_data, &[text(&train), "No such file"]);
    for content in ["", " \n\n", "<|endoftext|>\n<|endoftext|>\n"] {
        fs::write(&train, content).unwrap();
        refused(&with_data, &[text(&train), "expected at least one document, got none"]);
    }
    fs::write(&train, b"fine\n\xff\n").unwrap();
    refused(&with_data, &[text(&train), "line 2: expected UTF-8"]);
    fs::write(&train, "some text").unwrap();
    refused(&with_data, &[text(&data.path().join("valid.txt")), "No such file"]);
    fs::create_dir(data.path().join("valid.txt")).unwrap();
    refused(&with_data, &["valid.txt", "expected a file, got a folder"]);
    assert_eq!(snapshot(out.path()), before);
}

#[test]
fn whatever_is_not_there_is_named() {
    let (shared, folder) = (Shared::get(), tempfile::tempdir().unwrap());
    let (short, good) = (shared.short(), tokens(&folder, "[1]"));
    // Nothing there; nothing can be there, since a file is in the way; a folder where a file should be.
    let missing = folder.path().join("missing");
    let blocked = short.join("below");
    let a_folder = folder.path().join("folder");
    fs::create_dir(&a_folder).unwrap();
    let unlike = [(&missing, "No such file"), (&blocked, "Not a directory"), (&a_folder, "Is a directory")];
    for (path, says) in unlike {
        let (named, checkpoint) = (text(path), shared.checkpoint());
        let new = folder.path().join("out");
        let of_ledgers: [&[&str]; 3] = [&["judge", named], &["judge", "--json", named], &["report", named]];
        let none = if path.is_dir() { "expected a folder with ledger.jsonl" } else { says };
        of_ledgers.iter().for_each(|arguments| refused(arguments, &[named, none]));
        let commands: [&[&str]; 3] = [
            &["collect", "--protocol", named, "--out", text(&new)],
            &["run", "--protocol", named, "--out", text(&new)],
            &score_arguments(&checkpoint, path),
        ];
        commands.iter().for_each(|arguments| refused(arguments, &[named, says]));
        refused(&train_arguments("gpt2", path, &new), &[named, says]);
        assert!(!new.exists());
    }
    for (path, says) in
        [(&missing, "No such file"), (&blocked, "Not a directory"), (&a_folder, "No such file")]
    {
        refused(&score_arguments(path, &good), &[text(path), says]);
        refused(&["generate", "--prompt", "x", "--checkpoint", text(path)], &[text(path), says]);
    }
    let textless = shared.checkpoint_copy();
    fs::remove_file(textless.path().join("tokenizer.json")).unwrap();
    refused(
        &["generate", "--prompt", "x", "--checkpoint", text(textless.path())],
        &[text(textless.path()), "tokenizer.json"],
    );
}

#[test]
fn what_cannot_be_written_is_named() {
    let shared = Shared::get();
    let (short, ledger) = (shared.short(), shared.collected());
    let before = snapshot(ledger.path());
    // A device and a file, neither of which can have files below it.
    for out in [Path::new("/dev/full"), &short, &short.join("below")] {
        for command in ["collect", "run"] {
            let arguments = collect_arguments(command, &short, out);
            refused(&arguments, &[text(out), "Not a directory"]);
        }
        refused(&train_arguments("gpt2", &short, out), &[text(out), "(os error"]);
        let from = ledger.path().join("ledger.jsonl");
        refused(&["report", text(&from), "--out", text(out)], &[text(out), "(os error"]);
    }
    // A folder in the place of the ledger.
    let out = tempfile::tempdir().unwrap();
    fs::create_dir(out.path().join("ledger.jsonl")).unwrap();
    let arguments = collect_arguments("collect", &short, out.path());
    refused(&arguments, &["ledger.jsonl", "Is a directory"]);
    assert_eq!(snapshot(ledger.path()), before);
}

/// The program where no file may grow beyond some KiB, which fails as a full disk does.
fn on_a_full_disk(limit: u32, arguments: &[&str]) -> Output {
    let limited = format!("trap '' XFSZ; ulimit -f {limit}; exec \"$0\" \"$@\"");
    let full = program();
    let mut command = Command::new("bash");
    command.args(["-c", &limited]).arg(full.get_program()).args(arguments);
    for (name, value) in full.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    finish(command)
}

#[test]
fn a_full_disk_leaves_the_ledger() {
    let shared = Shared::get();
    let out = shared.collected();
    let before = snapshot(out.path());
    let (short, ledger) = (shared.short(), out.path().join("ledger.jsonl"));
    for command in ["collect", "run"] {
        let arguments = collect_arguments(command, &short, out.path());
        let says = [text(&ledger), "cannot write the ledger, which stays as it was", "File too large"];
        assert_refused(&on_a_full_disk(8, &arguments), &says);
        assert_eq!(snapshot(out.path()), before);
    }
}

#[test]
fn a_full_disk_leaves_the_checkpoint() {
    let shared = Shared::get();
    let run = shared.copy_of("interrupted");
    let before = snapshot(run.path());
    let output = on_a_full_disk(500, &train_arguments("gpt2", &shared.long(), run.path()));
    assert_refused(&output, &[text(run.path()), "model.safetensors", "File too large"]);
    assert_eq!(snapshot(run.path()), before);
}

#[test]
fn a_full_disk_leaves_no_half_token_file() {
    let (shared, out) = (Shared::get(), tempfile::tempdir().unwrap());
    let output = on_a_full_disk(8, &train_arguments("gpt2", &shared.short(), out.path()));
    assert_refused(&output, &[text(out.path()), "File too large"]);
    assert!(snapshot(out.path()).is_empty());
}

#[test]
fn a_full_disk_leaves_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger.jsonl");
    write_ledger(&ledger, &World::good("smoke", &["smoke"], 3));
    assert_eq!(run(&["report", text(&ledger)]).status.code(), Some(11));
    let before = snapshot(folder.path());
    assert_eq!(before.len(), 5);
    let output = on_a_full_disk(1, &["report", text(&ledger)]);
    assert_refused(&output, &[text(&folder.path().join("report.md")), "File too large"]);
    assert_eq!(snapshot(folder.path()), before);
}

#[test]
fn an_unknown_model_or_scale_is_named() {
    let out = tempfile::tempdir().unwrap();
    let mut arguments = ["train", "--model", "gpt3", "--scale", "smoke", "--seed", "1", "--recipe", "smoke"];
    let folder = out.path().join("out");
    let refuse = |arguments: &[&str], says: &[&str]| {
        refused(&[arguments, &["--out", text(&folder)]].concat(), says);
        assert!(!folder.exists());
    };
    refuse(&arguments, &["--model: expected one of gpt2, groundthink, mamba2, rwkv6, got \"gpt3\""]);
    (arguments[2], arguments[4]) = ("gpt2", "huge");
    refuse(&arguments, &["--scale: expected one of smoke", "got \"huge\""]);
}

/// What a run has become, without the time it took.
fn outcome(run: &Path) -> (Value, Vec<u8>) {
    let mut record: Value = serde_json::from_slice(&fs::read(run.join("run.json")).unwrap()).unwrap();
    (record["seconds"], record["starts"]) = (Value::Null, Value::Null);
    (record, fs::read(run.join("final/model.safetensors")).unwrap())
}

/// The whole of it, with twenty kills at random moments, is `scripts/kill-resume.sh`.
#[test]
fn a_run_killed_three_times_ends_as_if_it_had_not_been() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mini.toml");
    fs::write(&path, protocol(60, 7)).unwrap();
    let [whole, killed] = ["whole", "killed"].map(|name| folder.path().join(name));
    done(&train_arguments("groundthink", &path, &whole));
    for wait in [0, 13, 37] {
        let (before, mut child) = (newest_step(&killed), start("groundthink", &path, &killed));
        wait_for(|| newest_step(&killed) > before || child.try_wait().unwrap().is_some());
        std::thread::sleep(Duration::from_millis(wait));
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(!killed.join("run.json").exists());
    done(&train_arguments("groundthink", &path, &killed));
    assert_eq!(outcome(&killed), outcome(&whole));
    let left: Vec<_> = fs::read_dir(&killed).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".writing")), "{left:?}");
}
