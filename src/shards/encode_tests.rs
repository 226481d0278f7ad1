//! Reads encoded files with the Parquet reader.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::Compression;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};

use super::super::{ExclusionRow, MessageRow, RolloutRow, SampleRow};
use super::*;
use crate::domain::digest::sha256;
use crate::shards::views_sql;

fn sample(ordinal: i64) -> SampleRow {
    SampleRow {
        query_id: format!("q{ordinal}"),
        ordinal,
        source: "gsm8k".to_owned(),
        kind: "math".to_owned(),
        question: "What is 1 + 1?".to_owned(),
        gold: "2".to_owned(),
        mode: "think_off".to_owned(),
        mode_reason: "tie".to_owned(),
        pass_rate_on: 1.0,
        pass_rate_off: 1.0 / 3.0,
        sampled_on: 8,
        sampled_off: 3,
        correct_on: 8,
        correct_off: 1,
        other_mode_on: 0,
        other_mode_off: 1,
        difficulty: "easy".to_owned(),
        difficulty_score: 0.1,
        difficulty_low: 0.05,
        difficulty_high: 0.3,
        justification: None,
        judge_model: None,
        justification_status: "none".to_owned(),
        thinking: None,
        answer: "2".to_owned(),
        messages: vec![MessageRow { role: "user".to_owned(), content: "What is 1 + 1?".to_owned() }],
        prompt: "p".to_owned(),
        completion: "c".to_owned(),
        completion_tokens: 5,
        policy_model: "tiny".to_owned(),
        policy_revision: "abc".to_owned(),
        prompt_version: "p1".to_owned(),
        seed: 7,
        subject: None,
        category: Some("math".to_owned()),
        variant_of: None,
        extra: Some("{\"level\":3}".to_owned()),
    }
}

fn exclusion(ordinal: i64, detail: &str) -> ExclusionRow {
    ExclusionRow {
        query_id: None,
        ordinal,
        source: "s".to_owned(),
        line: 1,
        reason: "unsolved".to_owned(),
        detail: detail.to_owned(),
        file: "f.jsonl".to_owned(),
    }
}

fn rollout(ordinal: i64, text: String) -> RolloutRow {
    RolloutRow {
        query_id: format!("q{ordinal}"),
        ordinal,
        mode: "think_on".to_owned(),
        sample_index: 0,
        seed: i64::MAX,
        prompt: "p".to_owned(),
        text,
        thinking: Some(String::new()),
        answer: String::new(),
        finish_reason: "length".to_owned(),
        verdict: "incorrect".to_owned(),
        extracted: None,
        verdict_reason: "no_answer".to_owned(),
        prompt_tokens: 0,
        completion_tokens: i32::MAX,
        policy_model: "tiny".to_owned(),
        observed_mode: "think_on".to_owned(),
        forced_close: None,
        logprob_sum: Some(-0.1),
        length_estimated: true,
    }
}

/// Text that hardly compresses and never repeats, so that sizes can be predicted.
fn noise(seed: u64, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 64);
    let mut counter = 0;
    while text.len() < bytes {
        text.push_str(&sha256(format!("{seed}/{counter}").as_bytes()));
        counter += 1;
    }
    text.truncate(bytes);
    text
}

fn read(bytes: &Bytes) -> RecordBatch {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap();
    let schema = Arc::clone(builder.schema());
    let batches: Vec<RecordBatch> = builder.build().unwrap().collect::<Result<_, _>>().unwrap();
    arrow::compute::concat_batches(&schema, &batches).unwrap()
}

fn metadata(bytes: &Bytes) -> Arc<ParquetMetaData> {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    Arc::clone(ArrowReaderMetadata::load(bytes, options).unwrap().metadata())
}

fn strings<'a>(batch: &'a RecordBatch, column: &str) -> Vec<Option<&'a str>> {
    batch.column_by_name(column).unwrap().as_string::<i32>().iter().collect()
}

fn floats(batch: &RecordBatch, column: &str) -> Vec<u64> {
    let values = batch.column_by_name(column).unwrap().as_primitive::<Float64Type>();
    values.values().iter().map(|value| value.to_bits()).collect()
}

fn longs(batch: &RecordBatch, column: &str) -> Vec<i64> {
    batch.column_by_name(column).unwrap().as_primitive::<Int64Type>().values().to_vec()
}

