//! The canaries C1 to C6 (ruling table of section 4): conversation tests that a model passes before it
//! grows, each in three to five paraphrased variants, scored as ruling R16 says.
//!
//! Invariant: as in [`super::cloze`]. A canary whose name speaks of an instruction, a tone or a persona asks
//! for the very word that was agreed on, so that it has a closed set of answers and nobody knows the right
//! one without the conversation. Where a second candidate is mentioned, each is as often the right one.

use super::conversations::approximate_tokens;
use super::grammar::{
    CANDIDATES, COMPARISONS, CONCLUDE, CORRECT, NAMES, POOL_SIZE, POOLS, RESTATE, STATE, held_out, sentence,
};
use super::item::ClozeItem;
use super::script::{Draft, ItemWriter, Script, Written, candidates, last_word};
use super::sentences::comparison_text;
use crate::data::tokenizer::Tokenizer;
use crate::evidence::Canary;

/// Tokens of small talk in C2a.
const LONG: usize = 2_000;

const COLOR: usize = 0;
const JOB: usize = 4;
const NAME: usize = 5;

/// Who writes the items of a canary. No two tests share their `draw`, which decides chance, pool and relation.
fn writer(canary: Canary) -> ItemWriter {
    let writer =
        |draw, templates, write| ItemWriter { test: canary.name(), draw, templates, rivals: false, write };
    match canary {
        Canary::C1a => writer(100, 5, |d| fact(d, 0)),
        Canary::C1b => writer(101, 5, |d| fact(d, 5)),
        Canary::C1b3 => writer(102, 5, |d| fact(d, 3)),
        Canary::C1c => writer(103, 5, |d| fact(d, 10)),
        Canary::C1d => writer(104, 4, two_facts),
        Canary::C2a => writer(105, 3, three_facts),
        Canary::C2b => writer(106, 4, synthesis),
        Canary::C3a => writer(107, 5, preference),
        Canary::C3b => writer(108, 4, reference),
        Canary::C3c => writer(109, 5, latest),
        Canary::C4a => writer(110, 4, format_kept),
        Canary::C4b => writer(111, 4, tone),
        Canary::C4c => writer(112, 3, three_instructions),
        Canary::C5a => writer(113, 4, |d| persona(d, 0)),
        Canary::C5b => writer(114, 4, |d| persona(d, 5 + d.template)),
        Canary::C5c => writer(115, 4, contradicted),
        Canary::C6a => writer(116, 4, conversations_apart),
        Canary::C6b => writer(117, 4, users_apart),
    }
}

/// Wordings of format, tone and persona, of topics, conversations and references: none is in training.
const BEGIN: [&str; 2] =
    ["please begin every answer with the word", "make it a rule to answer me first with"];
const END: [&str; 2] = ["please end every answer with the word", "let the last word of every answer be"];
const TONE: [&str; 4] = [
    "please keep the tone of a",
    "please talk to me in the manner of a",
    "you are to sound like a",
    "choose your words like a",
];
const TONE_KEPT: [&str; 4] =
    ["I keep the tone of a", "I talk in the manner of a", "I am to sound like a", "I choose my words like a"];
const ROLE: [&str; 4] = [
    "let us pretend that you are a",
    "in this story you play a",
    "imagine yourself as a",
    "your part in this play is a",
];
const ROLE_KEPT: [&str; 4] =
    ["I pretend that I am a", "in this story I play a", "I see myself as a", "my part in this play is a"];
const ROLE_CHANGED: [&str; 2] = ["you are none of that, you are a", "that is not who you are, you are a"];
const TOPIC: [&str; 2] = ["Let us leave that and look at the ", "Here is another matter, the "];
const APART: [[&str; 3]; 4] = [
    ["First conversation.", "Second conversation.", "First conversation, continued."],
    ["Chat number one.", "Chat number two.", "Chat number one again."],
    ["Letter to the north.", "Letter to the south.", "Letter to the north, next page."],
    ["Left table.", "Right table.", "Left table once more."],
];
const THAT: [&str; 2] = ["exactly that, too.", "just that as well."];

/// The wordings that are not in the tables of the conversations.
pub fn own_wordings() -> impl Iterator<Item = &'static str> {
    let fours = [TONE, TONE_KEPT, ROLE, ROLE_KEPT].into_iter().flatten();
    let pairs = [BEGIN, END, ROLE_CHANGED, TOPIC, THAT].into_iter().flatten();
    fours.chain(pairs).chain(APART.into_iter().flatten())
}

