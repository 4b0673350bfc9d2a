//! What this program makes again of a trial: the data from its text and, in `audit_stretches`, the training; and
//! probes as a whole. It is no second implementation, and it sees what lies between the few places that the referee
//! looks at: whoever audits runs a program of his own on evidence that somebody else's has left.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::audit::{AuditReport, Depth};
use super::audit_curves::{beside_curves, beside_drawn, drawn_by_nobody};
use super::audit_reference::{beside_exchange, reference_again};
use super::collector::{Collector, lock};
use super::error::CollectError;
use super::lots::{Lots, chance};
use super::measure::{curves, question};
use super::reference::REFERENCE;
use super::trial::Trained;
use crate::data::batches::Order;
use crate::data::dataset::{Dataset, Encoded, windows_in};
use crate::data::tokenizer::Tokenizer;
use crate::data::vocabulary::Patience;
use crate::evidence::{Condition, Curve, Line, Measurement, Metric, Provenance};
use crate::probes::{EvalData, PROBES, Probe, TASKS, producer_of};
use crate::referee::{Deviation, PlannedSize, beside_size};

/// Probes that train anew take longest: they are asked again only where all are.
const LONGEST: &[&str] = &["mqar", "overfit"];
/// So many of the others are asked again of each trial.
const DRAWN: usize = 3;

