//! `tokenizer.json`, and what it makes of a text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use v5gate::data::tokenizer::Tokenizer;
use v5gate_fuzz::with_file;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(tokenizer) = with_file("tokenizer.json", bytes, Tokenizer::from_file) {
        if let Ok(ids) = tokenizer.encode("My favorite color is teal.<|endoftext|> Nothing else.") {
            let _ = tokenizer.decode(&ids);
        }
    }
});
