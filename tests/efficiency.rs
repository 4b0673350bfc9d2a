//! Time and memory: what is slower, hungrier or remembers everything must show, through the measuring that
//! `cargo bench` does. A binary of its own, and one test at a time: memory is that of the whole process.
//! Weights are as they were drawn: cost does not depend on them.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use candle_core::Result;
use v5gate::collect::{
    Candidate, Collector, Depth, Options, TIMES, archive_timings, audit, measure_interleaved,
};
use v5gate::data::dataset::DataSpec;
use v5gate::evidence::{
    Condition, CurveKind, ExpectedRun, Ledger, Line, Manifest, Measurement, Metric, Provenance, SCHEMA,
    Subject, Value,
};
use v5gate::gate::{Status, judge};
use v5gate::models::{Config, LanguageModel, Network, Params, State, find, with_positions};
use v5gate::ops::{Tape, Var, to_vec_f64};
use v5gate::progress::Screen;
use v5gate::protocol::Protocol;
use v5gate::report;
use v5gate::scale;

const SEEDS: [u64; 3] = [1, 2, 3];

fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn model(name: &str, seed: u64) -> Box<dyn LanguageModel> {
    let scale = scale::find("smoke").unwrap();
    (find(name).unwrap().config)(scale, 1024, 96).init(seed).unwrap()
}

fn source(model: &str, seed: u64) -> Provenance {
    let [recipe, data, order, tokenizer, revision, device, precision] =
        ["r", "d", "o", "t", "v", "c", "p"].map(str::to_owned);
    let weights = format!("{model} {seed}");
    Provenance { recipe, data, order, tokenizer, revision, device, precision, weights, ..Default::default() }
}

fn manifest() -> Line {
    let expected = |seed| {
        let Provenance { recipe, data, order, tokenizer, device, precision, .. } = source("", seed);
        ExpectedRun { scale: "smoke".into(), seed, recipe, data, order, tokenizer, device, precision }
    };
    Line::Manifest(Manifest {
        parts: Vec::new(),
        schema: SCHEMA,
        material: Default::default(),
        number: 1,
        protocol: "smoke".into(),
        models: vec!["gpt2".into(), "groundthink".into()],
        scales: vec!["smoke".into()],
        seeds: SEEDS.to_vec(),
        revision: "v".into(),
        expected: SEEDS.map(expected).to_vec(),
    })
}

/// The evidence of a race of two in every trial, under the names of the comparison.
fn evidence(of: impl Fn(u64) -> [Box<dyn LanguageModel>; 2]) -> Vec<Line> {
    let mut lines = vec![manifest()];
    for seed in SEEDS {
        let models = of(seed);
        let names = ["gpt2", "groundthink"];
        let sources = names.map(|name| source(name, seed));
        let entrants: Vec<_> = (0..2)
            .map(|i| Candidate {
                of: Subject {
                    model: names[i].to_owned(),
                    scale: "smoke".into(),
                    seed,
                    condition: Condition::Trained,
                },
                source: &sources[i],
                model: models[i].as_ref(),
                perplexity: Some(2.0),
            })
            .collect();
        // A few rounds suffice for what is gross.
        let mut few = |_: &str, _: usize, round: &mut dyn FnMut()| (0..3).for_each(|_| round());
        let measured = measure_interleaved(v5gate::device::current(), &entrants, &mut few).unwrap();
        lines.extend(measured.into_iter().flat_map(|answers| answers.lines));
    }
    lines
}

fn status(lines: &[Line], criterion: &str) -> Status {
    let judgement = judge(&Ledger::from_lines(lines.to_vec()));
    let found = judgement.findings.into_iter().find(|f| f.criterion == criterion && f.scale == "smoke");
    let found = found.unwrap();
    println!(
        "{criterion}: {:?}, {} {}",
        found.status,
        report::found(&found),
        report::lacking(&found).unwrap_or_default()
    );
    found.status
}

