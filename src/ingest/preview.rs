//! A preview of the queries and exclusions of an input's files.

use std::collections::BTreeMap;

use super::plan::Plan;
use super::{IngestError, InputFile, Passed, Row, read_on};
use crate::domain::{ExclusionReason, Query};

/// The result of reading the first rows of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preview {
    /// Fields that were guessed, as settings to write.
    pub guesses: Option<String>,
    /// Further remarks for the user.
    pub remarks: Vec<String>,
    /// Rows that were read.
    pub rows: u64,
    /// Whether these are all rows.
    pub is_whole: bool,
    /// The first query.
    pub first: Option<Query>,
    /// Per reason: the number of excluded rows, and the fault of the first.
    pub excluded: BTreeMap<ExclusionReason, (u64, String)>,
}

impl Plan {
    /// Reads the first rows of a file.
    ///
    /// # Errors
    /// As [`super::read`].
    pub fn preview(&self, files: &[InputFile], index: usize, rows_max: usize) -> Result<Preview, IngestError> {
        let shape = self.shape(index);
        let guesses = shape.guessed();
        let mut preview = Preview { guesses, remarks: shape.remarks(), ..Preview::default() };
        let passed = Passed { files: index, rows: 0 };
        let upto = files.get(..=index).unwrap_or(files);
        for row in read_on(upto, self, &[], &passed, std::iter::empty()).take(rows_max) {
            preview.rows += 1;
            match row? {
                Row::Query(query) => {
                    preview.first.get_or_insert(query);
                }
                Row::Excluded(row) => {
                    let detail = format!("line {}: {}", row.origin.line, row.detail);
                    preview.excluded.entry(row.reason).or_insert((0, detail)).0 += 1;
                }
            }
        }
        preview.is_whole = preview.rows < rows_max as u64;
        Ok(preview)
    }
}
