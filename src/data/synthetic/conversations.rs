//! The built-in corpus: conversations in which A tells things about A's life, corrects them, chats,
//! and both come back to them one to fifty turns later.
//!
//! Invariant: a document depends on (seed, split, index) alone; whatever is asked back has been
//! stated before and not corrected since; and no text holds a pair of relation and value, or a
//! wording, that evaluation keeps for itself. Values are drawn uniformly, so that nothing but memory
//! tells which one was stated.

use std::borrow::Cow;
use std::iter;

use super::grammar::{
    ANSWER, ASK, COMPARISONS, CONCLUDE, CORRECT, ECHOES, NAMES, POOL_SIZE, POOLS, Pool, REPLIES, RESTATE,
    STATE, TOPICS, TURNS_OF_TOPIC, Topic, second_person, sentence,
};
use super::sentences::{comparison_text, distance, filler, other, question, statement, trained};
use crate::data::tokenizer::{Tokenizer, TokenizerError};
use crate::data::vocabulary::Patience;
use crate::random::Random;

/// Streams below this one belong to orders.
const FIRST_STREAM: u64 = 2;

/// Which part of the corpus a document belongs to; the parts never share a stream of chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// To learn from.
    Train,
    /// To measure the loss on: same manner, other conversations.
    Valid,
}

/// How much text is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many conversations.
    Documents(usize),
    /// As many conversations as hold about so many tokens, by [`approximate_tokens`].
    Tokens(usize),
}

/// Generates conversations, the same ones for the same arguments.
pub fn conversations(seed: u64, split: Split, amount: Amount) -> Vec<String> {
    let endless = (0..).map(|index| conversation(seed, split, index));
    match amount {
        Amount::Documents(count) => endless.take(count).collect(),
        Amount::Tokens(wanted) => {
            let mut left = wanted;
            endless
                .take_while(|text| {
                    let go_on = left > 0;
                    left = left.saturating_sub(approximate_tokens(text));
                    go_on
                })
                .collect()
        }
    }
}

/// One conversation.
pub fn conversation(seed: u64, split: Split, index: u64) -> String {
    let stream = FIRST_STREAM + 2 * index + u64::from(split == Split::Valid);
    Conversation::new(Random::new(seed, stream)).write()
}

/// Words, punctuation marks and line ends: what a tokenizer makes of this text if it knows all words.
pub fn approximate_tokens(text: &str) -> usize {
    let words = text.split_whitespace().count();
    words + text.chars().filter(|letter| letter.is_ascii_punctuation() || *letter == '\n').count() + 1
}

/// A vocabulary learnt from conversations in which every value is a single token (ruling R16), however
/// small it is: the values are shown to it more often than the text alone has them. Only the
/// vocabulary sees that list; no model is trained on it.
pub fn tokenizer<'a, D>(documents: D, vocab_size: usize) -> Result<Tokenizer, TokenizerError>
where
    D: IntoIterator<Item: Into<Cow<'a, str>>, IntoIter: Send>,
{
    let values: Vec<&str> = POOLS.iter().flat_map(|pool| pool.values).collect();
    let list = format!(" {}\n", values.join(" ")).repeat(100);
    let lists = iter::repeat_n(Cow::from(list), 30);
    let documents = documents.into_iter().map(Into::into);
    Tokenizer::learn(documents.chain(lists), 0, vocab_size, &Patience::endless())
}

/// A value that A gave a relation.
#[derive(Clone, Copy)]
struct Own {
    pool: usize,
    relation: usize,
    value: usize,
}

impl Own {
    fn clause(&self) -> String {
        let Pool { values, relations, .. } = &POOLS[self.pool];
        format!("{} {}", relations[self.relation].first, values[self.value])
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Own(Own),
    /// Comparison, then the names of who has more and who has less.
    Compared {
        comparison: usize,
        names: [usize; 2],
    },
}

struct ToldFact {
    kind: Kind,
    /// Turns at which it is to be asked back.
    due: Vec<usize>,
}

struct Conversation {
    random: Random,
    turns: Vec<String>,
    facts: Vec<ToldFact>,
    topic: &'static Topic,
    length: usize,
    most_facts: usize,
}

impl Conversation {
    fn new(mut random: Random) -> Self {
        let length = 12 + random.below(30);
        let most_facts = 4 + random.below(4);
        let topic = random.pick(&TOPICS);
        Self { random, turns: Vec::new(), facts: Vec::new(), topic, length, most_facts }
    }

