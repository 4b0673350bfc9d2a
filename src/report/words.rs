//! What the gate found and misses, in words; `demands` has the words of what it demands. Every report
//! takes its words from here, so that the terminal, the page and the document say the same.

use super::shared::elide;
use crate::evidence::{Field, SCHEMA, Value};
use crate::gate::{
    Attempt, Decisive, Effect, Estimate, FULL, FULL_SEED, FULL_TRIALS, Fact, Finding, FittedLaw, GPT2,
    GROUNDTHINK, Gap, Judgement, MOST_ATTEMPTS, MOST_TRIALS, Missing, ModelTrial, Problem, Spread, Threshold,
    Verdict,
};

/// The numbers of a finding in short; empty when there are none.
pub fn found(finding: &Finding) -> String {
    finding.facts.iter().map(fact).collect::<Vec<_>>().join("; ")
}

/// What is missing, when something is.
pub fn lacking(finding: &Finding) -> Option<String> {
    let missing = finding.missing.as_ref()?;
    let more = if missing.more == 0 { String::new() } else { format!(" (and {} more)", missing.more) };
    Some(gap(&missing.first) + &more)
}

/// What was found, and what is lacking.
pub(super) fn render(finding: &Finding) -> String {
    let found = found(finding);
    match (lacking(finding), found.is_empty()) {
        (None, _) => found,
        (Some(lacking), true) => format!("unproven: {lacking}"),
        (Some(lacking), false) => format!("{found}; {lacking}"),
    }
}

/// One thing that was found.
fn fact(fact: &Fact) -> String {
    match fact {
        Fact::Values { model, range: ends, bounds, against, worst } => {
            format!("{model} {}{}", range(*ends), beside(*bounds, *against, worst.as_ref()))
        }
        Fact::Mean { model, seed, estimate: e } => format!("{model} seed {seed} mean {}", e.value),
        Fact::Identity { model, metric, estimate: e } => {
            format!("{model} {} {}, by its parts {}", metric.id(), e.value, limit(e))
        }
        Fact::Scatter { model, metric, estimate: e } => {
            format!("{model} {} scatters by {}", metric.id(), e.value)
        }
        Fact::Equivalence { estimate: e, .. } => format!("ratio {}, 90 % interval {}", e.value, interval(e)),
        Fact::TrialRatios { candidate, baseline, range: ends, .. } => {
            format!("{candidate} against {baseline}, ratio {}", range(*ends))
        }
        Fact::Means { candidate, baseline, .. } => {
            format!("{} against {}", spread(candidate), spread(baseline))
        }
        Fact::Ratio { estimate: e, .. } => format!("ratio {}", e.value),
        Fact::PerplexityRatio { estimate: e, .. } => {
            let exceeds = if exceeds(e) { ", exceeds" } else { "" };
            format!("perplexity ratio {} {}{exceeds}", e.value, interval(e))
        }
        Fact::PairedDifference { trials, detectable, estimate: e, .. } => {
            let least = detectable.unwrap_or(Value::from(f64::NAN));
            format!("paired advantage {} {}, {trials} trials could detect {least}", e.value, interval(e))
        }
        Fact::Separation { estimate: e, .. } => {
            format!("means differ by {}, scatter 2·√(s₁²+s₂²) = {}", e.value, limit(e))
        }
        Fact::PracticalEffect { effect, estimate, .. } => practical_effect(*effect, estimate),
        Fact::TrialsNeeded { trials, effect, .. } => format!("{trials} trials would see {effect}"),
        Fact::AboveChance { model, estimate: e } => {
            format!("{model} above chance by {} {}", e.value, interval(e))
        }
        Fact::Sources { seed, candidate, baseline, same, .. } => sources(*seed, candidate, baseline, *same),
        Fact::DistinctSources { count, .. } => format!("{count} different"),
        Fact::SharedSource { field, name, owners } => {
            let owners: Vec<String> = owners.iter().map(trial).collect();
            format!("{} {} of {}", field.name(), short(name), owners.join(" and "))
        }
        Fact::MixedSources { trial: of, names, .. } => format!("{}: {}", trial(of), listed(names)),
        Fact::UniformSources { field } => format!("the same {} throughout each trial", field.name()),
        Fact::Fall { model, from, to, before, after } => {
            format!("{model} from {before} at {from} to {after} at {to}")
        }
        Fact::FallShare { estimate: e } => format!("{} of GPT-2's fall", e.value),
        Fact::ScalingLaw { model, law: fitted, .. } => format!("{model} {}", law_text(fitted)),
        Fact::Parts { asked, met, unmet, unproven, .. } => parts(*asked, *met, unmet, unproven),
        Fact::Iterations { earlier, lacking, unmet, reached, .. } => {
            iterations(*earlier, *lacking, unmet, *reached)
        }
    }
}

