//! The verdict on one screen: the seven lines of the V5 document by scale, and the numbers that matter
//! most. Both are read off the findings, and the terminal and GitHub show them alike.

use super::shared::{by_scale, is_outside};
use super::table::Table;
use super::words::{interval, range};
use crate::evidence::Value;
use crate::gate::{Estimate, Fact, Finding, Judgement, Status};

/// The lines of the V5 document that decide: five requirements for PASS, two triggers of FAIL.
const LINES: [&str; 7] = ["PASS-1", "PASS-2", "PASS-3", "PASS-4", "PASS-5", "FAIL-1", "FAIL-2"];
const NOT_MEASURED: &str = "not measured";

/// What became of each line of the V5 document at each scale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VerdictMatrix {
    /// The scales: the four gated ones, and others that the protocol asks about; in order of size.
    pub scales: Vec<&'static str>,
    /// The seven lines.
    pub rows: Vec<MatrixRow>,
}

/// One line of the V5 document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MatrixRow {
    /// The criterion's id.
    pub id: &'static str,
    /// What is true when it is met.
    pub claim: &'static str,
    /// What became of it, scale by scale.
    pub cells: Vec<Status>,
}

/// Numbers that matter, scale by scale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyNumbers {
    /// The scales that the protocol asks about, in order of size.
    pub scales: Vec<&'static str>,
    /// The numbers.
    pub rows: Vec<KeyNumber>,
}

/// One number that matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyNumber {
    /// What it is, in plain words.
    pub label: &'static str,
    /// The number, scale by scale.
    pub cells: Vec<String>,
}

/// The seven lines of the V5 document by scale.
pub(super) fn matrix(judgement: &Judgement) -> VerdictMatrix {
    let scales: Vec<&[Finding]> = by_scale(judgement).collect();
    let row = |id| {
        let at: Vec<Option<&Finding>> = scales.iter().map(|findings| find(findings, id)).collect();
        let claim = at.iter().flatten().next().map_or("", |f| f.claim);
        let cells = at.iter().map(|f| f.map_or(Status::Outside, |f| f.status)).collect();
        MatrixRow { id, claim, cells }
    };
    VerdictMatrix { scales: names(&scales), rows: LINES.into_iter().map(row).collect() }
}

/// The numbers that matter, at each scale that the protocol asks about.
pub(super) fn key_numbers(judgement: &Judgement) -> KeyNumbers {
    let scales: Vec<&[Finding]> = by_scale(judgement).filter(|findings| !is_outside(findings)).collect();
    let row = |&(label, id, form): &(&'static str, &str, NumberForm)| {
        let cell = |findings: &&[Finding]| {
            find(findings, id).map_or_else(|| NOT_MEASURED.to_owned(), |f| form.cell(f))
        };
        KeyNumber { label, cells: scales.iter().map(cell).collect() }
    };
    KeyNumbers { scales: names(&scales), rows: NUMBERS.iter().map(row).collect() }
}

/// How a number is read off a finding.
#[derive(Clone, Copy)]
enum NumberForm {
    /// The perplexity ratio that two losses mean, with its 95 % interval.
    Perplexity,
    /// Both models' means.
    Both,
    /// The paired advantage with its 95 % interval.
    Advantage,
    /// By how much each model exceeds chance, with 95 % intervals.
    AboveChance,
    /// GroundThink's mean divided by GPT-2's.
    Ratio,
    /// Of a time: the ratio of the speeds.
    SpeedRatio,
    /// The ratio trial by trial.
    TrialRatios,
}

/// What each number is, the criterion whose finding has it, and how it is read.
const NUMBERS: &[(&str, &str, NumberForm)] = &[
    ("held-out perplexity, ratio [95 %]", "perplexity-non-inferior", NumberForm::Perplexity),
    ("held-out loss, ratio", "loss-ratio-viable", NumberForm::Ratio),
    ("statefulness score, both models", "statefulness-advantage", NumberForm::Both),
    ("statefulness gain [95 %]", "statefulness-advantage", NumberForm::Advantage),
    ("statefulness above chance, both models", "statefulness-off-the-floor", NumberForm::AboveChance),
    ("perplexity beyond 2K tokens, ratio [95 %]", "long-context-loss", NumberForm::Perplexity),
    ("turns a fact is retained (SPS), both models", "position-state", NumberForm::Both),
    ("prefill speed at 1,024 tokens, ratio", "prefill-significantly-better", NumberForm::SpeedRatio),
    ("generation speed, ratio", "speed-significantly-better", NumberForm::Ratio),
    ("peak memory at 1,024 tokens, ratio", "memory-significantly-better", NumberForm::Ratio),
    ("state per conversation in bytes, ratio", "state-bytes-significantly-better", NumberForm::Ratio),
    ("total parameters, ratio", "total-matched", NumberForm::TrialRatios),
    ("non-embedding parameters, ratio", "non-embedding-matched", NumberForm::TrialRatios),
];

