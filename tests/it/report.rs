//! The reports of a small ledger with one of each: met, unmet, diverged, missing.

use v5gate::evidence::{Condition, Ledger, Metric};
use v5gate::gate::{CRITERIA, GPT2, GROUNDTHINK, judge};
use v5gate::report::{
    TerminalStyle, criteria_json, criteria_markdown, found, job_summary, json, markdown, terminal,
};

use crate::world::World;

pub fn small() -> Ledger {
    let mut world = World::good("smoke", &["smoke"], 3);
    let mut spoil = |model, metric, seed, value| {
        let at = Condition::Trained;
        world.select("smoke", Some(model), at, metric, seed).for_each(|(_, f)| f.value = value);
    };
    spoil(GROUNDTHINK, Metric::OverfitLoss, Some(1), f64::NAN);
    spoil(GPT2, Metric::ValidationLoss, Some(0), 5.7);
    spoil(GROUNDTHINK, Metric::StateHalvesError, None, 0.25);
    world.facts.retain(|key, _| {
        (key.1, key.3, key.4) != (GPT2, Metric::ResumeIdentical, 2) && key.2 != Condition::CopyOracle
    });
    let here = world.select("smoke", None, Condition::Untrained, Metric::InitialEntropyShare, None);
    here.for_each(|(_, f)| f.provenance.recipe = "0123456789abcdef0123".to_owned());
    world.ledger()
}

#[test]
fn terminal_report() {
    let ledger = small();
    let style = TerminalStyle { width: 100, colour: false, brief: false };
    let text = terminal(&ledger, &judge(&ledger), style);
    insta::assert_snapshot!(text);
    assert!(text.starts_with("V5 gate: FAIL\n"));
}

#[test]
fn markdown_report() {
    let ledger = small();
    insta::assert_snapshot!(markdown(&ledger, &judge(&ledger)));
}

#[test]
fn findings_fit_eighty_columns() {
    let ledger = small();
    let text = terminal(&ledger, &judge(&ledger), TerminalStyle { width: 80, colour: false, brief: false });
    let findings = text.split("\nModels,").next().unwrap();
    for line in findings.lines() {
        assert!(console::measure_text_width(line) <= 80, "{line}");
    }
}

/// The lines of a Markdown table under a heading, cell by cell.
fn cells<'t>(text: &'t str, heading: &str) -> Vec<Vec<&'t str>> {
    let (_, table) = text.split_once(heading).unwrap();
    let lines = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[test]
fn the_summary_shows_every_line_at_every_scale() {
    let good = World::good("full", &["3.5M", "8M", "30M", "125M"], 10);
    let nothing = World { facts: Default::default(), ..good.clone() };
    let mut diverged = good.clone();
    diverged.facts.values_mut().for_each(|f| f.value = f64::NAN);
    for (ledger, status) in [
        (nothing.ledger(), "? unproven"),
        (diverged.ledger(), "✗ unmet"),
        (Ledger::default(), "· outside"),
        (good.ledger(), "✓ met"),
    ] {
        let summary = job_summary(&ledger, &judge(&ledger));
        let lines = cells(&summary, "### V5 gate by scale");
        assert_eq!(lines[0][1..5], ["3.5M", "8M", "30M", "125M"]);
        assert_eq!(lines.len(), 2 + 7);
        let all = lines[2..].iter().flat_map(|line| &line[1..5]);
        assert!(all.clone().count() == 28 && all.clone().all(|&cell| cell == status), "{lines:?}");
    }
}

