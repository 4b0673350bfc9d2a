//! The configuration that mamba-ssm writes beside its Mamba-2 models, under transformers' names.
//!
//! What is absent is as mamba-ssm's `MambaConfig` and `Mamba2` have it, and not as transformers'.

use candle_core::{Result, bail};
use serde_json::{Map, Value, json};

use super::keys::{ConfigKey, INITIALISATION, KeyEffect, RUNTIME, check};

/// The keys, those of the layer after `ssm_cfg.`.
pub const MAMBA_SSM: &[ConfigKey] = &[
    ("d_model", KeyEffect::Extent),
    ("n_layer", KeyEffect::Blocks),
    ("vocab_size", KeyEffect::Extent),
    // The rows of the embedding are a multiple of it.
    ("pad_vocab_size_multiple", KeyEffect::Extent),
    ("tie_embeddings", KeyEffect::Setting),
    ("d_intermediate", KeyEffect::Only(&["0"])),
    ("attn_layer_idx", KeyEffect::Only(&["[]", "null"])),
    ("attn_cfg", KeyEffect::Nothing("there are no attention layers")),
    ("rms_norm", KeyEffect::Only(&["true"])),
    ("residual_in_fp32", KeyEffect::Nothing("everything is float32")),
    ("fused_add_norm", RUNTIME),
    ("ssm_cfg.layer", KeyEffect::Only(&["\"Mamba2\""])),
    ("ssm_cfg.d_state", KeyEffect::Extent),
    ("ssm_cfg.d_conv", KeyEffect::Extent),
    ("ssm_cfg.expand", KeyEffect::Extent),
    ("ssm_cfg.headdim", KeyEffect::Extent),
    ("ssm_cfg.ngroups", KeyEffect::Extent),
    ("ssm_cfg.bias", KeyEffect::Setting),
    ("ssm_cfg.conv_bias", KeyEffect::Setting),
    ("ssm_cfg.dt_limit", KeyEffect::Setting),
    ("ssm_cfg.d_ssm", KeyEffect::Only(&["null"])),
    ("ssm_cfg.D_has_hdim", KeyEffect::Only(&["false"])),
    ("ssm_cfg.rmsnorm", KeyEffect::Only(&["true"])),
    ("ssm_cfg.norm_before_gate", KeyEffect::Only(&["false"])),
    ("ssm_cfg.A_init_range", INITIALISATION),
    ("ssm_cfg.conv_init", INITIALISATION),
    ("ssm_cfg.dt_min", INITIALISATION),
    ("ssm_cfg.dt_max", INITIALISATION),
    ("ssm_cfg.dt_init_floor", INITIALISATION),
    ("ssm_cfg.chunk_size", RUNTIME),
    ("ssm_cfg.use_mem_eff_path", RUNTIME),
    ("ssm_cfg.process_group", RUNTIME),
    ("ssm_cfg.sequence_parallel", RUNTIME),
];

/// The keys with those of `ssm_cfg` among them; nothing where this is another program's configuration.
pub(super) fn flattened(keys: &Map<String, Value>) -> Option<Map<String, Value>> {
    let Value::Object(layer) = keys.get("ssm_cfg")? else { return None };
    let own =
        keys.iter().filter(|(key, _)| *key != "ssm_cfg").map(|(key, value)| (key.clone(), value.clone()));
    Some(own.chain(layer.iter().map(|(key, value)| (format!("ssm_cfg.{key}"), value.clone()))).collect())
}

/// The same configuration under transformers' names.
pub(super) fn translated(keys: &Map<String, Value>) -> Result<Map<String, Value>> {
    match keys.get("ssm_cfg.layer").and_then(Value::as_str) {
        Some("Mamba2") => (),
        None | Some("Mamba1") => bail!(
            "mamba-ssm's Mamba-1 (ssm_cfg without \"layer\": \"Mamba2\"), which is none of the architectures here"
        ),
        Some(other) => bail!("ssm_cfg.layer {other:?}, and only \"Mamba2\" is implemented"),
    }
    check(MAMBA_SSM, keys)?;
    let count = |key: &str, otherwise: u64| match keys.get(key) {
        None => Ok(otherwise),
        Some(value) => match value.as_u64() {
            Some(n) if n > 0 => Ok(n),
            _ => bail!("{key} {value}, which is no positive whole number"),
        },
    };
    let other = |key: &str, otherwise: Value| keys.get(key).cloned().unwrap_or(otherwise);
    let (width, expand, head) =
        (count("d_model", 2560)?, count("ssm_cfg.expand", 2)?, count("ssm_cfg.headdim", 64)?);
    let inner = expand.saturating_mul(width);
    if !inner.is_multiple_of(head) {
        bail!("ssm_cfg.headdim {head}, which is no divisor of ssm_cfg.expand {expand} times d_model {width}");
    }
    let padding = count("pad_vocab_size_multiple", 8)?;
    let rows = count("vocab_size", 50277)?.div_ceil(padding).saturating_mul(padding);
    let Value::Object(translated) = json!({
        "model_type": "mamba2",
        "vocab_size": rows,
        "hidden_size": width,
        "num_hidden_layers": count("n_layer", 64)?,
        "num_heads": inner / head,
        "head_dim": head,
        "state_size": count("ssm_cfg.d_state", 128)?,
        "n_groups": count("ssm_cfg.ngroups", 1)?,
        "expand": expand,
        "conv_kernel": count("ssm_cfg.d_conv", 4)?,
        "use_bias": other("ssm_cfg.bias", json!(false)),
        "use_conv_bias": other("ssm_cfg.conv_bias", json!(true)),
        "tie_word_embeddings": other("tie_embeddings", json!(true)),
        "layer_norm_epsilon": 1e-5,
        // JSON has no infinity; nothing stands for it.
        "time_step_limit": other("ssm_cfg.dt_limit", json!([0.0, null])),
    }) else {
        bail!("no JSON object")
    };
    Ok(translated)
}
