//! Published benchmarks: put to any checkpoint by `v5gate eval`, and to trained models by a protocol whose data
//! folder has their files. To add one: a file with its `TASK` and `PROBE`, and rows in `TASKS` and `PROBES`.

pub(super) mod dialogue;
pub(super) mod hellaswag;
pub(super) mod lambada;
pub(super) mod ptb;
pub(super) mod task;
pub(super) mod tasks;
pub(super) mod wikitext;
