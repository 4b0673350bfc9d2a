//! Reports that other programs show: the page, its plots, JUnit XML and GitHub. Whatever a ledger
//! holds, they are well-formed, and no name in it becomes markup or a command.

use proptest::prelude::*;
use quick_xml::events::Event;

use v5gate::evidence::{Condition, Curve, CurveKind, Ledger, Line, Metric, Provenance, Subject, Value};
use v5gate::gate::{FULL_SEED, GPT2, GROUNDTHINK, Role, Status, judge};
use v5gate::report::{annotations, html, job_summary, junit, markdown};

use crate::report::small;
use crate::world::{World, provenance};

/// A name that would be markup, a command, a control sequence, or read from right to left.
const HOSTILE: &str = "\"x'\u{1b}[2J\u{202e}\u{0}<script>alert(1)</script>&amp;|](a)\r\n::error::%0A, y";

/// A curve that agrees with the manifest of `World::good`.
fn curve(model: &str, scale: &str, seed: u64, kind: CurveKind, points: &[(u64, f64)]) -> Curve {
    let condition = Condition::Trained;
    let subject = Subject { model: model.to_owned(), scale: scale.to_owned(), seed, condition };
    let (x, y) = points.iter().map(|&(x, y)| (x, Value::from(y))).unzip();
    Curve::new(subject, kind, x, y, provenance(scale, seed)).unwrap()
}

/// Every kind of curve, for both models and every trial.
fn curves(world: &World) -> Vec<Line> {
    let mut lines = Vec::new();
    for (size, scale) in world.manifest.scales.iter().enumerate() {
        for &seed in &world.manifest.seeds {
            for (model, worse) in [(GROUNDTHINK, 0.0), (GPT2, 0.1)] {
                for &kind in CurveKind::ALL {
                    let points = made_up(kind, worse, size as f64, seed as f64);
                    lines.push(Line::Curve(curve(model, scale, seed, kind, &points)));
                }
            }
        }
    }
    lines
}

fn made_up(kind: CurveKind, worse: f64, size: f64, seed: f64) -> Vec<(u64, f64)> {
    let wiggle = |x: f64, phase: f64| (7.3 * x.ln() + 2.1 * seed + phase).sin();
    let steps = (1..=60_u32).map(|i| 4096.0 * f64::from(i).powf(1.6));
    let contexts = (11..=15_u32).map(|i| f64::from(1 << i));
    let of =
        |xs: &mut dyn Iterator<Item = f64>, y: &dyn Fn(f64) -> f64| xs.map(|x| (x as u64, y(x))).collect();
    match kind {
        CurveKind::TrainingLoss => of(&mut steps.into_iter(), &|x| {
            3.2 - 0.3 * size + worse + 60.0 * x.powf(-0.28) + 0.05 * wiggle(x, worse)
        }),
        CurveKind::GradientNorm => {
            of(&mut steps.into_iter(), &|x| (0.4 + worse + 900.0 / x) * (1.0 + 0.3 * wiggle(x, worse)))
        }
        CurveKind::LossByPart => {
            of(&mut (1..=3).map(f64::from), &|x| 3.0 + worse + 0.2 * x + 0.03 * wiggle(x, worse))
        }
        CurveKind::LossByPosition => {
            let ends = (5..=15_u32).map(|i| f64::from(1 << i));
            of(&mut ends.into_iter(), &|x| 3.0 + 4.0 * worse + 3.0 * x.powf(-0.3) + 0.03 * wiggle(x, worse))
        }
        CurveKind::PrefillByContext => {
            of(&mut contexts.into_iter().take(3), &|x| 1e-4 * x * (1.0 + worse * x / 4096.0))
        }
        CurveKind::TimeByContext => {
            of(&mut contexts.into_iter(), &|x| 1e-3 * (1.0 + 4.0 * worse * x / 4096.0))
        }
        CurveKind::MemoryByContext => of(&mut contexts.into_iter(), &|x| 65_536.0 + 1e4 * worse * x),
    }
}

