//! Checkpoints are read exactly or refused: every key, every tensor, every size.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use v5gate::data::tokenizer::Tokenizer;
use v5gate::models::{COMMON, Config, ConfigFile, KeyEffect, MODELS, State};
use v5gate::train::{load_model, save_model};

fn small_gpt2() -> Value {
    json!({
        "model_type": "gpt2", "vocab_size": 61, "n_positions": 24, "n_embd": 12, "n_layer": 2, "n_head": 3,
    })
}

fn small_mamba2() -> Value {
    json!({
        "model_type": "mamba2", "vocab_size": 61, "hidden_size": 12, "num_hidden_layers": 2, "num_heads": 4,
        "head_dim": 6, "state_size": 5, "n_groups": 2, "expand": 2, "conv_kernel": 3,
    })
}

fn with(config: &Value, key: &str, value: Value) -> Value {
    let mut config = config.clone();
    config[key] = value;
    config
}

fn parsed(config: &Value) -> Result<Config, String> {
    ConfigFile::parse(&config.to_string()).map(|file| file.config).map_err(|e| e.to_string())
}

/// A checkpoint of that configuration with weights drawn from a seed, and with other tensors beside them.
fn checkpoint(config: &Value, change: impl FnOnce(&mut HashMap<String, Tensor>)) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let model = parsed(config).unwrap().init(5).unwrap();
    let params = model.params();
    let named = (0..params.entries().len()).map(|i| {
        let t = params.view(i).unwrap().contiguous().unwrap();
        (params.entries()[i].name.clone(), t)
    });
    let mut tensors: HashMap<String, Tensor> = named.collect();
    change(&mut tensors);
    candle_core::safetensors::save(&tensors, folder.path().join("model.safetensors")).unwrap();
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    folder
}

fn refusal(folder: &Path) -> String {
    load_model(folder).err().expect("a refusal").to_string()
}

/// Losses of a few tokens.
fn losses(folder: &Path) -> Vec<f64> {
    let model = load_model(folder).unwrap();
    let tokens: Vec<u32> = (0..20).map(|i| (7 * i * i + 3 * i) % 61).collect();
    let mut state: State = model.new_state(1).unwrap();
    model.losses(&tokens[..19], &tokens[1..], &mut state).unwrap()
}

fn mean(losses: &[f64]) -> f64 {
    losses.iter().sum::<f64>() / losses.len() as f64
}

#[test]
fn unknown_keys_are_refused_by_name() {
    for config in [small_gpt2(), small_mamba2()] {
        for key in ["rope_theta", "sliding_window", "n_embdd", "attn_scale", "Vocab_size"] {
            let error = parsed(&with(&config, key, json!(1))).unwrap_err();
            assert!(error.contains(key), "{error}");
        }
    }
}

/// Whatever the name, it is in a table or it refuses.
fn key_name() -> impl Strategy<Value = String> {
    "[a-zA-Z_][a-zA-Z0-9_]{0,24}"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_other_key_is_refused(key in key_name(), value in 0..3) {
        for config in [small_gpt2(), small_mamba2()] {
            let name = config["model_type"].as_str().unwrap();
            let table = Config::keys(name).unwrap();
            prop_assume!(!table.iter().chain(COMMON).any(|(known, _)| *known == key));
            let error = parsed(&with(&config, &key, json!(value))).unwrap_err();
            prop_assert!(error.contains(&key), "{}", error);
        }
    }

    #[test]
    fn no_text_of_a_configuration_is_a_panic(text in "[\\[\\]{}\":, a-z0-9.\\-]{0,200}") {
        let _ = ConfigFile::parse(&text);
    }
}

