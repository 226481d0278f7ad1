//! Rows of any dataset as texts to compare: whatever can be read of them, without the demands of a query.

use serde_json::value::RawValue;

use super::choices::Choices;
use super::row::Fields;
use super::{FieldNames, IngestError, InputFile, InputOptions, ROW_BYTES_MAX, Source};
use crate::domain::Kind;

/// Names under which the question is known in public data, if the field of the settings is absent.
const QUESTION_NAMES: &[&str] =
    &["question", "problem", "prompt", "instruction", "query", "text", "input", "messages", "content"];

/// One row before it is taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Index of its file.
    pub file: usize,
    /// 1-based line; 1-based row in Parquet.
    pub line: u64,
    /// A JSON object as text, or what is wrong with it.
    pub content: Result<String, String>,
}

/// A row as a text to compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextRow {
    /// The id as JSON, if the row has one.
    pub id: Option<serde_json::Value>,
    /// What kind of answer it has, as far as it says.
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

/// Reads the rows of all files, in the formats of [`super::read`], in order. A file may be empty.
///
/// # Errors
/// As [`super::read`].
pub fn read_lines(files: &[InputFile], fields: &FieldNames) -> Lines {
    let options = InputOptions { fields: fields.clone(), ..InputOptions::default() };
    Lines { files: files.to_vec(), options, next_file: 0, source: None }
}

/// The iterator that [`read_lines`] returns; it ends after its first error.
pub struct Lines {
    files: Vec<InputFile>,
    options: InputOptions,
    next_file: usize,
    source: Option<Box<Source>>,
}

impl Lines {
    fn advance(&mut self) -> Result<Option<Line>, IngestError> {
        loop {
            let Some(source) = &mut self.source else {
                let Some(file) = self.files.get(self.next_file) else { return Ok(None) };
                self.source = Some(Box::new(Source::open(file, &self.options, ROW_BYTES_MAX)?));
                self.next_file += 1;
                continue;
            };
            if let Some(raw) = source.next_row()? {
                let content = raw.content.map(str::to_owned).map_err(|fault| fault.detail);
                return Ok(Some(Line { file: self.next_file - 1, line: raw.line, content }));
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

/// Reads what there is to compare in a row.
///
/// # Errors
/// One sentence: it is no JSON object, or has no text that could be the question.
pub fn read_text_row(text: &str, fields: &FieldNames) -> Result<TextRow, String> {
    let row = Fields::parse(text).map_err(|fault| fault.detail)?;
    let names = std::iter::once(fields.question.as_str()).chain(QUESTION_NAMES.iter().copied());
    let question = names.filter_map(|name| row.get(name)).map(text_of).find(|text| !text.trim().is_empty());
    let Some(question) = question else {
        return Err(format!("no text under \"{}\" or any common name of a question", fields.question));
    };
    let choices = row.get(&fields.choices).and_then(|raw| Choices::read(raw).ok()).unwrap_or_default().texts;
    let tests = match row.get(&fields.tests) {
        None => Vec::new(),
        Some(raw) => row.strings(&fields.tests, "").ok().flatten().unwrap_or_else(|| vec![raw.get().to_owned()]),
    };
    let kind = row.string(&fields.kind).ok().flatten().unwrap_or_default();
    let kind = match kind.trim() {
        "multiple_choice" => Kind::Choice,
        "" if !choices.is_empty() => Kind::Choice,
        "" if !tests.is_empty() => Kind::Code,
        "" => Kind::Math,
        name => name.parse().unwrap_or(Kind::Text),
    };
    Ok(TextRow {
        id: row.get(&fields.id).and_then(|raw| serde_json::from_str(raw.get()).ok()),
        kind,
        question,
        answer: row.get(&fields.answer).map(text_of).unwrap_or_default(),
        choices,
        tests,
    })
}

/// Returns a string's text; of a chat those of its turns but the assistant's; of anything else its JSON.
fn text_of(raw: &RawValue) -> String {
    match serde_json::from_str(raw.get()) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(serde_json::Value::Array(turns)) => {
            let is_asked = |turn: &&serde_json::Value| turn.get("role").is_none_or(|role| role != "assistant");
            let contents = turns.iter().filter(is_asked).filter_map(|turn| turn.get("content")?.as_str());
            contents.collect::<Vec<_>>().join("\n")
        }
        Ok(_) => raw.get().to_owned(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TextRow, String> {
        read_text_row(text, &FieldNames::default())
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
}
