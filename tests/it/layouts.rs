//! Checkpoints in the layouts in which they are published: the same weights give the same numbers to the bit.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use v5gate::models::{ConfigFile, KeyEffect, MAMBA_SSM};
use v5gate::train::load_model;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/layouts").join(name)
}

/// The files of a fixture with another one in the place of its tensors, or with another configuration.
fn copy(name: &str, change: impl FnOnce(&Path)) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    change(folder.path());
    folder
}

fn losses(folder: &Path) -> Vec<u64> {
    let model = load_model(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let tokens: Vec<u32> = (0..20).map(|i| (7 * i * i + 3 * i) % 50).collect();
    let mut state = model.new_state(1).unwrap();
    model.losses(&tokens[..19], &tokens[1..], &mut state).unwrap().into_iter().map(f64::to_bits).collect()
}

fn refusal(folder: &Path) -> String {
    load_model(folder).err().expect("a refusal").to_string()
}

#[test]
fn every_layout_gives_the_same_numbers_to_the_bit() {
    let layouts: [(&str, &[&str]); 3] = [
        ("gpt2", &["gpt2_bin", "gpt2_bin_sharded", "gpt2_bin_before_1.6"]),
        ("mamba2", &["mamba2_bin", "mamba2_mamba_ssm"]),
        ("rwkv6", &["rwkv6_pth"]),
    ];
    for (own, others) in layouts {
        let expected = losses(&fixture(own));
        assert!(expected.iter().all(|bits| f64::from_bits(*bits).is_finite()));
        for other in others {
            assert_eq!(losses(&fixture(other)), expected, "{other}");
        }
    }
}

/// As transformers chooses.
#[test]
fn safetensors_come_before_what_is_pickled() {
    let folder = copy("gpt2", |folder| fs::write(folder.join("pytorch_model.bin"), "no tensors").unwrap());
    assert_eq!(losses(folder.path()), losses(&fixture("gpt2")));
}

#[test]
fn a_folder_without_tensors_names_the_usual_file() {
    let folder = copy("gpt2", |folder| fs::remove_file(folder.join("model.safetensors")).unwrap());
    assert!(refusal(folder.path()).contains("model.safetensors"));
    let two = copy("rwkv6_pth", |folder| fs::write(folder.join("another.pth"), "").unwrap());
    assert!(refusal(two.path()).contains("2 .pth files"));
    let folder = tempfile::tempdir().unwrap();
    assert!(refusal(folder.path()).contains("model.safetensors"));
}

#[test]
fn tensors_left_over_are_named_in_every_layout() {
    let config = json!({"model_type": "gpt2", "vocab_size": 56, "n_positions": 24, "n_embd": 8, "n_layer": 1, "n_head": 2});
    for name in ["gpt2_bin", "gpt2_bin_sharded", "gpt2_bin_before_1.6"] {
        let write = |folder: &Path| fs::write(folder.join("config.json"), config.to_string()).unwrap();
        assert!(refusal(copy(name, write).path()).contains("h.1."), "{name}");
    }
}

fn mamba_ssm(key: &str, value: Option<Value>) -> Value {
    let text = fs::read_to_string(fixture("mamba2_mamba_ssm").join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    let (keys, key) = match key.strip_prefix("ssm_cfg.") {
        Some(key) => (config["ssm_cfg"].as_object_mut().unwrap(), key),
        None => (config.as_object_mut().unwrap(), key),
    };
    match value {
        Some(value) => keys.insert(key.to_owned(), value),
        None => keys.remove(key),
    };
    config
}

/// What a key of mamba-ssm says is what is computed, or it refuses.
#[test]
fn every_key_of_mamba_ssm_is_obeyed_or_refused() {
    let parsed = |config: &Value| ConfigFile::parse(&config.to_string()).map(|file| file.config);
    let with = |key: &str, value: Value| parsed(&mamba_ssm(key, Some(value)));
    let own = parsed(&mamba_ssm("none", None)).unwrap();
    for (key, effect) in MAMBA_SSM {
        match effect {
            KeyEffect::Nothing(_) => {
                for value in [json!(null), json!(7), json!("x"), json!([1]), json!({"a": 1})] {
                    assert_eq!(with(key, value).unwrap(), own, "{key}");
                }
            }
            KeyEffect::Only(values) => {
                for value in *values {
                    assert_eq!(with(key, serde_json::from_str(value).unwrap()).unwrap(), own, "{key}");
                }
                let error = with(key, json!("other")).unwrap_err().to_string();
                assert!(error.contains(key), "{error}");
            }
            _ => assert!(with(key, json!({"a": 1})).is_err(), "{key}"),
        }
    }
    for key in ["d_ssm_cfg", "ssm_cfg.d_inner", "ssm_cfg.layers"] {
        let error = with(key, json!(1)).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn sizes_of_mamba_ssm_are_believed_as_far_as_the_file_goes() {
    for (key, effect) in MAMBA_SSM {
        if !matches!(effect, KeyEffect::Extent | KeyEffect::Blocks) {
            continue;
        }
        for size in [json!(0), json!(1_000_000_000_000u64), json!(u64::MAX), json!(1u64 << 33)] {
            let config = mamba_ssm(key, Some(size)).to_string();
            let folder =
                copy("mamba2_mamba_ssm", |folder| fs::write(folder.join("config.json"), config).unwrap());
            let error = refusal(folder.path());
            assert!(error.contains(key), "{key}: {error}");
        }
    }
}

#[test]
fn other_layouts_are_refused_by_name() {
    let config =
        |config: &Value| ConfigFile::parse(&config.to_string()).err().expect("a refusal").to_string();
    for layer in [None, Some(json!("Mamba1"))] {
        assert!(config(&mamba_ssm("ssm_cfg.layer", layer)).contains("Mamba-1"));
    }
    assert!(config(&mamba_ssm("ssm_cfg.layer", Some(json!("Mamba3")))).contains("Mamba3"));
    let fla = json!({
        "model_type": "rwkv6", "attn_mode": "chunk", "hidden_size": 8, "hidden_ratio": 3.5, "num_heads": 2,
        "num_hidden_layers": 2, "proj_low_rank_dim": 32, "gate_low_rank_dim": 64, "vocab_size": 56,
    });
    assert!(config(&fla).contains("flash-linear-attention"));
    let port = json!({
        "architectures": ["Rwkv6ForCausalLM"], "auto_map": {"AutoConfig": "configuration_rwkv6.Rwkv6Config"},
        "model_type": "rwkv6", "vocab_size": 56, "hidden_size": 8, "num_hidden_layers": 2,
    });
    assert!(config(&port).contains("RWKV's port"));

    let renamed = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        copy("rwkv6_pth", |folder| {
            let path = folder.join("RWKV-x060-tiny.pth");
            let bytes = fs::read(&path).unwrap();
            let mut text: Vec<char> = bytes.iter().map(|byte| char::from(*byte)).collect();
            let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
            let places: Vec<usize> =
                (0..text.len() - from.len()).filter(|i| text[*i..].starts_with(&from)).collect();
            places.into_iter().for_each(|i| text[i..i + to.len()].copy_from_slice(&to));
            fs::write(&path, text.into_iter().map(|c| c as u8).collect::<Vec<u8>>()).unwrap();
        })
    };
    for (from, to, said) in [
        ("blocks.1.att.time_maa_k", "blocks.1.att.time_mix_k", "RWKV-4 or RWKV-5"),
        ("blocks.1.ffn.time_maa_k", "rwkv.blocks.0.attention", "RWKV's port"),
        ("blocks.1.att.receptance.weight", "model.layers.1.attn.x_proj.x.w", "flash-linear-attention"),
        ("blocks.1.att.receptance.weight", "backbone.l.mixer.x_proj.weight", "Mamba-1"),
        ("blocks.1.att.ln_x.weight", "blocks.1.att.lx_x.weight", "ln_x"),
    ] {
        let error = refusal(renamed(from, to).path());
        assert!(error.contains(said), "{to}: {error}");
        assert!(!error.contains("config.json"), "there is none: {error}");
    }
}

/// A file from before torch 1.6 with these instructions in the place of its tensors.
fn hostile(pickle: &[u8]) -> TempDir {
    copy("gpt2_bin_before_1.6", |folder| {
        let path = folder.join("pytorch_model.bin");
        let mut bytes = fs::read(&path).unwrap();
        let ends: Vec<usize> =
            (0..bytes.len() - 1).filter(|i| bytes[*i..].starts_with(b".\x80\x02")).collect();
        bytes.truncate(ends[2] + 1);
        bytes.extend_from_slice(pickle);
        fs::write(&path, bytes).unwrap();
    })
}

#[test]
fn pickles_take_no_more_memory_than_their_length() {
    // A tuple of twice the one before, sixty times: 2^60 objects for who copies them.
    let mut doubled = b"\x80\x02K\x01q\0".to_vec();
    doubled.extend(b"h\0h\0\x86q\0".repeat(60));
    // A million tuples inside one another.
    let mut nested = b"\x80\x02K\x01".to_vec();
    nested.extend(b"\x85".repeat(1_000_000));
    let text_of_four_gigabytes = b"\x80\x02X\xff\xff\xff\xff".to_vec();
    for pickle in [doubled, nested, text_of_four_gigabytes] {
        for end in [&b".\x80\x02]."[..], b""] {
            let error = refusal(hostile(&[&pickle, end].concat()).path());
            assert!(error.contains("pytorch_model.bin") && error.contains("torch.save"), "{error}");
        }
    }
}

#[test]
fn nothing_that_a_pickle_names_is_run() {
    let pickle = b"\x80\x02}X\x03\0\0\0wtecposix\nsystem\nX\x06\0\0\0exit 3\x85Rs.\x80\x02].";
    let error = refusal(hostile(pickle).path());
    assert!(error.contains("posix.system") && error.contains("not run"), "{error}");
}

/// A tensor "wte.weight" over 4 stored bytes: offset, dimensions and strides.
fn described(offset: u32, shape: &[u32], strides: &[u32]) -> Vec<u8> {
    let number = |n: u32| [&b"\x8a\x05"[..], &n.to_le_bytes(), b"\0"].concat();
    let tuple = |numbers: &[u32]| {
        let items: Vec<u8> = numbers.iter().flat_map(|n| number(*n)).collect();
        [&b"("[..], &items, b"t"].concat()
    };
    let storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01Nt\x51";
    [
        &b"\x80\x02}X\x0a\0\0\0wte.weightctorch._utils\n_rebuild_tensor_v2\n("[..],
        storage,
        &number(offset),
        &tuple(shape),
        &tuple(strides),
        b"\x89}tRs.\x80\x02]X\x01\0\0\x000a.\x01\0\0\0\0\0\0\0\0\0\0\0",
    ]
    .concat()
}

#[test]
fn shapes_are_believed_as_far_as_the_storage_goes() {
    // One element is there, and no more is believed.
    let error = refusal(hostile(&described(0, &[1, 1], &[1, 1])).path());
    assert!(error.contains("no tensor in the file has an extent above 1"), "{error}");
    let cases: [(u32, &[u32], &[u32]); 7] = [
        (1, &[1], &[1]),
        (0, &[2], &[1]),
        (0, &[1 << 20, 1 << 20], &[0, 0]),
        (0, &[u32::MAX, u32::MAX, u32::MAX], &[0, 0, 0]),
        (0, &[2], &[u32::MAX]),
        (u32::MAX, &[1], &[1]),
        (0, &[1; 9], &[1; 9]),
    ];
    for (offset, shape, strides) in cases {
        let error = refusal(hostile(&described(offset, shape, strides)).path());
        assert!(error.contains("wte.weight"), "{error}");
        assert!(
            ["in steps of", "dimensions", "more than twice"].iter().any(|w| error.contains(w)),
            "{error}"
        );
    }
    // No elements, and so no size.
    let error = refusal(hostile(&described(0, &[0, u32::MAX], &[1, 1])).path());
    assert!(error.contains("no tensor in the file has an extent above 0"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes changed, cut out or put twice: a model or a refusal.
    #[test]
    fn damaged_files_are_no_panic(
        which in 0..3usize,
        at in 0.0..1.0f64,
        length in 1..64usize,
        kind in 0..3u8,
        byte in any::<u8>(),
    ) {
        let (name, file) = [
            ("gpt2_bin_before_1.6", "pytorch_model.bin"),
            ("mamba2_mamba_ssm", "pytorch_model.bin"),
            ("rwkv6_pth", "RWKV-x060-tiny.pth"),
        ][which];
        let folder = copy(name, |folder| {
            let path = folder.join(file);
            let mut bytes = fs::read(&path).unwrap();
            let at = ((bytes.len() - length) as f64 * at) as usize;
            match kind {
                0 => bytes[at] = byte,
                1 => drop(bytes.drain(at..at + length)),
                _ => bytes.truncate(at),
            }
            fs::write(&path, bytes).unwrap();
        });
        let _ = load_model(folder.path());
    }
}
