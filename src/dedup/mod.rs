//! Which queries ask the same question, and which are known from a benchmark.
//!
//! Two passes over the input. The first takes every query apart, on all threads ([`Extractor`]): the key of its exact text
//! ([`exact`]), the key of its reference answer ([`gold`]), the bands of its MinHash signature over word n-grams
//! ([`minhash`]), and whether a benchmark holds it ([`contamination`]). All of it goes to a file ([`RowStore`]), 58 bytes
//! per query stay in memory. The second pass ([`decide`]) sorts the keys band by band, confirms the pairs that meet in one
//! by their exact Jaccard similarity, and settles the queries in order of their ordinals.
//!
//! # What is decided
//! A query's fate depends on itself, on the benchmarks and on queries **before** it, never on later ones, on threads or on
//! batches; so a query that is added at the end changes nothing. (One setting is the exception, [`Conflicts::ExcludeAll`].)
//! In this order:
//! 1. it is *contaminated* if a benchmark holds it;
//! 2. it is a *duplicate* if an earlier query has its exact key, and in *conflict* with it if their answers differ;
//! 3. it is a *near-duplicate* if an earlier query's text is near and their answers do not differ. It joins that query's
//!    cluster; the cluster's earliest query is kept. A query that is near to two clusters joins the older, and leaves the
//!    first queries of both in place: they are not near to each other;
//!    Texts are near from `near_duplicate_threshold` on; from `same_answer_threshold` on where their answers are the same,
//!    say something ([`wording::is_telling`]), and the texts differ in wording alone;
//! 4. otherwise it is kept; as a *variant* if an earlier query's text is near and their answers differ.
//!
//! Queries that are excluded still stand for what they ask: a copy of a contaminated query is excluded as well.
//!
//! Paraphrases and translations share no n-grams and are **not** found.

mod candidates;
mod confirm;
pub mod contamination;
mod decide;
pub mod exact;
mod extract;
pub mod gold;
pub mod minhash;
pub mod shingles;
mod spelling;
mod store;
#[cfg(test)]
mod tests;
pub mod wording;
pub mod words;

pub use contamination::{BenchmarkItem, Benchmarks, Hit};
pub use decide::{Action, Counts, Decision, Decisions, decide};
pub use exact::exact_key;
pub use extract::{Document, Extractor, Features};
pub use gold::gold_key;
pub use store::{IndexedFile, Record, RowStore, StoreError};

pub use crate::config::{Conflicts, DedupSettings, Variants};

/// Version of the rules and of the index's layout: raised when the same queries could be decided otherwise.
pub const DEDUP_VERSION: u32 = 3;
