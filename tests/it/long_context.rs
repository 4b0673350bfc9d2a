//! Long documents: carrying against one pass, sliding windows, and defects that must show.

use std::sync::atomic::AtomicBool;

use proptest::prelude::*;
use v5gate::data::dataset::DataSpec;
use v5gate::evidence::Metric;
use v5gate::models::LanguageModel;
use v5gate::probes::{
    LongTexts, ModelScorer, ProbeError, Reading, Request, Scorer, ScoringOptions, TokenLosses,
    long_context_readings, losses_by_token,
};
use v5gate::progress::Screen;
use v5gate::random::Random;

use crate::models::{random_model, small};

static NEVER: AtomicBool = AtomicBool::new(false);

/// Texts of ids below 60; 60 stands before each.
fn texts(seed: u64, n: usize, length: usize) -> Vec<Vec<u32>> {
    let mut random = Random::new(seed, 0);
    (0..n).map(|_| (0..length).map(|_| random.below(60) as u32).collect()).collect()
}

fn by_model(model: &dyn LanguageModel, texts: &[Vec<u32>], window: usize) -> Vec<Vec<f64>> {
    let scorer = ModelScorer { model, batch: 3, screen: &Screen::quiet(), stop: &NEVER };
    losses_by_token(&scorer, texts, 60, window).unwrap()
}

fn furthest(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// What is carried on gives the losses of one pass, whatever the pieces.
    #[test]
    fn carrying_is_one_pass(seed in 0u64..1000, which in 1usize..4, piece in 1usize..40) {
        let model = random_model(&small()[which], seed);
        let texts = texts(seed, 4, 90);
        let [whole, pieces] = [999, piece].map(|window| by_model(model.as_ref(), &texts, window));
        // Sums of a few thousand float32 products in another order.
        prop_assert!(furthest(&whole, &pieces) < 1e-4);
    }

    /// Every token is scored once, with as much before it as the window minus the stride holds.
    #[test]
    fn a_sliding_window_scores_every_token_once(seed in 0u64..1000, window in 1usize..40, length in 1usize..200) {
        let told = Told(|context: &[u32], target| {
            let seen = context.len() as f64;
            // What was scored, and after how much: both can be read off the number.
            f64::from(target) + 100.0 * seen
        });
        let text = texts(seed, 1, length);
        let losses = losses_by_token(&told, &text, 60, window).unwrap();
        prop_assert_eq!(losses[0].len(), length);
        let stride = window.div_ceil(2).min(512);
        for (at, (loss, token)) in losses[0].iter().zip(&text[0]).enumerate() {
            prop_assert_eq!(loss % 100.0, f64::from(*token));
            let seen = (loss / 100.0).floor() as usize;
            prop_assert!(seen <= window && seen >= (at + 1).min(window - stride + 1));
        }
    }
}

/// Answers by a rule of what stands before a token, and the token.
struct Told<F>(F);

impl<F: Fn(&[u32], u32) -> f64> Scorer for Told<F> {
    fn loglikelihood(
        &self,
        requests: &[Request],
        how: ScoringOptions,
    ) -> Result<Vec<TokenLosses>, ProbeError> {
        assert!(!how.carry);
        let answer = |request: &Request| {
            let all = [&request.context[..], &request.continuation].concat();
            let loss = |at: usize| (self.0)(&all[..at], all[at]);
            TokenLosses { losses: (request.context.len()..all.len()).map(loss).collect(), greedy: false }
        };
        Ok(requests.iter().map(answer).collect())
    }
    fn carries(&self) -> bool {
        false
    }
}

// ---- planted defects

/// A model whose state is emptied after every piece, or whose targets are one off.
struct Defective<'a> {
    model: &'a dyn LanguageModel,
    defect: Defect,
}

#[derive(Clone, Copy, PartialEq)]
enum Defect {
    StateNotCarried,
    TargetsOff,
}

