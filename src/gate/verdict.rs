//! The verdict that findings add up to (ruling R14).

use serde::Serialize;

use super::criterion::Role;
use super::manifest::Problem;
use super::outcome::{Finding, Status};

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

/// What findings and problems add up to.
pub(super) fn verdict(findings: &[Finding], problems: &[Problem]) -> Verdict {
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
    use crate::evidence::Ledger;
    use crate::gate::evidence_index::Evidence;
    use crate::gate::findings::findings_of;
    use crate::scale::{SCALES, Tier};

    /// Every finding of an empty ledger, as if it were met.
    fn all_met() -> Vec<Finding> {
        let mut findings = findings_of(&Evidence::new(&Ledger::default()));
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
        let findings = findings_of(&Evidence::new(&Ledger::default()));
        for scale in SCALES.iter().filter(|s| s.tier == Tier::Gate) {
            assert!(findings.iter().any(|f| f.scale == scale.name), "{}", scale.name);
        }
    }
}
