//! One binary for all integration tests: it links once.
#[path = "it/data.rs"]
mod data;
