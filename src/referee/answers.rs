//! Answers a second time: from the text of a conversation, or of a document, to what the record says of it.
//!
//! Nothing of how the program makes prompts, windows and marks is used here. A prompt is the conversation and the
//! stem; a model with a window sees the last tokens of it; where the state was reset, the stem alone. The answer is
//! the softmax over the candidates' logits after the last token.

use std::ops::Range;

use super::deviation::{Deviation, LAST_PLACES, SPREAD};
use super::error::Result;
use super::evaluation::{SavedModel, beside_mean};
use super::fault::Fault;
use super::graph::{Graph, Weights};
use super::number::Number;
use crate::data::synthetic::item::ClozeItem;
use crate::data::tokenizer::Tokenizer;

/// What is recorded of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemFigure {
    /// 1 where the true candidate is the likeliest.
    Credit,
    /// One over its rank.
    ReciprocalRank,
    /// Bits retained: log2 of its share among the candidates, plus log2 of their number.
    Bits,
}

/// What a model knows when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recollection {
    /// The conversation.
    Conversation,
    /// Nothing: the stem alone.
    Reset,
}

/// A question in tokens.
#[derive(Clone, Debug)]
pub struct TokenizedItem {
    /// What the model reads.
    pub prompt: Vec<usize>,
    /// Every candidate's token.
    candidates: Vec<usize>,
    truth: usize,
}

/// Log-odds of every candidate against the true one, and how far rounding moves one.
pub struct Odds {
    /// ln p(candidate) − ln p(truth), the true one's zero among them.
    against: Vec<f64>,
    /// The largest distance of float32 from float64 over all logits.
    apart: f64,
}

impl<N: Number> SavedModel<N> {
    /// An item as the model gets it; nothing where a candidate is not one token.
    pub fn tokenized(
        &self,
        item: &ClozeItem,
        tokenizer: &Tokenizer,
        memory: Recollection,
    ) -> Result<Option<TokenizedItem>> {
        let tokens = |text: &str| -> Result<Vec<usize>> {
            Ok(tokenizer.encode(text)?.into_iter().map(|id| id as usize).collect())
        };
        let mut prompt = if memory == Recollection::Reset { Vec::new() } else { tokens(&item.context)? };
        prompt.extend(tokens(&item.stem)?);
        let window = self.design.window().unwrap_or(prompt.len()).min(prompt.len());
        let cut = if self.fault == Some(Fault::CutsRight) { 0 } else { prompt.len() - window };
        let mut prompt = prompt.split_off(cut);
        prompt.truncate(window);
        let mut candidates = Vec::new();
        for candidate in &item.candidates {
            match tokens(candidate)?[..] {
                [token] => candidates.push(token),
                _ => return Ok(None),
            }
        }
        Ok(Some(TokenizedItem { prompt, candidates, truth: item.truth }))
    }
}

impl Odds {
    /// The figure on record beside this one; nothing where rounding may decide a rank.
    pub fn beside(&self, figure: ItemFigure, recorded: f64, what: String) -> Option<Deviation> {
        // Two logits enter every difference, and each may be so far off.
        let unsure = 2.0 * SPREAD * self.apart;
        if figure == ItemFigure::Bits {
            let sum: f64 = self.against.iter().map(|x| x.exp()).sum();
            let bits = (self.against.len() as f64).log2() - sum.log2();
            let tolerance = (unsure + LAST_PLACES) / std::f64::consts::LN_2 + LAST_PLACES * bits.abs();
            return Some(Deviation::new(what, (recorded - bits).abs(), tolerance));
        }
        // The true candidate itself is among them, with odds of exactly zero.
        let others = || self.against.iter().filter(|x| **x != 0.0);
        if others().any(|x| x.abs() <= unsure) {
            return None;
        }
        let rank = 1 + others().filter(|x| **x > 0.0).count();
        let value = match figure {
            ItemFigure::Credit => f64::from(u8::from(rank == 1)),
            _ => 1.0 / rank as f64,
        };
        Some(Deviation::new(what, (recorded - value).abs(), 1e-9))
    }
}

impl<N: Number> SavedModel<N> {
    /// The odds of an item's candidates.
    pub fn odds(&self, item: &TokenizedItem) -> Odds {
        let (wide, narrow) = rayon::join(
            || self.last_logits(&self.wide, &item.prompt),
            || self.last_logits(&self.narrow, &item.prompt),
        );
        let apart = wide.iter().zip(&narrow).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let against = item.candidates.iter().map(|c| wide[*c] - wide[item.candidates[item.truth]]).collect();
        Odds { against, apart }
    }

