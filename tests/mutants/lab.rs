//! What mutants are made of: the evidence of SMOKE, small data sets and short trainings by the
//! real trainer, questioned by the real probes.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, OnceLock, PoisonError};

use libtest_mimic::Failed;
use v5gate::collect::{Collector, Options, Trial, job, manifest, provenance, question};
use v5gate::data::batches::{Order, window_count};
use v5gate::data::dataset::{DataSpec, Dataset, prepare};
use v5gate::evidence::{Ledger, Line, Manifest, Measurement, Provenance, Subject as Of};
use v5gate::gate::{Status, judge};
use v5gate::models::{self, LanguageModel};
use v5gate::ops::on_worker;
use v5gate::probes::{PROBES, Probe, TrainedModel};
use v5gate::progress::Screen;
use v5gate::protocol::Protocol;
use v5gate::scale;
use v5gate::train::{Ending, Part, Recipe, Run, RunDir, Trainer};

use crate::compare::Pool;
use crate::world::World;

/// Turns any error into a failed trial.
pub fn fail<E: std::fmt::Display>(error: E) -> Failed {
    error.to_string().into()
}

/// Something made once by whoever needs it first.
type Once<T> = OnceLock<Result<T, String>>;

fn once<T>(cell: &Once<T>, make: impl FnOnce() -> Result<T, Failed>) -> Result<&T, Failed> {
    let text = |failed: Failed| failed.message().unwrap_or("failed without a word").to_owned();
    cell.get_or_init(|| make().map_err(text)).as_ref().map_err(|e| Failed::from(e.clone()))
}

/// The scale of everything here.
pub const SCALE: &str = "smoke";

/// A protocol with its data set.
pub struct Setup {
    /// One trial, SMOKE's recipe but for its length.
    pub protocol: Protocol,
    /// Its data.
    pub dataset: Dataset,
}

/// Everything that is shared between trials.
pub struct Lab {
    world: World,
    /// Where this suite keeps its own.
    pub out: PathBuf,
    smoke: Once<Collector<'static>>,
    small: Once<Setup>,
    pair: Once<Vec<Line>>,
    reading: Once<Vec<Line>>,
    short: Once<Vec<Line>>,
    equals: Once<Pool>,
}

impl Lab {
    /// A laboratory over the evidence of SMOKE.
    pub fn new() -> Result<Self, String> {
        let world = World::new("smoke", None)?;
        let out = world.out.with_file_name("trial");
        std::fs::create_dir_all(&out).map_err(|e| format!("{}: {e}", out.display()))?;
        let (smoke, small, pair, reading, short, equals) = Default::default();
        Ok(Self { world, out, smoke, small, pair, reading, short, equals })
    }

    /// Equal models.
    pub fn equals(&self) -> Result<&Pool, Failed> {
        once(&self.equals, || Pool::make(self))
    }

    /// SMOKE's protocol.
    pub fn protocol(&self) -> &Protocol {
        &self.world.protocol
    }

