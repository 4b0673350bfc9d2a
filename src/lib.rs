//! The V5 gate.
pub mod scale;
pub mod data;
