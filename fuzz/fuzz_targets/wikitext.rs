//! WikiText's pages, and text that is one document a line or a paragraph.
#![no_main]

use libfuzzer_sys::fuzz_target;
use v5gate::data::corpora;
use v5gate::data::published::wikitext::pages;
use v5gate_fuzz::{with_file, with_text};

fuzz_target!(|bytes: &[u8]| {
    with_text("wiki.test.raw", bytes, |file| {
        let _ = pages(file);
    });
    let _ = with_file("corpus.txt", bytes, |path| corpora::read(path, None));
});
