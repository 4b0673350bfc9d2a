//! A checkpoint of transformers' layout: `config.json`, a byte 0, `model.safetensors`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use v5gate::train::load_model;
use v5gate_fuzz::{halves, with_folder};

fuzz_target!(|bytes: &[u8]| {
    let (config, tensors) = halves(bytes);
    let _ = with_folder(&[("config.json", config), ("model.safetensors", tensors)], load_model);
});
