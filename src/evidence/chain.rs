//! What holds the lines of a ledger together: each carries the first 64 bits of the SHA-256 of the link before it and of
//! its own digest, as a last field `"chain"`.
//!
//! It shows what was changed by hand or by accident, and it makes the end of the file stand for all of it; it is no
//! secret, so whoever writes a whole ledger anew can link it anew. Against that stand audits of the runs (ruling R23)
//! and an attestation of the file.

use sha2::{Digest, Sha256};

/// Before the link, which is 16 hexadecimal digits, and after it.
const BEFORE: &str = ",\"chain\":\"";
const AFTER: &str = "\"}";
const DIGITS: usize = 16;

/// What a line says of its place.
pub(super) struct Link {
    /// Digest of the line without its link.
    digest: [u8; 32],
    /// The link that it carries.
    stated: Option<u64>,
}

impl Link {
    /// The link of a line, whose text without it goes into `body`.
    pub fn of(text: &[u8], body: &mut Vec<u8>) -> Self {
        body.clear();
        let stated = split(text);
        match stated {
            Some((rest, _)) => {
                body.extend_from_slice(rest);
                body.push(b'}');
            }
            None => body.extend_from_slice(text),
        }
        Self { digest: Sha256::digest(&body).into(), stated: stated.map(|(_, link)| link) }
    }
}

impl Link {
    /// What is wrong with a link, in words.
    pub fn beside(&self, expected: u64) -> String {
        match self.stated {
            None => format!("expected the link {expected:016x} to the line before, got none"),
            Some(stated) => {
                format!("expected the link {expected:016x} to the line before, got {stated:016x}")
            }
        }
    }
}

/// What stands before a link, and the link.
fn split(text: &[u8]) -> Option<(&[u8], u64)> {
    let (rest, digits) = text.strip_suffix(AFTER.as_bytes())?.split_last_chunk::<DIGITS>()?;
    let rest = rest.strip_suffix(BEFORE.as_bytes())?;
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.as_bytes().iter().all(is_digit))?;
    Some((rest, u64::from_str_radix(digits, 16).ok()?))
}

/// The chain up to a line; the one of no line is zero.
#[derive(Default)]
pub(super) struct Chain(u64);

impl Chain {
    fn next(&self, digest: [u8; 32]) -> u64 {
        let hash = Sha256::new().chain_update(self.0.to_be_bytes()).chain_update(digest).finalize();
        hash.iter().take(8).fold(0, |link, byte| link << 8 | u64::from(*byte))
    }

    /// Goes on by a line that is there; gives the link that it should have where it does not follow.
    pub fn follow(&mut self, link: &Link) -> Option<u64> {
        let expected = self.next(link.digest);
        self.0 = link.stated.unwrap_or(expected);
        (link.stated != Some(expected)).then_some(expected)
    }

    /// Goes on by a new line, and gives it with its link.
    pub fn linked(&mut self, text: &str) -> String {
        self.0 = self.next(Sha256::digest(text).into());
        let body = text.strip_suffix('}').unwrap_or(text);
        format!("{body}{BEFORE}{:016x}{AFTER}", self.0)
    }
}

/// Where lines do not follow from those before them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breaks {
    /// The first of them.
    pub first: Vec<String>,
    /// How many there are.
    pub count: usize,
}

/// So many of them are kept in words.
const MOST_BREAKS: usize = 16;

impl Breaks {
    pub(super) fn add(&mut self, problem: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < MOST_BREAKS {
            self.first.push(problem());
        }
    }

    /// Those of another ledger after these.
    pub(super) fn join(&mut self, other: Self) {
        self.count += other.count;
        self.first.extend(other.first);
        self.first.truncate(MOST_BREAKS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaks(lines: &[String]) -> Vec<usize> {
        let (mut chain, mut body) = (Chain::default(), Vec::new());
        let links = lines.iter().map(|line| Link::of(line.as_bytes(), &mut body)).collect::<Vec<_>>();
        links.iter().enumerate().filter_map(|(i, link)| chain.follow(link).map(|_| i)).collect()
    }

    #[test]
    fn what_is_changed_by_hand_breaks_the_chain() {
        let mut chain = Chain::default();
        let lines: Vec<String> = (0..5).map(|i| chain.linked(&format!("{{\"n\":{i}}}"))).collect();
        assert!(lines[0].starts_with("{\"n\":0,\"chain\":\"") && lines[0].ends_with("\"}"), "{}", lines[0]);
        assert!(breaks(&lines).is_empty());
        let changed = |change: fn(&mut Vec<String>)| {
            let mut lines = lines.clone();
            change(&mut lines);
            breaks(&lines)
        };
        assert_eq!(changed(|lines| lines[2] = lines[2].replace("2,", "7,")), [2]);
        assert_eq!(changed(|lines| drop(lines.remove(2))), [2], "what follows the gap");
        assert_eq!(changed(|lines| lines.swap(1, 2)), [1, 2, 3]);
        assert_eq!(changed(|lines| lines.insert(2, "{\"n\":9}".to_owned())), [2, 3]);
        assert_eq!(changed(|lines| drop(lines.remove(0))), [0]);
        assert_eq!(changed(|lines| lines.push(lines[1].clone())), [5]);
    }

    #[test]
    fn a_link_is_the_last_field_or_none() {
        let mut body = Vec::new();
        for text in
            ["{}", "", "x", "{\"chain\":\"0123456789abcdef\"}", "{\"n\":1,\"chain\":\"0123456789ABCDEF\"}"]
        {
            assert!(
                Link::of(text.as_bytes(), &mut body).stated.is_none() && body == text.as_bytes(),
                "{text}"
            );
        }
        assert_eq!(Link::of(b"{\"n\":1,\"chain\":\"00000000000000ff\"}", &mut body).stated, Some(255));
        assert_eq!(body, b"{\"n\":1}");
    }
}
