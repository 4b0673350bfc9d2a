//! Reading `config.json`: a closed world, in which every key is obeyed, has no effect, or refuses the checkpoint.

use candle_core::{Result, bail};
use serde_json::{Map, Value};

use super::architectures::{Config, MODELS};
use super::keys::{self, ConfigKey};
use super::mamba_ssm::{self, MAMBA_SSM};

/// A configuration as it was read, with the keys that it came from.
pub struct ConfigFile {
    /// The configuration.
    pub config: Config,
    keys: Map<String, Value>,
    table: &'static [ConfigKey],
}

/// Deeper than this no configuration is nested; the parser calls itself once a level.
const DEEPEST: usize = 32;

impl ConfigFile {
    /// Parses the text of a `config.json`: JSON as Python writes it, in which `Infinity` is a number.
    pub fn parse(text: &str) -> Result<Self> {
        let opening = |c: char| matches!(c, '[' | '{');
        if text.matches(opening).count() > 10_000 || depth(text) > DEEPEST {
            bail!("brackets nested more deeply than {DEEPEST}");
        }
        let keys: Value = json5::from_str(text).map_err(candle_core::Error::wrap)?;
        let Value::Object(keys) = keys else { bail!("no JSON object") };
        let name = match keys.get("model_type") {
            Some(Value::String(name)) => name.as_str(),
            Some(other) => bail!("model_type {other}"),
            None => match mamba_ssm::flattened(&keys) {
                Some(keys) => return Self::of_mamba_ssm(keys, text),
                None => bail!("no key \"model_type\""),
            },
        };
        let Some(table) = Config::keys(name) else {
            let known: Vec<_> = MODELS.iter().map(|m| m.name).collect();
            bail!("model_type {name:?}, and known are {}", known.join(", "));
        };
        keys::check(table, &keys)?;
        match json5::from_str(text) {
            Ok(config) => Ok(Self { config, keys, table }),
            Err(error) => bail!("{}{error}", culprit(&keys, &error.to_string())),
        }
    }

    /// The configuration that mamba-ssm writes, whose file knows no `model_type`.
    fn of_mamba_ssm(keys: Map<String, Value>, text: &str) -> Result<Self> {
        if text.contains("NaN") {
            bail!("a number that is none");
        }
        let translated = mamba_ssm::translated(&keys)?;
        match serde_json::from_value(Value::Object(translated.clone())) {
            Ok(config) => Ok(Self { config, keys, table: MAMBA_SSM }),
            Err(error) => bail!("mamba-ssm's {}{error}", culprit(&translated, &error.to_string())),
        }
    }

    /// The key and the name of a type of two bytes to which transformers rounds the tensors that it loads.
    pub fn rounding(&self) -> Option<(&'static str, &str)> {
        let short = |key| Some((key, self.keys.get(key)?.as_str()?));
        keys::TYPES.into_iter().filter_map(short).find(|(_, name)| matches!(*name, "float16" | "bfloat16"))
    }

    /// Refuses sizes beyond what a file with so many tensors, of at most this extent, can hold.
    pub fn check_sizes(&self, tensors: usize, extent: usize) -> Result<()> {
        keys::check_sizes(self.table, &self.keys, tensors, extent)
    }
}

/// How deeply brackets are nested, those in strings included.
fn depth(text: &str) -> usize {
    let (mut now, mut most) = (0usize, 0);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => now += 1,
            b']' | b'}' => now = now.saturating_sub(1),
            _ => (),
        }
        most = most.max(now);
    }
    most
}

/// Names the key that an error is about, which serde does not say: without it the error is another.
fn culprit(keys: &Map<String, Value>, error: &str) -> String {
    let is_it = |key: &&String| {
        let mut rest = keys.clone();
        rest.remove(*key);
        let again: std::result::Result<Config, _> = serde_json::from_value(Value::Object(rest));
        again.err().is_none_or(|e| e.to_string() != error)
    };
    let named = |key: &String| format!("{key} {}: ", keys[key]);
    keys.keys().filter(|key| *key != "model_type").find(is_it).map(named).unwrap_or_default()
}
