//! WikiText in pages, and each page as a reader would see it: the text before it was tokenised.
//!
//! Invariant: pages and rules are those of the EleutherAI harness (task `wikitext`, version 2), odd
//! ones included, so that numbers can be compared. WikiText-2 and WikiText-103 have the same test text.

use super::benchmarks::{BenchmarkError, is_space, not_empty};
use crate::data::corpora::{CorpusError, TextFile};

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WikiPage {
    /// What is scored: the page de-tokenised.
    pub text: String,
    /// Pieces between runs of white space of the original page; one at either end may be empty.
    pub words: usize,
    /// Bytes of the original page.
    pub bytes: usize,
}

/// The pages of a file of WikiText. The harness takes any text for it; here one without a heading is refused.
pub fn pages(file: &TextFile) -> Result<Vec<WikiPage>, BenchmarkError> {
    let found = not_empty(&file.path, split(&file.text))?;
    match file.text.split('\n').any(is_heading) {
        true => Ok(found.iter().map(|page| WikiPage::of(page)).collect()),
        false => Err(CorpusError::NoHeading(file.path.clone()).into()),
    }
}

impl WikiPage {
    fn of(original: &str) -> Self {
        Self { text: detokenised(original), words: 1 + runs_of_space(original), bytes: original.len() }
    }
}

/// Cuts before every line that looks like a heading of the first level.
fn split(text: &str) -> Vec<String> {
    let mut pages = Vec::new();
    let mut lines: Vec<&str> = Vec::new();
    for line in text.split('\n') {
        if is_heading(line) {
            pages.push(lines.join("\n"));
            lines.clear();
        }
        lines.push(line);
    }
    pages.push(lines.join("\n"));
    pages.retain(|page| !page.trim_matches(is_space).is_empty());
    pages
}

/// Whether it looks like a heading of the first level.
fn is_heading(line: &str) -> bool {
    let marked = line.replace("= = =", "===").replace("= =", "==");
    let heading = marked.trim_matches(is_space);
    heading.starts_with("= ") && heading.ends_with(" =")
}

fn runs_of_space(text: &str) -> usize {
    let mut before = false;
    let starts = text.chars().map(is_space).filter(|&space| !std::mem::replace(&mut before, space) && space);
    starts.count()
}

/// The harness's rules, in its order.
fn detokenised(page: &str) -> String {
    let mut text = page.replace("s '", "s'");
    for digit in '0'..='9' {
        text = text.replace(&format!("/' {digit}/"), "/'[0-9]/");
    }
    for (tokens, mark) in [(" @-@ ", "-"), (" @,@ ", ","), (" @.@ ", ".")] {
        text = text.replace(tokens, mark);
    }
    for mark in [":", ";", ".", "!", "?", ","] {
        text = text.replace(&format!(" {mark} "), &format!("{mark} "));
    }
    for (open, close) in [('(', ')'), ('[', ']'), ('{', '}'), ('"', '"'), ('\'', '\'')] {
        text = tightened(&text, open, close);
    }
    for (from, to) in [
        ("= = = =", "===="),
        ("= = =", "==="),
        ("= =", "=="),
        (" ° ", "°"),
        (" \n", "\n"),
        ("\n ", "\n"),
        (" N ", " 1 "),
        (" 's", "'s"),
    ] {
        text = text.replace(from, to);
    }
    text
}

/// Without the white space inside every pair of marks.
fn tightened(text: &str, open: char, close: char) -> String {
    let (mut done, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, inner, after)) = rest.split_once(open).and_then(|(before, after)| {
        let (inner, after) = after.split_once(close)?;
        Some((before, inner, after))
    }) {
        done.push_str(before);
        done.push(open);
        done.push_str(inner.trim_matches(is_space));
        done.push(close);
        rest = after;
    }
    done + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_begin_at_headings() {
        let text = " \n = One = \n a \n = = Part = = \n = no \n = Two = \n b \n";
        assert_eq!(split(text), [" = One = \n a \n = = Part = = \n = no ", " = Two = \n b \n"]);
    }

    #[test]
    fn a_text_without_headings_is_no_wikitext() {
        let of =
            |text: &str| pages(&TextFile { path: "w".into(), sha256: String::new(), text: text.to_owned() });
        for text in ["Once upon a time .\n", " = = Part = = \n a \n", "a = b = c\n"] {
            let error = of(text).unwrap_err().to_string();
            assert!(error.contains("w: expected WikiText") && error.contains("= Title ="), "{error}");
        }
        assert!(of(" \n").unwrap_err().to_string().contains("at least one document"));
        assert_eq!(of("cut off before \n = One = \n a \n").unwrap().len(), 2);
    }

    #[test]
    fn words_are_counted_on_the_page_as_it_was() {
        let page = WikiPage::of(" = T = \n It 's a b @-@ c ( d ) . \n");
        // Thirteen words and two empty ends.
        assert_eq!((page.words, page.bytes), (15, 34));
        assert_eq!(page.text, " = T =\nIt's a b-c (d).\n");
    }

    #[test]
    fn marks_move_to_their_words() {
        for (from, to) in [
            ("the dogs ' bones", "the dogs' bones"),
            ("5 @,@ 000 @.@ 5", "5,000.5"),
            ("( a ) [ b ] { c } \" d \" ' e '", "(a) [b] {c} \"d\" 'e'"),
            ("( open", "( open"),
            ("( a ( b ) )", "(a ( b) )"),
            ("= = = x = = =", "=== x ==="),
            ("20 ° C , N x", "20°C, 1 x"),
            ("a , b ; c : d ! e ? f .", "a, b; c: d! e? f ."),
        ] {
            assert_eq!(detokenised(from), to);
        }
    }
}
