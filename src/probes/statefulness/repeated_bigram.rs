//! Does it use what the document already said? The loss on tokens that complete a bigram seen earlier in
//! the same document (Arora et al. 2023, "Zoology": where most of the gap between architectures lies).
//!
//! Definition. In a document x₀ … xₙ₋₁ the token x_t, t ≥ 1, completes a repeated bigram if there is an s with
//! 1 ≤ s < t and (x_{s−1}, x_s) = (x_{t−1}, x_t). Its gap is t − s for the latest such s. The loss of such
//! tokens is averaged over all of them, each weighing the same, and over those of a range of gaps. A model
//! with a recurrent state reads the whole document; one with a window sees the window, slid by half of it.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

use crate::evidence::Metric as M;
use crate::probes::benchmarks::task::{expect_all, ratio};
use crate::probes::probe::{Probe, ProbeData, Reading, Result, TrainedModel};
use crate::probes::scoring::likelihood::{Request, Scorer, ScoringOptions, whole, windows};
use crate::probes::scoring::model::ModelScorer;
use crate::progress::Screen;

pub(in crate::probes) const PROBE: Probe = Probe {
    id: "repeated-bigram",
    about: "loss on tokens that complete a bigram seen earlier in the document, by distance",
    metrics: METRICS,
    data: ProbeData::HeldOut,
    measure,
    only: None,
    measure_checkpoint: None,
};

const METRICS: &[M] = &[
    M::RepeatedBigramLoss,
    M::RepeatedBigramLoss16,
    M::RepeatedBigramLoss64,
    M::RepeatedBigramLoss256,
    M::RepeatedBigramLoss1024,
    M::RepeatedBigramLossFar,
];

/// Ranges of gaps, ends included.
const GAPS: [(M, usize, usize); 6] = [
    (M::RepeatedBigramLoss, 1, usize::MAX),
    (M::RepeatedBigramLoss16, 1, 16),
    (M::RepeatedBigramLoss64, 17, 64),
    (M::RepeatedBigramLoss256, 65, 256),
    (M::RepeatedBigramLoss1024, 257, 1_024),
    (M::RepeatedBigramLossFar, 1_025, usize::MAX),
];

/// Documents are read until they make so many tokens: more would cost time and tell little.
const TOKENS: usize = 250_000;
/// Documents, or windows, in a forward pass.
const BATCH: usize = 8;

fn measure(s: &TrainedModel<'_>) -> Result<Vec<Reading>> {
    let (valid, mut left) = (&s.dataset.valid, TOKENS);
    let mut texts = Vec::new();
    for i in 0..valid.documents() {
        if left == 0 {
            break;
        }
        let text: Vec<u32> = valid.tokens(valid.document(i)).collect();
        left = left.saturating_sub(text.len());
        texts.push(text);
    }
    let (screen, stop) = (Screen::quiet(), AtomicBool::new(false));
    let scorer = ModelScorer { model: s.model, batch: BATCH, screen: &screen, stop: &stop };
    repeated_over(&scorer, &texts, s.dataset.tokenizer.eot(), s.recipe.context_length)
}

/// The probe's question about other documents, to anybody; `before` stands before every document. No
/// reading where no token has such a gap.
pub fn repeated_over(
    scorer: &dyn Scorer,
    texts: &[Vec<u32>],
    before: u32,
    window: usize,
) -> Result<Vec<Reading>> {
    let carry = scorer.carries();
    let cut = |text: &Vec<u32>| match carry {
        true => vec![whole(text, before)],
        false => windows(text, before, window, window.div_ceil(2)),
    };
    let parts: Vec<Vec<Request>> = texts.iter().map(cut).collect();
    let requests = parts.concat();
    let answers = scorer.loglikelihood(&requests, ScoringOptions { window, carry, greedy: false })?;
    expect_all(&answers, requests.len())?;
    let mut rest = answers.iter();
    let mut by_document: Vec<Vec<(usize, f64)>> = Vec::with_capacity(texts.len());
    for (text, part) in texts.iter().zip(&parts) {
        let losses: Vec<f64> =
            rest.by_ref().take(part.len()).flat_map(|answer| answer.losses.iter().copied()).collect();
        expect_all(&losses, text.len())?;
        by_document.push(repeated_bigrams(text).into_iter().map(|(t, gap)| (gap, losses[t])).collect());
    }
    Ok(GAPS.iter().filter_map(|&(metric, from, to)| reading(metric, from..=to, &by_document)).collect())
}

