//! Data, from a file or a generator to the batches both models read in the same order (R13).
//!
//! Reading order: [`corpora`] and [`conversations`] give documents, [`tokenizer`] turns them into
//! token ids, [`cache`] keeps those in a memory-mapped file, [`batches`] cuts the file into windows
//! and reads them in an order drawn once; [`dataset`] puts the four together. [`grammar`] holds the
//! tables of the built-in conversations and [`cloze`] the questions asked about them afterwards.
//! [`catalogue`] knows the public data sets and [`fetch`] gets them; [`benchmarks`], [`wikitext`] and
//! [`dialogues`] read what the field measures language models with.
pub mod batches;
pub mod benchmarks;
pub mod cache;
mod cache_writer;
pub mod catalogue;
pub mod cloze;
pub mod conversations;
pub mod corpora;
pub mod dataset;
pub mod dialogues;
pub mod fetch;
pub mod files;
pub mod grammar;
pub mod held_out;
pub mod random;
pub mod tokenizer;
pub mod wikitext;
