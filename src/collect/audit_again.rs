//! What this program makes again of a trial: the data from its text, stretches of the training from kept states, and
//! probes as a whole. It is no second implementation, and it sees what lies between the few places that the referee
//! looks at: whoever audits runs a program of his own on evidence that somebody else's has left.

use std::fs;

use super::audit::AuditReport;
use super::collector::Collector;
use super::error::CollectError;
use super::lots::{Lots, chance};
use super::measure::question;
use super::trial::Trained;
use crate::data::batches::Order;
use crate::data::dataset::{Dataset, windows_in};
use crate::data::vocabulary::Patience;
use crate::evidence::{Line, Measurement, Metric};
use crate::probes::{EvalData, PROBES, Probe, producer_of};
use crate::referee::{Deviation, PlannedSize, beside_size};
use crate::train::{audited, steps_again};

/// Of a training's steps one in so many is made again after each kept state, and at least so many.
const SHARE: u64 = 100;
const LEAST: u64 = 12;
/// Probes that train anew take longest: they are asked again only where all are.
const LONGEST: &[&str] = &["mqar", "overfit"];

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
            Ok(compared) => {
                report.covered.push(format!("configuration: {} keys", compared.len()));
                // Of a model that nothing is ruled about, nothing differs.
                let none = || vec![Deviation::fact("configuration", true)];
                let compared = if compared.is_empty() { none() } else { compared };
                report.questions.push((Metric::AuditConfiguration, compared));
            }
            Err(error) => report.not_covered.push(format!("configuration: {error}")),
        }
    }

    /// The data set beside its text, once for all trials, and how evenly this trial's order reads it.
    pub(super) fn examine_data(&self, trained: &Trained<'_>, report: &mut AuditReport) {
        let mut compared = match self.beside_text() {
            Ok(facts) => facts.iter().map(|(what, holds)| Deviation::fact(what.clone(), *holds)).collect(),
            Err(problem) => {
                report.not_covered.push(format!("data: {problem}"));
                return;
            }
        };
        let order = trained.job.batches.order();
        fair_order(&self.dataset, order, trained.job.recipe.context_length, &mut compared);
        report
            .covered
            .push("data: tokenizer and drawn documents made again; how often each window is read".to_owned());
        report.questions.push((Metric::AuditData, compared));
    }

    /// The data set beside its text. Whoever looks at several trials side by side asks once before: a thread that waits
    /// for the answer must not be the one that has to give it.
    pub(super) fn beside_text(&self) -> &Result<Vec<(String, bool)>, String> {
        self.text_again.get_or_init(|| {
            let stopping = || false;
            let limit = Patience::LIMIT;
            let patience = Patience { screen: self.options.screen.clone(), stopping: &stopping, limit };
            let mut draw = Lots::of(&[&chance()]);
            let mut below = |bound: usize| draw.below(bound);
            let spec = &self.protocol.data;
            self.dataset
                .beside_its_text(spec, self.options.data, &patience, &mut below)
                .map_err(|e| e.to_string())
        })
    }

    /// Stretches of the training after its kept states, made again by the trainer; `whole`, all that lies between them.
    pub(super) fn examine_stretches(&self, trained: &Trained<'_>, whole: bool, report: &mut AuditReport) {
        let steps = trained.job.recipe.steps();
        let kept = kept_states(trained);
        let expected: Vec<u64> = audited(steps, &trained.run.identity).into_iter().collect();
        let starts: Vec<u64> =
            kept.iter().copied().filter(|s| *s < steps && kept.contains(&(s + 1))).collect();
        let (mut compared, mut made) = (Vec::new(), 0);
        // A training that diverged has not come to all of them.
        if !kept.is_empty() && trained.run.curve.len() as u64 == steps {
            let what = format!("states are kept after {expected:?} steps");
            compared.push(Deviation::fact(what, kept == expected));
        }
        for (i, &from) in starts.iter().enumerate() {
            let next = starts.get(i + 1).copied().unwrap_or(steps);
            let count = if whole { u64::MAX } else { (steps / SHARE).max(LEAST) }.min(next - from);
            let recorded = &trained.run.curve[(from as usize).min(trained.run.curve.len())..];
            match steps_again(&trained.job, &trained.folder.0, &trained.run, (from, count)) {
                Ok(again) => {
                    made += again.len();
                    let same = |(a, b): (&_, &_)| a == b;
                    let first = again.iter().zip(recorded).position(|pair| !same(pair));
                    let ends = again.len() == recorded.len().min(count as usize);
                    let what = match first {
                        Some(at) => format!("step {}, made again after {from} steps", from + at as u64 + 1),
                        None => format!("{count} steps after {from}"),
                    };
                    compared.push(Deviation::fact(what, first.is_none() && ends));
                }
                Err(error) => report.not_covered.push(format!("steps after {from}: {error}")),
            }
        }
        match compared.is_empty() {
            true => report.not_covered.push("steps between kept states: none is kept".to_owned()),
            false => {
                report.covered.push(format!("training: {made} of {steps} steps made again by the trainer"))
            }
        }
        report.questions.push((Metric::AuditStretches, compared));
    }

    /// A drawn probe put again as a whole, or `whole`, every probe.
    pub(super) fn examine_probes(
        &self,
        trained: &Trained<'_>,
        whole: bool,
        report: &mut AuditReport,
    ) -> Result<(), CollectError> {
        let data = self.protocol.eval_data(self.options.data);
        let of_trial = |m: &Measurement| {
            m.subject().seed == trained.trial.seed && m.subject().scale == trained.trial.scale.name
        };
        let told = self.all_told(|m| of_trial(m) && m.subject().model == trained.trial.spec.name);
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
        let mut draw = Lots::of(&[&chance()]);
        let drawn = if whole { all } else { vec![all[draw.below(all.len())]] };
        let (model, untrained) = (trained.model()?, trained.untrained()?);
        let subject = self.subject(trained, model.as_ref(), untrained.as_ref());
        let mut compared: Vec<Deviation> = told
            .iter()
            .filter(|m| m.provenance().revision == trained.source.revision)
            .filter_map(|m| misnamed(m, &data))
            .collect();
        for probe in &drawn {
            let answers = question(probe, &subject, trained.trial.spec.name, &trained.source)?;
            compared.extend(answers.lines.iter().filter_map(|line| beside_ledger(line, &told)));
        }
        let names: Vec<&str> = drawn.iter().map(|probe| probe.id).collect();
        report.covered.push(format!("probes asked again by this program: {}", names.join(", ")));
        report.questions.push((Metric::AuditProbes, compared));
        Ok(())
    }
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
    // As written: bit for bit, a number that is none being the same as another.
    Some(Deviation::fact(what, there && recorded.all(|m| m.agrees(again))))
}

/// A measurement that says of itself to come from where it cannot: another probe than the one that measures it, or one
/// whose data are not here.
fn misnamed(m: &Measurement, data: &EvalData) -> Option<Deviation> {
    let (metric, said) = (m.metric(), m.provenance().probe.as_str());
    let what = match producer_of(metric) {
        Some(producer) if producer != said => format!("{} of probe {producer}, not {said:?}", metric.id()),
        _ => {
            let probe = PROBES.iter().find(|probe| probe.id == said)?;
            if probe.is_available(data) {
                return None;
            }
            format!("{} without the data of probe {said}", metric.id())
        }
    };
    Some(Deviation::fact(what, false))
}

/// The steps after which a state was kept, in order.
fn kept_states(trained: &Trained<'_>) -> Vec<u64> {
    let entries = fs::read_dir(&trained.folder.0).into_iter().flatten().flatten();
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_prefix("audit-")?.parse().ok();
    let mut all: Vec<u64> = entries.filter_map(number).collect();
    all.sort_unstable();
    all
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