fn measurements(lines: &[Line]) -> impl Iterator<Item = &Measurement> {
    lines.iter().filter_map(|line| if let Line::Measurement(m) = line { Some(m) } else { None })
}

/// What is wrong with a twin.
#[derive(Clone, Copy, PartialEq)]
enum Defect {
    /// Every pass takes 3 ms more.
    Sleeps,
    /// A pass of many tokens needs 64 MB more.
    Hungry,
    /// A kilobyte is kept of every token.
    KeepsEverything,
    /// Every pass takes 2 µs more for every token read so far.
    LooksBack,
    /// What comes after 4,096 tokens is forgotten at once.
    StopsReading,
}

struct Twin {
    sound: Box<dyn LanguageModel>,
    defect: Defect,
    kept: Mutex<Vec<Vec<u8>>>,
}

fn twin(sound: Box<dyn LanguageModel>, defect: Defect) -> Box<dyn LanguageModel> {
    Box::new(Twin { sound, defect, kept: Mutex::default() })
}

impl LanguageModel for Twin {
    fn config(&self) -> Config {
        self.sound.config()
    }
    fn over(&self, params: Params) -> Box<dyn LanguageModel> {
        twin(self.sound.over(params), self.defect)
    }
}

impl Network for Twin {
    fn params(&self) -> &Params {
        self.sound.params()
    }
    fn head(&self) -> &'static str {
        self.sound.head()
    }
    fn window(&self) -> Option<usize> {
        self.sound.window()
    }
    fn new_state(&self, batch: usize) -> Result<State> {
        self.sound.new_state(batch)
    }
    fn with_params(&self, params: Params) -> Box<dyn Network> {
        self.over(params)
    }
    fn backbone(&self, tape: &Tape, tokens: &[u32], state: &mut State) -> Result<Var> {
        let sleep = |micros: usize| std::thread::sleep(Duration::from_micros(micros as u64));
        let mut ballast = Vec::new();
        match self.defect {
            Defect::Sleeps => sleep(3_000),
            Defect::Hungry if tokens.len() > 1 => ballast = vec![1u8; 64 << 20],
            Defect::Hungry => {}
            Defect::KeepsEverything => {
                let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push(vec![1; 1024 * tokens.len()]);
            }
            Defect::LooksBack => sleep(2 * state.position()),
            Defect::StopsReading if state.position() >= 4096 => {
                return self.sound.backbone(tape, tokens, &mut state.clone());
            }
            Defect::StopsReading => {}
        }
        let hidden = self.sound.backbone(tape, tokens, state);
        black_box(&ballast);
        hidden
    }
}

#[test]
fn equals_are_equal_and_defects_show() {
    let _alone = alone();
    let candidate = |seed| model("groundthink", seed);
    let equals = evidence(|seed| [candidate(seed), candidate(seed)]);
    assert_eq!(status(&equals, "speed-not-worse"), Status::Met);
    assert_eq!(status(&equals, "memory-significantly-better"), Status::Unmet);
    assert_eq!(status(&equals, "cost-memory-flat"), Status::Met);

    // A hungry one and a slow one, each beside what is sound in that.
    let both = evidence(|seed| [Defect::Hungry, Defect::Sleeps].map(|d| twin(candidate(seed), d)));
    assert_eq!(status(&both, "speed-not-worse"), Status::Unmet);
    assert_eq!(status(&both, "memory-significantly-better"), Status::Met);
    let keeping = evidence(|seed| [candidate(seed), twin(candidate(seed), Defect::KeepsEverything)]);
    assert_eq!(status(&keeping, "cost-memory-flat"), Status::Unmet);
    // That a sound model's time is flat takes more rounds on a quiet machine than a test can have.
    let looking = evidence(|seed| [candidate(seed), twin(candidate(seed), Defect::LooksBack)]);
    assert_eq!(status(&looking, "cost-time-flat"), Status::Unmet);
    // One whose memory grows would be the flatter for it.
    let stopping = evidence(|seed| [candidate(seed), twin(candidate(seed), Defect::StopsReading)]);
    assert_eq!(status(&stopping, "cost-of-whole-context"), Status::Unmet);
}

