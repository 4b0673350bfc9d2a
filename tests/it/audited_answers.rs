//! Audits of evaluations: sound answers agree, every mistake of the referee and every spoilt answer is seen.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use candle_core::Result;
use v5gate::collect::{AuditReport, Collector, Options, ProbeAnswers, Trained, Trial, question};
use v5gate::evidence::{Ledger, Line, Measurement, Metric};
use v5gate::models::{Config, LanguageModel, Network, Params, State};
use v5gate::ops::{Tape, Var};
use v5gate::probes::{PROBES, Probe};
use v5gate::progress::Screen;
use v5gate::protocol::Protocol;
use v5gate::referee::{Deviation, Fault, farthest};

use crate::program::protocol;

/// What is put to the models.
const ASKED: [&str; 5] = ["size", "language-modeling", "recall", "canaries", "long-context"];

/// A model whose window is said to be shorter than it is.
struct Shortened(Box<dyn LanguageModel>);

impl LanguageModel for Shortened {
    fn config(&self) -> Config {
        self.0.config()
    }
}

impl Network for Shortened {
    fn with_params(&self, params: Params) -> Box<dyn Network> {
        Box::new(Shortened(self.0.over(params)))
    }
    fn params(&self) -> &Params {
        self.0.params()
    }
    fn new_state(&self, batch: usize) -> Result<State> {
        self.0.new_state(batch)
    }
    fn head(&self) -> &'static str {
        self.0.head()
    }
    fn window(&self) -> Option<usize> {
        self.0.window().map(|window| window / 2)
    }
    fn backbone(&self, tape: &Tape, tokens: &[u32], state: &mut State) -> Result<Var> {
        self.0.backbone(tape, tokens, state)
    }
}

struct Bench {
    folder: tempfile::TempDir,
    protocol: Protocol,
}

