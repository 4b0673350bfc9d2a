//! How texts are scored: log-likelihoods, decoding, kept answers, n-grams and BLEU.

pub(super) mod bleu;
pub(super) mod cache;
pub(super) mod decoding;
pub(super) mod likelihood;
pub(super) mod model;
pub(super) mod ngram;
