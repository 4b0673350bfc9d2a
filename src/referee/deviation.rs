//! What the referee compared, and by how much the two differ.

/// How many times the distance of float32 from float64 the program may be away.
pub(super) const SPREAD: f64 = 8.0;
/// Four units in the last place of float32.
pub(super) const LAST_PLACES: f64 = 4.0 / (1u64 << 24) as f64;

/// What rounding does to a tensor as a share of its size: the median of all tensors, each its distance and its size. A
/// distance is one draw, and where few numbers make up a tensor's size it can be small by chance; a tolerance takes no
/// tensor's for less than this.
pub(super) fn usual_share(all: impl Iterator<Item = [f64; 2]>) -> f64 {
    let mut shares: Vec<f64> =
        all.map(|[apart, size]| apart / size).filter(|share| share.is_finite()).collect();
    shares.sort_by(f64::total_cmp);
    shares.get(shares.len() / 2).copied().unwrap_or(0.0)
}

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Deviation {
    /// What was compared.
    pub what: String,
    /// By how much the record differs from what the referee got.
    pub difference: f64,
    /// By how much it may, from the arithmetic.
    pub tolerance: f64,
}

impl Deviation {
    /// Two numbers.
    pub fn new(what: impl Into<String>, difference: f64, tolerance: f64) -> Self {
        Self { what: what.into(), difference, tolerance }
    }

    /// Something that is so or not.
    pub fn fact(what: impl Into<String>, holds: bool) -> Self {
        Self::new(what, if holds { 0.0 } else { f64::INFINITY }, 1.0)
    }

    /// The difference over its tolerance; up to 1 is agreement. What is no number is none.
    pub fn share(&self) -> f64 {
        if self.difference == 0.0 { 0.0 } else { self.difference / self.tolerance }
    }
}

/// The comparison that is farthest off; one that is no number before all others.
pub fn farthest(all: &[Deviation]) -> Option<&Deviation> {
    let key = |d: &Deviation| if d.share().is_nan() { f64::INFINITY } else { d.share() };
    all.iter().max_by(|a, b| key(a).total_cmp(&key(b)))
}
