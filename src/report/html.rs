//! The report as one HTML page that needs nothing else: no network, no fonts; its one script searches, and the page
//! reads fully without it. Text is escaped by the template library; only the style sheet and the script go in as
//! they are.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use super::demands::demanded;
use super::overview::{anchor, badge, forest, matrix};
use super::plots::{Figure, figures};
use super::shared::{by_group, by_scale, escape_controls, is_outside, is_unmeasured_info, not_met, tally};
use super::table::Table;
use super::tables::tables;
use super::words::{attempts, lacking, problem, render};
use crate::evidence::Ledger;
use crate::gate::{Finding, Judgement, Role, Status, Verdict, cited};

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");
/// Nothing is loaded, whatever a name contains.
const POLICY: &str = "connect-src 'none'; img-src 'none'; font-src 'none'; media-src 'none'; \
     object-src 'none'; frame-src 'none'; base-uri 'none'; form-action 'none'";
/// As much of a digest as is shown.
const DIGEST: usize = 12;
/// The order in which counts are told.
const STATUSES: [Status; 4] = [Status::Met, Status::Unmet, Status::Unproven, Status::Outside];

/// What a browser may do with the page: run this one script, known by its digest, and nothing else.
fn policy() -> String {
    let digest = BASE64_STANDARD.encode(Sha256::digest(SCRIPT));
    format!("script-src 'sha256-{digest}'; {POLICY}")
}

/// The report as a page.
pub fn html(ledger: &Ledger, judgement: &Judgement) -> String {
    let (time_figures, figures): (Vec<_>, Vec<_>) = figures(ledger).into_iter().partition(|f| f.time);
    let (times, numbers): (Vec<_>, Vec<_>) =
        tables(ledger, judgement).into_iter().partition(|t| t.title == "Time");
    let verdict = judgement.verdict.name();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head(verdict))
            body {
                (header(ledger, judgement))
                (contents(judgement, !figures.is_empty(), !numbers.is_empty(), !times.is_empty() || !time_figures.is_empty()))
                main {
                    (told_attempts(judgement))
                    (problems(judgement))
                    (matrix(judgement))
                    (forest(judgement))
                    @if !figures.is_empty() {
                        section id="plots" {
                            h2 { "Plots" }
                            @for of_one in figures.chunk_by(|a, b| a.scale == b.scale) {
                                (gallery(of_one))
                            }
                        }
                    }
                    section id="findings" {
                        h2 { "Findings" }
                        (filters())
                        @for (i, findings) in by_scale(judgement).enumerate() {
                            (scale(i, findings))
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
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    escape_controls(&page.into_string())
}

fn head(verdict: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            meta http-equiv="Content-Security-Policy" content=(policy());
            title { "V5 gate: " (verdict) }
            style { (PreEscaped(STYLE)) }
        }
    }
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
            div.verdict {
                div {
                    p.kicker { "V5 gate" }
                    h1 { span.glyph aria-hidden="true" { (glyph) } " " (judgement.verdict.name()) }
                }
                (about(ledger))
            }
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
        }
    }
}

fn about(ledger: &Ledger) -> Markup {
    let Some(manifest) = ledger.manifest() else {
        return html! {};
    };
    let revision: String = manifest.revision.chars().take(DIGEST).collect();
    let lines = [
        ("Protocol", manifest.protocol.as_str()),
        ("Models", &super::shared::elide(&manifest.models)),
        ("Scales", &super::shared::elide(&manifest.scales)),
        ("Trials", &super::shared::elide(&manifest.seeds)),
    ];
    html! {
        dl.about {
            @for (name, value) in lines { div { dt { (name) } dd { (value) } } }
            div { dt { "Revision" } dd title=(manifest.revision) { code { (revision) } } }
        }
    }
}

fn contents(judgement: &Judgement, plots: bool, numbers: bool, time: bool) -> Markup {
    let open = not_met(judgement).len();
    html! {
        nav aria-label="Contents" {
            ul {
                li { a href="#matrix" { "Seven lines" } }
                li { a href="#comparisons" { "Comparisons" } }
                @if plots { li { a href="#plots" { "Plots" } } }
                li { a href="#findings" { "Findings" @if open > 0 { " " span.count { (open) " required and not met" } } } }
                @if numbers { li { a href="#numbers" { "Numbers" } } }
                @if time { li { a href="#time" { "Time" } } }
            }
        }
    }
}

