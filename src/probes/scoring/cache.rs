//! Answers that were had before.
//!
//! Invariant: a kept answer is given only for the very requests, read in the very way, of whom it was
//! asked: all of that makes the name of its file and stands in it. What is damaged is asked again.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::likelihood::{Decoding, Request, Scorer, ScoringOptions, TokenLosses};
use crate::evidence::Value;
use crate::files::{FileLock, hex, sha256, write_atomically};
use crate::probes::probe::{ProbeError, Result};

/// A scorer whose answers are kept in files.
pub struct CachedScorer<'a> {
    /// What scores requests that are new.
    pub scorer: &'a dyn Scorer,
    /// Where answers lie.
    pub folder: &'a Path,
    /// Everything that decides an answer beside the request: weights, configuration, tokenizer,
    /// arithmetic, device, code.
    pub identity: Json,
}

/// A file of answers.
#[derive(Serialize, Deserialize)]
struct Record<T> {
    identity: Json,
    how: String,
    requests: String,
    answers: Vec<T>,
    /// Digest of the answers.
    seal: String,
}

/// An answer as it is written: what is not finite has a name.
type SavedLosses = (Vec<Value>, bool);

impl Scorer for CachedScorer<'_> {
    fn loglikelihood(&self, requests: &[Request], how: ScoringOptions) -> Result<Vec<TokenLosses>> {
        let written = |a: TokenLosses| (a.losses.into_iter().map(Value::from).collect(), a.greedy);
        let ask = || Ok(self.scorer.loglikelihood(requests, how)?.into_iter().map(written).collect());
        let tokens = requests.iter().flat_map(|r| [&r.context[..], &r.continuation]);
        let kept: Vec<SavedLosses> = self.kept(requests.len(), &format!("{how:?}"), &digest(tokens), ask)?;
        let answer = |(losses, greedy): SavedLosses| TokenLosses {
            losses: losses.into_iter().map(Value::raw).collect(),
            greedy,
        };
        Ok(kept.into_iter().map(answer).collect())
    }

    fn generate_until(&self, prompts: &[Vec<u32>], how: &Decoding) -> Result<Vec<Vec<u32>>> {
        let tokens = prompts.iter().map(Vec::as_slice);
        let ask = || self.scorer.generate_until(prompts, how);
        self.kept(prompts.len(), &format!("{how:?}"), &digest(tokens), ask)
    }

    fn carries(&self) -> bool {
        self.scorer.carries()
    }
}

impl CachedScorer<'_> {
    /// The answers that are kept, or else those that `ask` gets.
    fn kept<T: Serialize + DeserializeOwned>(
        &self,
        asked: usize,
        how: &str,
        requests: &str,
        ask: impl FnOnce() -> Result<Vec<T>>,
    ) -> Result<Vec<T>> {
        let name = sha256(format!("{}\n{how}\n{requests}", self.identity).as_bytes());
        let path = self.folder.join(format!("{name}.json"));
        let found = || -> Result<Option<Vec<T>>> {
            let Some(record) = read::<T>(&path)? else { return Ok(None) };
            let asked_so = record.identity == self.identity && record.how == how;
            let same = asked_so && record.requests == requests && record.answers.len() == asked;
            let whole = same && seal(&path, &record.answers)? == record.seal;
            Ok(whole.then_some(record.answers))
        };
        if let Some(answers) = found()? {
            return Ok(answers);
        }
        let (lock, say) = (self.folder.join(format!("{name}.lock")), |line: &str| eprintln!("{line}"));
        let _lock =
            FileLock::acquire(&lock, "asking the same", &say, &|| false).map_err(file(self.folder))?;
        // What another process asked while this one waited.
        if let Some(answers) = found()? {
            return Ok(answers);
        }
        let answers = ask()?;
        let (identity, seal) = (self.identity.clone(), seal(&path, &answers)?);
        let record = Record { identity, how: how.to_owned(), requests: requests.to_owned(), answers, seal };
        write(&path, &record)?;
        Ok(record.answers)
    }
}

fn digest<'a>(texts: impl Iterator<Item = &'a [u32]>) -> String {
    let mut hash = Sha256::new();
    for tokens in texts {
        hash.update((tokens.len() as u64).to_le_bytes());
        tokens.iter().for_each(|id| hash.update(id.to_le_bytes()));
    }
    hex(hash)
}

fn seal<T: Serialize>(path: &Path, answers: &[T]) -> Result<String> {
    let text = serde_json::to_vec(answers).map_err(|error| file(path)(error.into()))?;
    Ok(sha256(&text))
}

/// What the file says, if there is one and it says anything.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<Record<T>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file(path)(error)),
    }
}

fn write<T: Serialize>(path: &Path, record: &Record<T>) -> Result<()> {
    let text = serde_json::to_vec(record).map_err(|error| file(path)(error.into()))?;
    write_atomically(path, file(path), |out| out.write_all(&text).map_err(file(path)))
}

fn file(path: &Path) -> impl Fn(std::io::Error) -> ProbeError {
    let path: PathBuf = path.to_owned();
    move |error| ProbeError::File { path: path.clone(), error }
}
