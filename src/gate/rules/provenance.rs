//! Rules about where numbers come from. What counts as evidence already agrees with the
//! manifest, so these look further: a difference between the models must show as unmet and not be
//! filtered away as evidence from elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::{Condition, Field, Measurement, Metric};
use crate::gate::criterion::{Criterion, GPT2, GROUNDTHINK};
use crate::gate::evidence_index::Evidence;
use crate::gate::fact::Fact;
use crate::gate::gap::{Gap, ModelTrial};
use crate::gate::outcome::{Outcome, Status};
use crate::gate::question::Query;
use crate::gate::rule::ProvenanceRule;

/// Conditions under which the trained weights themselves are questioned.
const OF_TRAINED: &[Condition] = &[Condition::Trained, Condition::StateReset, Condition::WindowMatched];

/// What a rule about provenance comes to.
pub(in crate::gate) fn evaluate(
    rule: ProvenanceRule,
    criterion: &Criterion,
    evidence: &Evidence<'_>,
    scale: &str,
) -> Outcome {
    let mut outcome = Outcome::default();
    let origins = Origins { evidence, scale, condition: criterion.condition };
    for &metric in criterion.metrics {
        match rule {
            ProvenanceRule::Same(field) => origins.same(metric, field, &mut outcome),
            ProvenanceRule::Distinct(field) => origins.distinct(metric, field, &mut outcome),
            ProvenanceRule::OneSource(field) => origins.one_source(metric, field, &mut outcome),
        }
    }
    outcome
}

struct Origins<'e, 'a> {
    evidence: &'e Evidence<'a>,
    scale: &'e str,
    condition: Condition,
}

/// What the evidence of one model in one trial names.
struct Sources<'a> {
    names: BTreeSet<&'a str>,
    /// Whether they come from evidence that counts.
    counted: bool,
}

impl<'a> Origins<'_, 'a> {
    /// Of all trials one is told: the last in which the models differ, or else the first.
    fn same(&self, metric: Metric, field: Field, outcome: &mut Outcome) {
        for &seed in self.evidence.seeds() {
            let [candidate, baseline] = [GROUNDTHINK, GPT2].map(|m| self.sources(metric, field, seed, m));
            let status = compare(&candidate, &baseline);
            if status == Status::Unproven {
                outcome.gaps.push(Gap::SourcesOfBoth { seed, metric, field });
            }
            if status == Status::Unmet || outcome.facts.is_empty() {
                let [candidate, baseline] = [&candidate.names, &baseline.names].map(owned);
                let same = status == Status::Met;
                outcome.facts = vec![Fact::Sources { seed, field, candidate, baseline, same }];
            }
            outcome.statuses.push(status);
        }
    }

    /// Weights belong to one trial of one model at one scale; anything else may be shared by the models.
    fn distinct(&self, metric: Metric, field: Field, outcome: &mut Outcome) {
        let weights = field == Field::Weights;
        let mut owners: BTreeMap<(&str, &str), Vec<ModelTrial>> = BTreeMap::new();
        for model in [GROUNDTHINK, GPT2] {
            let pool = if weights { "" } else { model };
            for &seed in self.evidence.seeds() {
                let trial = ModelTrial { model, seed, scale: None };
                let sources = self.sources(metric, field, seed, model);
                if !sources.counted || sources.names.contains("") {
                    outcome.gaps.push(Gap::SourceOf { trial, metric, field });
                    outcome.statuses.push(Status::Unproven);
                    continue;
                }
                for name in sources.names {
                    owners.entry((pool, name)).or_default().push(trial.clone());
                }
            }
        }
        outcome.facts.push(Fact::DistinctSources { field, count: owners.len() });
        if weights {
            self.add_other_scales(metric, &mut owners);
        }
        for ((_, name), owners) in owners {
            outcome.statuses.push(Status::of(owners.len() == 1));
            if owners.len() > 1 {
                outcome.facts.push(Fact::SharedSource { field, name: name.to_owned(), owners });
            }
        }
    }

    /// Whoever at another scale has the same weights.
    fn add_other_scales(&self, metric: Metric, owners: &mut BTreeMap<(&'a str, &'a str), Vec<ModelTrial>>) {
        for scale in self.evidence.scales().filter(|&scale| scale != self.scale) {
            let there = Origins { scale, ..*self };
            for model in [GROUNDTHINK, GPT2] {
                for &seed in self.evidence.seeds() {
                    for name in there.sources(metric, Field::Weights, seed, model).names {
                        if let Some(owners) = owners.get_mut(&("", name)) {
                            owners.push(ModelTrial { model, seed, scale: Some(scale) });
                        }
                    }
                }
            }
        }
    }

    fn one_source(&self, metric: Metric, field: Field, outcome: &mut Outcome) {
        for model in [GROUNDTHINK, GPT2] {
            for &seed in self.evidence.seeds() {
                let trial = ModelTrial { model, seed, scale: None };
                let counted = self.evidence.trial(self.scale, seed, model, OF_TRAINED);
                let names: BTreeSet<&str> = counted.map(|m| field.of(m.provenance())).collect();
                let sources = self.sources(metric, field, seed, model);
                if !sources.counted || names.contains("") {
                    outcome.gaps.push(Gap::SourceOf { trial, metric, field });
                    outcome.statuses.push(Status::Unproven);
                    continue;
                }
                outcome.statuses.push(Status::of(names.len() == 1));
                if names.len() > 1 {
                    outcome.facts.push(Fact::MixedSources { trial, field, names: owned(&names) });
                }
            }
        }
        if outcome.facts.is_empty() {
            outcome.facts.push(Fact::UniformSources { field });
        }
    }

    fn sources(&self, metric: Metric, field: Field, seed: u64, model: &str) -> Sources<'a> {
        let finite = |m: &&&'a Measurement| m.value().finite().is_some();
        let named = |m: &&'a Measurement| field.of(m.provenance());
        // A number that is not finite proves nothing, not even where it comes from.
        let query = Query { scale: self.scale, seed, model, condition: self.condition, metric };
        let usable = self.evidence.usable(query);
        let names: BTreeSet<&str> = usable.iter().filter(finite).map(named).collect();
        if !names.is_empty() {
            return Sources { names, counted: true };
        }
        let revision = self.evidence.promise().map(|p| p.revision());
        let all = self.evidence.all(query);
        let current = |m: &&&Measurement| {
            field == Field::Revision || Some(m.provenance().revision.as_str()) == revision
        };
        Sources { names: all.iter().filter(finite).filter(current).map(named).collect(), counted: false }
    }
}

fn compare(candidate: &Sources<'_>, baseline: &Sources<'_>) -> Status {
    let stated = |s: &Sources<'_>| !s.names.is_empty() && !s.names.contains("");
    if !stated(candidate) || !stated(baseline) {
        Status::Unproven
    } else if candidate.counted && baseline.counted {
        Status::of(candidate.names.len() == 1 && candidate.names == baseline.names)
    } else if candidate.names.is_disjoint(&baseline.names) {
        Status::Unmet
    } else {
        Status::Unproven
    }
}

fn owned(names: &BTreeSet<&str>) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}
