//! What does it remember of a conversation? (Rulings R16, R17 and R18.)
//!
//! A stem is scored over its closed set of candidates by likelihood. Every template comes with each
//! candidate as the truth, so a model without memory scores exactly 1/K. Ties share their credit.
//! Beside the trained model: untrained, state reset before the question, GPT-2 with a window whose
//! cache is no larger than GroundThink's state, a uniform guesser and a copy oracle.

use std::collections::BTreeMap;

use super::readers::{READERS, Scores, copy_oracle, uniform};
use crate::data::synthetic::cloze::{DOCUMENT_WORDING, Rivals, items};
use crate::data::synthetic::item::ClozeItem;
use crate::data::tokenizer::Tokenizer;
use crate::evidence::{Condition, ItemValues, Metric as M, RecallScore, RecallTest};
use crate::models::{self, LanguageModel};
use crate::ops::to_vec_f64;
use crate::probes::contrast::Contrast;
use crate::probes::probe::{Probe, ProbeData, Reading, Result, TrainedModel};
use crate::probes::witness::Witness;
use crate::statistics::mean;

pub(in crate::probes) const PROBE: Probe = Probe {
    id: "recall",
    about: "recall of facts from a conversation, scored over closed sets of candidates",
    metrics: METRICS,
    data: ProbeData::HeldOut,
    measure,
    only: None,
    measure_checkpoint: Some(|contrast| contrast.recall(&|test| items(test, Rivals::Named))),
};

/// Every figure of every recall test, and what follows from them.
const METRICS: &[M] = &{
    let beside = [
        M::StatefulnessScore,
        M::StatefulnessChance,
        M::DocumentWordingAccuracy,
        M::StatePersistence,
        M::PromptsSeen,
        M::CutTokensMean,
        M::CutTokensMost,
    ];
    let (mut metrics, mut n) = ([beside[0]; RecallTest::SCORES + 7], 0);
    let mut test = 0;
    while test < RecallTest::ALL.len() {
        let (of, mut score) = (RecallTest::ALL[test], 0);
        while score < of.scores().len() {
            metrics[n] = M::Recall(of, of.scores()[score]);
            (n, score) = (n + 1, score + 1);
        }
        test += 1;
    }
    let mut i = 0;
    while i < beside.len() {
        (metrics[n], n, i) = (beside[i], n + 1, i + 1);
    }
    metrics
};

/// The distances in turns of the retention tests, the shortest first, and their bits retained.
fn retention() -> impl Iterator<Item = (f64, M)> {
    RecallTest::retention().map(|(test, turns)| (f64::from(turns), M::Recall(test, RecallScore::Bits)))
}

fn measure(s: &TrainedModel<'_>) -> Result<Vec<Reading>> {
    recall_over(s, &|test| items(test, Rivals::at(s.scale)))
}

/// The items of a test by its name; none where the test is left out.
pub type ItemsOf<'a> = &'a dyn Fn(&str) -> Option<Vec<ClozeItem>>;

/// What scores items, and how.
pub(in crate::probes) type Answers<'a> = &'a dyn Fn(&[ClozeItem]) -> Result<Vec<Scores>>;

impl<'a> Contrast<'a> {
    pub(in crate::probes) fn of(s: &TrainedModel<'a>) -> Result<Self> {
        let matched = matched_window(s)?;
        let (tokenizer, shared) = (&s.dataset.tokenizer, s.recipe.context_length);
        Ok(Self { model: s.model, untrained: s.untrained, tokenizer, matched, shared })
    }

