//! The conversation tests of the gate: recall tests and canaries, one line each (rulings R16 and R17, and the table
//! of canaries in section 4 of the rulings). Metrics, probes, suites and criteria follow from these lines.
//!
//! To add one: a line here, and the function that writes its items in `data/synthetic/cloze.rs` or
//! `data/synthetic/canaries.rs`. The compiler asks for the second as soon as the first is there.

/// The part of the statefulness evaluation that a recall test belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecallTier {
    /// Tier 1: the fact was stated a moment ago.
    ShortTerm,
    /// Tier 2: other talk lies in between, or two facts have to be combined.
    MediumTerm,
    /// Tier 3: a persona is kept, or a topic taken up again.
    Conversational,
    /// Retention: that many turns of small talk lie between statement and question.
    Retention(u32),
}

/// A figure of a recall test (ruling R16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecallScore {
    /// Share of items whose true candidate scores highest.
    Accuracy,
    /// Mean reciprocal rank of the true candidate.
    MeanReciprocalRank,
    /// Bits retained: log2 K plus the mean log2 probability of the true candidate among K.
    Bits,
    /// Accuracy on the items that name other candidates in other roles.
    WithRivals,
    /// Accuracy on those that name the true candidate alone.
    WithoutRivals,
}

impl RecallScore {
    /// Every figure, those of items with and without rivals last.
    const ALL: &'static [RecallScore] = &[
        RecallScore::Accuracy,
        RecallScore::MeanReciprocalRank,
        RecallScore::Bits,
        RecallScore::WithRivals,
        RecallScore::WithoutRivals,
    ];

    /// Whether it is a share of items that were answered rightly.
    pub fn is_accuracy(self) -> bool {
        self.unit() == "accuracy"
    }

    /// Its unit.
    pub(super) const fn unit(self) -> &'static str {
        match self {
            RecallScore::Accuracy | RecallScore::WithRivals | RecallScore::WithoutRivals => "accuracy",
            RecallScore::MeanReciprocalRank => "reciprocal rank",
            RecallScore::Bits => "bits",
        }
    }
}

/// A set of canaries whose mean accuracy the rulings ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// The quickest look at a checkpoint.
    Tiny,
    /// Asked at every gated scale.
    Minimal,
    /// Asked from 8M on.
    Standard,
    /// Every canary that has a limit; asked from 30M on.
    Extended,
}

macro_rules! recall_tests {
    ($($test:ident $name:literal $tier:expr, $in_score:literal, $what:literal, $claim:literal, $why:literal;)*) => {
        /// A recall test: candidates for a cloze stem are scored by log-likelihood (ruling R16).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum RecallTest {
            $(#[doc = concat!($what, ".")] $test,)*
        }

        impl RecallTest {
            /// Every recall test, in the order of the table.
            pub const ALL: &'static [RecallTest] = &[$(RecallTest::$test,)*];

            /// The name, as items and metric ids have it.
            pub const fn name(self) -> &'static str {
                match self { $(RecallTest::$test => $name,)* }
            }

            /// The part of the evaluation that it belongs to.
            pub const fn tier(self) -> RecallTier {
                match self { $(RecallTest::$test => $tier,)* }
            }

            /// Whether the statefulness score counts it (ruling R17).
            pub const fn in_score(self) -> bool {
                match self { $(RecallTest::$test => $in_score,)* }
            }

            /// What a model that passes it does.
            pub const fn claim(self) -> &'static str {
                match self { $(RecallTest::$test => $claim,)* }
            }

            /// Why it is asked.
            pub const fn why(self) -> &'static str {
                match self { $(RecallTest::$test => $why,)* }
            }

            /// The id of one of its figures.
            pub(super) const fn metric_id(self, score: RecallScore) -> &'static str {
                match score {
                    RecallScore::Accuracy => match self { $(RecallTest::$test => concat!($name, "_accuracy"),)* },
                    RecallScore::MeanReciprocalRank => match self { $(RecallTest::$test => concat!($name, "_mrr"),)* },
                    RecallScore::Bits => match self { $(RecallTest::$test => concat!($name, "_bits"),)* },
                    RecallScore::WithRivals => match self {
                        $(RecallTest::$test => concat!($name, "_accuracy_with_rivals"),)*
                    },
                    RecallScore::WithoutRivals => match self {
                        $(RecallTest::$test => concat!($name, "_accuracy_without_rivals"),)*
                    },
                }
            }

            /// What one of its figures is, in one line.
            pub(super) const fn metric_doc(self, score: RecallScore) -> &'static str {
                match score {
                    RecallScore::Accuracy => match self { $(RecallTest::$test => concat!($what, ": accuracy."),)* },
                    RecallScore::MeanReciprocalRank => match self {
                        $(RecallTest::$test => concat!($what, ": mean reciprocal rank."),)*
                    },
                    RecallScore::Bits => match self { $(RecallTest::$test => concat!($what, ": bits retained."),)* },
                    RecallScore::WithRivals => match self {
                        $(RecallTest::$test => concat!(
                            $what, ": accuracy on items that also name other candidates in other roles (ruling R16)."
                        ),)*
                    },
                    RecallScore::WithoutRivals => match self {
                        $(RecallTest::$test => concat!($what, ": accuracy on items that name the true one alone."),)*
                    },
                }
            }
        }
    };
}