/// Three scales, curves, and one of each: met, unmet, not finite, missing.
fn rich() -> Ledger {
    let mut world = World::good("full", &["3.5M", "8M", "30M"], 3);
    for (i, scale) in ["3.5M", "8M", "30M"].into_iter().enumerate() {
        for (model, worse) in [(GROUNDTHINK, 0.0), (GPT2, 0.15)] {
            let size = 10_f64.powi(6 + i as i32);
            let loss = 4.4 - 0.5 * i as f64 + worse;
            for (metric, value) in [(Metric::NonEmbeddingParameters, size), (Metric::ValidationLoss, loss)] {
                let facts = world.select(scale, Some(model), Condition::Trained, metric, None);
                facts.for_each(|(key, f)| {
                    f.value = value + 0.02 * ((key.4 - FULL_SEED) as f64) * (value < 10.0) as u8 as f64
                });
            }
        }
        for turns in [1, 5, 10, 20, 50] {
            let metric = Metric::find(&format!("retention_{turns}_accuracy")).unwrap();
            for condition in [Condition::Trained, Condition::WindowMatched] {
                let facts = world.select(scale, None, condition, metric, None);
                facts.for_each(|(_, f)| f.value -= 0.004 * f64::from(turns));
            }
        }
    }
    let mut spoil = |model, metric, seed, value| {
        let at = Condition::Trained;
        world.select("3.5M", Some(model), at, metric, seed).for_each(|(_, f)| f.value = value);
    };
    spoil(GROUNDTHINK, Metric::OverfitLoss, Some(1), f64::NAN);
    spoil(GROUNDTHINK, Metric::StateHalvesError, None, 0.25);
    world.facts.retain(|key, _| key.2 != Condition::CopyOracle || key.0 != "8M");
    let mut lines = world.lines();
    lines.extend(curves(&world));
    Ledger::from_lines(lines)
}

/// Reads a document as XML to its end.
fn assert_well_formed(text: &str) {
    let mut reader = quick_xml::Reader::from_str(text);
    let mut depth = 0_usize;
    loop {
        match reader.read_event().unwrap() {
            Event::Eof => break,
            Event::Start(tag) => {
                assert!(tag.attributes().all(|a| a.is_ok()), "{tag:?}");
                depth += 1;
            }
            Event::Empty(tag) => assert!(tag.attributes().all(|a| a.is_ok()), "{tag:?}"),
            Event::End(_) => depth -= 1,
            Event::GeneralRef(name) => {
                let known: [&[u8]; 5] = [b"lt", b"gt", b"amp", b"quot", b"apos"];
                assert!(name.starts_with(b"#") || known.contains(&&name[..]), "{name:?}");
            }
            _ => {}
        }
    }
    assert_eq!(depth, 0);
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
}

/// A page as XML: the elements that HTML leaves open are closed.
fn as_xml(page: &str) -> String {
    let closed = |text: String, open: &str| {
        let mut parts = text.split(open);
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            text += &format!("{open}{}", part.replacen('>', "/>", 1));
        }
        text
    };
    closed(closed(page.to_owned(), "<meta"), "<input")
}

fn page_of(ledger: &Ledger) -> String {
    let page = html(ledger, &judge(ledger));
    assert_well_formed(&as_xml(&page));
    page
}

/// What lies between two marks, all of it, and what is left without it.
fn cut(text: &str, from: &str, to: &str) -> (Vec<String>, String) {
    let mut parts = text.split(from);
    let mut rest = parts.next().unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for part in parts {
        let (inner, after) = part.split_once(to).unwrap();
        found.push(format!("{from}{inner}{to}"));
        rest += after;
    }
    (found, rest)
}

fn plots(page: &str) -> Vec<String> {
    cut(page, "<svg", "</svg>").0
}