/// What a key says is what is computed: keys of the table are obeyed, change nothing, or refuse.
#[test]
fn every_key_of_the_tables_is_obeyed_or_refused() {
    for (name, config) in [("gpt2", small_gpt2()), ("mamba2", small_mamba2())] {
        for (key, effect) in Config::keys(name).unwrap().iter().chain(COMMON) {
            let own = parsed(&config).unwrap();
            match effect {
                KeyEffect::Nothing(why) => {
                    assert!(!why.is_empty());
                    for value in [json!(null), json!(7), json!("x"), json!(true), json!([1]), json!({"a": 1})]
                    {
                        assert_eq!(parsed(&with(&config, key, value)).unwrap(), own, "{key}");
                    }
                }
                KeyEffect::Only(values) | KeyEffect::OnlyInTransformers(values) => {
                    for value in *values {
                        let value: Value = serde_json::from_str(value).unwrap();
                        assert_eq!(parsed(&with(&config, key, value)).unwrap(), own, "{key}");
                    }
                    let error = parsed(&with(&config, key, json!("other"))).unwrap_err();
                    assert!(error.contains(key), "{error}");
                }
                KeyEffect::Refused(_) => {
                    assert!(parsed(&with(&config, key, json!({}))).unwrap_err().contains(key));
                }
                KeyEffect::Alias(of) => {
                    let twice = with(&with(&config, of, json!(6)), key, json!(6));
                    let error = parsed(&twice).unwrap_err();
                    assert!(error.contains(key) && error.contains(of), "{error}");
                    let value = config.get(of).cloned().unwrap();
                    let mut renamed: Map<String, Value> = config.as_object().unwrap().clone();
                    renamed.remove(*of);
                    renamed.insert((*key).to_owned(), value);
                    assert_eq!(parsed(&Value::Object(renamed)).unwrap(), own, "{key}");
                }
                KeyEffect::Foreign(..) => {
                    // Two groups here: what the other program computes with them is not known.
                    let error = parsed(&with(&config, key, json!(1e-5))).unwrap_err();
                    assert!(error.contains(key) && error.contains("n_groups"), "{error}");
                }
                KeyEffect::Extent | KeyEffect::Blocks | KeyEffect::Setting => {
                    let error = parsed(&with(&config, key, json!(["wrong"]))).unwrap_err();
                    assert!(error.contains(key), "{key}: {error}");
                }
            }
        }
    }
}

/// Every key of transformers 5.24's configurations.
#[test]
fn the_keys_of_transformers_are_known() {
    let gpt2 = "vocab_size n_positions n_embd n_layer n_head n_inner activation_function resid_pdrop embd_pdrop \
        attn_pdrop layer_norm_epsilon initializer_range summary_type summary_use_proj summary_activation \
        summary_proj_to_labels summary_first_dropout scale_attn_weights use_cache bos_token_id eos_token_id \
        pad_token_id scale_attn_by_inverse_layer_idx reorder_and_upcast_attn add_cross_attention \
        tie_word_embeddings hidden_size max_position_embeddings num_attention_heads num_hidden_layers";
    let mamba2 = "num_heads head_dim vocab_size hidden_size state_size num_hidden_layers layer_norm_epsilon \
        pad_token_id bos_token_id eos_token_id expand conv_kernel n_groups use_bias use_conv_bias hidden_act \
        initializer_range residual_in_fp32 time_step_rank time_step_min time_step_max time_step_floor \
        time_step_limit rescale_prenorm_residual use_cache chunk_size tie_word_embeddings";
    let all = "transformers_version architectures output_hidden_states return_dict dtype chunk_size_feed_forward \
        is_encoder_decoder id2label label2id problem_type";
    for (model, keys) in [("gpt2", gpt2), ("mamba2", mamba2)] {
        let known: Vec<&str> =
            Config::keys(model).unwrap().iter().chain(COMMON).map(|(key, _)| *key).collect();
        for key in keys.split_whitespace().chain(all.split_whitespace()) {
            assert!(known.contains(&key), "{model}: {key}");
        }
    }
}

#[test]
fn switches_that_are_read_change_the_losses() {
    let base = checkpoint(&small_gpt2(), |_| ());
    let own = losses(base.path());
    let read = |config: Value| {
        fs::write(base.path().join("config.json"), config.to_string()).unwrap();
        losses(base.path())
    };
    let gpt2 = small_gpt2();
    assert_eq!(read(with(&gpt2, "activation_function", json!("gelu_pytorch_tanh"))), own);
    assert_eq!(read(with(&gpt2, "scale_attn_weights", json!(true))), own);
    let mut seen = vec![mean(&own)];
    let mut differs = |config: Value| {
        let now = mean(&read(config));
        assert!(seen.iter().all(|earlier| earlier != &now), "{now} in {seen:?}");
        seen.push(now);
        now
    };
    differs(with(&gpt2, "scale_attn_weights", json!(false)));
    differs(with(&gpt2, "scale_attn_by_inverse_layer_idx", json!(true)));
    differs(with(&gpt2, "activation_function", json!("relu")));
    differs(with(&gpt2, "activation_function", json!("gelu")));
    let silu = differs(with(&gpt2, "activation_function", json!("silu")));
    assert_eq!(mean(&read(with(&gpt2, "activation_function", json!("swish")))), silu);
    for name in ["tanh", "gelu_fast", "quick_gelu", "gelu_10", "mish"] {
        let error = parsed(&with(&gpt2, "activation_function", json!(name))).unwrap_err();
        assert!(error.contains("activation_function") && error.contains(name), "{error}");
    }
}

