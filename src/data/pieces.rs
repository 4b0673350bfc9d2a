//! Long texts in pieces that are encoded by themselves.
//!
//! Invariant: the ids of the pieces one after another are those of the whole text.

use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::{AddedToken, Tokenizer as Inner};

/// Bytes of a text that are encoded at a time where it may be cut: the library takes some hundred bytes of memory for
/// one of text (tokenizers 0.21 and 0.23).
pub(super) const PIECE: usize = 1 << 20;

/// Whether GPT-2's rule splits a text and nothing else is done to it: of its words one ends wherever white space follows
/// what is none, and what the rule looks ahead for is white space too.
pub(super) fn is_separable(inner: &Inner) -> bool {
    let by_words = match inner.get_pre_tokenizer() {
        Some(PreTokenizerWrapper::ByteLevel(rule)) => rule.use_regex && !rule.add_prefix_space,
        _ => false,
    };
    let plain = |token: &AddedToken| {
        let reaches = token.lstrip || token.rstrip || token.single_word;
        !reaches && !token.content.contains(char::is_whitespace)
    };
    by_words && inner.get_normalizer().is_none() && inner.get_added_tokens_decoder().values().all(plain)
}

/// A text in pieces of that many bytes and what is left of the last word in each.
pub(super) fn pieces(text: &str, size: usize) -> Vec<&str> {
    let (mut rest, mut all) = (text, Vec::new());
    while rest.len() > size {
        let from = (0..=size).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(0);
        let mut before = rest[..from].chars().next_back();
        let begins = |(_, c): &(usize, char)| {
            let begins = c.is_ascii_whitespace() && before.is_some_and(|before| !before.is_whitespace());
            before = Some(*c);
            begins
        };
        let Some((at, _)) = rest[from..].char_indices().find(begins) else { break };
        let (piece, after) = rest.split_at(from + at);
        all.push(piece);
        rest = after;
    }
    all.push(rest);
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokenizers::models::bpe::BPE;
    use tokenizers::normalizers::unicode::NFC;
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _};

    use super::*;
    use crate::data::tokenizer::Tokenizer;

    /// The words that merges stay within.
    fn split(text: &str) -> Vec<String> {
        let mut whole = PreTokenizedString::from(text);
        ByteLevel::new(false, true, true).pre_tokenize(&mut whole).unwrap();
        let words = whole.get_splits(OffsetReferential::Original, OffsetType::Byte);
        words.into_iter().map(|(word, ..)| word.to_owned()).collect()
    }

    proptest! {
        /// Whatever white space there is, also such as only Unicode knows.
        #[test]
        fn pieces_have_the_words_of_the_whole(
            words in prop::collection::vec(
                "[a-zA-Z0-9.,'\u{e9}\u{4e1c}]{1,6}[ \n\t\u{a0}\u{2003}\u{85}\u{200b}]{0,3}|<\\|endoftext\\|>",
                1..60,
            ),
            size in 1_usize..50,
        ) {
            let text = words.concat();
            let all = pieces(&text, size);
            prop_assert_eq!(all.concat(), text.as_str());
            let apart: Vec<String> = all.iter().flat_map(|piece| split(piece)).collect();
            prop_assert_eq!(apart, split(&text));
        }
    }

    #[test]
    fn a_long_text_has_the_ids_that_it_has_in_one() {
        let tokenizer = Tokenizer::train(&["a few words, and a few more"], 260).unwrap();
        let text = "a few words,  and \n\n more\n".repeat(PIECE / 8);
        assert!(pieces(&text, PIECE).len() > 2);
        // Nothing stands around a text here, and this one is not cut.
        let whole = tokenizer.encode_with_special_tokens(&text).unwrap();
        assert_eq!(tokenizer.encode(&text).unwrap(), whole);
    }

    #[test]
    fn a_text_whose_tokens_may_reach_over_white_space_is_not_cut() {
        let of = |change: &dyn Fn(&mut Inner)| {
            let mut inner = Inner::new(BPE::default());
            inner.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
            change(&mut inner);
            is_separable(&inner)
        };
        assert!(of(&|_| ()));
        assert!(!of(&|inner| {
            inner.with_pre_tokenizer(Some(ByteLevel::new(true, true, true)));
        }));
        assert!(!of(&|inner| {
            inner.with_pre_tokenizer(Some(ByteLevel::new(false, true, false)));
        }));
        assert!(!of(&|inner| {
            inner.with_normalizer(Some(NFC)).unwrap();
        }));
        let added = |token: AddedToken| {
            of(&|inner| {
                inner.add_tokens([token.clone()]).unwrap();
            })
        };
        assert!(added(AddedToken::from("<x>", false)));
        assert!(!added(AddedToken::from("<x>", false).rstrip(true)));
        assert!(!added(AddedToken::from("two words", false)));
    }
}