#[test]
fn no_rows_give_a_valid_file_with_the_schema() {
    for table in Table::ALL {
        let bytes = encode::<SampleRow>(table, &[]).unwrap();
        let batch = read(&bytes);
        assert_eq!(batch.num_rows(), 0);
        assert_eq!(
            batch.schema().fields(),
            table.schema().fields(),
            "the Parquet schema alone gives back the Arrow schema"
        );
    }
}

#[test]
fn floats_and_integers_survive_bit_for_bit() {
    let values =
        [0.1, 1.0 / 3.0, 0.0, -0.0, 1.0, f64::MIN_POSITIVE, 5e-324, f64::MAX, 0.1 + 0.2, 2.0_f64.powi(60) + 256.0];
    let numbers = [i64::MIN, i64::MAX, 0, -1, 1 << 53, (1 << 53) + 1, -(1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32];
    let rows: Vec<SampleRow> = (0..values.len())
        .map(|index| SampleRow {
            difficulty_score: values[index],
            seed: numbers[index],
            sampled_on: [i32::MIN, i32::MAX, 0, -1][index % 4],
            ..sample(index as i64)
        })
        .collect();
    let batch = read(&encode(Table::Samples, &rows).unwrap());
    assert_eq!(floats(&batch, "difficulty_score"), values.map(f64::to_bits));
    assert_eq!(longs(&batch, "seed"), numbers);
    let counts = batch.column_by_name("sampled_on").unwrap().as_primitive::<Int32Type>();
    assert_eq!(&counts.values()[..4], &[i32::MIN, i32::MAX, 0, -1]);
}

#[test]
fn strings_survive_byte_for_byte_and_null_is_not_empty() {
    let long = noise(1, 3 * 1024 * 1024);
    let texts = [
        "",
        "\0",
        "a\0b\0",
        "null",
        "\"quoted\" \\ \n\r\t",
        "\u{feff}\u{202e}\u{1f600}\u{10ffff}\u{d7ff}",
        "e\u{301} is not \u{e9}",
        "1e400",
        &long,
    ];
    let mut rows: Vec<SampleRow> = texts
        .iter()
        .map(|text| SampleRow {
            question: (*text).to_owned(),
            thinking: Some((*text).to_owned()),
            messages: vec![MessageRow { role: String::new(), content: (*text).to_owned() }],
            ..sample(0)
        })
        .collect();
    rows.push(SampleRow { messages: Vec::new(), ..sample(0) });
    let batch = read(&encode(Table::Samples, &rows).unwrap());

    let mut expected: Vec<Option<&str>> = texts.iter().map(|text| Some(*text)).collect();
    expected.push(None);
    assert_eq!(strings(&batch, "thinking"), expected);
    assert_eq!(strings(&batch, "question")[..texts.len()], expected[..texts.len()]);

    let messages = batch.column_by_name("messages").unwrap().as_list::<i32>();
    assert_eq!(messages.null_count(), 0, "an empty list is not null");
    assert_eq!(messages.value_length(texts.len()), 0);
    let contents = messages.values().as_struct().column_by_name("content").unwrap().as_string::<i32>();
    assert_eq!(contents.iter().flatten().collect::<Vec<_>>(), texts);
}

#[test]
fn rows_of_every_table_survive() {
    let rollouts = [rollout(0, "a".to_owned()), rollout(1, "b".to_owned())];
    let batch = read(&encode(Table::Rollouts, &rollouts).unwrap());
    assert_eq!(strings(&batch, "text"), [Some("a"), Some("b")]);
    assert_eq!(strings(&batch, "extracted"), [None, None]);
    assert_eq!(strings(&batch, "thinking"), [Some(""), Some("")]);
    assert_eq!(longs(&batch, "seed"), [i64::MAX; 2]);

    let exclusions = [exclusion(0, "first"), ExclusionRow { query_id: Some("q".to_owned()), ..exclusion(1, "second") }];
    let batch = read(&encode(Table::Exclusions, &exclusions).unwrap());
    assert_eq!(strings(&batch, "query_id"), [None, Some("q")]);
    assert_eq!(strings(&batch, "detail"), [Some("first"), Some("second")]);
}

#[test]
fn rows_of_another_table_are_refused() {
    let error = encode(Table::Exclusions, &[sample(0)]).unwrap_err();
    assert_eq!(error.to_string(), "rows of table exclusions do not fit its schema");
    assert!(encode(Table::Samples, &["text"]).is_err());
    /// A row whose ordinal is of the wrong type.
    #[derive(Serialize)]
    struct Mistyped {
        ordinal: bool,
    }
    assert!(encode(Table::Samples, &[Mistyped { ordinal: true }]).is_err());
}

#[test]
fn same_rows_give_the_same_bytes_in_any_thread() {
    let rows: Vec<RolloutRow> = (0..300).map(|index| rollout(index, noise(index as u64, 20_000))).collect();
    let first = encode(Table::Rollouts, &rows).unwrap();
    let second = encode(Table::Rollouts, &rows).unwrap();
    assert_eq!(sha256(&first), sha256(&second));
    std::thread::scope(|scope| {
        let threads = [0, 1].map(|_| scope.spawn(|| sha256(encode(Table::Rollouts, &rows).unwrap())));
        for thread in threads {
            assert_eq!(thread.join().unwrap(), sha256(&first));
        }
    });
    let other = encode(Table::Rollouts, &rows[1..]).unwrap();
    assert_ne!(sha256(&other), sha256(&first));
}

#[test]
fn files_carry_zstd_page_index_and_fixed_metadata() {
    let rows: Vec<RolloutRow> = (0..100).map(|index| rollout(index, noise(index as u64, 30_000))).collect();
    let bytes = encode(Table::Rollouts, &rows).unwrap();
    let metadata = metadata(&bytes);
    for column in metadata.row_group(0).columns() {
        assert!(matches!(column.compression(), Compression::ZSTD(_)), "{:?}", column.compression());
        assert!(column.column_index_offset().is_some() && column.offset_index_offset().is_some());
        assert!(column.statistics().is_some());
    }
    let file = metadata.file_metadata();
    assert_eq!(file.created_by(), Some(CREATED_BY));
    let keys: Vec<&str> = file.key_value_metadata().unwrap().iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["content_defined_chunking", "thinkloom.tables_version"]);
}

