//! The integration tests, one binary.

#[path = "it/benchmarks.rs"]
mod benchmarks;
#[path = "it/bleu.rs"]
mod bleu;
#[path = "it/cli.rs"]
mod cli;
#[path = "it/cli_answers.rs"]
mod cli_answers;
#[path = "it/data.rs"]
mod data;
#[path = "it/datasets.rs"]
mod datasets;
#[path = "it/dialogues.rs"]
mod dialogues;
#[path = "it/document.rs"]
mod document;
#[path = "it/gate.rs"]
mod gate;
#[path = "it/golden.rs"]
mod golden;
#[path = "it/hostile.rs"]
mod hostile;
#[path = "it/human.rs"]
mod human;
#[path = "it/ledger.rs"]
mod ledger;
#[path = "it/long_context.rs"]
mod long_context;
#[path = "it/models.rs"]
mod models;
#[path = "it/ops.rs"]
mod ops;
#[path = "it/program.rs"]
mod program;
#[path = "it/report.rs"]
mod report;
#[path = "it/report_html.rs"]
mod report_html;
#[path = "it/reverse.rs"]
mod reverse;
#[path = "it/statistics.rs"]
mod statistics;
#[path = "it/tidy.rs"]
mod tidy;
#[path = "it/train.rs"]
mod train;
#[path = "it/world.rs"]
mod world;