impl Collector<'_> {
    /// The configuration that was trained beside the one of its scale.
    pub(super) fn examine_configuration(&self, trained: &Trained<'_>, report: &mut AuditReport) {
        let scale = trained.trial.scale;
        let planned = PlannedSize {
            scale: scale.name,
            otherwise: [scale.n_layer, scale.n_head, scale.d_model],
            vocabulary: self.dataset.tokenizer.vocab_size(),
            context: trained.job.recipe.context_length,
        };
        match beside_size(&trained.folder.0.join("final"), planned) {
            Ok(mut compared) => {
                report.covered.push(format!("configuration: {} keys", compared.len()));
                // What is read off a checkpoint is read with the configuration beside it.
                let is_trained = trained.model().is_ok_and(|model| model.config() == trained.job.config);
                compared.push(Deviation::fact("configuration that the protocol makes", is_trained));
                // By it `eval`, `human` and `generate` read and write.
                let own = &self.dataset.tokenizer;
                let is_own =
                    |t: &Tokenizer| t.digest() == own.digest() && [own.bos(), t.eot()].contains(&t.bos());
                let same = Tokenizer::from_dir(&trained.folder.checkpoint()).is_ok_and(|t| is_own(&t));
                compared.push(Deviation::fact("tokenizer of the checkpoint", same));
                report.questions.push((Metric::AuditConfiguration, compared));
            }
            Err(error) => report.not_covered.push(format!("configuration: {error}")),
        }
    }

    /// The data set beside its text, once for all trials, and how evenly this trial's order reads it.
    pub(super) fn examine_data(&self, trained: &Trained<'_>, whole: bool, report: &mut AuditReport) {
        let mut compared = match self.beside_text(whole) {
            Ok(facts) => facts.iter().map(|(what, holds)| Deviation::fact(what.clone(), *holds)).collect(),
            Err(problem) => {
                report.not_covered.push(format!("data: {problem}"));
                return;
            }
        };
        let order = trained.job.batches.order();
        fair_order(&self.dataset, order, trained.job.recipe.context_length, &mut compared);
        let which = if whole { "all documents" } else { "drawn documents" };
        let what = format!("data: tokenizer and {which} made again; how often each window is read");
        report.covered.push(what);
        report.questions.push((Metric::AuditData, compared));
    }

    /// The data set beside its text. Whoever looks at several trials side by side asks once before: a thread that waits
    /// for the answer must not be the one that has to give it.
    pub(super) fn beside_text(&self, whole: bool) -> &Result<Vec<(String, bool)>, String> {
        self.text_again.get_or_init(|| {
            let stopping = || false;
            let limit = Patience::LIMIT;
            let patience = Patience { screen: self.options.screen.clone(), stopping: &stopping, limit };
            let mut draw = Lots::of(&[&chance()]);
            let mut below = |bound: usize| draw.below(bound);
            let which = if whole { Encoded::All } else { Encoded::Drawn(&mut below) };
            let spec = &self.protocol.data;
            self.dataset.beside_its_text(spec, self.options.data, &patience, which).map_err(|e| e.to_string())
        })
    }

    /// A measurement by a benchmark where the protocol asks none.
    fn not_asked(&self, m: &Measurement) -> Option<Deviation> {
        let of_a_task = TASKS.iter().any(|task| task.id == m.provenance().probe);
        let what = || format!("{} of a benchmark that the protocol does not ask", m.metric().id());
        (of_a_task && self.protocol.benchmark_items == Some(0)).then(|| Deviation::fact(what(), false))
    }

    /// Some of these probes: of those that this process has drawn least often, for whatever trial.
    fn draw(&self, mut left: Vec<&'static Probe>) -> Vec<&'static Probe> {
        let (mut draw, mut before) = (Lots::of(&[&chance()]), lock(&self.drawn));
        let mut drawn = Vec::new();
        while drawn.len() < DRAWN && !left.is_empty() {
            let count = |probe: &Probe| before.get(probe.id).copied().unwrap_or(0);
            let least = left.iter().map(|probe| count(probe)).min();
            let rare: Vec<usize> = (0..left.len()).filter(|&i| Some(count(left[i])) == least).collect();
            let probe = left.swap_remove(rare[draw.below(rare.len())]);
            *before.entry(probe.id).or_default() += 1;
            drawn.push(probe);
        }
        drawn
    }

    /// Some drawn probes put again as a whole, or `whole`, every probe.
    pub(super) fn examine_probes(
        &self,
        trained: &Trained<'_>,
        depth: Depth<'_>,
        report: &mut AuditReport,
    ) -> Result<(), CollectError> {
        let Depth { whole, exchanges, .. } = depth;
        let data = self.protocol.eval_data(self.options.data);
        let of_trial = |m: &Measurement| {
            m.subject().seed == trained.trial.seed && m.subject().scale == trained.trial.scale.name
        };
        let told = self.all_told(|m| of_trial(m) && m.subject().model == trained.trial.spec.name);
        let drawn_before = self.all_curves(|c| {
            let (of, trial) = (c.subject(), &trained.trial);
            (of.seed, of.scale.as_str(), of.model.as_str()) == (trial.seed, trial.scale.name, trial.spec.name)
                && c.provenance().revision == trained.source.revision
        });
        let asked = |probe: &&Probe| {
            probe.concerns(trained.trial.spec.name)
                && probe.is_available(&data)
                && (whole || !LONGEST.contains(&probe.id))
                && told.iter().any(|m| {
                    m.provenance().probe == probe.id && m.provenance().revision == trained.source.revision
                })
        };
        let all: Vec<&'static Probe> = PROBES.iter().filter(asked).collect();
        if all.is_empty() {
            report.not_covered.push("probes: the ledger has no answers of these weights".to_owned());
            return Ok(());
        }
        let drawn = if whole { all } else { self.draw(all) };
        let (model, untrained) = (trained.model()?, trained.untrained()?);
        let subject = self.subject(trained, model.as_ref(), untrained.as_ref());
        let own = || told.iter().filter(|m| m.provenance().revision == trained.source.revision);
        let mut compared: Vec<Deviation> = own().filter_map(misnamed).collect();
        compared.extend(silent(trained, &told, &data));
        compared.extend(own().filter_map(|m| self.not_asked(m)));
        compared.extend(drawn_before.iter().filter_map(drawn_by_nobody));
        again_from_log(trained, (&told, &drawn_before), exchanges, &mut compared, report);
        self.ratings_again(trained, &told, depth, &mut compared, report);
        let elsewhere: BTreeSet<&str> = own().filter_map(|m| without_data(m, &data)).collect();
        let note = |probe| format!("probe {probe}: its data are not here");
        report.not_covered.extend(elsewhere.into_iter().map(note));
        for probe in &drawn {
            let answers = question(probe, &subject, trained.trial.spec.name, &trained.source)?;
            let recorded: Vec<&Measurement> = own().filter(|m| m.provenance().probe == probe.id).collect();
            compared.extend(answers.lines.iter().filter_map(|line| beside_ledger(line, &told)));
            compared.extend(recorded.iter().filter_map(|m| measured_by_nobody(m, &answers.lines)));
            compared.extend(beside_drawn(probe.id, &answers.lines, &drawn_before));
        }
        let of = trained.trial.of(Condition::Trained);
        let training = curves(&of, &trained.run, &trained.source)?;
        compared.extend(training.iter().filter_map(|line| beside_curves(line, &drawn_before)));
        let names: Vec<&str> = drawn.iter().map(|probe| probe.id).collect();
        report.covered.push(format!("probes asked again by this program: {}", names.join(", ")));
        report.questions.push((Metric::AuditProbes, compared));
        Ok(())
    }
}

/// A number on record that its probe does not give.
fn measured_by_nobody(m: &Measurement, again: &[Line]) -> Option<Deviation> {
    let is_it = |line: &Line| match line {
        Line::Measurement(again) => again.subject() == m.subject() && again.metric() == m.metric(),
        _ => false,
    };
    let what = || format!("{} ({}), which nobody measures", m.metric().id(), m.subject().condition.name());
    (!again.iter().any(is_it)).then(|| Deviation::fact(what(), false))
}

/// A measurement made again beside the one on record.
fn beside_ledger(again: &Line, told: &[Measurement]) -> Option<Deviation> {
    let Line::Measurement(again) = again else { return None };
    let same_question = |m: &&Measurement| {
        m.subject() == again.subject() && m.metric() == again.metric() && m.provenance() == again.provenance()
    };
    let what = format!("{} ({})", again.metric().id(), again.subject().condition.name());
    let mut recorded = told.iter().filter(same_question).peekable();
    let there = recorded.peek().is_some();
    // As written: bit for bit, a number that is none being the same as another, and item by item.
    let same = |m: &Measurement| m.agrees(again) && m.items() == again.items();
    Some(Deviation::fact(what, there && recorded.all(same)))
}

