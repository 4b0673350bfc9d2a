//! Sentences of the generated world, and how their parts are drawn.

use super::grammar::{COMPARISONS, Comparison, FILLERS, NAMES, POOL_SIZE, TIMES, Topic, held_out, sentence};
use crate::random::Random;

/// A sentence of small talk about a topic.
pub fn filler(random: &mut Random, topic: &Topic) -> String {
    let (noun, verb) = (random.pick(&topic.nouns), random.pick(&topic.verbs));
    let adjective = random.pick(&topic.adjectives);
    let (time, template) = (random.pick(&TIMES), random.pick(&FILLERS));
    let second_noun = other(noun, || random.pick(&topic.nouns));
    let second_adjective = other(adjective, || random.pick(&topic.adjectives));
    template
        .replace("{n}", noun)
        .replace("{m}", second_noun)
        .replace("{v}", verb)
        .replace("{a}", adjective)
        .replace("{b}", second_adjective)
        .replace("{t}", time)
}

/// "Tom is 30. Anna is 25.", from (name, number) in the order they are said.
pub fn comparison_text(comparison: usize, pairs: [(usize, usize); 2]) -> String {
    let Comparison { verb, numbers, .. } = COMPARISONS[comparison];
    let [first, second] = pairs.map(|(name, number)| format!("{} {verb} {}.", NAMES[name], numbers[number]));
    format!("{first} {second}")
}

/// Mostly one to eight turns, the fewer the likelier, at times up to twenty; digressions make more.
pub(super) fn distance(random: &mut Random) -> usize {
    if random.chance(80) { random.below(8).min(random.below(8)) } else { 8 + random.below(12) }
}

/// A value that training may state of this relation, every one equally likely.
pub(super) fn trained(random: &mut Random, owner: usize) -> usize {
    loop {
        let value = random.below(POOL_SIZE);
        if !held_out(owner, value) {
            return value;
        }
    }
}

/// Draws until something else comes.
pub(super) fn other<T: PartialEq>(than: T, mut draw: impl FnMut() -> T) -> T {
    loop {
        let drawn = draw();
        if drawn != than {
            return drawn;
        }
    }
}

/// A whole statement.
pub(super) fn statement(lead: &str, clause: &str) -> String {
    format!("{}.", sentence(lead, clause))
}

/// A whole question.
pub(super) fn question(lead: &str, clause: &str) -> String {
    format!("{}?", sentence(lead, clause))
}
