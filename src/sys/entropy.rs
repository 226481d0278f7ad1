//! Randomness that is not a function of anything. Used where a client asks for no seed; never for the data of a run.

use std::hash::{BuildHasher, RandomState};

/// Returns a number that nobody can foresee well enough to matter.
#[must_use]
pub fn random_u64() -> u64 {
    // The library keys every state anew from the system's randomness.
    RandomState::new().hash_one(0_u8)
}
