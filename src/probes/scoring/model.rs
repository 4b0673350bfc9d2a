//! A model that scores requests in batches, and replies.
//!
//! Invariant: what it says of a request depends on the request and the model alone, not on the requests that are read
//! with it: every request begins with an empty state, and what fills a batch up stands behind what is scored. But the
//! shape of a batch decides in what order products are summed, and so how they are rounded.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Tensor;

use super::decoding::generate;
use super::likelihood::{Decoding, Request, Scorer, ScoringOptions, TokenLosses};
use crate::models::LanguageModel;
use crate::ops::{to_vec_f64, token_losses};
use crate::probes::probe::{ProbeError, Result};
use crate::progress::Screen;

/// A model that answers in batches.
pub struct ModelScorer<'a> {
    /// The model.
    pub model: &'a dyn LanguageModel,
    /// Requests in a forward pass.
    pub batch: usize,
    /// Where progress is shown.
    pub screen: &'a Screen,
    /// Set to stop.
    pub stop: &'a AtomicBool,
}

/// A request in a batch: what is fed, what follows each token, and from where on that counts.
struct ScoredRow {
    inputs: Vec<u32>,
    targets: Vec<u32>,
    first: usize,
}

impl Scorer for ModelScorer<'_> {
    fn loglikelihood(&self, requests: &[Request], how: ScoringOptions) -> Result<Vec<TokenLosses>> {
        let mut answers = vec![TokenLosses { losses: Vec::new(), greedy: how.greedy }; requests.len()];
        let mut rows: Vec<(usize, ScoredRow)> = Vec::with_capacity(requests.len());
        for (i, request) in requests.iter().enumerate() {
            let (tokens, scored) = request.within(how);
            let read = tokens.len() - 1;
            if scored > 0 {
                let (inputs, targets) = (tokens[..read].to_vec(), tokens[1..].to_vec());
                rows.push((i, ScoredRow { inputs, targets, first: read - scored }));
            }
        }
        // The longest first: equal lengths side by side, and the time left is not underestimated.
        rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.inputs.len()));
        let total = rows.iter().map(|(_, row)| row.inputs.len() as u64).sum();
        let task = self.screen.task("tokens", 0, total);
        let mut done = 0;
        for chunk in rows.chunks(self.batch.max(1)) {
            if self.stop.load(Ordering::Relaxed) {
                return Err(ProbeError::Interrupted);
            }
            let batch: Vec<&ScoredRow> = chunk.iter().map(|(_, row)| row).collect();
            for ((i, _), answer) in chunk.iter().zip(self.batch(&batch, how)?) {
                answers[*i] = answer;
            }
            done += batch.iter().map(|row| row.inputs.len() as u64).sum::<u64>();
            task.at(done, String::new);
        }
        Ok(answers)
    }

    fn generate_until(&self, prompts: &[Vec<u32>], how: &Decoding) -> Result<Vec<Vec<u32>>> {
        generate(self.model, prompts, how, (self.screen, self.stop))
    }

    fn carries(&self) -> bool {
        self.model.window().is_none()
    }
}

