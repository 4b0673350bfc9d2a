//! The numbers behind the findings, as tables: per scale, metric × condition × model, mean and
//! sample deviation over the trials. Only evidence that counts is shown.

use super::readouts::{Curves, readouts};
use super::table::Table;
use crate::evidence::{Canary, Condition, Direction, Ledger, Metric, RecallScore, RecallTest, Value};
use crate::gate::{Evidence, GPT2, GROUNDTHINK, Judgement};
use crate::statistics::{fit, mean, sd, t_interval};

const SIZES: &[Metric] = &[
    Metric::TotalParameters,
    Metric::EmbeddingParameters,
    Metric::PositionalParameters,
    Metric::NonEmbeddingParameters,
    Metric::ForwardFlopsPerToken,
    Metric::StateBytes,
];
const NONE: &str = "–";

/// Every table; those of times come last and are named "Time".
pub(super) fn tables(ledger: &Ledger, judgement: &Judgement) -> Vec<Table> {
    let evidence = Evidence::new(ledger);
    let models = models(&evidence);
    let scaled = |scale| Scaled { evidence: &evidence, models: &models, scale };
    let scales: Vec<Scaled<'_>> = evidence.scales().map(scaled).collect();
    let mut all = Vec::new();
    for at in &scales {
        all.push(at.listing("Models", |m| SIZES.contains(&m)));
        all.push(
            at.listing("Measurements", |m| !m.is_time() && !SIZES.contains(&m) && !is_recall_accuracy(m)),
        );
        all.extend(models.iter().map(|model| at.statefulness(model)));
    }
    all.extend(scales.iter().map(positioning));
    all.push(effective_parameters(&scales));
    all.push(claimed(&scales));
    let curves = Curves::of(ledger, &evidence);
    all.extend(readouts(&curves, judgement));
    all.push(time(&curves, &scales));
    all.retain(|t| !t.rows.is_empty());
    all
}

/// The models that the ledger speaks of: the two of the comparison first, then a few others.
pub(super) fn models<'a>(evidence: &Evidence<'a>) -> Vec<&'a str> {
    let of = |scale| evidence.asked(scale).into_iter().map(|(model, ..)| model);
    foremost(evidence.scales().flat_map(of).collect())
}

/// The two of the comparison first, then others by name, each once and no more than can be looked at.
pub(super) fn foremost(mut models: Vec<&str>) -> Vec<&str> {
    const MOST: usize = 8;
    models.sort_by_key(|&m| (m != GROUNDTHINK, m != GPT2, m));
    models.dedup();
    models.truncate(MOST);
    models
}

/// Every time in one table: it is the only part of a report that changes when nothing else does.
fn time(curves: &Curves<'_>, scales: &[Scaled<'_>]) -> Table {
    let mut table = Table { title: String::new(), head: Vec::new(), rows: Vec::new() };
    for at in scales {
        let mut here = at.listing("", Metric::is_time);
        if let Some(place) = curves.faster_from(at.scale) {
            let row = ["context from which on GroundThink is faster (tokens)", "trained", &place];
            here.rows.push(row.map(str::to_owned).to_vec());
            let width = here.head.len();
            here.rows.iter_mut().for_each(|row| row.resize(width, NONE.to_owned()));
        }
        here.head.insert(0, "scale".to_owned());
        here.rows.iter_mut().for_each(|row| row.insert(0, at.scale.to_owned()));
        table.head = here.head;
        table.rows.extend(here.rows);
    }
    table.title = "Time".to_owned();
    table
}

/// Ruling R8: how much larger or smaller a GPT-2, on the curve of our own baselines, would have
/// GroundThink's loss.
fn effective_parameters(scales: &[Scaled<'_>]) -> Table {
    let point = |at: &Scaled<'_>, model: &str| {
        let average = |metric| {
            let values = at.values(model, Condition::Trained, metric);
            (!values.is_empty()).then(|| mean(&values))
        };
        Some((average(Metric::NonEmbeddingParameters)?, average(Metric::ValidationLoss)?))
    };
    let baselines: Vec<_> = scales.iter().filter_map(|at| point(at, GPT2)).collect();
    let mut rows = Vec::new();
    let law = fit(&baselines);
    for at in scales {
        let (Some(law), Some((size, loss))) = (&law, point(at, GROUNDTHINK)) else {
            continue;
        };
        let effective = law.effective_parameters(loss).unwrap_or(f64::NAN);
        let numbers = [loss, size, effective.round(), effective / size];
        let cells = numbers.map(|x| Value::from(x).to_string());
        let interval = law.effective_parameters_interval(loss).map_or_else(
            || NONE.to_owned(),
            |ends| {
                let [low, high] = ends.map(|n| Value::from(n / size));
                format!("[{low}, {high}]")
            },
        );
        rows.push([at.scale.to_owned()].into_iter().chain(cells).chain([interval]).collect());
    }
    let [a, b, c] = law.as_ref().map_or([f64::NAN; 3], |law| [law.a, law.b, law.c]).map(Value::from);
    let floor = if law.is_some_and(|law| law.parameters == 3) { format!(" + {c}") } else { String::new() };
    let n = baselines.len();
    let head = [
        "scale",
        "loss",
        "non-embedding parameters",
        "effective parameters",
        "multiplier",
        "by the law's 95 % interval",
    ];
    Table {
        title: format!("Effective parameters (GPT-2 at {n} scales: loss = {a}·N^-{b}{floor})"),
        head: head.map(str::to_owned).to_vec(),
        rows,
    }
}