impl Scorer for Defective<'_> {
    fn loglikelihood(
        &self,
        requests: &[Request],
        how: ScoringOptions,
    ) -> Result<Vec<TokenLosses>, ProbeError> {
        let sound = ModelScorer { model: self.model, batch: 2, screen: &Screen::quiet(), stop: &NEVER };
        let one = |request: &Request| -> Result<TokenLosses, ProbeError> {
            let mut all = [&request.context[..], &request.continuation].concat();
            if self.defect == Defect::TargetsOff {
                all.push(0);
                let shifted = Request {
                    context: all[..request.context.len() + 1].to_vec(),
                    continuation: all[request.context.len() + 1..].to_vec(),
                };
                return Ok(sound.loglikelihood(&[shifted], how)?.remove(0));
            }
            let mut losses = Vec::new();
            for begin in (0..request.continuation.len()).step_by(how.window) {
                let end = request.continuation.len().min(begin + how.window);
                let at = request.context.len() + begin;
                let piece = Request {
                    context: vec![all[at - 1]],
                    continuation: request.continuation[begin..end].to_vec(),
                };
                losses.extend(sound.loglikelihood(&[piece], how)?.remove(0).losses);
            }
            Ok(TokenLosses { losses, greedy: false })
        };
        requests.iter().map(one).collect()
    }
    fn carries(&self) -> bool {
        true
    }
}

#[test]
fn defects_in_carrying_show() {
    for which in 1..4 {
        let model = random_model(&small()[which], 7);
        let texts = texts(7, 3, 120);
        let sound = by_model(model.as_ref(), &texts, 20);
        for defect in [Defect::StateNotCarried, Defect::TargetsOff] {
            let spoilt = Defective { model: model.as_ref(), defect };
            let losses = losses_by_token(&spoilt, &texts, 60, 20).unwrap();
            assert!(furthest(&sound, &losses) > 1e-3, "{which}");
            let start = |losses: &[Vec<f64>]| losses.iter().map(|l| l[..20].to_vec()).collect::<Vec<_>>();
            let same = furthest(&start(&sound), &start(&losses)) < 1e-4;
            // The first piece needs no state; a shifted target is wrong from the start.
            assert_eq!(same, defect == Defect::StateNotCarried, "{which}");
        }
    }
}

/// Who sees a token before it is due knows it: its loss no longer depends on what came before.
#[test]
fn a_future_token_shows() {
    for (which, config) in small().iter().enumerate() {
        let model = random_model(config, 8);
        let mut texts = texts(8, 1, 60);
        let before = by_model(model.as_ref(), &texts, 12);
        let at = 40;
        texts[0][at] = (texts[0][at] + 1) % 60;
        let after = by_model(model.as_ref(), &texts, 12);
        // No loss before the token may change with it.
        assert_eq!(furthest(&[before[0][..at].to_vec()], &[after[0][..at].to_vec()]), 0.0, "{which}");
        assert!(furthest(&before, &after) > 1e-4, "{which}");
    }
}

// ---- what follows from the losses

fn find(readings: &[Reading], metric: Metric) -> Option<Reading> {
    readings.iter().find(|r| r.metric == metric && r.place.is_none()).cloned()
}

/// Documents of 32K tokens whose loss is a function of document and position.
fn losses(documents: usize, f: impl Fn(usize, usize) -> f64) -> Vec<Vec<f64>> {
    (0..documents).map(|d| (0..32_768).map(|at| f(d, at)).collect()).collect()
}

