//! The V5 gate.
pub mod scale;
