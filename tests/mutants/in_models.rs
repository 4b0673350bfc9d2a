//! Defects of a model or of how it is questioned, planted in what SMOKE trained.

use candle_core::{DType, Device, Tensor};
use libtest_mimic::Failed;
use v5gate::data::synthetic::canaries;
use v5gate::data::synthetic::cloze;
use v5gate::data::synthetic::item::ClozeItem;
use v5gate::models::Config;
use v5gate::probes::{Probe, ProbeData, Reading, TrainedModel, canaries_over, recall_over};

use crate::faulty::{Fault, faulty};
use crate::lab::{Finished, Lab, fail, swap};
use crate::table::Case;

/// The items of a recall test as SMOKE asks them.
pub fn items(test: &str) -> Option<Vec<ClozeItem>> {
    cloze::items(test, cloze::Rivals::Absent)
}

/// SMOKE with one model of seed 1 spoilt and asked one probe again.
fn spoilt(
    lab: &Lab,
    model: &str,
    probe: &str,
    spoil: impl FnOnce(&mut Finished<'_>) -> Result<(), Failed>,
) -> Result<Case, Failed> {
    let sound = lab.evidence()?;
    let mut finished = lab.trained(model, 1)?;
    spoil(&mut finished)?;
    let broken = finished.instead(&sound, probe)?;
    Ok(Case { sound, broken })
}

/// The same for a fault of the model.
fn with_fault(lab: &Lab, model: &str, probe: &str, fault: Fault) -> Result<Case, Failed> {
    spoilt(lab, model, probe, |f| {
        f.model = faulty(f.model.as_ref(), fault);
        Ok(())
    })
}

pub fn untrained(lab: &Lab) -> Result<Case, Failed> {
    spoilt(lab, "gpt2", "language-modeling", |f| {
        f.model = f.untrained.over(f.untrained.params().clone());
        Ok(())
    })
}

pub fn leaking_state(lab: &Lab) -> Result<Case, Failed> {
    with_fault(lab, "groundthink", "state", Fault::Leaks)
}

pub fn trembling_weights(lab: &Lab) -> Result<Case, Failed> {
    with_fault(lab, "groundthink", "state", Fault::Trembles)
}

pub fn dropped_tail(lab: &Lab) -> Result<Case, Failed> {
    with_fault(lab, "groundthink", "state", Fault::DropsTail)
}

pub fn peeking(lab: &Lab) -> Result<Case, Failed> {
    with_fault(lab, "gpt2", "forward", Fault::Peeks)
}

pub fn narrow_head(lab: &Lab) -> Result<Case, Failed> {
    with_fault(lab, "groundthink", "forward", Fault::Narrow)
}

pub fn shifted_losses(lab: &Lab) -> Result<Case, Failed> {
    with_fault(lab, "groundthink", "language-modeling", Fault::ShiftsLosses)
}

pub fn shifted_losses_seen_at_once(lab: &Lab) -> Result<Case, Failed> {
    with_fault(lab, "groundthink", "forward", Fault::ShiftsLosses)
}

/// One weight that is not a number.
pub fn not_a_number(lab: &Lab) -> Result<Case, Failed> {
    spoilt(lab, "gpt2", "language-modeling", |f| {
        let params = f.model.params();
        let mut values = params.flat().to_vec1::<f32>().map_err(fail)?;
        let last = values.len() - 1;
        values[last] = f32::NAN;
        let flat = Tensor::from_vec(values, last + 1, &Device::Cpu).map_err(fail)?;
        f.model = f.model.over(params.replaced(flat).map_err(fail)?);
        Ok(())
    })
}

/// Weights of eight bits of mantissa, and a record that says so.
pub fn mixed_precision(lab: &Lab) -> Result<Case, Failed> {
    spoilt(lab, "groundthink", "language-modeling", |f| {
        let params = f.model.params();
        let rounded =
            params.flat().to_dtype(DType::BF16).and_then(|t| t.to_dtype(DType::F32)).map_err(fail)?;
        f.model = f.model.over(params.replaced(rounded).map_err(fail)?);
        f.source.precision = "bfloat16".to_owned();
        Ok(())
    })
}

/// Twice the feed-forward width.
pub fn larger(lab: &Lab) -> Result<Case, Failed> {
    spoilt(lab, "groundthink", "size", |f| {
        let Config::Groundthink(mut config) = f.model.config() else { return Err("no GroundThink".into()) };
        config.d_ff *= 2;
        f.model = Config::Groundthink(config).init(1).map_err(fail)?;
        Ok(())
    })
}

/// What was declared a norm or a bias is declared a matrix.
pub fn decay_on_norms(lab: &Lab) -> Result<Case, Failed> {
    spoilt(lab, "groundthink", "optimizer", |f| {
        let config = f.model.config();
        let mut declared = config.declare();
        declared.iter_mut().for_each(|d| d.decay = true);
        let flat = f.model.params().flat().clone();
        f.model = config.build(v5gate::models::Params::over(&declared, flat).map_err(fail)?);
        Ok(())
    })
}

/// GPT-2's answers under GroundThink's name and with GroundThink's papers.
pub fn other_models_answers(lab: &Lab) -> Result<Case, Failed> {
    let sound = lab.evidence()?;
    let candidate = lab.trained("groundthink", 1)?;
    let baseline = Finished { source: candidate.source.clone(), ..lab.trained("gpt2", 1)? };
    let mut broken = sound.clone();
    for id in ["language-modeling", "recall"] {
        let answers = baseline.put(crate::lab::probe(id)?, "groundthink")?;
        broken = swap(&broken, "groundthink", 1, id, answers);
    }
    Ok(Case { sound, broken })
}

/// Perplexity of one checkpoint, everything else of another.
pub fn two_checkpoints(lab: &Lab) -> Result<Case, Failed> {
    let other = lab.trained("groundthink", 2)?;
    spoilt(lab, "groundthink", "language-modeling", |f| {
        f.model = other.model;
        Ok(())
    })
}

/// The first test only: what a spoilt model is asked where all would take long.
static THREE_TURNS: Probe = Probe {
    id: "recall",
    about: "recall of a fact stated three times",
    metrics: &[],
    data: ProbeData::HeldOut,
    only: None,
    measure_checkpoint: None,
    measure: |s| recall_over(s, &|test| items(test).filter(|_| test == "three_turn_memory")),
};

/// An item without the true value where it states it.
fn hidden(mut item: ClozeItem) -> ClozeItem {
    item.context = item.context.replace(item.candidates[item.truth].trim(), "nothing");
    item
}

/// The canaries, each item changed or left out.
fn changed(
    s: &TrainedModel<'_>,
    change: fn(ClozeItem) -> Option<ClozeItem>,
) -> Result<Vec<Reading>, v5gate::probes::ProbeError> {
    canaries_over(s, &|canary| {
        Some(canaries::items(canary, &s.dataset.tokenizer)?.into_iter().filter_map(change).collect())
    })
}

const fn canary(
    about: &'static str,
    ask: fn(&TrainedModel<'_>) -> Result<Vec<Reading>, v5gate::probes::ProbeError>,
) -> Probe {
    Probe {
        id: "canaries",
        about,
        metrics: &[],
        data: ProbeData::HeldOut,
        measure: ask,
        only: None,
        measure_checkpoint: None,
    }
}

static CANARY_HIDDEN: Probe = canary("facts that were never shown", |s| changed(s, |i| Some(hidden(i))));
static CANARY_ONE_TRUTH: Probe = canary("no counterfactual truths", |s| {
    changed(s, |i| (i.truth == i.template % i.candidates.len()).then_some(i))
});
static CANARY_NEXT: Probe = canary("the next candidate counts as the true one", |s| {
    changed(s, |i| Some(ClozeItem { truth: (i.truth + 1) % i.candidates.len(), ..i }))
});
static CANARY_TOLD: Probe = canary("the stem says the answer", |s| {
    changed(s, |i| {
        let stem = format!("A: It is{}.\n{}", i.candidates[i.truth], i.stem);
        Some(ClozeItem { stem, ..i })
    })
});
static CANARIES: Probe = canary("the canaries as they are", |s| changed(s, Some));

/// The real items without the true value where they state it.
static NEEDLE_HIDDEN: Probe = Probe {
    id: "recall",
    about: "recall of facts that were never shown",
    metrics: &[],
    data: ProbeData::HeldOut,
    only: None,
    measure_checkpoint: None,
    measure: |s| recall_over(s, &|test| Some(items(test)?.into_iter().map(hidden).collect())),
};

/// Questions to which no conversation belongs.
static UNTOLD: Probe = Probe {
    id: "recall",
    about: "recall of what was never told",
    metrics: &[],
    data: ProbeData::HeldOut,
    only: None,
    measure_checkpoint: None,
    measure: |s| {
        recall_over(s, &|test| {
            let untold = |item| ClozeItem { context: String::new(), evidence: 0, ..item };
            Some(items(test)?.into_iter().map(untold).collect())
        })
    },
};

/// In every trial GroundThink is asked without the conversation, GPT-2 with it.
pub fn untold(lab: &Lab) -> Result<Case, Failed> {
    let sound = lab.evidence()?;
    let mut broken = sound.clone();
    for &seed in &lab.protocol().seeds {
        let answers = lab.trained("groundthink", seed)?.put(&UNTOLD, "groundthink")?;
        broken = swap(&broken, "groundthink", seed, UNTOLD.id, answers);
    }
    Ok(Case { sound, broken })
}

/// The label of another item of the template; every candidate is once the truth, as before.
fn relabelled(mut item: ClozeItem) -> ClozeItem {
    item.truth = (5 * item.truth + item.template) % item.candidates.len();
    item
}

static RELABELLED: Probe = Probe {
    id: "recall",
    about: "recall of a fact stated three times, with labels of other items",
    metrics: &[],
    data: ProbeData::HeldOut,
    only: None,
    measure_checkpoint: None,
    measure: |s| {
        recall_over(s, &|test| {
            let items = items(test).filter(|_| test == "three_turn_memory")?;
            Some(items.into_iter().map(relabelled).collect())
        })
    },
};

/// Each template with one truth only.
static ONE_TRUTH: Probe = Probe {
    id: "recall",
    about: "recall without counterfactual truths",
    metrics: &[],
    data: ProbeData::HeldOut,
    only: None,
    measure_checkpoint: None,
    measure: |s| {
        recall_over(s, &|test| {
            let first = |item: &ClozeItem| item.truth == item.template % item.candidates.len();
            Some(items(test)?.into_iter().filter(first).collect())
        })
    },
};

fn put(lab: &Lab, model: &str, question: &'static Probe, fault: Option<Fault>) -> Result<Case, Failed> {
    let sound = lab.evidence()?;
    let mut finished = lab.trained(model, 1)?;
    if let Some(fault) = fault {
        finished.model = faulty(finished.model.as_ref(), fault);
    }
    let answers = finished.put(question, model)?;
    let broken = swap(&sound, model, 1, question.id, answers);
    Ok(Case { sound, broken })
}

pub fn forgetting(lab: &Lab) -> Result<Case, Failed> {
    put(lab, "groundthink", &THREE_TURNS, Some(Fault::ForgetsEveryToken))
}

pub fn labels_shuffled(lab: &Lab) -> Result<Case, Failed> {
    put(lab, "groundthink", &RELABELLED, None)
}

pub fn needle_hidden(lab: &Lab) -> Result<Case, Failed> {
    put(lab, "gpt2", &NEEDLE_HIDDEN, None)
}

pub fn one_truth(lab: &Lab) -> Result<Case, Failed> {
    put(lab, "groundthink", &ONE_TRUTH, None)
}

pub fn canary_hidden(lab: &Lab) -> Result<Case, Failed> {
    put(lab, "gpt2", &CANARY_HIDDEN, None)
}

pub fn canary_one_truth(lab: &Lab) -> Result<Case, Failed> {
    put(lab, "groundthink", &CANARY_ONE_TRUTH, None)
}

pub fn canary_next(lab: &Lab) -> Result<Case, Failed> {
    put(lab, "gpt2", &CANARY_NEXT, None)
}

pub fn canary_told(lab: &Lab) -> Result<Case, Failed> {
    put(lab, "gpt2", &CANARY_TOLD, None)
}

/// The state of the last question stays for the next.
pub fn canary_not_reset(lab: &Lab) -> Result<Case, Failed> {
    put(lab, "groundthink", &CANARIES, Some(Fault::Leaks))
}

/// The uniform guess in the place of every answer.
pub fn shrugging(lab: &Lab) -> Result<Case, Failed> {
    put(lab, "groundthink", &THREE_TURNS, Some(Fault::Shrugs(1000)))
}