    fn write(mut self) -> String {
        while self.turns.len() < self.length {
            match self.next_due() {
                Some(fact) => self.recall(fact),
                None => self.something_new(),
            }
        }
        self.turns.concat()
    }

    fn say(&mut self, speaker: char, text: &str) {
        self.turns.push(format!("{speaker}: {text}\n"));
    }

    fn anybody(&mut self) -> char {
        *self.random.pick(&['A', 'B'])
    }

    /// The fact whose turn has come, if any; takes that appointment off its list.
    fn next_due(&mut self) -> Option<usize> {
        let now = self.turns.len();
        let fact = self.facts.iter().position(|fact| fact.due.iter().any(|&due| due <= now))?;
        let due = &mut self.facts[fact].due;
        let first = due.iter().position(|&due| due <= now)?;
        due.swap_remove(first);
        Some(fact)
    }

    fn something_new(&mut self) {
        let (room, told) = (self.facts.len() < self.most_facts, !self.facts.is_empty());
        match self.random.below(100) {
            0..60 if room => self.state(),
            60..62 if room => self.compare(),
            0..86 if told => self.recall_any(),
            86..92 if told => self.correct(),
            92..93 => self.change_topic(),
            93..94 if told => self.digress(),
            _ => self.chat(),
        }
    }

    fn recall_any(&mut self) {
        let fact = self.random.below(self.facts.len());
        self.recall(fact);
    }

    /// Small talk for up to fifty turns, and back to what was said before it.
    fn digress(&mut self) {
        let end = self.turns.len() + 5 + self.random.below(46);
        self.change_topic();
        while self.turns.len() < end {
            self.chat();
        }
        self.recall_any();
    }

    /// A states one to three facts at once.
    fn state(&mut self) {
        let wanted = 1 + self.random.below(3);
        let facts: Vec<Own> = (0..wanted).filter_map(|_| self.new_fact()).collect();
        if facts.is_empty() {
            return self.chat();
        }
        let clauses: Vec<String> = facts.iter().map(Own::clause).collect();
        let lead = self.random.pick(STATE.train);
        self.say('A', &statement(lead, &clauses.join(", ")));
        self.acknowledge(Some(&clauses.join(", ")));
    }

    /// A fact that was not told yet. Half of them share the pool of an earlier one: the question's
    /// relation, not just its kind, must then be remembered.
    fn new_fact(&mut self) -> Option<Own> {
        let earlier = self.facts.last().and_then(|fact| match fact.kind {
            Kind::Own(own) => Some(own.pool),
            Kind::Compared { .. } => None,
        });
        let pool = earlier.filter(|_| self.random.chance(50));
        let pool = pool.unwrap_or_else(|| self.random.below(POOLS.len()));
        let relation = self.random.below(POOLS[pool].relations.len());
        let same = |own: &Own| (own.pool, own.relation) == (pool, relation);
        if self.facts.iter().any(|fact| matches!(&fact.kind, Kind::Own(own) if same(own))) {
            return None;
        }
        let own = Own { pool, relation, value: trained(&mut self.random, relation) };
        self.remember(Kind::Own(own));
        Some(own)
    }

    fn compare(&mut self) {
        let comparison = self.random.below(COMPARISONS.len());
        let known =
            |fact: &ToldFact| matches!(fact.kind, Kind::Compared { comparison: c, .. } if c == comparison);
        if self.facts.iter().any(known) {
            return self.chat();
        }
        let more = trained(&mut self.random, comparison);
        let less = other(more, || trained(&mut self.random, comparison));
        let small = self.random.below(POOL_SIZE);
        let large = other(small, || self.random.below(POOL_SIZE));
        let mut pairs = [(more, small.max(large)), (less, small.min(large))];
        self.random.shuffle(&mut pairs);
        let lead = self.random.pick(STATE.train);
        let text = comparison_text(comparison, pairs);
        self.say('A', &sentence(lead, &text));
        self.remember(Kind::Compared { comparison, names: [more, less] });
        self.acknowledge(None);
    }

    /// Notes a fact and when it is to be asked back.
    fn remember(&mut self, kind: Kind) {
        let now = self.turns.len();
        let times = 3 + self.random.below(3);
        let due = (0..times).map(|_| now + distance(&mut self.random)).collect();
        self.facts.push(ToldFact { kind, due });
    }