/// The mean loss over a range of gaps, with an interval over documents.
fn reading(
    metric: M,
    gaps: std::ops::RangeInclusive<usize>,
    documents: &[Vec<(usize, f64)>],
) -> Option<Reading> {
    let sums = documents.iter().map(|document| {
        let within = document.iter().filter(|(gap, _)| gaps.contains(gap));
        within.fold((0.0, 0.0), |(sum, count), (_, loss)| (sum + loss, count + 1.0))
    });
    let sums: Vec<(f64, f64)> = sums.filter(|(_, count)| *count > 0.0).collect();
    let n = sums.iter().map(|(_, count)| *count as usize).sum();
    (n > 0).then(|| ratio(&sums).reading(metric, n))
}

/// Where a bigram is completed that was seen before, and how far back its latest occurrence lies.
pub fn repeated_bigrams(tokens: &[u32]) -> Vec<(usize, usize)> {
    let mut latest: HashMap<(u32, u32), usize> = HashMap::new();
    let ends = (1..tokens.len()).filter_map(|t| {
        let seen = latest.insert((tokens[t - 1], tokens[t]), t)?;
        Some((t, t - seen))
    });
    ends.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::probes::scoring::likelihood::TokenLosses;

    /// The definition, word for word.
    fn slowly(x: &[u32]) -> Vec<(usize, usize)> {
        let gap = |t: usize| (1..t).rev().find(|&s| (x[s - 1], x[s]) == (x[t - 1], x[t])).map(|s| t - s);
        (1..x.len()).filter_map(|t| Some((t, gap(t)?))).collect()
    }

    /// Answers every token with itself as its loss: where a number came from can be read off it.
    struct Echo {
        carries: bool,
        late: bool,
    }

    impl Scorer for Echo {
        fn loglikelihood(&self, requests: &[Request], _: ScoringOptions) -> Result<Vec<TokenLosses>> {
            let losses = |r: &Request| {
                let all = [&r.context[..], &r.continuation].concat();
                let from = r.context.len() - usize::from(self.late);
                all[from..from + r.continuation.len()].iter().map(|&id| f64::from(id)).collect()
            };
            Ok(requests.iter().map(|r| TokenLosses { losses: losses(r), greedy: false }).collect())
        }

        fn carries(&self) -> bool {
            self.carries
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn bigrams_are_found_as_defined(x in prop::collection::vec(0u32..5, 0..80)) {
            prop_assert_eq!(repeated_bigrams(&x), slowly(&x));
        }

        #[test]
        fn losses_are_those_of_the_tokens_that_repeat(
            texts in prop::collection::vec(prop::collection::vec(1u32..5, 1..200), 1..4),
            window in 2usize..40,
        ) {
            for carries in [true, false] {
                let ask = |late| repeated_over(&Echo { carries, late }, &texts, 0, window).unwrap();
                let readings = ask(false);
                for (metric, from, to) in GAPS {
                    let losses: Vec<f64> = texts
                        .iter()
                        .flat_map(|x| slowly(x).into_iter().map(|(t, gap)| (f64::from(x[t]), gap)))
                        .filter(|(_, gap)| (from..=to).contains(gap))
                        .map(|(loss, _)| loss)
                        .collect();
                    let found = readings.iter().find(|r| r.metric == metric);
                    prop_assert_eq!(found.map(|r| r.n), (!losses.is_empty()).then_some(Some(losses.len() as u64)));
                    if let Some(found) = found {
                        let mean = losses.iter().sum::<f64>() / losses.len() as f64;
                        prop_assert!((found.value - mean).abs() < 1e-9, "{} instead of {mean}", found.value);
                    }
                }
            }
        }
    }

    /// The planted defect: losses of the token before.
    #[test]
    fn a_shift_by_one_is_seen() {
        let text = vec![1, 2, 3, 1, 2, 4, 1, 2];
        let loss = |late, carries| {
            repeated_over(&Echo { carries, late }, std::slice::from_ref(&text), 0, 4).unwrap()[0].value
        };
        for carries in [true, false] {
            // (1, 2) at 4 and at 7: the loss is that of 2, and of 1 where it is taken one too early.
            assert_eq!((loss(false, carries), loss(true, carries)), (2.0, 1.0));
        }
    }

    #[test]
    fn the_latest_occurrence_counts() {
        assert_eq!(repeated_bigrams(&[7, 7, 7, 7]), [(2, 1), (3, 1)]);
        assert_eq!(repeated_bigrams(&[1, 2, 9, 1, 2, 8, 1, 2]), [(4, 3), (7, 3)]);
        assert_eq!(repeated_bigrams(&[1, 2, 3]), []);
    }
}
