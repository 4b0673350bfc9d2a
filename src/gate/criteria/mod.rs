//! THE TABLE. One row per demand; each is stated once, in the file of its group, with where it comes
//! from. To add a demand, add a row. A demand that no probe measures yet has a row too: it stays
//! unproven, because what is not listed would pass by being absent (ruling R14).

mod audit;
mod benchmarks;
mod bottom_line;
mod canaries;
mod controls;
mod conversation;
mod decisions;
mod efficiency;
mod families;
mod graduation;
mod identities;
mod language;
mod long_context;
mod matching;
mod observed;
mod official;
mod positioning;
mod recall;
mod recall_metrics;
mod reverse;
mod same_source;
mod scaling;
mod state;
mod statefulness;
mod table;
mod thresholds;
mod training;
mod v5;

pub use table::CRITERIA;
