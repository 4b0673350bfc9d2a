//! How well does it reply in a role? PersonaChat (ConvAI2's validation split), the persona of whom replies
//! given: the task is `dialogue`'s.

use std::path::Path;

use super::dialogue::examine_replies;
use super::task::{Exam, Outcome, Task, put};
use crate::data::published::dialogues::personachat;
use crate::evidence::Metric as M;
use crate::probes::{Probe, Reading, Result, Subject};

pub(in crate::probes) const PROBE: Probe = Probe {
    id: TASK.id,
    about: "PersonaChat (ConvAI2), the persona given: loss of replies, BLEU of greedy ones",
    metrics: &[M::PersonachatLoss, M::PersonachatBleu, M::PersonachatOverlap],
    ask,
};

pub(in crate::probes) const TASK: Task = Task {
    id: "personachat",
    version: 1.0,
    file: "personachat/valid_self_original_no_cands.txt",
    overlap: M::PersonachatOverlap,
    examine,
};

fn ask(s: &Subject<'_>) -> Result<Vec<Reading>> {
    put(s, &TASK)
}

fn examine(exam: &Exam<'_>, path: &Path) -> Result<Outcome> {
    examine_replies(exam, personachat(path)?, [M::PersonachatLoss, M::PersonachatBleu])
}
