//! The format of a file, from the file's name.

use super::{IngestError, InputFile};

/// The syntax of a file's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// JSON: one object per line, objects in sequence, or a list of objects.
    Json,
    /// Comma-separated values with a header.
    Csv,
    /// Tab-separated values with a header.
    Tsv,
    /// Apache Parquet.
    Parquet,
}

/// The compression of a text file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    /// No compression.
    None,
    /// Gzip, with one or several members.
    Gzip,
    /// Zstandard, with one or several frames.
    Zstd,
}

/// A layout and its compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) layout: Layout,
    pub(super) compression: Compression,
}

/// Determines the format from the file's name, in any letter case.
pub(super) fn format_of(file: &InputFile) -> Result<Format, IngestError> {
    let name = file.path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let (stem, compression) = if let Some(stem) = name.strip_suffix(".gz") {
        (stem, Compression::Gzip)
    } else if let Some(stem) = name.strip_suffix(".zst") {
        (stem, Compression::Zstd)
    } else {
        (name.as_str(), Compression::None)
    };
    let layout = match stem.rsplit_once('.').map(|(_, ending)| ending) {
        Some("jsonl" | "ndjson" | "json-lines" | "json") => Layout::Json,
        Some("csv") => Layout::Csv,
        Some("tsv" | "tab") => Layout::Tsv,
        Some("parquet") if compression == Compression::None => Layout::Parquet,
        _ => return Err(IngestError::UnknownFormat { file: file.name.clone() }),
    };
    Ok(Format { layout, compression })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(name: &str) -> Option<(Layout, Compression)> {
        let file = InputFile { name: name.to_owned(), path: name.into() };
        format_of(&file).ok().map(|format| (format.layout, format.compression))
    }

    #[test]
    fn known_endings_are_accepted_in_any_letter_case() {
        assert_eq!(format("a.jsonl"), Some((Layout::Json, Compression::None)));
        assert_eq!(format("dir/a.b.NDJSON.GZ"), Some((Layout::Json, Compression::Gzip)));
        assert_eq!(format("a.json-lines.zst"), Some((Layout::Json, Compression::Zstd)));
        assert_eq!(format("a.json"), Some((Layout::Json, Compression::None)));
        assert_eq!(format("a.tsv.zst"), Some((Layout::Tsv, Compression::Zstd)));
        assert_eq!(format("a.csv.gz"), Some((Layout::Csv, Compression::Gzip)));
        assert_eq!(format("a.parquet"), Some((Layout::Parquet, Compression::None)));
    }

    #[test]
    fn other_endings_are_refused_with_a_hint_that_lists_the_known_ones() {
        for name in ["a.xml", "a.txt", "jsonl", "a.gz", "a.parquet.gz", "a.jsonl.bz2", "a", ""] {
            assert_eq!(format(name), None, "{name}");
        }
        let file = InputFile { name: "in/a.txt".to_owned(), path: "in/a.txt".into() };
        let error = format_of(&file).unwrap_err();
        assert!(error.to_string().contains("in/a.txt"));
        assert!(error.hint().unwrap().contains(".jsonl"));
    }
}
