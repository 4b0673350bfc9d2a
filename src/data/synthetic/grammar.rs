//! The tables of the built-in conversations: what people state about themselves, in which words,
//! and what they chat about in between.
//!
//! Invariant: every value is one word, no value stands in two pools, and no word of the small talk
//! is a value; so a value in a conversation is always a statement that can be asked back. To add
//! variety, add an entry; pools keep [`POOL_SIZE`] values and fillers keep to consonant-initial
//! nouns and adjectives (they follow "a").

/// Values in every pool; a third of them is held out per relation, which makes the candidates.
pub const POOL_SIZE: usize = 24;
/// Every third value and every third wording is kept for evaluation.
pub const HELD_OUT: usize = 3;
/// Candidates of an evaluation item: the held-out values of its relation (ruling R16: 8 to 16).
pub const CANDIDATES: usize = POOL_SIZE / HELD_OUT;

/// Values of one kind and the relations that share them.
pub struct Pool {
    /// What kind.
    pub name: &'static str,
    /// The values.
    pub values: [&'static str; POOL_SIZE],
    /// Who or what can have such a value.
    pub relations: [Relation; 6],
}

/// Something A has one value of.
pub struct Relation {
    /// A's statement up to the value, in the first person and without a capital.
    pub first: &'static str,
    /// A's question for it, without a capital and without the question mark.
    pub ask: &'static str,
}

const fn rel(first: &'static str, ask: &'static str) -> Relation {
    Relation { first, ask }
}

/// Words around a clause: the lead comes first and takes the capital.
pub struct Wordings {
    /// Used in training text.
    pub train: &'static [&'static str],
    /// Used in evaluation only.
    pub held_out: &'static [&'static str],
}

/// A first statement of a fact.
pub const STATE: Wordings = Wordings {
    train: &[
        "",
        "Well, ",
        "You should know that ",
        "I want to tell you that ",
        "By the way, ",
        "Just so you know, ",
        "Listen, ",
        "Oh, and ",
    ],
    held_out: &[
        "Let me tell you that ",
        "I should tell you that ",
        "Well, by the way, ",
        "Oh, just so you know, ",
    ],
};
/// The same fact again.
pub const RESTATE: Wordings = Wordings {
    train: &["As I said, ", "Like I said, ", "I told you that ", "Remember, ", "Again, ", "Yes, "],
    held_out: &["As I told you, ", "Yes, like I said, ", "Remember, as I said, "],
};
/// Another value in place of the old one: the latest wins.
pub const CORRECT: Wordings = Wordings {
    train: &[
        "Actually, ",
        "No wait, ",
        "Sorry, I meant that ",
        "Wait, now ",
        "Let me correct that, ",
        "No, ",
    ],
    held_out: &["No, actually, ", "Sorry, actually ", "Wait, I meant that "],
};
/// A question.
pub const ASK: Wordings = Wordings {
    train: &["", "Tell me, ", "Do you remember, ", "Quick question, ", "So, ", "Say, "],
    held_out: &["So tell me, ", "Now tell me, ", "Say, do you remember, "],
};
/// B's answer.
pub const ANSWER: Wordings = Wordings {
    train: &["", "I think ", "You said that ", "Sure, "],
    held_out: &["I think you said that ", "Sure, you said that "],
};
/// What follows from a comparison.
pub const CONCLUDE: Wordings = Wordings {
    train: &["", "So ", "I think ", "Clearly, "],
    held_out: &["So I think ", "Clearly, I think "],
};
/// All of them.
pub const WORDINGS: [&Wordings; 6] = [&STATE, &RESTATE, &CORRECT, &ASK, &ANSWER, &CONCLUDE];

