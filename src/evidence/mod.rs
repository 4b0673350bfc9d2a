//! The waist: plain numbers, each with its provenance. Everything that knows tensors writes
//! here, everything that judges reads here, and neither knows the other.

mod chain;
mod curve;
mod items;
mod ledger;
mod ledgers_below;
mod measurement;
mod metric;
mod provenance;
mod ratings;
mod recall_tests;

pub use chain::Breaks;
pub use curve::{Curve, CurveError, CurveKind};
pub use items::{ItemValues, MeasuredItems};
pub use ledger::{Ledger, LedgerError, Line};
pub use ledgers_below::{LEDGER, RUNS, line_counts};
pub use measurement::{Condition, Measurement, Subject, Value};
pub use metric::{Direction, Metric};
pub use provenance::{Basis, ExpectedRun, Field, Iteration, Manifest, PROGRAM_REVISION, Provenance, SCHEMA};
pub use ratings::{Choice, Compared, Key, Pair, Rating, RatingError, Tally, read_ratings};
pub use recall_tests::{Canary, RecallScore, RecallTest, RecallTier, Suite};
