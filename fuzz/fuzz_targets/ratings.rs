//! The key of a page of ratings, a byte 0, and a CSV of ratings.
#![no_main]

use libfuzzer_sys::fuzz_target;
use v5gate::evidence::{Key, Tally, read_ratings};
use v5gate_fuzz::halves;

fuzz_target!(|bytes: &[u8]| {
    let (key, csv) = halves(bytes);
    let Ok(key) = serde_json::from_slice::<Key>(key) else { return };
    let Ok(csv) = str::from_utf8(csv) else { return };
    if let Ok(ratings) = read_ratings(&key, &[("ratings.csv".to_owned(), csv.to_owned())]) {
        let _ = Tally::of(&key, &ratings);
    }
});
