//! Small files that contain much, claim much, or never end: each soon gives an error or an exclusion.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::*;

/// Writes a Parquet file in which every row has the same texts, each stored once in the file.
fn repeated(path: &Path, question: &str, rows: usize) {
    let columns: [(&str, ArrayRef); 2] = [
        ("question", Arc::new(StringArray::from_iter_values(std::iter::repeat_n(question, rows)))),
        ("answer", Arc::new(StringArray::from_iter_values((0..rows).map(|row| row.to_string())))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_dictionary_page_size_limit(64 << 20)
        .set_compression(Compression::ZSTD(parquet::basic::ZstdLevel::default()))
        .build();
    let mut writer =
        ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn input(dir: &Path, name: &str) -> InputFile {
    InputFile { name: name.to_owned(), path: dir.join(name) }
}

fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, InputFile) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(name), bytes).unwrap();
    let file = input(dir.path(), name);
    (dir, file)
}

fn rows_of(file: &InputFile) -> Vec<Row> {
    read(std::slice::from_ref(file), &InputOptions::default()).filter_map(Result::ok).collect()
}

/// Reads all rows; returns their number, and the error that ended them.
fn read_all(file: &InputFile) -> (usize, Option<IngestError>) {
    let (mut count, mut error) = (0, None);
    for row in read(std::slice::from_ref(file), &InputOptions::default()) {
        match row {
            Ok(_) => count += 1,
            Err(found) => error = Some(found),
        }
    }
    (count, error)
}

#[test]
fn a_text_that_stands_once_and_is_in_every_row_is_read_up_to_a_bound_and_then_refused() {
    let dir = tempfile::tempdir().unwrap();
    let question = "q".repeat(ROW_BYTES_MAX + 1);
    repeated(&dir.path().join("a.parquet"), &question, 40);
    let file = input(dir.path(), "a.parquet");
    assert!(std::fs::metadata(&file.path).unwrap().len() < 10_000);
    // Rows that are too long are not written, but count.
    let (count, error) = read_all(&file);
    let error = error.unwrap();
    assert!(count < 10, "{count}");
    assert!(
        format!("{error:?}").contains("Expanded") && error.hint().unwrap().contains("do not compress this well"),
        "{error:?}"
    );
    // If only a few rows are too long, each is excluded separately.
    repeated(&dir.path().join("b.parquet"), &question, 2);
    let rows: Vec<Row> =
        read(&[input(dir.path(), "b.parquet")], &InputOptions::default()).map(Result::unwrap).collect();
    let is_too_long = |row: &Row| matches!(row, Row::Excluded(row) if row.reason == ExclusionReason::RowTooLong);
    assert!(rows.len() == 2 && rows.iter().all(is_too_long));
}

#[test]
fn texts_that_repeat_are_read_as_those_that_do_not() {
    let dir = tempfile::tempdir().unwrap();
    repeated(&dir.path().join("a.parquet"), &"What is it? ".repeat(1000), 300);
    let (mut ids, mut count) = (std::collections::BTreeSet::new(), 0);
    for row in read(&[input(dir.path(), "a.parquet")], &InputOptions::default()) {
        let Row::Query(query) = row.unwrap() else { panic!("excluded") };
        assert_eq!((query.question.trim().len(), query.gold), (11_999, count.to_string()));
        ids.insert(query.id.0);
        count += 1;
    }
    assert_eq!((count, ids.len()), (300, 300));
}

#[test]
fn an_archive_of_a_small_file_that_holds_gigabytes_is_refused_by_its_size() {
    let dir = tempfile::tempdir().unwrap();
    // Zstandard compresses a repeated letter to almost nothing.
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    let block = vec![b'x'; 1 << 20];
    (0..64).for_each(|_| encoder.write_all(&block).unwrap());
    std::fs::write(dir.path().join("a.jsonl.zst"), encoder.finish().unwrap()).unwrap();
    let (count, error) = read_all(&input(dir.path(), "a.jsonl.zst"));
    let error = error.unwrap();
    assert_eq!(count, 0);
    assert!(error.hint().unwrap().contains("do not compress this well"), "{error:?}");
}

#[test]
fn a_frame_with_a_window_of_two_gibibytes_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let row = b"{\"question\": \"q\", \"answer\": \"4\"}\n";
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(30).unwrap();
    encoder.long_distance_matching(true).unwrap();
    encoder.write_all(row).unwrap();
    std::fs::write(dir.path().join("a.jsonl.zst"), encoder.finish().unwrap()).unwrap();
    assert_eq!(read_all(&input(dir.path(), "a.jsonl.zst")).0, 1);
    // A frame header that claims a window above the limit: 2^41 bytes.
    let claimed = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 0x01, 0x00, 0x00];
    std::fs::write(dir.path().join("b.jsonl.zst"), claimed).unwrap();
    let error = read_all(&input(dir.path(), "b.jsonl.zst")).1.unwrap();
    assert!(error.hint().unwrap().contains("--long=31"), "{error:?}");
}

#[test]
fn records_without_an_end_and_values_without_a_bottom_are_exclusions() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let nested = [
        format!("{{\"question\": {}, \"answer\": \"4\"}}\n", deep("[", "]")),
        format!("{{\"question\": \"q\", \"answer\": {}}}\n", deep("{\"a\":", "}").replace(":}", ":1}")),
        format!("{}\n", deep("[", "]")),
        "[".repeat(100_000),
        format!("{{\"question\": \"q\", \"answer\": \"4\", \"choices\": {}}}\n", deep("[", "]")),
        format!("{{\"question\": \"q\", \"answer\": \"4\", \"messages\": \"{}\"}}\n", "[".repeat(100_000)),
    ];
    let good = "{\"question\": \"q\", \"answer\": \"4\"}\n";
    for text in &nested {
        for name in ["a.jsonl", "a.json"] {
            let (_dir, file) = file(name, &[good.as_bytes(), text.as_bytes()].concat());
            assert!(rows_of(&file).iter().any(|row| matches!(row, Row::Query(_))), "{name}: {}", &text[..40]);
        }
    }
    // One element, one field, one line of 20 MiB without an end.
    let endless = "x".repeat(20 << 20);
    for (name, head) in [("a.json", "[{\"question\": \""), ("a.csv", "question,answer\n\""), ("a.jsonl", good)] {
        let (_dir, file) = file(name, [head, &endless].concat().as_bytes());
        let (count, error) = read_all(&file);
        assert!(count > 0 || error.is_some(), "{name}");
    }
}

