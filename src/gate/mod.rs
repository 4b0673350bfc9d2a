//! The gate: reads a ledger and says whether the architecture may be released. Pure and total:
//! it does no I/O, reads no clock, knows no tensors, and no ledger makes it panic.
//!
//! It has storeys, each naming only those before it: `rule` and `criterion` (the shapes of a demand, and what is
//! said of one), `criteria` (the table) with `role` (whether a row decides), `question`, `gap`, `fact` and `outcome`
//! (what is asked, missing and found), `promise` (what was promised), `readings` (the worst of contradicting numbers),
//! `evidence_index` (finding the number that counts), `contamination`, `manifest` (what may pass at all), `rules` (one file a family of
//! shapes), `findings` (what each row comes to), `verdict`, `attempt` (what became of earlier promises) and `judge`.
//! Words are `report`'s.

mod attempt;
mod citation;
mod contamination;
mod criteria;
mod criterion;
mod evidence_index;
mod fact;
mod findings;
mod gap;
mod judge;
mod manifest;
mod outcome;
mod promise;
mod question;
mod readings;
mod role;
mod rule;
mod rule_names;
mod rules;
mod verdict;

pub use attempt::Attempt;
pub use citation::{Citation, RULINGS, cited};
pub use criteria::CRITERIA;
pub use criterion::{Criterion, GPT2, GROUNDTHINK, ModelScope, Role};
pub use evidence_index::{Evidence, FULL_TRIALS, MOST_TRIALS};
pub use fact::{Decisive, Estimate, Fact, FittedLaw, Spread};
pub use gap::{Gap, ModelTrial};
pub use judge::{Judgement, iteration, judge};
pub use manifest::{FULL, FULL_SEED, MOST_ATTEMPTS, Problem};
pub use outcome::{Finding, SeedValue, Shortfall, Status};
pub use promise::{Promise, Shrinkage};
pub use question::{Missing, Query};
pub use rule::{
    AgreementRule, CompositeRule, ContrastRule, EXACT, Effect, HistoryRule, IDENTITY, Identity, LawRule,
    MeanRule, PairedRule, ProvenanceRule, RatioThreshold, Rule, ScalingRule, SingleRule, Threshold,
    TrialRule, TrialsRule,
};
pub use verdict::Verdict;
