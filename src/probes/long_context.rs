//! How well does it predict a long document, the farther the better? (Ruling R20, PASS 5.) A recurrent
//! model reads the document in one go and carries its state; one with a window slides it with a stride
//! of 512 (half the window where that is shorter than 1,024), so that every token but the first ones has
//! at least window − stride tokens before it. Documents are equally long, so that each weighs the same,
//! and every interval is over documents.
//!
//! Where a protocol trains on generated conversations there are no documents of 32K tokens: held-out
//! conversations are joined, with the token between documents, as training joins them.

use std::cmp::Ordering;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::benchmarks::task::overlap;
use super::eval_data::LongTexts;
use super::probe::{Probe, ProbeData, ProbeError, Reading, Result, TrainedModel};
use super::scoring::likelihood::{Scorer, ScoringOptions, whole, windows};
use super::scoring::model::ModelScorer;
use crate::data::corpora::{Format, read};
use crate::data::dataset::DataSpec;
use crate::data::published::benchmarks::BenchmarkError;
use crate::data::synthetic::conversations::{Split, conversation};
use crate::data::tokenizer::Tokenizer;
use crate::evidence::{CurveKind, ItemValues, Metric as M};
use crate::files::sha256;
use crate::progress::Screen;
use crate::statistics::{mean, paired_interval, t_interval};

pub(super) const PROBE: Probe = Probe {
    id: "long-context",
    about: "loss by position in documents of 32K tokens, the state carried on or the window slid",
    metrics: &[
        M::LongContextLoss,
        M::LongContextRise,
        M::LongContextWorstRise,
        M::UsefulContext,
        M::LongContextOverlap,
        M::LongReadsPerToken,
    ],
    data: ProbeData::Own {
        available: |data| data.long.is_some(),
        digest: |data| data.long.as_ref().map_or(Ok(String::new()), LongTexts::digest),
    },
    measure,
    only: None,
    measure_checkpoint: None,
};

/// Tokens of every document; shorter ones are left out.
const LENGTH: usize = 32_768;
/// Long context begins behind so many tokens.
pub const NEAR: usize = 2_048;
/// Tokens whose mean loss is kept as one item.
pub const BLOCK: usize = 64;
/// Tokens by which a window slides, at most.
const STRIDE: usize = 512;
/// The perplexity ratio up to which a bucket is not worse (rulings R6 and R19).
const MARGIN: f64 = 1.05;
/// The end of the first bucket.
const FIRST: usize = 64;
/// Held-out novels below the data folder, told apart by a line `<|endoftext|>`.
const NOVELS: &str = "pretrain/novels.valid.txt";
/// Documents made of conversations where a protocol says nothing.
const JOINED: usize = 8;

impl LongTexts {
    /// What a data set has: novels need their file in the data folder.
    pub fn of(spec: &DataSpec, data: Option<&Path>, documents: Option<usize>) -> Option<Self> {
        if documents == Some(0) {
            return None;
        }
        match spec {
            DataSpec::Conversations { seed, .. } => {
                Some(Self::Conversations { seed: *seed, documents: documents.unwrap_or(JOINED) })
            }
            DataSpec::Text { .. } | DataSpec::Mixture { .. } => {
                let path = data?.join(NOVELS);
                path.is_file().then_some(Self::Novels { path, documents })
            }
        }
    }

    /// Digest of what the documents are made of, and of how much of it is read.
    pub fn digest(&self) -> Result<String> {
        let (source, documents) = match self {
            Self::Novels { path, documents } => {
                let failed = |error| ProbeError::File { path: path.clone(), error };
                (sha256(&std::fs::read(path).map_err(failed)?), *documents)
            }
            Self::Conversations { seed, documents } => (format!("conversations {seed}"), Some(*documents)),
        };
        let documents = documents.map_or("all".to_owned(), |n| n.to_string());
        Ok(sha256(format!("{source} {documents} {LENGTH}").as_bytes()))
    }

