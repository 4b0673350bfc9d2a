//! Planted defects: each is put where it would live, in weights, model, order, evidence or
//! promise, questioned through the real probes, judged by the real gate, and must turn the named
//! criterion red. Without the defect the same criterion is green, or the trial proves nothing.

use std::sync::atomic::AtomicBool;

use candle_core::{Result as Tensors, Tensor};
use libtest_mimic::{Failed, Trial as Test};
use v5gate::collect::{Collector, Options, Trained, Trial, job, promise, provenance, question};
use v5gate::data::batches::{Order, window_count};
use v5gate::evidence::{Ledger, Line, Measurement, Metric, Provenance};
use v5gate::gate::{Status, judge};
use v5gate::models::{self, Branch, Census, Config, LanguageModel, Params, State};
use v5gate::ops::{Tape, Var};
use v5gate::probes::{PROBES, Subject};
use v5gate::progress::Screen;
use v5gate::protocol::Protocol;
use v5gate::scale;
use v5gate::train::Trainer;

use crate::World;

type Outcome = Result<(), Failed>;
type Plant = fn(&'static World) -> Outcome;

fn fail<E: std::fmt::Display>(error: E) -> Failed {
    error.to_string().into()
}

/// The trials; they question what SMOKE trained, so they belong to that protocol.
pub fn trials(world: &'static World) -> Vec<Test> {
    let list: [(&str, Plant); 9] = [
        ("untrained-weights", untrained_weights),
        ("state-reset-every-token", state_reset_every_token),
        ("labels-shifted-by-one", labels_shifted),
        ("other-data-order-for-one-model", other_order),
        ("frozen-branch", frozen_branch),
        ("nan-in-one-measurement", nan),
        ("missing-measurement", missing),
        ("ledger-from-another-recipe", other_recipe),
        ("needle-not-shown", needle_not_shown),
    ];
    let smoke = world.protocol.name == "smoke";
    list.map(|(name, run)| {
        Test::test(format!("planted::{name}"), move || run(world)).with_ignored_flag(!smoke)
    })
    .into()
}

/// The status of a criterion at the smoke scale, given these lines.
fn status(lines: Vec<Line>, criterion: &str) -> Result<Status, Failed> {
    let judgement = judge(&Ledger::from_lines(lines));
    let found = judgement.findings.iter().find(|f| f.criterion == criterion && f.scale == "smoke");
    found.map(|f| f.status).ok_or_else(|| format!("no finding {criterion}").into())
}

fn expect(lines: Vec<Line>, criterion: &str, wanted: Status) -> Outcome {
    let got = status(lines, criterion)?;
    if got == wanted { Ok(()) } else { Err(format!("{criterion} is {got:?}, expected {wanted:?}").into()) }
}

/// The collected ledger, in which `criterion` is green.
fn green(world: &'static World, criterion: &str) -> Result<Vec<Line>, Failed> {
    world.judgement()?;
    let ledger = Ledger::open(world.out.join("ledger.jsonl")).map_err(fail)?;
    expect(ledger.lines().to_vec(), criterion, Status::Met)
        .map_err(|_| Failed::from(format!("{criterion} is not met without the defect: nothing to see")))?;
    Ok(ledger.lines().to_vec())
}

/// Runs `with` on a trained trial of SMOKE, seed 1.
fn with_trained<T>(
    world: &'static World,
    model: &str,
    with: impl FnOnce(&Collector<'_>, &Trained<'_>) -> Result<T, Failed>,
) -> Result<T, Failed> {
    let (screen, stop) = (Screen::quiet(), AtomicBool::new(false));
    let options = Options { out: &world.out, data: None, jobs: None, screen: &screen, stop: &stop };
    let collector = Collector::open(&world.protocol, &options).map_err(fail)?;
    let spec = models::find(model).ok_or("no such model")?;
    let scale = scale::find("smoke").ok_or("no such scale")?;
    let trained = collector.train(Trial { spec, scale, seed: 1 }).map_err(fail)?;
    with(&collector, &trained)
}

/// Replaces the answers of one probe about one model (seed 1) by those that `defective` gives.
fn requestion(
    world: &'static World,
    criterion: &str,
    model: &str,
    probe: &str,
    defective: impl FnOnce(&dyn LanguageModel, &dyn LanguageModel) -> Result<Box<dyn LanguageModel>, Failed>,
) -> Outcome {
    let mut lines = green(world, criterion)?;
    let answers = with_trained(world, model, |collector, trained| {
        let (sound, untrained) = (trained.model().map_err(fail)?, trained.untrained().map_err(fail)?);
        let broken = defective(sound.as_ref(), untrained.as_ref())?;
        let subject = collector.subject(trained, broken.as_ref(), untrained.as_ref());
        ask(probe, &subject, model, &trained.source)
    })?;
    lines.retain(|line| !matches!(line, Line::Measurement(m) if about(m, model, probe)));
    lines.extend(answers);
    expect(lines, criterion, Status::Unmet)
}

fn ask(probe: &str, subject: &Subject<'_>, model: &str, source: &Provenance) -> Result<Vec<Line>, Failed> {
    let probe = PROBES.iter().find(|p| p.id == probe).ok_or("no such probe")?;
    question(probe, subject, model, source).map_err(fail)
}

fn about(m: &Measurement, model: &str, probe: &str) -> bool {
    m.subject().model == model && m.subject().seed == 1 && m.provenance().probe == probe
}

fn untrained_weights(world: &'static World) -> Outcome {
    let swap =
        |_: &dyn LanguageModel, fresh: &dyn LanguageModel| Ok(fresh.config().build(fresh.params().clone()));
    requestion(world, "three-turn-memory", "groundthink", "recall", swap)?;
    requestion(world, "naive-bigram", "gpt2", "language-modeling", swap)
}

/// A model with a fault in it; everything else is passed on.
struct Faulty {
    sound: Box<dyn LanguageModel>,
    fault: Fault,
}

enum Fault {
    ForgetsEveryToken,
    ShiftsLabels,
}

impl LanguageModel for Faulty {
    fn config(&self) -> Config {
        self.sound.config()
    }
    fn params(&self) -> &Params {
        self.sound.params()
    }
    fn new_state(&self, batch: usize) -> Tensors<State> {
        self.sound.new_state(batch)
    }
    fn head(&self) -> &'static str {
        self.sound.head()
    }
    fn census(&self) -> Census {
        self.sound.census()
    }
    fn window(&self) -> Option<usize> {
        self.sound.window()
    }
    fn without(&self, branch: Branch) -> Option<Box<dyn LanguageModel>> {
        self.sound.without(branch)
    }

    fn trunk(&self, tape: &Tape, tokens: &[u32], state: &mut State) -> Tensors<Var> {
        let Fault::ForgetsEveryToken = self.fault else { return self.sound.trunk(tape, tokens, state) };
        let (batch, time) = (state.batch(), tokens.len() / state.batch());
        let mut steps = Vec::new();
        for t in 0..time {
            let column: Vec<u32> = (0..batch).map(|b| tokens[b * time + t]).collect();
            *state = self.sound.new_state(batch)?;
            steps.push(self.sound.trunk(tape, &column, state)?.tensor().clone());
        }
        let width = steps[0].dim(1)?;
        let all = Tensor::stack(&steps, 1)?.reshape((batch * time, width))?;
        Ok(Var::constant(all))
    }

    fn losses(&self, tokens: &[u32], targets: &[u32], state: &mut State) -> Tensors<Vec<f64>> {
        let Fault::ShiftsLabels = self.fault else { return self.sound.losses(tokens, targets, state) };
        let mut shifted = targets.to_vec();
        shifted.rotate_left(1);
        self.sound.losses(tokens, &shifted, state)
    }
}

