//! Answers of choice questions, from the bytes of files to letters.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Float64Array, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder, StructArray,
};
use arrow::datatypes::Field;

use super::*;
use crate::config::AnswerIs;

const LETTERS: [&str; 4] = ["A", "B", "C", "D"];

fn options(answer_is: AnswerIs) -> InputOptions {
    InputOptions { answer_is, ..InputOptions::default() }
}

/// Reads files of these names and contents, and returns the golds of all rows.
fn golds(files: &[(&str, &[u8])], answer_is: AnswerIs) -> Result<Vec<String>, IngestError> {
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<InputFile> = files
        .iter()
        .map(|(name, bytes)| {
            let path = dir.path().join(name);
            fs_err::write(&path, bytes).unwrap();
            InputFile { name: (*name).to_owned(), path }
        })
        .collect();
    let gold = |row: Result<Row, IngestError>| {
        row.map(|row| match row {
            Row::Query(query) => query.gold,
            Row::Excluded(exclusion) => exclusion.reason.to_string(),
        })
    };
    read(&files, &options(answer_is)).map(gold).collect()
}

/// Writes rows of choices and a gold as JSON lines.
fn lines<T: serde::Serialize>(rows: &[(&[&str], T)]) -> Vec<u8> {
    let line = |(index, (choices, gold)): (usize, &(&[&str], T))| {
        format!("{}\n", serde_json::json!({"question": format!("q{index}"), "choices": choices, "answer": gold}))
    };
    rows.iter().enumerate().map(line).collect::<String>().into_bytes()
}

/// Questions, two thirds of which have numbers as choices, with the indices of their right choices: every index occurs.
fn questions() -> Vec<(Vec<String>, usize)> {
    (0..200)
        .map(|index| {
            let texts = (0..4).map(|place| match index % 3 {
                0 => format!("{}", (place * 7 + index) % 4),
                1 => format!("word {place}"),
                _ => format!("{}", place * 10 + index),
            });
            (texts.collect(), (index * 5 + index / 7) % 4)
        })
        .collect()
}

#[test]
fn every_way_to_write_the_answers_of_one_dataset_gives_the_same_letters() {
    let all = questions();
    let wanted: Vec<&str> = all.iter().map(|(_, place)| LETTERS[*place]).collect();
    let write = |gold: &dyn Fn(&[String], usize) -> serde_json::Value| -> Vec<u8> {
        let line = |(index, (texts, place)): (usize, &(Vec<String>, usize))| {
            format!(
                "{}\n",
                serde_json::json!({"question": index.to_string(), "choices": texts, "answer": gold(texts, *place)})
            )
        };
        all.iter().enumerate().map(line).collect::<String>().into_bytes()
    };
    type Gold = Box<dyn Fn(&[String], usize) -> serde_json::Value>;
    let ways: [(&str, Gold); 7] = [
        ("letter", Box::new(|_, place| LETTERS[place].into())),
        ("letter", Box::new(|_, place| format!("({})", LETTERS[place].to_lowercase()).into())),
        ("index0", Box::new(|_, place| place.into())),
        ("index0", Box::new(|_, place| place.to_string().into())),
        ("index1", Box::new(|_, place| (place + 1).into())),
        ("index1", Box::new(|_, place| format!("{}.0", place + 1).into())),
        ("text", Box::new(|texts, place| texts[place].clone().into())),
    ];
    for (name, gold) in ways {
        let bytes = write(&*gold);
        assert_eq!(golds(&[("a.jsonl", &bytes)], AnswerIs::Auto).unwrap(), wanted, "{name}");
        let set: AnswerIs = serde_json::from_value(name.into()).unwrap();
        assert_eq!(golds(&[("a.jsonl", &bytes)], set).unwrap(), wanted, "{name}");
    }
}

