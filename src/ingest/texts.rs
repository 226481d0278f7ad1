//! Rows of any dataset as texts to compare: every readable part of them, without the requirements of a query.

use std::sync::Arc;

use super::fault::Fault;
use super::fields::Fields;
use super::raw_row::ROW_BYTES_MAX;
use super::row_values;
use super::shape::Shape;
use super::source::{Mended, Source};
use super::wanted::Wanted;
use super::{FieldNames, IngestError, InputFile, InputOptions};
use crate::domain::Kind;

/// One row before it is parsed.
#[derive(Debug, Clone)]
pub struct Line {
    /// The index of its file.
    pub file: usize,
    /// 1-based line; 1-based row in Parquet.
    pub line: u64,
    /// A JSON object as text, or the problem with the row.
    pub content: Result<String, String>,
    shape: Arc<Shape>,
}

/// A row as a text to compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextRow {
    /// The id as JSON, if the row has one.
    pub id: Option<serde_json::Value>,
    /// The kind of its answer, if the row states or suggests it.
    pub kind: Kind,
    /// The question.
    pub question: String,
    /// The answer; may be empty.
    pub answer: String,
    /// The choices, in order.
    pub choices: Vec<String>,
    /// The tests of a program.
    pub tests: Vec<String>,
}

/// Reads the rows of all files, in the formats of [`super::read`], in order. A file may be empty, and may lack answers.
/// If `digests` has an entry for a file, the file's bytes are compared with it after its last row.
///
/// # Errors
/// As [`super::read_on`].
pub fn read_lines(files: &[InputFile], fields: &FieldNames, digests: &[String]) -> Lines {
    let options = InputOptions { fields: fields.clone(), ..InputOptions::default() };
    let (files, digests) = (files.to_vec(), digests.to_vec());
    Lines { files, options, digests, next_file: 0, source: None, mended: Mended::default() }
}

/// The iterator that [`read_lines`] returns; it ends after its first error.
pub struct Lines {
    files: Vec<InputFile>,
    options: InputOptions,
    digests: Vec<String>,
    next_file: usize,
    source: Option<(Box<Source>, Arc<Shape>)>,
    mended: Mended,
}

impl Lines {
    fn advance(&mut self) -> Result<Option<Line>, IngestError> {
        loop {
            let Some((source, shape)) = &mut self.source else {
                let Some(file) = self.files.get(self.next_file) else { return Ok(None) };
                let shape = Shape::settle_leniently(file, &self.options)?;
                let source = Source::open(file, &Wanted::of(&shape.fields, &[]), ROW_BYTES_MAX);
                self.next_file += 1;
                match source {
                    Ok(source) => self.source = Some((Box::new(source), Arc::new(shape))),
                    Err(IngestError::NoRows { .. }) => {}
                    Err(error) => return Err(error),
                }
                continue;
            };
            if let Some(raw) = source.next_row(&mut self.mended)? {
                let content = raw.content.map(str::to_owned).map_err(|fault| fault.detail);
                return Ok(Some(Line { file: self.next_file - 1, line: raw.line, content, shape: Arc::clone(shape) }));
            }
            if let Some(digest) = self.digests.get(self.next_file - 1) {
                source.check(digest)?;
            }
            self.source = None;
        }
    }
}

impl Iterator for Lines {
    type Item = Result<Line, IngestError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance().transpose();
        if matches!(item, Some(Err(_))) {
            self.files.clear();
            self.source = None;
        }
        item
    }
}

impl Line {
    /// Extracts the texts to compare.
    ///
    /// # Errors
    /// One sentence: the row is not a JSON object, or has no text that could be the question.
    pub fn text_row(&self) -> Result<TextRow, String> {
        let text = self.content.as_ref().map_err(Clone::clone)?;
        read_text_row(text, &self.shape)
    }
}

