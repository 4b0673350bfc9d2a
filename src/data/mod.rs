//! Data, from a file or a generator to the batches that both models read in the same order (ruling R13).
//!
//! Reading order: [`corpora`] and [`synthetic::conversations`] give documents, [`tokenizer`] turns them into token
//! ids, [`cache`] keeps those in a memory-mapped file, [`batches`] cuts the file into windows and reads them in an
//! order drawn once; [`dataset`] puts the four together. [`synthetic`] is the generated world with the questions
//! asked about it, [`published`] the public data sets.
//!
//! # Example
//!
//! From text to a batch:
//!
//! ```
//! use v5gate::data::batches::{Batches, Order, window_count};
//! use v5gate::data::cache::TokenFile;
//! use v5gate::data::synthetic::conversations::{Split, conversation};
//! use v5gate::data::tokenizer::Tokenizer;
//!
//! let documents: Vec<String> = (0..20).map(|i| conversation(1, Split::Train, i)).collect();
//! let tokenizer = Tokenizer::train(&documents, 300)?;
//! let ids = tokenizer.encode(&documents[0])?;
//! assert_eq!(tokenizer.decode(&ids)?, documents[0]);
//!
//! let folder = tempfile::tempdir()?;
//! let file = TokenFile::build_or_open(&folder.path().join("tokens.bin"), "v1", &tokenizer, &documents)?;
//!
//! // Two models that are given one order see the same windows at the same step.
//! let windows = window_count(file.len(), 16);
//! let order = Order::draw(windows, windows, 1)?;
//! assert_eq!(order, Order::draw(windows, windows, 1)?);
//! let batch = Batches::new(&file, order, 16)?.get(0, 2)?;
//! assert_eq!((batch.inputs.len(), batch.targets.len()), (2 * 16, 2 * 16));
//! assert_eq!(batch.inputs[1..16], batch.targets[..15], "the inputs one token later");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
pub mod batches;
pub mod cache;
mod cache_writer;
pub mod corpora;
pub mod dataset;
mod dataset_error;
mod documents;
mod guard;
mod pieces;
pub mod published;
mod sources;
mod spec;
pub mod synthetic;
mod text_format;
mod token_format;
pub mod tokenizer;
pub mod vocabulary;
