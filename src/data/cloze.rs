//! The questions put to a trained model about what it was told: ruling R16.
//!
//! Invariant: every template comes once with each of its candidates as the truth and is otherwise
//! the same to the letter, so whoever cannot remember scores exactly one in [`CANDIDATES`]. Values
//! and wordings are ones that training text never pairs or uses; the small talk in between holds no
//! candidate, and the stem alone gives no hint.

use super::conversations::{comparison_text, filler};
use super::grammar::{
    ASK, CANDIDATES, COMPARISONS, CONCLUDE, CORRECT, NAMES, POOL_SIZE, POOLS, REPLIES, RESTATE, Relation,
    STATE, TOPICS, held_out, second_person, sentence,
};
use super::random::Random;
use super::tokenizer::Tokenizer;

/// One question: which candidate does the model expect after context and stem?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClozeItem {
    /// The test it belongs to.
    pub test: &'static str,
    /// Which template, and so which cluster: items of a template are not independent.
    pub template: usize,
    /// The conversation so far.
    pub context: String,
    /// What comes right before the candidate. A model whose state was reset is given only this.
    pub stem: String,
    /// What may follow, each with its leading space and each a single token.
    pub candidates: Vec<String>,
    /// Which candidate is true.
    pub truth: usize,
    /// Where in the context, in bytes, the true value was last stated.
    pub evidence: usize,
}

/// Templates of a test about A's own facts.
const TEMPLATES: usize = 10;
/// Chance in evaluation is drawn from this seed, whatever the model was trained on.
const SEED: u64 = 0x5eed;

/// A test: its name, how many templates it has, and how a template is written for one truth.
struct Test {
    name: &'static str,
    templates: usize,
    write: fn(&Draft) -> Written,
}

/// Every test, the gated ones first; `document_wording` is scored and reported only (R16).
pub const TESTS: [&str; 10] = [
    "three_turn_memory",
    "contextual_correction",
    "interrupted_dialogue",
    "multi_fact_composition",
    "retention_1",
    "retention_5",
    "retention_10",
    "retention_20",
    "retention_50",
    "document_wording",
];

const TABLE: [Test; 10] = [
    Test { name: TESTS[0], templates: TEMPLATES, write: three_turns },
    Test { name: TESTS[1], templates: TEMPLATES, write: correction },
    Test { name: TESTS[2], templates: TEMPLATES, write: interrupted },
    Test { name: TESTS[3], templates: 2 * COMPARISONS.len(), write: composition },
    Test { name: TESTS[4], templates: TEMPLATES, write: retention::<1> },
    Test { name: TESTS[5], templates: TEMPLATES, write: retention::<5> },
    Test { name: TESTS[6], templates: TEMPLATES, write: retention::<10> },
    Test { name: TESTS[7], templates: TEMPLATES, write: retention::<20> },
    Test { name: TESTS[8], templates: TEMPLATES, write: retention::<50> },
    Test { name: TESTS[9], templates: 4, write: document_wording },
];

/// All items of a test, template by template and within it truth by truth; none for an unknown name.
pub fn items(test: &str) -> Option<Vec<ClozeItem>> {
    let number = TABLE.iter().position(|row| row.name == test)?;
    let row = &TABLE[number];
    let drafts = (0..row.templates).flat_map(|template| (0..CANDIDATES).map(move |truth| (template, truth)));
    Some(
        drafts
            .map(|(template, truth)| {
                (row.write)(&Draft { number, template, truth }).item(row, template, truth)
            })
            .collect(),
    )
}

/// The candidates, of any test, that a tokenizer does not have as one token; scoring needs that there
/// are none (ruling R16).
pub fn split_candidates(tokenizer: &Tokenizer) -> Vec<String> {
    let values = POOLS.iter().flat_map(|pool| pool.values).map(|value| format!(" {value}"));
    values.filter(|value| tokenizer.single_token(value).is_none()).collect()
}

/// Which item is to be written.
struct Draft {
    number: usize,
    template: usize,
    truth: usize,
}

