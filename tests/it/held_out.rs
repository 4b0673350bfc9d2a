//! Proof that training text gives nothing away, and how varied it is.
//!
//! Invariant: [`leaks`] reads finished text and knows nothing of how it was made, so a mistake in
//! the generator cannot hide itself.

use std::collections::HashSet;

use v5gate::data::synthetic::grammar::{
    COMPARISONS, FILLERS, HELD_OUT, NAMES, POOL_SIZE, POOLS, REPLIES, TIMES, TOPICS, WORDINGS, held_out,
    second_person,
};
use v5gate::data::synthetic::{canaries, cloze};

/// Every place where a text states a pair, or uses a wording, that belongs to evaluation.
pub fn leaks(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    let mut found = Vec::new();
    let tables = WORDINGS.iter().flat_map(|wordings| wordings.held_out).copied();
    for wording in tables.chain(cloze::own_wordings()).chain(canaries::own_wordings()) {
        if text.contains(&wording.to_lowercase()) {
            found.push(format!("wording {wording:?}"));
        }
    }
    for pool in &POOLS {
        for (owner, relation) in pool.relations.iter().enumerate() {
            for clause in [relation.first.to_owned(), second_person(relation.first)] {
                found.extend(forbidden_after(&text, &clause, &pool.values, owner));
            }
        }
    }
    for (owner, comparison) in COMPARISONS.iter().enumerate() {
        for (_, conclusion) in comparison.sides {
            found.extend(forbidden_after(&text, conclusion, &NAMES, owner));
        }
        found.extend(compared(&text, owner));
    }
    found
}

/// Held-out values that directly follow a clause.
fn forbidden_after(text: &str, clause: &str, values: &[&str], owner: usize) -> Vec<String> {
    let clause = format!("{} ", clause.to_lowercase());
    let places = text.match_indices(&clause).filter(|(at, _)| !text[..*at].ends_with(char::is_alphanumeric));
    let words = places.map(|(at, _)| first_word(&text[at + clause.len()..]));
    words.filter(|word| is_held_out(word, values, owner)).map(|word| format!("{clause}{word}")).collect()
}

/// Held-out names that are given a number.
fn compared(text: &str, owner: usize) -> Vec<String> {
    let verb = format!(" {} ", COMPARISONS[owner].verb);
    let places = text.match_indices(&verb);
    let numbered =
        places.filter(|(at, _)| COMPARISONS[owner].numbers.contains(&first_word(&text[at + verb.len()..])));
    let names =
        numbered.map(|(at, _)| text[..at].rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or_default());
    names.filter(|name| is_held_out(name, &NAMES, owner)).map(|name| format!("{name}{verb}")).collect()
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default()
}

fn is_held_out(word: &str, values: &[&str], owner: usize) -> bool {
    let value = values.iter().position(|value| value.eq_ignore_ascii_case(word));
    value.is_some_and(|value| held_out(owner, value))
}

/// How much there is to say, and how much of it a text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variety {
    /// Kinds of things A tells: relations and comparisons.
    pub relations: usize,
    /// Values in all pools.
    pub values: usize,
    /// Pairs of relation and value that training states, and those it keeps for evaluation.
    pub pairs: (usize, usize),
    /// Wordings of statements and questions in training, and in evaluation only.
    pub wordings: (usize, usize),
    /// Templates of small talk, replies included.
    pub small_talk_templates: usize,
    /// Different sentences of small talk, at most.
    pub small_talk_sentences: usize,
    /// Different words in the text.
    pub words_seen: usize,
    /// Turns in the text.
    pub turns_seen: usize,
    /// Different turns in the text, whoever says them.
    pub distinct_turns_seen: usize,
}

/// Counts the tables and a text.
pub fn variety(documents: &[String]) -> Variety {
    let turns = || documents.iter().flat_map(|text| text.lines()).map(|line| line.get(3..).unwrap_or(line));
    let words: HashSet<&str> = turns().flat_map(|turn| turn.split(|c: char| !c.is_alphanumeric())).collect();
    let relations: usize = POOLS.iter().map(|pool| pool.relations.len()).sum();
    let pairs = relations * POOL_SIZE;
    Variety {
        relations: relations + COMPARISONS.len() * 2,
        values: POOLS.len() * POOL_SIZE,
        pairs: (pairs - pairs / HELD_OUT, pairs / HELD_OUT),
        wordings: (
            WORDINGS.iter().map(|wordings| wordings.train.len()).sum(),
            WORDINGS.iter().map(|wordings| wordings.held_out.len()).sum(),
        ),
        small_talk_templates: FILLERS.len() + REPLIES.len(),
        small_talk_sentences: TOPICS.len() * FILLERS.iter().map(|template| fillings(template)).sum::<usize>(),
        words_seen: words.len(),
        turns_seen: turns().count(),
        distinct_turns_seen: turns().collect::<HashSet<_>>().len(),
    }
}

/// In how many ways a template of small talk can be filled within one topic.
fn fillings(template: &str) -> usize {
    let topic = &TOPICS[0];
    let slots = [
        ("{n}", topic.nouns.len()),
        ("{m}", topic.nouns.len() - 1),
        ("{v}", topic.verbs.len()),
        ("{a}", topic.adjectives.len()),
        ("{b}", topic.adjectives.len() - 1),
        ("{t}", TIMES.len()),
    ];
    slots.iter().filter(|(slot, _)| template.contains(slot)).map(|(_, count)| count).product()
}
