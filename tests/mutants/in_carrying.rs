//! Faults in what is carried from call to call, in what a position sees, and between training and evaluation, in
//! models that a short training made.

use libtest_mimic::Failed;

use crate::faulty::{Fault, faulty};
use crate::lab::{Lab, Setup, Training, swap};
use crate::table::Case;

/// One model of the small pair with a fault, asked a probe.
fn with(lab: &Lab, model: &str, probe: &str, fault: Fault) -> Result<Case, Failed> {
    let sound = lab.reading()?.to_vec();
    let Setup { protocol, dataset } = lab.small()?;
    let mut finished = Training::of(protocol, dataset, model)?.run(&|_, _| Ok(()))?;
    finished.model = faulty(finished.model.as_ref(), fault);
    let broken = swap(&sound, model, 1, probe, finished.ask(probe)?);
    Ok(Case { sound, broken })
}

pub fn next_token_from_64(lab: &Lab) -> Result<Case, Failed> {
    with(lab, "groundthink", "forward", Fault::PeeksFrom(64))
}

pub fn next_token_from_128(lab: &Lab) -> Result<Case, Failed> {
    with(lab, "groundthink", "forward", Fault::PeeksFrom(128))
}

pub fn next_token_from_256(lab: &Lab) -> Result<Case, Failed> {
    with(lab, "groundthink", "forward", Fault::PeeksFrom(256))
}

pub fn gpt2_next_token_from_64(lab: &Lab) -> Result<Case, Failed> {
    with(lab, "gpt2", "forward", Fault::PeeksFrom(64))
}

pub fn next_token_in_batches(lab: &Lab) -> Result<Case, Failed> {
    with(lab, "groundthink", "forward", Fault::PeeksInBatches)
}

pub fn positions_from_zero(lab: &Lab) -> Result<Case, Failed> {
    with(lab, "gpt2", "carrying", Fault::PositionsFromZero)
}

pub fn keys_forgotten(lab: &Lab) -> Result<Case, Failed> {
    with(lab, "gpt2", "carrying", Fault::ForgetsKeys)
}

pub fn newest_forgotten(lab: &Lab) -> Result<Case, Failed> {
    with(lab, "gpt2", "carrying", Fault::ForgetsNewestInBatches)
}

pub fn tail_dropped_in_batches(lab: &Lab) -> Result<Case, Failed> {
    with(lab, "groundthink", "carrying", Fault::DropsInBatches("mamba.conv"))
}

pub fn shift_dropped_in_batches(lab: &Lab) -> Result<Case, Failed> {
    with(lab, "groundthink", "carrying", Fault::DropsInBatches("rwkv.shift"))
}

pub fn scan_dropped_late(lab: &Lab) -> Result<Case, Failed> {
    with(lab, "groundthink", "carrying", Fault::DropsFrom("mamba.ssm", 128))
}

pub fn undecayed_steps(lab: &Lab) -> Result<Case, Failed> {
    with(lab, "groundthink", "carrying", Fault::UndecayedSteps)
}

pub fn bonus_ignored(lab: &Lab) -> Result<Case, Failed> {
    with(lab, "groundthink", "carrying", Fault::BonusIgnored)
}

pub fn gate_ignored(lab: &Lab) -> Result<Case, Failed> {
    with(lab, "groundthink", "carrying", Fault::GateIgnored)
}

pub fn gpt2_trembles(lab: &Lab) -> Result<Case, Failed> {
    with(lab, "gpt2", "carrying", Fault::Trembles)
}

pub fn leaks_in_batches(lab: &Lab) -> Result<Case, Failed> {
    with(lab, "groundthink", "carrying", Fault::LeaksInBatches)
}
