//! A probe's question put to a model that is watched meanwhile, where both models must be asked alike.

use super::long_context::tokens_of;
use super::probe::{Probe, Reading, Result, TrainedModel};
use super::witness::Witness;
use crate::evidence::Metric as M;

impl Probe {
    /// Puts the question, and adds what was seen of it to the answers.
    pub fn ask(&self, s: &TrainedModel<'_>) -> Result<Vec<Reading>> {
        let account: fn(&Witness<'_>, &[Reading]) -> Vec<Reading> = match self.id {
            "language-modeling" => |seen, told| seen.validation(told),
            "long-context" => |seen, told| {
                let tokens = tokens_of(told).map(|all| seen.tokens() as f64 / all);
                tokens.map(|share| Reading::new(M::LongReadsPerToken, share)).into_iter().collect()
            },
            _ => return (self.measure)(s),
        };
        let witness = Witness::of(s.model, s.recipe.context_length);
        let TrainedModel { untrained, run, recipe, dataset, scale, seed, compute, .. } = *s;
        let (earlier, data) = (s.earlier.clone(), s.data.clone());
        let model = &witness;
        let watched =
            TrainedModel { model, untrained, earlier, run, recipe, dataset, scale, seed, compute, data };
        let mut readings = (self.measure)(&watched)?;
        readings.extend(account(&witness, &readings));
        Ok(readings)
    }
}
