//! The gate: reads a ledger and says whether the architecture may be released. Pure and total:
//! it does no I/O, reads no clock, knows no tensors, and no ledger makes it panic.

mod criteria;
mod criterion;
mod evidence_index;
mod judge;
mod rules;

pub use criteria::CRITERIA;
pub use criterion::{Criterion, Effect, Of, Rule, Weight};
pub use evidence_index::{Evidence, Lack};
pub use judge::{Finding, Judgement, SeedValue, Status, Verdict, iteration, judge};
pub use rules::scaling::text as law_text;

/// The architecture on trial.
pub const GROUNDTHINK: &str = "groundthink";
/// The baseline.
pub const GPT2: &str = "gpt2";
