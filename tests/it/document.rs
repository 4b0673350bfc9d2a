//! The V5 document's worked examples as tests, with the rulings' corrections visible, and every
//! ruling cited somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use v5gate::evidence::{Condition, Metric};
use v5gate::gate::{CRITERIA, GPT2, GROUNDTHINK, Judgement, RULINGS, Status, judge};
use v5gate::report::criteria_page;
use v5gate::statistics::{compute_efficiency, compute_efficiency_as_written};

use crate::world::World;

/// What a comparison at 8M found: GroundThink's numbers divided by GPT-2's, losses and bytes the
/// lower the better, the rest the higher.
#[derive(Clone, Copy, Debug)]
struct Found {
    loss: f64,
    statefulness: f64,
    speed: f64,
    memory: f64,
}

/// GroundThink is like GPT-2 in everything that an example does not mention.
const ALIKE: Found = Found { loss: 1.0, statefulness: 1.0, speed: 1.0, memory: 1.0 };

fn judged(found: Found) -> Judgement {
    let mut world = World::good("test", &["3.5M", "8M", "30M", "125M"], 3);
    let numbers = [
        (Metric::ValidationLoss, 2.7, found.loss),
        (Metric::StatefulnessScore, 0.4, found.statefulness),
        (Metric::GenerationTokensPerSecond, 100.0, found.speed),
        (Metric::PeakBytes, 1e8, found.memory),
    ];
    for (metric, baseline, ratio) in numbers {
        for (model, factor) in [(GPT2, 1.0), (GROUNDTHINK, ratio)] {
            let facts = world.select("8M", Some(model), Condition::Trained, metric, None);
            facts.for_each(|(_, fact)| fact.value = baseline * factor);
        }
    }
    // So that scaling, which these examples do not speak of, holds whatever the loss at 8M.
    let before = world.select("3.5M", Some(GROUNDTHINK), Condition::Trained, Metric::ValidationLoss, None);
    before.for_each(|(_, fact)| fact.value = 2.7 * found.loss + 1.0);
    judge(&world.ledger())
}

fn at_8m(judgement: &Judgement, criterion: &str) -> Status {
    let mut all = judgement.findings.iter();
    all.find(|f| f.scale == "8M" && f.criterion == criterion).expect("a finding").status
}

fn met(found: Found, criterion: &str) -> bool {
    match at_8m(&judged(found), criterion) {
        Status::Met => true,
        Status::Unmet => false,
        other => panic!("{criterion}: {other:?}"),
    }
}

/// §Graduation Criteria, example pass 1: "Statefulness: 30% better + Speed: 40% faster → GO".
/// Ruling R9: +40 % speed is only Good Enough (Promising starts at 50 %), so the rule says no.
#[test]
fn graduation_example_1_breaks_its_own_rule() {
    // Loss and memory stay Good Enough: what the example does not name earns nothing.
    let found = Found { loss: 1.06, statefulness: 1.3, speed: 1.4, memory: 1.0 };
    assert!(met(found, "statefulness-promising") && !met(found, "statefulness-excellent"));
    assert!(met(found, "speed-good-enough") && !met(found, "speed-promising"));
    assert!(!met(found, "graduation-rule"));
    assert!(met(found, "should-scale"), "two clear advantages: shown beside it");
    assert!(!met(found, "graduation-8m"), "GO needs both");
}

/// Example pass 2: "Loss: 8% better + Memory: 40% less → GO".
#[test]
fn graduation_example_2_is_go() {
    let found = Found { loss: 0.92, memory: 0.6, ..ALIKE };
    assert!(met(found, "loss-excellent") && met(found, "memory-promising"));
    assert!(met(found, "graduation-rule") && met(found, "should-scale"));
    assert!(met(found, "no-red-line") && met(found, "graduation-8m"));
}

/// Example fail 1: "All metrics Good Enough → FIX FIRST".
#[test]
fn graduation_example_3_is_fix_first() {
    let found = Found { loss: 1.10, statefulness: 1.15, speed: 1.3, memory: 1.0 };
    for band in ["loss", "statefulness", "speed", "memory"] {
        assert!(met(found, &format!("{band}-good-enough")), "{band}");
        assert!(!met(found, &format!("{band}-promising")), "{band}");
    }
    assert!(!met(found, "graduation-rule") && !met(found, "graduation-8m"));
}

