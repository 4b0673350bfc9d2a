//! Defects of a training or of what it is fed, planted where the trainer runs.

use libtest_mimic::Failed;
use v5gate::collect::manifest;
use v5gate::data::batches::Order;
use v5gate::data::corpora::END_OF_TEXT;
use v5gate::data::dataset::DataSpec;
use v5gate::data::synthetic::conversations::{Amount, Split, conversations};
use v5gate::evidence::Line;
use v5gate::models::{Branch, LanguageModel};
use v5gate::protocol::Protocol;
use v5gate::random::Random;

use crate::faulty::Fault;
use crate::lab::{Finished, Lab, Setup, Training, fail, swap};
use crate::table::Case;

/// The sound pair with one of the two trained differently.
fn other(lab: &Lab, finished: &Finished<'_>) -> Result<Case, Failed> {
    let sound = lab.pair()?.to_vec();
    let broken = finished.instead(&finished.instead(&sound, "language-modeling")?, "training")?;
    Ok(Case { sound, broken })
}

fn plain(_: &dyn LanguageModel, _: &dyn LanguageModel) -> Result<(), Failed> {
    Ok(())
}

pub fn other_order(lab: &Lab) -> Result<Case, Failed> {
    let Setup { protocol, dataset } = lab.small()?;
    let mut training = Training::of(protocol, dataset, "groundthink")?;
    training.order = crate::lab::order(protocol, dataset, 100)?;
    training.recorded = training.order.clone();
    other(lab, &training.run(&plain)?)
}

/// The record names the saved order, the trainer gets it shuffled.
pub fn shuffled_again(lab: &Lab) -> Result<Case, Failed> {
    let Setup { protocol, dataset } = lab.small()?;
    let mut training = Training::of(protocol, dataset, "gpt2")?;
    let mut windows = training.recorded.windows().to_vec();
    Random::new(7, 0).shuffle(&mut windows);
    training.order = saved(&windows)?;
    other(lab, &training.run(&plain)?)
}

/// An order from its windows, by way of a file.
fn saved(windows: &[u32]) -> Result<Order, Failed> {
    let folder = tempfile::tempdir().map_err(fail)?;
    let path = folder.path().join("order.npy");
    let array = candle_core::Tensor::new(windows, &candle_core::Device::Cpu).map_err(fail)?;
    array.write_npy(&path).map_err(fail)?;
    Order::load_npy(&path).map_err(fail)
}

fn with_protocol(lab: &Lab, model: &str, change: impl FnOnce(&mut Protocol)) -> Result<Case, Failed> {
    let Setup { protocol, dataset } = lab.small()?;
    let mut changed = protocol.clone();
    change(&mut changed);
    let finished = Training::of(&changed, dataset, model)?.run(&plain)?;
    other(lab, &finished)
}

pub fn double_rate(lab: &Lab) -> Result<Case, Failed> {
    with_protocol(lab, "gpt2", |p| {
        p.recipe.max_lr *= 2.0;
        p.recipe.min_lr *= 2.0;
    })
}

/// Half the sequences in twice the steps, under the recipe's name.
pub fn half_batch(lab: &Lab) -> Result<Case, Failed> {
    let Setup { protocol, dataset } = lab.small()?;
    let mut changed = protocol.clone();
    changed.recipe.batch_size /= 2;
    changed.recipe.micro_batch_size /= 2;
    let mut finished = Training::of(&changed, dataset, "groundthink")?.run(&plain)?;
    finished.source.recipe = protocol.recipe_digest(finished.trial.scale);
    other(lab, &finished)
}

/// Both models tuned with equally many trainings, and then one with more.
pub fn more_tuning(lab: &Lab) -> Result<Case, Failed> {
    let Setup { protocol, dataset } = lab.small()?;
    let tuned = |gpt2: u64, groundthink: u64| -> Result<Vec<Line>, Failed> {
        let mut changed = protocol.clone();
        let budget = [("gpt2".to_owned(), gpt2), ("groundthink".to_owned(), groundthink)];
        changed.tuning = budget.into_iter().collect();
        let mut lines = lab.pair()?.to_vec();
        for model in ["gpt2", "groundthink"] {
            let finished = Training::of(&changed, dataset, model)?.run(&plain)?;
            for probe in ["language-modeling", "training"] {
                lines = finished.instead(&lines, probe)?;
            }
        }
        Ok(lines)
    };
    Ok(Case { sound: tuned(8, 8)?, broken: tuned(8, 24)? })
}