/// What a reader sees of a page, apart from the pictures: a line per paragraph and row.
fn seen(page: &str) -> String {
    let (_, page) = cut(page, "<svg", "</svg>");
    let (_, mut page) = cut(&page, "<style>", "</style>");
    for end in ["</td>", "</th>", "</dt>", "</span>"] {
        page = page.replace(end, &format!("{end} "));
    }
    for end in ["p", "h1", "h2", "h3", "h4", "li", "tr", "div", "summary", "figcaption", "title"] {
        page = page.replace(&format!("</{end}>"), "\n");
    }
    let lines = page.lines().map(|line| {
        let text: String =
            line.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text)).collect();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    });
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_page() {
    insta::assert_snapshot!(seen(&page_of(&small())));
}

#[test]
fn the_page_with_plots() {
    let page = page_of(&rich());
    let (_, rest) = page.split_once("<section id=\"plots\">").unwrap();
    let (gallery, _) = rest.split_once("<section id=\"numbers\">").unwrap();
    insta::assert_snapshot!(seen(gallery));
    // Seven of each scale and one across them; the time is with the times.
    assert_eq!(plots(&page).len(), 8 * 3 + 1);
    let (before, time) = page.split_once("id=\"time\"").unwrap();
    assert!(time.contains("Time per token against context"));
    assert!(!before.contains("Time per token against context"));
    assert!(time.contains("Time of a prefill against context"));
    assert!(page.len() < 1_500_000, "{} bytes", page.len());
}

#[test]
fn junit_report() {
    let text = junit(&judge(&small())).unwrap();
    assert_well_formed(&text);
    let (smoke, _) = text.split_once("<testsuite name=\"3.5M\"").unwrap();
    insta::assert_snapshot!(smoke);
}

#[test]
fn only_what_is_required_is_red_in_junit() {
    for ledger in [small(), rich(), Ledger::default()] {
        let judgement = judge(&ledger);
        let text = junit(&judgement).unwrap();
        let count = |status| judgement.count(Role::Required, status);
        assert_eq!(text.matches("<failure").count(), count(Status::Unmet));
        assert_eq!(text.matches("<error").count(), count(Status::Unproven));
        assert_eq!(text.matches("<testcase").count(), judgement.findings.len());
    }
}

#[test]
fn github_report() {
    let ledger = small();
    let judgement = judge(&ledger);
    let (told, summary) = (annotations(&judgement), job_summary(&ledger, &judgement));
    insta::assert_snapshot!(format!("{told}\n{summary}"));
}

#[test]
fn github_is_not_told_more_than_it_shows() {
    let everything = World::good("full", &["3.5M", "8M", "30M", "125M"], 3);
    let nothing = World { facts: Default::default(), ..everything.clone() };
    let mut bad = everything;
    bad.facts.values_mut().for_each(|f| f.value = f64::NAN);
    for world in [nothing, bad] {
        let ledger = world.ledger();
        let judgement = judge(&ledger);
        let told = annotations(&judgement);
        for kind in ["error", "warning", "notice"] {
            assert!(told.lines().filter(|line| line.starts_with(&format!("::{kind} "))).count() <= 10);
        }
        assert!(job_summary(&ledger, &judgement).len() < 1 << 20);
    }
}

#[test]
fn the_same_ledger_gives_the_same_bytes() {
    let (ledger, again) = (rich(), rich());
    let (a, b) = (judge(&ledger), judge(&again));
    assert_eq!(html(&ledger, &a), html(&again, &b));
    assert_eq!(junit(&a).unwrap(), junit(&b).unwrap());
    assert_eq!(annotations(&a), annotations(&b));
    assert_eq!(job_summary(&ledger, &a), job_summary(&again, &b));
    let mut lines = ledger.lines().to_vec();
    lines[1..].reverse();
    let turned = Ledger::from_lines(lines);
    assert_eq!(html(&ledger, &a), html(&turned, &judge(&turned)));
}

#[test]
fn times_stand_apart_in_the_page() {
    let mut world = World::good("smoke", &["smoke"], 3);
    let pages = [1.0, 2.0].map(|factor| {
        let seconds = world.select("smoke", None, Condition::Trained, Metric::TrainTokensPerSecond, None);
        seconds.for_each(|(_, f)| f.value *= factor);
        let mut lines = world.lines();
        let points = [(2048, factor), (4096, factor)];
        lines.push(Line::Curve(curve(GPT2, "smoke", 0, CurveKind::TimeByContext, &points)));
        let page = page_of(&Ledger::from_lines(lines));
        page.split_once("id=\"time\"").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap()
    });
    assert_eq!(pages[0].0, pages[1].0);
    assert_ne!(pages[0].1, pages[1].1);
}

