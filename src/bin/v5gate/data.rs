//! `v5gate data`: which data sets are there, and fetching those that are not.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use serde_json::json;
use v5gate::data::published::catalogue::{DataSet, Presence, SETS, find_set};
use v5gate::data::published::fetch::fetch;
use v5gate::data::tokenizer::Tokenizer;
use v5gate::progress::Screen;

/// What to do about data.
#[derive(Subcommand)]
pub enum DataCommand {
    /// Says which data sets a folder has, whether they are the expected ones, and where to get the others.
    Check {
        /// The data folder.
        path: PathBuf,
        /// One JSON document on stdout.
        #[arg(long)]
        json: bool,
    },
    /// Fetches sets from the hub into a data folder; without names all that the hub has.
    Fetch {
        /// Names of sets.
        sets: Vec<String>,
        /// The data folder.
        #[arg(long, env = "V5_DATA")]
        data: PathBuf,
        /// The address of a mirror of the hub.
        #[arg(long, env = "HF_ENDPOINT")]
        endpoint: Option<String>,
    },
}

/// Everything is there and as expected.
const GOOD: u8 = 0;
/// Something is not as expected.
const OTHER: u8 = 10;
/// Something is missing.
const LACKING: u8 = 11;

/// Does it, and returns what to print and the exit code.
pub fn run(command: &DataCommand) -> Result<(String, u8)> {
    match command {
        DataCommand::Check { path, json } => check(path, *json),
        DataCommand::Fetch { sets, data, endpoint } => {
            fetch_all(sets, data, endpoint.as_deref()).map(|text| (text, GOOD))
        }
    }
}

fn check(folder: &Path, as_json: bool) -> Result<(String, u8)> {
    if !folder.is_dir() {
        bail!("{}: expected a folder", folder.display())
    }
    let screen = Screen::default();
    let task = screen.task("reading", 0, SETS.iter().map(|set| set.files.len() as u64).sum());
    let (mut code, mut text, mut rows, mut read) = (GOOD, String::new(), Vec::new(), 0);
    for set in SETS {
        let mut states = Vec::new();
        for file in set.files {
            task.at(read, || file.path.to_owned());
            read += 1;
            let path = file.below(folder);
            states.push(file.look(folder).with_context(|| path.display().to_string())?);
        }
        let stranger = another_tokenizer(set, folder)?;
        let (said, this) = if stranger { ("other", OTHER) } else { judge(&states) };
        // What is wrong outweighs what is missing.
        code = if code == OTHER || this == GOOD { code } else { this };
        text += &line(set, said, &states);
        if stranger {
            text += &format!("{:16} {}\n", "", STRANGER);
        }
        let files = set.files.iter().zip(&states);
        let files: Vec<_> = files.map(|(file, state)| json!({"file": file, "is": state})).collect();
        rows.push(json!({
            "name": set.name, "about": set.about, "licence": set.licence, "publisher": set.publisher,
            "hub": set.hub, "status": said, "files": files,
        }));
    }
    drop(task);
    Ok((if as_json { serde_json::to_string_pretty(&rows)? + "\n" } else { text }, code))
}

/// What is said of a file that is no part of the set and would be used in its place.
const STRANGER: &str = "tokenizer.json: expected the same as vocab.json and merges.txt or no such file, got another \
    tokenizer, which would be used";

/// Whether a `tokenizer.json` lies beside a vocabulary and its merges and is another tokenizer than they are.
fn another_tokenizer(set: &DataSet, folder: &Path) -> Result<bool> {
    let is_vocabulary = set.files.iter().any(|file| file.path.ends_with("/vocab.json"));
    let Some(first) = set.files.first().filter(|_| is_vocabulary) else { return Ok(false) };
    let path = first.below(folder);
    let folder = path.parent().unwrap_or(folder);
    let whole = folder.join("tokenizer.json");
    if !whole.is_file() {
        return Ok(false);
    }
    match (Tokenizer::from_file(&whole), Tokenizer::from_vocabulary(folder)) {
        // Whatever the vocabulary is, its files are judged by their digests.
        (_, Err(_)) => Ok(false),
        (Err(_), Ok(_)) => Ok(true),
        (Ok(whole), Ok(own)) => Ok(!whole.encodes_like(&own)?),
    }
}

fn judge(states: &[Presence]) -> (&'static str, u8) {
    if states.iter().any(|state| matches!(state, Presence::Other { .. })) {
        ("other", OTHER)
    } else if states.contains(&Presence::Missing) {
        ("missing", LACKING)
    } else {
        ("as expected", GOOD)
    }
}

fn line(set: &DataSet, said: &str, states: &[Presence]) -> String {
    let mut text = format!("{:16} {said:12} {} ({})\n", set.name, set.about, set.licence);
    for (file, state) in set.files.iter().zip(states) {
        if let Presence::Other { sha256 } = state {
            text += &format!("{:16} {}: expected SHA-256 {}, got {sha256}\n", "", file.path, file.sha256);
        }
    }
    let missing = set.files.iter().zip(states).filter(|(_, state)| **state == Presence::Missing);
    let missing: Vec<&str> = missing.map(|(file, _)| file.path).collect();
    if !missing.is_empty() {
        let how = match set.hub {
            Some(_) => format!("`v5gate data fetch {}`, or {}", set.name, set.publisher),
            None => set.publisher.to_owned(),
        };
        text += &format!("{:16} {}: {how}\n", "", missing.join(", "));
    }
    text
}

fn fetch_all(names: &[String], folder: &Path, endpoint: Option<&str>) -> Result<String> {
    let wanted: Vec<&DataSet> = match names {
        [] => SETS.iter().filter(|set| set.hub.is_some()).collect(),
        _ => names.iter().map(|name| named(name)).collect::<Result<_>>()?,
    };
    let (screen, mut text) = (Screen::default(), String::new());
    for set in wanted {
        let fetched = fetch(set, folder, endpoint, &screen)?;
        text += &match fetched.is_empty() {
            true => format!("{}: already there\n", set.name),
            false => format!("{}: fetched {}\n", set.name, fetched.join(", ")),
        };
    }
    Ok(text)
}

fn named(name: &str) -> Result<&'static DataSet> {
    let all: Vec<&str> = SETS.iter().map(|set| set.name).collect();
    find_set(name).with_context(|| format!("expected one of {}, got {name:?}", all.join(", ")))
}
