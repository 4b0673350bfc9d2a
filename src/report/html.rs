//! The report as one HTML page that needs nothing else: no network, no fonts, no scripts. Text is
//! escaped by the template library; only the drawn plots and the style sheet go in as they are.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::demands::demanded;
use super::plots::{Figure, figures};
use super::tables::{Table, tables};
use super::words::{lacking, problem, render};
use super::{by_group, by_scale, escape_controls, is_outside, is_unmeasured_info, not_met, tally};
use crate::evidence::Ledger;
use crate::gate::{Finding, Judgement, Role, Status, Verdict, cited};

const STYLE: &str = include_str!("report.css");
/// Nothing is loaded and nothing is run, whatever a name contains.
const POLICY: &str = "script-src 'none'; connect-src 'none'; img-src 'none'; font-src 'none'; media-src 'none'; \
     object-src 'none'; frame-src 'none'; base-uri 'none'; form-action 'none'";
/// As much of a digest as is shown.
const DIGEST: usize = 12;
/// The order in which counts are told.
const STATUSES: [Status; 4] = [Status::Met, Status::Unmet, Status::Unproven, Status::Outside];

/// The report as a page.
pub fn html(ledger: &Ledger, judgement: &Judgement) -> String {
    let (time_figures, figures): (Vec<_>, Vec<_>) = figures(ledger).into_iter().partition(|f| f.time);
    let (times, numbers): (Vec<_>, Vec<_>) = tables(ledger).into_iter().partition(|t| t.title == "Time");
    let verdict = judgement.verdict.name();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { "V5 gate: " (verdict) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (header(ledger, judgement))
                (contents(judgement, !figures.is_empty(), !numbers.is_empty(), !times.is_empty() || !time_figures.is_empty()))
                main {
                    (reasons(judgement))
                    @for (i, findings) in by_scale(judgement).enumerate() {
                        (scale(i, findings))
                    }
                    @if !figures.is_empty() {
                        section id="plots" {
                            h2 { "Plots" }
                            @for of_one in figures.chunk_by(|a, b| a.scale == b.scale) {
                                (gallery(of_one))
                            }
                        }
                    }
                    @if !numbers.is_empty() {
                        section id="numbers" {
                            h2 { "Numbers" }
                            p.lead { "Mean ± sample deviation over the trials; only evidence that counts." }
                            @for table in &numbers { (numbers_of(table)) }
                        }
                    }
                    @if !times.is_empty() || !time_figures.is_empty() {
                        section id="time" {
                            h2 { "Time" }
                            p.lead { "The only part of this page that differs from one run of the same code to the next." }
                            @for of_one in time_figures.chunk_by(|a, b| a.scale == b.scale) {
                                (gallery(of_one))
                            }
                            @for table in &times { (numbers_of(table)) }
                        }
                    }
                }
                footer {
                    p { "Verdict: " strong { (verdict) } " (exit code " (judgement.verdict.exit_code()) ")." }
                    p { "The same findings with every number, unrounded: " code { "report.json" } "." }
                }
            }
        }
    };
    escape_controls(&page.into_string())
}

fn header(ledger: &Ledger, judgement: &Judgement) -> Markup {
    let (class, glyph, sentence) = match judgement.verdict {
        Verdict::Pass => {
            ("met", "✓", "Everything required is met at every gated scale: the architecture may be released.")
        }
        Verdict::Fail => ("unmet", "✗", "Something required is unmet: the architecture may not be released."),
        Verdict::Incomplete if judgement.own_criteria_met() => (
            "unproven",
            "?",
            "Everything that this protocol asks is met, but it does not ask for all that is required.",
        ),
        Verdict::Incomplete => {
            ("unproven", "?", "Nothing required is unmet, but something required is not proven.")
        }
    };
    let count = |status| judgement.count(Role::Required, status);
    html! {
        header class=(class) {
            p.kicker { "V5 gate" }
            h1 { span.glyph aria-hidden="true" { (glyph) } " " (judgement.verdict.name()) }
            p.sentence { (sentence) }
            div.bar role="img" aria-label=(tally(judgement)) {
                @for status in STATUSES {
                    @if count(status) > 0 {
                        span class=(status.name()) style={ "flex-grow:" (count(status)) } {}
                    }
                }
            }
            ul.tally aria-label="Required criteria" {
                li.soft { "Required criteria:" }
                @for status in STATUSES {
                    li { (badge(status)) " " strong { (count(status)) } }
                }
            }
            (about(ledger))
        }
    }
}