/// What values are held beside: the ends of their intervals, and other numbers.
fn beside(bounds: Option<[Value; 2]>, against: Option<[Value; 2]>, worst: Option<&Estimate>) -> String {
    let upper = worst.is_some_and(|w| w.decided_by == Decisive::UpperEnd);
    let which = if upper { "upper" } else { "lower" };
    let bounds = bounds.map_or_else(String::new, |ends| format!(", {which} bound {}", range(ends)));
    let against = against.map_or_else(String::new, |ends| format!(" against {}", range(ends)));
    bounds + &against
}

/// Whether GroundThink's perplexity is provably below GPT-2's.
fn exceeds(ratio: &Estimate) -> bool {
    ratio.interval.is_some_and(|[_, worst]| worst.raw() < 1.0)
}

/// The practical half of ruling R7.
fn practical_effect(effect: Effect, e: &Estimate) -> String {
    let (which, least) = match e.good {
        Some(Threshold::AtMost(most)) => ("worse", most),
        Some(Threshold::Above(limit) | Threshold::AtLeast(limit) | Threshold::Below(limit)) => {
            ("better", limit)
        }
        Some(Threshold::Within(..)) | None => ("better", f64::NAN),
    };
    let of = if matches!(effect, Effect::Perplexity(_)) { "perplexity " } else { "" };
    let (amount, least) = match effect {
        Effect::Absolute(_) => (e.value.to_string(), least.to_string()),
        Effect::Perplexity(_) | Effect::Relative(_) => (percent(e.value.raw()), percent(least)),
    };
    if e.value.raw() <= 0.0 {
        format!("{of}no {which}, where {least} counts")
    } else {
        format!("{of}{which} by {amount}, where {least} counts")
    }
}

/// What both models' evidence names.
fn sources(seed: u64, candidate: &[String], baseline: &[String], same: bool) -> String {
    let [candidate, baseline] = [candidate, baseline].map(listed);
    if same {
        format!("{candidate} in both (seed {seed})")
    } else {
        format!("seed {seed}: {GROUNDTHINK} {candidate}, {GPT2} {baseline}")
    }
}

/// The rows that a row is made of.
fn parts(asked: usize, met: usize, unmet: &[&str], unproven: &[&str]) -> String {
    let mut text = format!("{met} of {asked} met");
    for (ids, word) in [(unmet, "unmet"), (unproven, "unproven")] {
        if !ids.is_empty() {
            text += &format!("; {word}: {}", ids.join(", "));
        }
    }
    text
}

fn iterations(earlier: usize, lacking: usize, unmet: &[&str], reached: bool) -> String {
    let mut text = format!("{earlier} earlier iterations, the last {lacking} of them lacking");
    if !unmet.is_empty() {
        text += &format!("; this one lacks {}", unmet.join(", "));
    }
    text + if reached { "; reconsider the architecture" } else { "" }
}

/// A fitted law as a formula.
pub(super) fn law_text(law: &FittedLaw) -> String {
    let FittedLaw { a, b, c, b_interval, r_squared } = law;
    let ends = b_interval.map_or_else(String::new, |[low, high]| format!(" [{low}, {high}]"));
    let offset = c.map_or_else(String::new, |c| format!(" + {c}"));
    format!("L = {a}·N^-b{offset}, b = {b}{ends}, R² {r_squared}")
}

fn spread(spread: &Spread) -> String {
    let sd = spread.sd.map_or_else(String::new, |sd| format!(" ± {sd}"));
    format!("{}{sd}", spread.mean)
}

/// The smallest and the largest of several, once where they read alike.
pub(super) fn range([low, high]: [Value; 2]) -> String {
    let [low, high] = [low, high].map(|x| x.to_string());
    if low == high { low } else { format!("{low} to {high}") }
}

/// The ends of its interval; of nothing where it has none.
pub(super) fn interval(e: &Estimate) -> String {
    let [low, high] = e.interval.unwrap_or([f64::NAN; 2].map(Value::from));
    format!("[{low}, {high}]")
}