macro_rules! canaries {
    ($($canary:ident $id:literal $limit:expr, [$($suite:ident)*], $what:literal, $claim:literal;)*) => {
        /// A canary: a conversation test that a model passes before it grows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Canary {
            $(#[doc = concat!("Canary ", stringify!($canary), ": ", $what, ".")] $canary,)*
        }

        impl Canary {
            /// Every canary, in the order of the table.
            pub const ALL: &'static [Canary] = &[$(Canary::$canary,)*];

            /// The name, as items and criteria have it.
            pub const fn name(self) -> &'static str {
                match self { $(Canary::$canary => stringify!($canary),)* }
            }

            /// The least accuracy that passes; none for a canary that only a suite asks.
            pub const fn limit(self) -> Option<f64> {
                match self { $(Canary::$canary => $limit,)* }
            }

            /// What a model that passes it does.
            pub const fn claim(self) -> &'static str {
                match self { $(Canary::$canary => $claim,)* }
            }

            /// The suites that name it; [`Suite::Extended`] is every canary with a limit.
            const fn suites(self) -> &'static [Suite] {
                match self { $(Canary::$canary => &[$(Suite::$suite,)*],)* }
            }

            /// The id of its accuracy.
            pub(super) const fn metric_id(self) -> &'static str {
                match self { $(Canary::$canary => $id,)* }
            }

            /// What its accuracy is, in one line.
            pub(super) const fn metric_doc(self) -> &'static str {
                match self {
                    $(Canary::$canary => concat!("Canary ", stringify!($canary), ": ", $what, "."),)*
                }
            }
        }
    };
}

use RecallTier::{Conversational, MediumTerm, Retention, ShortTerm};

#[rustfmt::skip]
recall_tests! {
    // name, tier, counted in the score, what it is, the claim of its criterion, why it is asked
    ThreeTurnMemory "three_turn_memory" ShortTerm, true, "Recall of a fact stated three times", "Both models recall a fact stated three times", "Tier 1: without it no longer memory means anything.";
    ContextualCorrection "contextual_correction" ShortTerm, true, "Recall of a corrected preference", "Both models recall a corrected preference", "Tier 1: the latest statement wins.";
    InterruptedDialogue "interrupted_dialogue" MediumTerm, true, "Recall after ten unrelated sentences", "Both models recall across ten unrelated sentences", "Tier 2; decided through the score.";
    MultiFactComposition "multi_fact_composition" MediumTerm, true, "An answer composed of two facts", "Both models compose two facts", "Tier 2; decided through the score.";
    PersonaConsistency "persona_consistency" Conversational, true, "Tier 3, the persona is kept where it belongs", "Keeping a persona is measured for both models", "Tier 3. Required by itself, so that a score measured without it cannot pass (R17 counts it in).";
    TopicThreading "topic_threading" Conversational, true, "Tier 3, a topic is taken up again", "Taking a topic up again is measured for both models", "Tier 3. Required by itself, so that a score measured without it cannot pass (R17 counts it in).";
    Retention1 "retention_1" Retention(1), false, "Recall after 1 turn", "Both models recall after 1 turn", "Retention; the reference for longer distances.";
    Retention5 "retention_5" Retention(5), true, "Recall after 5 turns", "Both models recall after 5 turns", "Retention; decided through the score.";
    Retention10 "retention_10" Retention(10), true, "Recall after 10 turns", "Both models recall after 10 turns", "Retention; decided through the score.";
    Retention20 "retention_20" Retention(20), true, "Recall after 20 turns", "Both models recall after 20 turns", "Retention; decided through the score.";
    Retention50 "retention_50" Retention(50), true, "Recall after 50 turns", "Both models recall after 50 turns", "Retention; decided through the score.";
}