/// All pools.
pub const POOLS: [Pool; 8] = [
    Pool {
        name: "color",
        values: [
            "red", "blue", "green", "black", "white", "brown", "pink", "gray", "gold", "silver", "purple",
            "yellow", "violet", "navy", "tan", "cream", "rose", "bronze", "sand", "olive", "ivory", "coral",
            "ruby", "lime",
        ],
        relations: [
            rel("my favorite color is", "what is my favorite color"),
            rel("my car is", "what color is my car"),
            rel("my door is", "what color is my door"),
            rel("my coat is", "what color is my coat"),
            rel("my bike is", "what color is my bike"),
            rel("my house is", "what color is my house"),
        ],
    },
    Pool {
        name: "city",
        values: [
            "Paris", "London", "Rome", "Berlin", "Madrid", "Tokyo", "Boston", "Chicago", "Dallas", "Denver",
            "Miami", "Dublin", "Vienna", "Athens", "Moscow", "Cairo", "Seattle", "Houston", "Rio", "Toronto",
            "Prague", "Lima", "Milan", "Delhi",
        ],
        relations: [
            rel("I live in", "where do I live"),
            rel("I am going to", "where am I going"),
            rel("my family is from", "where is my family from"),
            rel("my office is in", "where is my office"),
            rel("my next stop is", "what is my next stop"),
            rel("my favorite city is", "what is my favorite city"),
        ],
    },
    Pool {
        name: "food",
        values: [
            "apples", "oranges", "rice", "bread", "cheese", "soup", "pizza", "pasta", "beef", "eggs",
            "salad", "beans", "corn", "cake", "honey", "butter", "peas", "grapes", "ham", "lamb", "nuts",
            "pork", "onions", "bacon",
        ],
        relations: [
            rel("I like", "what do I like"),
            rel("my lunch is", "what is my lunch"),
            rel("my dinner is", "what is my dinner"),
            rel("my favorite food is", "what is my favorite food"),
            rel("I need to buy", "what do I need to buy"),
            rel("I never eat", "what do I never eat"),
        ],
    },
    Pool {
        name: "animal",
        values: [
            "dog", "cat", "horse", "rabbit", "bird", "snake", "mouse", "duck", "goat", "pig", "cow", "sheep",
            "lion", "tiger", "bear", "wolf", "fox", "turtle", "frog", "monkey", "rat", "hawk", "shark",
            "camel",
        ],
        relations: [
            rel("my pet is a", "what is my pet"),
            rel("my first pet was a", "what was my first pet"),
            rel("my costume is a", "what is my costume"),
            rel("my neighbor has a", "what does my neighbor have"),
            rel("my picture shows a", "what does my picture show"),
            rel("I want a", "what do I want"),
        ],
    },
    Pool {
        name: "job",
        values: [
            "doctor", "teacher", "driver", "cook", "nurse", "lawyer", "farmer", "writer", "singer",
            "painter", "pilot", "judge", "soldier", "banker", "baker", "dentist", "dancer", "butcher",
            "chef", "guard", "tailor", "sailor", "manager", "reporter",
        ],
        relations: [
            rel("I work as a", "what do I work as"),
            rel("my father is a", "what is my father"),
            rel("my mother is a", "what is my mother"),
            rel("my sister is a", "what is my sister"),
            rel("my brother is a", "what is my brother"),
            rel("my uncle is a", "what is my uncle"),
        ],
    },
    Pool {
        name: "name",
        values: NAMES,
        relations: [
            rel("my friend is called", "what is my friend called"),
            rel("my boss is called", "what is my boss called"),
            rel("my cousin is called", "what is my cousin called"),
            rel("my son is called", "what is my son called"),
            rel("my daughter is called", "what is my daughter called"),
            rel("my partner is called", "what is my partner called"),
        ],
    },
    Pool {
        name: "number",
        values: NUMBERS,
        relations: [
            rel("my age is", "what is my age"),
            rel("my room is number", "what number is my room"),
            rel("my bus is number", "what number is my bus"),
            rel("my lucky number is", "what is my lucky number"),
            rel("my seat is number", "what number is my seat"),
            rel("my score is", "what is my score"),
        ],
    },
    Pool {
        name: "budget",
        values: BUDGETS,
        relations: [
            rel("my travel budget is", "what is my travel budget"),
            rel("my food budget is", "what is my food budget"),
            rel("my rent is", "what is my rent"),
            rel("my phone bill is", "what is my phone bill"),
            rel("my gift budget is", "what is my gift budget"),
            rel("my monthly limit is", "what is my monthly limit"),
        ],
    },
];

/// First names.
pub const NAMES: [&str; POOL_SIZE] = [
    "Alice", "Bob", "Tom", "Anna", "Sam", "Max", "Emma", "Jack", "Lucy", "Paul", "Mary", "John", "Peter",
    "Sarah", "Kate", "David", "Laura", "Henry", "Grace", "Nick", "Jane", "Adam", "Ben", "Leo",
];
/// Small numbers, ascending.
pub const NUMBERS: [&str; POOL_SIZE] = [
    "12", "14", "15", "17", "18", "20", "21", "23", "25", "26", "28", "30", "32", "34", "36", "38", "40",
    "42", "45", "48", "50", "56", "60", "64",
];
/// Amounts of money, ascending.
pub const BUDGETS: [&str; POOL_SIZE] = [
    "100", "120", "150", "180", "200", "220", "240", "250", "280", "300", "320", "350", "400", "420", "450",
    "480", "500", "550", "600", "650", "700", "750", "800", "900",
];

/// Two named people and a number each: who has the larger, who the smaller?
pub struct Comparison {
    /// Between a name and its number.
    pub verb: &'static str,
    /// The numbers, ascending.
    pub numbers: &'static [&'static str; POOL_SIZE],
    /// Question and conclusion for the larger number, then for the smaller.
    pub sides: [(&'static str, &'static str); 2],
}

/// All comparisons; as many as there are thirds of names to hold out, so that names stay even.
pub const COMPARISONS: [Comparison; HELD_OUT] = [
    Comparison {
        verb: "is",
        numbers: &NUMBERS,
        sides: [("who is older", "the older one is"), ("who is younger", "the younger one is")],
    },
    Comparison {
        verb: "earns",
        numbers: &BUDGETS,
        sides: [("who is richer", "the richer one is"), ("who is poorer", "the poorer one is")],
    },
    Comparison {
        verb: "scored",
        numbers: &NUMBERS,
        sides: [("who won", "the winner is"), ("who lost", "the loser is")],
    },
];

