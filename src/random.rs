//! The one source of chance in the data: ChaCha20, named so that a drawn order can be drawn again
//! by anybody in any language.
//!
//! Invariant: a draw depends on (seed, stream) and on nothing else; in particular not on the
//! version of a random-number library, which is why the bounded draw and the shuffle are spelled out.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// ChaCha20 with 20 rounds; key = the seed as 8 little-endian bytes followed by 24 zero bytes;
/// nonce = the stream number. Independent streams of one seed never overlap.
pub struct Random {
    source: ChaCha20Rng,
}

impl Random {
    /// The name written beside whatever is drawn.
    pub const NAME: &'static str = "ChaCha20, key = seed (u64, little-endian, zero-padded), 64-bit draws";

    /// The start of a stream.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut source = ChaCha20Rng::from_seed(key);
        source.set_stream(stream);
        Self { source }
    }

    /// A whole number in `0..n`, every one equally likely: draws above the largest multiple of `n`
    /// are thrown away, since folding them back would favour small numbers.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "cannot draw from nothing");
        let n = n as u64;
        let limit = u64::MAX - u64::MAX % n;
        loop {
            let draw = self.source.next_u64();
            if draw < limit {
                return (draw % n) as usize;
            }
        }
    }

    /// True in `percent` cases out of a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of the choices, every one equally likely.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// Fisher–Yates from the back: every order equally likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
