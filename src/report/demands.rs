//! What the gate demands, in words: in a few for the reports, in a sentence for `v5gate explain`.

use crate::evidence::{Basis, Direction, Field, Value};
use crate::gate::{
    AgreementRule, CompositeRule, ContrastRule, Criterion, EXACT, Effect, HistoryRule, Identity, LawRule,
    MeanRule, ModelScope, PairedRule, ProvenanceRule, RatioThreshold, Rule, ScalingRule, SingleRule,
    Threshold, TrialRule, TrialsRule,
};

/// A row made of no more rows than this names them.
const NAMED: usize = 9;

/// The demand in a few words.
pub fn demanded(rule: Rule) -> String {
    match rule {
        Rule::Single(SingleRule::Trial(rule)) => of_trial(rule),
        Rule::Single(SingleRule::Mean(MeanRule::AtLeast(limit))) => format!("mean >= {limit}"),
        Rule::Single(SingleRule::Mean(MeanRule::Is(other))) => format!("mean = {}", other.id()),
        Rule::Single(SingleRule::Trials(TrialsRule::Steady(effect))) => {
            format!("2·√2·s <= {} of the mean", percent(effect))
        }
        Rule::Single(SingleRule::Trials(TrialsRule::Equivalent(share))) => {
            format!("equivalent within {} (two one-sided tests)", percent(share))
        }
        Rule::Single(SingleRule::Trials(TrialsRule::Scatters(share))) => {
            format!("deviation over trials >= {share:e} of the mean")
        }
        Rule::Single(SingleRule::Identity(identity)) => of_identity(identity),
        Rule::Paired(PairedRule::Trial(AgreementRule::SameItems)) => "as many items".to_owned(),
        Rule::Paired(PairedRule::Trial(AgreementRule::Matched(share))) if share <= 0.0 => "equal".to_owned(),
        Rule::Paired(PairedRule::Trial(AgreementRule::Matched(share))) => {
            format!("within {}", percent(share))
        }
        Rule::Paired(PairedRule::Trial(AgreementRule::RatioWithin(low, high))) => {
            format!("ratio in [{}, {}]", Value::from(low), Value::from(high))
        }
        Rule::Paired(PairedRule::Trials(rule)) => of_contrast(rule),
        Rule::Provenance(ProvenanceRule::Same(Field::Fed)) => "the same batches consumed".to_owned(),
        Rule::Provenance(ProvenanceRule::Same(field)) => match field.basis() {
            Basis::Observed => format!("same {}", field.name()),
            Basis::CheckedBy(row) => format!("same {} (stated; `{row}` looks)", field.name()),
            Basis::Declared => format!("same {} (declared alone)", field.name()),
        },
        Rule::Provenance(ProvenanceRule::Distinct(field)) => {
            format!("{} of its own in every trial", field.name())
        }
        Rule::Provenance(ProvenanceRule::OneSource(field)) => {
            format!("the same {} throughout each trial", field.name())
        }
        Rule::Scaling(ScalingRule::FallsLike(from, share)) => {
            format!("since {from}, >= {} of GPT-2's fall", percent(share))
        }
        Rule::Scaling(ScalingRule::Law(LawRule::Fits(r2))) => format!("R² > {r2} for both models"),
        Rule::Scaling(ScalingRule::Law(LawRule::Parallel(share))) => {
            format!("exponents within {}", percent(share))
        }
        Rule::Scaling(ScalingRule::Law(LawRule::Steeper)) => "exponent >= GPT-2's".to_owned(),
        Rule::Composite(rule) => of_parts(rule),
        Rule::History(HistoryRule::NotInARow(n, ids)) => {
            format!("no {n} iterations in a row that lack any of {}", ids.join(", "))
        }
    }
}

fn of_trial(rule: TrialRule) -> String {
    match rule {
        TrialRule::Holds => "yes".to_owned(),
        TrialRule::Finite => "a finite number".to_owned(),
        TrialRule::Value(Threshold::AtLeast(limit)) => format!(">= {limit}"),
        TrialRule::Value(Threshold::AtMost(limit)) => format!("<= {limit}"),
        TrialRule::Value(Threshold::Above(limit)) => format!("> {limit}"),
        TrialRule::Value(Threshold::Below(limit)) => format!("< {limit}"),
        TrialRule::Value(Threshold::Within(low, high)) => format!("in [{low}, {high}]"),
        TrialRule::LessThan(other) => format!("< {}", other.id()),
        TrialRule::AboveChance => "lower 95 % bound > 1/K".to_owned(),
        TrialRule::AtChance(within) if within <= EXACT => "exactly 1/K".to_owned(),
        TrialRule::AtChance(within) => format!("1/K ± {within}"),
        TrialRule::LowerAbove(limit) => format!("lower 95 % bound > {limit}"),
        TrialRule::UpperAtMost(limit) => format!("upper 95 % bound <= {}", Value::from(limit)),
    }
}