#[test]
fn a_file_that_does_not_tell_is_refused_with_the_row_the_answer_and_the_setting() {
    const WORDS: &[&str] = &["ice", "sand", "fire", "wood"];
    let counted = lines(&[(WORDS, 1), (WORDS, 2), (WORDS, 3)]);
    let error = golds(&[("a.jsonl", &counted)], AnswerIs::Auto).unwrap_err();
    let told = error.to_string();
    assert!(
        told.starts_with(
            "input file a.jsonl, line 1: the answer \"1\" is the number of a choice, counted from 0 (B), or"
        ),
        "{told}"
    );
    assert!(error.hint().unwrap().contains("input.answer_is = \"index0\""));
    assert_eq!(golds(&[("a.jsonl", &counted)], AnswerIs::Index0).unwrap(), ["B", "C", "D"]);
    assert_eq!(golds(&[("a.jsonl", &counted)], AnswerIs::Index1).unwrap(), ["A", "B", "C"]);

    let both = lines(&[(&["2", "1", "0", "3"], 0), (&["1", "0", "3", "2"], 3)]);
    let error = golds(&[("a.jsonl", &both)], AnswerIs::Auto).unwrap_err();
    assert!(
        error.to_string().contains("line 1: the answer \"0\"")
            && error.to_string().contains("the text of a choice (C)")
    );
    assert!(error.hint().unwrap().contains("\"text\""));
    let letters = lines(&[(&["A", "C", "G", "T"], "C")]);
    let error = golds(&[("a.jsonl", &letters)], AnswerIs::Auto).unwrap_err();
    assert!(error.hint().unwrap().contains("input.answer_is = \"letter\""), "{error}");
    assert_eq!(golds(&[("a.jsonl", &letters)], AnswerIs::Letter).unwrap(), ["C"]);
    assert_eq!(golds(&[("a.jsonl", &letters)], AnswerIs::Text).unwrap(), ["B"]);
}

#[test]
fn a_row_that_contradicts_the_others_or_the_setting_is_an_error_that_names_it() {
    const WORDS: &[&str] = &["ice", "sand", "fire", "wood"];
    let mixed = lines(&[(WORDS, "B"), (WORDS, "C"), (WORDS, "2")]);
    let error = golds(&[("a.jsonl", &mixed)], AnswerIs::Auto).unwrap_err();
    let told = error.to_string();
    assert!(told.starts_with("input file a.jsonl, line 3: the answer \"2\" is the number of a choice"), "{told}");
    assert!(told.ends_with("but 2 answers of the file are each the letter of a choice"), "{told}");
    assert!(error.hint().is_some());
    let error = golds(&[("a.jsonl", &mixed)], AnswerIs::Letter).unwrap_err();
    assert!(
        error.to_string().contains("line 3") && error.to_string().contains("input.answer_is is \"letter\""),
        "{error}"
    );
    let from_one = lines(&[(WORDS, 1), (WORDS, 4)]);
    assert!(golds(&[("a.jsonl", &from_one)], AnswerIs::Index0).unwrap_err().to_string().contains("line 2"));
    // A gold without any meaning is one bad row.
    let bad = lines(&[(WORDS, "B"), (WORDS, "gold"), (WORDS, "E")]);
    assert_eq!(golds(&[("a.jsonl", &bad)], AnswerIs::Auto).unwrap(), ["B", "invalid_value", "invalid_value"]);
}

#[test]
fn files_are_decided_one_by_one() {
    const WORDS: &[&str] = &["ice", "sand", "fire", "wood"];
    let (zero, one, letters) = (lines(&[(WORDS, 0)]), lines(&[(WORDS, 4)]), lines(&[(WORDS, "C")]));
    let files: [(&str, &[u8]); 3] = [("zero.jsonl", &zero), ("one.jsonl", &one), ("letters.jsonl", &letters)];
    assert_eq!(golds(&files, AnswerIs::Auto).unwrap(), ["A", "D", "C"]);
    // A file is decided without its neighbours.
    let doubt = lines(&[(WORDS, 2)]);
    let error = golds(&[files[0], ("doubt.jsonl", &doubt)], AnswerIs::Auto).unwrap_err();
    assert!(error.to_string().contains("doubt.jsonl"), "{error}");
}