fn read_text_row(text: &str, shape: &Shape) -> Result<TextRow, String> {
    let told = |fault: Fault| fault.detail;
    let row = Fields::parse(text).map_err(told)?;
    let fields = &shape.fields;
    let Some(question) =
        row_values::read_question(&row, &fields.question, shape.stock_system.as_deref()).map_err(told)?
    else {
        return Err(format!("no text under \"{}\" or any common name of a question", fields.question));
    };
    let choices = row_values::read_named_choices(&row, &fields.choices).unwrap_or_default().texts;
    let tests = match row.get(&fields.tests) {
        None => Vec::new(),
        Some(raw) => row.strings(&fields.tests, "").ok().flatten().unwrap_or_else(|| vec![raw.get().to_owned()]),
    };
    let kind = row.string(&fields.kind).ok().flatten().unwrap_or_default();
    let kind = match kind.trim() {
        "multiple_choice" => Kind::Choice,
        "" if !choices.is_empty() => Kind::Choice,
        "" if !tests.is_empty() => Kind::Code,
        "" => shape.usual_kind(),
        name => name.parse().unwrap_or(Kind::Text),
    };
    // An unreadable answer may still equal that of another row.
    let answer = row_values::gold_text(&row, &fields.answer, kind, &question)
        .unwrap_or_else(|_| row.get(&fields.answer).map(|raw| raw.get().to_owned()).unwrap_or_default());
    Ok(TextRow { id: id_of(&row, &fields.id), kind, question, answer, choices, tests })
}

/// Returns an id as JSON. A number that JSON parsers would round becomes a text.
fn id_of(row: &Fields<'_>, name: &str) -> Option<serde_json::Value> {
    let raw = row.get(name)?;
    let value: serde_json::Value = serde_json::from_str(raw.get()).ok()?;
    let written = value.to_string();
    Some(if value.is_number() && written != raw.get() { raw.get().into() } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TextRow, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        fs_err::write(&path, text).unwrap();
        let files = [InputFile { name: "a.jsonl".to_owned(), path }];
        let mut lines = read_lines(&files, &FieldNames::default(), &[]);
        lines.next().unwrap().unwrap().text_row()
    }

    #[test]
    fn rows_of_common_datasets_are_read() {
        let row = read(r#"{"id": 7, "problem": "What is 1 + 1?", "answer": 2}"#).unwrap();
        assert_eq!((row.id, row.question.as_str(), row.answer.as_str()), (Some(7.into()), "What is 1 + 1?", "2"));
        let chat =
            read(r#"{"messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "No"}]}"#);
        assert_eq!(chat.unwrap().question, "Hi?");
        let choice = read(r#"{"question": "Which?", "choices": ["a", "b"], "answer": "A"}"#).unwrap();
        assert_eq!((choice.kind, choice.choices.len()), (Kind::Choice, 2));
        assert_eq!(read(r#"{"question": "Which?", "kind": "essay"}"#).unwrap().kind, Kind::Text);
        assert_eq!(read(r#"{"question": "Sum.", "tests": {"input": "1"}}"#).unwrap().tests, [r#"{"input": "1"}"#]);
    }

    #[test]
    fn rows_without_a_text_are_refused_with_what_was_looked_for() {
        for text in ["{}", "[1]", "{\"question\": \" \"}", "{\"question\"", "{\"prompt\": []}"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read("{}").unwrap_err().contains("\"question\""));
    }

    #[test]
    fn answers_are_read_as_those_of_queries_and_ids_keep_their_digits() {
        let answer = |text: &str| read(text).unwrap().answer;
        assert_eq!(answer(r#"{"question": "Q?", "answer": "We add.\n#### 5"}"#), "5");
        assert_eq!(answer(r#"{"question": "Q?", "answer": ["5", "6"]}"#), r#"["5", "6"]"#);
        let id = |text: &str| read(text).unwrap().id;
        assert_eq!(id(r#"{"id": 123456789012345678901, "question": "Q?"}"#), Some("123456789012345678901".into()));
        assert_eq!(id(r#"{"id": 7, "question": "Q?"}"#), Some(7.into()));
    }
}
