//! Has the training text given the held-out text away? (Pillar 1 of fair comparison.)
//!
//! The windows of the held-out split lie in a table under a rolling hash (Karp & Rabin 1987); the
//! training tokens stream past it, so memory does not grow with them. A hash that is found is
//! compared word for word.

use std::collections::HashMap;

use super::probe::{Probe, ProbeData, Reading, Result, TrainedModel};
use crate::data::cache::TokenFile;
use crate::evidence::Metric as M;

pub(super) const PROBE: Probe = Probe {
    id: "overlap",
    about: "held-out text that training text contains word for word",
    metrics: &[M::ValidationOverlap],
    data: ProbeData::HeldOut,
    measure,
    only: None,
    measure_checkpoint: None,
};

/// Tokens of a window.
const WINDOW: usize = 64;
/// Tokens of the n-grams that a benchmark is searched for.
const NGRAM: usize = 13;
/// Tokens between the beginnings of two windows.
const STRIDE: usize = 32;
/// The base of the rolling hash, modulo 2^64: Knuth's multiplier, which is odd.
const BASE: u64 = 6_364_136_223_846_793_005;

fn measure(s: &TrainedModel<'_>) -> Result<Vec<Reading>> {
    let (found, windows) = overlap(&s.dataset.train, &s.dataset.valid);
    let share = Reading::new(M::ValidationOverlap, found as f64 / windows as f64);
    Ok(vec![Reading { n: Some(windows as u64), ..share }])
}

/// How many windows of `valid` occur in `train`, and how many there are.
fn overlap(train: &TokenFile, valid: &TokenFile) -> (usize, usize) {
    let length = WINDOW.min(valid.len());
    let text: Vec<u32> = valid.tokens(0..valid.len()).collect();
    let starts: Vec<usize> = (0..=valid.len() - length).step_by(STRIDE).collect();
    (occurring(train, &text, &starts, length), starts.len())
}

/// How many 13-grams of some texts occur in `train`, and how many there are. (Thirteen is what the
/// field counts in since GPT-3, Brown et al. 2020.)
pub(super) fn shared_ngrams(train: &TokenFile, texts: &[Vec<u32>]) -> (usize, usize) {
    let (mut starts, mut end) = (Vec::new(), 0);
    for text in texts {
        starts.extend(end..end + (text.len() + 1).saturating_sub(NGRAM));
        end += text.len();
    }
    (occurring(train, &texts.concat(), &starts, NGRAM), starts.len())
}

/// How many of the windows of `text` that begin at `starts` occur in `train`.
fn occurring(train: &TokenFile, text: &[u32], starts: &[usize], length: usize) -> usize {
    let window = |start: usize| &text[start..start + length];
    let mut table: HashMap<u64, Vec<usize>> = HashMap::new();
    for &start in starts {
        let hash = window(start).iter().fold(0, |hash, &id| push(hash, id));
        table.entry(hash).or_default().push(start);
    }
    let mut sieve = Sieve::new(starts.len());
    table.keys().for_each(|&hash| sieve.add(hash));

    // BASE^length: what a token still weighs when it leaves.
    let leaving = (0..length).fold(1u64, |weight, _| weight.wrapping_mul(BASE));
    let (mut hash, mut found) = (0, 0);
    let old = train.tokens(0..train.len().saturating_sub(length));
    let mut old = std::iter::repeat_n(None, length).chain(old.map(Some));
    for (i, id) in train.tokens(0..train.len()).enumerate() {
        hash = push(hash, id);
        if let Some(gone) = old.next().flatten() {
            hash = hash.wrapping_sub(leaving.wrapping_mul(u64::from(gone) + 1));
        }
        if i + 1 < length || !sieve.may_have(hash) {
            continue;
        }
        if let Some(candidates) = table.get_mut(&hash) {
            let here = || train.tokens(i + 1 - length..i + 1);
            let before = candidates.len();
            candidates.retain(|&start| !here().eq(window(start).iter().copied()));
            found += before - candidates.len();
        }
    }
    found
}

