//! `config.json` alone: a model's configuration.
#![no_main]

use libfuzzer_sys::fuzz_target;
use v5gate::models::ConfigFile;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = str::from_utf8(bytes) {
        let _ = ConfigFile::parse(text);
    }
});
