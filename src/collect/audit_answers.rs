//! Of every probe's answers some again, by the referee, from the text of the item to the number; and every mean over
//! items again from its items (ruling R23).
//!
//! Which items are asked follows from a digest of the final weights, of the record and of the items' file, none of
//! which exists before they do, and from chance at the time of the audit: evidence that was made up until one draw
//! missed what is wrong with it meets another.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::audit::AuditReport;
use super::collector::Collector;
use super::error::CollectError;
use super::item_file::ItemFile;
use super::lots::{Lots, chance};
use super::trial::Trained;
use crate::data::synthetic::canaries;
use crate::data::synthetic::cloze;
use crate::data::synthetic::item::ClozeItem;
use crate::evidence::{Canary, Condition, ItemValues, Measurement, Metric, RecallScore, RecallTest};
use crate::probes::long_context::{BLOCK, NEAR};
use crate::referee::{
    Deviation, ItemFigure, Number, Recollection, Recorded, SavedModel, TokenizedItem, beside_items,
};
use crate::scale::Scale;

/// Multiplications up to which every test is asked more than once.
const WORK: f64 = 1e12;
/// Windows of the held-out text that are read again.
const WINDOWS: usize = 12;
/// Tokens from the start of a document within which its blocks are drawn for a model that reads it in one go.
const REACH: usize = 4_096;
/// Blocks of long documents that are read again.
const BLOCKS: usize = 2;

/// The items of a trial by what they are about, each file read once.
pub(super) struct Kept {
    measured: BTreeMap<(Metric, Condition), (Arc<ItemFile>, Measurement)>,
}

impl Kept {
    fn of(&self, metric: Metric, condition: Condition) -> Option<&ItemValues> {
        self.measured.get(&(metric, condition))?.0.of(metric, condition)
    }

    /// The values of a metric's items.
    pub(super) fn values(&self, metric: Metric, condition: Condition) -> Option<Vec<f64>> {
        Some(self.of(metric, condition)?.values.iter().map(|value| value.raw()).collect())
    }
}

/// What is recorded of an item, by metric.
type Figures = Vec<(Metric, ItemFigure)>;
/// A question: to whom, in tokens, of which condition, place and count of items, and what is recorded of it.
type DrawnItem<'a, N> = (&'a SavedModel<N>, TokenizedItem, (Condition, usize, usize), Figures);

/// Whether a metric is a mean whose items must be there.
fn needs_items(metric: Metric) -> bool {
    matches!(
        metric,
        Metric::Recall(..)
            | Metric::Canary(_)
            | Metric::DocumentWordingAccuracy
            | Metric::ValidationLoss
            | Metric::LongContextLoss
            | Metric::LongContextRise
            | Metric::LongContextWorstRise
            | Metric::LambadaLoss
            | Metric::LambadaAccuracy
            | Metric::HellaswagAccuracy
            | Metric::HellaswagAccuracyNorm
            | Metric::HellaswagMargin
    )
}