    /// SMOKE, collected.
    pub fn smoke(&self) -> Result<&Collector<'static>, Failed> {
        once(&self.smoke, || {
            self.world.judgement()?;
            let screen: &'static Screen = Box::leak(Box::new(Screen::quiet()));
            let stop: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
            let out = Box::leak(self.world.out.clone().into_boxed_path());
            let options =
                Options { out, data: None, jobs: None, compute: v5gate::device::current(), screen, stop };
            let protocol = Box::leak(Box::new(self.protocol().clone()));
            Collector::open(protocol, Box::leak(Box::new(options))).map_err(fail)
        })
    }

    /// The ledger of SMOKE.
    pub fn evidence(&self) -> Result<Vec<Line>, Failed> {
        self.world.judgement()?;
        Ok(Ledger::open(self.world.out.join("ledger.jsonl")).map_err(fail)?.lines().to_vec())
    }

    /// A model that SMOKE trained.
    pub fn trained(&self, model: &str, seed: u64) -> Result<Finished<'_>, Failed> {
        let collector = self.smoke()?;
        let trained = collector.train(trial(model, seed)?).map_err(fail)?;
        Ok(Finished {
            protocol: self.protocol(),
            dataset: collector.dataset(),
            trial: trained.trial,
            model: trained.model().map_err(fail)?,
            untrained: trained.untrained().map_err(fail)?,
            run: trained.run.clone(),
            source: trained.source.clone(),
        })
    }

    /// Conversations that are prepared in a moment.
    pub fn small(&self) -> Result<&Setup, Failed> {
        once(&self.small, || self.setup(&CONVERSATIONS, 12))
    }

    /// SMOKE's recipe for so many steps, one trial, other data.
    pub fn setup(&self, data: &DataSpec, steps: u64) -> Result<Setup, Failed> {
        self.setup_under(data, steps, None)
    }

    /// The same with files from a folder.
    pub fn setup_under(
        &self,
        data: &DataSpec,
        steps: u64,
        folder: Option<&std::path::Path>,
    ) -> Result<Setup, Failed> {
        let mut protocol = brief(self.protocol(), steps);
        protocol.data = data.clone();
        let cache = folder.map_or_else(|| self.out.join("cache"), |f| f.join("cache"));
        Ok(Setup { dataset: prepare(data, folder, &cache).map_err(fail)?, protocol })
    }

    /// A sound pair of short trainings on the small data set, asked everything that fairness is
    /// judged by.
    pub fn pair(&self) -> Result<&[Line], Failed> {
        let lines = once(&self.pair, || {
            let Setup { protocol, dataset } = self.small()?;
            let mut lines = vec![Line::Manifest(
                manifest(protocol, dataset, None, v5gate::device::current()).map_err(fail)?,
            )];
            for model in ["gpt2", "groundthink"] {
                let finished = Training::of(protocol, dataset, model)?.run(&|_, _| Ok(()))?;
                for probe in ["training", "language-modeling"] {
                    lines.extend(finished.ask(probe)?);
                }
            }
            Ok(lines)
        });
        lines.map(Vec::as_slice)
    }

    /// That pair, asked also what it sees and carries.
    pub fn reading(&self) -> Result<&[Line], Failed> {
        let lines = once(&self.reading, || {
            let Setup { protocol, dataset } = self.small()?;
            let mut lines = self.pair()?.to_vec();
            for model in ["gpt2", "groundthink"] {
                let finished = Training::of(protocol, dataset, model)?.run(&|_, _| Ok(()))?;
                for probe in ["forward", "carrying"] {
                    lines.extend(finished.ask(probe)?);
                }
            }
            Ok(lines)
        });
        lines.map(Vec::as_slice)
    }

    /// That pair, asked a probe too.
    pub fn asked(&self, id: &str) -> Result<Vec<Line>, Failed> {
        let Setup { protocol, dataset } = self.small()?;
        let mut lines = self.pair()?.to_vec();
        for model in ["gpt2", "groundthink"] {
            let finished = Training::of(protocol, dataset, model)?.run(&|_, _| Ok(()))?;
            lines = finished.instead(&lines, id)?;
        }
        Ok(lines)
    }

    /// A training on SMOKE's data, long enough to learn something.
    pub fn short_training(&self, model: &str) -> Result<(Protocol, &Dataset, Trial), Failed> {
        Ok((brief(self.protocol(), SHORT), self.smoke()?.dataset(), trial(model, 1)?))
    }

    /// A sound pair of those, asked what training defects are judged by.
    pub fn short(&self) -> Result<&[Line], Failed> {
        let lines = once(&self.short, || {
            let (protocol, dataset, _) = self.short_training("gpt2")?;
            let mut lines = vec![Line::Manifest(
                manifest(&protocol, dataset, None, v5gate::device::current()).map_err(fail)?,
            )];
            for model in ["gpt2", "groundthink"] {
                let finished = Training::of(&protocol, dataset, model)?.run(&|_, _| Ok(()))?;
                for probe in ["language-modeling", "ablation", "state", "optimizer"] {
                    lines.extend(finished.ask(probe)?);
                }
            }
            Ok(lines)
        });
        lines.map(Vec::as_slice)
    }
}

/// Steps after which both branches are needed and words are better than counted.
const SHORT: u64 = 400;

/// The data of the small setup.
pub const CONVERSATIONS: DataSpec =
    DataSpec::Conversations { seed: 1, train_tokens: 60_000, valid_documents: 8, vocab_size: 1024 };

/// One trial of so many steps.
pub fn brief(protocol: &Protocol, steps: u64) -> Protocol {
    let mut protocol = protocol.clone();
    protocol.seeds = vec![1];
    protocol.recipe.token_count = steps * protocol.recipe.tokens_per_step();
    protocol.recipe.warmup_steps = protocol.recipe.warmup_steps.min(steps / 4);
    protocol
}

/// A trial at the scale of everything here.
pub fn trial(model: &str, seed: u64) -> Result<Trial, Failed> {
    let spec = models::find(model).ok_or("no such model")?;
    Ok(Trial { spec, scale: scale::find(SCALE).ok_or("no such scale")?, seed })
}

/// The probe of that name.
pub fn probe(id: &str) -> Result<&'static Probe, Failed> {
    PROBES.iter().find(|p| p.id == id).ok_or_else(|| format!("no probe {id}").into())
}

