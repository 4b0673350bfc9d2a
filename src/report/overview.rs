//! What the page says first: the seven lines of the V5 document at every scale, and every comparison with two models
//! against its limit.

use maud::{Markup, html};

use super::demands::demanded;
use super::shared::by_scale;
use super::summary;
use super::words::found;
use crate::evidence::Value;
use crate::gate::{Decisive, Estimate, Fact, Finding, Judgement, Role, Status, Threshold};

/// Width and height of a row of the forest plot, in its own units.
const WIDTH: f64 = 200.0;
const HEIGHT: f64 = 16.0;

/// The place on the page of what was found of a criterion at a scale.
pub(super) fn anchor(scale: &str, criterion: &str) -> String {
    format!("at-{scale}-{criterion}")
}

/// A status by glyph, colour and word.
pub(super) fn badge(status: Status) -> Markup {
    let glyph = match status {
        Status::Met => "✓",
        Status::Unmet => "✗",
        Status::Unproven => "?",
        Status::Outside => "–",
    };
    html! { span class={ "status " (status.name()) } { span aria-hidden="true" { (glyph) } " " (status.name()) } }
}

/// The seven lines by scale; each cell leads to its row.
pub(super) fn matrix(judgement: &Judgement) -> Markup {
    let summary::VerdictMatrix { scales, rows } = summary::matrix(judgement);
    let of_lines = |f: &&Finding| rows.iter().any(|row| row.id == f.criterion);
    let informs = |f: &&Finding| f.role == Role::Informational && f.status != Status::Outside;
    let mut informing: Vec<&str> =
        judgement.findings.iter().filter(of_lines).filter(informs).map(|f| f.scale).collect();
    informing.dedup();
    html! {
        section id="matrix" {
            h2 { "The seven lines of the V5 gate" }
            table.matrix {
                thead { tr { th scope="col" { "Line" } @for scale in &scales { th scope="col" { (scale) } } } }
                tbody {
                    @for row in &rows {
                        tr {
                            th scope="row" { code { (row.id) } " " (row.claim) }
                            @for (scale, status) in scales.iter().zip(&row.cells) {
                                td data-label=(scale) {
                                    a href={ "#" (anchor(scale, row.id)) } aria-label={ (row.id) " at " (scale) ": " (status.name()) } { (badge(*status)) }
                                }
                            }
                        }
                    }
                }
            }
            @if !informing.is_empty() {
                p.lead { "At " (informing.join(", ")) " the seven lines only inform; they do not decide the verdict." }
            }
        }
    }
}

/// Whether a finding compares the two models by a number that has a limit, and its number.
fn comparison(finding: &Finding) -> Option<&Estimate> {
    finding.facts.iter().find_map(|fact| match fact {
        Fact::Ratio { estimate, .. }
        | Fact::PerplexityRatio { estimate, .. }
        | Fact::PairedDifference { estimate, .. }
        | Fact::FallShare { estimate }
            if estimate.good.is_some() && estimate.value.raw().is_finite() =>
        {
            Some(estimate)
        }
        _ => None,
    })
}

/// Every comparison that decides at a scale; where none does, those that inform.
fn comparisons(findings: &[Finding]) -> Vec<(&Finding, &Estimate)> {
    let all = findings.iter().filter_map(|f| Some((f, comparison(f)?)));
    let deciding: Vec<_> = all.clone().filter(|(f, _)| f.role != Role::Informational).collect();
    if deciding.is_empty() { all.collect() } else { deciding }
}

/// The forest plot: every comparison with its interval against its limit, each on an axis of its own.
pub(super) fn forest(judgement: &Judgement) -> Markup {
    let scales: Vec<_> =
        by_scale(judgement).map(|s| (s, comparisons(s))).filter(|(_, rows)| !rows.is_empty()).collect();
    html! {
        @if !scales.is_empty() {
            section id="comparisons" {
                h2 { "GroundThink against GPT-2" }
                p.lead {
                    "Point: what was found; bar: its 95 % interval; upright line: the limit; shaded: what is good. Each row \
                     has an axis of its own; its claim leads to the details."
                }
                @for (i, (findings, rows)) in scales.iter().enumerate() {
                    (forest_of(findings.first().map_or("", |f| f.scale), rows, i == 0))
                }
            }
        }
    }
}