impl Collector<'_> {
    /// Computes every mean over items again, and gives the items.
    pub(super) fn examine_items(&self, trained: &Trained<'_>, report: &mut AuditReport) -> Kept {
        let mut files = BTreeMap::<String, Result<Arc<ItemFile>, String>>::new();
        let (mut measured, mut compared) = (BTreeMap::new(), Vec::new());
        for m in self.all_told(|m| needs_items(m.metric()) && self.is_about(m, trained)) {
            let (metric, condition) = (m.metric(), m.subject().condition);
            let what = format!("{} ({})", metric.id(), condition.name());
            let read = |digest: &str| ItemFile::read(&trained.folder.0, &m.provenance().probe, digest);
            let file = match m.items() {
                None => Err(format!("{what}: no items on record")),
                Some(digest) => files
                    .entry(digest.to_owned())
                    .or_insert_with(|| read(digest).map(Arc::new).map_err(|e| e.to_string()))
                    .clone(),
            };
            let of = |file: &Arc<ItemFile>| file.of(metric, condition).cloned();
            let found = file.and_then(|file| match of(&file) {
                Some(items) => Ok((file, items)),
                None => Err(format!("{what}: not among the items")),
            });
            match found {
                Ok((file, items)) => {
                    compared.extend(beside_record(&m, &items, &what));
                    let digest = m.items().map(str::to_owned);
                    let before = measured.insert((metric, condition), (file, m));
                    if before.is_some_and(|(_, other): (_, Measurement)| other.items() != digest.as_deref()) {
                        compared.push(Deviation::fact(format!("{what}: two sets of items"), false));
                    }
                }
                Err(problem) => compared.push(Deviation::fact(problem, false)),
            }
        }
        match compared.is_empty() {
            true => report.not_covered.push("items: the ledger has no means over any".to_owned()),
            false => report.covered.push(format!("items: {} means over items", measured.len())),
        }
        report.questions.push((Metric::AuditItems, compared));
        Kept { measured }
    }

    /// Whether a measurement is about a trial as it was trained here.
    fn is_about(&self, m: &Measurement, trained: &Trained<'_>) -> bool {
        let source = m.provenance();
        *m.subject() == trained.trial.of(m.subject().condition)
            && source.revision == trained.source.revision
            && source.consumed == trained.source.consumed
            && source.recipe == trained.source.recipe
    }

    /// Asks some of the items again.
    pub(super) fn examine_answers<N: Number>(
        &self,
        trained: &Trained<'_>,
        kept: &Kept,
        weights: &SavedModel<N>,
        report: &mut AuditReport,
    ) -> Result<(), CollectError> {
        if kept.measured.is_empty() {
            report.not_covered.push("answers: the ledger has none of these weights".to_owned());
            return Ok(());
        }
        let untrained = SavedModel::<N>::untrained(&trained.folder.0, weights.fault());
        let mut seed = Sha256::new();
        for name in ["final/model.safetensors", "run.json"] {
            seed.update(std::fs::read(trained.folder.0.join(name)).map_err(CollectError::Items)?);
        }
        for (_, m) in kept.measured.values() {
            seed.update(m.items().unwrap_or_default());
        }
        seed.update(chance());
        let mut draw = Lots::of(&[&seed.finalize()]);
        let mut compared = Vec::new();
        let (scale, models) = (trained.trial.scale, (weights, untrained.as_ref().ok()));
        let asked = self.cloze_again((kept, scale), models, &mut draw, &mut compared);
        match asked {
            Ok(count) => report.covered.push(format!("answers: {count} items of recall tests and canaries")),
            Err(problem) => report.not_covered.push(format!("answers: {problem}")),
        }
        if let Err(error) = untrained {
            report.not_covered.push(format!("answers of the untrained model: {error}"));
        }
        let length = trained.job.recipe.context_length;
        let windows = self.windows_again(kept, weights, length, &mut draw, report);
        report.questions.push((Metric::AuditEvaluation, windows));
        self.long_again(kept, weights, &mut draw, &mut compared, report);
        let (benchmarks, problems) = self.benchmarks_again((kept, weights), length, &mut draw);
        if !benchmarks.is_empty() {
            report.covered.push(format!("benchmarks: {} figures of items", benchmarks.len()));
        }
        compared.extend(benchmarks);
        report.not_covered.extend(problems.into_iter().map(|problem| format!("benchmarks: {problem}")));
        report.questions.push((Metric::AuditAnswers, compared));
        Ok(())
    }

    /// Some windows of the held-out text.
    fn windows_again<N: Number>(
        &self,
        kept: &Kept,
        weights: &SavedModel<N>,
        length: usize,
        draw: &mut Lots,
        report: &mut AuditReport,
    ) -> Vec<Deviation> {
        let text = &self.dataset.valid;
        let Some(items) = kept.of(Metric::ValidationLoss, Condition::Trained) else { return Vec::new() };
        let count = text.len().saturating_sub(1) / length;
        if items.values.len() != count {
            return vec![Deviation::fact(format!("losses of {count} held-out windows on record"), false)];
        }
        let drawn: Vec<usize> = (0..WINDOWS.min(count)).map(|_| draw.below(count)).collect();
        let again =
            |window: &usize| weights.beside_window(items.values[*window].raw(), (text, length), *window);
        let windows: Vec<Deviation> = drawn.par_iter().map(again).collect();
        report.covered.push(format!("validation loss: windows {drawn:?} of {count}"));
        windows
    }

    /// Recall tests and canaries: the items whose candidates are single tokens, and what is recorded of them.
    fn conversation_tests(&self, scale: &Scale) -> Vec<(Vec<ClozeItem>, Figures)> {
        let rivals = cloze::Rivals::at(scale);
        let tokenizer = &self.dataset.tokenizer;
        let recall = RecallTest::ALL.iter().map(|test| {
            let figures = vec![
                (Metric::Recall(*test, RecallScore::Accuracy), ItemFigure::Credit),
                (Metric::Recall(*test, RecallScore::MeanReciprocalRank), ItemFigure::ReciprocalRank),
                (Metric::Recall(*test, RecallScore::Bits), ItemFigure::Bits),
            ];
            (cloze::items(test.name(), rivals), figures)
        });
        let document = vec![(Metric::DocumentWordingAccuracy, ItemFigure::Credit)];
        let canaries = Canary::ALL.iter().map(|canary| {
            (canaries::items(canary.name(), tokenizer), vec![(Metric::Canary(*canary), ItemFigure::Credit)])
        });
        let single = |c: &String| tokenizer.encode(c).is_ok_and(|tokens| tokens.len() == 1);
        let usable = |items: Option<Vec<ClozeItem>>| -> Vec<ClozeItem> {
            let all = items.unwrap_or_default().into_iter();
            all.filter(|item| item.candidates.iter().all(single)).collect()
        };
        let all = recall.chain([(cloze::items(cloze::DOCUMENT_WORDING, rivals), document)]).chain(canaries);
        all.map(|(items, figures)| (usable(items), figures)).filter(|(items, _)| !items.is_empty()).collect()
    }

    /// Recall tests and canaries: of every test four items and the one with the longest prompt, and one each of the
    /// untrained model and of the reset state.
    fn cloze_again<N: Number>(
        &self,
        (kept, scale): (&Kept, &Scale),
        (trained, untrained): (&SavedModel<N>, Option<&SavedModel<N>>),
        draw: &mut Lots,
        compared: &mut Vec<Deviation>,
    ) -> Result<usize, String> {
        let tokenizer = &self.dataset.tokenizer;
        let (mut questions, mut work) = (Vec::new(), 0.0);
        for (items, figures) in self.conversation_tests(scale) {
            let longest = (0..items.len()).max_by_key(|i| items[*i].context.len()).unwrap_or(0);
            compared.extend(beside_templates(kept, &items, &figures));
            let mut drawn = || draw.below(items.len());
            let places = [
                (Condition::Trained, drawn()),
                (Condition::Trained, longest),
                (Condition::Trained, drawn()),
                (Condition::Trained, drawn()),
                (Condition::Trained, drawn()),
                (Condition::Untrained, drawn()),
                (Condition::StateReset, drawn()),
            ];
            for (i, (condition, place)) in places.into_iter().enumerate() {
                let model = if condition == Condition::Untrained { untrained } else { Some(trained) };
                let Some(model) = model else { continue };
                let reset = condition == Condition::StateReset;
                let memory = if reset { Recollection::Reset } else { Recollection::Conversation };
                let tokenized =
                    model.tokenized(&items[place], tokenizer, memory).map_err(|e| e.to_string())?;
                let Some(tokenized) = tokenized else { continue };
                let cost = 2.0 * model.parameters() as f64 * tokenized.prompt.len() as f64;
                // Of a large model only the first of each test.
                if i == 0 || work + cost < WORK {
                    work += cost;
                    questions.push((model, tokenized, (condition, place, items.len()), figures.clone()));
                }
            }
        }
        let answer = |(model, item, (condition, place, count), figures): &DrawnItem<'_, N>| {
            let odds = model.odds(item);
            let beside = |(metric, figure): &(Metric, ItemFigure)| {
                let what = format!("{} ({}), item {place}", metric.id(), condition.name());
                match kept.of(*metric, *condition).filter(|kept| kept.values.len() == *count) {
                    Some(kept) => odds.beside(*figure, kept.values[*place].raw(), what),
                    None => Some(Deviation::fact(format!("{what}: {count} items on record"), false)),
                }
            };
            figures.iter().filter_map(beside).collect::<Vec<_>>()
        };
        compared.extend(questions.par_iter().flat_map_iter(answer).collect::<Vec<_>>());
        Ok(questions.len())
    }

    /// Blocks of the long documents, where there are any.
    fn long_again<N: Number>(
        &self,
        kept: &Kept,
        weights: &SavedModel<N>,
        draw: &mut Lots,
        compared: &mut Vec<Deviation>,
        report: &mut AuditReport,
    ) {
        let Some(items) = kept.of(Metric::LongContextLoss, Condition::Trained) else { return };
        let tokenizer = &self.dataset.tokenizer;
        let documents =
            match self.protocol.eval_data(self.options.data).long.map(|long| long.tokens(tokenizer)) {
                Some(Ok(documents)) => documents,
                other => {
                    let problem = other.and_then(Result::err).map_or("none".to_owned(), |e| e.to_string());
                    return report.not_covered.push(format!("long documents: {problem}"));
                }
            };
        let Some(length) = documents.first().map(Vec::len) else { return };
        let each = (length - NEAR.min(length)).div_ceil(BLOCK);
        if items.values.len() != each * documents.len() {
            let what = format!("{} blocks of long documents", each * documents.len());
            return compared.push(Deviation::fact(what, false));
        }
        // A model with a window starts again for every window; another one reads from the start.
        let reach = if weights.window().is_some() { each } else { REACH.saturating_sub(NEAR) / BLOCK };
        for _ in 0..BLOCKS {
            let (document, block) = (draw.below(documents.len()), draw.below(reach.clamp(1, each)));
            let begin = NEAR + block * BLOCK;
            let part: Range<usize> = begin..length.min(begin + BLOCK);
            let tokens: Vec<usize> = documents[document].iter().map(|id| *id as usize).collect();
            let recorded = items.values[document * each + block].raw();
            let mut beside = weights.beside_part(recorded, (&tokens, tokenizer.eot() as usize), part);
            beside.what = format!("document {document}: {}", beside.what);
            compared.push(beside);
        }
        report.covered.push(format!("long documents: {BLOCKS} blocks of {BLOCK} tokens"));
    }
}

/// The groups that an interval is over beside the items' templates: items of one template are not independent.
fn beside_templates(kept: &Kept, items: &[ClozeItem], figures: &Figures) -> Vec<Deviation> {
    let of = |(metric, _): &(Metric, ItemFigure)| {
        let kept = kept.of(*metric, Condition::Trained)?;
        let same = kept.groups.iter().copied().eq(items.iter().map(|item| item.template as u64));
        Some(Deviation::fact(format!("{}: groups of items are their templates", metric.id()), same))
    };
    figures.iter().filter_map(of).collect()
}

/// A mean beside its items.
fn beside_record(m: &Measurement, items: &ItemValues, what: &str) -> Vec<Deviation> {
    let interval = m.interval().map(|ends| ends.map(|end| end.raw()));
    let recorded = Recorded { value: m.value().raw(), n: m.n(), interval, domain: m.metric().domain() };
    let values: Vec<(u64, f64)> =
        items.groups.iter().copied().zip(items.values.iter().map(|value| value.raw())).collect();
    beside_items(&recorded, items.weight, &values, what)
}