/// What an estimate is held against.
fn limit(e: &Estimate) -> String {
    match e.good {
        Some(Threshold::Within(low, high)) => format!("[{}, {}]", Value::from(low), Value::from(high)),
        Some(Threshold::AtLeast(x) | Threshold::AtMost(x) | Threshold::Above(x) | Threshold::Below(x)) => {
            Value::from(x).to_string()
        }
        None => Value::from(f64::NAN).to_string(),
    }
}

fn percent(share: f64) -> String {
    format!("{} %", Value::from(100.0 * share))
}

fn trial(of: &ModelTrial) -> String {
    let scale = of.scale.map_or_else(String::new, |scale| format!(" at {scale}"));
    format!("{} seed {}{scale}", of.model, of.seed)
}

fn listed(names: &[String]) -> String {
    let names: Vec<&str> = names.iter().map(|name| short(name)).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(" and ") }
}

/// The first characters of a digest; names in full, unless they are of unreasonable length.
fn short(name: &str) -> &str {
    const DIGEST: usize = 12;
    const NAME: usize = 40;
    let digest = name.len() > 2 * DIGEST && name.bytes().all(|b| b.is_ascii_hexdigit());
    let most = if digest { DIGEST } else { NAME };
    match name.char_indices().nth(most) {
        Some((end, _)) => &name[..end],
        None if name.is_empty() => "nothing",
        None => name,
    }
}

/// One thing that is missing.
fn gap(gap: &Gap) -> String {
    match gap {
        Gap::Measurement { trial: ModelTrial { model, seed, scale }, condition, metric, reason } => {
            let scale = scale.map_or_else(String::new, |scale| format!(" at {scale}"));
            let (condition, metric) = (condition.name(), metric.id());
            format!("{model} ({condition}){scale} seed {seed} {metric}: {}", why_missing(reason))
        }
        Gap::Interval { trial: of, metric } => {
            format!("{} {}: no 95 % interval", trial(of), metric.id())
        }
        Gap::ContainingInterval { trial: of, metric } => {
            format!(
                "{} {}: its interval does not contain it, or ends where it cannot be",
                trial(of),
                metric.id()
            )
        }
        Gap::Items { trial: of, metric } => {
            format!("{} {}: over how many items is not on record", trial(of), metric.id())
        }
        Gap::Scatter { model, metric } => {
            format!("{model} {}: the trials do not differ, as copies do not (R25)", metric.id())
        }
        Gap::CleanBenchmark { trial: of, metric, share } => {
            let share = share.map_or_else(|| "unknown".to_owned(), |x| percent(x.raw()));
            format!("{} {}: training text contains {share} of the benchmark (R26)", trial(of), metric.id())
        }
        Gap::Trials { model, metric, trials, least } => {
            let model = model.map_or_else(String::new, |model| format!("{model} {}: ", metric.id()));
            format!("{model}{trials} trials of at least {least}")
        }
        Gap::SourcesOfBoth { seed, metric, field } => {
            let (metric, field) = (metric.id(), field.name());
            format!("seed {seed} {metric}: the {field} of both models, as in the manifest, is not on record")
        }
        Gap::SourceOf { trial: of, metric, field } => {
            format!("{} {}: its {} is not on record", trial(of), metric.id(), field.name())
        }
        Gap::FiniteTrials { model } => format!("{model}: a trial diverged"),
        Gap::Law { model } => format!("{model}: no law goes through its losses"),
        Gap::PresentIteration => "what this iteration shows is not proven".to_owned(),
    }
}

fn why_missing(reason: &Missing<String>) -> String {
    match reason {
        Missing::NotMeasured => "missing".to_owned(),
        Missing::NoItems => "a mean over no items".to_owned(),
        Missing::NotInManifest => "the manifest names no single recipe for it".to_owned(),
        Missing::Elsewhere { field, expected, got } => {
            let (expected, got) = (short(expected), short(got));
            let field = field.name();
            format!("evidence exists but from another {field} (expected {expected}, got {got})")
        }
        Missing::Contradictory => "contradictory: measured twice, differently".to_owned(),
    }
}

