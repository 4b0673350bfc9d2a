//! The integration tests, one binary.

mod benchmarks;
mod bleu;
mod cli;
mod cli_answers;
mod data;
mod datasets;
mod dialogues;
mod docs;
mod document;
mod gate;
mod golden;
mod hostile;
mod human;
mod ledger;
mod long_context;
mod models;
mod ops;
mod program;
mod report;
mod report_html;
mod reverse;
mod statistics;
mod structure;
mod tidy;
mod train;
mod world;
