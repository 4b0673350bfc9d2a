//! The waist: plain numbers, each with its provenance. Everything that knows tensors writes
//! here, everything that judges reads here, and neither knows the other.

mod ledger;
mod measurement;
mod metric;
mod provenance;

pub use ledger::{Ledger, LedgerError, Line};
pub use measurement::{Condition, Curve, CurveError, Measurement, Subject, Value};
pub use metric::{Direction, Metric, RECALL_TESTS, RecallTest};
pub use provenance::{Context, Expected, Field, Provenance, SCHEMA};
