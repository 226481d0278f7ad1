use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Float64Array, Int64Array, LargeStringArray, ListBuilder, StringArray};
use arrow::array::{RecordBatch, StringBuilder, StructArray};
use arrow::datatypes::{DataType, Field};
use flate2::{Compression, write::GzEncoder};

use super::*;
use crate::domain::Kind;

fn write(dir: &Path, name: &str, bytes: &[u8]) -> InputFile {
    let path = dir.join(name);
    fs_err::write(&path, bytes).unwrap();
    InputFile { name: name.to_owned(), path }
}

fn rows_with(files: &[InputFile], options: &InputOptions) -> Vec<Row> {
    read(files, options).collect::<Result<_, _>>().unwrap()
}

fn rows_of(name: &str, bytes: &[u8]) -> Vec<Row> {
    let dir = tempfile::tempdir().unwrap();
    rows_with(&[write(dir.path(), name, bytes)], &InputOptions::default())
}

/// Reads one file to its error, and returns the rows before it.
fn error_of(name: &str, bytes: &[u8]) -> (usize, IngestError) {
    error_with(name, bytes, &InputOptions::default())
}

fn error_with(name: &str, bytes: &[u8], options: &InputOptions) -> (usize, IngestError) {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), name, bytes);
    let mut rows = read(&[file], options);
    let mut count = 0;
    loop {
        match rows.next().expect("an error before the end") {
            Ok(_) => count += 1,
            Err(error) => {
                assert!(rows.next().is_none(), "the iterator ends after an error");
                return (count, error);
            }
        }
    }
}

#[track_caller]
fn query(row: &Row) -> &Query {
    match row {
        Row::Query(query) => query,
        Row::Excluded(exclusion) => panic!("excluded: {exclusion:?}"),
    }
}

#[track_caller]
fn excluded(row: &Row) -> &Exclusion {
    match row {
        Row::Excluded(exclusion) => exclusion,
        Row::Query(query) => panic!("a query: {query:?}"),
    }
}

fn line(id: &str, question: &str) -> String {
    format!("{{\"id\":\"{id}\",\"question\":\"{question}\",\"answer\":\"1\"}}\n")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn rows_carry_ordinal_over_all_files_and_their_own_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let first = format!("\u{feff}{}\r\n\n{{bad\n{}", line("a", "q1"), line("b", "q2"));
    let files =
        [write(dir.path(), "one.jsonl", first.as_bytes()), write(dir.path(), "two.ndjson", line("c", "q3").as_bytes())];
    let rows = rows_with(&files, &InputOptions::default());
    assert_eq!(rows.len(), 4);
    let places: Vec<(u64, &str, u64)> = rows
        .iter()
        .map(|row| match row {
            Row::Query(query) => (query.ordinal, query.origin.file.as_str(), query.origin.line),
            Row::Excluded(row) => (row.ordinal, row.origin.file.as_str(), row.origin.line),
        })
        .collect();
    assert_eq!(places, [(0, "one.jsonl", 1), (1, "one.jsonl", 4), (2, "one.jsonl", 5), (3, "two.ndjson", 1)]);
    assert_eq!(query(&rows[3]).source, "two.ndjson");
    assert_eq!(excluded(&rows[1]).source, "one.jsonl");
}

#[test]
fn invalid_utf8_excludes_its_line_only() {
    let mut bytes = line("a", "q1").into_bytes();
    bytes.extend_from_slice(b"{\"id\":\"b\",\"question\":\"\xff\"}\n");
    bytes.extend_from_slice(line("c", "q3").as_bytes());
    let rows = rows_of("a.jsonl", &bytes);
    assert_eq!(query(&rows[0]).id.0, "a");
    let bad = excluded(&rows[1]);
    assert_eq!((bad.reason, bad.origin.line), (ExclusionReason::InvalidUtf8, 2));
    assert!(bad.detail.contains("byte 23"), "{}", bad.detail);
    assert_eq!(query(&rows[2]).id.0, "c");
}

#[test]
fn a_row_at_the_limit_is_read_and_one_byte_more_is_too_long() {
    let dir = tempfile::tempdir().unwrap();
    let row = line("a", "q1");
    let text = format!("{row}{}", line("b", "q2!"));
    let file = write(dir.path(), "a.jsonl", text.as_bytes());
    let limit = row.trim_end().len();
    let rows: Vec<Row> = read_with_limit(&[file], &InputOptions::default(), limit).collect::<Result<_, _>>().unwrap();
    assert_eq!(query(&rows[0]).id.0, "a");
    assert_eq!(excluded(&rows[1]).reason, ExclusionReason::RowTooLong);
    assert!(excluded(&rows[1]).detail.contains(&format!("at most {limit}")));
}