#[test]
fn tables_of_too_many_columns_are_refused_and_of_many_are_read() {
    let header = |columns: usize| {
        let names: Vec<String> = (0..columns).map(|index| format!("c{index}")).collect();
        format!("question,answer,{}\nq,4,{}\n", names.join(","), vec!["1"; columns].join(","))
    };
    let (_dir, many) = file("a.csv", header(10_000).as_bytes());
    assert_eq!(rows_of(&many).len(), 1);
    let (_dir, more) = file("b.csv", header(1_000_000).as_bytes());
    assert!(matches!(read_all(&more).1, Some(IngestError::TooManyColumns { columns: 1_000_002, .. })));
    let keys: Vec<String> = (0..200_000).map(|index| format!("\"Key_{index}\": 1")).collect();
    let wide = format!("{{\"question\": \"q\", \"answer\": \"4\", {}}}\n", keys.join(", "));
    let (_dir, wide) = file("a.jsonl", wide.as_bytes());
    assert_eq!(rows_of(&wide).len(), 1);
}

#[test]
fn a_parquet_file_that_claims_more_than_it_has_is_refused_before_anything_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let batch = RecordBatch::try_from_iter([("question", Arc::new(Int32Array::from(vec![1])) as ArrayRef)]).unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(&path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let whole = std::fs::read(&path).unwrap();
    let with_footer = |footer: &[u8]| {
        let length = u32::try_from(footer.len()).unwrap().to_le_bytes();
        [&b"PAR1"[..], footer, &length, b"PAR1"].concat()
    };
    // A root with 2^31 - 1 children; groups within groups within groups.
    let claims: &[u8] = &[0x15, 2, 0x19, 0x1c, 0x48, 1, b'r', 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0];
    let mut nested = vec![0x15, 2, 0x19, 0xfc, 0xa0, 0x8d, 0x06];
    (0..100_000).for_each(|_| nested.extend([0x35, 0, 0x18, 1, b'g', 0x15, 2, 0]));
    nested.push(0);
    for bytes in [with_footer(claims), with_footer(&nested), whole[..whole.len() - 4].to_vec(), b"PAR1PAR1".to_vec()] {
        std::fs::write(&path, bytes).unwrap();
        let (count, error) = read_all(&input(dir.path(), "a.parquet"));
        assert_eq!(count, 0);
        assert!(matches!(error, Some(IngestError::Unreadable { .. })), "{error:?}");
    }
    // Changed bytes give an error or other rows, and never end the process.
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        std::fs::write(&path, bytes).unwrap();
        read_all(&input(dir.path(), "a.parquet"));
    }
}

#[cfg(unix)]
#[test]
fn pipes_sockets_and_devices_are_named_and_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe.jsonl");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket.jsonl")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", dir.path().join("zero.jsonl")).unwrap();
    std::fs::create_dir(dir.path().join("folder.jsonl")).unwrap();
    let expand = |name: &str| expand_paths(&[name.to_owned()], &[dir.path().to_owned()]).unwrap_err();
    for (name, what) in [("pipe.jsonl", "a pipe"), ("socket.jsonl", "a socket"), ("zero.jsonl", "a device")] {
        let error = expand(name);
        assert!(error.to_string().contains(name) && error.to_string().contains(what), "{error}");
        assert!(error.hint().is_some());
    }
    assert!(expand("/dev/zero").to_string().contains("a device"));
    assert!(matches!(expand("folder.jsonl"), IngestError::NoMatch { .. }));
    // A pattern skips these files.
    std::fs::write(dir.path().join("a.jsonl"), "{}").unwrap();
    let found = expand_paths(&["*.jsonl".to_owned()], &[dir.path().to_owned()]).unwrap();
    assert_eq!(found.len(), 1);
}

#[test]
fn what_a_run_writes_is_none_of_its_input() {
    let dir = tempfile::tempdir().unwrap();
    let base = [dir.path().to_owned()];
    for name in ["a.parquet", "out/data/samples/train-00000.parquet", "out/mine.parquet", "data/b.parquet"] {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    let out = dir.path().join("out");
    let kept = |pattern: &str| {
        let patterns = [pattern.to_owned()];
        let files = without_own_output(expand_paths(&patterns, &base).unwrap(), &patterns, &out);
        files.map(|files| files.into_iter().map(|file| file.name).collect::<Vec<_>>())
    };
    assert_eq!(kept("**/*.parquet").unwrap(), ["a.parquet", "data/b.parquet", "out/mine.parquet"]);
    for pattern in ["out/data/samples/*.parquet", "out/data/samples/train-00000.parquet"] {
        let error = kept(pattern).unwrap_err();
        assert!(matches!(error, IngestError::OwnOutput { .. }) && error.hint().is_some(), "{error}");
    }
    // The output of another run is an ordinary input.
    let patterns = ["out/data/samples/*.parquet".to_owned()];
    let files = expand_paths(&patterns, &base).unwrap();
    assert_eq!(without_own_output(files, &patterns, &dir.path().join("out2")).unwrap().len(), 1);
}
