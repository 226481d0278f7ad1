//! Real datasets: from the bytes of files to queries, without a setting or with the one necessary line.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, ListArray, RecordBatch, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};

use super::*;
use crate::domain::Kind;

fn files(dir: &std::path::Path, named: &[(&str, &[u8])]) -> Vec<InputFile> {
    let file = |(name, bytes): &(&str, &[u8])| {
        let path = dir.join(name);
        fs_err::write(&path, bytes).unwrap();
        InputFile { name: (*name).to_owned(), path }
    };
    named.iter().map(file).collect()
}

fn rows_with(name: &str, bytes: &[u8], options: &InputOptions) -> Result<Vec<Row>, IngestError> {
    let dir = tempfile::tempdir().unwrap();
    read(&files(dir.path(), &[(name, bytes)]), options).collect()
}

#[track_caller]
fn queries_with(name: &str, bytes: &[u8], options: &InputOptions) -> Vec<Query> {
    let query = |row| match row {
        Row::Query(query) => query,
        Row::Excluded(row) => panic!("{name}: {row:?}"),
    };
    rows_with(name, bytes, options).unwrap().into_iter().map(query).collect()
}

#[track_caller]
fn queries(name: &str, text: &str) -> Vec<Query> {
    queries_with(name, text.as_bytes(), &InputOptions::default())
}

#[track_caller]
fn assert_reads(name: &str, text: &str, kind: Kind, expected: &[(&str, &str)]) {
    let found = queries(name, text);
    let pairs: Vec<(&str, &str)> = found.iter().map(|query| (query.question.as_str(), query.gold.as_str())).collect();
    assert_eq!(pairs, expected, "{name}: {text}");
    assert!(found.iter().all(|query| query.kind == kind), "{name}: {text}: {found:?}");
}

fn error_of(name: &str, text: &str) -> IngestError {
    rows_with(name, text.as_bytes(), &InputOptions::default()).unwrap_err()
}

const SUM: (&str, &str) = ("What is 2 + 3?", "5");