#[test]
fn compressed_files_read_like_plain_ones_also_in_several_members() {
    let (one, two) = (line("a", "q1"), line("b", "q2"));
    let plain = format!("{one}{two}");
    let expect = |rows: Vec<Row>| {
        let ids: Vec<String> = rows.iter().map(|row| query(row).id.0.clone()).collect();
        assert_eq!(ids, ["a", "b"]);
    };
    expect(rows_of("a.jsonl", plain.as_bytes()));
    expect(rows_of("a.jsonl.gz", &gzip(plain.as_bytes())));
    expect(rows_of("a.jsonl.gz", &[gzip(one.as_bytes()), gzip(two.as_bytes())].concat()));
    let zstd = |text: &str| zstd::stream::encode_all(text.as_bytes(), 1).unwrap();
    expect(rows_of("a.jsonl.zst", &zstd(&plain)));
    expect(rows_of("a.jsonl.zst", &[zstd(&one), zstd(&two)].concat()));
    let csv = "id,question,answer\na,q1,1\nb,q2,1\n";
    expect(rows_of("a.csv.gz", &gzip(csv.as_bytes())));
    expect(rows_of("a.csv.zst", &zstd(csv)));
}

#[test]
fn a_damaged_archive_is_an_error_that_names_file_and_line() {
    let text: String = (0..20_000).map(|index| line(&index.to_string(), &format!("q{}", index * 7919))).collect();
    let mut torn = gzip(text.as_bytes());
    torn.truncate(torn.len() / 2);
    let (count, error) =
        error_with("a.jsonl.gz", &torn, &InputOptions { kind: Some(Kind::Math), ..Default::default() });
    assert!(count > 0);
    assert_eq!(error.to_string(), format!("input file a.jsonl.gz cannot be read at line {}", count + 1));
    // If rows may have choices, a file is read whole before its first row is returned.
    let (before, early) = error_of("a.jsonl.gz", &torn);
    assert_eq!((before, early.to_string()), (0, error.to_string()));
    let mut torn = zstd::stream::encode_all(text.as_bytes(), 1).unwrap();
    torn.truncate(torn.len() / 2);
    assert!(matches!(error_of("a.jsonl.zst", &torn).1, IngestError::Unreadable { .. }));
    assert!(matches!(error_of("a.jsonl.gz", b"plain text").1, IngestError::Unreadable { .. }));
}

#[test]
fn a_file_without_rows_is_an_error_that_names_it() {
    for (name, bytes) in [
        ("a.jsonl", b"".as_slice()),
        ("a.jsonl", b"\n \n"),
        ("a.jsonl", b"\xef\xbb\xbf"),
        ("a.jsonl.gz", b""),
        ("a.jsonl.zst", b""),
        ("a.parquet", b""),
        ("a.csv", b""),
        ("a.csv", b"id,question,answer\n"),
    ] {
        let (_, error) = error_of(name, bytes);
        assert_eq!(error.to_string(), format!("input file {name} holds no rows"));
        assert!(error.hint().is_some());
    }
    assert_eq!(rows_of("a.jsonl", b"{").len(), 1, "a bad row is a row");
}

#[test]
fn a_missing_file_and_an_unknown_ending_are_errors_before_the_first_row() {
    let dir = tempfile::tempdir().unwrap();
    let good = write(dir.path(), "a.jsonl", line("a", "q").as_bytes());
    let unknown = write(dir.path(), "b.txt", b"x");
    let mut rows = read(&[good, unknown], &InputOptions::default());
    assert!(matches!(rows.next(), Some(Err(IngestError::UnknownFormat { file })) if file == "b.txt"));
    let gone = InputFile { name: "gone.jsonl".to_owned(), path: dir.path().join("gone.jsonl") };
    let error = read(&[gone], &InputOptions::default()).next().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "input file gone.jsonl cannot be opened");
    assert!(read(&[], &InputOptions::default()).next().is_none());
}

