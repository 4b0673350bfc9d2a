//! Rules about earlier iterations of the architecture and the present one (test Iterations of the rulings).

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::{Iteration, Ledger};
use crate::gate::evidence_index::Evidence;
use crate::gate::fact::Fact;
use crate::gate::gap::Gap;
use crate::gate::outcome::{Finding, Outcome, Status};
use crate::gate::rule::HistoryRule;

/// What a rule about earlier iterations and the present one comes to; `None` while a finding that
/// the present one rests on is still to come.
pub(in crate::gate) fn evaluate(
    rule: HistoryRule,
    asked: &[&str],
    evidence: &Evidence<'_>,
    findings: &[Finding],
    holds: &dyn Fn(&Iteration, &[&str]) -> bool,
) -> Option<Outcome> {
    let HistoryRule::NotInARow(most, ids) = rule;
    let parts = ids.iter().filter(|id| asked.contains(*id));
    let parts: Option<Vec<&Finding>> = parts.map(|id| findings.iter().find(|f| f.criterion == *id)).collect();
    let parts = parts?;
    let Some(promise) = evidence.promise() else { return Some(Outcome::default()) };
    // The present code is the last iteration, whatever was recorded of it.
    let lacks = |i: &Iteration| !ids.iter().all(|id| i.met.iter().any(|met| met == id));
    let believed = |i: &Iteration| lacks(i) || holds(i, ids);
    let earlier = earlier(evidence.ledger(), promise.revision(), promise.protocol(), believed);
    let before = earlier.iter().rev().take_while(|i| lacks(i)).count();
    let unmet: Vec<&'static str> =
        parts.iter().filter(|f| f.status == Status::Unmet).map(|f| f.criterion).collect();
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
    let mut outcome = Outcome { statuses: vec![status], ..Outcome::default() };
    outcome.facts.push(Fact::Iterations {
        earlier: earlier.len(),
        lacking: before,
        too_many: most,
        unmet,
        reached: status == Status::Unmet,
    });
    outcome.gaps.extend((status == Status::Unproven).then_some(Gap::PresentIteration));
    Some(outcome)
}

/// Of every iteration of this protocol before the present code the ruling on most evidence that is believed, by
/// number: one that says the iteration lacked something, or whose evidence the ledger holds (ruling R24).
fn earlier<'a>(
    ledger: &'a Ledger,
    revision: &str,
    protocol: &str,
    believed: impl Fn(&Iteration) -> bool,
) -> Vec<&'a Iteration> {
    let mut all: BTreeMap<(u64, &str), BTreeSet<&Iteration>> = BTreeMap::new();
    for i in ledger.iterations().filter(|i| i.protocol == protocol && i.revision != revision) {
        all.entry((i.number, &i.revision)).or_default().insert(i);
    }
    let fullest = |rulings: &BTreeSet<&'a Iteration>| rulings.iter().rev().copied().find(|i| believed(i));
    all.values().filter_map(fullest).collect()
}

/// What to record of a judgement at a scale, so that later iterations know of it.
pub(in crate::gate) fn iteration(ledger: &Ledger, findings: &[Finding], scale: &str) -> Option<Iteration> {
    let manifest = ledger.manifest()?;
    let here = |f: &&Finding| f.scale == scale && f.status != Status::Outside;
    findings.iter().find(here)?;
    let met = findings.iter().filter(here).filter(|f| f.status == Status::Met);
    let same = |i: &&Iteration| i.revision == manifest.revision && i.protocol == manifest.protocol;
    let last = ledger.iterations().map(|i| i.number).max().unwrap_or(0);
    Some(Iteration {
        number: ledger.iterations().find(same).map_or(last.saturating_add(1), |i| i.number),
        measurements: ledger.measurements().count() as u64,
        revision: manifest.revision.clone(),
        protocol: manifest.protocol.clone(),
        met: met.map(|f| f.criterion.to_owned()).collect(),
    })
}
