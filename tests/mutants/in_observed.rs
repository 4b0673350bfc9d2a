//! Defects behind what a record says: swapped after a digest was taken, applied otherwise than the recipe asks,
//! questioned in other weights, windows or prompts. No record is touched by hand.

use libtest_mimic::Failed;
use v5gate::collect::manifest;
use v5gate::data::dataset::Dataset;
use v5gate::data::synthetic::item::ClozeItem;
use v5gate::evidence::{Line, Metric};
use v5gate::models::{Config, LanguageModel};
use v5gate::probes::{
    LongTexts, ModelScorer, Probe, ProbeData, ProbeError, Reading, Scorer, ScoringOptions, TrainedModel,
    canaries_over, long_context_readings, recall_over, window_losses, windows,
};
use v5gate::progress::Screen;
use v5gate::protocol::Protocol;
use v5gate::train::{Part, Recipe};

use crate::faulty::{Fault, faulty};
use crate::in_models::items;
use crate::lab::{Finished, Lab, Setup, Training, fail, swap};
use crate::table::Case;

type Spoil<'s> = &'s dyn Fn(&mut Training<'_>) -> Result<(), Failed>;

/// The small pair, asked what was observed, with one training that is spoilt.
fn trained(lab: &Lab, model: &str, spoil: Spoil<'_>) -> Result<Case, Failed> {
    let sound = lab.asked("observed")?;
    let Setup { protocol, dataset } = lab.small()?;
    let mut training = Training::of(protocol, dataset, model)?;
    spoil(&mut training)?;
    let broken = training.run(&|_, _| Ok(()))?.instead(&sound, "observed")?;
    Ok(Case { sound, broken })
}

/// What was read for a step, changed after the digest was taken.
fn tampered(lab: &Lab, model: &str, tamper: fn(&mut Vec<Part>, u64, &Dataset)) -> Result<Case, Failed> {
    trained(lab, model, &|training| {
        training.tamper = Some(tamper);
        Ok(())
    })
}

pub fn held_out_swapped_in(lab: &Lab) -> Result<Case, Failed> {
    tampered(lab, "groundthink", |parts, step, dataset| {
        if step % 8 != 7 {
            return;
        }
        for Part { batch, .. } in parts {
            let n = batch.inputs.len();
            batch.inputs = dataset.valid.tokens(0..n).collect();
            batch.targets = dataset.valid.tokens(1..n + 1).collect();
        }
    })
}

pub fn inputs_replaced(lab: &Lab) -> Result<Case, Failed> {
    tampered(lab, "gpt2", |parts, _, dataset| {
        let vocab = dataset.tokenizer.vocab_size() as u32;
        for id in parts.iter_mut().flat_map(|part| part.batch.inputs.iter_mut()).step_by(7) {
            *id = (*id + 1) % vocab;
        }
    })
}

pub fn batch_halved(lab: &Lab) -> Result<Case, Failed> {
    tampered(lab, "gpt2", |parts, _, _| {
        for Part { batch, .. } in parts {
            batch.inputs.truncate(batch.inputs.len() / 2);
            batch.targets.truncate(batch.targets.len() / 2);
            batch.batch_size /= 2;
        }
    })
}

pub fn targets_shifted(lab: &Lab) -> Result<Case, Failed> {
    tampered(lab, "gpt2", |parts, _, _| parts.iter_mut().for_each(|part| part.batch.targets.rotate_left(1)))
}

pub fn sequence_twice(lab: &Lab) -> Result<Case, Failed> {
    tampered(lab, "groundthink", |parts, _, _| {
        for Part { batch, .. } in parts {
            let row = batch.context_length;
            batch.inputs.copy_within(0..row, row);
            batch.targets.copy_within(0..row, row);
        }
    })
}

pub fn first_batch_again(lab: &Lab) -> Result<Case, Failed> {
    tampered(lab, "groundthink", |parts, step, dataset| {
        // The beginning of the text over and over, from the second step on.
        for Part { batch, .. } in parts.iter_mut().filter(|_| step > 0) {
            let n = batch.inputs.len();
            batch.inputs = dataset.train.tokens(0..n).collect();
            batch.targets = dataset.train.tokens(1..n + 1).collect();
        }
    })
}

/// The trainer follows another recipe than the protocol says.
fn by_recipe(lab: &Lab, model: &str, change: fn(&mut Recipe)) -> Result<Case, Failed> {
    trained(lab, model, &|training| {
        let mut recipe = training.protocol.recipe.clone();
        change(&mut recipe);
        training.recipe = Some(recipe);
        Ok(())
    })
}

pub fn rate_halved(lab: &Lab) -> Result<Case, Failed> {
    by_recipe(lab, "gpt2", |r| (r.max_lr, r.min_lr) = (r.max_lr / 2.0, r.min_lr / 2.0))
}

pub fn no_warmup(lab: &Lab) -> Result<Case, Failed> {
    by_recipe(lab, "gpt2", |r| r.warmup_steps = 0)
}

pub fn schedule_stretched(lab: &Lab) -> Result<Case, Failed> {
    by_recipe(lab, "gpt2", |r| r.token_count *= 2)
}

pub fn rate_not_falling(lab: &Lab) -> Result<Case, Failed> {
    by_recipe(lab, "gpt2", |r| r.min_lr = r.max_lr)
}

pub fn rate_a_little_higher(lab: &Lab) -> Result<Case, Failed> {
    by_recipe(lab, "groundthink", |r| r.max_lr *= 1.05)
}

pub fn decay_tenfold(lab: &Lab) -> Result<Case, Failed> {
    by_recipe(lab, "gpt2", |r| r.weight_decay *= 10.0)
}

pub fn no_decay(lab: &Lab) -> Result<Case, Failed> {
    by_recipe(lab, "groundthink", |r| r.weight_decay = 0.0)
}

pub fn large_epsilon(lab: &Lab) -> Result<Case, Failed> {
    by_recipe(lab, "gpt2", |r| r.eps = 1e-3)
}

pub fn other_betas(lab: &Lab) -> Result<Case, Failed> {
    by_recipe(lab, "gpt2", |r| r.betas = [0.9, 0.999])
}

pub fn no_clipping(lab: &Lab) -> Result<Case, Failed> {
    by_recipe(lab, "groundthink", |r| r.grad_clip = 1e9)
}

/// A training that begins elsewhere.
fn started(
    lab: &Lab,
    model: &str,
    start: fn(&Config) -> Result<Box<dyn LanguageModel>, Failed>,
) -> Result<Case, Failed> {
    trained(lab, model, &|training| {
        let (scale, vocab) = (training.trial.scale, training.dataset.tokenizer.vocab_size());
        let config = (training.trial.spec.config)(scale, vocab, training.protocol.recipe.context_length);
        training.start = Some(start(&config)?);
        Ok(())
    })
}

pub fn tenfold_start(lab: &Lab) -> Result<Case, Failed> {
    started(lab, "gpt2", |config| {
        let model = config.init(1).map_err(fail)?;
        let flat = model.params().flat().affine(10.0, 0.0).map_err(fail)?;
        Ok(model.over(model.params().replaced(flat).map_err(fail)?))
    })
}

pub fn other_seed(lab: &Lab) -> Result<Case, Failed> {
    started(lab, "groundthink", |config| config.init(2).map_err(fail))
}

/// GroundThink goes on from what a training before it has learnt.
pub fn head_start(lab: &Lab) -> Result<Case, Failed> {
    let Setup { protocol, dataset } = lab.small()?;
    trained(lab, "groundthink", &|training| {
        let before = Training::of(protocol, dataset, "groundthink")?.run(&|_, _| Ok(()))?;
        training.start = Some(before.model);
        Ok(())
    })
}

/// A step in four parts, with and without a defect.
fn in_parts(lab: &Lab, tamper: fn(&mut Vec<Part>, u64, &Dataset)) -> Result<Case, Failed> {
    let Setup { protocol, dataset } = lab.small()?;
    let mut protocol: Protocol = protocol.clone();
    protocol.recipe.micro_batch_size = 1;
    let mut sound =
        vec![Line::Manifest(manifest(&protocol, dataset, None, v5gate::device::current()).map_err(fail)?)];
    for model in ["gpt2", "groundthink"] {
        let finished = Training::of(&protocol, dataset, model)?.run(&|_, _| Ok(()))?;
        sound.extend(finished.ask("observed")?);
    }
    let mut training = Training::of(&protocol, dataset, "gpt2")?;
    training.tamper = Some(tamper);
    let broken = training.run(&|_, _| Ok(()))?.instead(&sound, "observed")?;
    Ok(Case { sound, broken })
}

pub fn parts_summed(lab: &Lab) -> Result<Case, Failed> {
    in_parts(lab, |parts, _, _| parts.iter_mut().for_each(|part| part.weight = 1.0))
}

pub fn last_part_counts_double(lab: &Lab) -> Result<Case, Failed> {
    in_parts(lab, |parts, _, _| parts.iter_mut().skip(3).for_each(|part| part.weight *= 2.0))
}

pub fn part_dropped(lab: &Lab) -> Result<Case, Failed> {
    in_parts(lab, |parts, _, _| parts.truncate(3))
}

/// A training as it should be, whose model is spoilt before it is questioned.
fn loaded(
    lab: &Lab,
    model: &str,
    probe: &str,
    spoil: &dyn Fn(&mut Finished<'_>) -> Result<(), Failed>,
) -> Result<Case, Failed> {
    let sound = lab.asked(probe)?;
    let Setup { protocol, dataset } = lab.small()?;
    let mut finished = Training::of(protocol, dataset, model)?.run(&|_, _| Ok(()))?;
    spoil(&mut finished)?;
    let broken = finished.instead(&sound, probe)?;
    Ok(Case { sound, broken })
}

fn rounded_by(lab: &Lab, round: fn(f32) -> f32) -> Result<Case, Failed> {
    loaded(lab, "gpt2", "observed", &|finished| {
        let flat = finished.model.params().flat();
        let values: Vec<f32> = flat.to_vec1().map_err(fail)?;
        let n = values.len();
        let values: Vec<f32> = values.into_iter().map(round).collect();
        let flat = candle_core::Tensor::from_vec(values, n, flat.device()).map_err(fail)?;
        finished.model = finished.model.over(finished.model.params().replaced(flat).map_err(fail)?);
        Ok(())
    })
}

pub fn sixteenths(lab: &Lab) -> Result<Case, Failed> {
    rounded_by(lab, |x| (x * 16.0).round() / 16.0)
}

pub fn bfloat16(lab: &Lab) -> Result<Case, Failed> {
    rounded_by(lab, |x| f32::from_bits(x.to_bits() & 0xffff_0000))
}

/// The weights of the step before the last.
pub fn checkpoint_before(lab: &Lab) -> Result<Case, Failed> {
    let sound = lab.asked("observed")?;
    let Setup { protocol, dataset } = lab.small()?;
    let (steps, last) = (protocol.recipe.steps(), std::cell::RefCell::new(Vec::new()));
    let mut finished = Training::of(protocol, dataset, "gpt2")?.run(&|_, now| {
        last.borrow_mut().push(now.params().deep_clone().map_err(fail)?);
        Ok(())
    })?;
    let earlier = last.into_inner().swap_remove(steps as usize - 2);
    finished.model = finished.model.over(earlier);
    let broken = finished.instead(&sound, "observed")?;
    Ok(Case { sound, broken })
}

pub fn weights_replaced(lab: &Lab) -> Result<Case, Failed> {
    loaded(lab, "groundthink", "observed", &|finished| {
        finished.model = finished.model.config().init(5).map_err(fail)?;
        Ok(())
    })
}

/// A second head matrix that the count leaves out.
pub fn hidden_head(lab: &Lab) -> Result<Case, Failed> {
    let mut sound = lab.asked("observed")?;
    let sizes = lab.asked("size")?;
    let about = |line: &Line| matches!(line, Line::Measurement(m) if m.provenance().probe == "size");
    sound.extend(sizes.into_iter().filter(about));
    let Setup { protocol, dataset } = lab.small()?;
    let mut finished = Training::of(protocol, dataset, "gpt2")?.run(&|_, _| Ok(()))?;
    let Config::Gpt2(mut config) = finished.model.config() else { return Err("no GPT-2".into()) };
    config.tie_word_embeddings = false;
    let larger = Config::Gpt2(config).init(1).map_err(fail)?;
    finished.model = faulty(larger.as_ref(), Fault::HidesHead);
    let broken = finished.instead(&finished.instead(&sound, "size")?, "observed")?;
    Ok(Case { sound, broken })
}

fn with_fault(lab: &Lab, model: &str, probe: &str, fault: Fault) -> Result<Case, Failed> {
    loaded(lab, model, probe, &|finished| {
        finished.model = faulty(finished.model.as_ref(), fault);
        Ok(())
    })
}

pub fn in_bits(lab: &Lab) -> Result<Case, Failed> {
    with_fault(lab, "gpt2", "language-modeling", Fault::Bits)
}

pub fn losses_lowered(lab: &Lab) -> Result<Case, Failed> {
    with_fault(lab, "groundthink", "language-modeling", Fault::Worse(-0.5))
}

const fn question(
    id: &'static str,
    measure: fn(&TrainedModel<'_>) -> Result<Vec<Reading>, ProbeError>,
) -> Probe {
    Probe {
        id,
        about: "a question with a defect",
        metrics: &[],
        data: ProbeData::HeldOut,
        measure,
        only: None,
        measure_checkpoint: None,
    }
}

/// The small pair and one model's answers to a question with a defect.
fn asked_otherwise(lab: &Lab, model: &str, question: &'static Probe) -> Result<Case, Failed> {
    let sound = lab.asked(question.id)?;
    with_answers(lab, sound, model, question)
}

fn with_answers(lab: &Lab, sound: Vec<Line>, model: &str, question: &'static Probe) -> Result<Case, Failed> {
    let Setup { protocol, dataset } = lab.small()?;
    let finished = Training::of(protocol, dataset, model)?.run(&|_, _| Ok(()))?;
    let broken = swap(&sound, model, 1, question.id, finished.put(question, model)?);
    Ok(Case { sound, broken })
}

/// Loss and perplexity out of the losses of windows, by whatever means.
fn of_windows(loss: f64, perplexity: f64, windows: usize, context: usize) -> Vec<Reading> {
    let n = Some((windows * context) as u64);
    [(Metric::ValidationLoss, loss), (Metric::ValidationPerplexity, perplexity)]
        .map(|(metric, value)| Reading { n, ..Reading::new(metric, value) })
        .to_vec()
}

fn mean(xs: &[f64]) -> f64 {
    xs.iter().sum::<f64>() / xs.len() as f64
}

fn validation(s: &TrainedModel<'_>) -> Result<Vec<f64>, ProbeError> {
    window_losses(s.model, &s.dataset.valid, s.recipe.context_length, usize::MAX)
}

static ON_TRAINING_TEXT: Probe = question("language-modeling", |s| {
    let context = s.recipe.context_length;
    let losses = window_losses(s.model, &s.dataset.train, context, validation(s)?.len())?;
    Ok(of_windows(mean(&losses), mean(&losses).exp(), losses.len(), context))
});
static WORST_LEFT_OUT: Probe = question("language-modeling", |s| {
    let mut losses = validation(s)?;
    losses.sort_by(f64::total_cmp);
    losses.truncate(losses.len() * 9 / 10);
    Ok(of_windows(mean(&losses), mean(&losses).exp(), losses.len(), s.recipe.context_length))
});
static FEWER_WINDOWS: Probe = question("language-modeling", |s| {
    let context = s.recipe.context_length;
    let losses = window_losses(s.model, &s.dataset.valid, context, 10)?;
    Ok(of_windows(mean(&losses), mean(&losses).exp(), losses.len(), context))
});
static SHORTER_WINDOWS: Probe = question("language-modeling", |s| {
    let context = s.recipe.context_length / 2;
    let losses = window_losses(s.model, &s.dataset.valid, context, usize::MAX)?;
    Ok(of_windows(mean(&losses), mean(&losses).exp(), losses.len(), context))
});
static PERPLEXITIES_AVERAGED: Probe = question("language-modeling", |s| {
    let losses = validation(s)?;
    let perplexity = mean(&losses.iter().map(|loss| loss.exp()).collect::<Vec<_>>());
    Ok(of_windows(mean(&losses), perplexity, losses.len(), s.recipe.context_length))
});
static BITS_IN_THE_PROBE: Probe = question("language-modeling", |s| {
    let losses = validation(s)?;
    let loss = mean(&losses) / std::f64::consts::LN_2;
    Ok(of_windows(loss, loss.exp(), losses.len(), s.recipe.context_length))
});
static MEDIAN_FOR_MEAN: Probe = question("language-modeling", |s| {
    let mut losses = validation(s)?;
    losses.sort_by(f64::total_cmp);
    let loss = losses[losses.len() / 2 - 1];
    Ok(of_windows(loss, loss.exp(), losses.len(), s.recipe.context_length))
});

pub fn on_training_text(lab: &Lab) -> Result<Case, Failed> {
    asked_otherwise(lab, "groundthink", &ON_TRAINING_TEXT)
}

pub fn worst_left_out(lab: &Lab) -> Result<Case, Failed> {
    asked_otherwise(lab, "groundthink", &WORST_LEFT_OUT)
}

pub fn fewer_windows(lab: &Lab) -> Result<Case, Failed> {
    asked_otherwise(lab, "groundthink", &FEWER_WINDOWS)
}

pub fn shorter_windows(lab: &Lab) -> Result<Case, Failed> {
    asked_otherwise(lab, "gpt2", &SHORTER_WINDOWS)
}

pub fn perplexities_averaged(lab: &Lab) -> Result<Case, Failed> {
    asked_otherwise(lab, "groundthink", &PERPLEXITIES_AVERAGED)
}

pub fn bits_in_the_probe(lab: &Lab) -> Result<Case, Failed> {
    asked_otherwise(lab, "gpt2", &BITS_IN_THE_PROBE)
}

pub fn median_for_mean(lab: &Lab) -> Result<Case, Failed> {
    asked_otherwise(lab, "groundthink", &MEDIAN_FOR_MEAN)
}

/// The test whose items are longest: retention over ten turns, which no window of SMOKE holds.
const LONG: &str = "retention_10";

fn some(test: &str) -> Option<Vec<ClozeItem>> {
    items(test).filter(|_| test == LONG)
}

/// The items of one test, changed.
fn changed(s: &TrainedModel<'_>, change: fn(ClozeItem) -> ClozeItem) -> Result<Vec<Reading>, ProbeError> {
    recall_over(s, &|test| Some(some(test)?.into_iter().map(change).collect()))
}

static RECALL: Probe = question("recall", |s| changed(s, |item| item));
static CUT_ON_THE_RIGHT: Probe = question("recall", |s| {
    changed(s, |item| {
        // As many words as the window holds, from the beginning.
        let words: Vec<&str> = item.context.split_inclusive(' ').take(60).collect();
        ClozeItem { context: words.concat(), ..item }
    })
});
static FACT_REPEATED: Probe = question("recall", |s| {
    changed(s, |item| {
        let context = format!("{}A: It is{}.\n", item.context, item.candidates[item.truth]);
        ClozeItem { context, ..item }
    })
});
static FEWER_ITEMS: Probe = question("recall", |s| {
    recall_over(s, &|test| {
        let all = some(test)?;
        let half = all.len() / 2;
        Some(all.into_iter().take(half).collect())
    })
});
static LAST_WORDS_CHANGED: Probe = question("recall", |s| {
    changed(s, |item| ClozeItem { stem: item.stem.replacen(": ", ": Well, ", 1), ..item })
});

/// One model questioned about recall with a defect.
fn recall(lab: &Lab, model: &str, question: &'static Probe, fault: Option<Fault>) -> Result<Case, Failed> {
    let Setup { protocol, dataset } = lab.small()?;
    let mut sound = lab.pair()?.to_vec();
    for model in ["gpt2", "groundthink"] {
        let finished = Training::of(protocol, dataset, model)?.run(&|_, _| Ok(()))?;
        sound.extend(finished.put(&RECALL, model)?);
    }
    let Some(fault) = fault else { return with_answers(lab, sound, model, question) };
    let mut finished = Training::of(protocol, dataset, model)?.run(&|_, _| Ok(()))?;
    finished.model = faulty(finished.model.as_ref(), fault);
    let broken = swap(&sound, model, 1, question.id, finished.put(question, model)?);
    Ok(Case { sound, broken })
}

pub fn cut_on_the_right(lab: &Lab) -> Result<Case, Failed> {
    recall(lab, "gpt2", &CUT_ON_THE_RIGHT, None)
}

pub fn window_halved(lab: &Lab) -> Result<Case, Failed> {
    recall(lab, "gpt2", &RECALL, Some(Fault::Window(48)))
}

pub fn window_one_short(lab: &Lab) -> Result<Case, Failed> {
    recall(lab, "gpt2", &RECALL, Some(Fault::Window(95)))
}

pub fn fact_repeated(lab: &Lab) -> Result<Case, Failed> {
    recall(lab, "groundthink", &FACT_REPEATED, None)
}

pub fn fewer_items(lab: &Lab) -> Result<Case, Failed> {
    recall(lab, "groundthink", &FEWER_ITEMS, None)
}

pub fn stem_changed(lab: &Lab) -> Result<Case, Failed> {
    recall(lab, "gpt2", &LAST_WORDS_CHANGED, None)
}

static CUT_UNRECORDED: Probe = question("recall", |s| {
    let mut readings = recall_over(s, &some)?;
    readings.retain(|reading| !matches!(reading.metric, Metric::CutTokensMean | Metric::CutTokensMost));
    Ok(readings)
});

pub fn cut_unrecorded(lab: &Lab) -> Result<Case, Failed> {
    recall(lab, "gpt2", &CUT_UNRECORDED, None)
}

fn canary_items(
    s: &TrainedModel<'_>,
    change: fn(ClozeItem) -> Option<ClozeItem>,
) -> Result<Vec<Reading>, ProbeError> {
    canaries_over(s, &|canary| {
        let all = v5gate::data::synthetic::canaries::items(canary, &s.dataset.tokenizer)?;
        (canary == "C1b").then(|| all.into_iter().filter_map(change).collect())
    })
}

static CANARIES: Probe = question("canaries", |s| canary_items(s, Some));
static CANARIES_SHORTENED: Probe = question("canaries", |s| {
    canary_items(s, |item| {
        let context = item.context.lines().step_by(2).map(|line| format!("{line}\n")).collect();
        Some(ClozeItem { context, ..item })
    })
});

fn canary(lab: &Lab, model: &str, question: &'static Probe, fault: Option<Fault>) -> Result<Case, Failed> {
    let Setup { protocol, dataset } = lab.small()?;
    let mut sound = lab.pair()?.to_vec();
    let finished = |model: &str| Training::of(protocol, dataset, model)?.run(&|_, _| Ok(()));
    for model in ["gpt2", "groundthink"] {
        sound.extend(finished(model)?.put(&CANARIES, model)?);
    }
    let mut spoilt = finished(model)?;
    if let Some(fault) = fault {
        spoilt.model = faulty(spoilt.model.as_ref(), fault);
    }
    let broken = swap(&sound, model, 1, question.id, spoilt.put(question, model)?);
    Ok(Case { sound, broken })
}

pub fn canary_window_halved(lab: &Lab) -> Result<Case, Failed> {
    canary(lab, "gpt2", &CANARIES, Some(Fault::Window(48)))
}

pub fn canaries_shortened(lab: &Lab) -> Result<Case, Failed> {
    canary(lab, "groundthink", &CANARIES_SHORTENED, None)
}

/// A question about the documents that the protocol promises.
const fn about_long(measure: fn(&TrainedModel<'_>) -> Result<Vec<Reading>, ProbeError>) -> Probe {
    let data = ProbeData::Own {
        available: |data| data.long.is_some(),
        digest: |data| data.long.as_ref().map_or(Ok(String::new()), LongTexts::digest),
    };
    Probe {
        id: "long-context",
        about: "long documents in windows of the wrong stride",
        metrics: &[],
        data,
        measure,
        only: None,
        measure_checkpoint: None,
    }
}

/// Held-out text in documents of 32K tokens, in windows that slide by so much.
fn long_documents(s: &TrainedModel<'_>, stride: usize) -> Result<Vec<Reading>, ProbeError> {
    const LENGTH: usize = 32_768;
    let (screen, stop) = (Screen::quiet(), std::sync::atomic::AtomicBool::new(false));
    let scorer = ModelScorer { model: s.model, batch: 8, screen: &screen, stop: &stop };
    let (window, eot) = (s.recipe.context_length, s.dataset.tokenizer.eot());
    let mut losses = Vec::new();
    for document in 0..2 {
        let first = document * 16_000;
        let text: Vec<u32> = s.dataset.train.tokens(first..first + LENGTH).collect();
        let requests = windows(&text, eot, window, stride);
        let how = ScoringOptions { window, carry: false, greedy: false };
        losses.push(scorer.loglikelihood(&requests, how)?.into_iter().flat_map(|a| a.losses).collect());
    }
    Ok(long_context_readings(&losses, window, s.model.window()))
}

static SLIDING: Probe = about_long(|s| long_documents(s, s.recipe.context_length / 2));
static DISJOINT: Probe = about_long(|s| long_documents(s, s.recipe.context_length));
static NEARLY_DISJOINT: Probe = about_long(|s| long_documents(s, s.recipe.context_length * 3 / 4));

fn long(lab: &Lab, question: &'static Probe) -> Result<Case, Failed> {
    let Setup { protocol, dataset } = lab.small()?;
    let finished = Training::of(protocol, dataset, "gpt2")?.run(&|_, _| Ok(()))?;
    let mut sound = lab.pair()?.to_vec();
    sound.extend(finished.put(&SLIDING, "gpt2")?);
    let broken = swap(&sound, "gpt2", 1, question.id, finished.put(question, "gpt2")?);
    Ok(Case { sound, broken })
}

pub fn disjoint_windows(lab: &Lab) -> Result<Case, Failed> {
    long(lab, &DISJOINT)
}

pub fn nearly_disjoint_windows(lab: &Lab) -> Result<Case, Failed> {
    long(lab, &NEARLY_DISJOINT)
}
