//! A run to look at: its figures as plots, and a reader of its samples.
//!
//! [`gather()`] reads the published shards one at a time and keeps a few numbers per query; [`figures`] draws them as inline
//! SVG with a table beside each; [`entries`] are what the reader shows; [`page`] puts both into one self-contained file
//! that asks nobody for anything. A server that shows the same pages lives in `view`.
//!
//! Whatever comes from a run is foreign: in HTML it is escaped, in the page's data `<` is written as `\u003c`, the script
//! puts it on the page as text, and the page's content security policy lets no other script run.
//!
//! Limits: [`EMBEDDED_BYTES_MAX`] of queries with their responses in the file, [`TEXT_CHARS_MAX`] of each text; per sampled
//! query about 100 bytes are in memory.

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

/// Bytes of queries with their responses that a file holds.
pub const EMBEDDED_BYTES_MAX: usize = 8 << 20;
/// Characters of one text that are shown.
pub const TEXT_CHARS_MAX: usize = 20_000;
