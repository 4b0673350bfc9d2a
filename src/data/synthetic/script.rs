//! A conversation being written for an evaluation item, by `cloze` and `canaries`.
//!
//! Invariant: what is written depends on test, template and truth alone, and on the truth only where the
//! value itself stands; so the versions of a template differ in nothing else.

use std::ops::Range;

use super::grammar::{
    ASK, CANDIDATES, POOL_SIZE, POOLS, REPLIES, RESTATE, Relation, STATE, TOPICS, held_out, second_person,
    sentence,
};
use super::item::ClozeItem;
use super::sentences::filler;
use crate::random::Random;

/// So many roles beside the one that is asked for have another candidate where an item has rivals; the truth comes
/// first, last and in every place between in as many templates each.
pub(super) const RIVALS: usize = 4;
/// Which relations of the pool those are, counted from the one that is asked for.
const RIVAL_ROLES: [usize; RIVALS] = [1, 2, 4, 5];

/// Chance in evaluation is drawn from this seed, whatever the model was trained on.
pub(super) const SEED: u64 = 0x5eed;

/// How the items of one test are written: so many templates, each once with every candidate as the truth.
pub(super) struct ItemWriter {
    pub test: &'static str,
    /// Decides the test's chance; no two tests have the same.
    pub draw: usize,
    pub templates: usize,
    /// Whether every second template names rivals.
    pub rivals: bool,
    pub write: fn(&Draft<'_>) -> Written,
}

impl ItemWriter {
    /// All items, template by template and within it truth by truth. `count` tells how many tokens a text has.
    pub fn items(&self, count: &dyn Fn(&str) -> usize) -> Vec<ClozeItem> {
        let truths = |template| (0..CANDIDATES).map(move |truth| (template, truth));
        let item = |(template, truth)| {
            let rivals = (self.rivals && template % 2 == 1).then_some(template / 2 % (RIVALS + 1));
            let draft = Draft { draw: self.draw, template, truth, rivals, count };
            let item = (self.write)(&draft).item(self.test, template, truth);
            ClozeItem { rivals: rivals.is_some(), ..item }
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
    /// How many rivals are named before the truth; none where none is named at all.
    pub rivals: Option<usize>,
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
        ClozeItem { test, template, context, stem, candidates, truth, evidence, rivals: false }
    }
}

/// A conversation being written for one relation.
pub(super) struct Script {
    pub random: Random,
    pub topic: usize,
    pub relation: &'static Relation,
    pool: usize,
    owner: usize,
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
            pool,
            owner,
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

    /// The rivals that come before the truth: A gives other relations of the pool other candidates.
    pub fn rivals_before(&mut self, draft: &Draft<'_>) {
        self.name_rivals(draft, 0..draft.rivals.unwrap_or(0));
    }

    /// The rivals that come after it.
    pub fn rivals_after(&mut self, draft: &Draft<'_>) {
        self.name_rivals(draft, draft.rivals.unwrap_or(RIVALS)..RIVALS);
    }

    fn name_rivals(&mut self, draft: &Draft<'_>, which: Range<usize>) {
        let relations = &POOLS[self.pool].relations;
        for i in which {
            let role = relations[(self.owner + RIVAL_ROLES[i]) % relations.len()].first;
            // The place after that of the one other candidate that an item may have without rivals.
            let value = self.values[draft.other(draft.template + 1 + i)];
            let lead = self.wording(STATE.held_out, 1 + i);
            self.say("A", &format!("{} {value}.", sentence(lead, role)));
        }
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
