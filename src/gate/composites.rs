//! Rules made of other findings at the same scale, and of earlier rulings.
//!
//! One row unmet is enough to make `All` unmet; `AtLeastOf` is unmet once too few can still be met.
//! Rows that are not asked at a scale are left out; if none is asked, nothing is proven.

use std::collections::BTreeMap;

use super::criterion::{Criterion, Rule};
use super::verdict::{Answer, Finding, Status};
use crate::evidence::{Iteration, Ledger};

/// The answer to a rule made of the findings so far; `None` while one of them is still to come.
pub(super) fn answer(criterion: &Criterion, asked: &[&str], findings: &[Finding]) -> Option<Answer> {
    let parts = criterion.rule.parts().iter().filter(|id| asked.contains(*id));
    let parts: Option<Vec<&Finding>> = parts.map(|id| findings.iter().find(|f| f.criterion == *id)).collect();
    let parts = parts?;
    let count = |status| parts.iter().filter(|f| f.status == status).count();
    let (met, unmet) = (count(Status::Met), count(Status::Unmet));
    let needed = match criterion.rule {
        Rule::AtLeastOf(n, _) => n,
        _ => parts.len(),
    };
    let status = if parts.is_empty() {
        Status::Unproven
    } else if met >= needed {
        Status::Met
    } else if parts.len() - unmet < needed {
        Status::Unmet
    } else {
        Status::Unproven
    };
    let mut answer = Answer { status: vec![status], ..Answer::default() };
    answer.say(format!("{met} of {} met", parts.len()));
    for (status, word) in [(Status::Unmet, "unmet"), (Status::Unproven, "unproven")] {
        let ids: Vec<&str> = parts.iter().filter(|f| f.status == status).map(|f| f.criterion).collect();
        if !ids.is_empty() {
            answer.say(format!("{word}: {}", ids.join(", ")));
        }
    }
    Some(answer)
}

/// The answer to a rule about earlier rulings.
pub(super) fn history(criterion: &Criterion, ledger: &Ledger) -> Answer {
    let Rule::NotInARow(most, ids) = criterion.rule else { return Answer::default() };
    let iterations = latest(ledger);
    let lacks = |i: &Iteration| !ids.iter().all(|id| i.met.iter().any(|met| met == id));
    let row = iterations.values().rev().take_while(|i| lacks(i)).count();
    let mut answer = Answer::default();
    if iterations.is_empty() {
        answer.lacks.push("no iteration was ruled on".to_owned());
        return answer;
    }
    answer.say(format!("{} iterations, the last {row} of them lacking", iterations.len()));
    if row >= most {
        answer.say("reconsider the architecture");
    }
    answer.status.push(Status::of(row < most));
    answer
}

/// Of every iteration the ruling on most evidence, by number.
fn latest(ledger: &Ledger) -> BTreeMap<u64, &Iteration> {
    let mut all: BTreeMap<u64, &Iteration> = BTreeMap::new();
    for i in ledger.iterations() {
        let known = all.entry(i.number).or_insert(i);
        *known = (*known).max(i);
    }
    all
}

/// What to record of a judgement at a scale, so that later iterations know of it.
pub(super) fn iteration(ledger: &Ledger, findings: &[Finding], scale: &str) -> Option<Iteration> {
    let context = ledger.context()?;
    let here = |f: &&Finding| f.scale == scale && f.status != Status::Outside;
    findings.iter().find(here)?;
    let met = findings.iter().filter(here).filter(|f| f.status == Status::Met);
    let same = |i: &&Iteration| i.revision == context.revision && i.protocol == context.protocol;
    let last = ledger.iterations().map(|i| i.number).max().unwrap_or(0);
    Some(Iteration {
        number: ledger.iterations().find(same).map_or(last.saturating_add(1), |i| i.number),
        measurements: ledger.measurements().count() as u64,
        revision: context.revision.clone(),
        protocol: context.protocol.clone(),
        met: met.map(|f| f.criterion.to_owned()).collect(),
    })
}