/// Example fail 2: "Loss: 20% worse (even with speed) → FIX FIRST". The rule's text alone would
/// let an Excellent speed through; should_scale does not, and ruling R9 wants both.
#[test]
fn graduation_example_4_is_fix_first() {
    let found = Found { loss: 1.20, speed: 2.5, ..ALIKE };
    assert!(met(found, "graduation-rule"));
    assert!(!met(found, "should-scale") && !met(found, "graduation-8m"));
}

/// Ruling R9: no graduation across a red line, whatever the bands say.
#[test]
fn a_red_line_stops_graduation() {
    let found = Found { loss: 0.9, statefulness: 0.99, speed: 3.0, memory: 0.4 };
    assert!(met(found, "graduation-rule") && met(found, "should-scale"));
    assert!(!met(found, "no-red-line") && !met(found, "graduation-8m"));
    assert!(!met(Found { loss: 1.31, ..ALIKE }, "loss-ratio-red-line"));
    assert!(met(Found { loss: 1.30, ..ALIKE }, "loss-ratio-red-line"));
}

/// §Decision Logic, line for line.
fn should_scale(loss_ratio: f64, statefulness: f64, speed: f64, memory: f64) -> bool {
    if loss_ratio > 1.15 {
        return false;
    }
    let advantages = [statefulness, speed, memory].iter().filter(|v| **v > 1.1).count();
    advantages >= 2 || (advantages == 1 && loss_ratio < 1.05)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// The rows say what the function says. A memory ratio is GPT-2's bytes over GroundThink's:
    /// more is better, as with the other two.
    #[test]
    fn should_scale_is_as_written(
        loss in prop_oneof![0.9..1.3_f64, Just(1.15 - 1e-9), Just(1.05 + 1e-9)],
        statefulness in 0.9..1.3_f64,
        speed in 0.9..1.3_f64,
        memory in 0.9..1.3_f64,
    ) {
        let found = Found { loss, statefulness, speed, memory: 1.0 / memory };
        prop_assert_eq!(met(found, "should-scale"), should_scale(loss, statefulness, speed, memory));
    }
}

/// §Interpretation Guide.
#[test]
fn interpretation_guide() {
    let found = |loss: f64| Found { loss: loss / 2.7, ..ALIKE };
    // 2.8 against 2.7: good enough.
    assert!(met(found(2.8), "loss-ratio-debug") && !met(found(2.8), "loss-excellent"));
    // 3.5 against 2.7: architecture problems; 1.296 is just short of the red line.
    assert!(!met(found(3.5), "loss-ratio-debug") && met(found(3.5), "loss-ratio-red-line"));
    assert!(!met(found(3.5), "loss-ratio-viable"));
    // 2.5 against 2.7: something special.
    assert!(met(found(2.5), "loss-excellent"));
    // Ruling R8: within 20 % is not yet within the 10 % that let work on 30M begin.
    assert!(met(found(3.1), "loss-ratio-debug") && !met(found(3.1), "loss-ratio-proceed"));
}

/// §The Bottom Line.
#[test]
fn bottom_line() {
    let viable = Found { loss: 1.14, speed: 1.21, ..ALIKE };
    assert!(met(viable, "viable-speed") && met(viable, "viable"));
    assert!(!met(Found { loss: 1.16, ..viable }, "viable"));
    let exciting = Found { loss: 1.0, statefulness: 1.41, speed: 1.51, memory: 0.49 };
    assert!(met(exciting, "exciting") && !met(exciting, "breakthrough"));
    assert!(!met(Found { memory: 0.6, ..exciting }, "exciting"));
    assert!(met(Found { loss: 1.1, statefulness: 2.0, ..ALIKE }, "breakthrough"));
    assert!(!met(Found { loss: 1.11, statefulness: 2.0, ..ALIKE }, "breakthrough"));
}