/// What a test writes; the rest of an item follows from it.
struct Written {
    context: String,
    stem: String,
    candidates: Vec<&'static str>,
    /// Where the true value was last stated.
    evidence: usize,
}

impl Written {
    fn item(self, row: &Test, template: usize, truth: usize) -> ClozeItem {
        let candidates = self.candidates.iter().map(|value| format!(" {value}")).collect();
        let Self { context, stem, evidence, .. } = self;
        ClozeItem { test: row.name, template, context, stem, candidates, truth, evidence }
    }
}

/// A conversation being written for one relation.
struct Script {
    random: Random,
    topic: usize,
    relation: &'static Relation,
    values: Vec<&'static str>,
    context: String,
    evidence: usize,
    template: usize,
    turns: usize,
}

impl Script {
    /// Each template takes another pool, and each test other relations of it.
    fn new(draft: &Draft) -> Self {
        let pool = &POOLS[draft.template % POOLS.len()];
        let owner = (draft.number + 3 * (draft.template / POOLS.len())) % pool.relations.len();
        Self {
            random: Random::new(SEED, (draft.number * 100 + draft.template) as u64),
            topic: (draft.number + draft.template) % TOPICS.len(),
            relation: &pool.relations[owner],
            values: candidates(&pool.values, owner),
            context: String::new(),
            evidence: 0,
            template: draft.template,
            turns: 0,
        }
    }

