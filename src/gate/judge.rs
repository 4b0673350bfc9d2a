//! From a ledger to a verdict. A finding is met, unmet or unproven (ruling R14); the verdict is
//! FAIL when anything required is unmet, PASS when everything required is met at all four gated
//! scales, and INCOMPLETE otherwise. Nothing can pass by being absent.

use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;

use serde::Serialize;

use super::criteria::CRITERIA;
use super::criterion::{Criterion, Kind, Weight};
use super::evidence_index::{Evidence, MOST_TRIALS, short};
use super::rules::{composite, paired, provenance, scaling, single};
use crate::evidence::{Context, Field, Iteration, Ledger, Measurement, Metric, SCHEMA, Value};
use crate::scale::{SCALES, Scale, Tier};

/// The only protocol that may pass: rulings R7 and R12 say what it takes.
pub(super) const FULL: &str = "full";
/// The trials that FULL needs (ruling R7).
const FULL_TRIALS: usize = 10;
/// The recipe of FULL at each scale (ruling R12), as evidence calls it: a protocol of the same name with
/// other hyper-parameters is another one. A test holds these against the built-in protocol.
const FULL_RECIPES: [(&str, &str); 4] = [
    ("3.5M", "2bec427bed8f50119d030345c769d7bbb8feb72caaf907ec65c010fdcbadf412"),
    ("8M", "e713443fabf5747f39f105dd57419c1ae5740499d8604a6a44abd4367f897014"),
    ("30M", "e0a1f754247537b45cb8825c1a1fcda2261a994ceb83e59caa21d6049c2cd8d5"),
    ("125M", "bacfa4df09989b633793c11824dc19f8e84de657b3375c3ed7c2ecbc2005cfd2"),
];

/// Lines that are not understood which are named one by one.
const SHOWN_FAULTS: usize = 10;

/// The answer to a criterion at a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The evidence satisfies it.
    Met,
    /// The evidence violates it, or is not finite.
    Unmet,
    /// There is no evidence, or none that counts.
    Unproven,
    /// The protocol does not ask.
    Outside,
}

impl Status {
    pub(super) fn of(met: bool) -> Self {
        if met { Status::Met } else { Status::Unmet }
    }

    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Met => "met",
            Status::Unmet => "unmet",
            Status::Unproven => "unproven",
            Status::Outside => "outside",
        }
    }
}

/// One number that a finding rests on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SeedValue {
    /// The model.
    pub model: &'static str,
    /// The trial.
    pub seed: u64,
    /// What was measured.
    pub metric: Metric,
    /// The number.
    pub value: Value,
    /// The number of the same subject that it is held against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<Value>,
    /// The measured 95 % interval, where the rule looks at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<[Value; 2]>,
}

/// What a rule says before it is put into words.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub status: Vec<Status>,
    pub values: Vec<SeedValue>,
    pub lacks: Vec<String>,
    pub interval: Option<[Value; 2]>,
    pub found: String,
    /// To be said after the numbers.
    pub notes: Vec<String>,
}

impl Answer {
    pub(super) fn take(&mut self, (status, value, lack): single::Said) {
        self.status.push(status);
        self.values.extend(value);
        self.lacks.extend(lack);
    }

    pub(super) fn say(&mut self, text: impl AsRef<str>) {
        if !self.found.is_empty() {
            self.found.push_str("; ");
        }
        self.found.push_str(text.as_ref());
    }

    /// One violation is enough; short of that, one gap is; and nothing asked proves nothing.
    fn overall(&self) -> Status {
        if self.status.contains(&Status::Unmet) {
            Status::Unmet
        } else if self.status.is_empty() || self.status.iter().any(|&s| s != Status::Met) {
            Status::Unproven
        } else {
            Status::Met
        }
    }

    fn note(&self) -> Option<String> {
        let (first, rest) = self.lacks.split_first()?;
        let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
        Some(format!("{first}{more}"))
    }
}

/// One criterion at one scale.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The criterion's id.
    pub criterion: &'static str,
    /// Its group.
    pub group: &'static str,
    /// The scale's label.
    pub scale: &'static str,
    /// Met, unmet, unproven or outside.
    pub status: Status,
    /// Whether it can change the verdict.
    pub weight: Weight,
    /// What the criterion claims.
    pub claim: &'static str,
    /// The numbers in short; empty when there are none.
    pub found: String,
    /// The demand in short.
    pub demanded: String,
    /// What is lacking, when something is.
    pub lacking: Option<String>,
    /// Why it is demanded.
    pub why: &'static str,
    /// Where the demand comes from.
    pub source: &'static str,
    /// Every number looked at.
    pub values: Vec<SeedValue>,
    /// The 95 % interval over trials, of rules that have one.
    pub interval: Option<[Value; 2]>,
}

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
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// May the architecture be released?
    pub verdict: Verdict,
    /// What keeps the ledger as a whole from passing, whatever the findings.
    pub problems: Vec<String>,
    /// By scale, then in the order of the criteria.
    pub findings: Vec<Finding>,
}