    /// Puts a question to the trained model and to all that it is compared with, and says which prompts the trained
    /// model got.
    pub(in crate::probes) fn under_each_condition(
        &self,
        prompts: M,
        put: &mut dyn FnMut(Condition, Answers<'_>) -> Result<()>,
    ) -> Result<Reading> {
        let (t, all) = (self.tokenizer, usize::MAX);
        let witness = Witness::of(self.model, self.shared);
        put(Condition::Trained, &|i| score(&witness, t, i, all, None))?;
        put(Condition::Untrained, &|i| score(self.untrained, t, i, all, None))?;
        put(Condition::StateReset, &|i| score(self.model, t, i, 0, None))?;
        put(Condition::Uniform, &|i| Ok(uniform(i)))?;
        put(Condition::CopyOracle, &|i| Ok(copy_oracle(i)))?;
        if let Some(window) = self.matched {
            put(Condition::WindowMatched, &|i| score(self.model, t, i, all, Some(window)))?;
        }
        Ok(witness.sequences(prompts))
    }

    /// The answers to the recall tests.
    pub fn recall(&self, items: ItemsOf<'_>) -> Result<Vec<Reading>> {
        let mut readings = Vec::new();
        let seen = self.under_each_condition(M::PromptsSeen, &mut |condition, answers| {
            readings.extend(examine(self.tokenizer, items, condition, answers)?);
            Ok(())
        })?;
        let names_rivals = |test: &RecallTest| {
            usable(self.tokenizer, items(test.name())).is_some_and(|items| items.iter().any(|i| i.rivals))
        };
        if RecallTest::ALL.iter().any(names_rivals) {
            for (condition, reader) in READERS {
                readings.extend(examine(self.tokenizer, items, condition, &|i| Ok(reader(i)))?);
            }
        }
        readings.push(seen);
        readings.extend(self.cut_tokens(items)?);
        Ok(readings)
    }
}

impl Contrast<'_> {
    /// How much of each item's conversation the window does not hold (ruling R17): the mean and the most.
    fn cut_tokens(&self, items: ItemsOf<'_>) -> Result<[Reading; 2]> {
        let window = self.model.window().unwrap_or(usize::MAX);
        let mut cut = Vec::new();
        for &test in RecallTest::ALL {
            for item in usable(self.tokenizer, items(test.name())).unwrap_or_default() {
                let whole = prompt(self.tokenizer, &item, usize::MAX, None)?.len();
                cut.push(whole.saturating_sub(window) as f64);
            }
        }
        let n = Some(cut.len() as u64);
        let most = cut.iter().copied().fold(0.0, f64::max);
        let put = |metric, value| Reading { n, ..Reading::new(metric, value) };
        Ok([put(M::CutTokensMean, mean(&cut)), put(M::CutTokensMost, most)])
    }
}

/// The probe's question over other items.
pub fn recall_over(s: &TrainedModel<'_>, items: ItemsOf<'_>) -> Result<Vec<Reading>> {
    Contrast::of(s)?.recall(items)
}

/// The tokens whose keys and values take the bytes of GroundThink's state; `None` for a model
/// that is not limited by a window.
fn matched_window(s: &TrainedModel<'_>) -> Result<Option<usize>> {
    let Some(window) = s.model.window() else { return Ok(None) };
    let Some(spec) = models::find("groundthink") else { return Ok(None) };
    let config = (spec.config)(s.scale, s.dataset.tokenizer.vocab_size(), window);
    let bytes = config.init(0)?.to_device(s.compute, s.recipe.precision)?.new_state(1)?.bytes();
    let mut state = s.model.new_state(1)?;
    s.model.hidden(&[s.dataset.tokenizer.eot()], &mut state)?;
    Ok(Some((bytes / state.bytes()).clamp(1, window)))
}

/// All tests under one condition.
fn examine(
    tokenizer: &Tokenizer,
    items: ItemsOf<'_>,
    condition: Condition,
    with: Answers<'_>,
) -> Result<Vec<Reading>> {
    let mut readings = Vec::new();
    let (mut scored, mut chance) = (Vec::new(), None);
    for &test in RecallTest::ALL {
        let Some(items) = usable(tokenizer, items(test.name())) else { continue };
        let marks = mark(&items, &with(&items)?);
        for (score, f) in SCORES {
            readings.push(Reading::over(M::Recall(test, score), by_template(&items, &marks, f)));
        }
        if items.iter().any(|item| item.rivals) {
            for (score, rivals) in [(RecallScore::WithRivals, true), (RecallScore::WithoutRivals, false)] {
                let of = items.iter().zip(&marks).filter(|(item, _)| item.rivals == rivals);
                let credit = of.map(|(item, mark)| (item.template as u64, mark.credit));
                readings.push(Reading::over(M::Recall(test, score), ItemValues::new(1, credit)));
            }
        }
        chance = Some(1.0 / items[0].candidates.len() as f64);
        let accuracy = readings.iter().rfind(|r| r.metric == M::Recall(test, RecallScore::Accuracy));
        scored.extend(accuracy.filter(|_| test.in_score()).map(|r| r.value));
    }
    // A score over fewer tests would be another score.
    if scored.len() == RecallTest::ALL.iter().filter(|test| test.in_score()).count() {
        readings.push(Reading::new(M::StatefulnessScore, mean(&scored)));
    }
    readings.extend(persistence(&readings));
    readings.extend(chance.map(|c| Reading::new(M::StatefulnessChance, c)));
    if let Some(items) = usable(tokenizer, items(DOCUMENT_WORDING)) {
        readings.push(accuracy(M::DocumentWordingAccuracy, &items, &with(&items)?));
    }
    Ok(readings.into_iter().map(|r| r.under(condition)).collect())
}