    fn wording(&self, held_out: &[&'static str], step: usize) -> &'static str {
        held_out[(self.template + step) % held_out.len()]
    }

    /// A gives the relation that value.
    fn state(&mut self, lead: &str, value: usize) {
        let statement = sentence(lead, self.relation.first);
        self.context.push_str(&format!("A: {statement} "));
        self.evidence = self.context.len();
        self.context.push_str(&format!("{}.\n", self.values[value]));
    }

    fn reply(&mut self) {
        let reply = self.random.pick(&REPLIES);
        self.context.push_str(&format!("B: {reply}\n"));
    }

    /// Turns of small talk with so many sentences each, B beginning.
    fn chat(&mut self, turns: usize, sentences: usize) {
        for _ in 0..turns {
            let speaker = if self.turns.is_multiple_of(2) { 'B' } else { 'A' };
            let text: Vec<_> =
                (0..sentences).map(|_| filler(&mut self.random, &TOPICS[self.topic])).collect();
            self.context.push_str(&format!("{speaker}: {}\n", text.join(" ")));
            self.turns += 1;
        }
    }

    fn ask(&mut self) {
        let question = sentence(self.wording(ASK.held_out, 0), &second_person(self.relation.ask));
        self.context.push_str(&format!("B: {question}?\n"));
    }

    fn finish(self) -> Written {
        let stem = format!("A: {}", sentence(self.wording(RESTATE.held_out, 0), self.relation.first));
        Written { context: self.context, stem, candidates: self.values, evidence: self.evidence }
    }
}

fn candidates(values: &[&'static str; POOL_SIZE], owner: usize) -> Vec<&'static str> {
    values.iter().enumerate().filter(|(value, _)| held_out(owner, *value)).map(|(_, value)| *value).collect()
}

/// Tier 1: stated three times, asked.
fn three_turns(draft: &Draft) -> Written {
    let mut script = Script::new(draft);
    for step in 0..3 {
        let lead = if step == 0 {
            script.wording(STATE.held_out, 0)
        } else {
            script.wording(RESTATE.held_out, step)
        };
        script.state(lead, draft.truth);
        script.reply();
    }
    script.ask();
    script.finish()
}

/// Tier 1: stated, corrected, asked; every candidate is once the old and once the new value.
fn correction(draft: &Draft) -> Written {
    let mut script = Script::new(draft);
    let old = (draft.truth + 1 + draft.template % (CANDIDATES - 1)) % CANDIDATES;
    let (first, second) = (script.wording(STATE.held_out, 0), script.wording(CORRECT.held_out, 0));
    script.state(first, old);
    script.chat(draft.template % 3, 1);
    script.state(second, draft.truth);
    script.chat(draft.template % 4, 1);
    script.finish()
}

/// Tier 2: stated, ten unrelated sentences, asked.
fn interrupted(draft: &Draft) -> Written {
    let mut script = Script::new(draft);
    script.state(script.wording(STATE.held_out, 0), draft.truth);
    script.chat(5, 2);
    script.ask();
    script.finish()
}

/// Retention: stated, so many turns of small talk, then the stem.
fn retention<const TURNS: usize>(draft: &Draft) -> Written {
    let mut script = Script::new(draft);
    script.state(script.wording(STATE.held_out, 0), draft.truth);
    script.chat(TURNS, 1);
    script.finish()
}

/// Tier 2: two people with a number each; the question needs both. Every name is once the answer and
/// once the other one, is named first in half of the cases, and the numbers stay.
fn composition(draft: &Draft) -> Written {
    let (owner, side) = (draft.template / 2, draft.template % 2);
    let names: Vec<usize> = (0..POOL_SIZE).filter(|&name| held_out(owner, name)).collect();
    let (low, high) = (3 + 2 * draft.template, 7 + 2 * draft.template);
    let (true_number, other_number) = if side == 0 { (high, low) } else { (low, high) };
    let truth = names[draft.truth];
    let mut pairs = [(truth, true_number), (names[(draft.truth + 1) % CANDIDATES], other_number)];
    if draft.truth % 2 == 1 {
        pairs.reverse();
    }
    let lead = STATE.held_out[draft.template % STATE.held_out.len()];
    let mut context = format!("A: {}\n", sentence(lead, &comparison_text(owner, pairs)));
    let evidence = last_word(&context, NAMES[truth]);
    let (ask, conclusion) = COMPARISONS[owner].sides[side];
    let question = ASK.held_out[draft.template % ASK.held_out.len()];
    context.push_str(&format!("B: {}?\n", sentence(question, ask)));
    let lead = CONCLUDE.held_out[draft.template % CONCLUDE.held_out.len()];
    let stem = format!("A: {}", sentence(lead, conclusion));
    Written { context, stem, candidates: candidates(&NAMES, owner), evidence }
}

/// The tests in the words of the V5 document. Reported, not gated: a question is no cloze stem.
fn document_wording(draft: &Draft) -> Written {
    let first = |values: &[&'static str; POOL_SIZE]| values[..CANDIDATES].to_vec();
    let [color, city, food] = [0, 1, 2].map(|pool| first(&POOLS[pool].values));
    let next = (draft.truth + 1) % CANDIDATES;
    let (context, stem, candidates) = match draft.template {
        0 => {
            let statement = format!("My favorite color is {}. ", color[draft.truth]);
            (statement.repeat(3), "What's my favorite color?", color)
        }
        1 => {
            let text = format!("I like {}. Actually, I prefer {}. ", food[next], food[draft.truth]);
            (text, "What do I like?", food)
        }
        2 => {
            let mut random = Random::new(SEED, draft.number as u64 * 100);
            let unrelated: Vec<_> = (0..10).map(|i| filler(&mut random, &TOPICS[i % TOPICS.len()])).collect();
            let text = format!("I'm going to {}.\n{}\n", city[draft.truth], unrelated.join(" "));
            (text, "Where am I going?", city)
        }
        _ => {
            let mut people = [(draft.truth, 30), (next, 25)];
            if draft.truth % 2 == 1 {
                people.reverse();
            }
            let [a, b] = people.map(|(name, age)| format!("{} is {age}. ", NAMES[name]));
            (format!("{a}{b}"), "Who is older?", first(&NAMES))
        }
    };
    let evidence = last_word(&context, candidates[draft.truth]);
    Written { context, stem: stem.to_owned(), candidates, evidence }
}

/// Where a word last stands in a text that is known to hold it.
fn last_word(text: &str, word: &str) -> usize {
    let ends = |at: usize| !text[at + word.len()..].starts_with(char::is_alphanumeric);
    text.rmatch_indices(word).map(|(at, _)| at).find(|&at| ends(at)).unwrap_or_default()
}
