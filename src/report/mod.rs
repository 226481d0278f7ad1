//! A report of a run: its figures as plots, and a reader of its queries.
//!
//! [`gather()`] reads the published shards one at a time and keeps a few numbers per query. [`figures`] draws them as
//! inline SVG with a table beside each. [`entries`] are the queries of the reader. [`page`] joins both in one
//! self-contained file that makes no request. The room `view` serves the same pages.
//!
//! All texts of a run are untrusted: HTML escapes them, the page's data writes `<` as `\u003c`, the script inserts them
//! as text, and the page's content security policy allows no other script.
//!
//! Limits: the file has at most [`EMBEDDED_BYTES_MAX`] of queries with their responses, and [`TEXT_CHARS_MAX`] of each
//! text; memory holds about 100 bytes per sampled query.

mod collect;
pub mod entries;
pub mod figures;
pub mod gather;
pub mod page;
mod svg;
#[cfg(test)]
mod tests;

pub use collect::{collect, published};
pub use entries::{Entry, Rank, complete, entries_of, entry, standing_entry, untouched_entry, whole_entries_of};
pub use gather::{Gathered, Timeline, gather};
pub use page::{PageOptions, file, shell};
pub use svg::is_steering;

/// Largest number of bytes of queries with their responses in a file.
pub const EMBEDDED_BYTES_MAX: usize = 8 << 20;
/// Largest number of characters of one text.
pub const TEXT_CHARS_MAX: usize = 20_000;
