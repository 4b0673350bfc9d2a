//! The models that anything trained must beat: counting (ruling table, row Naive).

use std::collections::HashMap;

use crate::data::cache::TokenFile;

/// Loss in nats per token of a unigram model of the training text with one added to every count,
/// on the validation text.
pub fn unigram_loss(train: &TokenFile, valid: &TokenFile, vocab: usize) -> f64 {
    let counts = count(train, vocab);
    let total = train.len() as f64 + vocab as f64;
    let loss = |id: u32| -((counts[id as usize] as f64 + 1.0) / total).ln();
    let n = valid.len().saturating_sub(1);
    valid.tokens(1..valid.len()).map(loss).sum::<f64>() / n as f64
}

/// Loss of an interpolated Kneser–Ney bigram model (Chen & Goodman 1999, §2.7): the strongest
/// widely known bigram, so that beating it means something.
pub fn bigram_loss(train: &TokenFile, valid: &TokenFile, vocab: usize) -> f64 {
    let mut pairs: HashMap<(u32, u32), u32> = HashMap::new();
    for pair in train.tokens(0..train.len().saturating_sub(1)).zip(train.tokens(1..train.len())) {
        *pairs.entry(pair).or_default() += 1;
    }
    // For every token: how often it begins a pair, how many followers it has, how many it follows.
    let (mut begins, mut followers, mut follows) = (vec![0u64; vocab], vec![0u64; vocab], vec![0u64; vocab]);
    let (mut ones, mut twos) = (0u64, 0u64);
    for (&(a, b), &c) in &pairs {
        begins[a as usize] += u64::from(c);
        followers[a as usize] += 1;
        follows[b as usize] += 1;
        ones += u64::from(c == 1);
        twos += u64::from(c == 2);
    }
    let discount = if ones == 0 { 0.0 } else { ones as f64 / (ones + 2 * twos) as f64 };
    // The continuation distribution, with one added so that nothing is impossible.
    let kinds = pairs.len() as f64 + vocab as f64;
    let probability = |a: u32, b: u32| {
        let lower = (follows[b as usize] as f64 + 1.0) / kinds;
        let total = begins[a as usize] as f64;
        if total == 0.0 {
            return lower;
        }
        let seen = f64::from(pairs.get(&(a, b)).copied().unwrap_or(0));
        let rest = discount * followers[a as usize] as f64 / total;
        (seen - discount).max(0.0) / total + rest * lower
    };
    let n = valid.len().saturating_sub(1);
    let steps = valid.tokens(0..n).zip(valid.tokens(1..valid.len()));
    steps.map(|(a, b)| -probability(a, b).ln()).sum::<f64>() / n as f64
}

fn count(file: &TokenFile, vocab: usize) -> Vec<u64> {
    let mut counts = vec![0; vocab];
    file.tokens(0..file.len()).for_each(|id| counts[id as usize] += 1);
    counts
}
