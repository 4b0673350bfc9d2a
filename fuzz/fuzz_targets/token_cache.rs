//! A file of token ids, and all that can be read from it: its header, a byte 0, and what follows the first page.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use v5gate::data::cache::TokenFile;
use v5gate_fuzz::{halves, sha256, with_file};

fuzz_target!(|bytes: &[u8]| {
    let (header, payload) = halves(bytes);
    let file = match serde_json::from_slice::<Map<String, Value>>(header) {
        // With the digest that belongs to it, or nothing but the digest would ever be tried.
        Ok(mut header) => {
            header.insert("payload".to_owned(), sha256(payload).into());
            let json = Value::from(header).to_string();
            let mut file =
                [b"V5TOKENS", &1_u32.to_le_bytes()[..], &(json.len() as u32).to_le_bytes(), json.as_bytes()]
                    .concat();
            file.resize(file.len().next_multiple_of(4096), 0);
            [file, payload.to_vec()].concat()
        }
        Err(_) => bytes.to_vec(),
    };
    if let Ok(file) = with_file("tokens.bin", &file, TokenFile::open) {
        let documents = (0..file.documents()).map(|i| file.document(i).len()).sum::<usize>();
        assert!(documents <= file.len(), "documents are parts of it");
        assert_eq!(file.tokens(0..file.len()).count(), file.len());
    }
});