fn faulty(sound: &dyn LanguageModel, fault: Fault) -> Result<Box<dyn LanguageModel>, Failed> {
    Ok(Box::new(Faulty { sound: sound.config().build(sound.params().clone()), fault }))
}

fn state_reset_every_token(world: &'static World) -> Outcome {
    requestion(world, "three-turn-memory", "groundthink", "recall", |m, _| {
        faulty(m, Fault::ForgetsEveryToken)
    })
}

fn labels_shifted(world: &'static World) -> Outcome {
    requestion(world, "naive-bigram", "groundthink", "language-modeling", |m, _| {
        faulty(m, Fault::ShiftsLabels)
    })
}

/// The RWKV-6 branch keeps the weights it was initialised with, as if it had been frozen.
fn frozen_branch(world: &'static World) -> Outcome {
    requestion(world, "S4-both-needed", "groundthink", "ablation", |sound, fresh| {
        let frozen = |name: &str| {
            let from = if sound.branch_of(name) == Some(Branch::Rwkv) { fresh } else { sound };
            from.params().tensor(name).ok()
        };
        let declared = sound.config().declare();
        let params = Params::from_tensors(&declared, candle_core::DType::F32, frozen).map_err(fail)?;
        Ok(sound.config().build(params))
    })
}

/// The recall items of a harness that forgot to show the needle: evaluation sees only the stem.
fn needle_not_shown(world: &'static World) -> Outcome {
    let lines = green(world, "control-copy-oracle")?;
    let mut items = v5gate::data::cloze::items("retention_5").ok_or("no such test")?;
    items.iter_mut().for_each(|i| i.context = i.context.replace(i.candidates[i.truth].trim(), "nothing"));
    let right = |(i, p): (&v5gate::data::cloze::ClozeItem, &Vec<f64>)| p[i.truth] > 0.5;
    let scores = v5gate::probes::copy_oracle(&items);
    let accuracy = items.iter().zip(&scores).filter(|pair| right(*pair)).count() as f64 / items.len() as f64;
    let metric = Metric::find("retention_5_accuracy").ok_or("no such metric")?;
    let oracle = |m: &Measurement| {
        m.metric() == metric && m.subject().condition == v5gate::evidence::Condition::CopyOracle
    };
    expect(replace(lines, oracle, accuracy), "control-copy-oracle", Status::Unmet)
}