#[test]
fn tensors_left_over_are_named() {
    for (config, more) in
        [(small_gpt2(), "h.2.ln_1.weight"), (small_mamba2(), "backbone.layers.2.norm.weight")]
    {
        let extra = Tensor::zeros(12, DType::F32, &Device::Cpu).unwrap();
        let folder = checkpoint(&config, |all| {
            all.insert(more.to_owned(), extra);
        });
        let error = refusal(folder.path());
        assert!(error.contains(more) && error.contains("model.safetensors"), "{error}");
    }
}

/// Older GPT-2 checkpoints carry the causal mask: for blocks that there are.
#[test]
fn masks_are_no_weights() {
    let mask = || Tensor::ones((1, 1, 24, 24), DType::U8, &Device::Cpu).unwrap();
    let own = losses(checkpoint(&small_gpt2(), |_| ()).path());
    let masked = checkpoint(&small_gpt2(), |all| {
        all.insert("h.0.attn.bias".to_owned(), mask());
        all.insert("h.1.attn.bias".to_owned(), mask());
    });
    assert_eq!(losses(masked.path()), own);
    let beyond = checkpoint(&small_gpt2(), |all| {
        all.insert("h.2.attn.bias".to_owned(), mask());
    });
    assert!(refusal(beyond.path()).contains("h.2.attn.bias"));
}

#[test]
fn a_tied_head_may_lie_there_twice_but_not_differ() {
    let mamba2 = with(&small_mamba2(), "tie_word_embeddings", json!(true));
    for (config, embedding) in [(small_gpt2(), "wte.weight"), (mamba2, "backbone.embeddings.weight")] {
        let own = losses(checkpoint(&config, |_| ()).path());
        let copied = checkpoint(&config, |all| {
            all.insert("lm_head.weight".to_owned(), all[embedding].clone());
        });
        assert_eq!(losses(copied.path()), own);
        let other = checkpoint(&config, |all| {
            all.insert("lm_head.weight".to_owned(), (&all[embedding] * 1.5).unwrap());
        });
        let error = refusal(other.path());
        assert!(error.contains("lm_head.weight") && error.contains("tie_word_embeddings"), "{error}");
        // The same tensors with a configuration that says so.
        let untied = with(&config, "tie_word_embeddings", json!(false));
        fs::write(other.path().join("config.json"), untied.to_string()).unwrap();
        assert_ne!(losses(other.path()), own);
    }
}

#[test]
fn types_that_cannot_be_read_are_named() {
    let folder = checkpoint(&small_gpt2(), |all| {
        let t = all["h.1.mlp.c_fc.weight"].to_dtype(DType::U8).unwrap();
        all.insert("h.1.mlp.c_fc.weight".to_owned(), t);
    });
    let error = refusal(folder.path());
    assert!(error.contains("h.1.mlp.c_fc.weight") && error.contains("has type U8, expected"), "{error}");
}

#[test]
fn sizes_are_believed_as_far_as_the_file_goes() {
    for config in [small_gpt2(), small_mamba2()] {
        let name = config["model_type"].as_str().unwrap().to_owned();
        let folder = checkpoint(&config, |_| ());
        for (key, effect) in Config::keys(&name).unwrap() {
            if !matches!(effect, KeyEffect::Extent | KeyEffect::Blocks) {
                continue;
            }
            for size in [json!(0), json!(1_000_000_000_000u64), json!(u64::MAX), json!(1u64 << 33)] {
                let text = with(&config, key, size).to_string();
                fs::write(folder.path().join("config.json"), text).unwrap();
                let error = load_model(folder.path()).err();
                // No blocks and no such tensors: those that there are have no place.
                assert!(error.is_some(), "{key}");
            }
            let text = with(&config, key, json!(1_000_000_000_000u64)).to_string();
            fs::write(folder.path().join("config.json"), text).unwrap();
            assert!(refusal(folder.path()).contains(key), "{key}");
        }
    }
}

/// Numbers outside the vocabulary are what transformers supposes where these keys are absent.
#[test]
fn saved_configurations_say_how_a_text_ends() {
    let tokenizer = Tokenizer::train(&["a few words, and a few more"], 260).unwrap();
    for spec in MODELS {
        let config = (spec.config)(v5gate::scale::find("smoke").unwrap(), 260, 64);
        let folder = tempfile::tempdir().unwrap();
        let model = config.init(1).unwrap();
        save_model(folder.path(), &config, model.params(), &tokenizer).unwrap();
        let saved: Value =
            serde_json::from_str(&fs::read_to_string(folder.path().join("config.json")).unwrap()).unwrap();
        let ends = saved.get("eos_token_id").and_then(Value::as_u64);
        let expected = matches!(spec.name, "gpt2" | "mamba2").then_some(u64::from(tokenizer.eot()));
        assert_eq!(ends, expected, "{}", spec.name);
        assert_eq!(load_model(folder.path()).unwrap().config(), config);
        if spec.name == "mamba2" {
            assert_eq!(saved["time_step_limit"], json!([0.0, {"__float__": "Infinity"}]));
        }
    }
}

