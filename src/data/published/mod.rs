//! Published data sets: which there are ([`catalogue`]), how to get them ([`fetch`]), and readers of the files that
//! the field measures language models with ([`benchmarks`], [`wikitext`], [`dialogues`]).

pub mod benchmarks;
pub mod catalogue;
pub mod dialogues;
pub mod fetch;
pub mod wikitext;
