//! Randomness without a seed, for clients that send none; never for the data of a run.

use std::hash::{BuildHasher, RandomState};

/// Returns a number that clients cannot predict. Not for cryptography.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "here it is taken from")]
pub fn random_u64() -> u64 {
    // The library keys every state from the system's randomness.
    RandomState::new().hash_one(0_u8)
}