impl Judgement {
    /// How many findings of that weight have that status.
    pub fn count(&self, weight: Weight, status: Status) -> usize {
        self.findings.iter().filter(|f| f.weight == weight && f.status == status).count()
    }

    /// Whether everything required at the scales that the protocol asks about is met: the most
    /// that a protocol short of FULL can show.
    pub fn own_criteria_met(&self) -> bool {
        let mut asked = self
            .findings
            .iter()
            .filter(|f| f.weight == Weight::Required && f.status != Status::Outside)
            .peekable();
        asked.peek().is_some() && asked.all(|f| f.status == Status::Met)
    }
}

/// A criterion and what it weighs.
type Asked = (&'static Criterion, Weight);

/// Which criteria are asked at each scale, and what they weigh there.
static ASKED: LazyLock<Vec<(&'static Scale, Vec<Asked>)>> = LazyLock::new(|| {
    let rows = |scale| CRITERIA.iter().filter_map(move |c| Some((c, c.weight(scale)?)));
    SCALES.iter().map(|scale| (scale, rows(scale).collect())).collect()
});

/// Judges a ledger.
pub fn judge(ledger: &Ledger) -> Judgement {
    let evidence = Evidence::new(ledger);
    let mut findings = Vec::new();
    for (scale, rows) in ASKED.iter() {
        let asked = evidence.context().is_some_and(|c| c.scales.iter().any(|s| s == scale.name));
        if asked {
            findings.extend(judge_scale(scale, rows, &evidence));
        } else if scale.tier == Tier::Gate {
            let outside =
                |(c, weight): &Asked| Finding::new(c, *weight, scale, Status::Outside, Answer::default());
            findings.extend(rows.iter().map(outside));
        }
    }
    let problems = problems(ledger);
    let verdict = verdict(&findings, &problems);
    Judgement { verdict, problems, findings }
}

/// What to record of a judgement, so that later iterations at 8M know of it (§4 of the rulings,
/// Iterations); nothing where the protocol does not ask about 8M.
pub fn iteration(ledger: &Ledger, judgement: &Judgement) -> Option<Iteration> {
    composite::iteration(ledger, &judgement.findings, "8M")
}

/// All findings at a scale, in the order of the table. Rows made of others come after those.
fn judge_scale(scale: &'static Scale, rows: &[Asked], evidence: &Evidence<'_>) -> Vec<Finding> {
    let ids: Vec<&str> = rows.iter().map(|(c, _)| c.id).collect();
    let waits = |kind| matches!(kind, Kind::Composite | Kind::History);
    let (composite, plain): (Vec<_>, Vec<_>) = rows.iter().partition(|(c, _)| waits(c.rule.kind()));
    let mut findings: Vec<Finding> = Vec::new();
    for (c, weight) in plain {
        let answer = match c.rule.kind() {
            Kind::Pair => paired::answer(c, evidence, scale.name),
            Kind::Source => provenance::answer(c, evidence, scale.name),
            Kind::Scales => scaling::answer(c, evidence, scale.name),
            Kind::Single | Kind::Composite | Kind::History => single::answer(c, evidence, scale.name),
        };
        findings.push(Finding::new(c, weight, scale, answer.overall(), answer));
    }
    let mut waiting = composite;
    while !waiting.is_empty() {
        let before = waiting.len();
        let answer = |c: &Criterion, findings: &[Finding]| match c.rule.kind() {
            Kind::History => composite::history(c, &ids, evidence.ledger(), findings),
            _ => composite::answer(c, &ids, findings),
        };
        waiting.retain(|(c, weight)| match answer(c, &findings) {
            Some(answer) => {
                findings.push(Finding::new(c, *weight, scale, answer.overall(), answer));
                false
            }
            None => true,
        });
        if waiting.len() == before {
            // A circle, which the table's own test rules out: nothing is proven by it.
            let unproven =
                |(c, weight): Asked| Finding::new(c, weight, scale, Status::Unproven, Answer::default());
            findings.extend(waiting.drain(..).map(unproven));
        }
    }
    findings.sort_by_key(|f| ids.iter().position(|id| *id == f.criterion));
    findings
}

impl Finding {
    fn new(
        criterion: &Criterion,
        weight: Weight,
        scale: &'static Scale,
        status: Status,
        answer: Answer,
    ) -> Self {
        Finding {
            criterion: criterion.id,
            group: criterion.group,
            scale: scale.name,
            status,
            weight,
            claim: criterion.claim,
            lacking: answer.note().filter(|_| status != Status::Met),
            found: answer.found,
            demanded: criterion.rule.demanded(),
            why: criterion.why,
            source: criterion.source,
            values: answer.values,
            interval: answer.interval,
        }
    }
}