#[test]
fn public_datasets_of_mathematics_load_without_a_setting() {
    use Kind::Math;
    for (name, text) in [
        // GSM8K
        ("a.jsonl", r#"{"question": "What is 2 + 3?", "answer": "It is 2 + 3 = <<2+3=5>>5.\n#### 5"}"#),
        // MATH
        (
            "a.jsonl",
            r#"{"problem": "What is 2 + 3?", "level": "Level 1", "type": "Algebra", "solution": "We add and get $\\boxed{5}$."}"#,
        ),
        // MATH-500, NuminaMath 1.5
        (
            "a.jsonl",
            r#"{"problem": "What is 2 + 3?", "solution": "We add: \\boxed{5}", "answer": "5", "unique_id": "test/1.json"}"#,
        ),
        // NuminaMath-CoT
        (
            "a.jsonl",
            r#"{"source": "s", "problem": "What is 2 + 3?", "solution": "Adding gives \\boxed{5} at once.", "messages": [{"role": "user", "content": "What is 2 + 3?"}, {"role": "assistant", "content": "x"}]}"#,
        ),
        // DAPO, SimpleRL: verl's layout
        (
            "a.jsonl",
            r#"{"data_source": "d", "prompt": [{"content": "What is 2 + 3?", "role": "user"}], "ability": "MATH", "reward_model": {"ground_truth": "5", "style": "rule"}, "extra_info": {"index": "u-1"}}"#,
        ),
        // Skywork
        (
            "a.jsonl",
            r#"{"data_source": "d", "prompt": [{"content": "What is 2 + 3?", "role": "user"}], "reward_model": {"ground_truth": "[\"5\"]", "style": "rule"}}"#,
        ),
        // OlympiadBench
        (
            "a.jsonl",
            r#"{"id": 1, "question": "What is 2 + 3?", "solution": ["x"], "final_answer": ["5"], "context": null}"#,
        ),
        // ShareGPT and chats
        (
            "a.jsonl",
            r#"{"conversations": [{"from": "human", "value": "What is 2 + 3?"}, {"from": "gpt", "value": "So we get \\boxed{5} here."}]}"#,
        ),
        (
            "a.jsonl",
            r#"{"messages": [{"role": "user", "content": "What is 2 + 3?"}, {"role": "assistant", "content": "<think>add</think>We add and get \\boxed{5}."}]}"#,
        ),
        // OpenMathReasoning, DeepMath
        ("a.jsonl", r#"{"problem": "What is 2 + 3?", "generated_solution": "x", "expected_answer": "5"}"#),
        ("a.jsonl", r#"{"question": "What is 2 + 3?", "final_answer": "5", "difficulty": 2.0, "r1_solution_1": "x"}"#),
        // ORZ
        ("a.json", r#"[{"prompt": [{"from": "human", "value": "What is 2 + 3?"}], "final_answer": 5}]"#),
        // SVAMP-like tables
        ("a.csv", "ID,Question,Final Answer\n1,What is 2 + 3?,5\n"),
        (
            "a.csv",
            "data_source,prompt,reward_model\nd,\"[{'content': 'What is 2 + 3?', 'role': 'user'}]\",\"{'ground_truth': '5', 'style': 'rule'}\"\n",
        ),
        ("a.tsv", "id\tproblem\tanswer\n1\tWhat is 2 + 3?\t5\n"),
        ("a.csv", "id;question;answer\n1;What is 2 + 3?;5\n"),
    ] {
        assert_reads(name, text, Math, &[SUM]);
    }
    assert_reads(
        "svamp.jsonl",
        r#"{"ID": "c-1", "Body": "Ann has 2 pens.", "Question": "She buys 3. How many now?", "Equation": "( 2 + 3 )", "Answer": 5.0}"#,
        Math,
        &[("Ann has 2 pens.\n\nShe buys 3. How many now?", "5.0")],
    );
    let labels =
        &queries("a.jsonl", r#"{"problem": "q", "type": "Algebra", "solution": "We get \\boxed{5} now."}"#)[0].labels;
    assert_eq!(labels.subject.as_deref(), Some("Algebra"));
}

#[test]
fn public_datasets_of_other_kinds_load_without_a_setting() {
    assert_reads(
        "boolq.jsonl",
        r#"{"question": "Is 7 a prime number? Answer yes or no.", "answer": true}"#,
        Kind::Text,
        &[("Is 7 a prime number? Answer yes or no.", "yes")],
    );
    assert_reads(
        "squad.jsonl",
        r#"{"context": "c", "question": "Who won?", "answers": {"text": ["Denver Broncos", "The Broncos"], "answer_start": [1, 2]}}"#,
        Kind::Text,
        &[("c\n\nWho won?", "Denver Broncos")],
    );
    assert_reads(
        "boolq.jsonl",
        r#"{"question": "is it red", "passage": "It is red.", "answer": true}"#,
        Kind::Text,
        &[("It is red.\n\nis it red", "yes")],
    );
    assert_reads(
        "trivia.jsonl",
        r#"{"question": "Who wrote it?", "question_id": "q1", "answer": {"value": "Sinclair Lewis", "aliases": ["Lewis"]}}"#,
        Kind::Text,
        &[("Who wrote it?", "Sinclair Lewis")],
    );
    assert_reads(
        "alpaca.jsonl",
        r#"{"instruction": "Name the capital.", "input": "France", "output": "Paris"}"#,
        Kind::Text,
        &[("Name the capital.\n\nFrance", "Paris")],
    );
    assert_reads(
        "csqa.jsonl",
        r#"{"id": "1", "question": "Which is hot?", "choices": {"label": ["A", "B"], "text": ["ice", "fire"]}, "answerKey": "B"}"#,
        Kind::Choice,
        &[("Which is hot?", "B")],
    );
    assert_reads(
        "mmlu_pro.jsonl",
        r#"{"question": "Which is hot?", "options": ["ice", "fire"], "answer": "B", "answer_index": 1}"#,
        Kind::Choice,
        &[("Which is hot?", "B")],
    );
    assert_reads(
        "ceval.csv",
        "id,question,A,B,C,D,answer\n0,Which is hot?,ice,fire,snow,sleet,B\n",
        Kind::Choice,
        &[("Which is hot?", "B")],
    );
    let programs = [
        r#"{"task_id": "HumanEval/0", "prompt": "def f(x):\n", "canonical_solution": "    return x\n", "test": "def check(f):\n    assert f(1) == 1\n", "entry_point": "f"}"#,
        r#"{"task_id": 1, "text": "Write f.", "code": "def f(x): return x", "test_list": ["assert f(1) == 1"], "test_setup_code": ""}"#,
    ];
    for program in programs {
        let query = &queries("code.jsonl", program)[0];
        assert_eq!((query.kind, query.tests.len()), (Kind::Code, 1), "{query:?}");
        assert!(query.gold.contains("return x"), "{query:?}");
    }
}

#[test]
fn one_line_maps_what_has_names_of_its_own() {
    let with = |field: &str, name: &str| {
        let mut options = InputOptions::default();
        options.fields.set(field, name);
        options
    };
    let read = |text: &str, options: &InputOptions| {
        let query = queries_with("a.jsonl", text.as_bytes(), options).remove(0);
        (query.question, query.gold)
    };
    let text = r#"{"context": "It is 5.", "question": "What is it?", "answers": {"text": ["5"]}}"#;
    assert_eq!(
        read(text, &with("question", "context+question")),
        ("It is 5.\n\nWhat is it?".to_owned(), "5".to_owned())
    );
    let text = r#"{"aufgabe": "What is 2 + 3?", "answer": "5"}"#;
    assert_eq!(read(text, &with("question", "aufgabe")).0, SUM.0);
    let text = r#"{"question": "What is 2 + 3?", "meta": [{"gold": {"n": 5}}]}"#;
    assert_eq!(read(text, &with("answer", "meta.0.gold.n")).1, "5");
    let text = r#"{"messages": [{"role": "user", "content": "What is 2 + 3?"}, {"role": "assistant", "content": "5"}], "answer": "6"}"#;
    assert_eq!(read(text, &with("answer", "messages")).1, "5");
    // A written setting overrides a guess.
    let text = r#"{"question": "other", "problem": "What is 2 + 3?", "answer": "5"}"#;
    assert_eq!(read(text, &with("question", "problem")).0, SUM.0);
}

#[test]
fn rows_over_lines_in_lists_and_with_numbers_that_json_lacks_are_read() {
    let row = r#"{"id": "a", "question": "What is 2 + 3?", "answer": "5"}"#;
    let pretty = "{\n  \"id\": \"a\",\n  \"question\": \"What is 2 + 3?\",\n  \"answer\": \"5\"\n}";
    let other = pretty.replace("\"a\"", "\"b\"");
    for (name, text, count) in [
        ("a.json", format!("[{row}]"), 1),
        ("a.jsonl", format!("[\n{pretty},\n{other}\n]"), 2),
        ("a.json", format!("{pretty}\n{other}"), 2),
        ("a.jsonl", format!("\u{feff}{pretty}\n"), 1),
        ("a.json", row.to_owned(), 1),
        ("a.json", format!("{row}\n{}\n", row.replace("\"a\"", "\"b\"")), 2),
        ("a.jsonl", row.replace('}', r#", "difficulty": NaN, "x": [-Infinity, {"y": Infinity}]}"#), 1),
    ] {
        let found = queries(name, &text);
        assert_eq!(found.len(), count, "{text}");
        assert!(found.iter().all(|query| (query.question.as_str(), query.gold.as_str()) == SUM), "{text}");
    }
    let lines: Vec<u64> =
        queries("a.json", &format!("[\n{pretty},\n{other}\n]")).iter().map(|query| query.origin.line).collect();
    assert_eq!(lines, [2, 7]);
    assert!(matches!(error_of("a.json", "[]"), IngestError::NoRows { .. }));
    assert!(matches!(error_of("a.json", &format!("[{row}, ")), IngestError::Unreadable { .. }));
    let excluded = rows_with("a.json", format!("[{row}, 5, [{row}]]").as_bytes(), &InputOptions::default()).unwrap();
    assert_eq!(excluded.iter().filter(|row| matches!(row, Row::Excluded(_))).count(), 2);
}

#[test]
fn encodings_line_ends_and_headers_of_other_programs_are_read() {
    let csv = "id,question,answer\na,What is 2 + 3?,5\nb,\"What is\n3 + 4?\",7\n";
    let utf16: Vec<u8> = "\u{feff}".encode_utf16().chain(csv.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let cases: [&[u8]; 4] =
        [csv.as_bytes(), &utf16, &csv.replace('\n', "\r").into_bytes(), &csv.replace('\n', "\r\n").into_bytes()];
    for bytes in cases {
        let found = queries_with("a.csv", bytes, &InputOptions::default());
        assert_eq!(found.iter().map(|query| query.id.0.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(found[1].question.split_whitespace().collect::<String>(), "Whatis3+4?");
    }
    assert_reads("a.csv", "id, question, answer\na, \"What is 2, 3?\", 5\n", Kind::Math, &[("What is 2, 3?", "5")]);
    assert_reads("a.csv", ",question,,answer\n0,What is 2 + 3?,x,5\n", Kind::Math, &[SUM]);
}

#[test]
fn two_columns_of_one_name_are_an_error_only_where_the_name_is_asked_for() {
    for text in
        ["id,question,answer,answer\na,What is 2 + 3?,5,6\n", "id,question,answer,answer\na,What is 2 + 3?,5,\n"]
    {
        let error = error_of("dup.csv", text);
        assert!(matches!(&error, IngestError::RepeatedColumn { column, .. } if column == "answer"), "{error}");
        assert!(error.to_string().contains("dup.csv") && error.hint().is_some());
    }
    assert_reads("a.csv", "id,question,note,note,answer\na,What is 2 + 3?,x,y,5\n", Kind::Math, &[SUM]);
}

#[test]
fn ids_of_any_scalar_are_kept_as_they_are_written() {
    for (json, id) in
        [("1.0", "1.0"), ("true", "true"), ("9007199254740993", "9007199254740993"), ("1e3", "1e3"), ("\"x\"", "x")]
    {
        let text = format!(r#"{{"id": {json}, "question": "q", "answer": 5.0}}"#);
        let query = &queries("a.jsonl", &text)[0];
        assert_eq!((query.id.0.as_str(), query.gold.as_str()), (id, "5.0"));
    }
}

#[test]
fn a_guessed_id_that_repeats_is_none_and_a_named_one_is_an_error_of_its_row() {
    let dir = tempfile::tempdir().unwrap();
    let row = |question: &str| format!(r#"{{"index": 0, "question": "{question}", "answer": "1"}}"#);
    let (one, two) = (row("one"), row("two"));
    let files = files(dir.path(), &[("a.jsonl", one.as_bytes()), ("b.jsonl", two.as_bytes())]);
    let count = |options: &InputOptions| {
        let rows: Vec<Row> = read(&files, options).collect::<Result<_, _>>().unwrap();
        rows.iter().filter(|row| matches!(row, Row::Query(_))).count()
    };
    assert_eq!(count(&InputOptions::default()), 2);
    let mut options = InputOptions::default();
    options.fields.set("id", "index");
    assert_eq!(count(&options), 1);
}

#[test]
fn a_file_in_which_nothing_fits_is_one_error_with_its_columns_and_a_mapping_to_copy() {
    let rows = r#"{"aufgabe": "Was ist die Summe von 2 und 3?", "nr": 1, "zahl": {"wert": 5}}"#;
    let message = error_of("fremd.jsonl", &format!("{rows}\n").repeat(3)).to_string();
    for part in [
        "fremd.jsonl",
        "aufgabe: text, for example \"Was ist",
        "zahl.wert: number, for example 5",
        "[input.fields]",
        "question = \"aufgabe\"",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let message = error_of("fremd.csv", "question,loesung\nWhat is 2 + 3?,5\n").to_string();
    assert!(message.contains("for the answer") && message.contains("answer = \"loesung\""), "{message}");
    let mut options = InputOptions::default();
    options.fields.set("answer", "gold");
    let error = rows_with("a.jsonl", br#"{"question": "q", "answer": "1"}"#, &options).unwrap_err();
    assert!(error.to_string().contains("\"gold\""), "{error}");
    // One bad row of a file is an exclusion.
    let text = "{\"question\": \"q\", \"answer\": \"1\"}\n{\"question\": \"r\"}\n";
    let found = rows_with("a.jsonl", text.as_bytes(), &InputOptions::default()).unwrap();
    assert!(matches!(&found[1], Row::Excluded(row) if row.reason == ExclusionReason::MissingGold));
}

#[test]
fn a_system_message_stands_before_the_question_unless_all_rows_have_it() {
    let row = |system: &str, question: &str| {
        let messages = serde_json::json!([
            {"role": "system", "content": system},
            {"role": "user", "content": "earlier"},
            {"role": "assistant", "content": "x"},
            {"role": "user", "content": question},
        ]);
        format!("{}\n", serde_json::json!({"prompt": messages, "answer": "1"}))
    };
    let text = format!("{}{}", row("Be brief.", "one"), row("Be brief.", "two"));
    assert_reads("a.jsonl", &text, Kind::Math, &[("one", "1"), ("two", "1")]);
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path(), &[("a.jsonl", text.as_bytes())]);
    let remarks = Plan::settle(&files, &InputOptions::default()).unwrap().remarks(&files).join("\n");
    for part in ["question = \"prompt\"", "Be brief.", "turns before the last question", "in 2 of"] {
        assert!(remarks.contains(part), "{part}: {remarks}");
    }
    let text = format!("{}{}", row("The number is 3.", "one"), row("The number is 4.", "two"));
    assert_reads("b.jsonl", &text, Kind::Math, &[("The number is 3.\n\none", "1"), ("The number is 4.\n\ntwo", "1")]);
}

#[test]
fn kept_columns_go_along_as_json_and_one_that_no_row_has_is_an_error() {
    let keep = |names: &[&str]| InputOptions {
        keep: names.iter().map(|&name| name.to_owned()).collect(),
        ..InputOptions::default()
    };
    let text = "{\"question\": \"q\", \"answer\": \"1\", \"level\": 3, \"meta\": {\"a\": [1.50]}}\n{\"question\": \"r\", \"answer\": \"1\"}\n";
    let extra = |name: &str, text: &str, names: &[&str]| -> Vec<Option<String>> {
        queries_with(name, text.as_bytes(), &keep(names)).into_iter().map(|query| query.labels.extra).collect()
    };
    assert_eq!(extra("a.jsonl", text, &["level", "meta.a"]), [Some(r#"{"level":3,"meta.a":[1.50]}"#.to_owned()), None]);
    assert_eq!(extra("a.jsonl", text, &["meta"])[0].as_deref(), Some(r#"{"meta":{"a": [1.50]}}"#));
    assert_eq!(
        extra("a.csv", "question,answer,level\nq,1,hard\n", &["level"]),
        [Some(r#"{"level":"hard"}"#.to_owned())]
    );
    let error = rows_with("a.jsonl", text.as_bytes(), &keep(&["levle"])).unwrap_err();
    assert!(error.to_string().contains("levle") && error.to_string().contains("level"), "{error}");
}

#[test]
fn a_file_that_changes_behind_its_hash_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let row = |id: &str| format!("{{\"id\":\"{id}\",\"question\":\"q{id}\",\"answer\":\"1\"}}\n");
    for name in ["a.jsonl", "a.csv", "a.jsonl.gz"] {
        let text = if name == "a.csv" { "question,answer\nq,1\n".to_owned() } else { row("a") };
        let packed = |text: &str| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
            if name.ends_with("gz") { encoder.finish().unwrap() } else { text.as_bytes().to_vec() }
        };
        let files = files(dir.path(), &[(name, &packed(&text))]);
        let plan = Plan::settle(&files, &InputOptions::default()).unwrap();
        let digests = [digest_file(&files[0].path).unwrap()];
        let read_again =
            || read_on(&files, &plan, &digests, &Passed::default(), std::iter::empty()).collect::<Result<Vec<_>, _>>();
        assert_eq!(read_again().unwrap().len(), 1, "{name}");
        fs_err::write(&files[0].path, packed(&(text + "\n"))).unwrap();
        let error = read_again().unwrap_err();
        assert!(matches!(error, IngestError::Changed { .. }), "{name}: {error}");
    }
}

fn parquet(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ::parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn structs(members: Vec<(&str, ArrayRef)>) -> ArrayRef {
    let members =
        members.into_iter().map(|(name, array)| (Arc::new(Field::new(name, array.data_type().clone(), true)), array));
    Arc::new(StructArray::from(members.collect::<Vec<_>>()))
}

#[test]
fn parquet_with_chats_objects_and_float_ids_is_read_and_seen_to_change() {
    let text = |items: &[&str]| -> ArrayRef { Arc::new(StringArray::from(items.to_vec())) };
    let turns =
        structs(vec![("content", text(&["What is 2 + 3?", "What is 3 + 4?"])), ("role", text(&["user", "user"]))]);
    let field = Arc::new(Field::new("item", turns.data_type().clone(), true));
    let prompt: ArrayRef = Arc::new(ListArray::new(field, OffsetBuffer::from_lengths([1, 1]), turns, None));
    let batch = RecordBatch::try_from_iter([
        ("prompt", prompt),
        ("reward_model", structs(vec![("ground_truth", text(&["5", "7"])), ("style", text(&["r", "r"]))])),
        ("id", Arc::new(Float64Array::from(vec![Some(1.0), None])) as ArrayRef),
        ("difficulty", Arc::new(Float64Array::from(vec![f64::NAN, 0.5])) as ArrayRef),
    ])
    .unwrap();
    assert!(matches!(batch.schema().field(0).data_type(), DataType::List(_)));
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path(), &[("dapo.parquet", &parquet(&batch))]);
    let options =
        InputOptions { keep: vec!["reward_model".to_owned(), "difficulty".to_owned()], ..InputOptions::default() };
    let plan = Plan::settle(&files, &options).unwrap();
    let digests = [digest_file(&files[0].path).unwrap()];
    let read_again =
        || read_on(&files, &plan, &digests, &Passed::default(), std::iter::empty()).collect::<Result<Vec<_>, _>>();
    let rows = read_again().unwrap();
    let Row::Query(query) = &rows[0] else { panic!("{rows:?}") };
    assert_eq!((query.question.as_str(), query.gold.as_str(), query.id.0.as_str()), ("What is 2 + 3?", "5", "1.0"));
    assert_eq!(query.labels.extra.as_deref(), Some(r#"{"reward_model":{"ground_truth":"5","style":"r"}}"#));
    let preview = plan.preview(&files, 0, 100).unwrap();
    assert_eq!((preview.rows, preview.is_whole, preview.excluded.len()), (2, true, 0));
    assert!(preview.guesses.unwrap().contains("answer = \"reward_model.ground_truth\""));
    fs_err::write(&files[0].path, parquet(&batch.slice(0, 1))).unwrap();
    assert!(matches!(read_again().unwrap_err(), IngestError::Changed { .. }));
}
