//! Where a demand comes from: a ruling, a line of the verdict, a defined test or a section of the plan.
//! Each has an anchor in `docs/rulings.md`.

use std::fmt;

use serde::Serializer;

/// The page that says what is cited, from the root of the repository.
pub const RULINGS: &str = "docs/rulings.md";

/// One source of a demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Citation {
    /// The ruling of that number.
    R(u8),
    /// The PASS requirement of that number.
    Pass(u8),
    /// A test that the plan names and the rulings define.
    Test(&'static str),
    /// The table of canaries in the rulings.
    Canaries,
    /// The suites of canaries in the rulings.
    Suites,
    /// A section of the plan.
    Section(&'static str),
    /// One of the plan's three pillars of fair comparison.
    Pillar(u8),
}

impl Citation {
    /// The anchor in [`RULINGS`].
    pub fn anchor(self) -> String {
        match self {
            Citation::R(number) => format!("r{number}"),
            Citation::Pass(number) => format!("pass-{number}"),
            Citation::Test(name) => format!("test-{}", slug(name)),
            Citation::Canaries => "canaries".to_owned(),
            Citation::Suites => "suites".to_owned(),
            Citation::Section(title) => format!("section-{}", slug(title)),
            Citation::Pillar(_) => "section-three-pillars-of-fair-comparison".to_owned(),
        }
    }
}

impl fmt::Display for Citation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Citation::R(number) => write!(f, "R{number}"),
            Citation::Pass(number) => write!(f, "PASS {number}"),
            Citation::Test(name) => write!(f, "test {name} of the rulings"),
            Citation::Canaries => f.write_str("canaries of the rulings"),
            Citation::Suites => f.write_str("suites of canaries of the rulings"),
            Citation::Section(title) => write!(f, "§{title}"),
            Citation::Pillar(number) => write!(f, "§Three Pillars of Fair Comparison, pillar {number}"),
        }
    }
}

/// A title in lower case, words joined by hyphens.
fn slug(title: &str) -> String {
    let words = title.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}

/// Several sources in a line.
pub fn cited(sources: &[Citation]) -> String {
    sources.iter().map(Citation::to_string).collect::<Vec<_>>().join(", ")
}

/// Sources as their line, where a criterion is written as a document.
pub(super) fn as_text<S: Serializer>(sources: &&'static [Citation], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&cited(sources))
}
