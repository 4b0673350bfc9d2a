//! What a key of `config.json` means: every key is known, and what is not known is refused by name.
//!
//! A configuration that is read almost right gives numbers that nobody questions. So each architecture has a table of
//! its keys, those that transformers writes beside them are here, and any other key is an error.

use candle_core::{Result, bail};
use serde_json::{Map, Value};

/// What a key does to the function that a checkpoint computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEffect {
    /// Read: the extent of some tensor, or a divisor of one.
    Extent,
    /// Read: the number of blocks, of which each has tensors.
    Blocks,
    /// Read: something else that is computed with.
    Setting,
    /// Another name of a key that is read.
    Alias(&'static str),
    /// The name that another program gives to a key that is read. Its defaults differ, so that these keys must stand
    /// beside it, with that value as JSON where there is one.
    Foreign(&'static str, &'static [(&'static str, Option<&'static str>)]),
    /// No effect on the scores of a trained model, and why.
    Nothing(&'static str),
    /// Others compute something else where it has another value than these, given as JSON.
    Only(&'static [&'static str]),
    /// The same, but only for transformers: in another program's configuration, which is known by a key that is
    /// [`KeyEffect::Foreign`], any value is without effect.
    OnlyInTransformers(&'static [&'static str]),
    /// Always refused, and why.
    Refused(&'static str),
}

