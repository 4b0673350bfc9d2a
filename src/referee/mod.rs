//! The referee (ruling R23): models, gradients, optimizer and scores a second time, slow and obvious, in float64.
//!
//! It shares with the program that it checks nothing but the readers of files: no op, no model, no optimizer and no
//! probe is used here, which a test sees to.

mod adamw;
mod attention;
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
mod recurrence;
mod replay;
mod rwkv6;
mod tensors;
mod training;

pub use design::{Design, GradientSet};
pub use deviation::{Deviation, farthest};
pub use error::RefereeError;
pub use evaluation::FinalWeights;
pub use fault::Fault;
pub use graph::{Graph, Weights};
pub use matrix::{Matrix, Number};
pub use tensors::{SavedTensor, TensorSet, read_tensors, weights_of};
pub use training::{RunFiles, TrainingAudit, audit_training};
