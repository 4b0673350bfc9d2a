//! What each row of the table comes to under one promise.

use std::sync::LazyLock;

use super::criteria::CRITERIA;
use super::criterion::{Criterion, Role};
use super::evidence_index::Evidence;
use super::outcome::{Finding, Outcome, Status};
use super::promise::{Promise, promises};
use super::readings::worst;
use super::rule::Rule;
use super::rules::{composite, history, paired, provenance, scaling, single};
use crate::evidence::{Iteration, Ledger};
use crate::scale::{SCALES, Scale, Tier};

/// A criterion and its role.
type Asked = (&'static Criterion, Role);

/// Which criteria are asked at each scale, and their role there.
static ASKED: LazyLock<Vec<(&'static Scale, Vec<Asked>)>> = LazyLock::new(|| {
    let rows = |scale| CRITERIA.iter().filter_map(move |c| Some((c, c.role(scale)?)));
    SCALES.iter().map(|scale| (scale, rows(scale).collect())).collect()
});

/// What each criterion comes to, by scale, then in the order of the table.
pub(super) fn findings_of(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (scale, rows) in ASKED.iter() {
        let asked = evidence.promise().is_some_and(|p| p.scales.contains(&scale.name));
        if asked {
            findings.extend(judge_scale(scale, rows, evidence));
        } else if scale.tier == Tier::Gate {
            let outside =
                |(c, role): &Asked| Finding::new(c, *role, scale, Status::Outside, Outcome::default());
            findings.extend(rows.iter().map(outside));
        }
    }
    findings
}

/// All findings at a scale, in the order of the table. Rows made of others come after those.
fn judge_scale(scale: &'static Scale, rows: &[Asked], evidence: &Evidence<'_>) -> Vec<Finding> {
    let ids: Vec<&str> = rows.iter().map(|(c, _)| c.id).collect();
    let mut findings: Vec<Finding> = Vec::new();
    let mut waiting: Vec<Asked> = rows.to_vec();
    while !waiting.is_empty() {
        let before = waiting.len();
        waiting.retain(|&(c, role)| match come_to(c, &ids, scale, evidence, &findings) {
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

/// What a criterion comes to at a scale, the worst of contradicting numbers counted (ruling R24); `None` while a
/// finding that it is made of is still to come. A trial that was promised later, or beyond the ten that FULL needs,
/// hides nothing: what is unmet without it stays unmet.
fn come_to(
    c: &Criterion,
    asked: &[&str],
    scale: &'static Scale,
    evidence: &Evidence<'_>,
    findings: &[Finding],
) -> Option<Outcome> {
    let of = |evidence: &Evidence<'_>| {
        worst(evidence.readings(), c.rule.by_trial(), || evaluate(c, asked, scale, evidence, findings))
    };
    let outcome = of(evidence)?;
    if outcome.overall() != Status::Unproven || c.metrics.is_empty() {
        return Some(outcome);
    }
    let fewer = evidence.fewer_trials(&outcome.gaps);
    let unmet = fewer.into_iter().find_map(|seeds| {
        of(&evidence.of_trials(seeds)).filter(|outcome| outcome.overall() == Status::Unmet)
    });
    Some(unmet.unwrap_or(outcome))
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
        Rule::History(rule) => {
            let holds =
                |iteration: &Iteration, ids: &[&str]| ruling_holds(evidence.ledger(), iteration, ids, scale);
            history::evaluate(rule, asked, evidence, findings, &holds)
        }
    }
}

/// Whether the ledger itself proves that an earlier iteration met these criteria: a ruling without its evidence is
/// a claim.
fn ruling_holds(ledger: &Ledger, iteration: &Iteration, ids: &[&str], scale: &'static Scale) -> bool {
    let of_it = |p: &Promise<'_>| p.revision() == iteration.revision && p.protocol() == iteration.protocol;
    let rows = ASKED.iter().find(|(s, _)| s.name == scale.name).map(|(_, rows)| rows.iter());
    let rows: Vec<Asked> =
        rows.into_iter().flatten().filter(|(c, _)| !matches!(c.rule, Rule::History(_))).copied().collect();
    promises(ledger).into_iter().filter(of_it).any(|promise| {
        let findings = judge_scale(scale, &rows, &Evidence::under(ledger, Some(promise)));
        ids.iter().all(|id| findings.iter().any(|f| f.criterion == *id && f.status == Status::Met))
    })
}
