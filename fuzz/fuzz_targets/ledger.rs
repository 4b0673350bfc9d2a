//! A ledger, the verdict on it and every report of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use v5gate::evidence::Ledger;
use v5gate::gate::judge;

fuzz_target!(|bytes: &[u8]| {
    let ledger = Ledger::from_bytes(bytes);
    let judgement = judge(&ledger);
    assert!(!judgement.findings.is_empty());
});
