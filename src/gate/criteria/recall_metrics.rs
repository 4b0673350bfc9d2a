//! Sets of accuracies that rows ask about, chosen from the one table of recall tests and canaries.

use crate::evidence::{Canary, Metric, RecallScore, RecallTest, Suite};

/// The accuracies of those of a list that satisfy a condition, in the order of the list.
macro_rules! accuracies {
    ($kind:ident, $accuracy:expr, $one:ident => $holds:expr) => {{
        const fn holds($one: $kind) -> bool {
            $holds
        }
        const fn accuracy($one: $kind) -> Metric {
            $accuracy
        }
        const COUNT: usize = {
            let (mut count, mut i) = (0, 0);
            while i < $kind::ALL.len() {
                count += holds($kind::ALL[i]) as usize;
                i += 1;
            }
            count
        };
        const CHOSEN: [Metric; COUNT] = {
            let (mut chosen, mut count, mut i) = ([Metric::StatefulnessScore; COUNT], 0, 0);
            while i < $kind::ALL.len() {
                if holds($kind::ALL[i]) {
                    chosen[count] = accuracy($kind::ALL[i]);
                    count += 1;
                }
                i += 1;
            }
            chosen
        };
        &CHOSEN
    }};
}

macro_rules! recall {
    ($one:ident => $holds:expr) => {
        accuracies!(RecallTest, Metric::Recall($one, RecallScore::Accuracy), $one => $holds)
    };
}

macro_rules! canaries {
    ($one:ident => $holds:expr) => {
        accuracies!(Canary, Metric::Canary($one), $one => $holds)
    };
}

/// What the statefulness score is the mean of (ruling R17).
pub(super) const SCORED: &[Metric] = recall!(test => test.in_score());
/// The accuracies on items that name other candidates in other roles (ruling R16).
pub(super) const WITH_RIVALS: &[Metric] = accuracies!(
    RecallTest, Metric::Recall(test, RecallScore::WithRivals), test => test.has_rivals()
);
/// The accuracy of every canary that has a limit of its own.
pub(super) const LIMITED: &[Metric] = canaries!(canary => canary.limit().is_some());

// The suites and the categories of canaries.
pub(super) const TINY: &[Metric] = canaries!(canary => canary.is_in(Suite::Tiny));
pub(super) const MINIMAL: &[Metric] = canaries!(canary => canary.is_in(Suite::Minimal));
pub(super) const STANDARD: &[Metric] = canaries!(canary => canary.is_in(Suite::Standard));
pub(super) const EXTENDED: &[Metric] = canaries!(canary => canary.is_in(Suite::Extended));
pub(super) const CATEGORY_C1: &[Metric] = canaries!(canary => canary.is_in_category(1));
pub(super) const CATEGORY_C2: &[Metric] = canaries!(canary => canary.is_in_category(2));
pub(super) const CATEGORY_C3: &[Metric] = canaries!(canary => canary.is_in_category(3));
pub(super) const CATEGORY_C4: &[Metric] = canaries!(canary => canary.is_in_category(4));
pub(super) const CATEGORY_C5: &[Metric] = canaries!(canary => canary.is_in_category(5));
pub(super) const CATEGORY_C6: &[Metric] = canaries!(canary => canary.is_in_category(6));

/// The accuracies of every recall test, their score, and the accuracies of every canary.
pub(super) const CLOZE: &[Metric] = &{
    const TESTS: &[Metric] = recall!(test => matches!(test.tier(), _));
    const CANARIES: &[Metric] = canaries!(canary => matches!(canary.limit(), _));
    let mut all = [Metric::StatefulnessScore; TESTS.len() + 1 + CANARIES.len()];
    let mut i = 0;
    while i < TESTS.len() {
        all[i] = TESTS[i];
        i += 1;
    }
    i = 0;
    while i < CANARIES.len() {
        all[TESTS.len() + 1 + i] = CANARIES[i];
        i += 1;
    }
    all
};
