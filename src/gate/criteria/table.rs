//! The groups of the table, in the order of the reports.

use super::families::ROW;
use super::{
    audit, benchmarks, bottom_line, canaries, controls, conversation, decisions, efficiency, graduation,
    identities, language, long_context, matching, observed, official, positioning, recall, reverse,
    same_source, scaling, state, statefulness, thresholds, training, v5,
};
use crate::gate::criterion::Criterion;

/// Every group, or a part of one.
const GROUPS: &[&[Criterion]] = &[
    v5::ROWS,
    training::ROWS,
    reverse::ROWS,
    matching::ROWS,
    same_source::ROWS,
    identities::ROWS,
    audit::ROWS,
    observed::ROWS,
    language::ROWS,
    benchmarks::ROWS,
    conversation::ROWS,
    statefulness::ROWS,
    recall::ROWS,
    canaries::CANARIES,
    canaries::SUITES,
    controls::ROWS,
    state::ROWS,
    graduation::ROWS,
    long_context::ROWS,
    efficiency::ROWS,
    scaling::ROWS,
    thresholds::ROWS,
    decisions::ROWS,
    bottom_line::ROWS,
    positioning::ROWS,
    official::ROWS,
];

/// How many rows there are.
const COUNT: usize = {
    let (mut count, mut i) = (0, 0);
    while i < GROUPS.len() {
        count += GROUPS[i].len();
        i += 1;
    }
    count
};

/// Every criterion, in the order of the reports.
pub static CRITERIA: &[Criterion] = &{
    let (mut rows, mut count, mut group) = ([ROW; COUNT], 0, 0);
    while group < GROUPS.len() {
        let mut i = 0;
        while i < GROUPS[group].len() {
            rows[count] = GROUPS[group][i];
            count += 1;
            i += 1;
        }
        group += 1;
    }
    rows
};