#[test]
fn a_repeated_id_is_a_duplicate_with_the_same_content_and_an_error_with_other_content() {
    let text = [line("a", "q1"), line("b", "q2"), line("a", "q1"), line("a", "q3"), line("c", "q1")].concat();
    let rows = rows_of("a.jsonl", text.as_bytes());
    let same = excluded(&rows[2]);
    assert_eq!((same.reason, same.detail.as_str()), (ExclusionReason::Duplicate, "same id and content as a.jsonl:1"));
    let other = excluded(&rows[3]);
    assert_eq!(other.reason, ExclusionReason::DuplicateId);
    assert!(other.detail.contains("a.jsonl:1"), "{}", other.detail);
    assert_eq!(other.query_id, Some(QueryId("a".to_owned())));
    assert_eq!(query(&rows[4]).id.0, "c", "the same content under another id is left to deduplication");
}

#[test]
fn an_excluded_row_does_not_take_its_id() {
    let text = format!("{{\"id\":\"a\",\"question\":\"q\"}}\n{}", line("a", "q"));
    let rows = rows_of("a.jsonl", text.as_bytes());
    assert_eq!(excluded(&rows[0]).reason, ExclusionReason::MissingGold);
    assert_eq!(query(&rows[1]).id.0, "a");
}

#[test]
fn rows_without_an_id_get_one_from_their_content() {
    let text = "{\"question\":\"q  1\",\"answer\":1}\n{\"question\":\"q 1\",\"answer\":\"1\"}\n{\"question\":\"q 1\",\"answer\":2}\n";
    let rows = rows_of("a.jsonl", text.as_bytes());
    assert_eq!(query(&rows[0]).id.0.len(), 32);
    assert_eq!(excluded(&rows[1]).reason, ExclusionReason::Duplicate);
    assert_eq!(excluded(&rows[1]).query_id.as_ref(), Some(&query(&rows[0]).id));
    assert_ne!(query(&rows[2]).id, query(&rows[0]).id);
}

#[test]
fn csv_cells_become_fields_and_lists_are_json_in_a_cell() {
    let text = "\u{feff}id,question,answer,kind,choices,tests,source,extra\r\n\
                a,\"What, \"\"this\"\"?\",1.50,math,,,set,\r\n\
                \r\n\
                b,\"two\r\nlines\",b,choice,\"[\"\"x\"\",\"\"y\"\"]\",,,\r\n\
                c,write it,,,,\"[\"\"assert 1\"\"]\",,\r\n\
                d,write it,,code,,assert 2,,\r\n\
                e,q,A,choice,x;y,,,\r\n\
                f,q\r\n\
                g,q,,,,,,\r\n";
    let rows = rows_of("a.csv", text.as_bytes());
    let first = query(&rows[0]);
    assert_eq!(
        (first.question.as_str(), first.gold.as_str(), first.source.as_str()),
        ("What, \"this\"?", "1.50", "set")
    );
    assert_eq!(first.origin.line, 2);
    let second = query(&rows[1]);
    assert_eq!((second.origin.line, second.question.as_str()), (4, "two\r\nlines"));
    assert_eq!((second.gold.as_str(), second.choices.len()), ("B", 2));
    let third = query(&rows[2]);
    assert_eq!(
        (third.origin.line, third.kind, third.tests.as_slice()),
        (6, Kind::Code, ["assert 1".to_owned()].as_slice())
    );
    assert_eq!(query(&rows[3]).tests, ["assert 2"]);
    assert_eq!((excluded(&rows[4]).reason, excluded(&rows[4]).origin.line), (ExclusionReason::WrongType, 8));
    assert_eq!(excluded(&rows[5]).reason, ExclusionReason::InvalidSyntax);
    assert!(excluded(&rows[5]).detail.contains("2 cells, expected 8"));
    assert_eq!(excluded(&rows[6]).reason, ExclusionReason::MissingGold);
    assert_eq!(rows.len(), 7);
}

#[test]
fn csv_bad_rows_exclude_themselves_only() {
    let text = b"id,question,answer\na,\xff,1\nb,q,1\nc,\"open,1\nd,q,1\n";
    let rows = rows_of("a.csv", text);
    assert_eq!(excluded(&rows[0]).reason, ExclusionReason::InvalidUtf8);
    assert!(excluded(&rows[0]).detail.contains("cell 2"));
    assert_eq!(query(&rows[1]).id.0, "b");
    assert_eq!((excluded(&rows[2]).reason, excluded(&rows[2]).origin.line), (ExclusionReason::InvalidSyntax, 4));
    assert_eq!(rows.len(), 3);
    let (_, error) = error_of("a.csv", b"id|question|answer\na|q|1\n");
    assert!(error.to_string().contains("no column \"question\""), "{error}");
    let (_, error) = error_of("a.csv", b"\"id,question\n");
    assert!(matches!(error, IngestError::Unreadable { .. }), "{error}");
}