fn about(ledger: &Ledger) -> Markup {
    let Some(context) = ledger.context() else {
        return html! {};
    };
    let revision: String = context.revision.chars().take(DIGEST).collect();
    let lines = [
        ("Protocol", context.protocol.as_str()),
        ("Models", &super::elide(&context.models)),
        ("Scales", &super::elide(&context.scales)),
        ("Trials", &super::elide(&context.seeds)),
    ];
    html! {
        dl.about {
            @for (name, value) in lines { div { dt { (name) } dd { (value) } } }
            div { dt { "Revision" } dd title=(context.revision) { code { (revision) } } }
        }
    }
}

fn contents(judgement: &Judgement, plots: bool, numbers: bool, time: bool) -> Markup {
    let open = not_met(judgement).len();
    html! {
        nav aria-label="Contents" {
            ul {
                li { a href="#reasons" { "Reasons" @if open > 0 { " " span.count { (open) } } } }
                @for (i, findings) in by_scale(judgement).enumerate() {
                    @if let Some(first) = findings.first() {
                        li { a href={ "#scale-" (i) } { "Scale " (first.scale) @if is_outside(findings) { " " span.count { "outside" } } } }
                    }
                }
                @if plots { li { a href="#plots" { "Plots" } } }
                @if numbers { li { a href="#numbers" { "Numbers" } } }
                @if time { li { a href="#time" { "Time" } } }
            }
        }
    }
}

/// A status by glyph, colour and word.
fn badge(status: Status) -> Markup {
    let glyph = match status {
        Status::Met => "✓",
        Status::Unmet => "✗",
        Status::Unproven => "?",
        Status::Outside => "–",
    };
    html! { span class={ "status " (status.name()) } { span aria-hidden="true" { (glyph) } " " (status.name()) } }
}

/// Why the verdict is what it is.
fn reasons(judgement: &Judgement) -> Markup {
    let list: Vec<Finding> = not_met(judgement).into_iter().cloned().collect();
    let outside = judgement.count(Role::Required, Status::Outside);
    html! {
        section id="reasons" {
            h2 { "Reasons" }
            @if !judgement.problems.is_empty() {
                ul.problems { @for p in &judgement.problems { li { (problem(p)) } } }
            }
            @if outside > 0 {
                p.lead { (outside) " required criteria are outside this protocol: it does not ask." }
            }
            @if list.is_empty() {
                p.lead { "Of what is required and asked, nothing is unmet or unproven." }
            }
            @for of_one in list.chunk_by(|a, b| a.status == b.status) {
                @if let Some(first) = of_one.first() {
                    h3 { "Required and " (first.status.name()) " (" (of_one.len()) ")" }
                    @for here in of_one.chunk_by(|a, b| a.scale == b.scale) {
                        (findings_of(here, true))
                    }
                }
            }
        }
    }
}

fn scale(i: usize, findings: &[Finding]) -> Markup {
    let Some(first) = findings.first() else {
        return html! {};
    };
    let count = |status, required| {
        let same = |f: &&Finding| f.status == status && (f.role == Role::Required) == required;
        findings.iter().filter(same).count()
    };
    html! {
        section id={ "scale-" (i) } {
            h2 { "Scale " (first.scale) }
            @if is_outside(findings) {
                details {
                    summary { "Outside this protocol: " (findings.len()) " criteria are not asked" }
                    div.scroll {
                        ul.claims {
                            @for group in by_group(findings) {
                                @for f in group { li { (f.claim) " " code { (f.criterion) } (informs(f)) } }
                            }
                        }
                    }
                }
            } @else {
                details open="open" {
                    summary {
                        "Findings "
                        @for (word, required) in [("Required:", true), ("Not required:", false)] {
                            @if STATUSES.iter().any(|&status| count(status, required) > 0) {
                                span.tally.informing[!required] {
                                    (word) " "
                                    @for status in STATUSES {
                                        @if count(status, required) > 0 { span { (badge(status)) " " (count(status, required)) " " } }
                                    }
                                }
                            }
                        }
                    }
                    (findings_of(findings, false))
                }
            }
        }
    }
}

