//! A model and what its recall is held against: itself untrained, and a window of no more bytes (ruling R18).

use crate::data::tokenizer::Tokenizer;
use crate::models::LanguageModel;

/// A trained model, and what it is compared with (ruling R18).
pub struct Contrast<'a> {
    /// The model with its trained weights.
    pub model: &'a dyn LanguageModel,
    /// The same model as it was before the first step.
    pub untrained: &'a dyn LanguageModel,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Tokens of a window whose bytes are those of GroundThink's state, where there is one.
    pub matched: Option<usize>,
    /// Tokens that every model's window holds: so much of each prompt is compared between the models.
    pub shared: usize,
}