fn written<T: Serialize + Clone>(table: Table, rows: &[T], provenance: &Provenance) -> Bytes {
    let mut writer = TableWriter::new(table, provenance).unwrap();
    rows.iter().for_each(|row| writer.push(row.clone()).unwrap());
    let (bytes, count) = writer.finish().unwrap();
    assert_eq!(count, rows.len() as u64);
    bytes
}

#[test]
fn rows_that_come_one_by_one_give_the_bytes_of_all_at_once() {
    let provenance = Provenance {
        policy_model: "tiny".to_owned(),
        policy_revision: "abc".to_owned(),
        prompt_version: "p1".to_owned(),
    };
    let metadata = || {
        [("thinkloom.policy_model", "tiny"), ("thinkloom.policy_revision", "abc"), ("thinkloom.prompt_version", "p1")]
            .map(|(key, value)| (key, value.to_owned()))
            .to_vec()
    };
    for count in [0, 1, 63, 64, 65, 200] {
        let rows: Vec<RolloutRow> = (0..count).map(|index| rollout(index, noise(index as u64, 3000))).collect();
        let table = Table::Rollouts;
        let (name, schema, group_bytes_max) = (table.name(), table.schema(), ROW_GROUP_BYTES_MAX);
        let whole = encode_rows(Target { name, schema, metadata: metadata(), group_bytes_max }, &rows).unwrap();
        assert_eq!(written(table, &rows, &provenance), whole, "{count} rows");
    }
}

#[test]
fn files_say_where_their_rows_come_from_and_have_a_small_bloom_filter_on_the_query_id() {
    let provenance = Provenance {
        policy_model: "tiny".to_owned(),
        policy_revision: "abc".to_owned(),
        prompt_version: "p1".to_owned(),
    };
    let rows: Vec<RolloutRow> = (0..100).map(|index| rollout(index, "text".to_owned())).collect();
    let bytes = written(Table::Rollouts, &rows, &provenance);
    let metadata = metadata(&bytes);
    let entries = metadata.file_metadata().key_value_metadata().unwrap();
    let found: Vec<(&str, &str)> =
        entries.iter().skip(2).map(|entry| (entry.key.as_str(), entry.value.as_deref().unwrap())).collect();
    let expected = [("policy_model", "tiny"), ("policy_revision", "abc"), ("prompt_version", "p1")];
    assert_eq!(
        found,
        expected.map(|(key, value)| (format!("thinkloom.{key}"), value)).each_ref().map(|(k, v)| (k.as_str(), *v))
    );
    for column in metadata.row_group(0).columns() {
        let is_looked_up = column.column_path().string() == "query_id";
        assert_eq!(column.bloom_filter_offset().is_some(), is_looked_up);
        assert!(column.bloom_filter_length().is_none_or(|length| length < 8192));
    }
}