    /// The first 32,768 tokens of every document that has as many.
    pub fn tokens(&self, tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>> {
        let mut found = match self {
            Self::Novels { path, .. } => {
                let novels = read(path, Some(Format::Text)).map_err(BenchmarkError::from)?.documents;
                novels.iter().map(|novel| Ok(tokenizer.encode(novel)?)).collect::<Result<Vec<_>>>()?
            }
            Self::Conversations { seed, documents } => {
                let mut texts = (0..).map(|index| conversation(*seed, Split::Valid, index));
                let mut joined = || {
                    let mut tokens = Vec::with_capacity(LENGTH);
                    for text in texts.by_ref() {
                        tokens.extend(tokenizer.encode(&text)?);
                        tokens.push(tokenizer.eot());
                        if tokens.len() >= LENGTH {
                            break;
                        }
                    }
                    Ok(tokens)
                };
                (0..*documents).map(|_| joined()).collect::<Result<Vec<_>>>()?
            }
        };
        found.retain(|tokens| tokens.len() >= LENGTH);
        found.iter_mut().for_each(|tokens| tokens.truncate(LENGTH));
        if let Self::Novels { documents: Some(most), .. } = self {
            found.truncate(*most);
        }
        Ok(found)
    }
}

fn measure(s: &TrainedModel<'_>) -> Result<Vec<Reading>> {
    /// Requests in a forward pass.
    const BATCH: usize = 8;
    let Some(long) = &s.data.long else { return Ok(Vec::new()) };
    let tokenizer = &s.dataset.tokenizer;
    let texts = long.tokens(tokenizer)?;
    let (screen, stop) = (Screen::quiet(), AtomicBool::new(false));
    let scorer = ModelScorer { model: s.model, batch: BATCH, screen: &screen, stop: &stop };
    let trained = s.recipe.context_length;
    let window = s.model.window().unwrap_or(trained);
    let losses = losses_by_token(&scorer, &texts, tokenizer.eot(), window)?;
    let share = overlap(&s.dataset.train, &texts).map(|share| Reading::new(M::LongContextOverlap, share));
    Ok(long_context_readings(&losses, trained, s.model.window()).into_iter().chain(share).collect())
}

/// The loss of every token of every text, in nats. What is carried on is read `window` tokens at a time,
/// which changes no number.
pub fn losses_by_token(
    scorer: &dyn Scorer,
    texts: &[Vec<u32>],
    prefix: u32,
    window: usize,
) -> Result<Vec<Vec<f64>>> {
    let carry = scorer.carries();
    let stride = STRIDE.min(window.div_ceil(2));
    let parts = texts
        .iter()
        .map(|text| if carry { vec![whole(text, prefix)] } else { windows(text, prefix, window, stride) });
    let parts: Vec<_> = parts.collect();
    let answers = scorer.loglikelihood(&parts.concat(), ScoringOptions { window, carry, greedy: false })?;
    let mut rest = answers.into_iter();
    let mut losses = Vec::with_capacity(texts.len());
    for (text, part) in texts.iter().zip(&parts) {
        let own: Vec<f64> = rest.by_ref().take(part.len()).flat_map(|answer| answer.losses).collect();
        if own.len() != text.len() {
            return Err(ProbeError::Answers { expected: text.len(), got: own.len() });
        }
        losses.push(own);
    }
    Ok(losses)
}

/// The tokens of all documents that readings are about; none where there are none.
pub(super) fn tokens_of(readings: &[Reading]) -> Option<f64> {
    let documents = readings.iter().find(|r| r.metric == M::LongContextRise)?.n?;
    Some((documents as usize * LENGTH) as f64)
}

/// The bucket that ends at `end` and those after it, each twice as far, the last one up to `length`.
fn doubling(end: usize, length: usize) -> Vec<Range<usize>> {
    let first = end / 2..end.min(length);
    let further = std::iter::successors(Some(end), |begin| begin.checked_mul(2));
    let further = further.take_while(|begin| *begin < length).map(|begin| begin..length.min(2 * begin));
    std::iter::once(first).chain(further).collect()
}

/// What follows from the losses of equally long documents (`by_token`, nats) for a model trained on
/// `trained` tokens at a time that sees at most `window`. Nothing of no documents; no useful window
/// without an interval.
pub fn long_context_readings(by_token: &[Vec<f64>], trained: usize, window: Option<usize>) -> Vec<Reading> {
    let Some(length) = by_token.iter().map(Vec::len).min().filter(|n| *n > NEAR) else {
        return Vec::new();
    };
    let over = |range: &Range<usize>| -> Vec<f64> {
        by_token.iter().map(|losses| mean(&losses[range.clone()])).collect()
    };
    let far = over(&(NEAR..length));
    let beyond = Reading { interval: t_interval(&far), ..Reading::new(M::LongContextLoss, mean(&far)) };
    let n = Some((by_token.len() * (length - NEAR)) as u64);
    let mut readings = vec![Reading { n, ..beyond.of(blocks(by_token, length)) }];
    let documents = Some(by_token.len() as u64);
    let near = over(&(NEAR / 2..NEAR));
    let rise = |metric, losses: &Vec<f64>| {
        let rises: Vec<f64> = losses.iter().zip(&near).map(|(loss, near)| loss - near).collect();
        let (interval, value) = (paired_interval(losses, &near), mean(losses) - mean(&near));
        Reading { interval, ..Reading::new(metric, value) }.of(ItemValues::independent(1, &rises))
    };
    let beyond: Vec<Vec<f64>> = doubling(NEAR, length).iter().skip(1).map(over).collect();
    readings.extend(beyond.last().map(|last| rise(M::LongContextRise, last)));
    readings.extend(beyond.iter().map(|losses| rise(M::LongContextWorstRise, losses)).max_by(higher));
    let useful = useful_window(&doubling(trained, length), &over, window);
    readings.extend(useful.map(|x| Reading { n: documents, ..Reading::new(M::UsefulContext, x) }));
    let first = 0..FIRST;
    readings.extend(std::iter::once(first).chain(doubling(2 * FIRST, length)).map(|range| {
        let losses = over(&range);
        Reading {
            place: Some((CurveKind::LossByPosition, range.end as u64)),
            interval: t_interval(&losses),
            ..Reading::new(M::LongContextLoss, mean(&losses))
        }
    }));
    readings
}

/// What lies beyond [`NEAR`], document by document: means of [`BLOCK`] tokens, the last one of fewer where they do not
/// fill it.
fn blocks(by_token: &[Vec<f64>], length: usize) -> ItemValues {
    let of = |(document, losses): (u64, &Vec<f64>)| {
        let means = losses[NEAR..length].chunks(BLOCK).map(mean).collect::<Vec<_>>();
        means.into_iter().map(move |mean| (document, mean))
    };
    ItemValues::new(BLOCK as u64, (0..).zip(by_token).flat_map(of))
}

/// Which of two rises is the worse: by the upper end of its interval, where there is one. What is not a number is the
/// worst.
fn higher(one: &Reading, other: &Reading) -> Ordering {
    let end = |r: &Reading| r.interval.map_or(r.value, |[_, high]| high);
    let rank = |r: &Reading| if end(r).is_nan() || r.value.is_nan() { f64::INFINITY } else { end(r) };
    rank(one).total_cmp(&rank(other))
}

/// The end of the farthest bucket up to which none is worse than the first, the trained one (ruling R19): with
/// 95 % confidence the perplexity is at most 5 % higher, which is what "not worse" means in ruling R6. What
/// is merely not proven worse does not count: a few documents prove nothing. Nobody uses more context than the window shows. NaN where
/// there is no loss at the trained length, `None` where there is no interval.
fn useful_window(
    buckets: &[Range<usize>],
    over: &dyn Fn(&Range<usize>) -> Vec<f64>,
    window: Option<usize>,
) -> Option<f64> {
    let (trained, farther) = buckets.split_first()?;
    let at = over(trained);
    t_interval(&at)?;
    let mut useful = if mean(&at).is_finite() { trained.end as f64 } else { f64::NAN };
    for bucket in farther.iter().filter(|bucket| window.is_none_or(|most| bucket.end <= most)) {
        let [_, high] = paired_interval(&over(bucket), &at)?;
        if high.is_nan() || high > MARGIN.ln() {
            break;
        }
        useful = bucket.end as f64;
    }
    Some(useful)
}
