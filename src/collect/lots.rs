//! What an audit looks at is drawn: from digests, and from chance at the time of the audit.

use std::hash::{BuildHasher as _, RandomState};

use sha2::{Digest, Sha256};

/// A row of places, drawn from digests.
pub(super) struct Lots(Sha256, u64);

impl Lots {
    /// Lots that follow from all of these.
    pub(super) fn of(parts: &[&[u8]]) -> Self {
        let mut seed = Sha256::new();
        parts.iter().for_each(|part| seed.update(part));
        Self(seed, 0)
    }

    /// A number below the bound, which is at least 1.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.1 += 1;
        let hash = self.0.clone().chain_update(self.1.to_le_bytes()).finalize();
        let number = hash.iter().take(7).fold(0u64, |n, byte| n << 8 | u64::from(*byte));
        (number % bound.max(1) as u64) as usize
    }
}

/// Digits that nobody knows beforehand, so that evidence cannot be made to fit what is looked at.
pub(super) fn chance() -> [u8; 16] {
    let half = || RandomState::new().hash_one(0_u8).to_le_bytes();
    let (one, other) = (half(), half());
    std::array::from_fn(|i| if i < 8 { one[i] } else { other[i - 8] })
}