fn informs(f: &Finding) -> Markup {
    html! { @if f.role != Role::Required { " " span.informs { (f.role.name()) } } }
}

/// What was found; where that is nothing, what is lacking: that it is unproven is said beside it.
fn said(f: &Finding) -> String {
    if f.facts.is_empty() { lacking(f).unwrap_or_default() } else { render(f) }
}

/// Findings of one scale as a table, group by group.
fn findings_of(findings: &[Finding], with_scale: bool) -> Markup {
    html! {
        div.scroll {
            table.findings {
                thead { tr { th { "Status" } th { "Claim" } th { "Found" } th { "Demanded" } th { "Why" } } }
                @for group in by_group(findings) {
                    tbody {
                        @if let Some(first) = group.first() {
                            tr.group { th colspan="5" scope="rowgroup" { @if with_scale { "Scale " (first.scale) " · " } (first.group) } }
                        }
                        @for f in group.iter().filter(|f| !is_unmeasured_info(f)) {
                            tr class=[(f.role != Role::Required).then_some("informing")] {
                                td.is { (badge(f.status)) (informs(f)) }
                                td.claim { (f.claim) " " code { (f.criterion) } }
                                td data-label="Found" { (said(f)) }
                                td data-label="Demanded" { (demanded(f.rule)) }
                                td.why data-label="Why" { (f.why) " " span.source { (cited(f.source)) } }
                            }
                        }
                        @if let Some(first) = group.iter().find(|f| is_unmeasured_info(f)) {
                            tr.informing {
                                td.is { (badge(first.status)) (informs(first)) }
                                td.aside colspan="4" {
                                    "Not measured: "
                                    @for (i, f) in group.iter().filter(|f| is_unmeasured_info(f)).enumerate() {
                                        @if i > 0 { "; " }
                                        (f.claim) " " code { (f.criterion) }
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

/// The plots of one scale.
fn gallery(figures: &[Figure]) -> Markup {
    let scale = figures.first().and_then(|f| f.scale.as_deref());
    html! {
        h3 { @match scale { Some(scale) => { "Scale " (scale) }, None => "Across scales" } }
        div.gallery {
            @for f in figures {
                figure {
                    h4 { (f.title) }
                    ul.legend {
                        @for (paint, name) in &f.legend {
                            li { span class={ "key " (paint.class()) } {} " " (name) }
                        }
                    }
                    div.plot role="img" aria-label={ (f.title) @if let Some(scale) = scale { ", scale " (scale) } } {
                        (PreEscaped(&f.svg))
                    }
                    figcaption { (f.note) }
                }
            }
        }
    }
}

/// A table of numbers, without the columns in which there are none.
fn numbers_of(table: &Table) -> Markup {
    let full =
        |c: &usize| *c == 0 || table.rows.iter().any(|row| row.get(*c).is_some_and(|cell| cell != "–"));
    let columns: Vec<usize> = (0..table.head.len()).filter(full).collect();
    let cell = |row: &[String], c: usize| row.get(c).cloned().unwrap_or_default();
    let texts = ["metric", "condition", "scale", "accuracy"];
    let is_text = |c: usize| table.head.get(c).is_some_and(|name| texts.contains(&name.as_str()));
    // A narrow screen has no room for columns: there the first cell heads the others.
    let class = |c: usize| match (is_text(c), c, cell(&table.head, c).as_str()) {
        (false, ..) => Some("number"),
        (true, 0, name) if name != "metric" => Some("wide"),
        _ => None,
    };
    let title = |c: usize| cell(&table.head, c);
    html! {
        details open="open" {
            summary { h3 { (table.title) } }
            div.scroll tabindex="0" role="region" aria-label=(table.title) {
                table.numbers {
                    thead { tr { @for &c in &columns { th class=[class(c)] { (title(c)) } } } }
                    tbody {
                        @for row in &table.rows {
                            tr { @for &c in &columns { td class=[class(c)] data-label=(title(c)) { (cell(row, c)) } } }
                        }
                    }
                }
            }
        }
    }
}