#[test]
fn key_numbers_are_the_evidence_or_not_measured() {
    let good = World::good("full", &["3.5M", "8M", "30M", "125M"], 10);
    let of = |world: &World| {
        let ledger = world.ledger();
        let summary = job_summary(&ledger, &judge(&ledger));
        let lines = cells(&summary, "### Key numbers: ");
        lines[2..].iter().map(|line| line.iter().map(|&c| c.to_owned()).collect()).collect::<Vec<Vec<_>>>()
    };
    let numbers = of(&good);
    assert!(numbers.len() > 10 && numbers.iter().flatten().all(|cell| !cell.contains("not measured")));
    let number = |numbers: &[Vec<String>], label| {
        numbers.iter().find(|line| line[0].starts_with(label)).unwrap()[1].clone()
    };
    let findings = judge(&good.ledger()).findings;
    let perplexity = findings.iter().find(|f| f.criterion == "perplexity-non-inferior").unwrap();
    let ratio = format!("perplexity ratio {}", number(&numbers, "held-out perplexity"));
    assert!(found(perplexity).contains(&ratio), "{ratio}");
    // Less time is more speed.
    assert_eq!(number(&numbers, "prefill speed"), "2.499");
    let nothing = of(&World { facts: Default::default(), ..good.clone() });
    assert!(nothing.iter().all(|line| line[1..].iter().all(|cell| cell == "not measured")));
    let mut diverged = good.clone();
    diverged.facts.values_mut().for_each(|f| f.value = f64::NAN);
    assert!(of(&diverged).iter().all(|line| line[1].contains("nan") || line[1] == "not finite"));
    let mut lost = good;
    lost.facts.retain(|key, _| (key.1, key.3, key.4) != (GPT2, Metric::ValidationLoss, 42));
    assert!(number(&of(&lost), "held-out perplexity").ends_with(" (unproven)"));
    assert!(!job_summary(&Ledger::default(), &judge(&Ledger::default())).contains("Key numbers"));
}

#[test]
fn colour_only_decorates() {
    let ledger = small();
    let [plain, colour] = [false, true]
        .map(|colour| terminal(&ledger, &judge(&ledger), TerminalStyle { width: 100, colour, brief: true }));
    assert_ne!(plain, colour);
    assert_eq!(plain, console::strip_ansi_codes(&colour));
}

#[test]
fn json_holds_every_finding() {
    let ledger = small();
    let judgement = judge(&ledger);
    let report = json(&ledger, &judgement);
    assert_eq!(report["verdict"], "FAIL");
    assert_eq!(report["exit_code"], 10);
    assert_eq!(report["findings"].as_array().unwrap().len(), judgement.findings.len());
    let overfit = judgement.findings.iter().position(|f| f.criterion == "overfit").unwrap();
    assert_eq!(report["findings"][overfit]["values"][1]["value"], "nan");
}

#[test]
fn times_stand_apart() {
    let mut world = World::good("smoke", &["smoke"], 3);
    let before = world.ledger();
    let seconds = Metric::TrainTokensPerSecond;
    world.select("smoke", None, Condition::Trained, seconds, None).for_each(|(_, f)| f.value *= 2.0);
    let after = world.ledger();
    let [a, b] = [before, after].map(|ledger| {
        let text = markdown(&ledger, &judge(&ledger));
        let (rest, time) = text.split_once("\n## Time").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        (rest, time)
    });
    assert_eq!(a.0, b.0);
    assert_ne!(a.1, b.1);
}

#[test]
fn names_in_a_ledger_cannot_steer_the_report() {
    let mut world = World::good("smoke\u{1b}[2J|<b>", &["smoke"], 3);
    world.manifest.scales.push("\u{1b}]0;x\u{7}".to_owned());
    let ledger = world.ledger();
    let judgement = judge(&ledger);
    let text = terminal(&ledger, &judgement, TerminalStyle { width: 100, colour: false, brief: false });
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
    assert!(markdown(&ledger, &judgement).contains("\\|&lt;b>"));
}

#[test]
fn the_table_of_criteria_is_complete() {
    assert_eq!(criteria_markdown().lines().count(), CRITERIA.len() + 2);
    assert_eq!(criteria_json().as_array().unwrap().len(), CRITERIA.len());
}

#[test]
fn effective_parameters_need_two_baselines() {
    let mut world = World::good("test", &["3.5M", "8M"], 3);
    let size = Metric::NonEmbeddingParameters;
    // A bigger GPT-2 is better; GroundThink at 8M is as good as that bigger one.
    for (scale, n, loss) in [("3.5M", 1e6, 5.0), ("8M", 1e7, 4.0)] {
        for (metric, value) in [(size, n), (Metric::ValidationLoss, loss)] {
            let facts = world.select(scale, None, Condition::Trained, metric, None);
            facts.for_each(|(_, f)| f.value = value);
        }
    }
    let loss = Metric::ValidationLoss;
    let facts = world.select("3.5M", Some(GROUNDTHINK), Condition::Trained, loss, None);
    facts.for_each(|(_, f)| f.value = 4.0);
    let ledger = world.ledger();
    let text = markdown(&ledger, &judge(&ledger));
    assert!(text.contains("| 3.5M | 4 | 1,000,000 | 10,000,000 | 10"), "{text}");
    assert!(!markdown(&small(), &judge(&small())).contains("Effective parameters"));
    assert_eq!(text.matches("\n## Time").count(), 1);
}