impl Bench {
    fn new() -> Self {
        let text = protocol(8, 3).replace("context_length = 32", "context_length = 64");
        let text = text.replace("token_count = 512", "token_count = 1024");
        let text = text.replace("train_tokens = 20_000", "train_tokens = 60_000");
        let vocabulary = text.lines().find(|line| line.starts_with("vocab_size")).unwrap().to_owned();
        let text = text.replace(&vocabulary, "vocab_size = 1024");
        let text = text.replace("[data]", "long_documents = 1\n\n[data]");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.toml");
        fs::write(&path, text).unwrap();
        let protocol = Protocol::load(path.to_str().unwrap()).unwrap();
        Self { folder, protocol }
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    fn with<T>(&self, work: impl FnOnce(&Collector<'_>) -> T) -> T {
        let (screen, stop, out) = (Screen::quiet(), AtomicBool::new(false), self.out());
        let compute = v5gate::device::current();
        let options = Options { out: &out, data: None, jobs: None, compute, screen: &screen, stop: &stop };
        work(&Collector::open(&self.protocol, &options).unwrap())
    }

    fn trained<'a>(collector: &'a Collector<'_>, model: &str) -> Trained<'a> {
        let (spec, scale) = (v5gate::models::find(model).unwrap(), v5gate::scale::find("smoke").unwrap());
        collector.train(Trial { spec, scale, seed: 1 }).unwrap()
    }

    /// The folder of a model's run.
    fn run(&self, model: &str) -> PathBuf {
        let runs = fs::read_dir(self.out().join("runs")).unwrap().map(|entry| entry.unwrap().path());
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        runs.into_iter().find(|path| name(path).starts_with(&format!("smoke-{model}-"))).unwrap()
    }

    /// The answers of a model, spoilt before it is asked.
    fn answers(
        &self,
        model: &str,
        spoil: &dyn Fn(Box<dyn LanguageModel>) -> Box<dyn LanguageModel>,
    ) -> Vec<(&'static Probe, ProbeAnswers)> {
        self.with(|collector| {
            let trained = Self::trained(collector, model);
            let (asked, untrained) = (spoil(trained.model().unwrap()), trained.untrained().unwrap());
            let subject = collector.subject(&trained, asked.as_ref(), untrained.as_ref());
            let probes = PROBES.iter().filter(|probe| ASKED.contains(&probe.id));
            probes.map(|p| (p, question(p, &subject, model, &trained.source).unwrap())).collect()
        })
    }

    /// What an audit finds where these are the answers on record.
    fn audit(&self, model: &str, answers: &[(&Probe, ProbeAnswers)], fault: Option<Fault>) -> AuditReport {
        let (run, ledger) = (self.run(model), self.out().join("ledger.jsonl"));
        let _ = fs::remove_dir_all(run.join("items"));
        fs::remove_file(&ledger).unwrap();
        self.with(|_| ());
        let mut ledger = Ledger::open(&ledger).unwrap();
        for (probe, answers) in answers {
            answers.items.write(&run, probe.id).unwrap();
            ledger.append(&answers.lines).unwrap();
        }
        self.with(|collector| collector.examine(&Self::trained(collector, model), fault).unwrap())
    }
}

fn sound(model: Box<dyn LanguageModel>) -> Box<dyn LanguageModel> {
    model
}

/// The answer to a question over all that was compared.
fn share(report: &AuditReport, metric: Metric) -> f64 {
    let all = report.questions.iter().filter(|(m, _)| *m == metric).flat_map(|(_, all)| all.clone());
    farthest(&all.collect::<Vec<_>>()).map_or(f64::NAN, Deviation::share)
}

const QUESTIONS: [Metric; 4] =
    [Metric::AuditEvaluation, Metric::AuditParameters, Metric::AuditItems, Metric::AuditAnswers];

#[test]
fn sound_answers_agree_and_mistaken_referees_are_contradicted() {
    let bench = Bench::new();
    for model in ["gpt2", "groundthink"] {
        let answers = bench.answers(model, &sound);
        let report = bench.audit(model, &answers, None);
        for metric in QUESTIONS {
            let all: Vec<_> = report.questions.iter().filter(|(m, _)| *m == metric).collect();
            println!(
                "{model} {}: {:?}",
                metric.id(),
                all.iter().map(|(_, all)| farthest(all)).collect::<Vec<_>>()
            );
            assert!(share(&report, metric) <= 1.0, "{model}: {report:?}");
        }
        assert!(report.not_covered.is_empty(), "{:?}", report.not_covered);
        assert!(report.covered.iter().any(|what| what.contains("recall tests")), "{:?}", report.covered);
        let mistakes = [
            (Fault::ShiftedWindows, Metric::AuditEvaluation, true),
            // The same code for every model.
            (Fault::Bits, Metric::AuditEvaluation, model == "gpt2"),
            (Fault::CountsOneLess, Metric::AuditParameters, model == "gpt2"),
            // A model without a window has nothing to cut.
            (Fault::CutsRight, Metric::AuditAnswers, model == "gpt2"),
            (Fault::DisjointWindows, Metric::AuditAnswers, model == "gpt2"),
        ];
        for (fault, metric, _) in mistakes.into_iter().filter(|m| m.2) {
            let share = share(&bench.audit(model, &answers, Some(fault)), metric);
            println!("{fault:?} {model}: {share:.1e}");
            assert!(share > 1.5, "{fault:?} of {model} is not seen: {share}");
        }
    }
}

/// The same lines with another value of one metric of the trained model.
fn changed(lines: &[Line], metric: Metric, change: impl Fn(&Measurement) -> Measurement) -> Vec<Line> {
    let of = |line: &Line| match line {
        Line::Measurement(m) if m.metric() == metric => Line::Measurement(change(m)),
        other => other.clone(),
    };
    lines.iter().map(of).collect()
}

#[test]
fn spoilt_answers_are_seen() {
    let bench = Bench::new();
    let answers = bench.answers("gpt2", &|model| Box::new(Shortened(model)));
    let report = bench.audit("gpt2", &answers, None);
    println!("half the window: {:.1e}", share(&report, Metric::AuditAnswers));
    assert!(share(&report, Metric::AuditAnswers) > 20.0, "half the window");

    let other = |model: Box<dyn LanguageModel>| -> Box<dyn LanguageModel> { model.config().init(7).unwrap() };
    let report = bench.audit("gpt2", &bench.answers("gpt2", &other), None);
    println!("other weights: {:.1e}", share(&report, Metric::AuditAnswers));
    assert!(share(&report, Metric::AuditAnswers) > 20.0, "other weights");

    let answers = bench.answers("gpt2", &sound);
    let with = |probe: &str,
                change: &dyn Fn(&ProbeAnswers) -> ProbeAnswers|
     -> Vec<(&'static Probe, ProbeAnswers)> {
        let copy = |a: &ProbeAnswers| ProbeAnswers { lines: a.lines.clone(), items: a.items.clone() };
        answers.iter().map(|(p, a)| (*p, if p.id == probe { change(a) } else { copy(a) })).collect()
    };
    let remade = |m: &Measurement, value: f64, n: Option<u64>| {
        let ends = m.interval().map(|ends| ends.map(|end| end.raw()));
        let new = Measurement::new(m.subject().clone(), m.metric(), value, n, ends, m.provenance().clone());
        m.items().map_or(new.clone(), |digest| new.with_items(digest))
    };
    let loss = Metric::ValidationLoss;
    let better = |m: &Measurement| remade(m, m.value().raw() - 1e-6, m.n());
    let fewer = |m: &Measurement| remade(m, m.value().raw(), m.n().map(|n| n - 1));
    let bare = |m: &Measurement| {
        let ends = m.interval().map(|ends| ends.map(|end| end.raw()));
        Measurement::new(m.subject().clone(), loss, m.value(), m.n(), ends, m.provenance().clone())
    };
    type Change<'a> = &'a dyn Fn(&Measurement) -> Measurement;
    let changes: [(&str, Change<'_>); 3] =
        [("a better mean", &better), ("fewer items", &fewer), ("no items", &bare)];
    for (what, change) in changes {
        let spoilt = with("language-modeling", &|a| ProbeAnswers {
            lines: changed(&a.lines, loss, change),
            items: a.items.clone(),
        });
        let report = bench.audit("gpt2", &spoilt, None);
        println!("{what}: {:.1e}", share(&report, Metric::AuditItems));
        assert!(share(&report, Metric::AuditItems) > 20.0, "{what}");
    }
    // Items that are not there, or are others than the ledger's.
    let gone = with("recall", &|a| ProbeAnswers { lines: a.lines.clone(), items: Default::default() });
    assert!(share(&bench.audit("gpt2", &gone, None), Metric::AuditItems).is_infinite(), "no file");
}
