//! One number and where it came from. A value that is not finite is kept as evidence of a run
//! gone wrong, never dropped and never confused with a missing one (ruling R14).

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Metric, Provenance};

/// In what state a model was when it was questioned (rulings R16 and R18).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// As training left it.
    Trained,
    /// Randomly initialised.
    Untrained,
    /// Trained, its state reset just before the question.
    StateReset,
    /// Trained, limited to the window whose bytes equal the other model's state.
    WindowMatched,
    /// The model's answers replaced by a uniform guess.
    Uniform,
    /// The model's answers replaced by an oracle that copies the stated fact.
    CopyOracle,
    /// The model's answers replaced by the candidate that the conversation names first.
    NamedFirst,
    /// The model's answers replaced by the candidate that it names last.
    NamedLast,
    /// The model's answers replaced by the candidate that it names most often.
    NamedMost,
    /// The published weights of the same architecture instead of ours (ruling R4).
    Published,
    /// Trained by another program from the same weights and batches (ruling "Reverse").
    Reference,
}

impl Condition {
    /// Every condition, in the order of the reports.
    pub const ALL: &'static [Condition] = &[
        Condition::Trained,
        Condition::StateReset,
        Condition::Untrained,
        Condition::WindowMatched,
        Condition::Uniform,
        Condition::CopyOracle,
        Condition::NamedFirst,
        Condition::NamedLast,
        Condition::NamedMost,
        Condition::Published,
        Condition::Reference,
    ];

    /// The name used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Condition::Trained => "trained",
            Condition::Untrained => "untrained",
            Condition::StateReset => "state reset",
            Condition::WindowMatched => "window-matched",
            Condition::Uniform => "uniform",
            Condition::CopyOracle => "copy oracle",
            Condition::NamedFirst => "named first",
            Condition::NamedLast => "named last",
            Condition::NamedMost => "named most often",
            Condition::Published => "published",
            Condition::Reference => "reference",
        }
    }
}

/// Of what a number speaks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The model's name.
    pub model: String,
    /// The scale's label.
    pub scale: String,
    /// The trial.
    pub seed: u64,
    /// The state in which the model was questioned.
    pub condition: Condition,
}

/// A number, possibly not finite. Equality is equality of bits; all NaN are one.
#[derive(Clone, Copy, Debug)]
pub struct Value(f64);

impl Value {
    /// The number, when it is one.
    pub fn finite(self) -> Option<f64> {
        self.0.is_finite().then_some(self.0)
    }

    /// The number as it is, NaN and infinities included.
    pub const fn raw(self) -> f64 {
        self.0
    }
}

impl From<f64> for Value {
    fn from(x: f64) -> Self {
        Value(if x.is_nan() { f64::NAN } else { x })
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Value {}

impl fmt::Display for Value {
    /// For people: whole numbers in full, others to about five significant digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.abs();
        if let Some(name) = not_finite(self.0) {
            f.pad(name)
        } else if self.0.fract() == 0.0 && size < 1e15 {
            f.pad(&thousands(self.0))
        } else if (1e-3..1e6).contains(&size) {
            let decimals = (3 - size.log10().floor() as i32).clamp(1, 6) as usize;
            f.pad(&format!("{:.decimals$}", self.0))
        } else {
            f.pad(&format!("{:.3e}", self.0))
        }
    }
}

fn thousands(x: f64) -> String {
    let digits = format!("{:.0}", x.abs());
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if x < 0.0 { format!("-{text}") } else { text }
}

fn not_finite(x: f64) -> Option<&'static str> {
    if x.is_nan() {
        Some("nan")
    } else if x.is_infinite() {
        Some(if x > 0.0 { "inf" } else { "-inf" })
    } else {
        None
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match not_finite(self.0) {
            Some(name) => serializer.serialize_str(name),
            None => serializer.serialize_f64(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, \"nan\", \"inf\" or \"-inf\"")
            }
            fn visit_f64<E: Error>(self, x: f64) -> Result<Value, E> {
                Ok(Value::from(x))
            }
            fn visit_u64<E: Error>(self, x: u64) -> Result<Value, E> {
                Ok(Value::from(x as f64))
            }
            fn visit_i64<E: Error>(self, x: i64) -> Result<Value, E> {
                Ok(Value::from(x as f64))
            }
            fn visit_str<E: Error>(self, name: &str) -> Result<Value, E> {
                let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
                let found = special.into_iter().find(|&x| not_finite(x) == Some(name));
                found.map(Value::from).ok_or_else(|| E::invalid_value(Unexpected::Str(name), &self))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// A number with its subject and its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    subject: Subject,
    metric: Metric,
    value: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    n: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interval: Option<[Value; 2]>,
    /// Digest of the probe's items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    items: Option<String>,
    /// Shared, because a trial's measurements have few different ones.
    provenance: Arc<Provenance>,
}

impl Measurement {
    /// The only way to make one; only `collect` calls it, so that no number lacks a source.
    pub fn new(
        subject: Subject,
        metric: Metric,
        value: impl Into<Value>,
        n: Option<u64>,
        interval: Option<[f64; 2]>,
        provenance: Provenance,
    ) -> Self {
        let interval = interval.map(|ends| ends.map(Value::from));
        let (value, provenance) = (value.into(), Arc::new(provenance));
        Measurement { subject, metric, value, n, interval, items: None, provenance }
    }

    /// The same with the digest of the items that it is a mean over.
    pub fn with_items(self, digest: &str) -> Self {
        Self { items: Some(digest.to_owned()), ..self }
    }

    /// Takes an equal provenance that is known already instead of its own, or makes its own known.
    pub(super) fn share(&mut self, known: &mut HashSet<Arc<Provenance>>) {
        match known.get(&self.provenance) {
            Some(same) => self.provenance = same.clone(),
            None => drop(known.insert(self.provenance.clone())),
        }
    }

    /// Of what it speaks.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// What was measured.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// The number.
    pub fn value(&self) -> Value {
        self.value
    }

    /// How many items stand behind it.
    pub fn n(&self) -> Option<u64> {
        self.n
    }

    /// The 95 % interval over those items.
    pub fn interval(&self) -> Option<[Value; 2]> {
        self.interval
    }

    /// The digest of the items that it is a mean over, where they were kept.
    pub fn items(&self) -> Option<&str> {
        self.items.as_deref()
    }

    /// Where it came from.
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// Whether both say the same number, whoever asked.
    pub fn agrees(&self, other: &Measurement) -> bool {
        self.value == other.value && self.interval == other.interval && self.n == other.n
    }
}