/// All items of a canary, as long as this tokenizer counts; none for an unknown name.
pub fn items(canary: &str, tokenizer: &Tokenizer) -> Option<Vec<ClozeItem>> {
    let count =
        |text: &str| tokenizer.encode(text).map_or_else(|_| approximate_tokens(text), |ids| ids.len());
    Canary::find(canary).map(|canary| writer(canary).items(&count))
}

/// Each variant of a canary takes another pool and relation.
fn script(draft: &Draft<'_>) -> Script {
    Script::about(draft, (draft.draw + 3 * draft.template) % POOLS.len(), draft.draw % 3)
}

/// C1a to C1c: a fact, so many sentences, asked.
fn fact(draft: &Draft<'_>, sentences: usize) -> Written {
    let mut script = script(draft);
    script.state(script.wording(STATE.held_out, 0), draft.truth);
    script.chat(sentences, 1);
    script.ask();
    script.finish()
}

/// The clause of a relation three places on, which has the same candidates, with a value.
fn neighbour(draft: &Draft<'_>, script: &Script, value: usize) -> String {
    let pool = &POOLS[(draft.draw + 3 * draft.template) % POOLS.len()];
    format!("{} {}", pool.relations[draft.draw % 3 + 3].first, script.values[value])
}

/// C1d: two facts of one kind at once, five sentences, one of them asked: the first in half of the variants.
fn two_facts(draft: &Draft<'_>) -> Written {
    let mut script = script(draft);
    let lead = script.wording(STATE.held_out, 0);
    let other = neighbour(draft, &script, draft.other(draft.template));
    if draft.template.is_multiple_of(2) {
        let clause = sentence(lead, script.relation.first);
        script.show("A", &clause, draft.truth, &format!(", {other}."));
    } else {
        let clauses = sentence(lead, &format!("{other}, {}", script.relation.first));
        script.show("A", &clauses, draft.truth, ".");
    }
    script.chat(5, 1);
    script.ask();
    script.finish()
}

/// C2a: three facts of three kinds, a third of the conversation apart; each is asked for once.
fn three_facts(draft: &Draft<'_>) -> Written {
    /// Turns about a topic.
    const TURNS: usize = 8;
    let mut script = script(draft);
    let mut length = 0;
    for part in 0..3 {
        let lead = script.wording(STATE.held_out, part);
        if part == draft.template {
            script.state(lead, draft.truth);
        } else {
            let pool = &POOLS[(draft.draw + 3 * draft.template + part + 1) % POOLS.len()];
            let value = *script.random.pick(&candidates(&pool.values, part));
            let clause = format!("{} {value}.", pool.relations[part].first);
            script.say("A", &sentence(lead, &clause));
        }
        script.reply();
        // Only small talk is counted, so that the length does not depend on the truth.
        while length < LONG * (part + 1) / 3 {
            let before = script.context.len();
            script.change_topic();
            script.chat(TURNS, 1);
            length += (draft.count)(&script.context[before..]);
        }
    }
    script.finish()
}

/// C2b: nobody asks. Who of two people, told of at different times, is older; or where the friend lives,
/// told of by name.
fn synthesis(draft: &Draft<'_>) -> Written {
    match draft.template {
        0 | 1 => compared(draft, draft.template),
        2 => named(draft, 0, 1, "lives in"),
        _ => named(draft, 1, 4, "works as a"),
    }
}

/// Two people with a number each, as in the recall test, but apart and unasked.
fn compared(draft: &Draft<'_>, owner: usize) -> Written {
    let names: Vec<usize> = (0..POOL_SIZE).filter(|&name| held_out(owner, name)).collect();
    let mut numbers = [18, 5];
    let mut people = [names[draft.truth], names[(draft.truth + 1) % CANDIDATES]];
    if draft.truth % 2 == 1 {
        people.reverse();
        numbers.reverse();
    }
    let both = comparison_text(owner, [(people[0], numbers[0]), (people[1], numbers[1])]);
    let (first, second) = both.split_once(". ").unwrap_or_default();
    let mut script = Script::about(draft, NAME, owner);
    script.say("A", &sentence(script.wording(STATE.held_out, 0), &format!("{first}.")));
    script.chat(2, 1);
    script.say("A", &sentence(script.wording(STATE.held_out, 1), second));
    script.chat(1, 1);
    script.evidence = last_word(&script.context, script.values[draft.truth]);
    let (_, conclusion) = COMPARISONS[owner].sides[0];
    let stem = format!("A: {}", sentence(script.wording(CONCLUDE.held_out, 0), conclusion));
    script.finish_with(stem)
}

