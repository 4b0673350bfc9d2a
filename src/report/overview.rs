//! What the page says first: the seven lines of the V5 document at every scale, and every comparison with two models
//! against its limit.

use maud::{Markup, html};

use super::by_scale;
use super::demands::demanded;
use super::words::found;
use crate::evidence::Value;
use crate::gate::{Decisive, Estimate, Fact, Finding, Judgement, Role, Status, Threshold};

/// The lines of the V5 document: five that a PASS needs, two that a FAIL follows from.
const LINES: [&str; 7] = ["PASS-1", "PASS-2", "PASS-3", "PASS-4", "PASS-5", "FAIL-1", "FAIL-2"];
/// Width and height of a row of the forest plot, in its own units.
const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 20.0;

/// The place of a finding on the page.
pub(super) fn anchor(finding: &Finding) -> String {
    format!("at-{}-{}", finding.scale, finding.criterion)
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
    let scales: Vec<&[Finding]> = by_scale(judgement).collect();
    let line = |findings: &[Finding], id: &str| findings.iter().find(|f| f.criterion == id).cloned();
    html! {
        section id="matrix" {
            h2 { "The seven lines of the V5 gate" }
            div.scroll tabindex="0" role="region" aria-label="The seven lines by scale" {
                table.matrix {
                    thead {
                        tr {
                            th scope="col" { "Line" }
                            @for findings in &scales { th scope="col" { (findings.first().map_or("", |f| f.scale)) } }
                        }
                    }
                    tbody {
                        @for id in LINES {
                            tr {
                                th scope="row" {
                                    code { (id) } " "
                                    (scales.iter().find_map(|s| line(s, id)).map_or("", |f| f.claim))
                                }
                                @for findings in &scales {
                                    td {
                                        @match line(findings, id) {
                                            Some(f) => a href={ "#" (anchor(&f)) } aria-label={ (id) " at " (f.scale) ": " (f.status.name()) } { (badge(f.status)) },
                                            None => span.soft { "not asked" },
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
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
                    "Each comparison on an axis of its own: the point is what was found, the bar its 95 % interval, the \
                     upright line the limit, the shaded side what is good."
                }
                @for (i, (findings, rows)) in scales.iter().enumerate() {
                    details open=[(i == 0).then_some("open")] {
                        summary { h3 { "Scale " (findings.first().map_or("", |f| f.scale)) } " " span.soft { (rows.len()) " comparisons" } }
                        div.scroll tabindex="0" role="region" aria-label="Comparisons" {
                            table.forest {
                                thead { tr { th scope="col" { "Comparison" } th scope="col" { "Found against its limit" } th scope="col" { "In numbers" } th scope="col" { "Status" } } }
                                tbody {
                                    @for (finding, estimate) in rows {
                                        tr {
                                            th scope="row" { a href={ "#" (anchor(finding)) } { (finding.claim) } }
                                            td { (drawn(estimate)) }
                                            td title=(found(finding)) { (numbers(estimate)) " " span.soft { (demanded(finding.rule)) } }
                                            td { (badge(finding.status)) }
                                        }
                                    }
                                }
                            }
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
        strong { (short(estimate.value)) }
        @if let Some([low, high]) = estimate.interval { " [" (short(low)) ", " (short(high)) "]" }
    }
}

/// Four significant digits.
fn short(value: Value) -> String {
    let x = value.raw();
    if !x.is_finite() {
        return value.to_string();
    }
    let digits = (3.0 - x.abs().max(1e-12).log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{x:.digits$}")
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
            circle.point cx=(at(value)) cy=(middle) r="4" {}
        }
    }
}
