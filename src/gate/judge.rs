//! From a ledger to a verdict. A finding is met, unmet or unproven (ruling R14); the verdict is
//! FAIL when anything required is unmet, PASS when everything required is met at all four gated
//! scales, and INCOMPLETE otherwise. Nothing can pass by being absent.

use super::attempt::{Attempt, attempts, number};
use super::criterion::Role;
use super::evidence_index::Evidence;
use super::findings::findings_of;
use super::manifest::{Problem, problems};
use super::outcome::{Finding, Status};
use super::promise::promises;
use super::rules::history;
use super::verdict::{Verdict, verdict};
use crate::evidence::{Iteration, Ledger};

/// The verdict with everything that it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// May the architecture be released?
    pub verdict: Verdict,
    /// What keeps the ledger as a whole from passing, whatever the findings.
    pub problems: Vec<Problem>,
    /// By scale, then in the order of the criteria.
    pub findings: Vec<Finding>,
    /// Which attempt under its protocol's name this is, counted from 1; 0 without a promise (ruling R24).
    pub attempt: usize,
    /// Every earlier promise and what became of it.
    pub attempts: Vec<Attempt>,
}

impl Judgement {
    /// How many findings of that role have that status.
    pub fn count(&self, role: Role, status: Status) -> usize {
        self.findings.iter().filter(|f| f.role == role && f.status == status).count()
    }

    /// The same where so many of the promised trials have no run beside the ledger: it cannot pass, whatever the ledger
    /// says (ruling R23).
    pub fn without_runs(mut self, trials: usize) -> Self {
        if trials > 0 {
            self.problems.push(Problem::Unaudited(trials));
            self.verdict = verdict(&self.findings, &self.problems);
        }
        self
    }

    /// Whether everything required at the scales that the protocol asks about is met: the most
    /// that a protocol short of FULL can show.
    pub fn own_criteria_met(&self) -> bool {
        let mut asked = self
            .findings
            .iter()
            .filter(|f| f.role == Role::Required && f.status != Status::Outside)
            .peekable();
        asked.peek().is_some() && asked.all(|f| f.status == Status::Met)
    }
}

/// Judges a ledger. Whether its runs lie beside it, a ledger does not say: [`Judgement::without_runs`].
///
/// # Example
///
/// The manifest names one training, and its validation loss is not a number. That is evidence of a diverged run, not a
/// missing value:
///
/// ```
/// use v5gate::evidence::Ledger;
/// use v5gate::gate::{Status, Verdict, judge};
///
/// let manifest = r#"{"context": {"schema": 2, "number": 1, "protocol": "smoke", "models": ["groundthink"],
///     "scales": ["smoke"], "seeds": [1], "revision": "v1", "expected": [{"scale": "smoke", "seed": 1,
///     "recipe": "r", "data": "d", "order": "o", "tokenizer": "t", "device": "cpu", "precision": "float32"}]}}"#;
/// let measured = r#"{"measurement": {"metric": "validation_loss", "value": "nan",
///     "subject": {"model": "groundthink", "scale": "smoke", "seed": 1, "condition": "trained"},
///     "provenance": {"recipe": "r", "data": "d", "order": "o", "fed": "f", "tokenizer": "t", "weights": "w",
///     "revision": "v1", "device": "cpu", "precision": "float32", "validation": "v", "preprocessing": "p",
///     "tuning": "0", "stopping": "after the last step", "probe": "language-modeling"}}}"#;
/// let lines = [manifest, measured].map(|line| line.replace('\n', " ")).join("\n");
///
/// let ledger = Ledger::from_bytes(lines.as_bytes());
/// assert!(ledger.faults().is_empty(), "{:?}", ledger.faults());
/// let judgement = judge(&ledger);
/// let status = |id| judgement.findings.iter().find(|f| f.criterion == id).map(|f| f.status);
/// assert_eq!(status("losses-finite"), Some(Status::Unmet));
/// assert_eq!(status("run-completed"), Some(Status::Unproven), "nobody measured it");
/// assert_eq!(judgement.verdict, Verdict::Fail);
/// ```
pub fn judge(ledger: &Ledger) -> Judgement {
    let mut earlier = promises(ledger);
    let evidence = Evidence::under(ledger, earlier.last().cloned());
    let problems = problems(&evidence, &earlier);
    let present = earlier.pop();
    let attempt = number(&earlier, present.as_ref());
    let attempts = attempts(ledger, &earlier, present.as_ref());
    let findings = findings_of(&evidence);
    let verdict = verdict(&findings, &problems);
    Judgement { verdict, problems, findings, attempt, attempts }
}

/// What to record of a judgement, so that later iterations at 8M know of it (test Iterations of the
/// rulings); nothing where the protocol does not ask about 8M.
pub fn iteration(ledger: &Ledger, judgement: &Judgement) -> Option<Iteration> {
    history::iteration(ledger, &judgement.findings, "8M")
}
