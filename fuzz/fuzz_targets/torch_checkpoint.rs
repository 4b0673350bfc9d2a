//! A checkpoint of PyTorch's, zipped or of before version 1.6, beside a configuration of the authors' Mamba-2.
#![no_main]

use libfuzzer_sys::fuzz_target;
use v5gate::train::load_model;
use v5gate_fuzz::{halves, with_folder};

fuzz_target!(|bytes: &[u8]| {
    let (config, tensors) = halves(bytes);
    let _ = with_folder(&[("config.json", config), ("pytorch_model.bin", tensors)], load_model);
    let _ = with_folder(&[("model.pth", tensors)], load_model);
});