/// Which attempt this is, and what became of each earlier one, in a sentence each (ruling R24); nothing where there is
/// none to tell of.
pub(super) fn attempts(judgement: &Judgement) -> Vec<String> {
    let passed = judgement.verdict == Verdict::Pass;
    let mut told = Vec::new();
    if passed || !judgement.attempts.is_empty() {
        told.push(format!("this is attempt {} under its protocol's name", judgement.attempt));
    }
    told.extend(judgement.attempts.iter().map(attempt));
    told
}

fn attempt(of: &Attempt) -> String {
    let manifests: Vec<String> = of.manifests.iter().map(u64::to_string).collect();
    let fields: Vec<&str> = of.differs.iter().map(|field| field.name()).collect();
    let other =
        if fields.is_empty() { String::new() } else { format!(", with another {}", fields.join(", ")) };
    let rows: Vec<String> = of.unmet_rows.iter().map(|(id, scale)| format!("{id} at {scale}")).collect();
    let more = of.unmet - rows.len();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let rows = if rows.is_empty() { String::new() } else { format!(" ({}{more})", rows.join(", ")) };
    format!(
        "earlier attempt {} under the name {:?} (manifest {}){other}: {}; required: {} met, {} unmet{rows}, {} unproven",
        of.number,
        short(&of.protocol),
        elide(&manifests),
        of.verdict.name(),
        of.met,
        of.unmet,
        of.unproven
    )
}

/// What keeps a ledger as a whole from passing.
pub fn problem(problem: &Problem) -> String {
    match problem {
        Problem::Fault(fault) => fault.clone(),
        Problem::MoreFaults(count) => format!("{count} more lines are not understood"),
        Problem::Broken(what) => format!("the ledger was changed by hand, {what}"),
        Problem::MoreBroken(count) => format!("{count} more lines do not follow from the line before"),
        Problem::NoManifest => "the ledger has no manifest: nothing says what was to be collected".to_owned(),
        Problem::TwoManifests(number) => format!("two different manifests have the number {number}"),
        Problem::OtherSchema(schema) => format!("the manifest has schema {schema}, expected {SCHEMA}"),
        Problem::OtherProtocol(name) => {
            format!("only the protocol {FULL:?} can pass (R7, R12); this is {name:?}")
        }
        Problem::UnknownScale(name) => format!("unknown scale {:?}", short(name)),
        Problem::Several { field, scale, count } => {
            let at = scale.map_or_else(String::new, |scale| format!(" at {scale}"));
            let names = if *field == Field::Recipe { "recipes" } else { field.name() };
            format!("the manifest names {count} different {names}{at}")
        }
        Problem::OtherRecipe(scale) => {
            format!("the recipe of the manifest at {scale} is not that of {FULL:?} (R12)")
        }
        Problem::TooManyTrials(count) => format!("{count} trials, of which {MOST_TRIALS} are looked at"),
        Problem::TooFewTrials(count) => format!("{count} trials, where {FULL:?} needs {FULL_TRIALS} (R7)"),
        Problem::OtherTrial(seed) => {
            format!("trial {seed}, where the trials of {FULL:?} are {FULL_SEED} and those that follow (R25)")
        }
        Problem::LeftOut(seeds) => {
            let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
            format!("trials measured and left out of the manifest: {}", seeds.join(", "))
        }
        Problem::Shrunk(gone) => {
            let scales = gone.scales.iter().map(|name| short(name).to_owned());
            let trials = gone.seeds.iter().map(|seed| format!("trial {seed}"));
            let gone = elide(&scales.chain(trials).collect::<Vec<_>>());
            format!(
                "the latest manifest leaves out what an earlier one promised, which stays promised (R24): {gone}"
            )
        }
        Problem::Contradictions(count) => {
            format!("{count} questions have contradicting answers, of which the worst counts (R24)")
        }
        Problem::ContradictingCurves(count) => {
            format!("{count} curves are there in several forms, and none of these is shown (R24)")
        }
        Problem::Unpromised(count) => {
            format!("{count} measurements belong to no manifest of the ledger (R24)")
        }
        Problem::TooManyAttempts(count) => {
            format!("{count} earlier attempts, of which only the latest {MOST_ATTEMPTS} are told (R24)")
        }
        Problem::Unaudited(count) => {
            format!(
                "unaudited: {count} of the trials have no run beside the ledger that could be audited (R23)"
            )
        }
        Problem::OtherProgram => {
            "the evidence is of another revision than the program that judges it (R22)".to_owned()
        }
    }
}
