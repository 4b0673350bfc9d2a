//! Replies of a model: after each text the likeliest tokens, or tokens drawn from the nucleus (Holtzman et
//! al. 2020), up to the end of the turn.
//!
//! Invariant: a reply depends on its prompt, its place in the list (which names its stream of chance) and the
//! model alone, to the bit: prompts of one length are read together, always in as many rows, so that
//! every product has the same shape whatever the neighbours and the batch that was asked for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use super::likelihood::{Decoding, Nucleus};
use crate::data::tokenizer::Tokenizer;
use crate::models::LanguageModel;
use crate::ops::{on_two_workers, to_vec_f64};
use crate::probes::probe::{ProbeError, Result};
use crate::progress::Screen;
use crate::random::Random;

/// Prompts that are read together; what is lacking is filled up.
const ROWS: usize = 8;

impl Decoding {
    /// The most tokens of a prompt.
    pub fn most(&self) -> usize {
        (self.window + 1).saturating_sub(self.limit).max(1)
    }

    fn kept<'a>(&self, prompt: &'a [u32]) -> &'a [u32] {
        &prompt[prompt.len().saturating_sub(self.most())..]
    }
}

/// The tokens after which a turn is over: the end of a text, and all that have a line break in them.
pub fn turn_ends(tokenizer: &Tokenizer) -> Result<Vec<u32>> {
    let mut ends = Vec::new();
    for id in 0..tokenizer.vocab_size() as u32 {
        if id == tokenizer.eot() || tokenizer.decode(&[id])?.contains('\n') {
            ends.push(id);
        }
    }
    Ok(ends)
}

/// A reply that is being made.
struct PartialReply {
    new: Vec<u32>,
    random: Option<(Nucleus, Random)>,
    over: bool,
}

/// What a model says after each prompt, in tokens, up to but without what ends a turn.
pub(super) fn generate(
    model: &dyn LanguageModel,
    prompts: &[Vec<u32>],
    how: &Decoding,
    (screen, stop): (&Screen, &AtomicBool),
) -> Result<Vec<Vec<u32>>> {
    let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (i, prompt) in prompts.iter().enumerate() {
        by_length.entry(how.kept(prompt).len()).or_default().push(i);
    }
    let mut replies = vec![Vec::new(); prompts.len()];
    let task = screen.task("replies", 0, prompts.len() as u64);
    let mut done = 0;
    // The longest first, so that the time left is not underestimated.
    for group in by_length.values().rev().flat_map(|group| group.chunks(ROWS)) {
        if stop.load(Ordering::Relaxed) {
            return Err(ProbeError::Interrupted);
        }
        for (&i, reply) in group.iter().zip(together(model, prompts, group, how)?) {
            replies[i] = reply;
        }
        done += group.len() as u64;
        task.at(done, String::new);
    }
    Ok(replies)
}

fn together(
    model: &dyn LanguageModel,
    prompts: &[Vec<u32>],
    group: &[usize],
    how: &Decoding,
) -> Result<Vec<Vec<u32>>> {
    let row = |&i: &usize| PartialReply {
        new: Vec::new(),
        random: how.nucleus.map(|nucleus| (nucleus, Random::new(nucleus.seed, i as u64))),
        over: false,
    };
    let mut rows: Vec<PartialReply> = group.iter().map(row).collect();
    let place = |row: usize| group[row.min(group.len() - 1)];
    let mut fed: Vec<u32> = (0..ROWS).flat_map(|row| how.kept(&prompts[place(row)]).to_vec()).collect();
    let mut state = model.new_state(ROWS)?;
    on_two_workers(|| {
        for _ in 0..how.limit {
            let logits = to_vec_f64(&model.last_logits(&fed, &mut state)?)?;
            let vocab = logits.len() / ROWS;
            for (row, logits) in rows.iter_mut().zip(logits.chunks(vocab)) {
                row.go_on(logits, &how.ends);
            }
            if rows.iter().all(|row| row.over) {
                break;
            }
            fed.clear();
            fed.extend((0..ROWS).map(|i| rows[i.min(rows.len() - 1)].new.last().copied().unwrap_or(0)));
        }
        Ok::<_, ProbeError>(())
    })?;
    Ok(rows.into_iter().map(|row| row.new).collect())
}