/// The inputs that came out wrong, with the values of transformers in float64; where they are at hand.
#[test]
fn known_faults_are_right_or_refused() {
    let Some(folder) = std::env::var_os("V5_FAULTS").map(PathBuf::from) else {
        eprintln!("V5_FAULTS names no folder: nothing compared");
        return;
    };
    let nll = |checkpoint: &str, ids: &str| {
        let ids: Value = serde_json::from_str(&fs::read_to_string(folder.join(ids)).unwrap()).unwrap();
        let ids = ids.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect::<Vec<_>>();
        let model = load_model(&folder.join(checkpoint)).unwrap();
        let mut state = model.new_state(1).unwrap();
        model.losses(&ids[..ids.len() - 1], &ids[1..], &mut state).unwrap()
    };
    let near = |name: &str, got: f64, want: f64| assert!((got - want).abs() < 1e-5, "{name}: {got}");
    near("untied", mean(&nll("ckpt_untied/ckpt", "ckpt_untied/ids.json")), 5.020494);
    near("noscale", mean(&nll("ckpt_noscale/ckpt", "ckpt_noscale/ids.json")), 4.710380);
    near("fla", mean(&nll("fla_dt_limit", "fla_dt_limit/ids.json")), 7.74674);
    let text = fs::read_to_string(folder.join("mamba2_groups/expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let groups = nll("mamba2_groups", "mamba2_groups/ids.json");
    for (got, want) in groups.iter().zip(expected["nll"].as_array().unwrap()) {
        assert!((got - want.as_f64().unwrap()).abs() < 1e-4, "{got} {want}");
    }
    assert!(refusal(&folder.join("ckpt_fewlayers/ckpt")).contains("h.2."));
    assert!(refusal(&folder.join("ckpt_f8/ckpt")).contains("has type F8_E4M3, expected"));
}

/// A small tokenizer as its file says, with other values in it.
fn changed_tokenizer(change: impl FnOnce(&mut Value)) -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    small_tokenizer().save(&path).unwrap();
    let mut file: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut file);
    fs::write(&path, file.to_string()).unwrap();
    Tokenizer::from_dir(folder.path()).unwrap()
}

fn small_tokenizer() -> Tokenizer {
    Tokenizer::train(&["one word and another word, and one more word and another"], 270).unwrap()
}

/// A change to a tokenizer's file.
type Edit<'a> = &'a dyn Fn(&mut Value);

/// transformers resets the first two at every call; the third is for training.
#[test]
fn saved_truncation_padding_and_dropout_have_no_effect() {
    let own = small_tokenizer();
    let text = "and another word and one word and another word, and one more word";
    let truncation = json!({"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0});
    let padding = json!({
        "strategy": {"Fixed": 400}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
        "pad_type_id": 0, "pad_token": "!",
    });
    let cases: [(&str, Edit<'_>); 3] = [
        ("truncation", &|file| file["truncation"] = truncation.clone()),
        ("padding", &|file| file["padding"] = padding.clone()),
        ("dropout", &|file| file["model"]["dropout"] = json!(0.9)),
    ];
    for (name, change) in cases {
        let changed = changed_tokenizer(change);
        assert_eq!(changed.encode(text).unwrap(), own.encode(text).unwrap(), "{name}");
        assert_eq!(changed.digest(), own.digest(), "{name}");
    }
}

#[test]
fn the_end_of_a_text_is_one_token_wherever_the_vocabulary_has_it() {
    let changed = changed_tokenizer(|file| file["added_tokens"] = json!([]));
    let ids = changed.encode("one<|endoftext|>word").unwrap();
    assert_eq!(ids.iter().filter(|id| **id == changed.eot()).count(), 1, "{ids:?}");
    assert_eq!(changed.digest(), small_tokenizer().digest());
}

#[test]
fn a_byte_order_mark_is_no_text() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("x.txt", "some words\n"), ("x.jsonl", "{\"text\": \"some words\\n\"}\n")] {
        let path = folder.path().join(name);
        fs::write(&path, format!("\u{feff}{text}")).unwrap();
        let corpus = v5gate::data::corpora::read(&path, None).unwrap();
        assert_eq!(corpus.documents, ["some words\n"], "{name}");
    }
}