#[test]
fn the_pair_of_the_comparison_is_measured_in_full() {
    let _alone = alone();
    let lines = evidence(|seed| [model("gpt2", seed), model("groundthink", seed)]);
    for metric in v5gate::probes::efficiency::EFFICIENCY {
        let found: Vec<_> = measurements(&lines).filter(|m| m.metric() == *metric).collect();
        // The peak of a training needs a training.
        let expected = if *metric == Metric::TrainPeakBytes { 0 } else { 6 };
        assert_eq!(found.len(), expected, "{}", metric.id());
        assert!(found.iter().all(|m| metric.can_be(m.value().raw())), "{}", metric.id());
    }
    // Keys and values of every token, and a state that is always as large.
    assert_eq!(status(&lines, "gpt2-memory-grows"), Status::Met);
    assert_eq!(status(&lines, "cost-memory-flat"), Status::Met);
    assert_eq!(status(&lines, "cost-of-whole-context"), Status::Met);
    for (kind, model) in [CurveKind::TimeByContext, CurveKind::MemoryByContext]
        .into_iter()
        .flat_map(|k| [(k, "gpt2"), (k, "groundthink")])
    {
        let curves = lines.iter().filter_map(|line| if let Line::Curve(c) = line { Some(c) } else { None });
        let found: Vec<_> = curves.filter(|c| c.kind() == kind && c.subject().model == model).collect();
        assert_eq!(found.len(), SEEDS.len());
        for curve in found {
            let places: Vec<u64> = curve.points().map(|(x, _)| x).collect();
            assert_eq!(places, [256, 512, 1024, 2048, 4096, 8192]);
            let state = |context: u64| {
                // Two layers of keys and values of 64 numbers, four bytes each.
                let exact = 2 * 2 * 64 * 4 * context;
                let got = curve.points().find(|(x, _)| *x == context).unwrap().1.raw();
                (exact as f64, got)
            };
            if (kind, model) == (CurveKind::MemoryByContext, "gpt2") {
                let (exact, got) = state(8192);
                // What tensors are besides their elements.
                assert!((got / exact - 1.0).abs() < 0.02, "{got} bytes for {exact}");
            }
        }
    }
}

/// One trial of so many steps.
fn of_steps(steps: u64) -> Protocol {
    let mut protocol = Protocol::load("smoke").unwrap();
    protocol.seeds = vec![1];
    protocol.recipe.token_count = steps * protocol.recipe.tokens_per_step();
    protocol.recipe.warmup_steps = 1;
    protocol.data =
        DataSpec::Conversations { seed: 1, train_tokens: 60_000, valid_documents: 8, vocab_size: 1024 };
    protocol
}

