//! Rules about where numbers come from. What counts as evidence already shares the promised
//! fields, so these look further: a difference between the models must show as unmet and not be
//! filtered away as evidence from elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::{Condition, Field, Measurement, Metric};
use crate::gate::criterion::{Criterion, Rule};
use crate::gate::evidence_index::{Evidence, short};
use crate::gate::judge::{Answer, Status};
use crate::gate::{GPT2, GROUNDTHINK};

/// Conditions under which the trained weights themselves are questioned.
const OF_TRAINED: &[Condition] = &[Condition::Trained, Condition::StateReset, Condition::WindowMatched];

/// The answer to a rule about provenance.
pub(in crate::gate) fn answer(criterion: &Criterion, evidence: &Evidence<'_>, scale: &str) -> Answer {
    let mut answer = Answer::default();
    let asked = Asked { evidence, scale, condition: criterion.condition };
    for &metric in criterion.metrics {
        match criterion.rule {
            Rule::SameProvenance(field) => asked.same(metric, field, &mut answer),
            Rule::DistinctProvenance(field) => asked.distinct(metric, field, &mut answer),
            Rule::OneSource(field) => asked.one_source(metric, field, &mut answer),
            _ => {}
        }
    }
    answer
}

struct Asked<'e, 'a> {
    evidence: &'e Evidence<'a>,
    scale: &'e str,
    condition: Condition,
}

/// What the evidence of one model in one trial names.
struct Sources<'a> {
    names: BTreeSet<&'a str>,
    promised: bool,
}

impl<'a> Asked<'_, 'a> {
    fn same(&self, metric: Metric, field: Field, answer: &mut Answer) {
        for &seed in self.evidence.seeds() {
            let [ours, theirs] = [GROUNDTHINK, GPT2].map(|m| self.sources(metric, field, seed, m));
            let status = compare(&ours, &theirs);
            if status == Status::Unproven {
                answer.lacks.push(format!(
                    "seed {seed} {}: the {} of both models, as promised, is not on record",
                    metric.id(),
                    field.name()
                ));
            }
            let [our, their] = [&ours.names, &theirs.names].map(listed);
            let text = match status {
                Status::Met => format!("{our} in both (seed {seed})"),
                _ => format!("seed {seed}: groundthink {our}, gpt2 {their}"),
            };
            if status == Status::Unmet || answer.found.is_empty() {
                answer.found = text;
            }
            answer.status.push(status);
        }
    }

    /// Weights belong to one trial of one model at one scale; anything else may be shared by the models.
    fn distinct(&self, metric: Metric, field: Field, answer: &mut Answer) {
        let weights = field == Field::Weights;
        let mut owners: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
        for model in [GROUNDTHINK, GPT2] {
            let pool = if weights { "" } else { model };
            for &seed in self.evidence.seeds() {
                let sources = self.sources(metric, field, seed, model);
                if !sources.promised || sources.names.contains("") {
                    let (id, field) = (metric.id(), field.name());
                    answer.lacks.push(format!("{model} seed {seed} {id}: its {field} is not on record"));
                    answer.status.push(Status::Unproven);
                    continue;
                }
                for name in sources.names {
                    owners.entry((pool, name)).or_default().push(format!("{model} seed {seed}"));
                }
            }
        }
        answer.say(format!("{} different", owners.len()));
        if weights {
            self.add_other_scales(metric, &mut owners);
        }
        for ((_, name), owners) in owners {
            answer.status.push(Status::of(owners.len() == 1));
            if owners.len() > 1 {
                answer.say(format!("{} {} of {}", field.name(), short(name), owners.join(" and ")));
            }
        }
    }

    /// Whoever at another scale has the same weights.
    fn add_other_scales(&self, metric: Metric, owners: &mut BTreeMap<(&'a str, &'a str), Vec<String>>) {
        for scale in self.evidence.scales().filter(|&scale| scale != self.scale) {
            let there = Asked { scale, ..*self };
            for model in [GROUNDTHINK, GPT2] {
                for &seed in self.evidence.seeds() {
                    for name in there.sources(metric, Field::Weights, seed, model).names {
                        if let Some(owners) = owners.get_mut(&("", name)) {
                            owners.push(format!("{model} seed {seed} at {scale}"));
                        }
                    }
                }
            }
        }
    }

    fn one_source(&self, metric: Metric, field: Field, answer: &mut Answer) {
        for model in [GROUNDTHINK, GPT2] {
            for &seed in self.evidence.seeds() {
                let counted = self.evidence.trial(self.scale, seed, model, OF_TRAINED);
                let names: BTreeSet<&str> = counted.map(|m| field.of(m.provenance())).collect();
                let asked = self.sources(metric, field, seed, model);
                if !asked.promised || names.contains("") {
                    answer.lacks.push(format!("{model} seed {seed}: its {} is not on record", field.name()));
                    answer.status.push(Status::Unproven);
                    continue;
                }
                answer.status.push(Status::of(names.len() == 1));
                if names.len() > 1 {
                    answer.say(format!("{model} seed {seed}: {}", listed(&names)));
                }
            }
        }
        if answer.found.is_empty() {
            answer.say(format!("the same {} throughout each trial", field.name()));
        }
    }

    fn sources(&self, metric: Metric, field: Field, seed: u64, model: &str) -> Sources<'a> {
        let finite = |m: &&&'a Measurement| m.value().finite().is_some();
        let named = |m: &&'a Measurement| field.of(m.provenance());
        // A number that is not finite proves nothing, not even where it comes from.
        let usable = self.evidence.usable(self.scale, seed, model, self.condition, metric);
        let names: BTreeSet<&str> = usable.iter().filter(finite).map(named).collect();
        if !names.is_empty() {
            return Sources { names, promised: true };
        }
        let revision = self.evidence.context().map(|c| c.revision.as_str());
        let all = self.evidence.all(self.scale, seed, model, self.condition, metric);
        let current = |m: &&&Measurement| {
            field == Field::Revision || Some(m.provenance().revision.as_str()) == revision
        };
        Sources { names: all.iter().filter(finite).filter(current).map(named).collect(), promised: false }
    }
}

fn compare(ours: &Sources<'_>, theirs: &Sources<'_>) -> Status {
    let stated = |s: &Sources<'_>| !s.names.is_empty() && !s.names.contains("");
    if !stated(ours) || !stated(theirs) {
        Status::Unproven
    } else if ours.promised && theirs.promised {
        Status::of(ours.names.len() == 1 && ours.names == theirs.names)
    } else if ours.names.is_disjoint(&theirs.names) {
        Status::Unmet
    } else {
        Status::Unproven
    }
}

fn listed(names: &BTreeSet<&str>) -> String {
    let names: Vec<&str> = names.iter().map(|name| short(name)).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(" and ") }
}
