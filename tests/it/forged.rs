//! Forged ledgers: a sound ledger is forged in the ways that somebody would who wants a PASS, or wants to be rid of a
//! FAIL, and has a text editor. None passes, and what fails goes on failing (rulings R22, R24, R25).

use v5gate::evidence::{
    Condition, Curve, CurveKind, Field, Ledger, Line, Manifest, Measurement, Metric, Subject, Value,
};
use v5gate::gate::{CRITERIA, GPT2, GROUNDTHINK, Judgement, Problem, Role, Status, Verdict, judge};
use v5gate::report::{TerminalStyle, html, json, markdown, terminal};

use crate::world::{World, iteration, measured};

/// The smallest gated scale: no row there looks at another.
const SCALE: &str = "3.5M";
const TRAINED: Condition = Condition::Trained;

/// A sound world of one gated scale.
fn sound() -> World {
    World::good("test", &[SCALE], 3)
}

/// The same in which GroundThink is far worse than GPT-2 in every trial.
fn failing() -> World {
    let mut world = sound();
    put(&mut world, GROUNDTHINK, Metric::ValidationLoss, |x| x + 1.0);
    put(&mut world, GROUNDTHINK, Metric::ValidationPerplexity, |x| x * 1_f64.exp());
    world
}

fn put(world: &mut World, model: &str, metric: Metric, f: impl Fn(f64) -> f64) {
    for (_, fact) in world.select(SCALE, Some(model), TRAINED, metric, None) {
        fact.value = f(fact.value);
    }
}

fn judged(lines: Vec<Line>) -> Judgement {
    judge(&Ledger::from_lines(lines))
}

fn status(judgement: &Judgement, id: &str) -> Status {
    judgement.findings.iter().find(|f| f.criterion == id && f.scale == SCALE).expect("a row").status
}

/// The lines of one world, and of another those measurements that say something else.
fn beside(world: &World, other: &World) -> Vec<Line> {
    let mut lines = world.lines();
    let new = other.lines().into_iter().filter(|line| matches!(line, Line::Measurement(_)));
    let new: Vec<Line> = new.filter(|line| !lines.contains(line)).collect();
    lines.extend(new);
    lines
}

fn promise(world: &World, number: u64, change: impl FnOnce(&mut Manifest)) -> Line {
    let mut manifest = Manifest { number, ..world.manifest.clone() };
    change(&mut manifest);
    Line::Manifest(manifest)
}

/// A further trial of a manifest, of which nothing was measured.
fn with_trial(manifest: &mut Manifest, seed: u64) {
    manifest.seeds.push(seed);
    let first = manifest.seeds[0];
    let mut more: Vec<_> = manifest.expected.iter().filter(|e| e.seed == first).cloned().collect();
    more.iter_mut().for_each(|e| (e.seed, e.order) = (seed, format!("order-{seed}")));
    manifest.expected.extend(more);
}

#[test]
fn what_is_sound_is_met_and_what_fails_fails() {
    let good = judged(sound().lines());
    assert!(good.own_criteria_met(), "{:?}", open(&good));
    assert_eq!(judged(failing().lines()).verdict, Verdict::Fail);
}

fn open(judgement: &Judgement) -> Vec<(&'static str, Status)> {
    let open = judgement.findings.iter().filter(|f| f.role == Role::Required);
    open.filter(|f| !matches!(f.status, Status::Met | Status::Outside))
        .map(|f| (f.criterion, f.status))
        .collect()
}

