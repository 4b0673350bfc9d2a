//! Getting data sets from the hub where their publishers offer them.
//!
//! Invariant: a file gets its place only when its digest is the expected one; what was fetched of a file
//! when a fetch ended early is used by the next one; what is there and right is never fetched again.
//!
//! hf-hub stays at 0.5: it blocks and resumes with little else; 1.0 brings an asynchronous runtime.

use std::fs;
use std::path::{Path, PathBuf};

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Repo, RepoType};

use super::catalogue::{DataSet, Hub, Presence, Published, digest};
use crate::files::{FileLock, write_atomically};
use crate::progress::{ProgressTask, Screen};

/// Why a set could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Only its publisher has it.
    #[error("{name}: not on the hub; its publisher offers it at {publisher}")]
    Elsewhere {
        /// The set.
        name: &'static str,
        /// Where to go.
        publisher: &'static str,
    },
    /// The hub did not answer, or not as expected.
    #[error(
        "{name}: {file} could not be fetched from {repository}: {said}; what arrived is kept, the same command goes on"
    )]
    Hub {
        /// The set.
        name: &'static str,
        /// The file in the repository.
        file: &'static str,
        /// The repository.
        repository: &'static str,
        /// What went wrong.
        said: String,
    },
    /// It arrived, and is something else.
    #[error("{name}: {file} from {repository}: expected SHA-256 {expected}, got {got}; nothing was replaced")]
    Different {
        /// The set.
        name: &'static str,
        /// The file in the repository.
        file: &'static str,
        /// The repository.
        repository: &'static str,
        /// What it should have.
        expected: &'static str,
        /// What it has.
        got: String,
    },
    /// Something else stands in its place.
    #[error("{path}: expected SHA-256 {expected}, got {got}; move it away to fetch the published one", path = .path.display())]
    Taken {
        /// Where.
        path: PathBuf,
        /// What it should have.
        expected: &'static str,
        /// What it has.
        got: String,
    },
    /// The system refused.
    #[error("{path}: {error}", path = .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        error: std::io::Error,
    },
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> FetchError + use<> {
    let path = path.to_owned();
    move |error| FetchError::Io { path: path.clone(), error }
}

/// Parts of files while they arrive, below the data folder.
const PARTS: &str = ".hub";
/// Held by the process that fetches.
const LOCK: &str = ".hub.lock";
/// Transfers before giving up; each goes on where the last one broke off. The client's own count of retries
/// ends in an error even if the last one succeeds.
const ATTEMPTS: usize = 3;

/// Fetches what a folder lacks of a set, from the hub or from what stands in its place. Returns the files that
/// were fetched.
pub fn fetch(
    set: &DataSet,
    folder: &Path,
    endpoint: Option<&str>,
    screen: &Screen,
) -> Result<Vec<&'static str>, FetchError> {
    let lock = FileLock::acquire(
        &folder.join(LOCK),
        &format!("fetching {}", set.name),
        &|line| screen.say(line),
        &|| false,
    );
    let _lock = lock.map_err(io(folder))?;
    let mut lacking = Vec::new();
    for file in set.files {
        let path = file.below(folder);
        match file.look(folder).map_err(io(&path))? {
            Presence::Expected => {}
            Presence::Missing => lacking.push(file),
            Presence::Other { sha256 } => {
                return Err(FetchError::Taken { path, expected: file.sha256, got: sha256 });
            }
        }
    }
    if lacking.is_empty() {
        return Ok(Vec::new());
    }
    let elsewhere = || FetchError::Elsewhere { name: set.name, publisher: set.publisher };
    let (kind, repository) = match set.hub.ok_or_else(elsewhere)? {
        Hub::Dataset(repository) => (RepoType::Dataset, repository),
        Hub::Model(repository) => (RepoType::Model, repository),
    };
    let parts = folder.join(PARTS);
    let failed =
        |file, error: ApiError| FetchError::Hub { name: set.name, file, repository, said: said(&error) };
    let mut builder = ApiBuilder::from_env().with_cache_dir(parts.clone());
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
    }
    let api = builder.build().map_err(|error| failed("anything", error))?;
    for file in &lacking {
        let name = file.on_hub.ok_or_else(elsewhere)?;
        let arrived = download(&api, Repo::new(repository.to_owned(), kind), name, screen);
        let arrived = arrived.map_err(|error| failed(name, error))?;
        place(set, repository, name, file, folder, &arrived)?;
    }
    // Everything is in its place: nothing is left to go on with.
    fs::remove_dir_all(&parts).map_err(io(&parts))?;
    Ok(lacking.iter().map(|file| file.path).collect())
}

fn download(api: &Api, repo: Repo, name: &str, screen: &Screen) -> Result<PathBuf, ApiError> {
    let repo = api.repo(repo);
    let once = || {
        let shown = Shown { screen, name: name.to_owned(), task: None, done: 0 };
        repo.download_with_progress(name, shown)
    };
    (1..ATTEMPTS).fold(once(), |result, _| result.or_else(|_| once()))
}

fn said(error: &ApiError) -> String {
    error.to_string().trim_start_matches("request error: ").to_owned()
}

fn place(
    set: &DataSet,
    repository: &'static str,
    name: &'static str,
    file: &Published,
    folder: &Path,
    arrived: &Path,
) -> Result<(), FetchError> {
    let got = digest(arrived).map_err(io(arrived))?;
    if got != file.sha256 {
        let parts = folder.join(PARTS);
        fs::remove_dir_all(&parts).map_err(io(&parts))?;
        let expected = file.sha256;
        return Err(FetchError::Different { name: set.name, file: name, repository, expected, got });
    }
    let path = file.below(folder);
    let mut from = fs::File::open(arrived).map_err(io(arrived))?;
    write_atomically(&path, io(&path), |to| std::io::copy(&mut from, to).map(|_| ()).map_err(io(&path)))
}

/// A file on its way, on our screen.
struct Shown<'a> {
    screen: &'a Screen,
    name: String,
    task: Option<ProgressTask>,
    done: u64,
}

impl Progress for Shown<'_> {
    fn init(&mut self, size: usize, _: &str) {
        (self.task, self.done) = (Some(self.screen.task(&self.name, 0, size as u64)), 0);
    }

    fn update(&mut self, size: usize) {
        self.done += size as u64;
        if let Some(task) = &self.task {
            task.at(self.done, || "bytes".to_owned());
        }
    }

    fn finish(&mut self) {
        self.task = None;
    }
}
