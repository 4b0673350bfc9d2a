//! Protocol × models × scales × seeds to a ledger: trains or asks only what is lacking.
//!
//! Invariant: only `measure` makes a `Measurement`, so that there is no number without a source.

mod audit;
mod audit_again;
mod audit_answers;
mod audit_benchmarks;
mod audit_costs;
mod audit_curves;
mod audit_reference;
mod audit_stretches;
mod collector;
mod costs;
mod disturbance;
mod efficiency;
mod error;
mod item_file;
mod lots;
mod measure;
mod raters;
mod recorded;
mod reference;
mod task;
mod trial;

pub use audit::{AUDIT, AuditReport, Depth, PageAgain, audit};
pub use collector::{Collector, Options, collect};
pub use efficiency::{Candidate, TIMES, archive_timings, measure_interleaved};
pub use error::CollectError;
pub use item_file::ItemFile;
pub(crate) use measure::to_measurement;
pub use measure::{ProbeAnswers, question};
pub use raters::{keep_ratings, sides};
pub use reference::{
    ReferenceComparison, ReferenceHeader, ReferenceStep, ReferenceTask, export_reference, import_reference,
};
pub use task::{FleetTask, run_task, tasks, times_folder};
pub use trial::{REVISION, Trained, Trial, job, manifest, provenance};
