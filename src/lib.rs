//! The V5 gate: is an architecture as good as GPT-2 on perplexity, significantly better on
//! statefulness, better on long context? Read in this order.
//!
//! Above the waist, code that knows tensors: [`data`], [`ops`], [`models`], [`train`], [`probes`],
//! [`collect`]. At the waist plain numbers with their provenance: [`scale`], [`evidence`]. Below
//! it code that knows no tensors: [`gate`], [`report`]. A module names only modules above it in
//! this list, or the waist.

pub mod collect;
pub mod data;
pub mod evidence;
pub mod gate;
pub mod models;
pub mod ops;
pub mod probes;
pub mod progress;
pub mod protocol;
pub mod report;
pub mod scale;
pub mod train;

/// Freed memory stays in the process: returning it to the system and faulting it in again costs
/// more than a training step's arithmetic.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