    /// B takes note of what A just said, often by saying it back: the shortest of all recalls, and
    /// the one from which a small model first learns that values can be copied.
    fn acknowledge(&mut self, said: Option<&str>) {
        match (self.random.below(100), said) {
            (0..75, Some(clauses)) => {
                let lead = self.random.pick(ANSWER.train);
                self.say('B', &statement(lead, &second_person(clauses)));
            }
            (75..85, _) => {
                let reply = self.random.pick(&REPLIES);
                self.say('B', reply);
            }
            _ => {}
        }
    }

    /// A takes back the value of a fact and gives another.
    fn correct(&mut self) {
        let fact = self.random.below(self.facts.len());
        let Kind::Own(old) = self.facts[fact].kind else {
            return self.chat();
        };
        let value = other(old.value, || trained(&mut self.random, old.relation));
        let own = Own { value, ..old };
        let lead = self.random.pick(CORRECT.train);
        self.say('A', &statement(lead, &own.clause()));
        let due = self.turns.len() + distance(&mut self.random);
        self.facts[fact].kind = Kind::Own(own);
        self.facts[fact].due.push(due);
        self.acknowledge(Some(&own.clause()));
    }

    fn recall(&mut self, fact: usize) {
        let kind = self.facts[fact].kind;
        match kind {
            Kind::Own(_) if self.facts.len() > 1 && self.random.chance(90) => self.sum_up(),
            Kind::Own(own) => self.recall_own(own),
            Kind::Compared { comparison, names } => self.recall_comparison(comparison, names),
        }
    }

    /// Somebody says everything that is known of A, in any order: each relation must find its value.
    fn sum_up(&mut self) {
        let mut clauses: Vec<String> = self
            .facts
            .iter()
            .filter_map(|fact| match fact.kind {
                Kind::Own(own) => Some(own.clause()),
                Kind::Compared { .. } => None,
            })
            .collect();
        self.random.shuffle(&mut clauses);
        let text = clauses.join(", ");
        let said = self.random.below(3);
        if said < 2 {
            let plain = self.random.chance(50);
            let lead = if plain { "" } else { self.random.pick(RESTATE.train) };
            self.say('A', &statement(lead, &text));
        }
        if said > 0 {
            let lead = self.random.pick(ANSWER.train);
            self.say('B', &statement(lead, &second_person(&text)));
        }
    }

    fn recall_own(&mut self, own: Own) {
        let ask = POOLS[own.pool].relations[own.relation].ask;
        let ask_lead = self.random.pick(ASK.train);
        match self.random.below(6) {
            0 => {
                self.say('A', &question(ask_lead, ask));
                let lead = self.random.pick(ANSWER.train);
                self.say('B', &statement(lead, &second_person(&own.clause())));
            }
            1 => {
                self.say('B', &question(ask_lead, &second_person(ask)));
                let plain = self.random.chance(50);
                let lead = if plain { "" } else { self.random.pick(RESTATE.train) };
                self.say('A', &statement(lead, &own.clause()));
            }
            _ => {
                let lead = self.random.pick(RESTATE.train);
                self.say('A', &statement(lead, &own.clause()));
            }
        }
    }

    fn recall_comparison(&mut self, comparison: usize, names: [usize; 2]) {
        let side = self.random.below(2);
        let (ask, conclusion) = COMPARISONS[comparison].sides[side];
        let speaker = self.anybody();
        if self.random.chance(50) {
            let lead = self.random.pick(ASK.train);
            self.say(listener(speaker), &question(lead, ask));
        }
        let lead = self.random.pick(CONCLUDE.train);
        self.say(speaker, &statement(lead, &format!("{conclusion} {}", NAMES[names[side]])));
    }

    fn change_topic(&mut self) {
        self.topic = self.random.pick(&TOPICS);
        let text = self.random.pick(&TURNS_OF_TOPIC).replace("{n}", self.topic.name);
        let speaker = self.anybody();
        self.say(speaker, &text);
    }

    fn chat(&mut self) {
        let speaker = self.anybody();
        if self.random.chance(12) {
            let reply = self.random.pick(&REPLIES);
            return self.say(speaker, reply);
        }
        let mut text = filler(&mut self.random, self.topic);
        if self.random.chance(15) {
            text = format!("{text} {}", filler(&mut self.random, self.topic));
        }
        self.say(speaker, &text);
        if self.random.chance(30) {
            let echo = self.random.pick(&ECHOES);
            self.say(listener(speaker), &format!("{echo}{text}"));
        }
    }
}

fn listener(speaker: char) -> char {
    if speaker == 'A' { 'B' } else { 'A' }
}
