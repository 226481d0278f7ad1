//! Finds queries that ask the same question, and queries that a benchmark contains.
//!
//! The room makes two passes over the input. The first pass computes the features of every query, on all threads
//! ([`Extractor`]): the key of its exact text ([`exact`]), the key of its reference answer ([`gold`]), the bands of its
//! MinHash signature over word n-grams ([`minhash`]), and the benchmark item that contains it ([`contamination`]). The
//! features go to a file ([`RowStore`]); 58 bytes per query stay in memory. The second pass ([`decide`]) sorts the keys
//! band by band, confirms the pairs that meet in one band by their exact Jaccard similarity, and decides on the queries
//! in order of their ordinals.
//!
//! # Decisions
//! The decision on a query depends on the query, on the benchmarks and on **earlier** queries, never on later ones, on
//! threads or on batches; so a query added at the end changes no decision. (The one exception is the setting
//! [`Conflicts::ExcludeAll`].) In this order:
//! 1. the query is *contaminated* if a benchmark contains it;
//! 2. it is a *duplicate* if an earlier query has its exact key, and in *conflict* with that query if their answers
//!    differ;
//! 3. it is a *near-duplicate* if an earlier query's text is near and their answers do not differ. It joins that
//!    query's cluster, whose earliest query is kept. A query that is near to two clusters joins the older, and the
//!    first queries of both clusters stay kept: they are not near to each other. Texts are near from
//!    `near_duplicate_threshold` on. If their answers are the same and specific ([`wording::is_telling`]) and the texts
//!    differ in wording alone, they are near from `same_answer_threshold` on;
//! 4. otherwise it is kept; as a *variant* if an earlier query's text is near and their answers differ.
//!
//! Excluded queries still take part in comparisons: a copy of a contaminated query is excluded too.
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

/// The version of the rules and of the index's layout. It is raised when the decision on the same queries could change.
pub const DEDUP_VERSION: u32 = 3;
