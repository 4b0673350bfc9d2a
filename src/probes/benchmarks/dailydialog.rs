//! How well does it reply? DailyDialog's test split: the task is `dialogue`'s.

use std::path::Path;

use super::dialogue::examine_replies;
use super::task::{Exam, Outcome, Task, put};
use crate::data::published::dialogues::dailydialog;
use crate::evidence::Metric as M;
use crate::probes::{Probe, Reading, Result, Subject};

pub(in crate::probes) const PROBE: Probe = Probe {
    id: TASK.id,
    about: "DailyDialog's test dialogues: loss of replies, BLEU of greedy ones",
    metrics: &[M::DailydialogLoss, M::DailydialogBleu, M::DailydialogOverlap],
    ask,
};

pub(in crate::probes) const TASK: Task = Task {
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