/// The order that a seed stands for.
pub fn order(protocol: &Protocol, dataset: &Dataset, seed: u64) -> Result<Order, Failed> {
    let windows = window_count(dataset.train.len(), protocol.recipe.context_length);
    let needed = protocol.recipe.steps() as usize * protocol.recipe.batch_size;
    Order::draw(windows, needed, seed).map_err(fail)
}

/// A training to come.
pub struct Training<'a> {
    /// What is asked for.
    pub protocol: &'a Protocol,
    /// What is learnt from.
    pub dataset: &'a Dataset,
    /// Model, scale and seed.
    pub trial: Trial,
    /// The order that the trainer is given.
    pub order: Order,
    /// The order that the record names.
    pub recorded: Order,
    /// What the trainer trains, where that is not simply the model.
    pub wrap: Option<crate::faulty::Fault>,
    /// What it goes on from, where that is not a fresh model.
    pub start: Option<Box<dyn LanguageModel>>,
    /// The recipe that the trainer follows, where that is not the protocol's.
    pub recipe: Option<Recipe>,
    /// Changes what was read for a step, after the digest of it was taken.
    pub tamper: Option<fn(&mut Vec<Part>, u64, &Dataset)>,
}

/// Looks at the model before the first step, and at the one that is being trained, after each step.
pub type After<'a> = &'a dyn Fn(&dyn LanguageModel, &dyn LanguageModel) -> Result<(), Failed>;

impl<'a> Training<'a> {
    /// As it should be.
    pub fn of(protocol: &'a Protocol, dataset: &'a Dataset, model: &str) -> Result<Self, Failed> {
        let trial = trial(model, 1)?;
        let order = order(protocol, dataset, trial.seed)?;
        Ok(Self {
            protocol,
            dataset,
            trial,
            recorded: order.clone(),
            order,
            wrap: None,
            start: None,
            recipe: None,
            tamper: None,
        })
    }

    /// Trains, step by step.
    pub fn run(self, after: After<'_>) -> Result<Finished<'a>, Failed> {
        let Self { protocol, dataset, trial, order, recorded, wrap, start, recipe, tamper } = self;
        let mut given =
            job(protocol, dataset, trial.spec, trial.scale, (trial.seed, order), v5gate::device::current())
                .map_err(fail)?;
        given.recipe = recipe.unwrap_or(given.recipe);
        let untrained = given.config.init(trial.seed).map_err(fail)?;
        let start = start.map_or_else(|| given.config.init(trial.seed).map_err(fail), Ok)?;
        let start = match wrap {
            Some(fault) => crate::faulty::faulty(start.as_ref(), fault),
            None => start,
        };
        let mut trainer = Trainer::from_model(&given, start).map_err(fail)?;
        for step in 0..protocol.recipe.steps() {
            let mut parts = trainer.read().map_err(fail)?;
            if let Some(tamper) = tamper {
                tamper(&mut parts, step, dataset);
            }
            trainer.step_on(&parts).map_err(fail)?.ok_or("the training diverged")?;
            after(untrained.as_ref(), trainer.model())?;
        }
        let params = trainer.model().params().deep_clone().map_err(fail)?;
        let record = job(
            protocol,
            dataset,
            trial.spec,
            trial.scale,
            (trial.seed, recorded),
            v5gate::device::current(),
        )
        .map_err(fail)?;
        let source = provenance(protocol, dataset, trial, &record, trainer.run());
        // Every step was made: that is what a folder's record would say.
        let weights = params.digest().map_err(fail)?;
        let run = Run { ending: Ending::Completed, weights, ..trainer.run().clone() };
        let model = given.config.build(params);
        Ok(Finished { protocol, dataset, trial, model, untrained, run, source })
    }

    /// Trains as `collect` does, in a folder, until `stop`.
    pub fn in_folder(self, stop: &dyn Fn(u64) -> bool) -> Result<Finished<'a>, Failed> {
        let Self { protocol, dataset, trial, order, .. } = self;
        let job =
            job(protocol, dataset, trial.spec, trial.scale, (trial.seed, order), v5gate::device::current())
                .map_err(fail)?;
        let folder = tempfile::tempdir().map_err(fail)?;
        let dir = RunDir(folder.path().join("run"));
        let run = dir.train(&job, &Screen::quiet(), stop).map_err(fail)?;
        let steps = run.curve.len();
        let path =
            if dir.checkpoint().exists() { dir.checkpoint() } else { dir.0.join(format!("step-{steps:08}")) };
        let model = v5gate::train::load_model(&path).map_err(fail)?;
        let untrained = job.config.init(trial.seed).map_err(fail)?;
        let source = provenance(protocol, dataset, trial, &job, &run);
        Ok(Finished { protocol, dataset, trial, model, untrained, run, source })
    }
}