#[test]
fn only_curves_that_agree_with_the_manifest_are_shown() {
    let world = World::good("smoke", &["smoke"], 2);
    let of = |curves: &[Curve]| {
        let lines = world.lines().into_iter().chain(curves.iter().cloned().map(Line::Curve));
        let page = page_of(&Ledger::from_lines(lines.collect()));
        plots(&page).len() - plots(&page_of(&world.ledger())).len()
    };
    let points = [(1, 2.0), (10, 1.5)];
    let made = |seed, points: &[(u64, f64)]| curve(GPT2, "smoke", seed, CurveKind::TrainingLoss, points);
    let good = made(0, &points);
    assert_eq!(of(std::slice::from_ref(&good)), 1);
    assert_eq!(of(&[good.clone(), good.clone()]), 1);
    assert_eq!(of(&[]), 0);
    assert_eq!(of(&[made(7, &points)]), 0, "a trial that the manifest does not name");
    let elsewhere = Provenance { device: "another".to_owned(), ..provenance("smoke", 0) };
    let (x, y) = points.iter().map(|&(x, y)| (x, Value::from(y))).unzip();
    let other = Curve::new(good.subject().clone(), good.kind(), x, y, elsewhere).unwrap();
    assert_eq!(of(std::slice::from_ref(&other)), 0, "another device");
    assert_eq!(of(&[good.clone(), other]), 1);
    let contradiction = made(0, &[(1, 2.0), (10, 1.4)]);
    assert_eq!(of(&[good, contradiction]), 0, "measured twice, differently");
    assert_eq!(of(&[made(0, &[(1, f64::NAN), (10, f64::INFINITY)])]), 0, "nothing to show");
}

/// A world whose names are hostile wherever a ledger may hold a name.
fn hostile() -> Ledger {
    let mut world = World::good(HOSTILE, &["smoke", HOSTILE], 2);
    world.manifest.models.push(HOSTILE.to_owned());
    world.manifest.revision = HOSTILE.to_owned();
    world.facts.values_mut().for_each(|f| f.provenance.revision = HOSTILE.to_owned());
    let copies = world.facts.iter().filter(|(key, _)| key.1 == GPT2);
    let copies: Vec<_> = copies.map(|(key, fact)| (key.clone(), fact.clone())).collect();
    for (mut key, fact) in copies {
        key.1 = HOSTILE;
        world.facts.insert(key, fact);
    }
    let losses = world.select("smoke", Some(GPT2), Condition::Trained, Metric::ValidationLoss, None);
    losses.for_each(|(_, f)| f.provenance.device = HOSTILE.to_owned());
    let mut lines = world.lines();
    for kind in CurveKind::ALL {
        let subject = Subject {
            model: HOSTILE.to_owned(),
            scale: "smoke".to_owned(),
            seed: 0,
            condition: Condition::Trained,
        };
        let source = Provenance { revision: HOSTILE.to_owned(), ..provenance("smoke", 0) };
        let y = vec![Value::from(1.0); 2];
        lines.push(Line::Curve(Curve::new(subject, *kind, vec![1, 10], y, source).unwrap()));
    }
    Ledger::from_lines(lines)
}

