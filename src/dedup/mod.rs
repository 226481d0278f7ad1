//! Which queries ask the same question.
//!
//! [`exact`] finds questions that are written alike, under a normalisation that never merges different ones. It does
//! not know what a question means: paraphrases and translations are not found, and golds are not judged.

pub mod exact;

pub use exact::{Duplicate, ExactIndex, exact_key};