#[test]
fn a_contradicting_line_hides_no_fail() {
    let (good, bad) = (sound(), failing());
    // A single line, all of them, and the same values with another number of items.
    let mut one = bad.clone();
    one.select(SCALE, Some(GROUNDTHINK), TRAINED, Metric::ValidationLoss, Some(1))
        .for_each(|(_, f)| f.value -= 1.0);
    for lines in [beside(&bad, &one), beside(&bad, &good), beside(&good, &bad)] {
        let judgement = judged(lines);
        assert_eq!(judgement.verdict, Verdict::Fail);
        assert_eq!(status(&judgement, "perplexity-non-inferior"), Status::Unmet);
    }
    let mut lines = bad.lines();
    for (key, fact) in bad.facts.iter().filter(|(key, _)| key.3 == Metric::ValidationLoss) {
        let m = measured(key, fact);
        let (of, source) = (m.subject().clone(), m.provenance().clone());
        lines.push(Line::Measurement(Measurement::new(of, m.metric(), m.value(), Some(7), None, source)));
    }
    let judgement = judged(lines);
    assert_eq!(judgement.verdict, Verdict::Fail);
    assert!(judgement.problems.iter().any(|p| matches!(p, Problem::Contradictions(_))));
}

#[test]
fn what_a_row_reads_beside_its_metrics_contradicts_too() {
    let read: [(&str, Metric, f64); 4] = [
        ("naive-bigram", Metric::BigramLoss, 0.5),
        ("statefulness-is-mean", Metric::StatefulnessScore, 0.5),
        ("statefulness-off-the-floor", Metric::StatefulnessChance, 0.99),
        ("three-turn-memory", Metric::StatefulnessChance, 0.99),
    ];
    for (id, metric, bad) in read {
        let (good, mut forged) = (sound(), sound());
        assert_eq!(status(&judged(good.lines()), id), Status::Met, "{id}");
        forged.select(SCALE, None, TRAINED, metric, None).for_each(|(_, f)| {
            f.value = bad;
            f.interval = None;
        });
        assert_eq!(status(&judged(beside(&good, &forged)), id), Status::Unmet, "{id}");
        assert_eq!(status(&judged(beside(&forged, &good)), id), Status::Unmet, "{id}");
    }
}

#[test]
fn two_answers_of_which_both_would_do_are_met_and_do_not_pass() {
    let (good, mut again) = (sound(), sound());
    put(&mut again, GPT2, Metric::UnigramLoss, |x| x + 1e-6);
    put(&mut again, GROUNDTHINK, Metric::UnigramLoss, |x| x + 1e-6);
    let judgement = judged(beside(&good, &again));
    assert_eq!(status(&judgement, "naive-unigram"), Status::Met);
    assert!(judgement.problems.contains(&Problem::Contradictions(6)), "{:?}", judgement.problems);
    // A time may be measured twice.
    let mut again = sound();
    put(&mut again, GPT2, Metric::PrefillSeconds, |x| x * 1.01);
    let problems = judged(beside(&good, &again)).problems;
    assert!(!problems.iter().any(|p| matches!(p, Problem::Contradictions(_))), "{problems:?}");
}

/// What contradicts itself shows in no plot: whoever adds a second curve takes the first one away.
#[test]
fn a_second_curve_hides_no_curve() {
    let good = sound();
    let (key, fact) = good.facts.first_key_value().expect("facts");
    let subject = Subject {
        scale: key.0.clone(),
        model: GROUNDTHINK.to_owned(),
        seed: key.4,
        condition: Condition::Trained,
    };
    let curve = |kind, y: f64| {
        let (subject, source) = (subject.clone(), fact.provenance.clone());
        Line::Curve(
            Curve::new(subject, kind, vec![1, 2], vec![Value::from(2.0), Value::from(y)], source).unwrap(),
        )
    };
    let problems = |kind, ys: [f64; 2]| {
        let curves = ys.map(|y| curve(kind, y));
        judged([good.lines(), curves.to_vec()].concat()).problems
    };
    let hidden = Problem::ContradictingCurves(1);
    assert!(problems(CurveKind::LossByPosition, [1.0, 3.0]).contains(&hidden));
    assert!(!problems(CurveKind::LossByPosition, [1.0, 1.0]).contains(&hidden));
    // Times are measured as often as one likes.
    assert!(!problems(CurveKind::TimeByContext, [1.0, 3.0]).contains(&hidden));
}

