//! From a ledger to a verdict. A finding is met, unmet or unproven (ruling R14); the verdict is
//! FAIL when anything required is unmet, PASS when everything required is met at all four gated
//! scales, and INCOMPLETE otherwise. Nothing can pass by being absent.

use std::sync::LazyLock;

use serde::Serialize;

use super::criteria::CRITERIA;
use super::criterion::{Criterion, Role};
use super::evidence_index::Evidence;
use super::manifest::{Problem, problems};
use super::outcome::{Finding, Outcome, Status};
use super::rule::Rule;
use super::rules::{composite, history, paired, provenance, scaling, single};
use crate::evidence::{Iteration, Ledger};
use crate::scale::{SCALES, Scale, Tier};

/// May the architecture be released?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// Everything required is met.
    Pass,
    /// Something required is unmet.
    Fail,
    /// Something required is not proven.
    Incomplete,
}

impl Verdict {
    /// The process's exit code.
    pub const fn exit_code(self) -> u8 {
        match self {
            Verdict::Pass => 0,
            Verdict::Fail => 10,
            Verdict::Incomplete => 11,
        }
    }

    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "PASS",
            Verdict::Fail => "FAIL",
            Verdict::Incomplete => "INCOMPLETE",
        }
    }
}

/// The verdict with everything that it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// May the architecture be released?
    pub verdict: Verdict,
    /// What keeps the ledger as a whole from passing, whatever the findings.
    pub problems: Vec<Problem>,
    /// By scale, then in the order of the criteria.
    pub findings: Vec<Finding>,
}

impl Judgement {
    /// How many findings of that role have that status.
    pub fn count(&self, role: Role, status: Status) -> usize {
        self.findings.iter().filter(|f| f.role == role && f.status == status).count()
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

/// A criterion and its role.
type Asked = (&'static Criterion, Role);

/// Which criteria are asked at each scale, and their role there.
static ASKED: LazyLock<Vec<(&'static Scale, Vec<Asked>)>> = LazyLock::new(|| {
    let rows = |scale| CRITERIA.iter().filter_map(move |c| Some((c, c.role(scale)?)));
    SCALES.iter().map(|scale| (scale, rows(scale).collect())).collect()
});

/// Judges a ledger.
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
    let evidence = Evidence::new(ledger);
    let mut findings = Vec::new();
    for (scale, rows) in ASKED.iter() {
        let asked = evidence.manifest().is_some_and(|m| m.scales.iter().any(|s| s == scale.name));
        if asked {
            findings.extend(judge_scale(scale, rows, &evidence));
        } else if scale.tier == Tier::Gate {
            let outside =
                |(c, role): &Asked| Finding::new(c, *role, scale, Status::Outside, Outcome::default());
            findings.extend(rows.iter().map(outside));
        }
    }
    let problems = problems(ledger);
    let verdict = verdict(&findings, &problems);
    Judgement { verdict, problems, findings }
}

/// What to record of a judgement, so that later iterations at 8M know of it (test Iterations of the
/// rulings); nothing where the protocol does not ask about 8M.
pub fn iteration(ledger: &Ledger, judgement: &Judgement) -> Option<Iteration> {
    history::iteration(ledger, &judgement.findings, "8M")
}

/// All findings at a scale, in the order of the table. Rows made of others come after those.
fn judge_scale(scale: &'static Scale, rows: &[Asked], evidence: &Evidence<'_>) -> Vec<Finding> {
    let ids: Vec<&str> = rows.iter().map(|(c, _)| c.id).collect();
    let mut findings: Vec<Finding> = Vec::new();
    let mut waiting: Vec<Asked> = rows.to_vec();
    while !waiting.is_empty() {
        let before = waiting.len();
        waiting.retain(|&(c, role)| match evaluate(c, &ids, scale, evidence, &findings) {
            Some(outcome) => {
                findings.push(Finding::new(c, role, scale, outcome.overall(), outcome));
                false
            }
            None => true,
        });
        if waiting.len() == before {
            // A circle, which the table's own test rules out: nothing is proven by it.
            let unproven =
                |(c, role): Asked| Finding::new(c, role, scale, Status::Unproven, Outcome::default());
            findings.extend(waiting.drain(..).map(unproven));
        }
    }
    findings.sort_by_key(|f| ids.iter().position(|id| *id == f.criterion));
    findings
}

/// What a criterion comes to at a scale; `None` while a finding that it is made of is still to come.
fn evaluate(
    criterion: &Criterion,
    asked: &[&str],
    scale: &'static Scale,
    evidence: &Evidence<'_>,
    findings: &[Finding],
) -> Option<Outcome> {
    match criterion.rule {
        Rule::Single(rule) => Some(single::evaluate(rule, criterion, evidence, scale.name)),
        Rule::Paired(rule) => Some(paired::evaluate(rule, criterion, evidence, scale.name)),
        Rule::Provenance(rule) => Some(provenance::evaluate(rule, criterion, evidence, scale.name)),
        Rule::Scaling(rule) => Some(scaling::evaluate(rule, criterion, evidence, scale.name)),
        Rule::Composite(rule) => composite::evaluate(rule, asked, findings),
        Rule::History(rule) => history::evaluate(rule, asked, evidence.ledger(), findings),
    }
}

fn verdict(findings: &[Finding], problems: &[Problem]) -> Verdict {
    let mut required = findings.iter().filter(|f| f.role == Role::Required);
    if required.clone().any(|f| f.status == Status::Unmet) {
        Verdict::Fail
    } else if problems.is_empty() && !findings.is_empty() && required.all(|f| f.status == Status::Met) {
        Verdict::Pass
    } else {
        Verdict::Incomplete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every finding of an empty ledger, as if it were met.
    fn all_met() -> Vec<Finding> {
        let mut findings = judge(&Ledger::default()).findings;
        findings.iter_mut().for_each(|f| f.status = Status::Met);
        findings
    }

    #[test]
    fn only_everything_passes() {
        let good = all_met();
        assert_eq!(verdict(&good, &[]), Verdict::Pass);
        assert_eq!(Verdict::Pass.exit_code(), 0);
        assert_eq!(verdict(&good, &[Problem::NoManifest]), Verdict::Incomplete);
        assert_eq!(verdict(&[], &[]), Verdict::Incomplete);
        for i in 0..good.len() {
            for status in [Status::Unmet, Status::Unproven, Status::Outside] {
                let mut findings = good.clone();
                findings[i].status = status;
                let expected = match (findings[i].role, status) {
                    (Role::Informational | Role::Contributing, _) => Verdict::Pass,
                    (_, Status::Unmet) => Verdict::Fail,
                    _ => Verdict::Incomplete,
                };
                assert_eq!(verdict(&findings, &[]), expected, "{}", findings[i].criterion);
            }
        }
    }

    #[test]
    fn all_four_gated_scales_are_always_asked_about() {
        let findings = judge(&Ledger::default()).findings;
        for scale in SCALES.iter().filter(|s| s.tier == Tier::Gate) {
            assert!(findings.iter().any(|f| f.scale == scale.name), "{}", scale.name);
        }
    }
}