/// A key and its effect.
pub type ConfigKey = (&'static str, KeyEffect);

/// Keys that only training obeys.
pub(super) const TRAINING: KeyEffect = KeyEffect::Nothing("training only");
/// Keys that only say how weights start.
pub(super) const INITIALISATION: KeyEffect = KeyEffect::Nothing("how weights were initialised");
/// Keys that change what is returned, or how it is computed.
pub(super) const RUNTIME: KeyEffect = KeyEffect::Nothing("how the model is run or returned");
const GENERATION: KeyEffect = KeyEffect::Nothing("generation only");
const DESCRIPTION: KeyEffect = KeyEffect::Nothing("description");

/// Keys that transformers may write for any model.
pub const COMMON: &[ConfigKey] = &[
    ("model_type", KeyEffect::Setting),
    ("architectures", KeyEffect::Nothing("the tensors tell which head there is")),
    ("_name_or_path", DESCRIPTION),
    ("_commit_hash", DESCRIPTION),
    ("transformers_version", DESCRIPTION),
    ("model_max_length", DESCRIPTION),
    ("task_specific_params", GENERATION),
    ("finetuning_task", DESCRIPTION),
    ("problem_type", TRAINING),
    ("id2label", DESCRIPTION),
    ("label2id", DESCRIPTION),
    ("num_labels", DESCRIPTION),
    ("dtype", KeyEffect::Setting),
    ("torch_dtype", KeyEffect::Setting),
    ("bos_token_id", GENERATION),
    ("eos_token_id", GENERATION),
    ("pad_token_id", GENERATION),
    ("sep_token_id", GENERATION),
    ("decoder_start_token_id", GENERATION),
    ("prefix", GENERATION),
    ("max_length", GENERATION),
    ("min_length", GENERATION),
    ("do_sample", GENERATION),
    ("early_stopping", GENERATION),
    ("num_beams", GENERATION),
    ("num_beam_groups", GENERATION),
    ("diversity_penalty", GENERATION),
    ("temperature", GENERATION),
    ("top_k", GENERATION),
    ("top_p", GENERATION),
    ("typical_p", GENERATION),
    ("repetition_penalty", GENERATION),
    ("length_penalty", GENERATION),
    ("no_repeat_ngram_size", GENERATION),
    ("encoder_no_repeat_ngram_size", GENERATION),
    ("bad_words_ids", GENERATION),
    ("num_return_sequences", GENERATION),
    ("output_scores", GENERATION),
    ("return_dict_in_generate", GENERATION),
    ("forced_bos_token_id", GENERATION),
    ("forced_eos_token_id", GENERATION),
    ("remove_invalid_values", GENERATION),
    ("exponential_decay_length_penalty", GENERATION),
    ("suppress_tokens", GENERATION),
    ("begin_suppress_tokens", GENERATION),
    ("use_cache", RUNTIME),
    ("return_dict", RUNTIME),
    ("output_hidden_states", RUNTIME),
    ("output_attentions", RUNTIME),
    ("chunk_size_feed_forward", RUNTIME),
    ("attn_implementation", RUNTIME),
    ("_attn_implementation", RUNTIME),
    ("_attn_implementation_internal", RUNTIME),
    ("_attn_implementation_autoset", RUNTIME),
    ("torchscript", RUNTIME),
    ("use_bfloat16", RUNTIME),
    ("tf_legacy_loss", TRAINING),
    ("gradient_checkpointing", TRAINING),
    ("is_encoder_decoder", KeyEffect::Only(&["false"])),
    ("is_decoder", RUNTIME),
    ("add_cross_attention", KeyEffect::Only(&["false"])),
    ("cross_attention_hidden_size", KeyEffect::Only(&["null"])),
    ("tie_encoder_decoder", KeyEffect::Only(&["false"])),
    ("pruned_heads", KeyEffect::Only(&["{}", "null"])),
    ("quantization_config", KeyEffect::Only(&["null"])),
    ("auto_map", KeyEffect::Refused("the checkpoint brings its own code, which is not run here")),
];

/// Refuses keys that no table knows, values that a table refuses, and a key given under two names.
pub fn check(table: &[ConfigKey], config: &Map<String, Value>) -> Result<()> {
    let effect =
        |key: &str| table.iter().chain(COMMON).find(|(name, _)| *name == key).map(|(_, effect)| *effect);
    let foreign = config.keys().any(|key| matches!(effect(key), Some(KeyEffect::Foreign(..))));
    for (key, value) in config {
        match effect(key) {
            None => bail!("the key {key:?}, whose meaning is not known here"),
            Some(KeyEffect::Refused(why)) => bail!("the key {key:?}: {why}"),
            Some(KeyEffect::OnlyInTransformers(_)) if foreign => (),
            Some(KeyEffect::Only(values) | KeyEffect::OnlyInTransformers(values))
                if !values.contains(&value.to_string().as_str()) =>
            {
                bail!("{key} {value}, and only {} is implemented", values.join(" or "))
            }
            Some(KeyEffect::Alias(name) | KeyEffect::Foreign(name, _)) if config.contains_key(name) => {
                bail!("both {key:?} and {name:?}, which mean the same")
            }
            Some(KeyEffect::Foreign(_, beside)) => check_beside(key, beside, config)?,
            Some(_) => (),
        }
    }
    check_types(config)
}

/// The keys that say in which type transformers loads the tensors.
pub(super) const TYPES: [&str; 2] = ["dtype", "torch_dtype"];

/// Refuses types in which no tensors are read.
fn check_types(config: &Map<String, Value>) -> Result<()> {
    const READ: [&str; 4] = ["float64", "float32", "float16", "bfloat16"];
    let known = |value: &Value| value.is_null() || value.as_str().is_some_and(|name| READ.contains(&name));
    match TYPES.iter().find_map(|key| Some((key, config.get(*key).filter(|value| !known(value))?))) {
        Some((key, value)) => bail!("{key} {value}, and known are {}", READ.join(", ")),
        None => Ok(()),
    }
}

/// Refuses what another program's key must stand beside and does not.
fn check_beside(key: &str, beside: &[(&str, Option<&str>)], config: &Map<String, Value>) -> Result<()> {
    for (name, only) in beside {
        match (config.get(*name), only) {
            (None, _) => bail!("the key {key:?} of another program, whose default for {name:?} is not known"),
            (Some(value), Some(only)) => {
                let value = value.to_string();
                if value != *only {
                    bail!(
                        "the key {key:?} of another program beside {name} {value}, and only {only} is implemented"
                    )
                }
            }
            (Some(_), None) => (),
        }
    }
    Ok(())
}

/// Refuses sizes beyond what a file with so many tensors, of at most this extent, can hold: before any memory is
/// taken for them.
pub fn check_sizes(
    table: &[ConfigKey],
    config: &Map<String, Value>,
    tensors: usize,
    extent: usize,
) -> Result<()> {
    for (key, value) in config {
        let effect = table.iter().find(|(name, _)| name == key).map(|(_, effect)| *effect);
        let effect = match effect {
            Some(KeyEffect::Alias(name) | KeyEffect::Foreign(name, _)) => {
                table.iter().find(|(own, _)| *own == name).map(|(_, effect)| *effect)
            }
            other => other,
        };
        match effect {
            Some(KeyEffect::Blocks) if exceeds(value, tensors) => {
                bail!("{key} {value}, and the file has only {tensors} tensors")
            }
            Some(KeyEffect::Extent) if exceeds(value, extent) => {
                bail!("{key} {value}, and no tensor in the file has an extent above {extent}")
            }
            _ => (),
        }
    }
    Ok(())
}

/// Whether a number, or one inside an object, is larger. Products of two such extents are below 2⁶⁴.
fn exceeds(value: &Value, limit: usize) -> bool {
    const LARGEST: usize = 1 << 31;
    match value {
        Value::Number(n) => n.as_f64().is_none_or(|n| n > limit.min(LARGEST) as f64),
        Value::Object(parts) => parts.values().any(|part| exceeds(part, limit)),
        _ => false,
    }
}
