//! Earlier attempts: every promise that the ledger holds beside the present one, with what became of it (ruling R24).

use rayon::prelude::*;
use serde::Serialize;

use super::criterion::Role;
use super::evidence_index::Evidence;
use super::findings::findings_of;
use super::manifest::{FULL, MOST_ATTEMPTS};
use super::outcome::{Finding, Status};
use super::promise::Promise;
use super::verdict::{Verdict, verdict};
use crate::evidence::{Field, Ledger};

/// Of an attempt, so many unmet rows are named one by one.
const MOST_NAMED: usize = 8;

/// An earlier promise, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attempt {
    /// The protocol's name.
    pub protocol: String,
    /// Counted from 1 among the attempts under that name.
    pub number: usize,
    /// The numbers of its manifests.
    pub manifests: Vec<u64>,
    /// In what it differs from the present attempt.
    pub differs: Vec<Field>,
    /// What the present rules say of it, by its own evidence.
    pub verdict: Verdict,
    /// Required rows that are met.
    pub met: usize,
    /// Required rows that are unmet.
    pub unmet: usize,
    /// Required rows that are unproven.
    pub unproven: usize,
    /// The first of the rows that are unmet, with their scales.
    pub unmet_rows: Vec<(&'static str, &'static str)>,
}

/// What became of every earlier promise, in order; of more than are judged, the latest.
pub(super) fn attempts(
    ledger: &Ledger,
    earlier: &[Promise<'_>],
    present: Option<&Promise<'_>>,
) -> Vec<Attempt> {
    let first = earlier.len().saturating_sub(MOST_ATTEMPTS);
    let judged = |i: usize| {
        let promise = &earlier[i];
        let findings = findings_of(&Evidence::under(ledger, Some(promise.clone())));
        let same = earlier[..i].iter().filter(|p| p.protocol() == promise.protocol());
        let required = || findings.iter().filter(|f| f.role == Role::Required);
        let count = |status| required().filter(|f| f.status == status).count();
        let unmet = required().filter(|f| f.status == Status::Unmet);
        Attempt {
            protocol: promise.protocol().to_owned(),
            number: same.count() + 1,
            manifests: promise.numbers().collect(),
            differs: present.map_or_else(Vec::new, |present| promise.differs(present)),
            verdict: of_its_own(promise, &findings),
            met: count(Status::Met),
            unmet: count(Status::Unmet),
            unproven: count(Status::Unproven),
            unmet_rows: unmet.take(MOST_NAMED).map(|f| (f.criterion, f.scale)).collect(),
        }
    };
    (first..earlier.len()).into_par_iter().map(judged).collect()
}

/// Only FULL can pass.
fn of_its_own(promise: &Promise<'_>, findings: &[Finding]) -> Verdict {
    match verdict(findings, &[]) {
        Verdict::Pass if promise.protocol() != FULL => Verdict::Incomplete,
        other => other,
    }
}

/// Which attempt under its protocol's name the present one is, counted from 1.
pub(super) fn number(earlier: &[Promise<'_>], present: Option<&Promise<'_>>) -> usize {
    let same = |promise: &&Promise<'_>| present.is_some_and(|p| p.protocol() == promise.protocol());
    earlier.iter().filter(same).count() + usize::from(present.is_some())
}
