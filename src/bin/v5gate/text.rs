//! `v5gate score` and `v5gate generate`: what a checkpoint says of a text, and how it goes on.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use v5gate::device;
use v5gate::evaluate::Checkpoint;
use v5gate::train::{Precision, load_model};

use super::list::pretty;

/// The negative log-likelihood of every given token id.
pub fn score(checkpoint: &Path, tokens: &Path, as_json: bool) -> Result<String> {
    let model = load_model(checkpoint)?.to_device(device::current(), Precision::Float32)?;
    let text = fs::read_to_string(tokens).with_context(|| tokens.display().to_string())?;
    let ids: Vec<u32> = serde_json::from_str(&text)
        .with_context(|| format!("{}: expected a list of token ids", tokens.display()))?;
    let vocab = model.params().tensor(model.head())?.dim(0)?;
    if let Some((position, id)) = ids.iter().enumerate().find(|(_, id)| **id as usize >= vocab) {
        bail!("{}: position {position}: expected a token id below {vocab}, got {id}", tokens.display());
    }
    let nll = match ids.len() {
        0 => bail!("{}: expected at least one token id, got none", tokens.display()),
        1 => Vec::new(),
        n => {
            let losses = model.losses(&ids[..n - 1], &ids[1..], &mut model.new_state(1)?);
            losses.with_context(|| tokens.display().to_string())?
        }
    };
    // From plus zero: the sum of nothing would be minus zero.
    let sum = nll.iter().fold(0.0, |sum, loss| sum + loss);
    let mean = if nll.is_empty() { None } else { Some(sum / nll.len() as f64) };
    if as_json {
        let name = model.config().name();
        let document = json!({"model_type": name, "tokens": ids.len(), "nll": nll, "sum": sum, "mean": mean});
        return pretty(&document);
    }
    let mean = mean.unwrap_or(f64::NAN);
    Ok(format!("{} tokens, {sum:.4} nats, {mean} nats per token\n", ids.len()))
}

/// The likeliest continuation of a prompt.
pub fn generate(checkpoint: &Path, prompt: &str, tokens: usize) -> Result<String> {
    let Checkpoint { model, tokenizer, .. } = Checkpoint::load(checkpoint, device::current(), "generate")?;
    let mut input = tokenizer.encode(prompt)?;
    if input.is_empty() {
        input.push(tokenizer.eot());
    }
    if let Some(window) = model.window() {
        let room = (window + 1).saturating_sub(input.len());
        if input.len() > window {
            bail!("--prompt: expected at most {window} tokens, the model's window, got {}", input.len());
        }
        if room < tokens {
            eprintln!(
                "the window of {window} tokens has room for {room} of {tokens} tokens after this prompt"
            );
        }
    }
    let new = model.continue_greedily(&input, tokens, Some(tokenizer.eot()))?;
    Ok(format!("{prompt}{}\n", tokenizer.decode(&new)?))
}