fn of_identity(identity: Identity) -> String {
    match identity {
        Identity::Exponential => "first = exp(second)".to_owned(),
        Identity::Sum => "first = sum of the others".to_owned(),
        Identity::Product(1) => "first = product of the others".to_owned(),
        Identity::Product(times) => format!("first = {times} × product of the others"),
        Identity::Inverse => "first = 1 ÷ product of the others".to_owned(),
        Identity::SmallerShare => "first = smaller of the others ÷ their sum".to_owned(),
        Identity::AtMost(more) if more <= 0.0 => "first <= second".to_owned(),
        Identity::AtMost(more) => format!("first <= second + {}", Value::from(more)),
    }
}

fn of_contrast(rule: ContrastRule) -> String {
    match rule {
        ContrastRule::Ratio(RatioThreshold::RatioAtMost(limit)) => {
            format!("ratio of means <= {}", Value::from(limit))
        }
        ContrastRule::Ratio(RatioThreshold::RatioAtLeast(limit)) => {
            format!("ratio of means >= {}", Value::from(limit))
        }
        ContrastRule::Ratio(RatioThreshold::RatioBelow(limit)) => {
            format!("ratio of means < {}", Value::from(limit))
        }
        ContrastRule::Ratio(RatioThreshold::RatioAbove(limit)) => {
            format!("ratio of means > {}", Value::from(limit))
        }
        ContrastRule::NonInferior(limit) => {
            let sign = if limit > 1.0 { "<=" } else { "<" };
            format!("95 % bound of perplexity ratio {sign} {limit}")
        }
        ContrastRule::SignificantlyBetter(effect) => {
            format!("better beyond trials' scatter and {}", least(effect))
        }
        ContrastRule::NotSignificantlyWorse(effect) => {
            format!("not worse beyond both trials' scatter and {}", least(effect))
        }
        ContrastRule::MeasurablyBetter => "95 % interval of the advantage > 0".to_owned(),
        ContrastRule::NotMeasurablyWorse => "95 % interval of the advantage not < 0".to_owned(),
        ContrastRule::EitherAboveChance => "one model's 95 % interval > 1/K".to_owned(),
    }
}

fn of_parts(rule: CompositeRule) -> String {
    match rule {
        CompositeRule::All(ids) if ids.len() > NAMED => {
            format!("all met of the {} rows that `v5gate explain` names", ids.len())
        }
        CompositeRule::All(ids) => format!("all met of {}", ids.join(", ")),
        CompositeRule::AtLeastOf(n, ids) => format!("at least {n} met of {}", ids.join(", ")),
    }
}

/// The least difference that counts.
fn least(effect: Effect) -> String {
    match effect {
        Effect::Absolute(least) => format!("by > {least}"),
        Effect::Perplexity(share) => format!("perplexity by > {} %", 100.0 * share),
        Effect::Relative(share) => format!("by > {} %", 100.0 * share),
    }
}

fn percent(share: f64) -> String {
    format!("{} %", Value::from(100.0 * share))
}

/// What would meet a criterion, in a sentence.
pub(super) fn meaning(c: &Criterion) -> String {
    let demanded = demanded(c.rule);
    let better = match c.metrics.first().map(|m| m.direction()) {
        Some(Direction::Lower) => "lower is better",
        Some(Direction::Higher) => "higher is better",
        Some(Direction::Neither) | None => "neither direction is better by itself",
    };
    match c.rule {
        Rule::Single(_) => {
            format!("{demanded}, in every trial; what is not finite is unmet, what is missing unproven")
        }
        Rule::Paired(PairedRule::Trial(_)) => {
            format!("in every trial the models' values agree: {demanded}")
        }
        Rule::Paired(PairedRule::Trials(rule)) => match rule {
            ContrastRule::SignificantlyBetter(_) | ContrastRule::NotSignificantlyWorse(_) => format!(
                "{demanded} (|mean₁ − mean₂| > 2·√(s₁² + s₂²) over paired trials, and the least effect of ruling R7; {better})"
            ),
            ContrastRule::Ratio(_) | ContrastRule::NonInferior(_) | ContrastRule::EitherAboveChance => {
                format!("{demanded}, over all paired trials ({better})")
            }
            ContrastRule::MeasurablyBetter | ContrastRule::NotMeasurablyWorse => {
                format!("{demanded}, over all paired trials ({better})")
            }
        },
        Rule::Provenance(ProvenanceRule::Same(_)) => {
            format!("{demanded} on record for both models in every trial")
        }
        Rule::Provenance(ProvenanceRule::Distinct(_) | ProvenanceRule::OneSource(_)) => demanded,
        Rule::Scaling(_) => format!("{demanded}, on the means over all trials"),
        Rule::Composite(_) => format!("{demanded}; rows that are not asked at a scale are left out"),
        Rule::History(_) => {
            format!("{demanded}, by the rulings that the ledger keeps and the present findings")
        }
    }
}

/// Which models a criterion asks.
pub(super) fn whom(c: &Criterion) -> &'static str {
    match c.scope {
        ModelScope::Pair => "of both models, one against the other",
        ModelScope::Each => "of each model",
        ModelScope::GroundThink => "of GroundThink",
        ModelScope::Gpt2 => "of GPT-2",
    }
}