#[test]
fn a_newer_promise_hides_no_fail() {
    let bad = failing();
    let more = promise(&bad, 2, |m| with_trial(m, 3));
    let fewer = promise(&bad, 2, |m| {
        m.seeds.truncate(1);
        m.expected.retain(|e| e.seed == 0);
    });
    let elsewhere = promise(&bad, 2, |m| {
        m.scales = vec!["smoke".to_owned()];
        m.expected.iter_mut().for_each(|e| e.scale = "smoke".to_owned());
    });
    for newer in [more, fewer, elsewhere] {
        let judgement = judged([bad.lines(), vec![newer]].concat());
        assert_eq!(judgement.verdict, Verdict::Fail);
        assert_eq!(status(&judgement, "perplexity-non-inferior"), Status::Unmet);
    }
}

#[test]
fn an_eleventh_trial_hides_no_fail() {
    let mut bad = World::good("full", &[SCALE], 10);
    put(&mut bad, GROUNDTHINK, Metric::ValidationLoss, |x| x + 1.0);
    with_trial(&mut bad.manifest, 52);
    let judgement = judged(bad.lines());
    assert_eq!(status(&judgement, "perplexity-non-inferior"), Status::Unmet);
    assert_eq!(judgement.verdict, Verdict::Fail);
}

#[test]
fn a_promise_does_not_shrink() {
    let mut good = sound();
    good.facts.retain(|key, _| key.4 != 2);
    let fewer = promise(&good, 2, |m| {
        m.seeds.truncate(2);
        m.expected.retain(|e| e.seed != 2);
    });
    let judgement = judged([good.lines(), vec![fewer]].concat());
    assert_eq!(status(&judgement, "run-completed"), Status::Unproven);
    assert!(judgement.problems.iter().any(|p| matches!(p, Problem::Shrunk(gone) if gone.seeds == [2])));
}

/// Gives every measurement and every expectation of a world another name in one field.
fn under_other(world: &mut World, field: Field) {
    let name = || format!("{}-2", field.name());
    match field {
        Field::Revision => world.manifest.revision = name(),
        Field::Recipe => world.manifest.expected.iter_mut().for_each(|e| e.recipe = name()),
        Field::Data => world.manifest.expected.iter_mut().for_each(|e| e.data = name()),
        Field::Order => world.manifest.expected.iter_mut().for_each(|e| e.order += "-2"),
        Field::Tokenizer => world.manifest.expected.iter_mut().for_each(|e| e.tokenizer = name()),
        Field::Device => world.manifest.expected.iter_mut().for_each(|e| e.device = name()),
        Field::Precision => world.manifest.expected.iter_mut().for_each(|e| e.precision = name()),
        other => unreachable!("{other:?} is not promised"),
    }
    for fact in world.facts.values_mut() {
        let source = &mut fact.provenance;
        match field {
            Field::Revision => source.revision = name(),
            Field::Recipe => source.recipe = name(),
            Field::Data => source.data = name(),
            Field::Order => source.order += "-2",
            Field::Tokenizer => source.tokenizer = name(),
            Field::Device => source.device = name(),
            _ => source.precision = name(),
        }
    }
}

