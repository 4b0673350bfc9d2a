//! The V5 gate.
pub mod evidence;
pub mod gate;
pub mod report;
pub mod scale;
