//! Data sets: recognised by what they are, and fetched from a hub that breaks off, lies or is not there.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use v5gate::data::published::catalogue::{DataSet, Hub, Presence, Published, SETS, find_set};
use v5gate::data::published::fetch::{FetchError, fetch};
use v5gate::files::sha256;
use v5gate::progress::Screen;

use crate::program::{assert_refused, done, finish, program, run, stdout, text};

/// A hub with one file in every repository.
struct FakeHub {
    address: String,
    /// First bytes that were asked for, transfer by transfer.
    starts: Arc<Mutex<Vec<usize>>>,
    /// Transfers that are still to break off half-way.
    breaks: Arc<AtomicUsize>,
}

impl FakeHub {
    fn new(body: Vec<u8>, breaks: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (starts, breaks) = (Arc::default(), Arc::new(AtomicUsize::new(breaks)));
        let hub = Self { address, starts, breaks };
        let (starts, breaks) = (hub.starts.clone(), hub.breaks.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // Whoever hangs up has had enough.
                let _ = answer(stream, &body, &starts, &breaks);
            }
        });
        hub
    }
}

fn answer(
    mut stream: TcpStream,
    body: &[u8],
    starts: &Mutex<Vec<usize>>,
    breaks: &AtomicUsize,
) -> std::io::Result<()> {
    let mut range = None;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?.to_lowercase();
        if line.is_empty() {
            break;
        }
        range = line.strip_prefix("range: bytes=").map(str::to_owned).or(range);
    }
    let (start, end) = range.as_deref().and_then(|range| range.split_once('-')).unwrap();
    let start: usize = start.parse().unwrap();
    let end = end.parse().map_or(body.len(), |last: usize| last + 1);
    let part = &body[start..end];
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{}/{}\r\n\
         ETag: \"tag\"\r\nX-Repo-Commit: commit\r\nConnection: close\r\n\r\n",
        part.len(),
        end.saturating_sub(1),
        body.len()
    )?;
    if end == 1 && start == 0 {
        return stream.write_all(part);
    }
    starts.lock().unwrap().push(start);
    let take = |left: usize| left.checked_sub(1);
    let breaks_off = breaks.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok();
    stream.write_all(if breaks_off { &part[..part.len() / 2] } else { part })
}

fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

/// A set of one file with this content.
fn set_of(body: &[u8]) -> DataSet {
    let file = Published { path: "made/up.txt", sha256: leak(sha256(body)), on_hub: Some("data/up.txt") };
    DataSet {
        name: "made-up",
        about: "nothing",
        licence: "none",
        publisher: "nowhere",
        hub: Some(Hub::Dataset("some/body")),
        files: Box::leak(Box::new([file])),
    }
}

fn body() -> Vec<u8> {
    (0..100_000_u32).flat_map(|i| i.to_le_bytes()).collect()
}

fn fetched(set: &DataSet, folder: &Path, hub: &FakeHub) -> Result<Vec<&'static str>, FetchError> {
    fetch(set, folder, Some(&hub.address), &Screen::quiet())
}

#[test]
fn what_arrived_is_not_fetched_again() {
    let (body, folder) = (body(), tempfile::tempdir().unwrap());
    let set = set_of(&body);
    // Three transfers break off: the first and both that follow at once.
    let hub = FakeHub::new(body.clone(), 3);
    let error = fetched(&set, folder.path(), &hub).unwrap_err();
    assert!(matches!(error, FetchError::Hub { .. }), "{error}");
    assert!(!folder.path().join("made").exists(), "half a file has no place");
    assert_eq!(fetched(&set, folder.path(), &hub).unwrap(), ["made/up.txt"]);
    assert_eq!(*hub.starts.lock().unwrap(), [0, 200_000, 300_000, 350_000]);
    assert_eq!(fs::read(folder.path().join("made/up.txt")).unwrap(), body);
    assert!(!folder.path().join(".hub").exists());
    assert!(fetched(&set, folder.path(), &hub).unwrap().is_empty(), "what is there is not fetched again");
    assert_eq!(hub.starts.lock().unwrap().len(), 4);
}

#[test]
fn what_is_something_else_gets_no_place() {
    let (body, folder) = (body(), tempfile::tempdir().unwrap());
    let set = set_of(&body);
    let mut other = body.clone();
    other[7] ^= 1;
    for _ in 0..2 {
        let hub = FakeHub::new(other.clone(), 0);
        let error = fetched(&set, folder.path(), &hub).unwrap_err();
        assert!(matches!(&error, FetchError::Different { got, .. } if *got == sha256(&other)), "{error}");
        assert!(!folder.path().join("made").exists());
    }
    // And what is wrong is not what a later fetch begins with.
    assert_eq!(fetched(&set, folder.path(), &FakeHub::new(body, 0)).unwrap(), ["made/up.txt"]);
    let path = folder.path().join("made/up.txt");
    fs::write(&path, "mine").unwrap();
    let error = fetched(&set, folder.path(), &FakeHub::new(other, 0)).unwrap_err();
    assert!(matches!(error, FetchError::Taken { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"mine", "what somebody put there stays");
}

#[test]
fn without_a_network_a_fetch_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = program();
    command.env("HF_ENDPOINT", format!("http://{nobody}"));
    command.args(["data", "fetch", "lambada", "--data", text(folder.path())]);
    let says =
        ["lambada", "data/lambada_test_en.jsonl", "EleutherAI/lambada_openai", "the same command goes on"];
    assert_refused(&finish(command), &says);
    let elsewhere = run(&["data", "fetch", "hellaswag", "--data", text(folder.path())]);
    assert_refused(&elsewhere, &["hellaswag: not on the hub", "https://github.com/rowanz/hellaswag"]);
    let unknown = run(&["data", "fetch", "hellaswagg", "--data", text(folder.path())]);
    assert_refused(&unknown, &["expected one of wikitext2,", "got \"hellaswagg\""]);
    assert_refused(&run(&["data", "check", text(&folder.path().join("none"))]), &["expected a folder"]);
}

#[test]
fn a_check_tells_missing_from_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let empty = run(&["data", "check", text(folder.path())]);
    assert_eq!(empty.status.code(), Some(11));
    for set in SETS {
        assert!(stdout(&empty).contains(set.publisher), "{}", set.name);
    }
    let path = find_set("lambada").unwrap().files[0].below(folder.path());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "{}").unwrap();
    let wrong = run(&["data", "check", text(folder.path()), "--json"]);
    assert_eq!(wrong.status.code(), Some(10));
    let document: Value = serde_json::from_str(&stdout(&wrong)).unwrap();
    let lambada = document.as_array().unwrap().iter().find(|set| set["name"] == "lambada").unwrap();
    assert_eq!(
        (lambada["status"].as_str(), lambada["files"][0]["is"]["state"].as_str()),
        (Some("other"), Some("other"))
    );
    assert_eq!(lambada["files"][0]["is"]["sha256"], sha256(b"{}"));
}

/// Runs where the public files are at hand.
#[test]
fn the_public_files_are_recognised() {
    let Some(data) = std::env::var_os("V5_DATA") else {
        eprintln!("skipped: V5_DATA names no folder with public files");
        return;
    };
    for file in SETS.iter().flat_map(|set| set.files) {
        assert_eq!(file.look(Path::new(&data)).unwrap(), Presence::Expected, "{}", file.path);
    }
    assert!(!done(&["data", "check", text(Path::new(&data))]).contains("missing"));
}
