//! Does any position see what comes after it? Asked around the blocks in which implementations read, 64 and 128
//! tokens, for one sequence and for several, each changed from a place of its own on.

use super::probe::Result;
use crate::models::{LanguageModel, with_positions};
use crate::ops::to_vec_f64;

/// Tokens of the longest text that is looked at.
pub(super) const LONGEST: usize = 300;
/// Sequences read at once, beside one alone.
pub(super) const SEQUENCES: usize = 3;

/// Lengths of the texts: short ones, and those around the edges of blocks.
const LENGTHS: &[usize] =
    &[1, 2, 3, 5, 17, 31, 32, 33, 63, 64, 65, 66, 96, 127, 128, 129, 191, 193, 256, 257, 300];
/// Places from which on a text is changed, beside its middle and its last token.
const CUTS: &[usize] = &[1, 2, 33, 63, 64, 65, 66, 100, 127, 128, 129, 192, 257];

/// Disjoint pieces of a text, one more token in each than is read of it; as long as wanted or as there is text for.
pub(super) fn pieces(text: &[u32]) -> Vec<&[u32]> {
    let length = (LONGEST + 1).min(text.len() / SEQUENCES);
    (0..SEQUENCES).map(|i| &text[i * length..(i + 1) * length]).collect()
}

/// The model, and where its window is shorter than the texts, the same with room for them.
pub(super) fn with_room(model: &dyn LanguageModel) -> Result<Option<Box<dyn LanguageModel>>> {
    match model.window() {
        Some(window) if window < LONGEST => Ok(Some(with_positions(model, LONGEST)?)),
        _ => Ok(None),
    }
}

/// The longest text that a model can read, of those that there are.
pub(super) fn longest(model: &dyn LanguageModel, texts: &[&[u32]]) -> usize {
    let there = texts.iter().map(|text| text.len().saturating_sub(1)).min().unwrap_or(0);
    there.min(LONGEST).min(model.window().unwrap_or(LONGEST))
}

/// Whether neither hidden states nor losses change in one bit where only later tokens change.
pub(super) fn blind_to_later_tokens(model: &dyn LanguageModel, texts: &[&[u32]], vocab: u32) -> Result<bool> {
    let most = longest(model, texts);
    let mut lengths: Vec<usize> = LENGTHS.iter().copied().filter(|n| *n <= most).collect();
    lengths.extend((!lengths.contains(&most)).then_some(most));
    for length in lengths.into_iter().filter(|n| *n > 1) {
        let mut cuts: Vec<usize> = CUTS.iter().copied().chain([length / 2, length - 1]).collect();
        cuts.retain(|cut| (1..length).contains(cut));
        cuts.sort_unstable();
        cuts.dedup();
        for rows in [&texts[..1], texts] {
            let sound = Seen::of(model, rows, length)?;
            // Every row is changed from another place on, and over the passes from every place.
            for first in 0..cuts.len() {
                let cut = |row: usize| cuts[(first + row * cuts.len() / rows.len()) % cuts.len()];
                let changed: Vec<Vec<u32>> =
                    rows.iter().enumerate().map(|(i, row)| changed_from(row, cut(i), vocab)).collect();
                let changed: Vec<&[u32]> = changed.iter().map(Vec::as_slice).collect();
                let other = Seen::of(model, &changed, length)?;
                if !(0..rows.len()).all(|row| sound.same_before(&other, row, cut(row))) {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

/// The text with every token from `first` on replaced.
fn changed_from(text: &[u32], first: usize, vocab: u32) -> Vec<u32> {
    let mut changed = text.to_vec();
    changed[first..].iter_mut().for_each(|id| *id = (*id + 1) % vocab);
    changed
}

/// The bits of what a model makes of some texts.
struct Seen {
    hidden: Vec<u64>,
    losses: Vec<u64>,
    length: usize,
    width: usize,
}

impl Seen {
    fn of(model: &dyn LanguageModel, rows: &[&[u32]], length: usize) -> Result<Self> {
        let bits = |xs: Vec<f64>| xs.into_iter().map(f64::to_bits).collect::<Vec<_>>();
        let flat = |from: usize| -> Vec<u32> {
            rows.iter().flat_map(|row| row[from..from + length].iter().copied()).collect()
        };
        let hidden = bits(to_vec_f64(&model.hidden(&flat(0), &mut model.new_state(rows.len())?)?)?);
        let losses = bits(model.losses(&flat(0), &flat(1), &mut model.new_state(rows.len())?)?);
        let width = hidden.len() / (rows.len() * length);
        Ok(Self { hidden, losses, length, width })
    }

    /// Whether a row's positions before `cut` agree. The token there is an input, and the target of the one before.
    fn same_before(&self, other: &Self, row: usize, cut: usize) -> bool {
        let first = row * self.length;
        let hidden = first * self.width..(first + cut) * self.width;
        let losses = first..first + cut - 1;
        self.hidden[hidden.clone()] == other.hidden[hidden]
            && self.losses[losses.clone()] == other.losses[losses]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::MODELS;
    use crate::scale;

    #[test]
    fn every_model_is_causal_across_edges() {
        let text: Vec<u32> = (0..1000u32).map(|t| t * t % 97).collect();
        for spec in MODELS {
            let model = (spec.config)(scale::find("smoke").unwrap(), 97, 310).init(1).unwrap();
            assert!(blind_to_later_tokens(model.as_ref(), &pieces(&text), 97).unwrap(), "{}", spec.name);
        }
    }
}
