//! Benchmarks that training text contains prove nothing (ruling R26).

use std::collections::BTreeSet;

use super::criterion::Criterion;
use super::evidence_index::Evidence;
use super::gap::{Gap, ModelTrial};
use super::question::Query;
use crate::evidence::{Condition, Metric as M, Value};

/// The share of a benchmark's 13-grams that training text may contain: ruling R26's, which is that of held-out text.
const MOST: f64 = 0.01;

/// What says how much of a benchmark training text contains; nothing of what is no benchmark.
const fn overlap(metric: M) -> Option<M> {
    match metric {
        M::WikitextLoss | M::WikitextBitsPerByte => Some(M::WikitextOverlap),
        M::PtbLoss => Some(M::PtbOverlap),
        M::LambadaLoss | M::LambadaAccuracy => Some(M::LambadaOverlap),
        M::HellaswagAccuracy | M::HellaswagAccuracyNorm | M::HellaswagMargin => Some(M::HellaswagOverlap),
        M::DailydialogLoss | M::DailydialogBleu => Some(M::DailydialogOverlap),
        M::PersonachatLoss | M::PersonachatBleu => Some(M::PersonachatOverlap),
        M::LongContextLoss | M::LongContextRise | M::LongContextWorstRise | M::UsefulContext => {
            Some(M::LongContextOverlap)
        }
        _ => None,
    }
}

/// Of the benchmarks that a row asks trained models, those that training text contains, or of which nobody looked.
pub(super) fn contaminated(criterion: &Criterion, evidence: &Evidence<'_>, scale: &str) -> Vec<Gap> {
    let condition = Condition::Trained;
    let asked: BTreeSet<M> = criterion.metrics.iter().filter_map(|&metric| overlap(metric)).collect();
    let mut gaps = Vec::new();
    for metric in asked.into_iter().filter(|_| criterion.condition == condition) {
        for &model in criterion.scope.models() {
            for &seed in evidence.seeds() {
                let found = evidence.find(Query { scale, seed, model, condition, metric });
                let share = found.ok().map(|m| m.value());
                // A share of minus infinity is none.
                let clean = |share: Value| share.finite().is_some_and(|share| (0.0..=MOST).contains(&share));
                if !share.is_some_and(clean) {
                    let trial = ModelTrial { model, seed, scale: None };
                    gaps.push(Gap::CleanBenchmark { trial, metric, share });
                }
            }
        }
    }
    gaps
}