/// Whether any log of a reference lies beside a run.
fn keeps_a_log(trained: &Trained<'_>) -> bool {
    let entries = std::fs::read_dir(&trained.folder.0).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("reference-"))
}

/// What a reference's log says, beside what is on record of it.
fn again_from_log(
    trained: &Trained<'_>,
    (told, drawn): (&[Measurement], &[Curve]),
    exchanges: &[PathBuf],
    compared: &mut Vec<Deviation>,
    report: &mut AuditReport,
) {
    let recorded = told.iter().map(Measurement::provenance).chain(drawn.iter().map(Curve::provenance));
    let is_here = |p: &&Provenance| p.probe == REFERENCE && p.revision == trained.source.revision;
    let mut sources: Vec<&Provenance> = Vec::new();
    for source in recorded.filter(is_here) {
        if !sources.contains(&source) {
            sources.push(source);
        }
    }
    let of_trial = |folder: &PathBuf| beside_exchange(trained, &sources, folder);
    compared.extend(exchanges.iter().flat_map(of_trial));
    for source in sources {
        match reference_again(trained, source, exchanges) {
            Ok((lines, followed)) => {
                compared.push(Deviation::fact("task of the reference's log".to_owned(), followed));
                let of_log: Vec<Curve> = drawn.iter().filter(|c| c.provenance() == source).cloned().collect();
                compared.extend(lines.iter().filter_map(|line| beside_ledger(line, told)));
                compared.extend(lines.iter().filter_map(|line| beside_curves(line, &of_log)));
            }
            // Another log than the one that is on record.
            Err(error) if keeps_a_log(trained) => {
                compared.push(Deviation::fact(format!("reference: {error}"), false));
            }
            Err(error) => report.not_covered.push(format!("reference: {error}")),
        }
    }
}

/// A measurement that says of itself to come from another probe than the one that measures it.
fn misnamed(m: &Measurement) -> Option<Deviation> {
    let producer = producer_of(m.metric())?;
    let said = m.provenance().probe.as_str();
    let what = || format!("{} of probe {producer}, not {said:?}", m.metric().id());
    (producer != said).then(|| Deviation::fact(what(), false))
}

/// Every probe that could be put to a trial and of which nothing is on record.
fn silent(trained: &Trained<'_>, told: &[Measurement], data: &EvalData) -> Vec<Deviation> {
    let answered = |probe: &&Probe| told.iter().any(|m| m.provenance().probe == probe.id);
    let expected = |probe: &&Probe| probe.concerns(trained.trial.spec.name) && probe.is_available(data);
    let silent = PROBES.iter().filter(expected).filter(|probe| !answered(probe));
    silent.map(|probe| Deviation::fact(format!("probe {}: no answer on record", probe.id), false)).collect()
}

/// The probe that a measurement comes from, where its data are not at hand. That the evidence was collected with them
/// is for the judge, who compares what was read; here it can only be said that nobody looked.
fn without_data(m: &Measurement, data: &EvalData) -> Option<&'static str> {
    let probe = PROBES.iter().find(|probe| probe.id == m.provenance().probe)?;
    (!probe.is_available(data)).then_some(probe.id)
}

/// Within a part every window is read as often as any other, or once more.
fn fair_order(dataset: &Dataset, order: &Order, context: usize, compared: &mut Vec<Deviation>) {
    let mut times = vec![0_u32; dataset.train.len().saturating_sub(1) / context.max(1)];
    let mut inside = true;
    for window in order.windows() {
        match times.get_mut(*window as usize) {
            Some(count) => *count += 1,
            None => inside = false,
        }
    }
    compared.push(Deviation::fact("every window of the order is in the text", inside));
    for part in &dataset.parts {
        let of_part = &times[windows_in(&part.train, dataset.train.len(), context)];
        let (least, most) = (of_part.iter().min(), of_part.iter().max());
        let fair = least.zip(most).is_some_and(|(least, most)| most - least <= 1);
        compared.push(Deviation::fact(format!("every window of {} is read as often", part.name), fair));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::dataset::{DataSpec, prepare};

    #[test]
    fn an_order_of_a_part_of_the_text_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let spec =
            DataSpec::Conversations { seed: 1, train_tokens: 20_000, valid_documents: 2, vocab_size: 1024 };
        let dataset = prepare(&spec, None, folder.path()).unwrap();
        let windows = dataset.train.len().saturating_sub(1) / 32;
        let fair = |order: &Order| {
            let mut compared = Vec::new();
            fair_order(&dataset, order, 32, &mut compared);
            compared.iter().all(|fact| fact.share() <= 1.0)
        };
        for needed in [3, windows, 2 * windows + 5] {
            assert!(fair(&dataset.order(32, needed, 1).unwrap()), "{needed} of {windows}");
        }
        assert!(
            !fair(&Order::draw(windows / 8, windows, 1).unwrap()),
            "an eighth of the text, again and again"
        );
        assert!(!fair(&Order::draw(2 * windows, windows, 1).unwrap()), "windows that are not there");
    }
}
