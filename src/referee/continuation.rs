//! How likely a text goes on as it does, a second time: what LAMBADA and HellaSwag ask.
//!
//! Context and continuation are made tokens together; what is beyond the tokens of the context alone, without its
//! white space at the end, is scored. A model with a window, and one without, sees the last tokens that fit it.

use super::attention::token_losses;
use super::deviation::{Deviation, LAST_PLACES, SPREAD};
use super::error::Result;
use super::evaluation::SavedModel;
use super::fault::Fault;
use super::graph::{Graph, Weights};
use super::number::Number;
use crate::data::tokenizer::Tokenizer;

/// A continuation under a model.
#[derive(Clone, Copy, Debug)]
pub struct Continuation {
    /// Sum of its tokens' losses (nats).
    loss: f64,
    /// How far that sum may be off.
    unsure: f64,
    /// By how much its tokens are ahead of the best other token, at the least.
    lead: f64,
    /// How far that may be off.
    lead_unsure: f64,
}

/// An ending of a question: its continuation, and its length in characters and in bytes of UTF-8.
pub type ScoredEnding = (Continuation, [usize; 2]);

impl<N: Number> SavedModel<N> {
    /// A continuation of a text, read in a window of so many positions.
    pub fn continuation(
        &self,
        tokenizer: &Tokenizer,
        (context, continuation): (&str, &str),
        window: usize,
    ) -> Result<Continuation> {
        let tokens = |text: &str| -> Result<Vec<usize>> {
            Ok(tokenizer.encode_with_special_tokens(text)?.into_iter().map(|id| id as usize).collect())
        };
        let given = tokens(context.trim_end())?.len();
        let whole = tokens(&format!("{context}{continuation}"))?;
        let cut = (whole.len() - 1).saturating_sub(window);
        let cut = if self.fault == Some(Fault::CutsRight) { 0 } else { cut };
        let end = whole.len().min(cut + window + 1);
        let (inputs, targets) = (&whole[cut..end - 1], &whole[cut + 1..end]);
        let scored = (whole.len() - given).min(targets.len());
        let (wide, narrow) = rayon::join(
            || self.losses_and_leads(&self.wide, inputs, targets),
            || self.losses_and_leads(&self.narrow, inputs, targets),
        );
        let first = targets.len() - scored;
        let distances = |of: fn(&(f64, f64)) -> f64| {
            usual_at_least(wide.iter().zip(&narrow).map(|(a, b)| (of(a) - of(b)).abs()).collect())
        };
        let (of_losses, of_leads) = (distances(|x| x.0), distances(|x| x.1));
        let loss: f64 = wide[first..].iter().map(|(loss, _)| loss).sum();
        let unsure = SPREAD * of_losses[first..].iter().sum::<f64>() + LAST_PLACES * loss;
        let lead = wide[first..].iter().map(|(_, lead)| *lead).fold(f64::INFINITY, f64::min);
        let lead_unsure = SPREAD * of_leads[first..].iter().copied().fold(0.0, f64::max);
        Ok(Continuation { loss, unsure, lead, lead_unsure })
    }

    /// Loss and lead of every target, one for each token that is read.
    fn losses_and_leads<M: Number>(
        &self,
        weights: &Weights<M>,
        inputs: &[usize],
        targets: &[usize],
    ) -> Vec<(f64, f64)> {
        let mut graph = Graph::forward(weights, self.fault);
        let end = self.design.logits(&mut graph, inputs, 0..inputs.len());
        let logits = graph.value(end);
        let losses = token_losses(logits, targets);
        let lead = |t: usize| {
            let row = logits.row(t);
            let others = row.iter().enumerate().filter(|(token, _)| *token != targets[t]);
            let best = others.map(|(_, z)| z.wide()).fold(f64::NEG_INFINITY, f64::max);
            row[targets[t]].wide() - best
        };
        losses.iter().enumerate().map(|(t, loss)| (loss.wide(), lead(t))).collect()
    }
}

/// Distances of which none is taken for less than their root mean square: a distance is one draw, and that of a single
/// token, which is all that many a last word has, is small by chance at one word in ten.
fn usual_at_least(distances: Vec<f64>) -> Vec<f64> {
    let squares: f64 = distances.iter().map(|x| x * x).sum();
    let usual = (squares / distances.len() as f64).sqrt();
    distances.into_iter().map(|x| x.max(usual)).collect()
}

impl Continuation {
    /// The loss on record beside this one.
    pub fn beside_loss(&self, recorded: f64, what: String) -> Deviation {
        Deviation::new(what, (recorded - self.loss).abs(), self.unsure)
    }