#[rustfmt::skip]
canaries! {
    // id of its metric, limit, suites beside Extended, what it is, the claim of its criterion
    C1a "canary_c1a" Some(0.95), [Tiny Minimal Standard], "a fact asked at once", "A fact is recalled at once";
    C1b "canary_c1b" Some(0.85), [Minimal Standard], "a fact, five sentences between", "A fact is recalled over 5 sentences";
    C1b3 "canary_c1b3" None, [Tiny], "a fact, three sentences between", "";
    C1c "canary_c1c" Some(0.70), [Standard], "a fact, ten sentences between", "A fact is recalled over 10 sentences";
    C1d "canary_c1d" Some(0.80), [], "two facts, five sentences between", "Two facts are recalled over 5 sentences";
    C2a "canary_c2a" Some(0.75), [Standard], "three facts in 2,000 tokens", "Three facts are recalled in 2,000 tokens";
    C2b "canary_c2b" Some(0.60), [], "implicit synthesis", "Facts are put together unasked";
    C3a "canary_c3a" Some(0.90), [Standard], "a preference after four to five topics", "A preference outlasts four to five topics";
    C3b "canary_c3b" Some(0.80), [Standard], "a reference resolved", "A reference is resolved";
    C3c "canary_c3c" Some(0.85), [], "a correction: the latest wins", "After a correction the latest wins";
    C4a "canary_c4a" Some(0.90), [Minimal Standard], "a format instruction persists", "A format instruction persists";
    C4b "canary_c4b" Some(0.80), [Standard], "a tone persists", "A tone persists";
    C4c "canary_c4c" Some(0.70), [], "three instructions persist", "Three instructions persist";
    C5a "canary_c5a" Some(0.85), [Minimal Standard], "a persona emerges", "A persona emerges";
    C5b "canary_c5b" Some(0.80), [Standard], "a persona stays consistent", "A persona stays consistent over 5 turns";
    C5c "canary_c5c" Some(0.75), [], "a contradicted persona does not revert", "A contradicted persona does not revert";
    C6a "canary_c6a" Some(0.90), [Standard], "conversations A, B, A kept apart", "Conversations A, B, A are kept apart";
    C6b "canary_c6b" Some(0.85), [], "two users kept apart", "Two users are kept apart";
}

impl RecallTest {
    /// Whether half of its items name other candidates in other roles, from the gated scales on (ruling R16).
    pub const fn has_rivals(self) -> bool {
        use RecallTest::{InterruptedDialogue, PersonaConsistency, TopicThreading};
        matches!(self, InterruptedDialogue | PersonaConsistency | TopicThreading)
            || matches!(self.tier(), Retention(_))
    }

    /// Its figures.
    pub const fn scores(self) -> &'static [RecallScore] {
        if self.has_rivals() { RecallScore::ALL } else { RecallScore::ALL.split_at(3).0 }
    }

    /// How many figures all recall tests have together.
    pub const SCORES: usize = {
        let (mut count, mut i) = (0, 0);
        while i < Self::ALL.len() {
            count += Self::ALL[i].scores().len();
            i += 1;
        }
        count
    };

    /// The test of that name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|test| test.name() == name)
    }

    /// The retention tests with their distance in turns, the shortest first.
    pub fn retention() -> impl Iterator<Item = (Self, u32)> {
        Self::ALL.iter().filter_map(|&test| match test.tier() {
            Retention(turns) => Some((test, turns)),
            ShortTerm | MediumTerm | Conversational => None,
        })
    }
}

impl Canary {
    /// The canary of that name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|canary| canary.name() == name)
    }

    /// Whether a suite has it.
    pub const fn is_in(self, suite: Suite) -> bool {
        let (named, mut i) = (self.suites(), 0);
        while i < named.len() {
            if named[i] as usize == suite as usize {
                return true;
            }
            i += 1;
        }
        matches!(suite, Suite::Extended) && self.limit().is_some()
    }

    /// Whether it has a limit and belongs to a category, 1 for C1 to 6 for C6.
    pub const fn is_in_category(self, category: u8) -> bool {
        self.limit().is_some() && self.name().as_bytes()[1] == b'0' + category
    }
}