/// Stopped half-way, as by a rule that watches the loss.
fn stopped<'a>(lab: &'a Lab) -> Result<Finished<'a>, Failed> {
    let Setup { protocol, dataset } = lab.small()?;
    let half = protocol.recipe.steps() / 2;
    Training::of(protocol, dataset, "gpt2")?.in_folder(&|step| step == half)
}

pub fn fewer_steps(lab: &Lab) -> Result<Case, Failed> {
    other(lab, &stopped(lab)?)
}

pub fn early_stopping(lab: &Lab) -> Result<Case, Failed> {
    let mut finished = stopped(lab)?;
    finished.source.stopping = "when the loss no longer falls".to_owned();
    other(lab, &finished)
}

fn on_other_data(lab: &Lab, data: &DataSpec) -> Result<Case, Failed> {
    let steps = lab.small()?.protocol.recipe.steps();
    let Setup { protocol, dataset } = lab.setup(data, steps)?;
    let finished = Training::of(&protocol, &dataset, "groundthink")?.run(&plain)?;
    other(lab, &finished)
}

/// A vocabulary of another size.
pub fn other_tokenizer(lab: &Lab) -> Result<Case, Failed> {
    on_other_data(lab, &conversations_of(1, 60_000, 8, 1000))
}

/// Other conversations.
pub fn other_data(lab: &Lab) -> Result<Case, Failed> {
    on_other_data(lab, &conversations_of(2, 60_000, 8, 1024))
}

fn conversations_of(seed: u64, train_tokens: usize, valid_documents: usize, vocab_size: usize) -> DataSpec {
    DataSpec::Conversations { seed, train_tokens, valid_documents, vocab_size }
}

/// The same training, measured on fewer documents.
fn measured_elsewhere<'a>(lab: &'a Lab, there: &'a Setup) -> Result<Finished<'a>, Failed> {
    let Setup { protocol, dataset } = lab.small()?;
    let trained = Training::of(protocol, dataset, "groundthink")?.run(&plain)?;
    let mut finished = Finished { dataset: &there.dataset, ..trained };
    finished.source.validation = there.dataset.valid.digest().to_owned();
    Ok(finished)
}

pub fn other_validation(lab: &Lab) -> Result<Case, Failed> {
    let there = lab.setup(&conversations_of(1, 60_000, 5, 1024), 12)?;
    other(lab, &measured_elsewhere(lab, &there)?)
}

pub fn other_preprocessing(lab: &Lab) -> Result<Case, Failed> {
    let there = lab.setup(&conversations_of(1, 60_000, 5, 1024), 12)?;
    let mut finished = measured_elsewhere(lab, &there)?;
    finished.source.preprocessing = there.protocol.preprocessing();
    other(lab, &finished)
}

/// Text whose held-out documents also stand inside training documents, where a comparison of whole
/// documents does not see them.
pub fn leaked_text(lab: &Lab) -> Result<Case, Failed> {
    let train = conversations(5, Split::Train, Amount::Documents(60));
    let valid = conversations(5, Split::Valid, Amount::Documents(12));
    let mixed: Vec<String> =
        train.iter().enumerate().map(|(i, t)| format!("{t}\n{}", valid[i % valid.len()])).collect();
    let text = |documents: &[String]| documents.join(&format!("\n{END_OF_TEXT}\n"));
    let evidence = |train: &[String]| -> Result<Vec<Line>, Failed> {
        let folder = tempfile::tempdir().map_err(fail)?;
        std::fs::write(folder.path().join("train.txt"), text(train)).map_err(fail)?;
        std::fs::write(folder.path().join("valid.txt"), text(&valid)).map_err(fail)?;
        let data = DataSpec::Text {
            train: "train.txt".into(),
            valid: "valid.txt".into(),
            tokenizer: "train:400".to_owned(),
        };
        let Setup { protocol, dataset } = lab.setup_under(&data, 4, Some(folder.path()))?;
        let mut lines = vec![Line::Manifest(
            manifest(&protocol, &dataset, None, v5gate::device::current()).map_err(fail)?,
        )];
        for model in ["gpt2", "groundthink"] {
            lines.extend(Training::of(&protocol, &dataset, model)?.run(&plain)?.ask("overlap")?);
        }
        Ok(lines)
    };
    Ok(Case { sound: evidence(&train)?, broken: evidence(&mixed)? })
}