/// What keeps a ledger from passing before any criterion is asked.
fn problems(ledger: &Ledger) -> Vec<String> {
    let mut problems: Vec<String> = ledger.faults().iter().take(SHOWN_FAULTS).cloned().collect();
    if ledger.faults().len() > SHOWN_FAULTS {
        problems.push(format!("{} more lines are not understood", ledger.faults().len() - SHOWN_FAULTS));
    }
    let Some(context) = ledger.context() else {
        problems.push("the ledger has no context: nothing says what was promised".to_owned());
        return problems;
    };
    if ledger.contexts().any(|c| c.number == context.number && c != context) {
        problems.push(format!("two different promises have the number {}", context.number));
    }
    problems.extend(promise_problems(context));
    problems.extend(left_out(ledger, context));
    problems
}

/// Trials that were measured by the promised recipes and are not among the promised ones: whoever
/// chooses trials after seeing them chooses the result.
fn left_out(ledger: &Ledger, context: &Context) -> Option<String> {
    let trials: HashSet<u64> = context.seeds.iter().copied().collect();
    let recipes: HashSet<(&str, &str)> =
        context.expected.iter().map(|e| (e.scale.as_str(), e.recipe.as_str())).collect();
    let promised = |m: &&Measurement| {
        let of = (m.subject().scale.as_str(), m.provenance().recipe.as_str());
        m.provenance().revision == context.revision && recipes.contains(&of)
    };
    let seeds: BTreeSet<u64> = ledger
        .measurements()
        .filter(|m| !trials.contains(&m.subject().seed))
        .filter(promised)
        .map(|m| m.subject().seed)
        .collect();
    let named: Vec<String> = seeds.iter().take(SHOWN_FAULTS).map(u64::to_string).collect();
    (!seeds.is_empty()).then(|| format!("trials measured and left out of the promise: {}", named.join(", ")))
}

fn promise_problems(context: &Context) -> Vec<String> {
    let mut problems = Vec::new();
    if context.schema != SCHEMA {
        problems.push(format!("the context has schema {}, expected {SCHEMA}", context.schema));
    }
    if context.protocol != FULL {
        let protocol = &context.protocol;
        problems.push(format!("only the protocol {FULL:?} can pass (R7, R12); this is {protocol:?}"));
    }
    let unknown = |name: &&String| crate::scale::find(name).is_none();
    let unknown: BTreeSet<&str> = context.scales.iter().filter(unknown).map(|name| short(name)).collect();
    problems.extend(unknown.iter().take(SHOWN_FAULTS).map(|name| format!("unknown scale {name:?}")));
    let mut seeds = context.seeds.clone();
    seeds.sort_unstable();
    seeds.dedup();
    for field in [Field::Data, Field::Tokenizer, Field::Device, Field::Precision] {
        let all: BTreeSet<_> = context.expected.iter().map(|e| e.promised(field)).collect();
        if all.len() > 1 {
            problems.push(format!("the promise names {} different {}", all.len(), field.name()));
        }
    }
    for scale in SCALES.iter().map(|scale| scale.name) {
        let here = context.expected.iter().filter(|e| e.scale == scale);
        let recipes: BTreeSet<&str> = here.map(|e| e.recipe.as_str()).collect();
        if recipes.len() > 1 {
            problems.push(format!("the promise names {} different recipes at {scale}", recipes.len()));
        }
        let is_full = |recipe: &&str| FULL_RECIPES.contains(&(scale, *recipe));
        if context.protocol == FULL && !recipes.iter().all(is_full) {
            problems.push(format!("the promised recipe at {scale} is not that of {FULL:?} (R12)"));
        }
    }
    if seeds.len() > MOST_TRIALS {
        problems.push(format!("{} trials, of which only {MOST_TRIALS} are looked at", seeds.len()));
    }
    if context.protocol == FULL && seeds.len() < FULL_TRIALS {
        problems.push(format!("{} trials, where {FULL:?} needs {FULL_TRIALS} (R7)", seeds.len()));
    }
    problems
}

fn verdict(findings: &[Finding], problems: &[String]) -> Verdict {
    let mut required = findings.iter().filter(|f| f.weight == Weight::Required);
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
        assert_eq!(verdict(&good, &["a problem".to_owned()]), Verdict::Incomplete);
        assert_eq!(verdict(&[], &[]), Verdict::Incomplete);
        for i in 0..good.len() {
            for status in [Status::Unmet, Status::Unproven, Status::Outside] {
                let mut findings = good.clone();
                findings[i].status = status;
                let expected = match (findings[i].weight, status) {
                    (Weight::Informs | Weight::Part, _) => Verdict::Pass,
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