/// Ruling R21: the headline figures of the document's candidates for "our X or Y", the largest
/// proven advantage first. Proven is what the lower end of the paired 95 % interval of the ratio
/// shows; a ratio above 1 is better for GroundThink.
fn positioning(at: &Scaled<'_>) -> Table {
    const FIGURES: [(&str, Metric); 5] = [
        ("long context", Metric::UsefulContext),
        ("real-time inference", Metric::TokenLatency),
        ("edge deployment, peak memory", Metric::PeakBytes),
        ("edge deployment, state per conversation", Metric::StateBytes),
        ("state persistence", Metric::StatePersistence),
    ];
    let mut rows = Vec::new();
    for (what, metric) in FIGURES {
        let [candidate, baseline] =
            [GROUNDTHINK, GPT2].map(|m| at.evidence.values(at.scale, m, Condition::Trained, metric));
        let sign = if metric.direction() == Direction::Lower { -1.0 } else { 1.0 };
        let pairs = candidate.iter().filter_map(|(seed, x)| Some(sign * (x / baseline.get(seed)?).ln()));
        let gains: Vec<f64> = pairs.collect();
        if gains.is_empty() {
            continue;
        }
        // Something against nothing is an advantage without limit.
        let infinite = gains.iter().all(|g| *g == f64::INFINITY);
        let bound = t_interval(&gains).map_or(f64::NAN, |[low, _]| low.exp());
        let proven = if infinite && gains.len() > 1 { f64::INFINITY } else { bound };
        let cells = [GROUNDTHINK, GPT2].map(|m| at.cell(m, Condition::Trained, metric));
        let ratio = Value::from(mean(&gains).exp());
        let [our, their] = cells;
        let row = vec![what.to_owned(), metric.id().to_owned(), our, their, ratio.to_string()];
        // What is not proven at all comes last.
        let rank = if proven.is_nan() { f64::NEG_INFINITY } else { proven };
        rows.push((rank, [row, vec![Value::from(proven).to_string()]].concat()));
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let head = ["X or Y", "metric", GROUNDTHINK, GPT2, "advantage (ratio)", "proven"];
    Table {
        title: format!("Positioning, {}", at.scale),
        head: head.map(str::to_owned).to_vec(),
        rows: rows.into_iter().map(|(_, row)| row).collect(),
    }
}

/// Ruling R11: numbers that the plan states without a source, shown where the official model is
/// spoken of and never used as a limit.
fn claimed(scales: &[Scaled<'_>]) -> Table {
    const CLAIMED: [[&str; 3]; 4] = [
        ["GPT-2 Small, loss on OpenWebText", "2.2", "2.85 trained there, 3.11 to 3.12 zero-shot"],
        ["Pythia 70M, final loss", "2.85", "no published source; its hours are several times too low"],
        ["Pythia 160M, final loss", "2.70", "no published source; its hours are several times too low"],
        ["Pythia 410M, final loss", "2.45", "no published source; its hours are several times too low"],
    ];
    let shown = scales.iter().any(|at| at.scale == "125M");
    let rows = CLAIMED.iter().filter(|_| shown).map(|row| row.map(str::to_owned).to_vec());
    Table {
        title: "Claimed in the plan, not used (R11)".to_owned(),
        head: ["what", "claimed", "known"].map(str::to_owned).to_vec(),
        rows: rows.collect(),
    }
}

fn is_recall_accuracy(metric: Metric) -> bool {
    metric == Metric::StatefulnessScore
        || matches!(metric, Metric::Recall(_, score) if score.is_accuracy())
        || matches!(metric, Metric::Canary(_))
}

struct Scaled<'e> {
    evidence: &'e Evidence<'e>,
    models: &'e [&'e str],
    scale: &'e str,
}