fn strings(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn string_lists(values: &[Option<&[&str]>]) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for value in values {
        for item in value.unwrap_or_default() {
            builder.values().append_value(item);
        }
        builder.append(value.is_some());
    }
    Arc::new(builder.finish())
}

fn parquet_bytes(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap();
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn parquet_columns_of_text_numbers_and_lists_become_fields() {
    let bytes = parquet_bytes(vec![
        ("id", Arc::new(Int64Array::from(vec![Some(7), Some(8), Some(9), None])) as ArrayRef),
        ("question", Arc::new(LargeStringArray::from(vec!["q\n1", "q2", "q3", ""])) as ArrayRef),
        ("answer", strings(&[Some("1.50"), Some("y"), None, Some("1")])),
        ("choices", string_lists(&[None, Some(&["x", "y"]), Some(&[]), None])),
        ("tests", string_lists(&[None, None, Some(&["assert 1"]), None])),
        ("unused", Arc::new(BinaryArray::from(vec![b"\xff".as_slice(); 4])) as ArrayRef),
    ]);
    let rows = rows_of("a.parquet", &bytes);
    assert_eq!(rows.len(), 4);
    let first = query(&rows[0]);
    assert_eq!((first.id.0.as_str(), first.question.as_str(), first.gold.as_str()), ("7", "q\n1", "1.50"));
    assert_eq!((query(&rows[1]).kind, query(&rows[1]).gold.as_str()), (Kind::Choice, "B"));
    assert_eq!((query(&rows[2]).kind, query(&rows[2]).tests.len()), (Kind::Code, 1));
    let last = excluded(&rows[3]);
    assert_eq!((last.reason, last.origin.line, last.ordinal), (ExclusionReason::MissingField, 4, 3));
}

#[test]
fn parquet_rows_are_counted_over_batches_and_numbers_are_written_out() {
    let count = 1000;
    let questions: Vec<String> = (0..count).map(|index| format!("q{index}")).collect();
    let golds: Vec<f64> = (0..count).map(|index| f64::from(index) / 4.0).collect();
    let bytes = parquet_bytes(vec![
        ("question", Arc::new(StringArray::from(questions)) as ArrayRef),
        ("answer", Arc::new(Float64Array::from(golds)) as ArrayRef),
    ]);
    let rows = rows_of("a.parquet", &bytes);
    assert_eq!(rows.len(), 1000);
    assert_eq!((query(&rows[999]).origin.line, query(&rows[999]).gold.as_str()), (1000, "249.75"));
    assert_eq!(query(&rows[4]).gold, "1.0");
}

#[test]
fn csv_and_parquet_rows_at_the_limit_are_read_and_one_byte_more_is_too_long() {
    let dir = tempfile::tempdir().unwrap();
    let read_all = |file: &InputFile, limit: usize| -> Vec<Row> {
        read_with_limit(std::slice::from_ref(file), &InputOptions::default(), limit).collect::<Result<_, _>>().unwrap()
    };
    let csv = "id,question,answer\na,\"long\nquestion\",1\nb,q,1\n";
    let file = write(dir.path(), "a.csv", csv.as_bytes());
    let limit = "a,\"long\nquestion\",1".len();
    assert_eq!(query(&read_all(&file, limit)[0]).id.0, "a");
    let rows = read_all(&file, limit - 1);
    assert_eq!(excluded(&rows[0]).reason, ExclusionReason::RowTooLong);
    assert_eq!((query(&rows[1]).id.0.as_str(), query(&rows[1]).origin.line), ("b", 4));

    let columns =
        vec![("question", strings(&[Some("long question"), Some("q")])), ("answer", strings(&[Some("1"); 2]))];
    let file = write(dir.path(), "a.parquet", &parquet_bytes(columns));
    let limit = r#"{"question":"long question","answer":"1"}"#.len();
    assert_eq!(query(&read_all(&file, limit)[0]).question, "long question");
    let rows = read_all(&file, limit - 1);
    assert_eq!(excluded(&rows[0]).reason, ExclusionReason::RowTooLong);
    assert_eq!(query(&rows[1]).origin.line, 2);
}

#[test]
fn parquet_struct_members_are_reached_by_dotted_names() {
    // The other member is unreadable, and is not read.
    let members = vec![
        (Arc::new(Field::new("answer", DataType::Utf8, true)), strings(&[Some("5")])),
        (
            Arc::new(Field::new("raw", DataType::Binary, true)),
            Arc::new(BinaryArray::from(vec![b"\xff".as_slice()])) as ArrayRef,
        ),
    ];
    let bytes = parquet_bytes(vec![
        ("question", strings(&[Some("q")])),
        ("extra_info", Arc::new(StructArray::from(members)) as ArrayRef),
    ]);
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "a.parquet", &bytes);
    let mut options = InputOptions::default();
    options.fields.answer = "extra_info.answer".to_owned();
    assert_eq!(query(&rows_with(std::slice::from_ref(&file), &options)[0]).gold, "5");
    options.fields.answer = "extra_info.raw".to_owned();
    let error = read(&[file], &options).next().unwrap().unwrap_err();
    assert!(matches!(error, IngestError::UnsupportedColumn { .. }), "{error}");
}

