//! The gate: reads a ledger and says whether the architecture may be released. Pure and total:
//! it does no I/O, reads no clock, knows no tensors, and no ledger makes it panic.

mod composites;
mod criteria;
mod criterion;
mod lookup;
mod pairs;
mod scales;
mod singles;
mod sources;
mod verdict;

pub use criteria::CRITERIA;
pub use criterion::{Criterion, Effect, Of, Rule, Weight};
pub use lookup::{Evidence, Lack};
pub use scales::text as law_text;
pub use verdict::{Finding, Judgement, SeedValue, Status, Verdict, iteration, judge};

/// The architecture on trial.
pub const GROUNDTHINK: &str = "groundthink";
/// The baseline.
pub const GPT2: &str = "gpt2";