#[test]
fn a_rise_is_told_with_its_interval() {
    // Documents differ by far more than the position does: only a pairing sees the difference.
    let flat = losses(6, |d, at| d as f64 + 0.001 * ((at * 31 + d * 7) % 10) as f64);
    let readings = long_context_readings(&flat, 1024, None);
    let rise = find(&readings, Metric::LongContextRise).unwrap();
    assert!(rise.value.abs() < 1e-3 && rise.interval.unwrap().iter().all(|x| x.abs() < 2e-3));
    assert_eq!(find(&readings, Metric::UsefulContext).unwrap().value, 32_768.0);
    // A state that is lost behind 8K costs a tenth of a nat there.
    let lost = losses(6, |d, at| flat[d][at] + if at >= 8192 { 0.1 } else { 0.0 });
    let readings = long_context_readings(&lost, 1024, None);
    let rise = find(&readings, Metric::LongContextRise).unwrap();
    assert!((rise.value - 0.1).abs() < 1e-3 && rise.interval.unwrap()[0] > 0.09);
    assert_eq!(find(&readings, Metric::UsefulContext).unwrap().value, 8192.0);
    let far = find(&readings, Metric::LongContextLoss).unwrap();
    // 24,576 of the 30,720 tokens beyond 2K.
    assert!((far.value - (2.5 + 0.0045 + 0.08)).abs() < 1e-3, "{}", far.value);
    assert_eq!(far.n, Some(6 * 30_720));
    // One that rises and falls again costs nothing in the farthest bucket.
    let hump = losses(6, |d, at| flat[d][at] + if (4096..8192).contains(&at) { 0.1 } else { 0.0 });
    let humped = long_context_readings(&hump, 1024, None);
    assert!(find(&humped, Metric::LongContextRise).unwrap().value.abs() < 1e-3);
    let worst = find(&humped, Metric::LongContextWorstRise).unwrap();
    assert!((worst.value - 0.1).abs() < 1e-3 && worst.interval.unwrap()[0] > 0.09);
    // Nobody uses more than the window shows, however flat the curve.
    assert_eq!(
        find(&long_context_readings(&flat, 1024, Some(1024)), Metric::UsefulContext).unwrap().value,
        1024.0
    );
    let points: Vec<_> = readings.iter().filter_map(|r| Some((r.place?.1, r.value))).collect();
    let ends: Vec<u64> = points.iter().map(|p| p.0).collect();
    assert_eq!(ends, [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768]);
    assert!(points[9].1 - points[7].1 > 0.09);
}

#[test]
fn too_little_proves_nothing() {
    let one = long_context_readings(&losses(1, |_, _| 2.0), 96, None);
    assert!(find(&one, Metric::UsefulContext).is_none());
    assert!(find(&one, Metric::LongContextRise).unwrap().interval.is_none());
    assert!(long_context_readings(&[], 96, None).is_empty());
    assert!(long_context_readings(&[vec![1.0; 2048]], 96, None).is_empty());
    // What is not a number is worse than anything.
    let wild = losses(3, |d, at| if at > 20_000 { f64::NAN } else { d as f64 });
    let readings = long_context_readings(&wild, 1024, None);
    assert!(find(&readings, Metric::LongContextLoss).unwrap().value.is_nan());
    assert!(find(&readings, Metric::LongContextRise).unwrap().value.is_nan());
    assert!(find(&readings, Metric::LongContextWorstRise).unwrap().value.is_nan());
    assert_eq!(find(&readings, Metric::UsefulContext).unwrap().value, 16_384.0);
}

#[test]
fn documents_are_found_or_made() {
    let folder = tempfile::tempdir().unwrap();
    let text = DataSpec::Text { train: "a".into(), valid: "b".into(), tokenizer: "train:300".into() };
    let talk = DataSpec::Conversations { seed: 3, train_tokens: 9, valid_documents: 1, vocab_size: 1024 };
    assert_eq!(LongTexts::of(&text, Some(folder.path()), None), None);
    assert_eq!(LongTexts::of(&text, None, None), None);
    assert_eq!(LongTexts::of(&talk, None, Some(0)), None);
    std::fs::create_dir(folder.path().join("pretrain")).unwrap();
    let path = folder.path().join("pretrain/novels.valid.txt");
    std::fs::write(&path, "one\n<|endoftext|>\ntwo\n").unwrap();
    let of = |documents| LongTexts::of(&text, Some(folder.path()), documents).unwrap().digest().unwrap();
    let all = of(None);
    // Another file, or fewer documents, is another measurement.
    assert_ne!(of(Some(1)), all);
    std::fs::write(&path, "one\n<|endoftext|>\ntwO\n").unwrap();
    assert_ne!(of(None), all);
    let [some, more] = [2, 3].map(|n| LongTexts::of(&talk, None, Some(n)).unwrap().digest().unwrap());
    assert_ne!(some, more);
}