#[test]
fn parquet_without_a_usable_question_column_is_an_error() {
    let (_, error) =
        error_of("a.parquet", &parquet_bytes(vec![("prompt", strings(&[Some("q")])), ("x", strings(&[None]))]));
    assert!(error.to_string().contains("its columns are:\n  prompt: text, for example \"q\"\n  x: empty"), "{error}");
    let binary = Arc::new(BinaryArray::from(vec![b"q".as_slice()])) as ArrayRef;
    let (_, error) = error_of("a.parquet", &parquet_bytes(vec![("question", binary)]));
    assert!(matches!(error, IngestError::UnsupportedColumn { .. }), "{error}");
    let (_, error) = error_of("a.parquet", &parquet_bytes(vec![("question", strings(&[]))]));
    assert!(matches!(error, IngestError::NoRows { .. }), "{error}");
}

#[test]
fn a_damaged_parquet_file_is_an_error_that_names_it() {
    let questions: Vec<String> = (0..5000).map(|index| format!("question number {}", index * 7919)).collect();
    let mut bytes = parquet_bytes(vec![("question", Arc::new(StringArray::from(questions)) as ArrayRef)]);
    let (_, error) = error_of("a.parquet", bytes.get(..bytes.len() / 2).unwrap());
    assert_eq!(error.to_string(), "input file a.parquet cannot be read");
    bytes.get_mut(4..400).unwrap().fill(0xff);
    let (_, error) = error_of("a.parquet", &bytes);
    assert!(error.to_string().starts_with("input file a.parquet cannot be read at row "), "{error}");
}

#[test]
fn the_reader_may_move_to_another_thread() {
    fn assert_send<T: Send + 'static>(_: &T) {}
    assert_send(&read(&[], &InputOptions::default()));
}

fn count_rows(bytes: &[u8]) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "a.jsonl", bytes);
    let mut count = 0;
    for (ordinal, row) in read(&[file], &InputOptions::default()).enumerate() {
        match row {
            Ok(Row::Query(query)) => assert_eq!(query.ordinal, ordinal as u64),
            Ok(Row::Excluded(exclusion)) => assert_eq!(exclusion.ordinal, ordinal as u64),
            Err(IngestError::NoRows { .. }) => return 0,
            // Objects without a question.
            Err(IngestError::Unmapped { .. }) => return lines_that_are_not_blank(bytes),
            // An unclosed list.
            Err(IngestError::Unreadable { .. }) if values::are_values(bytes) => break,
            Err(error) => panic!("{error}"),
        }
        count += 1;
    }
    count
}

fn lines_that_are_not_blank(bytes: &[u8]) -> usize {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let end = if bytes.contains(&b'\n') { b'\n' } else { b'\r' };
    bytes.split(|&byte| byte == end).filter(|line| !line.trim_ascii().is_empty()).count()
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_bytes_never_panic_and_every_line_that_is_not_blank_is_a_row(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)
    ) {
        proptest::prop_assert_eq!(count_rows(&bytes), lines_that_are_not_blank(&bytes));
    }

    #[test]
    fn torn_rows_never_panic_and_every_line_that_is_not_blank_is_a_row(
        pieces in proptest::collection::vec("(\\{|\\}|\"question\":|\"answer\":|\"q\"|1|\\[|,|\n|\r| |\u{e9}){0,12}", 0..8)
    ) {
        let text = pieces.concat();
        let count = count_rows(text.as_bytes());
        // Objects over several lines are rows that span several lines.
        let seen = if text.contains('\n') { text.clone() } else { text.replace('\r', "\n") };
        proptest::prop_assume!(!values::are_values(seen.as_bytes()));
        proptest::prop_assert_eq!(count, lines_that_are_not_blank(text.as_bytes()));
    }
}
