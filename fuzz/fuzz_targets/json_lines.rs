//! LAMBADA and HellaSwag in JSON lines, and text in the same format.
#![no_main]

use libfuzzer_sys::fuzz_target;
use v5gate::data::corpora;
use v5gate::data::published::benchmarks::{hellaswag, lambada, ptb};
use v5gate_fuzz::{with_file, with_text};

fuzz_target!(|bytes: &[u8]| {
    with_text("items.jsonl", bytes, |file| {
        let _ = lambada(file);
        let _ = hellaswag(file);
        let _ = ptb(file);
    });
    let _ = with_file("corpus.jsonl", bytes, |path| corpora::read(path, None));
});