#[test]
fn no_name_becomes_markup_or_a_command() {
    let ledger = hostile();
    let judgement = judge(&ledger);
    let page = page_of(&ledger);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert_eq!(page.matches("<script").count(), 1, "only the page's own");
    assert!(plots(&page).len() > 5);
    plots(&page).iter().for_each(|plot| assert_well_formed(plot));
    assert_well_formed(&junit(&judgement).unwrap());
    let (told, summary) = (annotations(&judgement), job_summary(&ledger, &judgement));
    for line in told.lines() {
        let (properties, message) = line.strip_prefix("::").and_then(|rest| rest.split_once("::")).unwrap();
        let (kind, title) = properties.split_once(" title=").unwrap();
        assert!(["error", "warning", "notice"].contains(&kind), "{line}");
        assert!(!title.contains([':', ',']), "{line}");
        assert!(!message.replace("%25", "").replace("%0A", "").contains('%'), "{line}");
    }
    let report = markdown(&ledger, &judgement);
    for text in [&page, &told, &summary, &report] {
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "a control character");
        assert!(!text.contains(['\u{202e}', '\u{2028}']), "a hidden character");
    }
    for text in [&summary, &report] {
        assert!(!text.contains("<script") && !text.contains("](a)"), "{text}");
        assert!(!text.lines().any(|line| line.starts_with("::")), "{text}");
    }
}

/// Numbers that break careless plots, among ordinary ones.
fn number() -> impl Strategy<Value = f64> {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN, f64::MAX, 1e300, -1e300];
    let small = [0.0, -0.0, 5e-324, f64::MIN_POSITIVE, 1.0, 1.0 + f64::EPSILON, -1.0, 1e-300];
    prop_oneof![any::<f64>(), 0.1..10.0, proptest::sample::select([&odd[..], &small[..]].concat())]
}

fn any_curve() -> impl Strategy<Value = Curve> {
    let place = prop_oneof![any::<u64>(), 0..3_u64, 0..1_000_000_u64];
    let points = proptest::collection::vec((place, number(), number(), number()), 0..40);
    let kind = proptest::sample::select(CurveKind::ALL);
    let model = proptest::sample::select(vec![GROUNDTHINK, GPT2, "another"]);
    (points, kind, model, 0..3_u64, any::<bool>()).prop_map(|(points, kind, model, seed, with_intervals)| {
        let pairs: Vec<_> = points.iter().map(|&(x, y, ..)| (x, y)).collect();
        let curve = curve(model, "smoke", seed, kind, &pairs);
        let intervals = points.iter().map(|&(_, _, a, b)| [Value::from(a), Value::from(b)]).collect();
        if with_intervals { curve.with_intervals(intervals).unwrap() } else { curve }
    })
}

/// A plot whose every coordinate lies on the canvas or just beside it.
fn assert_on_canvas(plot: &str) {
    for name in ["points", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy"] {
        let start = format!(" {name}=\"");
        let mut parts = plot.split(&start);
        parts.next();
        for part in parts {
            for number in
                part.split('"').next().unwrap_or_default().split([',', ' ']).filter(|n| !n.is_empty())
            {
                let at: f64 = number.parse().unwrap();
                assert!((-60.0..=2000.0).contains(&at), "{name} {number}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn plots_survive_any_curve(curves in proptest::collection::vec(any_curve(), 1..8)) {
        let mut world = World::good("smoke", &["smoke"], 3);
        world.facts.clear();
        let lines = world.lines().into_iter().chain(curves.into_iter().map(Line::Curve)).collect();
        plots(&page_of(&Ledger::from_lines(lines))).iter().for_each(|plot| assert_on_canvas(plot));
    }

    #[test]
    fn plots_survive_any_measurement(
        values in proptest::collection::vec(number(), 36),
        trials in 1..4_u64,
        few in 0..40_usize,
    ) {
        let scales = ["3.5M", "8M"];
        let mut world = World::good("full", &scales, trials);
        let metrics = ["non_embedding_parameters", "validation_loss", "retention_1_accuracy", "retention_5_accuracy", "statefulness_chance"];
        let metrics = metrics.map(|id| Metric::find(id).unwrap());
        world.facts.retain(|key, _| metrics.contains(&key.3) && key.2 == Condition::Trained);
        let mut i = 0;
        world.facts.retain(|_, fact| {
            fact.value = values[i % values.len()];
            i += 1;
            i != few
        });
        plots(&page_of(&world.ledger())).iter().for_each(|plot| assert_on_canvas(plot));
    }
}
