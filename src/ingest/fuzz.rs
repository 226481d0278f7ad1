//! Properties of reading that hold for any bytes in an input file: the body shared by the fuzz target (`tests/fuzz`)
//! and the property tests.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::{InputFile, InputOptions, Plan, Row, read, read_lines};

/// File names for the bytes; the first byte selects one.
const NAMES: &[&str] = &[
    "a.jsonl",
    "a.json",
    "a.csv",
    "a.tsv",
    "a.parquet",
    "a.jsonl.gz",
    "a.jsonl.zst",
    "a.csv.gz",
    "packed.jsonl.gz",
    "packed.json.zst",
];
/// The maximum number of bytes of a file; longer files show nothing new.
const BYTES_MAX: usize = 1 << 20;
/// The maximum number of rows that are read from a file.
const ROWS_MAX: usize = 20_000;

/// Checks that a file with any bytes is read to its end or to one error: every row is a query or an exclusion, the
/// ordinals count from 0 without a gap, and a second reading gives the same rows. Checks the same for the lenient
/// reader ([`read_lines`]).
///
/// # Panics
/// If one of these properties does not hold, or there is no directory for temporary files.
pub fn ingest(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let rest = rest.get(..BYTES_MAX).unwrap_or(rest);
    let name = NAMES.get(usize::from(*first) % NAMES.len()).copied().unwrap_or_default();
    let folder = tempfile::tempdir_in(place()).expect("a directory for temporary files");
    let path = folder.path().join(name);
    fs_err::write(&path, packed(name, rest)).expect("a file in memory");
    let files = [InputFile { name: name.to_owned(), path }];
    let options = InputOptions::default();
    let (rows, error) = outcome(&files, &options);
    assert_eq!((&rows, &error), (&outcome(&files, &options).0, &outcome(&files, &options).1), "the rows change");
    for (ordinal, row) in (0_u64..).zip(&rows) {
        let (found, origin) = match row {
            Row::Query(query) => (query.ordinal, &query.origin),
            Row::Excluded(exclusion) => (exclusion.ordinal, &exclusion.origin),
        };
        assert_eq!(found, ordinal, "a row is lost or counted twice");
        assert!(origin.line > 0 && origin.file == name, "a row without a place");
    }
    assert!(!rows.is_empty() || error.is_some(), "a file without rows is an error");
    let mut lines = read_lines(&files, &options.fields, &[]).take(ROWS_MAX);
    let mut read = 0;
    for line in lines.by_ref() {
        let Ok(line) = line else { break };
        read += 1;
        // The lenient reader accepts any row; the result does not matter.
        let _ = line.text_row();
    }
    assert!(error.is_some() || read >= rows.len(), "a lenient reader loses rows");
    if let Ok(plan) = Plan::settle(&files, &options) {
        let preview = plan.preview(&files, 0, 16).ok().map(|preview| preview.rows);
        assert!(error.is_some() || preview.is_some(), "no preview of a file that can be read");
    }
}

/// Returns the rows of a file up to a bound, and the error that ended them.
fn outcome(files: &[InputFile], options: &InputOptions) -> (Vec<Row>, Option<String>) {
    let (mut rows, mut error) = (Vec::new(), None);
    for row in read(files, options).take(ROWS_MAX) {
        match row {
            Ok(row) => rows.push(row),
            Err(found) => {
                assert!(error.is_none(), "reading goes on after an error");
                let hint = found.hint().unwrap_or_default();
                assert!(!hint.is_empty(), "an error without a hint: {found}");
                error = Some(found.to_string());
            }
        }
    }
    (rows, error)
}

/// Compresses the bytes if the file's name states that its archive is valid.
fn packed(name: &str, bytes: &[u8]) -> Vec<u8> {
    if !name.starts_with("packed.") {
        return bytes.to_vec();
    }
    if name.ends_with(".gz") {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).and_then(|()| encoder.finish()).unwrap_or_default()
    } else {
        zstd::encode_all(bytes, 1).unwrap_or_default()
    }
}

/// Returns the cheapest place for files.
fn place() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PIECES: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\n",
        "\r\n",
        "\r",
        "\t",
        ";",
        " ",
        "\\",
        "\\u0000",
        "\\ud800",
        "null",
        "NaN",
        "-Infinity",
        "true",
        "1",
        "-0.5e9",
        "\"id\":",
        "\"question\":",
        "\"answer\":",
        "\"choices\":",
        "\"kind\":",
        "\"messages\":[{\"role\":\"user\",\"content\":",
        "id,question,answer\n",
        "question\tanswer\n",
        "What is 2+2?",
        "4",
        "{\"question\": \"q\", \"answer\": \"4\"}\n",
        "a,\"b\"\"c\",d\n",
        "\u{feff}",
        "array(['a'], dtype=object)",
        "\u{e9}",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]

        #[test]
        fn any_text_is_read_to_its_end_or_to_one_error(
            format in any::<u8>(),
            pieces in prop::collection::vec(prop::sample::select(PIECES), 0..24),
        ) {
            ingest(&[&[format], pieces.concat().as_bytes()].concat());
        }

        #[test]
        fn any_bytes_are_read_to_their_end_or_to_one_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            ingest(&bytes);
        }
    }
}
