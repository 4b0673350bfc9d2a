//! The gate: reads a ledger and says whether the architecture may be released. Pure and total:
//! it does no I/O, reads no clock, knows no tensors, and no ledger makes it panic.
//!
//! It has storeys, each naming only those before it: `criterion` (the shapes of a demand),
//! `criteria` (the table), `evidence_index` (finding the number that counts), `fact` and `outcome`
//! (what was found), `promise` (what may pass at all), `rules` (one file a family of shapes) and
//! `judge` (the verdict). Words are `report`'s.

mod criteria;
mod criterion;
mod evidence_index;
mod fact;
mod judge;
mod outcome;
mod promise;
mod role;
mod rules;

pub use criteria::CRITERIA;
pub use criterion::{
    AgreementRule, CompositeRule, ContrastRule, Criterion, EXACT, Effect, GPT2, GROUNDTHINK, HistoryRule,
    LawRule, MeanRule, Of, PairedRule, ProvenanceRule, RatioThreshold, Rule, ScalingRule, SingleRule,
    Threshold, TrialRule, TrialsRule, Weight,
};
pub use evidence_index::{Evidence, MOST_TRIALS, Missing};
pub use fact::{Decisive, Estimate, Fact, FittedLaw, Gap, ModelTrial, Spread};
pub use judge::{Judgement, Verdict, iteration, judge};
pub use outcome::{Finding, SeedValue, Shortfall, Status};
pub use promise::{FULL, FULL_TRIALS, Problem};
