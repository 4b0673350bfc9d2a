//! Which network a checkpoint says it is, beside the one that the rulings name (R1, R3).
//!
//! The sizes of the gated scales stand here a second time, from the document's table and ruling R2; at the scales below,
//! which it does not name, they are given.

use std::path::Path;

use serde_json::Value;

use super::deviation::Deviation;
use super::error::Result;
use super::tensors::read_document;

/// What the baseline of a scale is: blocks, heads, width.
const SIZES: &[(&str, [usize; 3])] =
    &[("3.5M", [3, 4, 256]), ("8M", [6, 6, 384]), ("30M", [12, 8, 512]), ("125M", [12, 12, 768])];

/// What a network was to be.
#[derive(Clone, Copy, Debug)]
pub struct PlannedSize<'a> {
    /// The scale's label.
    pub scale: &'a str,
    /// Blocks, heads and width of its baseline, where the document does not say.
    pub otherwise: [usize; 3],
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Tokens of a sequence.
    pub context: usize,
}

/// The configuration of the checkpoint in a folder beside that: of GPT-2 every number and switch, of GroundThink what
/// both have in common; of others nothing is ruled.
pub fn beside_size(folder: &Path, planned: PlannedSize<'_>) -> Result<Vec<Deviation>> {
    let found: Value = read_document(&folder.join("config.json"))?;
    let known = SIZES.iter().find(|(name, _)| *name == planned.scale).map(|(_, size)| *size);
    let [blocks, heads, width] = known.unwrap_or(planned.otherwise);
    let (vocabulary, context) = (planned.vocabulary, planned.context);
    let number = |key: &str, expected: f64| {
        let got = found[key].as_f64();
        let said = got.map_or("nothing".to_owned(), |x| x.to_string());
        Deviation::fact(format!("{key}: expected {expected}, got {said}"), got == Some(expected))
    };
    // A key that is absent means what it means to transformers.
    let usual = |key: &str, usual: Value| {
        let got = &found[key];
        Deviation::fact(format!("{key}: expected {usual}, got {got}"), got.is_null() || *got == usual)
    };
    Ok(match found["model_type"].as_str() {
        Some("gpt2") => vec![
            number("n_layer", blocks as f64),
            number("n_head", heads as f64),
            number("n_embd", width as f64),
            number("n_positions", context as f64),
            number("vocab_size", vocabulary as f64),
            number("layer_norm_epsilon", 1e-5),
            usual("n_inner", Value::from(4 * width)),
            usual("activation_function", Value::from("gelu_new")),
            usual("tie_word_embeddings", Value::from(true)),
            usual("scale_attn_weights", Value::from(true)),
            usual("scale_attn_by_inverse_layer_idx", Value::from(false)),
        ],
        Some("groundthink") => vec![number("d_model", width as f64), number("vocab_size", vocabulary as f64)],
        _ => Vec::new(),
    })
}