/// A protocol's trials are measured once, with the peak of their training.
#[test]
fn what_is_known_is_not_measured_again() {
    let _alone = alone();
    let out = tempfile::tempdir().unwrap();
    let protocol = of_steps(4);
    let (screen, stop) = (Screen::quiet(), AtomicBool::new(false));
    let options = Options {
        out: out.path(),
        data: None,
        jobs: None,
        compute: v5gate::device::current(),
        screen: &screen,
        stop: &stop,
    };
    let collector = Collector::open(&protocol, &options).unwrap();
    let rounds = Cell::new(0);
    let mut few = |_: &str, _: usize, round: &mut dyn FnMut()| {
        rounds.set(rounds.get() + 1);
        round();
    };
    collector.efficiency(&mut few).unwrap();
    collector.efficiency(&mut few).unwrap();
    let of = |lines: &[Line], metric| measurements(lines).filter(|m| m.metric() == metric).count();
    let ledger = collector.close();
    for metric in [Metric::TrainPeakBytes, Metric::PrefillSeconds, Metric::CostMemoryGrowth] {
        assert_eq!(of(ledger.lines(), metric), 2, "{}", metric.id());
    }
    // A training needs more than weights: gradients, two moments, and what the backward pass keeps.
    let weights = 4.0 * model("gpt2", 1).config().model_stats().total as f64;
    let peaks = measurements(ledger.lines()).filter(|m| m.metric() == Metric::TrainPeakBytes);
    assert!(peaks.into_iter().all(|m| m.value().raw() > 4.0 * weights));
    // Prefill, four contexts of it, generation, six contexts of a conversation.
    assert_eq!(rounds.get(), 12);
    // TimedModel anew, there is one set again, and the old one lies beside it.
    let old = archive_timings(out.path()).unwrap().unwrap();
    let collector = Collector::open(&protocol, &options).unwrap();
    collector.efficiency(&mut few).unwrap();
    assert_eq!(of(collector.close().lines(), Metric::PrefillSeconds), 2);
    assert_eq!(of(Ledger::open(old).unwrap().lines(), Metric::PrefillSeconds), 2);
    // Whoever asks to stop gets no half of it.
    archive_timings(out.path()).unwrap();
    let collector = Collector::open(&protocol, &options).unwrap();
    let mut stopping = |_: &str, _: usize, round: &mut dyn FnMut()| {
        round();
        stop.store(true, Ordering::Relaxed);
    };
    assert!(collector.efficiency(&mut stopping).unwrap_err().to_string().contains("interrupted"));
    assert_eq!(of(collector.close().lines(), Metric::PrefillSeconds), 0);
}

/// What one model was measured to need stands in the ledger as the other's.
#[test]
fn a_race_with_swapped_names_is_seen() {
    let _alone = alone();
    let out = tempfile::tempdir().unwrap();
    let protocol = of_steps(12);
    let (screen, stop) = (Screen::quiet(), AtomicBool::new(false));
    let options = Options {
        out: out.path(),
        data: None,
        jobs: None,
        compute: v5gate::device::current(),
        screen: &screen,
        stop: &stop,
    };
    let mut few = |_: &str, _: usize, round: &mut dyn FnMut()| (0..6).for_each(|_| round());
    Collector::open(&protocol, &options).unwrap().efficiency(&mut few).unwrap();
    let of = |names: &[&str]| {
        let reports = audit(&protocol, &options, Depth::default()).unwrap();
        let questions = reports.iter().flat_map(|r| &r.questions);
        let costs = questions.filter(|(metric, _)| *metric == Metric::AuditCosts).flat_map(|(_, all)| all);
        let named = costs.filter(|d| names.iter().any(|name| d.what.contains(name)));
        named.map(|d| (d.what.clone(), d.share())).collect::<Vec<_>>()
    };
    // Times themselves may be those of a busy machine.
    let sound = of(&["bytes", "samples", "clock"]);
    // On a busy machine only what differs is told; else median, interval and number of two times and the clock of each
    // training, at least.
    let told = sound.is_empty() || sound.len() > 14;
    assert!(told && sound.iter().all(|(_, share)| *share <= 1.0), "{sound:?}");
    let path = out.path().join("ledger.jsonl");
    let lines = Ledger::open(&path).unwrap().lines().to_vec();
    let of_times = |m: &Measurement| m.provenance().probe == TIMES;
    let other = |m: &Measurement| {
        let is_other = |o: &&Measurement| {
            of_times(o) && o.metric() == m.metric() && o.subject().model != m.subject().model
        };
        measurements(&lines).find(is_other).unwrap_or(m).clone()
    };
    let swapped = lines.iter().map(|line| match line {
        Line::Measurement(m) if of_times(m) => {
            let o = other(m);
            Line::Measurement(Measurement::new(
                m.subject().clone(),
                m.metric(),
                o.value().raw(),
                o.n(),
                o.interval().map(|ends| ends.map(|end| end.raw())),
                m.provenance().clone(),
            ))
        }
        other => other.clone(),
    });
    let swapped: Vec<Line> = swapped.collect();
    std::fs::remove_file(&path).unwrap();
    Ledger::open_or_empty(&path).unwrap().append(&swapped).unwrap();
    let is_red = |name: &str| {
        let planted = of(&[name]);
        assert!(planted.iter().any(|(_, share)| *share > 1.0), "{planted:?}");
    };
    is_red("bytes");
    // Intervals a third as wide as their samples say.
    let narrowed = lines.iter().map(|line| match line {
        Line::Measurement(m) if of_times(m) && m.items().is_some() => {
            let narrow = |ends: [Value; 2]| ends.map(|end| (2.0 * m.value().raw() + end.raw()) / 3.0);
            let (of, source) = (m.subject().clone(), m.provenance().clone());
            let interval = m.interval().map(narrow);
            let new = Measurement::new(of, m.metric(), m.value().raw(), m.n(), interval, source);
            Line::Measurement(new.with_items(m.items().unwrap()))
        }
        other => other.clone(),
    });
    let narrowed: Vec<Line> = narrowed.collect();
    std::fs::remove_file(&path).unwrap();
    Ledger::open_or_empty(&path).unwrap().append(&narrowed).unwrap();
    is_red("samples (interval)");
}

