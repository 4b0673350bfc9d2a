//! The questions put to a trained model about what it was told: ruling R16.
//!
//! Invariant: every template comes once with each of its candidates as the truth and is otherwise
//! the same to the letter, so whoever cannot remember scores exactly one in [`CANDIDATES`]. Values
//! and wordings are ones that training text never pairs or uses; the small talk in between holds no
//! candidate, and the stem alone gives no hint.

use super::conversations::approximate_tokens;
use super::grammar::{
    ASK, CANDIDATES, COMPARISONS, CONCLUDE, CORRECT, HELD_OUT, NAMES, POOL_SIZE, POOLS, RESTATE, STATE,
    TOPICS, held_out, sentence,
};
use super::item::ClozeItem;
use super::script::{Draft, ItemWriter, SEED, Script, Written, candidates, last_word};
use super::sentences::{comparison_text, filler};
use crate::data::tokenizer::Tokenizer;
use crate::evidence::RecallTest;
use crate::random::Random;
use crate::scale::{Scale, Tier};

/// Templates of a test about A's own facts.
const TEMPLATES: usize = 10;

/// Whether items name other candidates in other roles (ruling R16): every second template of the tests that have
/// them, from the gated scales on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rivals {
    /// As the ruling demands of the gated scales.
    Named,
    /// Below: the built-in training text has no such conversations.
    Absent,
}

impl Rivals {
    /// Those of a scale.
    pub fn at(scale: &Scale) -> Self {
        if scale.tier == Tier::Gate { Self::Named } else { Self::Absent }
    }
}

/// Who writes the items of a recall test. No two tests share their `draw`, the number that decides their chance.
fn writer(test: RecallTest, rivals: Rivals) -> ItemWriter {
    let rivals = rivals == Rivals::Named && test.has_rivals();
    let writer = |draw, templates, write| ItemWriter { test: test.name(), draw, templates, rivals, write };
    match test {
        RecallTest::ThreeTurnMemory => writer(0, TEMPLATES, three_turns),
        RecallTest::ContextualCorrection => writer(1, TEMPLATES, correction),
        RecallTest::InterruptedDialogue => writer(2, TEMPLATES, interrupted),
        RecallTest::MultiFactComposition => writer(3, 2 * COMPARISONS.len(), composition),
        RecallTest::Retention1 => writer(4, TEMPLATES, |d| retention(d, 1)),
        RecallTest::Retention5 => writer(5, TEMPLATES, |d| retention(d, 5)),
        RecallTest::Retention10 => writer(6, TEMPLATES, |d| retention(d, 10)),
        RecallTest::Retention20 => writer(7, TEMPLATES, |d| retention(d, 20)),
        RecallTest::Retention50 => writer(8, TEMPLATES, |d| retention(d, 50)),
        RecallTest::PersonaConsistency => writer(10, TEMPLATES, persona),
        RecallTest::TopicThreading => writer(11, 2 * SUBJECTS.len(), topic),
    }
}

/// The name of the document's own questions: scored and reported, never gated (ruling R16).
pub const DOCUMENT_WORDING: &str = "document_wording";

const DOCUMENT_WRITER: ItemWriter =
    ItemWriter { test: DOCUMENT_WORDING, draw: 9, templates: 6, rivals: false, write: document_wording };

/// What can be talked about: a pool, and the article before its values.
const SUBJECTS: [(usize, &str); 5] = [(3, "the "), (1, ""), (4, "the "), (2, "the "), (5, "")];
/// How a subject is first named, left, and taken up again: wordings that no training text has.
const OPENINGS: [&str; 3] =
    ["I would like to talk about ", "There is something to say about ", "Let us speak a little of "];
const SWITCHES: [&str; 3] = ["Before I forget, the ", "One more thing, the ", "On another note, the "];
const RETURNS: [&str; 3] = [
    "Enough of that, we were talking about ",
    "Where were we, you asked about ",
    "As for our subject, it was ",
];
/// What the document leaves in brackets: five questions with their answers, and talk of breeds.
const COOKING: &str = "How long do potatoes boil? Twenty minutes. How hot is the oven? Very hot. \
    Which knife is sharp? The long one. Is the pan clean? It is. Who washes the plates? I do.";
const BREEDS: &str = "Some breeds are tall and some are small. Some are fast, others are slow. \
    Some live in the house and some in the garden.";

/// Wordings of these tests that are not in the tables of the conversations.
pub fn own_wordings() -> impl Iterator<Item = &'static str> {
    [OPENINGS, SWITCHES, RETURNS].into_iter().flatten()
}

/// All items of a test, template by template and within it truth by truth; none for an unknown name.
pub fn items(test: &str, rivals: Rivals) -> Option<Vec<ClozeItem>> {
    let writer = match RecallTest::find(test) {
        Some(test) => writer(test, rivals),
        None if test == DOCUMENT_WORDING => DOCUMENT_WRITER,
        None => return None,
    };
    Some(writer.items(&approximate_tokens))
}

/// The candidates, of any test, that a tokenizer does not have as one token; scoring needs that there
/// are none (ruling R16).
pub fn split_candidates(tokenizer: &Tokenizer) -> Vec<String> {
    let values = POOLS.iter().flat_map(|pool| pool.values).map(|value| format!(" {value}"));
    values.filter(|value| tokenizer.single_token(value).is_none()).collect()
}

