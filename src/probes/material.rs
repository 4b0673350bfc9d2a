//! What probes ask about beyond the held-out split, as a protocol sets it: files, and how much of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::benchmarks::task::find_task;
use super::long_context::{self, LongTexts};
use super::statefulness::mqar::{self, Grid};
use super::{PROBES, ProbeError, Result};
use crate::files::sha256;

/// What there is to ask about.
#[derive(Clone, Debug, Default)]
pub struct Material {
    /// The folder of the benchmarks' files.
    pub data: Option<PathBuf>,
    /// Most items of each benchmark.
    pub items: Option<usize>,
    /// Sizes of associative recall.
    pub mqar: Grid,
    /// Long documents, where there are any.
    pub long: Option<LongTexts>,
}

impl Material {
    /// What every probe that measures on something of its own measures on; empty where there is nothing.
    pub fn promise(&self) -> Result<BTreeMap<String, String>> {
        let own =
            |id: &&str| find_task(id).is_some() || [mqar::PROBE.id, long_context::PROBE.id].contains(id);
        let ids = PROBES.iter().map(|probe| probe.id).filter(own);
        let digest = |id: &str| if self.suffices(id) { self.measured_on(id) } else { Ok(None) };
        ids.map(|id| Ok((id.to_owned(), digest(id)?.unwrap_or_default()))).collect()
    }

    /// Whether a probe can answer: a benchmark needs its file, long context its documents, and associative
    /// recall a size.
    pub fn suffices(&self, probe: &str) -> bool {
        if probe == mqar::PROBE.id {
            self.mqar != Grid::None
        } else if probe == long_context::PROBE.id {
            self.long.is_some()
        } else {
            find_task(probe).is_none_or(|task| task.file_in(self.data.as_deref()).is_some())
        }
    }

    /// What a probe measures on that has something of its own: a digest of it and of how much is asked. `None`
    /// for probes that measure on the held-out split.
    pub fn measured_on(&self, probe: &str) -> Result<Option<String>> {
        if probe == mqar::PROBE.id {
            return Ok(Some(sha256(self.mqar.identity().as_bytes())));
        }
        if probe == long_context::PROBE.id {
            return self.long.as_ref().map(LongTexts::digest).transpose();
        }
        let file = find_task(probe).and_then(|task| task.file_in(self.data.as_deref()));
        let Some(path) = file else { return Ok(None) };
        let bytes = std::fs::read(&path).map_err(|error| ProbeError::File { path, error })?;
        let digest = sha256(&bytes);
        let asked = self.items.map_or("all".to_owned(), |n| n.to_string());
        Ok(Some(sha256(format!("{digest} {asked}").as_bytes())))
    }
}
