//! What a file's name says of its format, and its bytes without compression.

use std::io::{self, BufRead, BufReader};

use super::{IngestError, InputFile};

/// Bytes read ahead per stream.
const BUFFER_BYTES: usize = 64 * 1024;

/// How the rows of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// One JSON object a line.
    JsonLines,
    /// Comma-separated values with a header.
    Csv,
    /// Apache Parquet.
    Parquet,
}

/// How a text file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    /// Not at all.
    None,
    /// Gzip, one or several members.
    Gzip,
    /// Zstandard, one or several frames.
    Zstd,
}

/// A layout and its compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) layout: Layout,
    pub(super) compression: Compression,
}

/// Reads the format off the file's name; letter case does not matter.
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
        Some("jsonl" | "ndjson" | "json-lines") => Layout::JsonLines,
        Some("csv") => Layout::Csv,
        Some("parquet") if compression == Compression::None => Layout::Parquet,
        _ => return Err(IngestError::UnknownFormat { file: file.name.clone() }),
    };
    Ok(Format { layout, compression })
}

/// Opens a text file and decompresses it on the fly.
pub(super) fn open_text(file: &InputFile, compression: Compression) -> Result<Box<dyn BufRead + Send>, IngestError> {
    let unopenable = |source| IngestError::Unopenable { file: file.name.clone(), source };
    let opened = fs_err::File::open(&file.path).map_err(unopenable)?;
    let mut raw = BufReader::with_capacity(BUFFER_BYTES, opened);
    let is_empty = raw.fill_buf().map_err(unopenable)?.is_empty();
    Ok(match compression {
        // A file of zero bytes is no valid archive, but it is reported as what it is: without rows.
        _ if is_empty => Box::new(io::empty()),
        Compression::None => Box::new(raw),
        Compression::Gzip => {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, flate2::bufread::MultiGzDecoder::new(raw)))
        }
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(raw).map_err(unopenable)?;
            Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
        }
    })
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
        assert_eq!(format("a.jsonl"), Some((Layout::JsonLines, Compression::None)));
        assert_eq!(format("dir/a.b.NDJSON.GZ"), Some((Layout::JsonLines, Compression::Gzip)));
        assert_eq!(format("a.json-lines.zst"), Some((Layout::JsonLines, Compression::Zstd)));
        assert_eq!(format("a.csv.gz"), Some((Layout::Csv, Compression::Gzip)));
        assert_eq!(format("a.parquet"), Some((Layout::Parquet, Compression::None)));
    }

    #[test]
    fn other_endings_are_refused_with_a_hint_that_lists_the_known_ones() {
        for name in ["a.json", "a.txt", "jsonl", "a.gz", "a.parquet.gz", "a.jsonl.bz2", "a", ""] {
            assert_eq!(format(name), None, "{name}");
        }
        let file = InputFile { name: "in/a.json".to_owned(), path: "in/a.json".into() };
        let error = format_of(&file).unwrap_err();
        assert!(error.to_string().contains("in/a.json"));
        assert!(error.hint().unwrap().contains(".jsonl"));
    }
}