impl ModelScorer<'_> {
    fn batch(&self, rows: &[&ScoredRow], how: ScoringOptions) -> Result<Vec<TokenLosses>> {
        let longest = rows.iter().map(|row| row.inputs.len()).max().unwrap_or(0);
        let piece = if how.carry { how.window } else { longest };
        let mut state = self.model.new_state(rows.len())?;
        let mut answers = vec![TokenLosses { losses: Vec::new(), greedy: how.greedy }; rows.len()];
        for begin in (0..longest).step_by(piece.max(1)) {
            let end = longest.min(begin + piece);
            // Behind its end a row is filled up: no position sees what comes after it.
            let fed = rows
                .iter()
                .flat_map(|row| (begin..end).map(|at| row.inputs.get(at).copied().unwrap_or_default()));
            let fed: Vec<u32> = fed.collect();
            let hidden = self.model.hidden(&fed, &mut state)?;
            let (mut owners, mut places, mut targets) = (Vec::new(), Vec::new(), Vec::new());
            for (i, row) in rows.iter().enumerate() {
                for at in row.first.max(begin)..row.inputs.len().min(end) {
                    owners.push(i);
                    places.push((i * (end - begin) + at - begin) as u32);
                    targets.push(row.targets[at]);
                }
            }
            if places.is_empty() {
                continue;
            }
            let scored = hidden.index_select(&Tensor::new(places, hidden.device())?, 0)?;
            for (&i, loss) in owners.iter().zip(self.losses(&scored, &targets)?) {
                answers[i].losses.push(loss);
            }
            if how.greedy {
                for (&i, likeliest) in owners.iter().zip(self.likeliest(&scored, &targets)?) {
                    answers[i].greedy &= likeliest;
                }
            }
        }
        Ok(answers)
    }

    fn losses(&self, hidden: &Tensor, targets: &[u32]) -> Result<Vec<f64>> {
        let head = self.model.params().tensor(self.model.head())?;
        Ok(crate::ops::on_worker(|| token_losses(hidden, &head, targets))?)
    }

    /// Whether each target is the first of the largest logits.
    fn likeliest(&self, hidden: &Tensor, targets: &[u32]) -> Result<Vec<bool>> {
        /// Rows of logits held at a time.
        const ROWS: usize = 32;
        let mut found = Vec::with_capacity(targets.len());
        for (i, targets) in targets.chunks(ROWS).enumerate() {
            let logits = self.model.logits(hidden.narrow(0, i * ROWS, targets.len())?.contiguous()?)?;
            let vocab = logits.dim(1)?;
            let logits = to_vec_f64(&logits)?;
            for (row, &target) in logits.chunks(vocab).zip(targets) {
                let truth = row[target as usize];
                let (before, after) = row.split_at(target as usize);
                found.push(before.iter().all(|x| *x < truth) && after.iter().all(|x| *x <= truth));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::likelihood::windows;
    use super::*;

    #[test]
    fn windows_score_every_token_once() {
        let tokens: Vec<u32> = (1..=10).collect();
        let got = windows(&tokens, 0, 4, 4);
        let parts: Vec<_> = got.iter().map(|r| (r.context.clone(), r.continuation.clone())).collect();
        let expected = [
            (vec![0], vec![1, 2, 3, 4]),
            (vec![4], vec![5, 6, 7, 8]),
            // The last one looks back as far as it can.
            (vec![6, 7, 8], vec![9, 10]),
        ];
        assert_eq!(parts, expected);
        for (length, window, stride) in [(0, 3, 3), (1, 4, 2), (4, 4, 1), (5, 4, 1), (23, 6, 2), (23, 1, 1)] {
            let tokens: Vec<u32> = (1..=length).collect();
            let requests = windows(&tokens, 0, window, stride);
            let scored: Vec<u32> = requests.iter().flat_map(|r| r.continuation.clone()).collect();
            assert_eq!(scored, tokens);
            assert!(requests.iter().all(|r| !r.is_longer_than(window)));
            let seen = |r: &Request| r.context.len() + r.continuation.len() == window + 1;
            assert!(requests.iter().skip(1).all(seen));
            // What is given comes right before what is scored.
            let text: Vec<u32> = [&[0][..], &tokens].concat();
            assert!(requests.iter().all(|r| {
                let whole = [&r.context[..], &r.continuation].concat();
                text.windows(whole.len()).any(|part| part == whole)
            }));
        }
    }

    #[test]
    fn the_left_end_is_cut_off() {
        let request = Request { context: vec![1, 2, 3, 4], continuation: vec![5, 6] };
        let how = ScoringOptions { window: 3, carry: false, greedy: false };
        assert_eq!(request.within(how), (vec![3, 4, 5, 6], 2));
        assert_eq!(request.within(ScoringOptions { window: 1, ..how }), (vec![5, 6], 1));
        assert_eq!(request.within(ScoringOptions { carry: true, ..how }).0.len(), 6);
        assert!(request.is_longer_than(4) && !request.is_longer_than(5));
    }
}
