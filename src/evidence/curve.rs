//! A row of numbers along an axis of tokens, kept for the plots. Nothing is judged by it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Provenance, Subject, Value};

macro_rules! kinds {
    ($($variant:ident, $x:literal, $y:literal, $doc:literal;)*) => {
        /// What a curve shows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum CurveKind {
            $(#[doc = $doc] $variant,)*
        }

        impl CurveKind {
            /// Every kind, in the order of the reports.
            pub const ALL: &'static [CurveKind] = &[$(CurveKind::$variant,)*];

            /// The axis along which it runs.
            pub const fn x_axis(self) -> &'static str {
                match self { $(CurveKind::$variant => $x,)* }
            }

            /// What it shows, with its unit.
            pub const fn y_axis(self) -> &'static str {
                match self { $(CurveKind::$variant => $y,)* }
            }

            /// What it is, in one line.
            pub const fn doc(self) -> &'static str {
                match self { $(CurveKind::$variant => $doc,)* }
            }
        }
    };
}

kinds! {
    TrainingLoss, "training tokens", "loss (nats/token)", "Training loss against tokens.";
    GradientNorm, "training tokens", "gradient norm before clipping", "Gradient norm against tokens.";
    LossByPart, "part of the mixture", "loss (nats/token)", "Held-out loss of every part of a mixture.";
    LossByPosition, "position in document (tokens)", "loss (nats/token)", "Loss by position in long documents.";
    PrefillByContext, "context (tokens)", "time of a prefill (s)", "Time of a prefill against context.";
    TimeByContext, "context (tokens)", "time per token (s)", "Time per token against context.";
    MemoryByContext, "context (tokens)", "memory (bytes)", "Memory per conversation against context.";
}

impl CurveKind {
    /// Whether it is a time or an amount of memory, which differ honestly when they are measured again.
    pub const fn is_cost(self) -> bool {
        matches!(self, Self::PrefillByContext | Self::TimeByContext | Self::MemoryByContext)
    }
}

/// A curve whose columns do not belong together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a curve needs columns of one length: expected {x} as of x, got {y} of y and {intervals} intervals")]
pub struct CurveError {
    x: usize,
    y: usize,
    intervals: usize,
}

/// A curve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawCurve")]
pub struct Curve {
    subject: Subject,
    kind: CurveKind,
    x: Vec<u64>,
    y: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    interval: Vec<[Value; 2]>,
    /// Behind a pointer, so that a ledger's lines stay small.
    provenance: Arc<Provenance>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCurve {
    subject: Subject,
    kind: CurveKind,
    x: Vec<u64>,
    y: Vec<Value>,
    #[serde(default)]
    interval: Vec<[Value; 2]>,
    provenance: Provenance,
}

impl TryFrom<RawCurve> for Curve {
    type Error = CurveError;

    fn try_from(raw: RawCurve) -> Result<Self, CurveError> {
        let curve = Curve::new(raw.subject, raw.kind, raw.x, raw.y, raw.provenance)?;
        if raw.interval.is_empty() { Ok(curve) } else { curve.with_intervals(raw.interval) }
    }
}

impl Curve {
    /// A curve of as many values as places along its axis.
    pub fn new(
        subject: Subject,
        kind: CurveKind,
        x: Vec<u64>,
        y: Vec<Value>,
        provenance: Provenance,
    ) -> Result<Self, CurveError> {
        if x.len() != y.len() {
            return Err(CurveError { x: x.len(), y: y.len(), intervals: 0 });
        }
        Ok(Curve { subject, kind, x, y, interval: Vec::new(), provenance: Arc::new(provenance) })
    }

    /// The same with a 95 % interval at every place.
    pub fn with_intervals(self, interval: Vec<[Value; 2]>) -> Result<Self, CurveError> {
        if interval.len() != self.x.len() {
            return Err(CurveError { x: self.x.len(), y: self.y.len(), intervals: interval.len() });
        }
        Ok(Curve { interval, ..self })
    }

    /// Whether both have the same points and intervals, whoever asked.
    pub fn agrees(&self, other: &Self) -> bool {
        (&self.x, &self.y, &self.interval) == (&other.x, &other.y, &other.interval)
    }

    /// Whose curve it is.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// What it shows.
    pub fn kind(&self) -> CurveKind {
        self.kind
    }

    /// Places and values.
    pub fn points(&self) -> impl Iterator<Item = (u64, Value)> + '_ {
        self.x.iter().copied().zip(self.y.iter().copied())
    }

    /// The 95 % interval at every place; empty where there are none.
    pub fn intervals(&self) -> &[[Value; 2]] {
        &self.interval
    }

    /// Where it came from.
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }
}
