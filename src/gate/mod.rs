//! The gate: reads a ledger and says whether the architecture may be released. Pure and total:
//! it does no I/O, reads no clock, knows no tensors, and no ledger makes it panic.
//!
//! It has storeys, each naming only those before it: `rule` and `criterion` (the shapes of a demand, and
//! what is said of one), `criteria` (the table) with `role` (whether a row decides), `evidence_index` (finding
//! the number that counts), `fact`, `gap` and `outcome` (what was found and what is missing), `manifest`
//! (what may pass at all), `rules` (one file a family of shapes) and `judge` (the verdict). Words are
//! `report`'s.

mod citation;
mod criteria;
mod criterion;
mod evidence_index;
mod fact;
mod gap;
mod judge;
mod manifest;
mod outcome;
mod role;
mod rule;
mod rule_names;
mod rules;

pub use citation::{Citation, RULINGS, cited};
pub use criteria::CRITERIA;
pub use criterion::{Criterion, GPT2, GROUNDTHINK, ModelScope, Role};
pub use evidence_index::{Evidence, MOST_TRIALS, Missing, Query};
pub use fact::{Decisive, Estimate, Fact, FittedLaw, Spread};
pub use gap::{Gap, ModelTrial};
pub use judge::{Judgement, Verdict, iteration, judge};
pub use manifest::{FULL, FULL_TRIALS, Problem};
pub use outcome::{Finding, SeedValue, Shortfall, Status};
pub use rule::{
    AgreementRule, CompositeRule, ContrastRule, EXACT, Effect, HistoryRule, LawRule, MeanRule, PairedRule,
    ProvenanceRule, RatioThreshold, Rule, ScalingRule, SingleRule, Threshold, TrialRule, TrialsRule,
};
