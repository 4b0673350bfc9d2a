//! A generated world and the questions asked about it. [`grammar`] holds the tables of the built-in
//! [`conversations`]; [`cloze`] and [`canaries`] write evaluation items in that world, [`mqar`] the pairs of
//! associative recall.

pub mod canaries;
pub mod cloze;
pub mod conversations;
pub mod grammar;
pub mod item;
pub mod mqar;
mod script;
mod sentences;