/// A trained model that can be asked, and spoilt before it is.
pub struct Finished<'a> {
    /// With what recipe.
    pub protocol: &'a Protocol,
    /// On what, and on what it is measured.
    pub dataset: &'a Dataset,
    /// Model, scale and seed.
    pub trial: Trial,
    /// The model.
    pub model: Box<dyn LanguageModel>,
    /// The model before its first step.
    pub untrained: Box<dyn LanguageModel>,
    /// How it was trained.
    pub run: Run,
    /// What the record says.
    pub source: Provenance,
}

impl Finished<'_> {
    /// The answers to a probe.
    pub fn ask(&self, id: &str) -> Result<Vec<Line>, Failed> {
        self.put(probe(id)?, self.trial.spec.name)
    }

    /// The answers to a question, under a name.
    pub fn put(&self, probe: &'static Probe, name: &str) -> Result<Vec<Line>, Failed> {
        let subject = TrainedModel {
            model: self.model.as_ref(),
            untrained: self.untrained.as_ref(),
            earlier: PathBuf::new(),
            run: &self.run,
            recipe: &self.protocol.recipe,
            dataset: self.dataset,
            scale: self.trial.scale,
            seed: self.trial.seed,
            compute: v5gate::device::current(),
            data: self.protocol.eval_data(None),
        };
        Ok(question(probe, &subject, name, &self.source).map_err(fail)?.lines)
    }

    /// The lines with this model's answers to a probe in the place of those that are there.
    pub fn instead(&self, lines: &[Line], id: &str) -> Result<Vec<Line>, Failed> {
        Ok(swap(lines, self.trial.spec.name, self.trial.seed, id, self.ask(id)?))
    }
}

/// The lines with other answers of a probe about a model.
pub fn swap(lines: &[Line], model: &str, seed: u64, probe: &str, answers: Vec<Line>) -> Vec<Line> {
    let about = |m: &Measurement| {
        m.subject().model == model && m.subject().seed == seed && m.provenance().probe == probe
    };
    let kept = lines.iter().filter(|line| !matches!(line, Line::Measurement(m) if about(m)));
    kept.cloned().chain(answers).collect()
}

/// The same number under another name or from another source.
pub fn relabel(m: &Measurement, change: impl FnOnce(&mut Of, &mut Provenance)) -> Line {
    let (mut subject, mut source) = (m.subject().clone(), m.provenance().clone());
    change(&mut subject, &mut source);
    let interval = m.interval().map(|ends| ends.map(|v| v.raw()));
    Line::Measurement(Measurement::new(subject, m.metric(), m.value(), m.n(), interval, source))
}

/// The measurements among lines.
pub fn measurements(lines: &[Line]) -> impl Iterator<Item = &Measurement> {
    lines.iter().filter_map(|line| match line {
        Line::Measurement(m) => Some(m),
        _ => None,
    })
}

/// The manifest that governs lines.
pub fn governing_manifest(lines: &[Line]) -> Result<Manifest, Failed> {
    Ok(Ledger::from_lines(lines.to_vec()).manifest().ok_or("no manifest")?.clone())
}

/// The status of a criterion at the scale of everything here.
pub fn status(lines: Vec<Line>, criterion: &str) -> Result<Status, Failed> {
    let judgement = judge(&Ledger::from_lines(lines));
    let found = judgement.findings.iter().find(|f| f.criterion == criterion && f.scale == SCALE);
    found.map(|f| f.status).ok_or_else(|| format!("no finding {criterion}").into())
}

/// Runs `f` on one thread of its own pool, so that trials side by side take one core each.
pub fn on_one_core<T: Send>(f: impl FnOnce() -> T + Send) -> Result<T, Failed> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().map_err(fail)?;
    Ok(pool.install(|| on_worker(f)))
}

/// `f` of each, as many at a time as there are cores, in order.
pub fn side_by_side<A: Send, B: Send>(
    all: Vec<A>,
    f: impl Fn(A) -> Result<B, Failed> + Sync,
) -> Result<Vec<B>, Failed> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let queue: Mutex<VecDeque<(usize, A)>> = Mutex::new(all.into_iter().enumerate().collect());
    let done: Mutex<Vec<(usize, Result<B, Failed>)>> = Mutex::default();
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some((i, one)) = next() {
                    let answer = on_one_core(|| f(one)).and_then(|answer| answer);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((i, answer));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, answer)| answer).collect()
}
