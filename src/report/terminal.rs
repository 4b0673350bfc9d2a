//! The report for a terminal: aligned, wrapped to its width, and readable without colour.

use comfy_table::ContentArrangement;
use comfy_table::presets::NOTHING;
use console::{Style, Term, measure_text_width, strip_ansi_codes};
use textwrap::WordSplitter;

use super::demands::demanded;
use super::shared::{
    LEGEND, about, by_group, by_scale, glyph, is_outside, is_unmeasured_info, not_met, tally,
};
use super::summary::summary_tables;
use super::table::Table;
use super::tables::tables;
use super::words::{attempts, problem, render};
use crate::evidence::Ledger;
use crate::gate::{Finding, Judgement, Role, Status, Verdict, cited};

/// How the report is laid out for the terminal that shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalStyle {
    /// Columns.
    pub width: usize,
    /// Whether colours are understood.
    pub colour: bool,
    /// Whether rows that only inform and were not measured are named in one line, not each.
    pub brief: bool,
}

impl TerminalStyle {
    /// What suits a terminal; 100 columns without colour where there is none.
    pub fn of(term: &Term) -> Self {
        let width = term.size_checked().map_or(100, |(_, columns)| usize::from(columns));
        let colour = term.features().is_attended() && term.features().colors_supported();
        TerminalStyle { width: width.clamp(60, 200), colour, brief: false }
    }

    fn paint(self, style: Style, text: &str) -> String {
        style.force_styling(self.colour).apply_to(text).to_string()
    }
}

/// The report as text for a terminal.
pub fn terminal(ledger: &Ledger, judgement: &Judgement, style: TerminalStyle) -> String {
    let mut page = TerminalPage { style, text: String::new() };
    page.verdict(judgement);
    for line in about(ledger) {
        page.wrapped("  ", &line);
    }
    for line in attempts(judgement) {
        page.wrapped("  ", &line);
    }
    for p in &judgement.problems {
        page.wrapped("  ! ", &problem(p));
    }
    page.wrapped("  ", LEGEND);
    for findings in by_scale(judgement) {
        page.scale(findings);
    }
    page.not_met(judgement);
    for table in tables(ledger, judgement).iter().chain(&summary_tables(judgement)) {
        page.table(table);
    }
    page.line("");
    page.verdict(judgement);
    page.wrapped("  ", &tally(judgement));
    page.text
}

/// Findings alone, and the verdict.
pub fn findings(judgement: &Judgement, style: TerminalStyle) -> String {
    let mut page = TerminalPage { style, text: String::new() };
    by_scale(judgement).for_each(|findings| page.scale(findings));
    page.line("");
    page.verdict(judgement);
    page.text
}

/// Tables as text for a terminal.
pub fn show_tables(tables: &[Table], style: TerminalStyle) -> String {
    let mut page = TerminalPage { style, text: String::new() };
    tables.iter().for_each(|t| page.table(t));
    page.text
}

/// Headings and texts for a terminal, the first as a title.
pub fn show_rows(rows: &[[String; 2]], style: TerminalStyle) -> String {
    let mut page = TerminalPage { style, text: String::new() };
    for (i, [name, value]) in rows.iter().enumerate() {
        let prefix = if i == 0 { format!("{name}: ") } else { format!("  {name:9} ") };
        page.wrapped(&prefix, value);
    }
    page.text
}

struct TerminalPage {
    style: TerminalStyle,
    text: String,
}

impl TerminalPage {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn heading(&mut self, text: &str) {
        let text = self.style.paint(Style::new().bold(), &plain(text));
        self.line("");
        self.line(&text);
    }

    fn verdict(&mut self, judgement: &Judgement) {
        let style = match judgement.verdict {
            Verdict::Pass => Style::new().green(),
            Verdict::Fail => Style::new().red(),
            Verdict::Incomplete => Style::new().yellow(),
        };
        let word = self.style.paint(style.bold(), judgement.verdict.name());
        self.line(&format!("V5 gate: {word}"));
    }

    fn scale(&mut self, findings: &[Finding]) {
        let Some(first) = findings.first() else {
            return;
        };
        if is_outside(findings) {
            let n = findings.len();
            let scale = first.scale;
            self.heading(&format!("{scale}: outside this protocol, {n} criteria are not asked"));
            return;
        }
        self.heading(&format!("{}:", first.scale));
        for group in by_group(findings) {
            self.line(&format!("  {}", group[0].group));
            let aside = |f: &&Finding| self.style.brief && is_unmeasured_info(f);
            let (unmeasured, shown): (Vec<&Finding>, Vec<&Finding>) = group.iter().partition(aside);
            shown.into_iter().for_each(|f| self.finding(f));
            if !unmeasured.is_empty() {
                let ids: Vec<&str> = unmeasured.iter().map(|f| f.criterion).collect();
                self.wrapped("  - ", &format!("informing, not measured: {}", ids.join(", ")));
            }
        }
    }

    /// Two lines: what is claimed, and what was found against what was demanded.
    fn finding(&mut self, f: &Finding) {
        let style = match f.status {
            Status::Met => Style::new().green(),
            Status::Unmet => Style::new().red(),
            Status::Unproven | Status::Outside => Style::new().yellow(),
        };
        let mark = self.style.paint(style, glyph(f));
        let role = if f.role == Role::Required { String::new() } else { format!(" ({})", f.role.name()) };
        self.wrapped(&format!("  {mark} "), &format!("{}: {}{role}", f.criterion, f.claim));
        self.wrapped("      ", &format!("{}; demanded: {}", render(f), demanded(f.rule)));
    }

    fn not_met(&mut self, judgement: &Judgement) {
        let list = not_met(judgement);
        if !list.is_empty() {
            self.heading("Required and not met:");
        }
        for f in list {
            let status = f.status.name();
            self.wrapped(
                &format!("  {} ", glyph(f)),
                &format!("{} at {}, {status}: {} ({})", f.criterion, f.scale, f.why, cited(f.source)),
            );
        }
    }

    fn table(&mut self, table: &Table) {
        self.heading(&table.title);
        let used = |column: &usize| {
            *column == 0 || table.rows.iter().any(|row| row.get(*column).is_some_and(|c| c != "–"))
        };
        let columns: Vec<usize> = (0..table.head.len()).filter(used).collect();
        let mut grid = comfy_table::Table::new();
        grid.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        grid.set_width(u16::try_from(self.style.width).unwrap_or(u16::MAX));
        for row in std::iter::once(&table.head).chain(&table.rows) {
            grid.add_row(columns.iter().map(|&c| plain(row.get(c).map_or("", String::as_str))));
        }
        for column in grid.column_iter_mut() {
            column.set_padding((2, 0));
        }
        grid.lines().for_each(|line| self.line(&line));
    }

    /// Text after a prefix, its further lines indented as far as the prefix reaches.
    fn wrapped(&mut self, prefix: &str, text: &str) {
        let indent = " ".repeat(measure_text_width(prefix));
        let options = textwrap::Options::new(self.style.width.max(indent.len() + 20))
            .initial_indent(prefix)
            .subsequent_indent(&indent)
            .word_splitter(WordSplitter::NoHyphenation)
            .break_words(false);
        let text = plain(text).split_whitespace().collect::<Vec<_>>().join(" ");
        textwrap::wrap(&text, options).iter().for_each(|line| self.line(line));
    }
}

/// Names come from the ledger, which may hold anything: keep them from steering the terminal, or
/// a workflow that reads commands off its output.
fn plain(text: &str) -> String {
    let text: String = strip_ansi_codes(text).chars().filter(|c| !c.is_control()).collect();
    text.replace("::", ": :")
}