    fn last_logits<M: Number>(&self, weights: &Weights<M>, tokens: &[usize]) -> Vec<f64> {
        let mut graph = Graph::forward(weights, self.fault);
        let end = self.design.logits(&mut graph, tokens, tokens.len() - 1..tokens.len());
        graph.value(end).data.iter().map(|x| x.wide()).collect()
    }

    /// The mean loss on record of some tokens of a document beside the referee's. A model with a window reads it in
    /// windows that move by half of it, 512 tokens at most: each scores what the one before did not.
    ///
    /// # Shapes
    /// - `document`: tokens; `part`: which of them the mean is over
    pub fn beside_part(
        &self,
        recorded: f64,
        (document, start): (&[usize], usize),
        part: Range<usize>,
    ) -> Deviation {
        let window = self.design.window();
        let stride = window.map_or(0, |window| window.div_ceil(2).min(512));
        let stride = if self.fault == Some(Fault::DisjointWindows) { window.unwrap_or(0) } else { stride };
        let (mut wide, mut narrow) = (Vec::new(), Vec::new());
        for (begin, end) in segments(&part, window.map(|window| (window, stride)), document.len()) {
            let from = window.map_or(0, |window| end.saturating_sub(window));
            // Every token is read one place before it is a target; before the first stands the token between texts.
            let before = |at: usize| if at == 0 { start } else { document[at - 1] };
            let inputs: Vec<usize> = (from..end).map(before).collect();
            let targets = &document[from..end];
            let wanted = part.start.max(begin) - from..part.end.min(end) - from;
            let (a, b) = rayon::join(
                || self.each_loss(&self.wide, &inputs, targets, wanted.clone()),
                || self.each_loss(&self.narrow, &inputs, targets, wanted.clone()),
            );
            wide.extend(a);
            narrow.extend(b);
        }
        beside_mean(recorded, &wide, &narrow, format!("loss of tokens {} to {}", part.start, part.end))
    }
}

/// Which windows score some of the part: what each scores, begin and end. Without a window the one that begins with
/// the document and ends with the part.
fn segments(part: &Range<usize>, windows: Option<(usize, usize)>, length: usize) -> Vec<(usize, usize)> {
    let Some((window, stride)) = windows else { return vec![(0, part.end)] };
    let (mut all, mut begin) = (Vec::new(), 0);
    while begin < part.end.min(length) {
        let end = length.min(begin + if begin == 0 { window } else { stride });
        if end > part.start {
            all.push((begin, end));
        }
        begin = end;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_cover_a_part_once() {
        assert_eq!(segments(&(100..164), None, 1000), [(0, 164)]);
        let windows = Some((256, 128));
        assert_eq!(segments(&(100..164), windows, 1000), [(0, 256)]);
        // The first reads 256 tokens, each of the others 128 more.
        assert_eq!(segments(&(250..400), windows, 1000), [(0, 256), (256, 384), (384, 512)]);
        assert_eq!(segments(&(960..1000), windows, 1000), [(896, 1000)]);
        assert_eq!(segments(&(2048..2112), Some((2048, 512)), 4096), [(2048, 2560)]);
    }

    #[test]
    fn ranks_that_rounding_may_decide_are_not_judged() {
        let odds = Odds { against: vec![0.0, -1.0, 2.0], apart: 1e-3 };
        let beside = |figure, x| odds.beside(figure, x, String::new()).map(|d| d.share() <= 1.0);
        assert_eq!(beside(ItemFigure::Credit, 0.0), Some(true));
        assert_eq!(beside(ItemFigure::ReciprocalRank, 0.5), Some(true));
        assert_eq!(beside(ItemFigure::ReciprocalRank, 1.0), Some(false));
        let bits = 3f64.log2() - (1.0 + (-1f64).exp() + 2f64.exp()).log2();
        assert_eq!(beside(ItemFigure::Bits, bits), Some(true));
        assert_eq!(beside(ItemFigure::Bits, bits + 0.1), Some(false));
        let close = Odds { against: vec![0.0, 1e-3], apart: 1e-3 };
        assert!(close.beside(ItemFigure::Credit, 1.0, String::new()).is_none());
    }
}