#[test]
fn labels_of_both_kinds_are_read_in_one_file_even_where_texts_are_numbers() {
    let rows = concat!(
        r#"{"question":"q1","choices":{"text":["ice","sand","iron","glass"],"label":["A","B","C","D"]},"answer":"C"}"#,
        "\n",
        r#"{"question":"q2","choices":{"text":["4","6","8","3"],"label":["1","2","3","4"]},"answer":"2"}"#,
        "\n",
        r#"{"question":"q3","choices":{"text":["2","1","3","4"],"label":["1","2","3","4"]},"answer":3}"#,
        "\n",
    );
    assert_eq!(golds(&[("a.jsonl", rows.as_bytes())], AnswerIs::Auto).unwrap(), ["C", "B", "C"]);
    assert_eq!(golds(&[("a.jsonl", rows.as_bytes())], AnswerIs::Letter).unwrap(), ["C", "B", "C"]);
    let dir = tempfile::tempdir().unwrap();
    let file = InputFile { name: "a.jsonl".to_owned(), path: dir.path().join("a.jsonl") };
    fs_err::write(&file.path, rows).unwrap();
    let files = [file];
    let plan = Plan::settle(&files, &InputOptions::default()).unwrap();
    assert_eq!(plan.describe_answers(&files).as_deref(), Some("label"));
}

#[test]
fn csv_cells_hold_lists_as_pandas_prints_them_and_empty_lists_are_no_choices() {
    let csv = "question,choices,answer\n\
               q1,\"['Mars', 'Jupiter', \"\"Barnard's star\"\"]\",C\n\
               q2,\"['a' 'b'\n 'c']\",B\n\
               q3,\"{'text': array(['x', 'y'], dtype=object), 'label': array(['1', '2'], dtype=object)}\",2\n\
               q4,[],12\n";
    assert_eq!(golds(&[("a.csv", csv.as_bytes())], AnswerIs::Auto).unwrap(), ["C", "B", "B", "12"]);
}

fn string_lists(lists: &[&[&str]]) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for list in lists {
        list.iter().for_each(|item| builder.values().append_value(item));
        builder.append(true);
    }
    Arc::new(builder.finish())
}

fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ::parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn whole_numbers_in_parquet_are_indices_and_structs_are_read() {
    let questions = || Arc::new(StringArray::from(vec!["q1", "q2", "q3"])) as ArrayRef;
    let choices = || string_lists(&[&["1", "3", "8"], &["2", "1", "0"], &["ice", "sand", "fire"]]);
    for answers in [
        Arc::new(Int64Array::from(vec![2, 1, 0])) as ArrayRef,
        Arc::new(Float64Array::from(vec![2.0, 1.0, 0.0])) as ArrayRef,
    ] {
        let bytes = parquet(vec![("question", questions()), ("choices", choices()), ("answer", answers)]);
        assert_eq!(golds(&[("a.parquet", &bytes)], AnswerIs::Auto).unwrap(), ["C", "B", "A"]);
    }
    let three: &[&str] = &["1", "2", "3"];
    let labels = string_lists(&[three; 3]);
    let member = |name: &str, array: &ArrayRef| Arc::new(Field::new(name, array.data_type().clone(), true));
    let texts = choices();
    let both = StructArray::from(vec![(member("text", &texts), texts.clone()), (member("label", &labels), labels)]);
    let answers = Arc::new(StringArray::from(vec!["3", "2", "1"])) as ArrayRef;
    let bytes = parquet(vec![("question", questions()), ("choices", Arc::new(both)), ("answer", answers)]);
    assert_eq!(golds(&[("a.parquet", &bytes)], AnswerIs::Auto).unwrap(), ["C", "B", "A"]);
}
