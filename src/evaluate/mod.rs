//! Evaluations of any checkpoint, without a protocol: a published `benchmark`, the `recall` tests, people's
//! `preference`.

mod benchmark;
mod preference;
mod recall;

pub use benchmark::{Evaluated, Evaluation};
pub use preference::{ReplyComparison, human_preference};
pub use recall::{RecallResult, measure_checkpoint};