/// The comparisons of a scale, a line each.
fn forest_of(scale: &str, rows: &[(&Finding, &Estimate)], open: bool) -> Markup {
    html! {
        details open=[open.then_some("open")] {
            summary { h3 { "Scale " (scale) } " " span.soft { (rows.len()) " comparisons" } }
            table.forest {
                thead { tr { th scope="col" { "Comparison" } th scope="col" { "Against its limit" } th scope="col" { "Found" } th scope="col" { "Limit" } th scope="col" { "Status" } } }
                tbody {
                    @for (finding, estimate) in rows {
                        tr {
                            th scope="row" { a href={ "#" (anchor(finding.scale, finding.criterion)) } { (finding.claim) } }
                            td { (drawn(estimate)) }
                            td title=(found(finding)) { (numbers(estimate)) }
                            td.soft data-label="limit" title=(demanded(finding.rule)) { (estimate.good.map(limit).unwrap_or_default()) }
                            td { (badge(finding.status)) }
                        }
                    }
                }
            }
        }
    }
}

/// The number and its interval.
fn numbers(estimate: &Estimate) -> Markup {
    html! {
        strong { (estimate.value) }
        @if let Some([low, high]) = estimate.interval { " [" (low) ", " (high) "]" }
    }
}

/// What is good, in short.
fn limit(good: Threshold) -> String {
    match good {
        Threshold::AtLeast(least) => format!("≥ {}", Value::from(least)),
        Threshold::Above(least) => format!("> {}", Value::from(least)),
        Threshold::AtMost(most) => format!("≤ {}", Value::from(most)),
        Threshold::Below(most) => format!("< {}", Value::from(most)),
        Threshold::Within(least, most) => format!("{} to {}", Value::from(least), Value::from(most)),
    }
}

/// The ends of what is good.
fn good_range(good: Threshold) -> [f64; 2] {
    match good {
        Threshold::AtLeast(least) | Threshold::Above(least) => [least, f64::INFINITY],
        Threshold::AtMost(most) | Threshold::Below(most) => [f64::NEG_INFINITY, most],
        Threshold::Within(least, most) => [least, most],
    }
}

/// One row of the forest plot as a picture; the same numbers stand beside it as text.
fn drawn(estimate: &Estimate) -> Markup {
    let Some(good) = estimate.good.map(good_range) else { return html! {} };
    let value = estimate.value.raw();
    let ends = estimate.interval.map_or([value; 2], |ends| ends.map(Value::raw));
    let shown: Vec<f64> =
        [value, ends[0], ends[1], good[0], good[1]].into_iter().filter(|x| x.is_finite()).collect();
    let (low, high) =
        shown.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(*x), h.max(*x)));
    let room = 0.2 * (high - low).max(1e-9 * high.abs()).max(f64::MIN_POSITIVE);
    let (low, high) = (low - room, high + room);
    let at = |x: f64| ((x.clamp(low, high) - low) / (high - low) * WIDTH * 10.0).round() / 10.0;
    let middle = HEIGHT / 2.0;
    let limits = good.into_iter().filter(|x| x.is_finite());
    let decisive = estimate.decided_by != Decisive::Value;
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } width=(WIDTH) height=(HEIGHT) aria-hidden="true" {
            rect.good x=(at(good[0])) y="0" width=(at(good[1]) - at(good[0])) height=(HEIGHT) {}
            @for limit in limits { line.limit x1=(at(limit)) x2=(at(limit)) y1="0" y2=(HEIGHT) {} }
            @if estimate.interval.is_some() {
                line.interval.decides[decisive] x1=(at(ends[0])) x2=(at(ends[1])) y1=(middle) y2=(middle) {}
            }
            circle.point cx=(at(value)) cy=(middle) r="3.5" {}
        }
    }
}