/// Which attempt this is, and what became of the earlier ones.
fn told_attempts(judgement: &Judgement) -> Markup {
    let told = attempts(judgement);
    html! {
        @if !told.is_empty() {
            details.attempts open="open" {
                summary { "Attempts (" (judgement.attempts.len()) " earlier)" }
                ul { @for line in &told { li { (line) } } }
            }
        }
    }
}

/// What keeps the ledger as a whole from passing.
fn problems(judgement: &Judgement) -> Markup {
    html! {
        @if !judgement.problems.is_empty() {
            details.problems open=[(judgement.problems.len() < 4).then_some("open")] {
                summary { "What keeps this ledger from passing, whatever the findings (" (judgement.problems.len()) ")" }
                ul { @for p in &judgement.problems { li { (problem(p)) } } }
            }
        }
    }
}

/// Which findings are shown. The choice works without the script; the search needs it and is hidden without.
fn filters() -> Markup {
    let choices = [("all", "All"), ("open", "Unmet and unproven"), ("required", "Required")];
    html! {
        form.filters {
            fieldset {
                legend { "Show" }
                @for (id, text) in choices {
                    input type="radio" name="show" id={ "show-" (id) } checked=[(id == "all").then_some("checked")];
                    label for={ "show-" (id) } { (text) }
                }
            }
            p id="search-row" hidden="hidden" {
                label for="search" { "Search " }
                input type="search" id="search" autocomplete="off";
                " " span id="found" role="status" {}
            }
        }
    }
}

fn scale(i: usize, findings: &[Finding]) -> Markup {
    let Some(first) = findings.first() else {
        return html! {};
    };
    html! {
        section id={ "scale-" (i) } {
            h3 { "Scale " (first.scale) }
            @if is_outside(findings) {
                details {
                    summary { "Outside this protocol: " (findings.len()) " criteria are not asked" }
                    ul.claims {
                        @for f in findings { li id=(anchor(f.scale, f.criterion)) { (f.claim) " " code { (f.criterion) } (informs(f)) } }
                    }
                }
            } @else {
                @for group in sorted_groups(findings) { (group_of(&group)) }
            }
        }
    }
}

/// The groups of a scale, each with what is required and not met first; groups that have such rows come first.
fn sorted_groups(findings: &[Finding]) -> Vec<Vec<&Finding>> {
    let rank = |f: &Finding| match (f.status, f.role) {
        (Status::Unmet, Role::Required) => 0,
        (Status::Unproven, Role::Required) => 1,
        (Status::Unmet, _) => 2,
        (Status::Met, _) => 3,
        (Status::Unproven | Status::Outside, _) => 4,
    };
    let mut groups: Vec<Vec<&Finding>> = by_group(findings).map(|group| group.iter().collect()).collect();
    for group in &mut groups {
        group.sort_by_key(|f| rank(f));
    }
    groups.sort_by_key(|group| group.first().map_or(4, |f| rank(f)).min(2));
    groups
}

/// A group, folded, with the counts of what is in it.
fn group_of(group: &[&Finding]) -> Markup {
    let count = |status| group.iter().filter(|f| f.status == status).count();
    html! {
        details.group {
            summary {
                span.name { (group.first().map_or("", |f| f.group)) } " "
                @for status in [Status::Unmet, Status::Unproven, Status::Met, Status::Outside] {
                    @if count(status) > 0 { span.tally { (badge(status)) " " (count(status)) } }
                }
            }
            (findings_of(group))
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

/// The findings of a group as a table.
fn findings_of(group: &[&Finding]) -> Markup {
    html! {
        table.findings {
            thead { tr { th scope="col" { "Status" } th scope="col" { "Claim" } th scope="col" { "Found" } th scope="col" { "Demanded" } th scope="col" { "Why" } } }
            tbody {
                @for f in group {
                    tr id=(anchor(f.scale, f.criterion)) class={ "finding " (f.status.name()) @if f.role == Role::Required { " required" } @else { " informing" } } {
                        td.is { (badge(f.status)) (informs(f)) }
                        td.claim { (f.claim) " " code { (f.criterion) } }
                        td data-label="Found" { @if is_unmeasured_info(f) { "not measured" } @else { (said(f)) } }
                        td data-label="Demanded" { (demanded(f.rule)) }
                        td.why data-label="Why" { (f.why) " " span.source { (cited(f.source)) } }
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
                        (f.svg)
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
        details {
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
