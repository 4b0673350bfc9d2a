//! What probes measure on beyond the held-out split, as a protocol sets it: files, and how much of them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What there is to ask about.
#[derive(Clone, Debug, Default)]
pub struct EvalData {
    /// The folder of the benchmarks' files.
    pub folder: Option<PathBuf>,
    /// Most items of each benchmark.
    pub items: Option<usize>,
    /// Sizes of associative recall.
    pub mqar: Grid,
    /// Long documents, where there are any.
    pub long: Option<LongTexts>,
}

/// Which sizes of the task are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grid {
    /// The task is left out.
    #[default]
    None,
    /// One size that a CPU core does in seconds.
    Small,
    /// The published sizes; for a GPU.
    Full,
}

/// Where long documents come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LongTexts {
    /// A file of novels.
    Novels {
        /// The file.
        path: PathBuf,
        /// Most documents.
        documents: Option<usize>,
    },
    /// Held-out conversations, joined.
    Conversations {
        /// Which conversations.
        seed: u64,
        /// The number of documents.
        documents: usize,
    },
}
