//! A conversation being written for an evaluation item, by `cloze` and `canaries`.
//!
//! Invariant: what is written depends on test, template and truth alone, and on the truth only where the
//! value itself stands; so the versions of a template differ in nothing else.

use super::grammar::{
    ASK, CANDIDATES, POOL_SIZE, POOLS, REPLIES, RESTATE, Relation, TOPICS, held_out, second_person, sentence,
};
use super::item::ClozeItem;
use super::sentences::filler;
use crate::random::Random;

/// Chance in evaluation is drawn from this seed, whatever the model was trained on.
pub(super) const SEED: u64 = 0x5eed;

/// How the items of one test are written: so many templates, each once with every candidate as the truth.
pub(super) struct ItemWriter {
    pub test: &'static str,
    /// Decides the test's chance; no two tests have the same.
    pub draw: usize,
    pub templates: usize,
    pub write: fn(&Draft<'_>) -> Written,
}

impl ItemWriter {
    /// All items, template by template and within it truth by truth. `count` tells how many tokens a text has.
    pub fn items(&self, count: &dyn Fn(&str) -> usize) -> Vec<ClozeItem> {
        let truths = |template| (0..CANDIDATES).map(move |truth| (template, truth));
        let item = |(template, truth)| {
            let draft = Draft { draw: self.draw, template, truth, count };
            (self.write)(&draft).item(self.test, template, truth)
        };
        (0..self.templates).flat_map(truths).map(item).collect()
    }
}

/// Which item is to be written.
pub(super) struct Draft<'a> {
    /// The [`Writer`]'s.
    pub draw: usize,
    pub template: usize,
    pub truth: usize,
    pub count: &'a dyn Fn(&str) -> usize,
}

impl Draft<'_> {
    /// Chance of its own for every template, the same for all its truths.
    pub fn random(&self) -> Random {
        Random::new(SEED, (self.draw * 100 + self.template) as u64)
    }

    /// Another candidate than the truth, `by` places on: each is as often the other one.
    pub fn other(&self, by: usize) -> usize {
        (self.truth + 1 + by % (CANDIDATES - 1)) % CANDIDATES
    }
}

/// What a test writes; the rest of an item follows from it.
pub(super) struct Written {
    pub context: String,
    pub stem: String,
    pub candidates: Vec<&'static str>,
    /// Where the true value was last stated.
    pub evidence: usize,
}

impl Written {
    fn item(self, test: &'static str, template: usize, truth: usize) -> ClozeItem {
        let candidates = self.candidates.iter().map(|value| format!(" {value}")).collect();
        let Self { context, stem, evidence, .. } = self;
        ClozeItem { test, template, context, stem, candidates, truth, evidence }
    }
}

/// A conversation being written for one relation.
pub(super) struct Script {
    pub random: Random,
    pub topic: usize,
    pub relation: &'static Relation,
    /// The candidates, in the order of truths.
    pub values: Vec<&'static str>,
    pub context: String,
    pub evidence: usize,
    pub template: usize,
    turns: usize,
}

impl Script {
    /// Each template takes another pool, and each test other relations of it.
    pub fn new(draft: &Draft<'_>) -> Self {
        let (round, pool) = (draft.template / POOLS.len(), draft.template % POOLS.len());
        Self::about(draft, pool, (draft.draw + 3 * round) % POOLS[pool].relations.len())
    }

    /// About a relation of a pool.
    pub fn about(draft: &Draft<'_>, pool: usize, owner: usize) -> Self {
        Self {
            random: draft.random(),
            topic: (draft.draw + draft.template) % TOPICS.len(),
            relation: &POOLS[pool].relations[owner],
            values: candidates(&POOLS[pool].values, owner),
            context: String::new(),
            evidence: 0,
            template: draft.template,
            turns: 0,
        }
    }

    /// The template's choice among wordings.
    pub fn wording(&self, wordings: &[&'static str], step: usize) -> &'static str {
        wordings[(self.template + step) % wordings.len()]
    }

    /// Somebody says a sentence.
    pub fn say(&mut self, speaker: &str, text: &str) {
        self.context.push_str(&format!("{speaker}: {text}\n"));
    }

    /// The same for a sentence that states the true value: `text` up to it, the value, the rest.
    pub fn show(&mut self, speaker: &str, text: &str, value: usize, rest: &str) {
        let space = if text.is_empty() { "" } else { " " };
        self.context.push_str(&format!("{speaker}: {text}{space}"));
        self.evidence = self.context.len();
        self.context.push_str(&format!("{}{rest}\n", self.values[value]));
    }

    /// A gives the relation that value.
    pub fn state(&mut self, lead: &str, value: usize) {
        self.show("A", &sentence(lead, self.relation.first), value, ".");
    }

    pub fn reply(&mut self) {
        let reply = self.random.pick(&REPLIES);
        self.say("B", reply);
    }

    /// A sentence of small talk.
    pub fn small_talk(&mut self) -> String {
        filler(&mut self.random, &TOPICS[self.topic])
    }

    /// Turns of small talk with so many sentences each, B beginning.
    pub fn chat(&mut self, turns: usize, sentences: usize) {
        for _ in 0..turns {
            let speaker = if self.turns.is_multiple_of(2) { "B" } else { "A" };
            let text: Vec<_> = (0..sentences).map(|_| self.small_talk()).collect();
            self.say(speaker, &text.join(" "));
            self.turns += 1;
        }
    }

    /// The topic of what follows.
    pub fn change_topic(&mut self) -> &'static str {
        self.topic = (self.topic + 1) % TOPICS.len();
        TOPICS[self.topic].name
    }

    pub fn ask(&mut self) {
        let question = sentence(self.wording(ASK.held_out, 0), &second_person(self.relation.ask));
        self.say("B", &format!("{question}?"));
    }

    /// Ends with A about to say the value again.
    pub fn finish(self) -> Written {
        let stem = format!("A: {}", sentence(self.wording(RESTATE.held_out, 0), self.relation.first));
        self.finish_with(stem)
    }

    /// Ends with another stem.
    pub fn finish_with(self, stem: String) -> Written {
        Written { context: self.context, stem, candidates: self.values, evidence: self.evidence }
    }
}

/// The values of a pool that training never states of its relation `owner`.
pub(super) fn candidates(values: &[&'static str; POOL_SIZE], owner: usize) -> Vec<&'static str> {
    values.iter().enumerate().filter(|(value, _)| held_out(owner, *value)).map(|(_, value)| *value).collect()
}

/// Where a word last stands in a text that is known to hold it.
pub(super) fn last_word(text: &str, word: &str) -> usize {
    let ends = |at: usize| !text[at + word.len()..].starts_with(char::is_alphanumeric);
    text.rmatch_indices(word).map(|(at, _)| at).find(|&at| ends(at)).unwrap_or_default()
}