impl Scaled<'_> {
    /// Rows of metric and condition, one column per model.
    fn listing(&self, title: &str, wanted: impl Fn(Metric) -> bool) -> Table {
        let models = self.models;
        let asked = self.evidence.asked(self.scale);
        let mut head = vec!["metric".to_owned(), "condition".to_owned()];
        head.extend(models.iter().map(|&m| m.to_owned()));
        let mut rows = Vec::new();
        for &metric in Metric::ALL.iter().filter(|&&m| wanted(m)) {
            for &condition in Condition::ALL {
                if !models.iter().any(|&model| asked.contains(&(model, condition, metric))) {
                    continue;
                }
                let cells: Vec<String> = models.iter().map(|m| self.cell(m, condition, metric)).collect();
                if cells.iter().any(|c| c != NONE) {
                    let names = [metric.id().to_owned(), condition.name().to_owned()];
                    rows.push(names.into_iter().chain(cells).collect());
                }
            }
        }
        Table { title: format!("{title}, {}", self.scale), head, rows }
    }

    /// Rows of tests, one column per condition, chance beside them (rulings R16 and R18).
    fn statefulness(&self, model: &str) -> Table {
        let mut rows = Vec::new();
        let score = ("statefulness_score".to_owned(), Metric::StatefulnessScore);
        let named = |test: &RecallTest, score: RecallScore| {
            let which = match score {
                RecallScore::WithRivals => ", with rivals",
                RecallScore::WithoutRivals => ", without rivals",
                _ => "",
            };
            (format!("{}{which}", test.name()), Metric::Recall(*test, score))
        };
        let tests = RecallTest::ALL.iter().flat_map(|test| {
            let accuracies = test.scores().iter().filter(|score| score.is_accuracy());
            accuracies.map(|score| named(test, *score)).collect::<Vec<_>>()
        });
        let canaries = Canary::ALL.iter().map(|c| (c.name().to_owned(), Metric::Canary(*c)));
        let all: Vec<(String, Metric)> = tests.chain([score]).chain(canaries).collect();
        // A control that was not asked has no column.
        let is_asked = |c: &&Condition| all.iter().any(|(_, metric)| self.cell(model, **c, *metric) != NONE);
        let conditions: Vec<Condition> = Condition::ALL.iter().filter(is_asked).copied().collect();
        for (name, metric) in all {
            let cells: Vec<String> = conditions.iter().map(|&c| self.cell(model, c, metric)).collect();
            if cells.iter().any(|c| c != NONE) {
                let chance = self.cell(model, Condition::Trained, Metric::StatefulnessChance);
                rows.push([name].into_iter().chain(cells).chain([chance]).collect());
            }
        }
        let conditions = conditions.iter().map(|c| c.name().to_owned());
        let head = ["accuracy".to_owned()].into_iter().chain(conditions).chain(["chance".to_owned()]);
        Table { title: format!("Statefulness of {model}, {}", self.scale), head: head.collect(), rows }
    }

    /// Mean and deviation over the trials, and how many there are if not all.
    fn cell(&self, model: &str, condition: Condition, metric: Metric) -> String {
        let values = self.values(model, condition, metric);
        if values.is_empty() {
            return NONE.to_owned();
        }
        let mut text = summary(metric, &values);
        let trials = self.evidence.seeds().len();
        if values.len() < trials {
            text += &format!(" ({} of {trials})", values.len());
        }
        text
    }

    /// What counts, trial by trial.
    fn values(&self, model: &str, condition: Condition, metric: Metric) -> Vec<f64> {
        self.evidence.values(self.scale, model, condition, metric).into_values().collect()
    }
}

fn summary(metric: Metric, values: &[f64]) -> String {
    // Ruling R5: perplexities are never averaged; this is the exponential of the mean loss.
    if metric == Metric::ValidationPerplexity {
        let losses: Vec<f64> = values.iter().map(|p| p.ln()).collect();
        return Value::from(mean(&losses).exp()).to_string();
    }
    let middle = Value::from(mean(values));
    // What rounding leaves of equal numbers is no scatter.
    match sd(values) {
        Some(sd) if sd > 1e-12 * mean(values).abs() => format!("{middle} ± {}", two_digits(sd)),
        _ => middle.to_string(),
    }
}

/// A deviation needs no more than two significant digits.
fn two_digits(x: f64) -> String {
    let short = format!("{x:.1e}");
    let exponent: Option<i32> = short.split_once('e').and_then(|(_, e)| e.parse().ok());
    match exponent {
        Some(e) if (-4..=4).contains(&e) => format!("{x:.0$}", usize::try_from(1 - e).unwrap_or(0)),
        _ => short,
    }
}

/// A change in per cent.
pub(super) fn change(before: f64, after: f64) -> String {
    let share = 100.0 * (after - before) / before.abs();
    if share.is_finite() { format!("{share:+.1} %") } else { NONE.to_owned() }
}