/// The short training of GroundThink with something put right back after every step.
fn put_back(
    lab: &Lab,
    probe: &str,
    to: impl Fn(&str, Option<Branch>) -> Option<Put>,
) -> Result<Case, Failed> {
    let sound = lab.short()?.to_vec();
    let (protocol, dataset, _) = lab.short_training("groundthink")?;
    let finished = Training::of(&protocol, dataset, "groundthink")?.run(&|first, now| {
        for entry in now.params().entries() {
            let value =
                match to(&entry.name, now.as_hybrid().and_then(|hybrid| hybrid.branch_of(&entry.name))) {
                    None => continue,
                    Some(Put::Start) => first.params().flat().narrow(0, entry.offset, entry.len),
                    Some(Put::Number(x)) => {
                        now.params().flat().narrow(0, entry.offset, entry.len).and_then(|t| t.affine(0.0, x))
                    }
                };
            now.params().flat().slice_set(&value.map_err(fail)?, 0, entry.offset).map_err(fail)?;
        }
        Ok(())
    })?;
    let broken = swap(&sound, "groundthink", 1, probe, finished.ask(probe)?);
    Ok(Case { sound, broken })
}

/// What a parameter is put back to.
enum Put {
    Start,
    Number(f64),
}

pub fn frozen_rwkv(lab: &Lab) -> Result<Case, Failed> {
    put_back(lab, "ablation", |_, branch| (branch == Some(Branch::Rwkv)).then_some(Put::Start))
}

pub fn frozen_mamba(lab: &Lab) -> Result<Case, Failed> {
    put_back(lab, "optimizer", |_, branch| (branch == Some(Branch::Mamba)).then_some(Put::Start))
}

pub fn frozen_norms(lab: &Lab) -> Result<Case, Failed> {
    put_back(lab, "optimizer", |name, _| name.contains("ln_").then_some(Put::Start))
}

/// The gate's sigmoid at its end; its map silent.
fn gate(lab: &Lab, bias: f64) -> Result<Case, Failed> {
    put_back(lab, "ablation", |name, _| {
        if name.ends_with("gate.bias") {
            Some(Put::Number(bias))
        } else {
            (name.ends_with(".gate.weight") && !name.contains("rwkv")).then_some(Put::Number(0.0))
        }
    })
}

pub fn gate_shut(lab: &Lab) -> Result<Case, Failed> {
    gate(lab, -200.0)
}

pub fn gate_open(lab: &Lab) -> Result<Case, Failed> {
    gate(lab, 200.0)
}

pub fn constant_decay(lab: &Lab) -> Result<Case, Failed> {
    put_back(lab, "state", |name, _| name.ends_with("time_decay_w2").then_some(Put::Number(0.0)))
}

/// Every position is taught the token after the next.
pub fn shifted_teaching(lab: &Lab) -> Result<Case, Failed> {
    let sound = lab.short()?.to_vec();
    let (protocol, dataset, _) = lab.short_training("gpt2")?;
    let mut training = Training::of(&protocol, dataset, "gpt2")?;
    training.wrap = Some(Fault::ShiftsTeaching);
    let finished = training.run(&plain)?;
    let broken = finished.instead(&sound, "language-modeling")?;
    Ok(Case { sound, broken })
}
