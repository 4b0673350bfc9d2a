//! What can go wrong while collecting.

use std::path::PathBuf;

use crate::data::batches::OrderError;
use crate::data::cache::CacheError;
use crate::data::dataset::DatasetError;
use crate::evidence::{CurveError, LedgerError};
use crate::probes::{Probe, ProbeError};
use crate::train::{CheckpointError, TrainError};

/// Why collecting could not be done.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The data set.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The order of batches.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// A training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A probe.
    #[error("probe {probe} on {subject}: {error}")]
    Probe {
        /// Which.
        probe: &'static str,
        /// Of whom.
        subject: String,
        /// What went wrong.
        error: Box<ProbeError>,
    },
    /// A curve that does not hold together.
    #[error(transparent)]
    Curve(#[from] CurveError),
    /// A checkpoint changed behind our back.
    #[error("{path}: expected weights {expected}, got {got}: the checkpoint is not the one that was trained", path = .path.display())]
    OtherWeights {
        /// Where.
        path: PathBuf,
        /// What the run recorded.
        expected: String,
        /// What is there.
        got: String,
    },
    /// A token file.
    #[error(transparent)]
    Tokens(#[from] CacheError),
    /// Items could not be kept or read.
    #[error("items: {0}")]
    Items(std::io::Error),
    /// A ledger could not be set aside.
    #[error("{path}: cannot set the old ledger aside: {error}", path = .path.display())]
    SetAside {
        /// Where it was to be.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The folder could not be locked, or waiting for it was interrupted.
    #[error("{path}: {error}", path = .path.display())]
    Lock {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Things that do not belong together.
    #[error("{path}: {what}", path = .path.display())]
    Unfit {
        /// Where.
        path: PathBuf,
        /// What was expected, and what there is.
        what: String,
    },
    /// Somebody asked to stop.
    #[error("interrupted; the same command goes on from here")]
    Interrupted,
    /// A model could not be made.
    #[error("model: {0}")]
    Model(#[from] candle_core::Error),
    /// Worker threads could not be started.
    #[error("worker threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

impl CollectError {
    /// What a probe's failure about somebody is.
    pub(super) fn of(probe: &Probe, subject: impl FnOnce() -> String) -> impl FnOnce(ProbeError) -> Self {
        let probe = probe.id;
        move |error| Self::Probe { probe, subject: subject(), error: Box::new(error) }
    }
}
