//! Contradicting values for one question count as the worst of them (ruling R24). Which is the worst depends on the
//! rule that reads them, so a row is judged under each of them, and its worst outcome stands.
//!
//! A rule reads a ledger through [`Evidence::find`](super::evidence_index::Evidence::find) alone. That asks here
//! which of several answers to take, and so every question that a rule reads is known, directly read or not.

use std::cell::RefCell;

use super::criterion::{GPT2, GROUNDTHINK};
use super::gap::{Gap, ModelTrial};
use super::outcome::{Outcome, Status};
use super::question::{Missing, Query};
use crate::evidence::{Condition, Metric};

/// Readings of one row that are judged: eight questions with two answers each. A row with more of them is unmet.
const MOST_READINGS: usize = 256;

/// A question with several answers, and the one that is taken at present.
#[derive(Clone, Debug, PartialEq)]
struct TakenAnswer {
    scale: String,
    seed: u64,
    model: &'static str,
    condition: Condition,
    metric: Metric,
    taken: usize,
    of: usize,
}

impl TakenAnswer {
    fn is_about(&self, of: Query<'_>) -> bool {
        let what = (self.scale.as_str(), self.seed, self.model, self.condition, self.metric);
        what == (of.scale, of.seed, of.model, of.condition, of.metric)
    }

    fn gap(&self) -> Gap {
        let trial = ModelTrial { model: self.model, seed: self.seed, scale: None };
        let (condition, metric) = (self.condition, self.metric);
        Gap::Measurement { trial, condition, metric, reason: Missing::Contradictory }
    }
}

/// What is read at present where there are several answers; nothing while no row is judged.
#[derive(Clone, Debug, Default)]
pub(super) struct Readings {
    taken: RefCell<Option<Combination>>,
}

#[derive(Clone, Debug, Default)]
struct Combination {
    /// In the order in which they were asked.
    choices: Vec<TakenAnswer>,
    /// The trial whose answers are varied; those of other trials stay the first. Every trial's where there is none.
    trial: Option<u64>,
}

impl Combination {
    fn varied(&self, choice: &TakenAnswer) -> bool {
        self.trial.is_none_or(|seed| seed == choice.seed)
    }

    /// Goes on to the next combination of answers; `false` after the last. What was asked after the answer that
    /// changes may not be asked again, and is forgotten.
    fn advance(&mut self) -> bool {
        while let Some(mut last) = self.choices.pop() {
            if self.varied(&last) && last.taken + 1 < last.of {
                last.taken += 1;
                self.choices.push(last);
                return true;
            }
        }
        false
    }
}

impl Readings {
    /// Which of so many answers to take; `None` while no row is judged.
    pub(super) fn take(&self, question: Query<'_>, of: usize) -> Option<usize> {
        let mut taken = self.taken.borrow_mut();
        let reading = taken.as_mut()?;
        if let Some(known) = reading.choices.iter().find(|choice| choice.is_about(question)) {
            return Some(known.taken);
        }
        let Query { scale, seed, model, condition, metric } = question;
        let model = [GROUNDTHINK, GPT2].into_iter().find(|&name| name == model)?;
        reading.choices.push(TakenAnswer {
            scale: scale.to_owned(),
            seed,
            model,
            condition,
            metric,
            taken: 0,
            of,
        });
        Some(0)
    }

    fn begin(&self, trial: Option<u64>) {
        *self.taken.borrow_mut() = Some(Combination { choices: Vec::new(), trial });
    }

    fn advance(&self) -> bool {
        self.taken.borrow_mut().as_mut().is_some_and(Combination::advance)
    }

    fn asked(&self) -> Vec<TakenAnswer> {
        self.taken.borrow().as_ref().map_or_else(Vec::new, |reading| reading.choices.clone())
    }

    fn end(&self) {
        *self.taken.borrow_mut() = None;
    }
}

/// The worst of what a row comes to under every reading of contradicting answers; `None` while a finding that it is
/// made of is still to come. Where each trial is judged by itself, one trial's answers are varied at a time: one
/// unmet trial makes a row unmet whatever the others show.
pub(super) fn worst(
    readings: &Readings,
    by_trial: bool,
    evaluate: impl Fn() -> Option<Outcome>,
) -> Option<Outcome> {
    readings.begin(None);
    let first = evaluate();
    let contradictory = readings.asked();
    let found = match first {
        Some(mut outcome) if !contradictory.is_empty() => {
            let mut trials: Vec<Option<u64>> =
                contradictory.iter().map(|c| by_trial.then_some(c.seed)).collect();
            trials.sort_unstable();
            trials.dedup();
            for trial in trials {
                outcome = worse(outcome, worst_in(readings, trial, &evaluate)?);
            }
            outcome.gaps.splice(0..0, contradictory.iter().map(TakenAnswer::gap));
            Some(outcome)
        }
        other => other,
    };
    readings.end();
    found
}

/// The worst over the answers of one trial, or over those of all trials together.
fn worst_in(
    readings: &Readings,
    trial: Option<u64>,
    evaluate: impl Fn() -> Option<Outcome>,
) -> Option<Outcome> {
    readings.begin(trial);
    let mut worst_so_far = evaluate()?;
    let mut judged = 1;
    while readings.advance() {
        if judged == MOST_READINGS {
            worst_so_far.statuses.push(Status::Unmet);
            return Some(worst_so_far);
        }
        worst_so_far = worse(worst_so_far, evaluate()?);
        judged += 1;
    }
    Some(worst_so_far)
}

/// The first unless the second is worse.
fn worse(one: Outcome, other: Outcome) -> Outcome {
    let severity = |outcome: &Outcome| match outcome.overall() {
        Status::Met => 0,
        Status::Unproven | Status::Outside => 1,
        Status::Unmet => 2,
    };
    if severity(&other) > severity(&one) { other } else { one }
}