impl PartialReply {
    fn go_on(&mut self, logits: &[f64], ends: &[u32]) {
        if self.over {
            return;
        }
        let next = match &mut self.random {
            None => likeliest(logits),
            Some((nucleus, random)) => nucleus.draw(logits, random),
        };
        match next.filter(|id| !ends.contains(id)) {
            Some(id) => self.new.push(id),
            // Also where the model has no number to give: it has nothing to say.
            None => self.over = true,
        }
    }
}

/// The first of the largest; none where one is not a number.
fn likeliest(logits: &[f64]) -> Option<u32> {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let known = logits.iter().all(|x| !x.is_nan());
    logits.iter().position(|x| *x == most).filter(|_| known).map(|id| id as u32)
}

impl Nucleus {
    /// A token of the nucleus; none where a logit is not a number or infinite.
    pub fn draw(&self, logits: &[f64], random: &mut Random) -> Option<u32> {
        /// Steps of a draw: the whole numbers that a float64 holds.
        const STEPS: usize = 1 << 53;
        let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = logits.iter().map(|z| ((z - most) / self.temperature).exp()).collect();
        let sum: f64 = weights.iter().sum();
        if !sum.is_finite() {
            return None;
        }
        // Tokens that are each below this have less than 1 − p between them: the nucleus needs none.
        let least = ((1.0 - self.p) * sum / weights.len() as f64).min(1.0);
        let mut likely: Vec<(f64, u32)> =
            weights.iter().zip(0..).filter(|(w, _)| **w >= least).map(|(w, id)| (*w, id)).collect();
        likely.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let (mut held, mut size) = (0.0, 0);
        while size < likely.len() && (size == 0 || held < self.p * sum) {
            held += likely[size].0;
            size += 1;
        }
        let mut left = held * (random.below(STEPS) as f64 / STEPS as f64);
        let nucleus = &likely[..size];
        for (weight, id) in nucleus {
            if left < *weight {
                return Some(*id);
            }
            left -= weight;
        }
        nucleus.last().map(|(_, id)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_keep_to_the_nucleus_and_its_shares() {
        let logits: Vec<f64> = [0.1f64, 0.5, 0.05, 0.3, 0.05].map(f64::ln).to_vec();
        let drawn = |p, temperature| {
            let nucleus = Nucleus { p, temperature, seed: 1 };
            let (mut random, mut counts) = (Random::new(1, 0), [0.0; 5]);
            (0..20_000)
                .for_each(|_| counts[nucleus.draw(&logits, &mut random).unwrap() as usize] += 1.0 / 2e4);
            counts
        };
        // Five standard deviations of a share are 0.018.
        let near = |found: [f64; 5], expected: [f64; 5]| {
            found.iter().zip(expected).all(|(a, b)| (a - b).abs() < if b == 0.0 { 1e-9 } else { 0.018 })
        };
        assert!(near(drawn(1.0, 1.0), [0.1, 0.5, 0.05, 0.3, 0.05]));
        assert!(near(drawn(0.75, 1.0), [0.0, 0.625, 0.0, 0.375, 0.0]));
        assert!(near(drawn(0.5, 1.0), [0.0, 1.0, 0.0, 0.0, 0.0]));
        assert!(near(drawn(0.0, 1.0), [0.0, 1.0, 0.0, 0.0, 0.0]));
        // Half the temperature squares the shares.
        let squares = [0.01, 0.25, 0.0025, 0.09, 0.0025].map(|x| x / 0.355);
        assert!(near(drawn(1.0, 0.5), squares));
        let bad = Nucleus { p: 0.9, temperature: 1.0, seed: 1 };
        assert_eq!(bad.draw(&[0.0, f64::NAN], &mut Random::new(1, 0)), None);
        assert_eq!((likeliest(&[1.0, 3.0, 3.0]), likeliest(&[f64::NAN])), (Some(1), None));
    }
}
