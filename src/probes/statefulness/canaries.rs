//! Do the canaries C1 to C6 live? (Ruling table of section 4; scored as ruling R16 says.)
//!
//! Items, conditions and scoring are those of the recall tests; only the accuracy is kept, since that is
//! what a canary has a limit for.

use super::recall::{ItemsOf, accuracy, usable};
use crate::data::synthetic::canaries::items;
use crate::evidence::{Canary, Metric as M};
use crate::probes::contrast::Contrast;
use crate::probes::probe::{Probe, ProbeData, Reading, Result, TrainedModel};

pub(in crate::probes) const PROBE: Probe = Probe {
    id: "canaries",
    about: "conversation tests C1 to C6, scored over closed sets of candidates",
    metrics: METRICS,
    data: ProbeData::HeldOut,
    measure,
    only: None,
    measure_checkpoint: Some(|contrast| contrast.canaries(&|canary| items(canary, contrast.tokenizer))),
};

const METRICS: &[M] = &{
    let mut metrics = [M::CanaryPromptsSeen; Canary::ALL.len() + 1];
    let mut i = 0;
    while i < Canary::ALL.len() {
        metrics[i] = M::Canary(Canary::ALL[i]);
        i += 1;
    }
    metrics
};

fn measure(s: &TrainedModel<'_>) -> Result<Vec<Reading>> {
    canaries_over(s, &|canary| items(canary, &s.dataset.tokenizer))
}

/// The probe's question over other items.
pub fn canaries_over(s: &TrainedModel<'_>, items: ItemsOf<'_>) -> Result<Vec<Reading>> {
    Contrast::of(s)?.canaries(items)
}

impl Contrast<'_> {
    /// The answers to the canaries.
    pub fn canaries(&self, items: ItemsOf<'_>) -> Result<Vec<Reading>> {
        let mut readings = Vec::new();
        let seen = self.under_each_condition(M::CanaryPromptsSeen, &mut |condition, answers| {
            for &canary in Canary::ALL {
                let Some(items) = usable(self.tokenizer, items(canary.name())) else { continue };
                readings.push(accuracy(M::Canary(canary), &items, &answers(&items)?).under(condition));
            }
            Ok(())
        })?;
        readings.push(seen);
        Ok(readings)
    }
}