#[test]
fn pages_are_cut_by_content_so_that_an_insertion_moves_few_of_them() {
    let rows: Vec<RolloutRow> = (0..400).map(|index| rollout(index, noise(index as u64, 30_000))).collect();
    let mut longer = rows.clone();
    longer.insert(3, rollout(3, noise(9999, 12_345)));
    let pages = |rows: &[RolloutRow]| {
        let bytes = encode(Table::Rollouts, rows).unwrap();
        let metadata = metadata(&bytes);
        let text = metadata.row_group(0).columns().iter().position(|column| column.column_path().string() == "text");
        let pages = metadata.page_index_for_row_group(0).offset_index(text.unwrap()).unwrap().page_locations().clone();
        let page = |offset: i64, size: i32| sha256(&bytes[offset as usize..offset as usize + size as usize]);
        pages.iter().map(|location| page(location.offset, location.compressed_page_size)).collect::<Vec<_>>()
    };
    let (before, after) = (pages(&rows), pages(&longer));
    let kept = before.iter().filter(|page| after.contains(page)).count();
    assert!(before.len() > 10 && kept * 2 > before.len(), "{kept} of {} pages kept", before.len());
}

#[test]
fn row_groups_stay_within_their_bytes_and_lose_no_row() {
    let bytes_max = 256 * 1024;
    let sizes = [1_000, 90_000, 200_000, 300_000, 10, 0, 5_000];
    let rows: Vec<RolloutRow> =
        (0..210).map(|index| rollout(index, noise(index as u64, sizes[index as usize % sizes.len()]))).collect();
    let bytes = encode_bounded(Table::Rollouts, &rows, bytes_max).unwrap();
    assert_eq!(longs(&read(&bytes), "ordinal"), (0..210).collect::<Vec<_>>());
    let metadata = metadata(&bytes);
    assert!(metadata.num_row_groups() > 10);
    for group in metadata.row_groups() {
        // The difference is levels and page headers.
        let within = group.total_byte_size() < bytes_max as i64 + 20_000;
        assert!(within || group.num_rows() == 1, "{} rows, {} bytes", group.num_rows(), group.total_byte_size());
    }
}

#[test]
fn row_groups_stay_within_their_rows() {
    let group_rows = |count: usize| {
        let rows: Vec<ExclusionRow> = (0..count).map(|index| exclusion(index as i64, "none")).collect();
        let metadata = metadata(&encode(Table::Exclusions, &rows).unwrap());
        metadata.row_groups().iter().map(|group| group.num_rows() as usize).collect::<Vec<_>>()
    };
    assert_eq!(group_rows(ROW_GROUP_ROWS_MAX), [ROW_GROUP_ROWS_MAX]);
    assert_eq!(group_rows(ROW_GROUP_ROWS_MAX + 1), [ROW_GROUP_ROWS_MAX, 1]);
}

#[test]
fn hostile_and_huge_text_comes_back_as_it_was() {
    let hostile = "<script>alert(1)</script>\u{0}\u{1b}[2J\u{202e}\u{200f}</answer>{{ x }}\r\n\u{fffd}\u{10ffff}";
    let huge = noise(7, 10 << 20);
    let mut rows = vec![rollout(0, hostile.to_owned()), rollout(1, huge), rollout(2, String::new())];
    rows[0].thinking = Some(hostile.repeat(100));
    rows[0].query_id = hostile.to_owned();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.parquet");
    std::fs::write(&path, encode(Table::Rollouts, &rows).unwrap()).unwrap();
    assert!(super::super::read_rows::<RolloutRow>(&path).unwrap() == rows);
    let one = super::super::read_rows_of::<RolloutRow>(&path, &super::super::RowFilter::ordinal(1)).unwrap();
    assert!(one == rows[1..2], "one query's rows alone");
}

#[test]
fn the_views_count_as_the_run_does() {
    use crate::domain::OtherMode;
    let (incorrect, as_verified) = (views_sql(OtherMode::Incorrect), views_sql(OtherMode::AsVerified));
    assert_eq!(incorrect.matches("verdict = 'correct' AND observed_mode = mode").count(), 2);
    assert!(!as_verified.contains("AND observed_mode = mode"), "{as_verified}");
}