#[test]
fn every_earlier_attempt_is_told() {
    for &field in Field::EXPECTED {
        let (bad, mut good) = (failing(), sound());
        under_other(&mut good, field);
        good.manifest.number = 2;
        let ledger = Ledger::from_lines([bad.lines(), good.lines()].concat());
        let judgement = judge(&ledger);
        assert_eq!((judgement.attempt, judgement.attempts.len()), (2, 1), "{field:?}");
        let earlier = &judgement.attempts[0];
        assert_eq!((earlier.verdict, earlier.differs.as_slice()), (Verdict::Fail, &[field][..]));
        assert_eq!(status(&judgement, "perplexity-non-inferior"), Status::Met, "{field:?}");
        let style = TerminalStyle { width: 1_000, colour: false, brief: false };
        let reports = [
            terminal(&ledger, &judgement, style),
            markdown(&ledger, &judgement),
            html(&ledger, &judgement),
            json(&ledger, &judgement)["attempts"].to_string(),
        ];
        for report in reports {
            assert!(report.contains("FAIL") && report.contains(field.name()), "{field:?}: {report:.600}");
            assert!(report.contains("perplexity-non-inferior"), "{field:?}");
        }
        assert!(markdown(&ledger, &judgement).contains("this is attempt 2"));
    }
}

#[test]
fn what_belongs_to_no_promise_keeps_a_ledger_from_passing() {
    let (mut bad, good) = (failing(), sound());
    under_other(&mut bad, Field::Data);
    let mut lines = bad.lines();
    lines.retain(|line| matches!(line, Line::Measurement(_)));
    let count = lines.len();
    lines.extend(good.lines());
    assert!(judged(lines).problems.contains(&Problem::Unpromised(count)));
}

#[test]
fn a_made_up_iteration_proves_nothing() {
    let lacking = |number| iteration(number, &["scaling"]);
    let mut world = World::good("test", &["3.5M", "8M"], 3);
    // The present code does not improve with size.
    let loss = world.select("8M", Some(GROUNDTHINK), TRAINED, Metric::ValidationLoss, None);
    loss.for_each(|(_, fact)| fact.value += 1.0);
    let with = |iterations: Vec<_>| {
        let mut world = world.clone();
        world.iterations.extend(iterations);
        let findings = judge(&world.ledger()).findings;
        findings.iter().find(|f| f.criterion == "iterations" && f.scale == "8M").expect("a row").status
    };
    assert_eq!(with(vec![lacking(2), lacking(3)]), Status::Unmet);
    // One between them, one after them, and one in the place of the last.
    assert_eq!(with(vec![lacking(2), iteration(3, &[]), lacking(4)]), Status::Unmet);
    assert_eq!(with(vec![lacking(2), lacking(3), iteration(4, &[])]), Status::Unmet);
    let mut fuller = iteration(3, &[]);
    fuller.measurements *= 2;
    assert_eq!(with(vec![lacking(2), lacking(3), fuller]), Status::Unmet);
    assert!(CRITERIA.iter().any(|c| c.id == "iterations"));
}

