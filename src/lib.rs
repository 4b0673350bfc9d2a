//! The V5 gate.
pub mod data;
pub mod models;
pub mod ops;
pub mod scale;
pub mod data;
