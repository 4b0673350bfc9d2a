//! A protocol in TOML.
#![no_main]

use libfuzzer_sys::fuzz_target;
use v5gate::protocol::Protocol;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = str::from_utf8(bytes) {
        if let Ok(protocol) = Protocol::parse("a protocol", text) {
            let _ = protocol.preprocessing();
            assert!(protocol.recipe.steps() > 0);
        }
    }
});
