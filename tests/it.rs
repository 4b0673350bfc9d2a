//! The integration tests, one binary.

#[path = "it/gate.rs"]
mod gate;
#[path = "it/ledger.rs"]
mod ledger;
#[path = "it/report.rs"]
mod report;
#[path = "it/world.rs"]
mod world;
