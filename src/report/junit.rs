//! The findings as JUnit XML, for whatever shows test results: a suite per scale, a case per
//! finding. Only what is required can be red.

use quick_junit::{NonSuccessKind, Property, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::demands::demanded;
use super::shared::{by_scale, escape_controls};
use super::words::{problem, render};
use crate::gate::{Finding, Judgement, Role, Status, cited};

/// The report as JUnit XML.
pub fn junit(judgement: &Judgement) -> Result<String, SerializeError> {
    let mut report = Report::new("v5gate");
    for findings in by_scale(judgement) {
        let Some(first) = findings.first() else {
            continue;
        };
        let mut suite = TestSuite::new(first.scale);
        suite.add_property(Property::new("verdict", judgement.verdict.name()));
        for p in &judgement.problems {
            suite.add_property(Property::new("problem", escape_controls(&problem(p))));
        }
        suite.add_test_cases(findings.iter().map(case));
        report.add_test_suite(suite);
    }
    // The common schema has this count for suites, not for all of them together.
    let count = format!(" skipped=\"{}\"", report.skipped);
    Ok(report.to_string()?.replacen(&count, "", 1))
}

fn case(f: &Finding) -> TestCase {
    let about = escape_controls(&format!(
        "claim: {}\nfound: {}\ndemanded: {}\nwhy: {} ({})",
        f.claim,
        render(f),
        demanded(f.rule),
        f.why,
        cited(f.source)
    ));
    let message =
        escape_controls(&format!("{}: {} (demanded: {})", f.status.name(), render(f), demanded(f.rule)));
    let required = f.role == Role::Required;
    let mut status = match f.status {
        Status::Met => TestCaseStatus::success(),
        Status::Unmet if required => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Status::Unproven if required => TestCaseStatus::non_success(NonSuccessKind::Error),
        _ => TestCaseStatus::skipped(),
    };
    match f.status {
        Status::Met => {}
        Status::Outside => drop(status.set_message("outside this protocol")),
        _ if required => drop(status.set_type(f.status.name()).set_message(message).set_description(&about)),
        _ => drop(status.set_message(format!("informs only; {message}"))),
    }
    let mut case = TestCase::new(f.criterion, status);
    case.set_classname(f.group);
    if f.status == Status::Met || (!required && f.status != Status::Outside) {
        case.set_system_out(about);
    }
    case
}