/// Something to chat about: its words turn up together, so that small talk has a context too.
pub struct Topic {
    /// Follows "the".
    pub name: &'static str,
    /// Things.
    pub nouns: [&'static str; 6],
    /// What one does with them.
    pub verbs: [&'static str; 3],
    /// How they are.
    pub adjectives: [&'static str; 4],
}

const fn topic(
    name: &'static str,
    nouns: [&'static str; 6],
    verbs: [&'static str; 3],
    adjectives: [&'static str; 4],
) -> Topic {
    Topic { name, nouns, verbs, adjectives }
}

/// All topics.
pub const TOPICS: [Topic; 8] = [
    topic(
        "garden",
        ["tree", "fence", "path", "pond", "gate", "shed"],
        ["plant", "water", "dig"],
        ["wet", "tall", "muddy", "lovely"],
    ),
    topic(
        "kitchen",
        ["table", "oven", "spoon", "plate", "knife", "cup"],
        ["wash", "fill", "move"],
        ["hot", "clean", "dirty", "sharp"],
    ),
    topic(
        "weather",
        ["storm", "cloud", "wind", "rain", "snow", "sky"],
        ["watch", "fear", "follow"],
        ["cold", "strong", "dark", "heavy"],
    ),
    topic(
        "music",
        ["song", "band", "piano", "drum", "stage", "radio"],
        ["play", "hear", "record"],
        ["loud", "soft", "famous", "sweet"],
    ),
    topic(
        "game",
        ["team", "field", "race", "ball", "goal", "player"],
        ["win", "kick", "throw"],
        ["fast", "late", "fair", "long"],
    ),
    topic(
        "trip",
        ["train", "map", "ticket", "bridge", "hotel", "road"],
        ["book", "cross", "find"],
        ["busy", "cheap", "full", "narrow"],
    ),
    topic(
        "school",
        ["lesson", "pencil", "class", "test", "desk", "story"],
        ["read", "study", "write"],
        ["short", "hard", "boring", "simple"],
    ),
    topic(
        "computer",
        ["screen", "file", "program", "button", "mail", "game"],
        ["open", "close", "fix"],
        ["slow", "new", "broken", "small"],
    ),
];

/// When.
pub const TIMES: [&str; 8] =
    ["today", "tonight", "this week", "this morning", "every day", "right now", "these days", "on Monday"];

/// Small talk: {n} and {m} are two nouns of the topic, {v} a verb, {a} and {b} two adjectives, {t} a time.
pub const FILLERS: [&str; 24] = [
    "The {n} is {a} {t}.",
    "Nobody saw the {n} {t}.",
    "We should {v} the {n} {t}.",
    "That {n} looks {a}.",
    "Did you {v} the {n}?",
    "They hope the {n} stays {a}.",
    "There was a {a} {n} near the {m}.",
    "People say the {n} is {a}.",
    "It is hard to {v} a {a} {n}.",
    "The {n} and the {m} look {a}.",
    "Nobody could {v} the {n} {t}.",
    "Maybe we {v} the {n} {t}.",
    "How is the {n} {t}?",
    "The {m} is right next to the {n}.",
    "They {v} the {n} {t}.",
    "She thinks the {n} is too {a}.",
    "He left the {n} by the {m}.",
    "The {n} was {a}, but the {m} was {b}.",
    "Can we {v} the {n} and the {m}?",
    "First we {v} the {n}, then the {m}.",
    "Is the {n} always so {a}?",
    "It is {a} and {b} {t}.",
    "Nobody needs a {a} {n} {t}.",
    "He can {v} the {n}, she can {v} the {m}.",
];

/// Short replies.
pub const REPLIES: [&str; 14] = [
    "I see.",
    "That is nice.",
    "Good to know.",
    "All right.",
    "Thank you.",
    "Got it.",
    "I will remember that.",
    "Really?",
    "Of course.",
    "That makes sense.",
    "Good idea.",
    "Is that so?",
    "Tell me more.",
    "Fine.",
];

/// How the other one says a sentence of small talk back.
pub const ECHOES: [&str; 4] = ["", "Yes. ", "Right. ", "You say so. "];

/// Changes of topic: {n} is the topic.
pub const TURNS_OF_TOPIC: [&str; 5] = [
    "Let us talk about the {n}.",
    "Now about the {n}.",
    "Back to the {n}.",
    "What about the {n}?",
    "Can we talk about the {n}?",
];

/// Whether a value is never stated of a relation (or a name in a comparison) in training; `owner` is
/// the relation's place in its pool, or the comparison's in its table.
pub const fn held_out(owner: usize, value: usize) -> bool {
    (owner + value).is_multiple_of(HELD_OUT)
}

/// A clause turned from A to B, as B says it of A: my becomes your, I becomes you, am becomes are.
pub fn second_person(clause: &str) -> String {
    let words = clause.split(' ').map(|word| match word {
        "my" => "your",
        "I" => "you",
        "am" => "are",
        other => other,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A lead and a clause, with the capital where the sentence begins.
pub fn sentence(lead: &str, clause: &str) -> String {
    let text = format!("{lead}{clause}");
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