    /// What is on record of whether every token is the likeliest; nothing where rounding may decide it.
    pub fn beside_right(&self, recorded: f64, what: String) -> Option<Deviation> {
        let right = f64::from(u8::from(self.lead > 0.0));
        (self.lead.abs() > self.lead_unsure).then(|| Deviation::new(what, (recorded - right).abs(), 1e-9))
    }
}

/// What is on record of a question, beside its endings: whether the true one is the likeliest, whether it is by
/// character, and by how much per byte it is likelier than the mean of the others. A rank that rounding may decide is
/// left out.
pub fn beside_endings(
    recorded: [f64; 3],
    endings: &[ScoredEnding],
    truth: usize,
    what: &str,
) -> Vec<Deviation> {
    let per = |length: &dyn Fn(&ScoredEnding) -> f64| -> Vec<[f64; 2]> {
        endings.iter().map(|e| [-e.0.loss / length(e), e.0.unsure / length(e)]).collect()
    };
    let wholes = per(&|_| 1.0);
    let by_character = per(&|(_, [characters, _])| *characters as f64);
    let by_byte = per(&|(_, [_, bytes])| *bytes as f64);
    let right = |scores: &[[f64; 2]], recorded: f64, name: &str| {
        let [own, unsure] = scores[truth];
        let others = || scores.iter().enumerate().filter(|(i, _)| *i != truth).map(|(_, score)| score);
        let sure = others().all(|[score, more]| (own - score).abs() > unsure + more);
        let right = f64::from(u8::from(others().all(|[score, _]| own > *score)));
        sure.then(|| Deviation::new(format!("{what}: {name}"), (recorded - right).abs(), 1e-9))
    };
    let others = (endings.len() - 1) as f64;
    let sum = |of: fn(&[f64; 2]) -> f64| -> f64 {
        by_byte.iter().enumerate().filter(|(i, _)| *i != truth).map(|(_, score)| of(score)).sum::<f64>()
    };
    let margin = by_byte[truth][0] - sum(|[score, _]| *score) / others;
    let unsure = by_byte[truth][1] + sum(|[_, unsure]| *unsure) / others;
    let margins = Deviation::new(format!("{what}: margin"), (recorded[2] - margin).abs(), unsure);
    let ranks = [
        right(&wholes, recorded[0], "likeliest"),
        right(&by_character, recorded[1], "likeliest by character"),
    ];
    ranks.into_iter().flatten().chain([margins]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(loss: f64, unsure: f64, lengths: [usize; 2]) -> ScoredEnding {
        (Continuation { loss, unsure, lead: 1.0, lead_unsure: 0.1 }, lengths)
    }

    #[test]
    fn each_figure_of_a_question_has_its_length() {
        // Log-likelihoods -3, -2, -4; per character -1.5, -2, -0.5; per byte -1.5, -1, -0.5.
        let endings = [ending(3.0, 1e-6, [2, 2]), ending(2.0, 1e-6, [1, 2]), ending(4.0, 1e-6, [8, 8])];
        let agree =
            |recorded, truth| beside_endings(recorded, &endings, truth, "q").iter().all(|d| d.share() <= 1.0);
        assert!(agree([1.0, 0.0, 0.0], 1));
        assert!(agree([0.0, 1.0, 0.75], 2));
        assert!(!agree([1.0, 1.0, 0.75], 2));
        assert!(!agree([0.0, 0.0, 0.75], 2));
        assert!(!agree([0.0, 1.0, 0.70], 2));
        assert!(!agree([f64::NAN, 1.0, 0.75], 2));
        // Which is the likelier nobody can say.
        let close = [ending(3.0, 1e-3, [1, 1]), ending(3.0001, 1e-3, [1, 1])];
        assert_eq!(beside_endings([0.0, 0.0, 0.0001], &close, 0, "q").len(), 1);
    }

    #[test]
    fn a_token_that_rounding_hardly_moves_is_given_what_it_moves_others_by() {
        assert_eq!(usual_at_least(vec![3.0, 0.0, 4.0, 0.0]), [3.0, 2.5, 4.0, 2.5]);
    }

    #[test]
    fn a_word_is_right_where_it_leads() {
        let word = |lead, lead_unsure| Continuation { loss: 2.0, unsure: 1e-6, lead, lead_unsure };
        let right = |c: Continuation, x| c.beside_right(x, String::new()).map(|d| d.share() <= 1.0);
        assert_eq!(right(word(0.5, 0.1), 1.0), Some(true));
        assert_eq!(right(word(-0.5, 0.1), 1.0), Some(false));
        assert_eq!(right(word(0.05, 0.1), 0.0), None);
        assert!(word(1.0, 0.1).beside_loss(2.1, String::new()).share() > 1.0);
    }
}