/// The share of items whose true candidate scores highest, with an interval over templates.
pub(in crate::probes) fn accuracy(metric: M, items: &[ClozeItem], scores: &[Scores]) -> Reading {
    Reading::over(metric, by_template(items, &mark(items, scores), |m| m.credit))
}

/// The state persistence score (ruling R19): the largest distance up to which the lower bound of bits
/// retained stays above half of the one-turn value; 0 where nothing is retained. None where a distance that
/// decides was not tested.
fn persistence(readings: &[Reading]) -> Option<Reading> {
    let of = |metric| readings.iter().find(|r| r.metric == metric);
    let mut half = None;
    let mut distance = 0.0;
    for (turns, metric) in retention() {
        let reading = of(metric)?;
        let half = *half.get_or_insert(reading.value / 2.0);
        let [low, _] = reading.interval?;
        // What is not finite stays above nothing.
        if !(low > half && half > 0.0) {
            break;
        }
        distance = turns;
    }
    Some(Reading::new(M::StatePersistence, distance))
}

/// The items of a test whose candidates are all single tokens (ruling R16); `None` if none are.
pub(in crate::probes) fn usable(
    tokenizer: &Tokenizer,
    items: Option<Vec<ClozeItem>>,
) -> Option<Vec<ClozeItem>> {
    let single = |i: &ClozeItem| i.candidates.iter().all(|c| tokenizer.single_token(c).is_some());
    let items: Vec<_> = items?.into_iter().filter(single).collect();
    (!items.is_empty()).then_some(items)
}

/// What an answer is worth.
struct ItemScore {
    credit: f64,
    reciprocal_rank: f64,
    bits: f64,
}

fn mark(items: &[ClozeItem], scores: &[Scores]) -> Vec<ItemScore> {
    let one = |(item, p): (&ClozeItem, &Scores)| {
        let truth = p[item.truth];
        let above = p.iter().filter(|x| **x > truth).count();
        let tied = p.iter().filter(|x| **x == truth).count();
        // A tie for the first place shares the credit; a tie for a rank shares the rank.
        let first = if above == 0 { 1.0 / tied as f64 } else { 0.0 };
        let ranks = (above + 1..=above + tied).map(|r| 1.0 / r as f64);
        let reciprocal_rank = ranks.sum::<f64>() / tied as f64;
        // Who has no numbers is neither right nor wrong.
        let known = |x: f64| if p.iter().all(|x| x.is_finite()) { x } else { f64::NAN };
        let (credit, reciprocal_rank) = (known(first), known(reciprocal_rank));
        ItemScore { credit, reciprocal_rank, bits: (p.len() as f64).log2() + truth.log2() }
    };
    items.iter().zip(scores).map(one).collect()
}

/// One number of what an answer is worth.
type Mark = fn(&ItemScore) -> f64;

/// The figures of a recall test, each with what it is of an item.
const SCORES: [(RecallScore, Mark); 3] = [
    (RecallScore::Accuracy, |mark| mark.credit),
    (RecallScore::MeanReciprocalRank, |mark| mark.reciprocal_rank),
    (RecallScore::Bits, |mark| mark.bits),
];

/// Values by template: items of one template are not independent.
fn by_template(items: &[ClozeItem], marks: &[ItemScore], f: Mark) -> ItemValues {
    ItemValues::new(1, items.iter().zip(marks).map(|(item, mark)| (item.template as u64, f(mark))))
}