/// What a forger leaves undone: a number whose parts say otherwise, or trials that are copies of each other.
#[test]
fn forged_numbers_are_seen() {
    type Forge = fn(&mut World);
    let forgeries: [(&str, &str, Status, Forge); 14] = [
        ("perplexity is not exp of loss", "perplexity-of-loss", Status::Unmet, |w| {
            put(w, GROUNDTHINK, Metric::ValidationPerplexity, |x| x * 0.9);
        }),
        ("6ND is not", "compute-is-6nd", Status::Unmet, |w| put(w, GPT2, Metric::Compute6nd, |x| x * 1.005)),
        ("five times the compute", "training-flops-counted", Status::Unmet, |w| {
            put(w, GROUNDTHINK, Metric::TrainFlops, |x| x * 5.0);
        }),
        ("five times the compute, all through", "flops-alike", Status::Unmet, |w| {
            put(w, GROUNDTHINK, Metric::TrainFlops, |x| x * 5.0);
            put(w, GROUNDTHINK, Metric::ForwardFlopsPerToken, |x| x * 5.0);
        }),
        ("parameters hidden", "parameters-add-up", Status::Unmet, |w| {
            put(w, GROUNDTHINK, Metric::NonEmbeddingParameters, |x| x - 1.0);
        }),
        ("no items", "perplexity-non-inferior", Status::Unproven, |w| {
            let all = w.select(SCALE, Some(GROUNDTHINK), TRAINED, Metric::ValidationLoss, None);
            all.for_each(|(_, f)| f.n = 0);
        }),
        ("the worst tenth left out", "same-items", Status::Unmet, |w| {
            let all = w.select(SCALE, Some(GROUNDTHINK), TRAINED, Metric::ValidationLoss, None);
            all.for_each(|(_, f)| f.n -= 9);
        }),
        ("one trial, copied", "trials-scatter", Status::Unproven, |w| {
            put(w, GROUNDTHINK, Metric::ValidationLoss, |_| 2.0);
        }),
        ("one trial, copied with noise", "trials-scatter", Status::Unproven, |w| {
            for (key, fact) in w.select(SCALE, Some(GROUNDTHINK), TRAINED, Metric::TrainLoss, None) {
                fact.value = 2.0 + 1e-12 * key.4 as f64;
            }
        }),
        ("one stream of tokens", "batches-distinct", Status::Unmet, |w| {
            w.facts.values_mut().for_each(|f| f.provenance.consumed = "one".to_owned());
        }),
        ("one initialisation", "initial-weights-distinct", Status::Unmet, |w| {
            let initial = w.facts.iter_mut().filter(|(key, _)| key.2 == Condition::Untrained);
            initial.for_each(|(key, f)| f.provenance.weights = format!("initial {}", key.1));
        }),
        ("a share beyond 1", "three-turn-memory", Status::Unmet, |w| {
            let metric = CRITERIA.iter().find(|c| c.id == "three-turn-memory").expect("a row").metrics[0];
            let all = w.select(SCALE, None, TRAINED, metric, None);
            all.for_each(|(_, f)| f.interval = Some([0.9, 1.2]));
        }),
        (
            "trained on held-out text, or measured on training text",
            "held-out-no-easier",
            Status::Unmet,
            |w| {
                put(w, GROUNDTHINK, Metric::TrainLoss, |x| x + 0.1);
            },
        ),
        ("a benchmark learnt by heart", "wikitext-non-inferior", Status::Unproven, |w| {
            put(w, GROUNDTHINK, Metric::WikitextOverlap, |_| 1.0);
        }),
    ];
    for (what, id, expected, forge) in forgeries {
        let mut world = sound();
        forge(&mut world);
        let judgement = judged(world.lines());
        assert_eq!(status(&judgement, id), expected, "{what}");
        assert!(!judgement.own_criteria_met(), "{what}");
        // Whatever is forged, what fails goes on failing.
        let mut world = failing();
        forge(&mut world);
        assert_eq!(judged(world.lines()).verdict, Verdict::Fail, "{what}");
    }
}

/// Three trials under the names of ten.
#[test]
fn three_trials_are_not_ten() {
    let mut world = World::good("full", &[SCALE], 10);
    let copied: Vec<_> = world.facts.iter().map(|(key, fact)| (key.clone(), fact.clone())).collect();
    for (key, _) in &copied {
        let from = (key.0.clone(), key.1, key.2, key.3, 42 + (key.4 - 42) % 3);
        let source = world.facts[&key.clone()].provenance.clone();
        let fact = world.facts[&from].clone();
        let order = source.order;
        let forged = world.facts.get_mut(key).expect("a fact");
        *forged = fact;
        forged.provenance.order = order;
    }
    let judgement = judge(&world.ledger());
    for id in ["weights-distinct", "initial-weights-distinct", "batches-distinct"] {
        assert_eq!(status(&judgement, id), Status::Unmet, "{id}");
    }
}

#[test]
fn the_program_that_judges_is_the_evidences() {
    let judgement = judge(&World::good("full", &[SCALE], 10).ledger());
    assert!(judgement.problems.contains(&Problem::OtherProgram));
    let judgement = judge(&World::good("full", &[SCALE], 10).of_this_program().ledger());
    assert!(!judgement.problems.contains(&Problem::OtherProgram));
}