/// "My friend is called Tom. Tom lives in Rome, Anna lives in Paris." Who is meant comes first in one
/// variant of two.
fn named(draft: &Draft<'_>, relation: usize, pool: usize, verb: &str) -> Written {
    let mut script = Script::about(draft, pool, relation);
    let person = &POOLS[NAME].relations[relation];
    let names = candidates(&NAMES, relation);
    let [own, other] = [names[draft.template], names[draft.template + 2]];
    let name = format!("{} {own}.", person.first);
    script.say("A", &sentence(script.wording(STATE.held_out, 0), &name));
    script.chat(1, 1);
    let mut people = [(own, draft.truth), (other, draft.other(draft.template))];
    if draft.template % 2 == 1 {
        people.reverse();
    }
    for (step, (name, value)) in people.into_iter().enumerate() {
        let lead = script.wording(STATE.held_out, step + 1);
        script.show("A", &format!("{lead}{name} {verb}"), value, ".");
    }
    script.chat(1, 1);
    script.evidence = last_word(&script.context, script.values[draft.truth]);
    let whose = person.first.trim_end_matches(" is called");
    let stem = format!("A: {}", sentence(script.wording(CONCLUDE.held_out, 0), whose));
    script.finish_with(format!("{stem} {verb}"))
}

/// C3a: what A likes, four or five topics, taken up again.
fn preference(draft: &Draft<'_>) -> Written {
    /// Pool and relation.
    const LIKES: [(usize, usize); 5] = [(2, 0), (3, 5), (0, 0), (1, 5), (2, 3)];
    let (pool, owner) = LIKES[draft.template];
    let mut script = Script::about(draft, pool, owner);
    script.state(script.wording(STATE.held_out, 0), draft.truth);
    for step in 0..4 + draft.template % 2 {
        let text = format!("{}{}.", script.wording(&TOPIC, step), script.change_topic());
        script.say(if step % 2 == 0 { "B" } else { "A" }, &text);
        script.chat(2, 1);
    }
    script.finish()
}

/// C3b: "my car is exactly that, too": the value stated last, not the one before it.
fn reference(draft: &Draft<'_>) -> Written {
    /// Kinds of which "that" can be said, and three relations: the one meant by "that", the one asked for,
    /// and another.
    const KINDS: [(usize, [usize; 3]); 4] =
        [(COLOR, [0, 3, 5]), (NAME, [1, 4, 0]), (6, [3, 0, 5]), (7, [4, 1, 0])];
    let (pool, [meant, asked, before]) = KINDS[draft.template];
    let clause = |owner: usize| POOLS[pool].relations[owner].first;
    let mut script = Script::about(draft, pool, asked);
    let other = format!("{} {}.", clause(before), script.values[draft.other(draft.template)]);
    script.say("A", &sentence(script.wording(STATE.held_out, 0), &other));
    script.reply();
    script.show("A", &sentence(script.wording(STATE.held_out, 1), clause(meant)), draft.truth, ".");
    script.reply();
    let that = format!("{} {}", clause(asked), script.wording(&THAT, 0));
    script.say("A", &sentence(script.wording(STATE.held_out, 2), &that));
    script.chat(2, 1);
    script.finish()
}

/// C3c: stated and corrected, twice in half of the variants: the latest wins.
fn latest(draft: &Draft<'_>) -> Written {
    let mut script = script(draft);
    let olds = [draft.other(draft.template), draft.other(draft.template + 3)];
    script.state(script.wording(STATE.held_out, 0), olds[0]);
    script.chat(2, 1);
    if draft.template % 2 == 1 {
        script.state(script.wording(CORRECT.held_out, 1), olds[1]);
        script.chat(2, 1);
    }
    script.state(script.wording(CORRECT.held_out, 0), draft.truth);
    script.chat(3, 1);
    script.ask();
    script.finish()
}

/// Sentences that A says one after the other.
fn monologue(script: &mut Script, sentences: usize) {
    for _ in 0..sentences {
        let text = script.small_talk();
        script.say("A", &text);
    }
}

/// C4a: every answer is to begin, or to end, with a word; in half of the variants one answer has.
fn format_kept(draft: &Draft<'_>) -> Written {
    let begin = draft.template < 2;
    let mut script = Script::about(draft, COLOR, draft.template % 3);
    let rule = script.wording(if begin { &BEGIN } else { &END }, 0);
    script.show("A", &sentence("", rule), draft.truth, ".");
    monologue(&mut script, 2);
    if draft.template % 2 == 1 {
        match begin {
            true => script.show("B", "", draft.truth, ", all right."),
            false => script.show("B", "All right,", draft.truth, "."),
        }
    }
    monologue(&mut script, 3);
    let asked = script.small_talk();
    script.finish_with(format!("A: {asked}\nB:{}", if begin { "" } else { " I am not sure," }))
}

