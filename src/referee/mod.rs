//! The referee (ruling R23): models, gradients, optimizer and scores a second time, slow and obvious, in float64.
//!
//! It shares with the program that it checks nothing but the readers of files: no op, no model, no optimizer and no
//! probe is used here, which a test sees to.

mod adamw;
mod answers;
mod attention;
mod configuration;
mod continuation;
mod design;
mod deviation;
mod error;
mod evaluation;
mod fault;
mod gpt2;
mod graph;
mod groundthink;
mod initial;
mod mamba2;
mod matrix;
mod norm;
mod number;
mod record;
mod recurrence;
mod replay;
mod rwkv6;
mod tensors;
mod totals;
mod training;
mod windows;

pub use answers::{ItemFigure, Odds, Recollection, TokenizedItem};
pub use configuration::{PlannedSize, beside_size};
pub use continuation::{Continuation, ScoredEnding, beside_endings};
pub use design::{Design, GradientSet};
pub use deviation::{Deviation, farthest};
pub use error::RefereeError;
pub use evaluation::SavedModel;
pub use fault::Fault;
pub use graph::{Graph, Weights};
pub use matrix::Matrix;
pub use number::{Brief, Number};
pub use record::{LARGEST_STEP, RunFiles};
pub use tensors::{SavedTensor, TensorSet, read_tensors, weights_of};
pub use totals::{Recorded, beside_items};
pub use training::{TrainingAudit, audit_training};
