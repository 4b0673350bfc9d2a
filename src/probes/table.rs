//! What produces which metric: the table of probes, and what is measured outside them.

use std::collections::BTreeMap;

use super::benchmarks::{dialogue, hellaswag, lambada, ptb, wikitext};
use super::efficiency::EFFICIENCY;
use super::eval_data::EvalData;
use super::probe::{Probe, ProbeData, Result};
use super::statefulness::{ablation, canaries, mqar, recall, repeated_bigram, state};
use super::{
    carrying, forward, language_modeling, long_context, observed, optimizer, overfit, overlap, resume, size,
    training,
};
use crate::evidence::{Condition, Metric};

/// Every probe.
pub const PROBES: &[Probe] = &[
    size::PROBE,
    training::PROBE,
    optimizer::PROBE,
    observed::PROBE,
    overlap::PROBE,
    language_modeling::PROBE,
    wikitext::PROBE,
    ptb::PROBE,
    lambada::PROBE,
    hellaswag::PROBE,
    dialogue::DAILYDIALOG,
    dialogue::PERSONACHAT,
    long_context::PROBE,
    forward::PROBE,
    carrying::PROBE,
    state::PROBE,
    ablation::PROBE,
    recall::PROBE,
    canaries::PROBE,
    repeated_bigram::PROBE,
    mqar::PROBE,
    overfit::PROBE,
    resume::PROBE,
];

/// What produces metrics outside the probes.
pub struct Producer {
    /// The name that provenance has.
    pub id: &'static str,
    /// The command that adds its numbers to a ledger.
    pub command: &'static str,
    /// What it does.
    pub about: &'static str,
    /// What it may measure.
    pub metrics: &'static [Metric],
}

/// Every producer that is no probe.
pub const OTHER_PRODUCERS: &[Producer] = &[
    Producer {
        id: "efficiency",
        command: "cargo bench",
        about: "times and weighs both models in turns; V5_PROTOCOL=P",
        metrics: EFFICIENCY,
    },
    Producer {
        id: "audit",
        command: "v5gate audit",
        about: "the referee makes steps and evaluations again in float64; `v5gate run` does it too",
        metrics: &[
            Metric::AuditInitialWeights,
            Metric::AuditTraining,
            Metric::AuditEvaluation,
            Metric::AuditParameters,
            Metric::AuditItems,
            Metric::AuditAnswers,
            Metric::AuditConfiguration,
            Metric::AuditData,
            Metric::AuditStretches,
            Metric::AuditProbes,
            Metric::AuditCosts,
        ],
    },
    Producer {
        id: "reference",
        command: "v5gate reference import FOLDER --protocol P",
        about: "another program trains what `v5gate reference export` writes",
        metrics: &[Metric::ReferenceLossRatio, Metric::ReferenceDeparture, Metric::ReferenceIdentical],
    },
    Producer {
        id: "human",
        command: "v5gate human import --ledger LEDGER",
        about: "people compare replies blindly on the page of `v5gate human export`",
        metrics: &[Metric::HumanPreference],
    },
];

/// Conditions that nothing measures yet, and why.
pub const UNMEASURED: &[(Condition, &str)] = &[(
    Condition::Published,
    "needs the weights of the official GPT-2, which no protocol asks yet; `v5gate eval` measures them outside a ledger",
)];

/// The name that the provenance of a metric has: of its probe, or of what measures it outside the probes.
pub fn producer_of(metric: Metric) -> Option<&'static str> {
    let other = OTHER_PRODUCERS.iter().find(|p| p.metrics.contains(&metric)).map(|p| p.id);
    other.or_else(|| PROBES.iter().find(|p| p.metrics.contains(&metric)).map(|p| p.id))
}

/// How a metric gets into a ledger, in words; `None` where nothing is known to produce it.
pub fn produced_by(metric: Metric, condition: Condition) -> Option<String> {
    if let Some((_, why)) = UNMEASURED.iter().find(|(c, _)| *c == condition) {
        return Some(format!("not measured: {why}"));
    }
    if let Some(other) = OTHER_PRODUCERS.iter().find(|p| p.metrics.contains(&metric)) {
        return Some(format!("measured by `{}` ({})", other.command, other.about));
    }
    let probe = PROBES.iter().find(|p| p.metrics.contains(&metric))?;
    Some(format!("measured by probe {} of `v5gate run --protocol P` ({})", probe.id, probe.about))
}

/// What every probe that measures on something of its own measures on; empty where there is nothing.
pub fn data_digests(data: &EvalData) -> Result<BTreeMap<String, String>> {
    let own = PROBES.iter().filter(|probe| matches!(probe.data, ProbeData::Own { .. }));
    own.map(|probe| Ok((probe.id.to_owned(), probe.data_digest(data)?.unwrap_or_default()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_a_producer() {
        for &metric in Metric::ALL {
            assert!(produced_by(metric, Condition::Trained).is_some(), "{} has no producer", metric.id());
        }
    }
}
