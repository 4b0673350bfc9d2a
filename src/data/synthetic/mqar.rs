//! Multi-query associative recall (Arora et al. 2023, "Zoology", their synthetic task as in their figure 2):
//! pairs of a key and a value, then the keys again among nothing, each of which the value of its pair should
//! follow.
//!
//! Invariant: keys are distinct, values are distinct, every key is asked for exactly once, and its value is
//! not in the text again; only whoever looks the pair up knows the answer.

use crate::random::Random;

/// Size of the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MqarSize {
    /// Tokens there are: 0 is nothing, the rest of the first half are keys, the second half values.
    pub vocab_size: usize,
    /// Tokens of an example; even.
    pub length: usize,
    /// Pairs, at most a quarter of the length.
    pub pairs: usize,
}

/// One text with its questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// What the model reads: the pairs, then the keys, at an even distance from the pairs, and nothing else.
    pub tokens: Vec<u32>,
    /// Where a key is asked for, in the order of the pairs, and what should follow there.
    pub queries: Vec<(usize, u32)>,
}

impl MqarSize {
    /// Exponent of the power law of gaps: a place i steps on is drawn with weight i^(POWER − 1).
    pub const POWER: f64 = 0.01;

    /// Example number `index` of a seed.
    pub fn example(&self, seed: u64, index: u64) -> Example {
        let mut random = Random::new(seed, index);
        let half = self.vocab_size / 2;
        let keys = distinct(&mut random, 1, half, self.pairs);
        let values = distinct(&mut random, half, self.vocab_size, self.pairs);
        let context = 2 * self.pairs;
        let gaps = self.gaps(&mut random, (self.length - context) / 2);
        let mut tokens = vec![0; self.length];
        let mut queries = Vec::with_capacity(self.pairs);
        for (i, gap) in gaps.into_iter().enumerate() {
            tokens[2 * i] = keys[i];
            tokens[2 * i + 1] = values[i];
            tokens[context + 2 * gap] = keys[i];
            queries.push((context + 2 * gap, values[i]));
        }
        Example { tokens, queries }
    }

    /// One place for each pair among `space`, no place twice, near ones the likelier.
    fn gaps(&self, random: &mut Random, space: usize) -> Vec<usize> {
        let mut weights: Vec<f64> = (1..=space).map(|i| (i as f64).powf(Self::POWER - 1.0)).collect();
        let mut draw = |_| {
            let mut left = uniform(random) * weights.iter().sum::<f64>();
            let free = |place: &usize| weights[*place] > 0.0;
            let reached = (0..space).filter(free).find(|&place| {
                left -= weights[place];
                left < 0.0
            });
            // Rounding may leave a rest behind the last free place.
            let place = reached.or_else(|| (0..space).rev().find(free)).unwrap_or_default();
            weights[place] = 0.0;
            place
        };
        (0..self.pairs).map(&mut draw).collect()
    }
}

/// A number in [0, 1), in steps of 2⁻⁵³.
fn uniform(random: &mut Random) -> f64 {
    const STEPS: usize = 1 << 53;
    random.below(STEPS) as f64 / STEPS as f64
}

/// So many different numbers of a range.
fn distinct(random: &mut Random, from: usize, to: usize, count: usize) -> Vec<u32> {
    let mut all: Vec<u32> = (from..to).map(|id| id as u32).collect();
    for place in 0..count {
        let other = place + random.below(all.len() - place);
        all.swap(place, other);
    }
    all.truncate(count);
    all
}

/// Looks every pair up: what an example's questions are answered with by whoever remembers everything.
pub fn looked_up(task: &MqarSize, tokens: &[u32], position: usize) -> Option<u32> {
    let pairs = tokens[..2 * task.pairs].chunks(2);
    pairs.filter(|pair| pair[0] == tokens[position]).map(|pair| pair[1]).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: MqarSize = MqarSize { vocab_size: 64, length: 48, pairs: 8 };

    #[test]
    fn examples_are_as_published() {
        for index in 0..200 {
            let Example { tokens, queries } = TASK.example(1, index);
            assert_eq!((tokens.len(), queries.len()), (48, 8));
            let (keys, values): (Vec<u32>, Vec<u32>) = tokens[..16].chunks(2).map(|p| (p[0], p[1])).unzip();
            assert!(keys.iter().all(|k| (1..32).contains(k)) && values.iter().all(|v| (32..64).contains(v)));
            for all in [keys.clone(), values.clone(), queries.iter().map(|q| q.0 as u32).collect()] {
                let mut unique = all.clone();
                unique.sort_unstable();
                unique.dedup();
                assert_eq!(unique.len(), 8, "{all:?}");
            }
            for (i, (position, value)) in queries.into_iter().enumerate() {
                assert!(position >= 16 && position % 2 == 0);
                assert_eq!((tokens[position], value), (keys[i], values[i]));
                assert_eq!(looked_up(&TASK, &tokens, position), Some(value));
            }
        }
        assert_eq!(TASK.example(1, 5), TASK.example(1, 5));
        assert_ne!(TASK.example(1, 5), TASK.example(2, 5));
    }

    /// The first pair's place is drawn from the whole law: its frequencies against the weights.
    #[test]
    fn near_places_are_likelier_by_the_power_law() {
        const DRAWS: u64 = 20_000;
        let mut counts = [0.0; 16];
        for index in 0..DRAWS {
            counts[(TASK.example(3, index).queries[0].0 - 16) / 2] += 1.0;
        }
        let weights: Vec<f64> = (1..=16).map(|i| f64::from(i).powf(-0.99)).collect();
        let sum: f64 = weights.iter().sum();
        for (count, weight) in counts.iter().zip(&weights) {
            let expected = DRAWS as f64 * weight / sum;
            // Counts scatter by at most the root of their mean.
            assert!((count - expected).abs() < 4.5 * expected.sqrt(), "{count} instead of {expected}");
        }
    }

    #[test]
    fn an_answer_stands_in_its_pair_only() {
        for index in 0..100 {
            let Example { tokens, queries } = TASK.example(7, index);
            for (_, value) in &queries {
                assert_eq!(tokens.iter().filter(|token| *token == value).count(), 1);
            }
            assert_eq!(tokens[16..].iter().filter(|token| **token != 0).count(), queries.len());
        }
    }
}
