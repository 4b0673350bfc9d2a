//! DailyDialog's and PersonaChat's files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use v5gate::data::published::dialogues::{dailydialog, personachat};
use v5gate_fuzz::with_text;

fuzz_target!(|bytes: &[u8]| {
    with_text("dialogues", bytes, |file| {
        let _ = dailydialog(file);
        let _ = personachat(file);
    });
});
