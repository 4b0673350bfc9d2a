//! How well does it reply? DailyDialog's test split: the task is `dialogue`'s.

use std::path::Path;

use super::benchmark::{Exam, Outcome, Task, put};
use super::dialogue::examine_replies;
use super::{Probe, Reading, Result, Subject};
use crate::data::dialogues::dailydialog;
use crate::evidence::Metric as M;

pub(super) const PROBE: Probe = Probe {
    id: TASK.id,
    about: "DailyDialog's test dialogues: loss of replies, BLEU of greedy ones",
    metrics: &[M::DailydialogLoss, M::DailydialogBleu, M::DailydialogOverlap],
    ask,
};

pub(super) const TASK: Task = Task {
    id: "dailydialog",
    version: 1.0,
    file: "dailydialog/dialogues_test.txt",
    overlap: M::DailydialogOverlap,
    examine,
};

fn ask(s: &Subject<'_>) -> Result<Vec<Reading>> {
    put(s, &TASK)
}

fn examine(exam: &Exam<'_>, path: &Path) -> Result<Outcome> {
    examine_replies(exam, dailydialog(path)?, [M::DailydialogLoss, M::DailydialogBleu])
}