/// Tier 1: stated three times, asked.
fn three_turns(draft: &Draft<'_>) -> Written {
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
fn correction(draft: &Draft<'_>) -> Written {
    let mut script = Script::new(draft);
    let old = draft.other(draft.template);
    let (first, second) = (script.wording(STATE.held_out, 0), script.wording(CORRECT.held_out, 0));
    script.state(first, old);
    script.chat(draft.template % 3, 1);
    script.state(second, draft.truth);
    script.chat(draft.template % 4, 1);
    script.finish()
}

/// Tier 2: stated, ten unrelated sentences, asked.
fn interrupted(draft: &Draft<'_>) -> Written {
    let mut script = Script::new(draft);
    script.rivals_before(draft);
    script.state(script.wording(STATE.held_out, 0), draft.truth);
    script.rivals_after(draft);
    script.chat(5, 2);
    script.ask();
    script.finish()
}

/// Retention: stated, so many turns of small talk, then the stem.
fn retention(draft: &Draft<'_>, turns: usize) -> Written {
    let mut script = Script::new(draft);
    script.rivals_before(draft);
    script.state(script.wording(STATE.held_out, 0), draft.truth);
    script.rivals_after(draft);
    script.chat(turns, 1);
    script.finish()
}

/// Tier 2: two people with a number each; the question needs both. Every name is once the answer and
/// once the other one, is named first in half of the cases, and the numbers stay.
fn composition(draft: &Draft<'_>) -> Written {
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

/// Tier 3: three facts of A's persona, among them one of the same kind as the one that is asked for, five
/// turns of talk in which the persona shows once, asked.
fn persona(draft: &Draft<'_>) -> Written {
    let mut script = Script::new(draft);
    let place = draft.template % POOLS.len();
    let (own, other) = (&POOLS[place], &POOLS[(place + 1) % POOLS.len()]);
    let owner = own.relations.iter().position(|r| r.first == script.relation.first).unwrap_or_default();
    // Of the same kind and another candidate: what is held out of every third relation is the same.
    let near = &own.relations[(owner + HELD_OUT) % own.relations.len()];
    let near = format!("{} {}", near.first, script.values[draft.other(draft.template)]);
    let owner = draft.template % other.relations.len();
    let value = *script.random.pick(&candidates(&other.values, owner));
    let far = format!("{} {value}", other.relations[owner].first);
    let mut facts = [near, far.clone()].to_vec();
    facts.insert(draft.template % 3, format!("{} {}", script.relation.first, script.values[draft.truth]));
    let statement = sentence(script.wording(STATE.held_out, 0), &facts.join(", "));
    script.rivals_before(draft);
    script.say("A", &format!("{statement}."));
    script.evidence = last_word(&script.context, script.values[draft.truth]);
    script.rivals_after(draft);
    script.reply();
    script.chat(2, 1);
    script.say("A", &format!("{}.", sentence(script.wording(RESTATE.held_out, 1), &far)));
    script.chat(2, 1);
    script.ask();
    script.finish()
}

/// Tier 3: a subject is named and talked about, two others follow, and the first is taken up again.
fn topic(draft: &Draft<'_>) -> Written {
    let (pool, article) = SUBJECTS[draft.template % SUBJECTS.len()];
    let mut script = Script::about(draft, pool, draft.template % HELD_OUT);
    let open = script.wording(&OPENINGS, 0);
    script.rivals_before(draft);
    script.show("A", format!("{open}{article}").trim_end(), draft.truth, ".");
    script.rivals_after(draft);
    script.reply();
    for said in ["That is something to think about.", "There is much more to say about that."] {
        script.say("A", said);
        script.reply();
    }
    for step in 0..2 {
        let text = format!("{}{}.", script.wording(&SWITCHES, step), script.change_topic());
        script.say("B", &text);
        script.chat(2, 1);
    }
    let stem = format!("A: {}{article}", script.wording(&RETURNS, 0));
    script.finish_with(stem.trim_end().to_owned())
}

/// The tests in the words of the V5 document. Reported, not gated: a question is no cloze stem.
fn document_wording(draft: &Draft<'_>) -> Written {
    let first = |values: &[&'static str; POOL_SIZE]| values[..CANDIDATES].to_vec();
    let [color, city, food, animal, job] = [0, 1, 2, 3, 4].map(|pool| first(&POOLS[pool].values));
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
            let mut random = Random::new(SEED, draft.draw as u64 * 100);
            let unrelated: Vec<_> = (0..10).map(|i| filler(&mut random, &TOPICS[i % TOPICS.len()])).collect();
            let text = format!("I'm going to {}.\n{}\n", city[draft.truth], unrelated.join(" "));
            (text, "Where am I going?", city)
        }
        3 => {
            let mut people = [(draft.truth, 30), (next, 25)];
            if draft.truth % 2 == 1 {
                people.reverse();
            }
            let [a, b] = people.map(|(name, age)| format!("{} is {age}. ", NAMES[name]));
            (format!("{a}{b}"), "Who is older?", first(&NAMES))
        }
        4 => {
            let text = format!("You're a helpful {}. {COOKING} ", job[draft.truth]);
            (text, "Now help me with coding?", job)
        }
        _ => {
            let text = format!("Let's discuss the {}. {BREEDS} ", animal[draft.truth]);
            (text, "Now compare to the lion.", animal)
        }
    };
    let evidence = last_word(&context, candidates[draft.truth]);
    Written { context, stem: stem.to_owned(), candidates, evidence }
}
