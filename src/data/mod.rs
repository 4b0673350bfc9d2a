//! Data, from a file or a generator to the batches that both models read in the same order (ruling R13).
//!
//! Reading order: [`corpora`] and [`synthetic::conversations`] give documents, [`tokenizer`] turns them into token
//! ids, [`cache`] keeps those in a memory-mapped file, [`batches`] cuts the file into windows and reads them in an
//! order drawn once; [`dataset`] puts the four together. [`synthetic`] is the generated world with the questions
//! asked about it, [`published`] the public data sets.
pub mod batches;
pub mod cache;
mod cache_writer;
pub mod corpora;
pub mod dataset;
pub mod published;
pub mod synthetic;
mod token_format;
pub mod tokenizer;
