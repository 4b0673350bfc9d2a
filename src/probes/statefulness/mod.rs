//! What a model remembers, and the states in which it does.

pub(super) mod ablation;
pub(super) mod canaries;
pub(super) mod mqar;
pub(super) mod readers;
pub(super) mod recall;
pub(super) mod repeated_bigram;
pub(super) mod state;
