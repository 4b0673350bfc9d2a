//! Evaluations of any `checkpoint`, without a protocol: a published `benchmark`, the `recall` tests, people's
//! `preference`.

mod benchmark;
mod checkpoint;
mod preference;
mod recall;

pub use benchmark::{Evaluated, Evaluation};
pub use checkpoint::Checkpoint;
pub use preference::{ReplyComparison, human_preference};
pub use recall::{RecallResult, measure_checkpoint};