/// Scores items by likelihood. The model sees the last `memory` tokens before the stem, and of
/// all that as much as the window (its own unless given) holds, truncated from the left.
fn score(
    model: &dyn LanguageModel,
    tokenizer: &Tokenizer,
    items: &[ClozeItem],
    memory: usize,
    window: Option<usize>,
) -> Result<Vec<Scores>> {
    let mut by_length: BTreeMap<usize, Vec<(usize, Vec<u32>)>> = BTreeMap::new();
    for (i, item) in items.iter().enumerate() {
        let tokens = prompt(tokenizer, item, memory, window.or(model.window()))?;
        by_length.entry(tokens.len()).or_default().push((i, tokens));
    }
    let mut scores = vec![Vec::new(); items.len()];
    for group in by_length.values() {
        for batch in group.chunks(items[0].candidates.len()) {
            let tokens: Vec<u32> = batch.iter().flat_map(|(_, t)| t.iter().copied()).collect();
            let mut state = model.new_state(batch.len())?;
            let logits = to_vec_f64(&model.last_logits(&tokens, &mut state)?)?;
            let vocab = logits.len() / batch.len();
            for ((i, _), row) in batch.iter().zip(logits.chunks(vocab)) {
                scores[*i] = candidates(tokenizer, &items[*i], row);
            }
        }
    }
    Ok(scores)
}

fn prompt(tokenizer: &Tokenizer, item: &ClozeItem, memory: usize, window: Option<usize>) -> Result<Vec<u32>> {
    let stem = tokenizer.encode(&item.stem)?;
    let context = if memory == 0 { Vec::new() } else { tokenizer.encode(&item.context)? };
    let kept = &context[context.len().saturating_sub(memory)..];
    let mut tokens = [kept, &stem].concat();
    if let Some(window) = window {
        tokens.drain(..tokens.len().saturating_sub(window));
    }
    Ok(tokens)
}

/// Softmax over the candidates' logits.
fn candidates(tokenizer: &Tokenizer, item: &ClozeItem, logits: &[f64]) -> Scores {
    let ids = item.candidates.iter().filter_map(|c| tokenizer.single_token(c));
    let z: Vec<f64> = ids.map(|id| logits[id as usize]).collect();
    let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = z.iter().map(|z| (z - max).exp()).sum();
    z.iter().map(|z| (z - max).exp() / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retained(bits: [[f64; 2]; 5]) -> Vec<Reading> {
        let one = |((_, metric), [value, low]): ((f64, M), [f64; 2])| Reading {
            interval: Some([low, value + 1.0]),
            ..Reading::new(metric, value)
        };
        retention().zip(bits).map(one).collect()
    }

    #[test]
    fn persistence_ends_where_the_bound_falls() {
        let sps = |bits| persistence(&retained(bits)).map(|r| r.value);
        let fading = [[3.0, 2.9], [2.5, 2.0], [2.0, 1.6], [2.0, 1.4], [3.0, 2.9]];
        assert_eq!(sps(fading), Some(10.0), "what comes back later does not count");
        assert_eq!(sps([[3.0, 2.9]; 5]), Some(50.0));
        assert_eq!(sps([[0.0, -0.1]; 5]), Some(0.0), "half of nothing is no threshold");
        assert_eq!(sps([[f64::NAN, f64::NAN]; 5]), Some(0.0));
        assert!(persistence(&retained([[3.0, 2.9]; 5])[..4]).is_none());
    }

    /// Ruling R17: what does not fit is cut on the left, between two tokens, and the question stays whole.
    #[test]
    fn a_conversation_too_long_is_cut_on_the_left() {
        let text = "A: My favorite color is blue.\nB: I see.\n";
        let tokenizer = Tokenizer::train(&[text], 280).unwrap();
        let item = items("three_turn_memory", Rivals::Absent).unwrap().remove(0);
        let item = ClozeItem { context: text.repeat(3), ..item };
        let (context, stem) =
            (tokenizer.encode(&item.context).unwrap(), tokenizer.encode(&item.stem).unwrap());
        let whole = [context.as_slice(), &stem].concat();
        let with = |memory, window| prompt(&tokenizer, &item, memory, window).unwrap();
        assert_eq!(with(usize::MAX, None), whole);
        assert_eq!(with(usize::MAX, Some(whole.len())), whole);
        for window in [stem.len() + 1, stem.len() + 7, whole.len() - 1] {
            assert_eq!(with(usize::MAX, Some(window)), whole[whole.len() - window..], "window {window}");
        }
        assert_eq!(with(0, Some(whole.len())), stem, "a state that was reset knows the stem alone");
    }
}