/// C4b: B is to sound like somebody.
fn tone(draft: &Draft<'_>) -> Written {
    let mut script = Script::about(draft, JOB, draft.template % 3);
    script.show("A", &sentence("", script.wording(&TONE, 0)), draft.truth, ".");
    script.chat(5, 1);
    let kept = script.wording(&TONE_KEPT, 0);
    script.finish_with(format!("B: {}", sentence("", kept)))
}

/// C4c: three instructions at once, each asked for once.
fn three_instructions(draft: &Draft<'_>) -> Written {
    /// The pool of each, the instruction up to its value, and the stem that follows it.
    const ORDERS: [(usize, &str, &str); 3] = [
        (COLOR, BEGIN[0], "A: Is that all?\nB:"),
        (NAME, "call me", "A: And who am I?\nB: You told me to call you"),
        (JOB, TONE[0], "B: I keep the tone of a"),
    ];
    let (pool, _, stem) = ORDERS[draft.template];
    let mut script = Script::about(draft, pool, draft.template);
    let mut text = String::new();
    for (place, (pool, order, _)) in ORDERS.into_iter().enumerate() {
        let value = match place == draft.template {
            true => script.values[draft.truth],
            false => *script.random.pick(&POOLS[pool].values),
        };
        let between = ["", ", ", " and "][place];
        text += &format!("{between}{order} {value}");
    }
    script.say("A", &sentence("", &format!("{text}.")));
    script.evidence = last_word(&script.context, script.values[draft.truth]);
    monologue(&mut script, 5);
    script.finish_with(stem.to_owned())
}

/// C5a and C5b: B is given a part, and says it so many turns later.
fn persona(draft: &Draft<'_>, turns: usize) -> Written {
    let mut script = Script::about(draft, JOB, draft.template % 3);
    script.show("A", &sentence("", script.wording(&ROLE, 0)), draft.truth, ".");
    script.chat(turns, 1);
    let kept = script.wording(&ROLE_KEPT, 0);
    script.finish_with(format!("B: {}", sentence("", kept)))
}

/// C5c: B is given a part, then another; the first does not come back.
fn contradicted(draft: &Draft<'_>) -> Written {
    let mut script = Script::about(draft, JOB, draft.template % 3);
    script.show("A", &sentence("", script.wording(&ROLE, 0)), draft.other(draft.template), ".");
    script.chat(2, 1);
    let changed = sentence(script.wording(CORRECT.held_out, 0), script.wording(&ROLE_CHANGED, 0));
    script.show("A", &changed, draft.truth, ".");
    script.chat(5, 1);
    let kept = script.wording(&ROLE_KEPT, 0);
    script.finish_with(format!("B: {}", sentence("", kept)))
}

/// C6a: what was said in a conversation counts in it, and what was said in another does not.
fn conversations_apart(draft: &Draft<'_>) -> Written {
    let mut script = script(draft);
    let [first, second, again] = APART[draft.template];
    script.context.push_str(&format!("{first}\n"));
    script.state(script.wording(STATE.held_out, 0), draft.truth);
    let evidence = script.evidence;
    script.chat(2, 1);
    script.context.push_str(&format!("{second}\n"));
    script.state(script.wording(STATE.held_out, 1), draft.other(draft.template));
    script.chat(2, 1);
    script.context.push_str(&format!("{again}\n"));
    script.chat(1, 1);
    script.evidence = evidence;
    script.finish()
}

/// C6b: two users say the same of themselves, each with a value; the one who speaks again is the first in
/// half of the variants.
fn users_apart(draft: &Draft<'_>) -> Written {
    /// Who speaks: no value of the pools of this canary.
    const USERS: [[&str; 2]; 4] = [["C", "D"], ["Mr. X", "Mr. Y"], ["User 1", "User 2"], ["X", "Y"]];
    /// Pool and relation.
    const FACTS: [(usize, usize); 4] = [(0, 1), (1, 0), (2, 2), (4, 0)];
    let (pool, owner) = FACTS[draft.template];
    let mut script = Script::about(draft, pool, owner);
    let own = draft.template % 2;
    let mut evidence = 0;
    for (place, user) in USERS[draft.template].into_iter().enumerate() {
        let value = if place == own { draft.truth } else { draft.other(draft.template) };
        let clause = sentence(script.wording(STATE.held_out, place), script.relation.first);
        script.show(user, &clause, value, ".");
        evidence = if place == own { script.evidence } else { evidence };
        script.reply();
    }
    script.evidence = evidence;
    script.chat(2, 1);
    let restated = sentence(script.wording(RESTATE.held_out, 0), script.relation.first);
    let user = USERS[draft.template][own];
    script.finish_with(format!("{user}: {restated}"))
}