/// The same lines with another value in the measurements that `which` picks.
fn replace(lines: Vec<Line>, which: impl Fn(&Measurement) -> bool, value: f64) -> Vec<Line> {
    let swap = |line| match line {
        Line::Measurement(m) if which(&m) => {
            let source = m.provenance().clone();
            Line::Measurement(Measurement::new(m.subject().clone(), m.metric(), value, m.n(), None, source))
        }
        other => other,
    };
    lines.into_iter().map(swap).collect()
}

fn validation_loss_of_gpt2(m: &Measurement) -> bool {
    m.metric() == Metric::ValidationLoss && m.subject().model == "gpt2" && m.subject().seed == 2
}

fn nan(world: &'static World) -> Outcome {
    let lines = green(world, "losses-finite")?;
    expect(replace(lines, validation_loss_of_gpt2, f64::NAN), "losses-finite", Status::Unmet)
}

fn missing(world: &'static World) -> Outcome {
    let mut lines = green(world, "losses-finite")?;
    lines.retain(|line| !matches!(line, Line::Measurement(m) if validation_loss_of_gpt2(m)));
    expect(lines, "losses-finite", Status::Unproven)
}

fn other_recipe(world: &'static World) -> Outcome {
    let mut lines = green(world, "losses-finite")?;
    let promised = with_trained(world, "gpt2", |collector, _| {
        let mut other = world.protocol.clone();
        other.recipe.max_lr *= 2.0;
        promise(&other, collector.dataset()).map_err(fail)
    })?;
    lines.push(Line::Context(promised));
    expect(lines, "losses-finite", Status::Unproven)
}

/// Two short trainings with the same recipe; the second model reads `order`.
fn short_pair(world: &'static World, second: u64) -> Result<Vec<Line>, Failed> {
    let mut protocol: Protocol = world.protocol.clone();
    protocol.recipe.token_count = 3 * protocol.recipe.tokens_per_step();
    protocol.recipe.warmup_steps = 1;
    protocol.seeds.truncate(1);
    with_trained(world, "gpt2", |collector, _| {
        let dataset = collector.dataset();
        let scale = scale::find("smoke").ok_or("no such scale")?;
        let mut lines = vec![Line::Context(promise(&protocol, dataset).map_err(fail)?)];
        for seed in protocol.seeds.clone() {
            for (model, order_seed) in [("gpt2", seed), ("groundthink", seed + second)] {
                let spec = models::find(model).ok_or("no such model")?;
                let windows = window_count(dataset.train.len(), protocol.recipe.context_length);
                let needed = 3 * protocol.recipe.batch_size;
                let order = Order::draw(windows, needed, order_seed).map_err(fail)?;
                let job = job(&protocol, dataset, spec, scale, seed, order).map_err(fail)?;
                let mut trainer = Trainer::new(&job).map_err(fail)?;
                for _ in 0..3 {
                    trainer.step().map_err(fail)?;
                }
                let run = trainer.run().clone();
                let source = provenance(&protocol, dataset, Trial { spec, scale, seed }, &job, &run);
                let source =
                    Provenance { weights: trainer.model().params().digest().map_err(fail)?, ..source };
                let untrained = job.config.init(seed).map_err(fail)?;
                let subject = Subject {
                    model: trainer.model(),
                    untrained: untrained.as_ref(),
                    run: &run,
                    recipe: &protocol.recipe,
                    dataset,
                    scale,
                    seed,
                };
                for probe in ["language-modeling", "recall"] {
                    lines.extend(ask(probe, &subject, model, &source)?);
                }
            }
        }
        Ok(lines)
    })
}

fn other_order(world: &'static World) -> Outcome {
    world.judgement()?;
    let (alike, apart) = (short_pair(world, 0)?, short_pair(world, 100)?);
    for criterion in ["same-order", "same-batches"] {
        expect(alike.clone(), criterion, Status::Met)?;
        expect(apart.clone(), criterion, Status::Unmet)?;
    }
    Ok(())
}
