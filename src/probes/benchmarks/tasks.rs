//! The table of benchmarks that `v5gate eval` puts to any checkpoint.

use super::task::Task;
use super::{dialogue, hellaswag, lambada, ptb, wikitext};

/// Every benchmark.
pub const TASKS: &[Task] = &[
    wikitext::TASK,
    ptb::TASK,
    lambada::TASK,
    hellaswag::TASK,
    dialogue::DAILYDIALOG_TASK,
    dialogue::PERSONACHAT_TASK,
];

/// The benchmark of that name; the harness's group `lambada` has one member here.
pub fn find_task(id: &str) -> Option<&'static Task> {
    let id = if id == "lambada" { lambada::TASK.id } else { id };
    TASKS.iter().find(|task| task.id == id)
}
