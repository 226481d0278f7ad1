//! One row before it is parsed, and the faults that prevent parsing.

use super::IngestError;
use super::fault::Fault;
use crate::domain::ExclusionReason;

/// One row before it is parsed.
pub(super) struct RawRow<'a> {
    /// 1-based line; 1-based row in Parquet.
    pub(super) line: u64,
    /// A JSON object as text, or the fault of the row.
    pub(super) content: Result<&'a str, Fault>,
}

/// The maximum number of bytes of one row, without the line end.
pub(super) const ROW_BYTES_MAX: usize = 16 * 1024 * 1024;

pub(super) fn too_long(bytes: u64, bytes_max: usize) -> Fault {
    let detail = format!("the row has {bytes} bytes, expected at most {bytes_max}");
    Fault::new(ExclusionReason::RowTooLong, detail)
}

pub(super) fn unreadable_at_line(file: &str, line: u64, source: std::io::Error) -> IngestError {
    IngestError::Unreadable { file: file.to_owned(), position: format!(" at line {line}"), source: Box::new(source) }
}
