//! Readers without understanding, the controls of how recall is scored (rulings R16 and R18): each looks at the text of
//! an item instead of asking a model.

use crate::data::synthetic::item::ClozeItem;
use crate::evidence::Condition;

/// The probability of each candidate of an item.
pub type Scores = Vec<f64>;

/// What a reader that is sure leaves to all the others together.
const DOUBT: f64 = 1e-9;

/// What gives every candidate of every item a probability without a model.
type NaiveReader = fn(&[ClozeItem]) -> Vec<Scores>;

/// Who is asked where items name rivals: whoever is named first, last or most often is not the answer.
pub(super) const READERS: [(Condition, NaiveReader); 3] = [
    (Condition::NamedFirst, named_first),
    (Condition::NamedLast, named_last),
    (Condition::NamedMost, named_most),
];

/// Every candidate alike.
pub fn uniform(items: &[ClozeItem]) -> Vec<Scores> {
    items.iter().map(|item| bet(item, |_| true)).collect()
}

/// Reads the candidate where the item says that its evidence stands, and bets on it: perfect
/// exactly when the needle was shown.
pub fn copy_oracle(items: &[ClozeItem]) -> Vec<Scores> {
    let one = |item: &ClozeItem| {
        let shown = item.context.get(item.evidence..).unwrap_or_default().trim_start();
        let stands = |c: &String| {
            shown.strip_prefix(c.trim()).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        };
        let found = item.candidates.iter().position(stands);
        bet(item, |i| found.is_none_or(|found| found == i))
    };
    items.iter().map(one).collect()
}

/// Bets on the candidate that the conversation names first.
fn named_first(items: &[ClozeItem]) -> Vec<Scores> {
    let first = |item: &ClozeItem| named(item).first().copied();
    items.iter().map(|item| bet(item, |i| first(item).is_none_or(|named| named == i))).collect()
}

/// Bets on the candidate that it names last.
fn named_last(items: &[ClozeItem]) -> Vec<Scores> {
    let last = |item: &ClozeItem| named(item).last().copied();
    items.iter().map(|item| bet(item, |i| last(item).is_none_or(|named| named == i))).collect()
}

/// Bets on the candidate that it names most often, alike on several.
fn named_most(items: &[ClozeItem]) -> Vec<Scores> {
    let one = |item: &ClozeItem| {
        let named = named(item);
        let count = |i| named.iter().filter(|named| **named == i).count();
        let most = (0..item.candidates.len()).map(count).max().unwrap_or(0);
        bet(item, |i| count(i) == most)
    };
    items.iter().map(one).collect()
}

/// The candidates in the order in which the conversation names them.
fn named(item: &ClozeItem) -> Vec<usize> {
    let words = item.context.split(|letter: char| !letter.is_alphanumeric());
    words.filter_map(|word| item.candidates.iter().position(|c| c.trim() == word)).collect()
}

/// Alike on every candidate for which `on` holds, and next to nothing on the others.
fn bet(item: &ClozeItem, on: impl Fn(usize) -> bool) -> Scores {
    let n = item.candidates.len();
    let chosen = (0..n).filter(|i| on(*i)).count();
    let doubt = if chosen == n { 0.0 } else { DOUBT };
    let share = |i| match on(i) {
        true => (1.0 - doubt) / chosen as f64,
        false => doubt / (n - chosen) as f64,
    };
    (0..n).map(share).collect()
}