/// §Compute-Efficiency Ratio: the example's numbers, and what is wrong with its formula.
#[test]
fn cer_as_written_rewards_being_worse() {
    let close = |a: f64, b: f64| (a - b).abs() < 1e-9 * b;
    assert!(close(compute_efficiency_as_written(2.8, 0.1), 28.0));
    assert!(close(compute_efficiency_as_written(3.0, 0.04), 75.0));
    // A model that knows nothing wins by it ...
    assert!(compute_efficiency_as_written(50_257.0, 0.1) > compute_efficiency_as_written(2.8, 0.1));
    // ... and loses by ruling R10's, under which the example's faster model still wins.
    assert!(compute_efficiency(50_257.0, 0.1) < compute_efficiency(2.8, 0.1));
    assert!(close(compute_efficiency(2.8, 0.1), 1.0 / 0.28));
    assert!(compute_efficiency(3.0, 0.04) > compute_efficiency(2.8, 0.1));
}

/// §Reverse Testing, the diagnostic matrix: ≈ (±5 %), worse (> 10 %), better.
#[test]
fn diagnostic_matrix() {
    let judged = |ratio: f64| {
        let mut world = World::good("test", &["8M"], 3);
        let facts = world.select("8M", Some(GPT2), Condition::Trained, Metric::ReferenceLossRatio, None);
        facts.for_each(|(key, fact)| fact.value = ratio + 1e-4 * key.4 as f64);
        judge(&world.ledger())
    };
    let row = |ratio, id| at_8m(&judged(ratio), id) == Status::Met;
    let all = |ratio| ["reverse-equivalent", "reverse-no-bug", "reverse-not-better"].map(|id| row(ratio, id));
    assert_eq!(all(1.0), [true, true, true]);
    assert_eq!(all(1.07), [false, true, true], "neither equal nor a proven defect");
    assert_eq!(all(1.11), [false, false, true], "the training loop has bugs");
    assert_eq!(all(0.93), [false, true, false], "to be explained");
}

/// Every ruling is cited in code or data, or its entry says that it is not in the code yet.
#[test]
fn every_ruling_is_cited() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    let mut folders = vec![root.join("src"), root.join("protocols")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                text += &fs::read_to_string(&path).unwrap();
            }
        }
    }
    let mut cited = citations(&text);
    for citation in CRITERIA.iter().flat_map(|c| c.source) {
        cited.extend(citations(&citation.to_string()));
    }
    let rulings = fs::read_to_string(root.join("docs/rulings.md")).unwrap();
    let entries = rulings.split("\n### R").skip(1);
    let number = |entry: &str| entry.split(':').next().and_then(|n| n.parse::<u32>().ok());
    let defined: BTreeMap<u32, &str> = entries.filter_map(|entry| Some((number(entry)?, entry))).collect();
    let ahead = |n: &u32| defined[n].contains("*Not yet in the code:*");
    let missing: Vec<&u32> = defined.keys().filter(|n| !cited.contains(n) && !ahead(n)).collect();
    assert!(missing.is_empty(), "no code or data cites rulings {missing:?}");
    let unknown: Vec<&u32> = cited.iter().filter(|n| !defined.contains_key(n)).collect();
    assert!(unknown.is_empty(), "docs/rulings.md does not have rulings {unknown:?}");
}

/// Numbers behind an R that stands by itself.
fn citations(text: &str) -> BTreeSet<u32> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    words.filter_map(|w| w.strip_prefix('R')?.parse().ok()).collect()
}

#[test]
fn a_missing_ruling_is_seen() {
    assert_eq!(citations("ruling R7, (R12)."), BTreeSet::from([7, 12]));
    assert!(citations("RWKV-6 AR7 R2D2 r3").is_empty());
}

/// Everything that a criterion cites can be read at its anchor.
#[test]
fn every_citation_has_its_place() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(RULINGS)).unwrap();
    assert!(!page.contains("id=\"r99\""));
    for c in CRITERIA {
        assert!(!c.source.is_empty(), "{}", c.id);
        for cited in c.source {
            assert!(page.contains(&format!("<a id=\"{}\">", cited.anchor())), "{}: {cited}", c.id);
        }
    }
}

/// `V5_WRITE_DOCS=1 cargo test --test it the_page_of_criteria` writes it.
#[test]
fn the_page_of_criteria_is_that_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/criteria.md");
    if std::env::var_os("V5_WRITE_DOCS").is_some() {
        fs::write(&path, criteria_page()).unwrap();
    }
    let page = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == criteria_page(),
        "docs/criteria.md is not what the table says: write it with V5_WRITE_DOCS=1"
    );
}
