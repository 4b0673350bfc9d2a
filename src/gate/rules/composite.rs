//! Rules made of other findings at the same scale, and of earlier rulings.
//!
//! One row unmet is enough to make `All` unmet; `AtLeastOf` is unmet once too few can still be met.
//! Rows that are not asked at a scale are left out; if none is asked, nothing is proven.

use std::collections::BTreeMap;

use crate::evidence::{Iteration, Ledger};
use crate::gate::criterion::{Criterion, Rule};
use crate::gate::judge::{Answer, Finding, Status};

/// The answer to a rule made of the findings so far; `None` while one of them is still to come.
pub(in crate::gate) fn answer(criterion: &Criterion, asked: &[&str], findings: &[Finding]) -> Option<Answer> {
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

/// The answer to a rule about earlier rulings and the present one; `None` while a finding that the
/// present one rests on is still to come.
pub(in crate::gate) fn history(
    criterion: &Criterion,
    asked: &[&str],
    ledger: &Ledger,
    findings: &[Finding],
) -> Option<Answer> {
    let Rule::NotInARow(most, ids) = criterion.rule else { return Some(Answer::default()) };
    let parts: Option<Vec<&Finding>> = ids
        .iter()
        .filter(|id| asked.contains(*id))
        .map(|id| findings.iter().find(|f| f.criterion == *id))
        .collect();
    let parts = parts?;
    let Some(context) = ledger.context() else { return Some(Answer::default()) };
    // The present code is the last iteration, whatever was recorded of it.
    let lacks = |i: &Iteration| !ids.iter().all(|id| i.met.iter().any(|met| met == id));
    let earlier = earlier(ledger, &context.revision, &context.protocol);
    let before = earlier.values().rev().take_while(|i| lacks(i)).count();
    let mut answer = Answer::default();
    answer.say(format!("{} earlier iterations, the last {before} of them lacking", earlier.len()));
    let unmet: Vec<&str> = parts.iter().filter(|f| f.status == Status::Unmet).map(|f| f.criterion).collect();
    if !unmet.is_empty() {
        answer.say(format!("this one lacks {}", unmet.join(", ")));
    }
    let status = if before + 1 < most {
        // Whatever this one shows, it is not the last of so many.
        Status::Met
    } else if !unmet.is_empty() {
        Status::Unmet
    } else if !parts.is_empty() && parts.iter().all(|f| f.status == Status::Met) {
        Status::Met
    } else {
        Status::Unproven
    };
    if status == Status::Unmet {
        answer.say("reconsider the architecture");
    }
    if status == Status::Unproven {
        answer.lacks.push("what this iteration shows is not proven".to_owned());
    }
    answer.status.push(status);
    Some(answer)
}

/// Of every iteration of this protocol before the present code the ruling on most evidence, by number.
fn earlier<'a>(ledger: &'a Ledger, revision: &str, protocol: &str) -> BTreeMap<u64, &'a Iteration> {
    let mut all: BTreeMap<u64, &Iteration> = BTreeMap::new();
    for i in ledger.iterations().filter(|i| i.protocol == protocol && i.revision != revision) {
        let known = all.entry(i.number).or_insert(i);
        *known = (*known).max(i);
    }
    all
}

/// What to record of a judgement at a scale, so that later iterations know of it.
pub(in crate::gate) fn iteration(ledger: &Ledger, findings: &[Finding], scale: &str) -> Option<Iteration> {
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