impl NumberForm {
    /// The number of a finding, or why it has none.
    fn cell(self, finding: &Finding) -> String {
        match (self.text(&finding.facts), finding.status) {
            // A number that proves nothing, for want of trials or of evidence, says so.
            (Some(text), Status::Unproven) => text + " (unproven)",
            (Some(text), Status::Met | Status::Unmet | Status::Outside) => text,
            (None, _) if finding.facts.is_empty() => NOT_MEASURED.to_owned(),
            (None, Status::Unmet) => "not finite".to_owned(),
            (None, Status::Met | Status::Unproven | Status::Outside) => "too few trials".to_owned(),
        }
    }

    /// The number in these facts, where they hold one.
    fn text(self, facts: &[Fact]) -> Option<String> {
        match self {
            NumberForm::Perplexity => perplexity(facts),
            NumberForm::Both => means(facts).map(|[one, other]| format!("{one} and {other}")),
            NumberForm::Advantage => facts.iter().find_map(|fact| match fact {
                Fact::PairedDifference { estimate, .. } => Some(with_interval(estimate)),
                _ => None,
            }),
            NumberForm::AboveChance => above_chance(facts),
            NumberForm::Ratio => means(facts).map(|[one, other]| ratio(one, other)),
            NumberForm::SpeedRatio => means(facts).map(|[one, other]| ratio(other, one)),
            NumberForm::TrialRatios => facts.iter().find_map(|fact| match fact {
                Fact::TrialRatios { range: ends, .. } => Some(range(*ends)),
                _ => None,
            }),
        }
    }
}

/// A perplexity ratio with its interval; from the means alone where there is no interval.
fn perplexity(facts: &[Fact]) -> Option<String> {
    let known = facts.iter().find_map(|fact| match fact {
        Fact::PerplexityRatio { estimate, .. } => Some(with_interval(estimate)),
        // The advantage is of losses: a loss lower by x is a perplexity of exp(-x) times.
        Fact::PairedDifference { estimate: e, .. } => {
            let ratio = |advantage: Value| Value::from((-advantage.raw()).exp());
            let (value, interval) = (ratio(e.value), e.interval.map(|[low, high]| [ratio(high), ratio(low)]));
            Some(with_interval(&Estimate { value, interval, ..*e }))
        }
        _ => None,
    });
    known.or_else(|| {
        let [one, other] = means(facts)?;
        Some(Value::from((one.raw() - other.raw()).exp()).to_string())
    })
}

fn above_chance(facts: &[Fact]) -> Option<String> {
    let margins = facts.iter().filter_map(|fact| match fact {
        Fact::AboveChance { estimate, .. } => Some(with_interval(estimate)),
        _ => None,
    });
    let texts: Vec<String> = margins.collect();
    (!texts.is_empty()).then(|| texts.join(" and "))
}

/// GroundThink's mean and GPT-2's.
fn means(facts: &[Fact]) -> Option<[Value; 2]> {
    facts.iter().find_map(|fact| match fact {
        Fact::Means { candidate, baseline, .. } => Some([candidate.mean, baseline.mean]),
        _ => None,
    })
}

fn ratio(one: Value, other: Value) -> String {
    Value::from(one.raw() / other.raw()).to_string()
}

fn with_interval(e: &Estimate) -> String {
    match e.interval {
        Some(_) => format!("{} {}", e.value, interval(e)),
        None => e.value.to_string(),
    }
}

fn find<'a>(findings: &'a [Finding], id: &str) -> Option<&'a Finding> {
    findings.iter().find(|f| f.criterion == id)
}

fn names(scales: &[&[Finding]]) -> Vec<&'static str> {
    scales.iter().filter_map(|findings| Some(findings.first()?.scale)).collect()
}

impl VerdictMatrix {
    /// The same as a table of text.
    fn table(&self) -> Table {
        let row = |row: &MatrixRow| {
            let cells = row.cells.iter().map(|status| format!("{} {}", mark(*status), status.name()));
            [row.id.to_owned()].into_iter().chain(cells).chain([row.claim.to_owned()]).collect()
        };
        let scales = self.scales.iter().map(|&scale| scale.to_owned());
        let head = ["line".to_owned()].into_iter().chain(scales).chain(["met when".to_owned()]).collect();
        let rows = self.rows.iter().map(row).collect();
        Table { title: "V5 gate by scale".to_owned(), head, rows }
    }
}

impl KeyNumbers {
    /// The same as a table of text.
    fn table(&self) -> Table {
        let row = |row: &KeyNumber| [row.label.to_owned()].into_iter().chain(row.cells.clone()).collect();
        let scales = self.scales.iter().map(|&scale| scale.to_owned());
        let head = ["number".to_owned()].into_iter().chain(scales).collect();
        let title = "Key numbers: GroundThink's before GPT-2's, or divided by GPT-2's".to_owned();
        Table { title, head, rows: self.rows.iter().map(row).collect() }
    }
}

/// Both as tables; without the numbers where the protocol asks about no scale.
pub(super) fn summary_tables(judgement: &Judgement) -> Vec<Table> {
    let numbers = key_numbers(judgement);
    let mut all = vec![matrix(judgement).table()];
    all.extend((!numbers.scales.is_empty()).then(|| numbers.table()));
    all
}

/// The mark of a status, readable without colour.
fn mark(status: Status) -> &'static str {
    match status {
        Status::Met => "✓",
        Status::Unmet => "✗",
        Status::Unproven => "?",
        Status::Outside => "·",
    }
}
