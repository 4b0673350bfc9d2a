//! Do both branches contribute? (S4: zero one branch's output and see the validation loss rise.)

use crate::evidence::Metric as M;
use crate::models::{Branch, LanguageModel};
use crate::probes::language_modeling::window_losses;
use crate::probes::probe::{Probe, ProbeData, Reading, Result, TrainedModel};
use crate::statistics::mean;

pub(in crate::probes) const PROBE: Probe = Probe {
    id: "ablation",
    about: "how much the validation loss rises when a branch's output is zeroed",
    metrics: &[M::AblationRwkvRise, M::AblationMambaRise, M::AblationSmallerShare],
    data: ProbeData::HeldOut,
    measure,
    only: Some("groundthink"),
    measure_checkpoint: None,
};

/// Validation windows looked at.
const WINDOWS: usize = 64;

fn measure(s: &TrainedModel<'_>) -> Result<Vec<Reading>> {
    let (Some(no_rwkv), Some(no_mamba)) = (s.model.without(Branch::Rwkv), s.model.without(Branch::Mamba))
    else {
        return Ok(Vec::new());
    };
    let loss = |m: &dyn LanguageModel| -> Result<f64> {
        Ok(mean(&window_losses(m, &s.dataset.valid, s.recipe.context_length, WINDOWS)?))
    };
    let whole = loss(s.model)?;
    let (rwkv, mamba) = (loss(no_rwkv.as_ref())? - whole, loss(no_mamba.as_ref())? - whole);
    let smaller = if rwkv < mamba { rwkv } else { mamba };
    Ok(vec![
        Reading::new(M::AblationRwkvRise, rwkv),
        Reading::new(M::AblationMambaRise, mamba),
        Reading::new(M::AblationSmallerShare, smaller / (rwkv + mamba)),
    ])
}