fn push(hash: u64, id: u32) -> u64 {
    hash.wrapping_mul(BASE).wrapping_add(u64::from(id) + 1)
}

/// Says of nearly every hash that is not in the table that it is not, without looking into it.
struct Sieve {
    bits: Vec<u64>,
    shift: u32,
}

impl Sieve {
    /// At least 16 bits a window.
    fn new(windows: usize) -> Self {
        let log = (16 * windows.max(4)).next_power_of_two().trailing_zeros();
        Self { bits: vec![0; 1 << (log - 6)], shift: 64 - log }
    }

    /// The word and the bit; the upper bits of a product are the ones that are mixed.
    fn place(&self, hash: u64) -> (usize, u64) {
        let place = (hash.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize;
        (place / 64, 1 << (place % 64))
    }

    fn add(&mut self, hash: u64) {
        let (word, bit) = self.place(hash);
        self.bits[word] |= bit;
    }

    fn may_have(&self, hash: u64) -> bool {
        let (word, bit) = self.place(hash);
        self.bits[word] & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::data::tokenizer::Tokenizer;

    fn file(folder: &Path, name: &str, documents: Vec<Vec<u32>>) -> TokenFile {
        let tokenizer = Tokenizer::train(&["a text to learn nothing from"], 257).unwrap();
        TokenFile::from_ids(&folder.join(name), "made up", &tokenizer, documents).unwrap()
    }

    /// Numbers that repeat only after a long while.
    fn noise(seed: u64, n: usize) -> Vec<u32> {
        let mut x = seed;
        let mut next = || {
            x = x.wrapping_mul(BASE).wrapping_add(1);
            (x >> 33) as u32 % 250
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn copied_windows_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let held_out = noise(1, 32 * 101);
        let valid = file(folder.path(), "valid", vec![held_out.clone()]);
        let alone = file(folder.path(), "alone", vec![noise(2, 5000)]);
        // 100 windows whole, and one that reaches into the end of the text.
        assert_eq!(overlap(&alone, &valid), (0, 100));
        // Tokens 320 to 448 hold the windows that begin at 320, 352 and 384.
        let leaked = [noise(3, 777), held_out[320..448].to_vec(), noise(4, 777)].concat();
        assert_eq!(overlap(&file(folder.path(), "leaked", vec![leaked.clone()]), &valid), (3, 100));
        // Seen twice is seen once.
        assert_eq!(overlap(&file(folder.path(), "twice", vec![leaked.clone(), leaked]), &valid), (3, 100));
        // One token short of a window.
        let short = held_out[320..383].to_vec();
        assert_eq!(overlap(&file(folder.path(), "short", vec![short]), &valid), (0, 100));
        assert_eq!(overlap(&valid, &valid), (100, 100));
    }

    #[test]
    fn ngrams_stay_within_their_text() {
        let folder = tempfile::tempdir().unwrap();
        let text = noise(1, 40);
        let train = file(folder.path(), "train", vec![[noise(2, 500), text[10..30].to_vec()].concat()]);
        // Of the 28 n-grams those that begin at 10 to 17 are in the training text.
        assert_eq!(shared_ngrams(&train, std::slice::from_ref(&text)), (8, 28));
        // Cut in two at 20, those that begin at 10 to 19 would cross the cut.
        assert_eq!(shared_ngrams(&train, &[text[..20].to_vec(), text[20..].to_vec()]), (0, 16));
        assert_eq!(shared_ngrams(&train, &[text[..12].to_vec()]), (0, 0));
    }

    #[test]
    fn a_text_shorter_than_a_window_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let valid = file(folder.path(), "valid", vec![noise(1, 20)]);
        let train = file(folder.path(), "train", vec![noise(2, 300), noise(1, 20)]);
        let other = file(folder.path(), "other", vec![noise(2, 10)]);
        assert_eq!((overlap(&train, &valid), overlap(&other, &valid)), ((1, 1), (0, 1)));
    }
}