/// More positions are the old ones again, and nothing else changes.
#[test]
fn positions_are_repeated() {
    let _alone = alone();
    for name in ["gpt2", "groundthink"] {
        let short = model(name, 4);
        let long = with_positions(short.as_ref(), 200).unwrap();
        assert!(long.window().is_none_or(|w| w == 200));
        let tokens: Vec<u32> = (0..96).map(|i| i * 7 % 256).collect();
        let logits = |m: &dyn LanguageModel| {
            to_vec_f64(&m.forward(&tokens, &mut m.new_state(1).unwrap()).unwrap()).unwrap()
        };
        assert_eq!(logits(short.as_ref()), logits(long.as_ref()));
        long.forward(&vec![1; 200], &mut long.new_state(1).unwrap()).unwrap();
    }
    let long = with_positions(model("gpt2", 4).as_ref(), 200).unwrap();
    let rows = to_vec_f64(&long.params().tensor("wpe.weight").unwrap()).unwrap();
    assert_eq!(rows[96 * 64..200 * 64], rows[..104 * 64]);
}

/// The old ledger stays whole, and the new one lacks nothing but times.
#[test]
fn a_ledger_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(archive_timings(folder.path()).unwrap(), None);
    let path = folder.path().join("ledger.jsonl");
    let line = |probe: &str, metric, value| {
        let source = Provenance { probe: probe.into(), ..source("gpt2", 1) };
        let (model, scale) = ("gpt2".to_owned(), "smoke".to_owned());
        let of = Subject { model, scale, seed: 1, condition: Condition::Trained };
        Line::Measurement(Measurement::new(of, metric, value, None, None, source))
    };
    let [loss, time] = [
        line("language-modeling", Metric::ValidationLoss, 2.0),
        line("efficiency", Metric::PrefillSeconds, 1.0),
    ];
    let all = [manifest(), loss.clone(), time];
    Ledger::open_or_empty(&path).unwrap().append(&all).unwrap();
    for n in 1..3 {
        let aside = archive_timings(folder.path()).unwrap().unwrap();
        assert_eq!(aside, folder.path().join(format!("ledger-{n}.jsonl")));
        assert_eq!(Ledger::open(&path).unwrap().lines(), [manifest(), loss.clone()]);
    }
    assert_eq!(Ledger::open(folder.path().join("ledger-1.jsonl")).unwrap().lines(), all);
}
