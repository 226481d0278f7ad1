//! The columns of a file's fields, decided once per file from its first rows.
//!
//! A column that the config names is used without a check. Any other field has its default name if a row has a suitable
//! value there; otherwise the first common name ([`super::names`]) under which a row has a suitable value. A row
//! without a kind has the kind `choice` if it has choices, `code` if it has tests, otherwise `text` if most answers are
//! words, and `math` if not. Only the first [`SAMPLE_ROWS`] rows decide, so that a file that grows at its end keeps its
//! shape. The decisions are part of an input's digest.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;

use super::fields::{self, Fields};
use super::json_type::{JsonType, json_type};
use super::names::{self, Candidate};
use super::raw_row::ROW_BYTES_MAX;
use super::row_values;
use super::source::{Mended, Source};
use super::wanted::Wanted;
use super::{FieldNames, IngestError, InputFile, InputOptions, golds};
use crate::domain::Kind;

/// The number of rows at a file's beginning that decide.
pub(super) const SAMPLE_ROWS: usize = 256;
/// The approximate maximum number of bytes of these rows.
const SAMPLE_BYTES: usize = 8 << 20;
/// The maximum number of columns that an error lists.
const LISTED_MAX: usize = 40;

/// The interpretation of the rows of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// The columns of the fields.
    pub(super) fields: FieldNames,
    /// One kind for all rows, from the config.
    pub(super) kind: Option<Kind>,
    /// Whether the answer of a row is words if the row has no kind, no choices and no tests.
    pub(super) is_wordy: bool,
    /// The system message of all rows, which is omitted because it is not specific to a question.
    pub(super) stock_system: Option<String>,
    /// Whether the id column was guessed: a repeated id in such a column is ignored.
    pub(super) is_id_guessed: bool,
    /// Columns to keep.
    pub(super) keep: Vec<String>,
    /// Fields that were found under another name.
    guesses: Vec<(&'static str, String)>,
    /// The number of chats with turns before the question, among the examined rows.
    earlier_turns: usize,
}

impl Shape {
    /// Returns the shape from the settings alone, for a file that was not examined.
    pub(super) fn plain(options: &InputOptions) -> Self {
        let InputOptions { fields, kind, keep, .. } = options.clone();
        Self { fields, kind, keep, ..Self::default() }
    }

    /// Decides about a file in which every row needs a question and an answer.
    ///
    /// # Errors
    /// A file without a column for the question, or without a column for the answer if there are no tests.
    pub(super) fn settle(file: &InputFile, options: &InputOptions) -> Result<Self, IngestError> {
        let survey = Survey::of(file, ROW_BYTES_MAX)?;
        let rows = survey.rows();
        let shape = Self::of(&survey, &rows, options);
        // Opening a table again reports faults of the wanted columns.
        if survey.columns.is_some() {
            drop(Source::open(file, &Wanted::of(&shape.fields, &shape.keep), ROW_BYTES_MAX)?);
        }
        // The columns of a file without any object are unknown; each of its rows reports its own fault.
        if rows.iter().all(|row| row.names().next().is_none()) {
            return Ok(shape);
        }
        let seen = Seen { survey: &survey, rows: &rows };
        if !seen.exists(&shape.fields.question) {
            return Err(seen.unmapped(file, "question", &shape.fields.question, options));
        }
        let may_be_code = options.kind.is_none_or(|kind| kind == Kind::Code);
        let is_tested = may_be_code && seen.exists(&shape.fields.tests);
        if !seen.exists(&shape.fields.answer) && !is_tested {
            return Err(seen.unmapped(file, "answer", &shape.fields.answer, options));
        }
        Ok(shape)
    }

    /// Decides about a file that is read leniently.
    pub(super) fn settle_leniently(file: &InputFile, options: &InputOptions) -> Result<Self, IngestError> {
        match Survey::of(file, ROW_BYTES_MAX) {
            Ok(survey) => Ok(Self::of(&survey, &survey.rows(), options)),
            Err(IngestError::NoRows { .. }) => Ok(Self::plain(options)),
            Err(error) => Err(error),
        }
    }

    fn of(survey: &Survey, rows: &[Fields<'_>], options: &InputOptions) -> Self {
        let mut shape = Self::plain(options);
        let seen = Seen { survey, rows };
        let names = Spellings::of(seen.names());
        for (field, candidates) in names::candidates() {
            let usual = names::of(&shape.fields, field);
            // A row without an id gets one from its content, so an id column may have gaps.
            let has_ids = field == "id" && seen.rows.iter().any(|row| row.get(usual).is_some());
            if options.fields.is_chosen(field) || has_ids || seen.fits(field, usual, &shape) {
                continue;
            }
            let found = candidates.iter().flat_map(|candidate| names.like(candidate));
            if let Some(name) = found.into_iter().find(|name| seen.fits(field, name, &shape)) {
                shape.guess(field, &name);
            }
        }
        seen.join_columns(&mut shape, options, &names);
        if !options.fields.is_chosen("answer")
            && !seen.fits("answer", &shape.fields.answer, &shape)
            && seen.has_chat_answers(&shape.fields.question)
        {
            let question = shape.fields.question.clone();
            shape.guess("answer", &question);
        }
        shape.is_id_guessed = shape.guesses.iter().any(|(field, _)| *field == "id");
        (shape.stock_system, shape.earlier_turns) = seen.chats(&shape.fields.question);
        shape.is_wordy = seen.are_answers_words(&shape);
        shape
    }

    fn guess(&mut self, field: &'static str, name: &str) {
        self.fields.set(field, name);
        self.guesses.retain(|(known, _)| *known != field);
        self.guesses.push((field, name.to_owned()));
    }

    /// Returns the kind of a row without a kind.
    pub(super) const fn usual_kind(&self) -> Kind {
        if self.is_wordy { Kind::Text } else { Kind::Math }
    }

    /// Returns all decisions, for a digest.
    pub(super) fn key(&self) -> String {
        serde_json::to_string(&(&self.guesses, self.is_wordy, &self.stock_system)).unwrap_or_default()
    }

    /// Returns the guesses, as settings to write.
    pub(super) fn guessed(&self) -> Option<String> {
        let lines = self.guesses.iter().map(|(field, name)| format!("{field} = \"{name}\""));
        let lines: Vec<String> = lines.collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    }

    /// Returns remarks for the user, other than the names of the fields.
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if let Some(system) = &self.stock_system {
            let start = fields::excerpt(&system.replace('\n', " "));
            remarks.push(format!("the common system message of all rows is omitted (\"{start}\")"));
        }
        if self.earlier_turns > 0 {
            let count = self.earlier_turns;
            remarks
                .push(format!("turns before the last question of a chat are omitted (in {count} of the first rows)"));
        }
        if self.is_wordy && self.kind.is_none() {
            remarks.push("most answers are words: rows without a kind become kind text".to_owned());
        }
        remarks
    }
}

/// The names of the columns, by their spelling without case and separators.
struct Spellings(BTreeMap<String, Vec<String>>);

impl Spellings {
    fn of(names: BTreeSet<String>) -> Self {
        let mut spellings: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in names {
            spellings.entry(Self::folded(&name)).or_default().push(name);
        }
        Self(spellings)
    }

    fn folded(name: &str) -> String {
        name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
    }

    /// Returns the names of columns that match a candidate: the candidate itself, and other spellings (`Final Answer`,
    /// `answerKey`).
    fn like(&self, candidate: &Candidate) -> Vec<String> {
        let mut found = vec![(*candidate).to_owned()];
        if !candidate.contains(['.', '+']) {
            let same = self.0.get(&Self::folded(candidate));
            found.extend(same.into_iter().flatten().filter(|name| *name != candidate).cloned());
        }
        found
    }
}

/// The beginning of a file.
struct Survey {
    texts: Vec<String>,
    columns: Option<Vec<String>>,
}

impl Survey {
    fn of(file: &InputFile, bytes_max: usize) -> Result<Self, IngestError> {
        let mut source = Source::open(file, &Wanted::Everything, bytes_max)?;
        let (mut texts, mut mended, mut bytes, mut count) = (Vec::new(), Mended::default(), 0, 0);
        // The later reading of the rows reports unreadable rows.
        while let Ok(Some(raw)) = source.next_row(&mut mended) {
            count += 1;
            if let Ok(text) = raw.content {
                bytes += text.len();
                texts.push(text.to_owned());
            }
            if count >= SAMPLE_ROWS || bytes > SAMPLE_BYTES {
                break;
            }
        }
        let columns = source.columns();
        Ok(Self { texts, columns })
    }

    fn rows(&self) -> Vec<Fields<'_>> {
        self.texts.iter().filter_map(|text| Fields::parse(text).ok()).collect()
    }
}

/// The evidence in the beginning of a file.
struct Seen<'a> {
    survey: &'a Survey,
    rows: &'a [Fields<'a>],
}

impl Seen<'_> {
    /// Returns the names of all columns.
    fn names(&self) -> BTreeSet<String> {
        let of_rows = self.rows.iter().flat_map(Fields::names).map(str::to_owned);
        of_rows.chain(self.survey.columns.iter().flatten().cloned()).collect()
    }

    /// Returns whether rows have a column, even if it is empty in the examined rows.
    fn exists(&self, name: &str) -> bool {
        let is_column = |name: &str| {
            let first = name.split('.').next().unwrap_or_default();
            let mut columns = self.survey.columns.iter().flatten();
            columns.any(|column| column == name || column == first)
        };
        let parts = || std::iter::once(name).chain(name.split('+').map(str::trim));
        parts().any(|part| is_column(part) || self.rows.iter().any(|row| row.has(part)))
    }

    /// Returns whether a row has a suitable value for a field under a name.
    fn fits(&self, field: &str, name: &str, shape: &Shape) -> bool {
        let mut rows = self.rows.iter();
        match field {
            "question" => rows.any(|row| matches!(row_values::read_question(row, name, None), Ok(Some(_)))),
            "answer" => rows.any(|row| {
                row_values::gold_text(row, name, Kind::Text, "").is_ok_and(|gold| !gold.trim().is_empty())
                    || row.get(name).is_some_and(|raw| json_type(raw) == JsonType::List)
                        && golds::read(&row_values::value(row, name), name, Kind::Text, "").is_err()
            }),
            "choices" => {
                rows.any(|row| row_values::read_named_choices(row, name).is_some_and(|choices| choices.texts.len() > 1))
            }
            "kind" => {
                let mut said = self.rows.iter().filter_map(|row| row.get(name)).peekable();
                said.peek().is_some() && said.all(|raw| row_values::kind_of(raw).is_some())
            }
            "tests" => rows.any(|row| row.get(name).is_some_and(|raw| names::can_be_tests(name, raw.get()))),
            "id" => self.can_be_ids(name),
            "subject" | "source" | "entry_point" => {
                rows.any(|row| matches!(row.string(name), Ok(Some(text)) if !text.trim().is_empty()))
                    && !(field == "subject" && shape.fields.kind == name)
            }
            _ => rows.any(|row| row.holds_something(name)),
        }
    }

    /// Returns whether every row has a unique value.
    fn can_be_ids(&self, name: &str) -> bool {
        let ids: Option<BTreeSet<String>> = self.rows.iter().map(|row| row.id(name).ok().flatten()).collect();
        ids.is_some_and(|ids| !ids.is_empty() && ids.len() == self.rows.len())
    }

    /// Joins columns that form one field: an instruction and its input; a text and the question about it; choices in
    /// columns A, B, C and so on.
    fn join_columns(&self, shape: &mut Shape, options: &InputOptions, names: &Spellings) {
        let is_text =
            |row: &Fields<'_>, name: &str| matches!(row.string(name), Ok(Some(text)) if !text.trim().is_empty());
        if !options.fields.is_chosen("question") {
            let question = shape.fields.question.clone();
            if question == "instruction" && self.rows.iter().any(|row| is_text(row, "input")) {
                shape.guess("question", "instruction+input");
            }
            // A question about a text cannot be answered without it.
            let mut contexts = names::CONTEXTS.iter().flat_map(|name| names.like(name));
            let is_context = |name: &String| {
                *name != question && self.rows.iter().all(|row| is_text(row, &question) && is_text(row, name))
            };
            if let Some(context) = contexts.find(is_context).filter(|_| !self.rows.is_empty()) {
                shape.guess("question", &format!("{context}+{question}"));
            }
        }
        if options.fields.is_chosen("choices") || self.fits("choices", &shape.fields.choices, shape) {
            return;
        }
        for columns in names::CHOICE_COLUMNS {
            let there: Vec<&str> = columns.iter().copied().take_while(|name| self.exists(name)).collect();
            let joined = there.join("+");
            if there.len() > 1 && self.fits("choices", &joined, shape) {
                shape.guess("choices", &joined);
                return;
            }
        }
    }

    fn has_chat_answers(&self, name: &str) -> bool {
        self.rows.iter().any(|row| row_values::chat(row, name).is_some_and(|chat| chat.answer().is_some()))
    }

    /// Returns the system message that all chats share, if there are several chats; and the number of chats with
    /// earlier turns.
    fn chats(&self, name: &str) -> (Option<String>, usize) {
        let chats: Vec<_> = self.rows.iter().filter_map(|row| row_values::chat(row, name)).collect();
        let systems: BTreeSet<String> = chats.iter().map(super::chat::Chat::system).collect();
        let stock = systems.first().filter(|system| systems.len() == 1 && chats.len() > 1 && !system.is_empty());
        (stock.cloned(), chats.iter().filter(|chat| chat.has_earlier_turns()).count())
    }

    /// Returns whether most answers of rows without a kind are words.
    fn are_answers_words(&self, shape: &Shape) -> bool {
        let mut counts: BTreeMap<bool, usize> = BTreeMap::new();
        let open = self.rows.iter().filter(|row| {
            let says = row.get(&shape.fields.kind).is_some();
            let has_choices = row_values::read_named_choices(row, &shape.fields.choices)
                .is_some_and(|choices| !choices.texts.is_empty());
            !says && !has_choices && !row.holds_something(&shape.fields.tests)
        });
        for row in open {
            if let Ok(gold) = row_values::gold_text(row, &shape.fields.answer, Kind::Math, "")
                && !gold.trim().is_empty()
            {
                *counts.entry(golds::is_wordy(&gold)).or_default() += 1;
            }
        }
        counts.get(&true) > counts.get(&false)
    }

    fn unmapped(&self, file: &InputFile, field: &'static str, name: &str, options: &InputOptions) -> IngestError {
        let columns = self.listed();
        let lines: Vec<String> = columns.iter().take(LISTED_MAX).map(Column::line).collect();
        let more = columns.len().saturating_sub(LISTED_MAX);
        let more = if more == 0 { String::new() } else { format!("\n  and {more} more") };
        let chosen =
            |field: &str| options.fields.is_chosen(field).then(|| names::of(&options.fields, field).to_owned());
        let longest =
            columns.iter().filter(|column| column.kind == "text" || column.is_chat).max_by_key(|column| column.length);
        let known = |field: &str| {
            let name = chosen(field).filter(|_| true).or_else(|| Some(names::of(&options.fields, field).to_owned()));
            name.filter(|name| self.exists(name))
        };
        let question = known("question").or_else(|| longest.map(|column| column.name.clone()));
        let others = columns.iter().filter(|column| Some(&column.name) != question.as_ref() && column.is_scalar());
        let answer = known("answer").or_else(|| {
            let is_id = |name: &str| {
                name.to_lowercase().split(['.', '_']).any(|part| matches!(part, "id" | "idx" | "index" | "uuid"))
            };
            others
                .filter(|column| !is_id(&column.name))
                .min_by_key(|column| column.length)
                .map(|column| column.name.clone())
        });
        let line = |(field, name): (&str, Option<String>)| {
            format!("\n  {field} = \"{}\"", name.unwrap_or_else(|| "...".to_owned()))
        };
        IngestError::Unmapped {
            file: file.name.clone(),
            field,
            column: name.to_owned(),
            columns: format!("\n{}{more}", lines.join("\n")),
            mapping: format!("\n  [input.fields]{}", [("question", question), ("answer", answer)].map(line).concat()),
        }
    }

    /// Returns the columns with examples, including the members of objects.
    fn listed(&self) -> Vec<Column> {
        let mut found: Vec<Column> = Vec::new();
        let order: Vec<String> = match &self.survey.columns {
            Some(columns) => columns.clone(),
            None => self.names().into_iter().collect(),
        };
        for name in order {
            let example = self.rows.iter().find_map(|row| row.get(&name));
            let Some(raw) = example else {
                found.push(Column { name, kind: "empty", example: String::new(), length: 0, is_chat: false });
                continue;
            };
            let members: Vec<String> = match json_type(raw) {
                JsonType::Object => Fields::parse(raw.get())
                    .map(|inner| {
                        let mut names: Vec<String> = inner.names().map(|member| format!("{name}.{member}")).collect();
                        names.sort_unstable();
                        names
                    })
                    .unwrap_or_default(),
                _ => Vec::new(),
            };
            if members.is_empty() || self.rows.iter().any(|row| row_values::chat(row, &name).is_some()) {
                found.push(self.column(name, raw));
            } else {
                let inner = members.into_iter().filter_map(|member| {
                    let raw = self.rows.iter().find_map(|row| row.get(&member))?;
                    Some(self.column(member, raw))
                });
                found.extend(inner);
            }
        }
        found
    }

    fn column(&self, name: String, raw: &RawValue) -> Column {
        let values: Vec<&RawValue> = self.rows.iter().filter_map(|row| row.get(&name)).collect();
        let length = values.iter().map(|raw| raw.get().len()).sum::<usize>() / values.len().max(1);
        let is_chat = self.rows.iter().any(|row| row_values::chat(row, &name).is_some());
        let kind = match json_type(raw) {
            _ if is_chat => "chat",
            JsonType::String => "text",
            JsonType::Number => "number",
            JsonType::Boolean => "true or false",
            JsonType::List => "list",
            JsonType::Object => "object",
            JsonType::Null => "empty",
        };
        Column { name, kind, example: fields::excerpt(raw.get()), length, is_chat }
    }
}

/// A column as an error lists it.
struct Column {
    name: String,
    kind: &'static str,
    example: String,
    /// The mean size of a value in bytes.
    length: usize,
    is_chat: bool,
}

impl Column {
    fn line(&self) -> String {
        let example = if self.example.is_empty() { String::new() } else { format!(", for example {}", self.example) };
        format!("  {}: {}{example}", self.name, self.kind)
    }

    fn is_scalar(&self) -> bool {
        matches!(self.kind, "text" | "number" | "true or false" | "list")
    }
}

/// Returns the first kept column that no file has.
pub(super) fn missing_kept(files: &[InputFile], options: &InputOptions) -> Result<(), IngestError> {
    let mut missing: Vec<&String> = options.keep.iter().collect();
    let mut names = BTreeSet::new();
    for file in files {
        if missing.is_empty() {
            return Ok(());
        }
        let survey = match Survey::of(file, ROW_BYTES_MAX) {
            Ok(survey) => survey,
            Err(IngestError::NoRows { .. }) => continue,
            Err(error) => return Err(error),
        };
        let rows = survey.rows();
        let seen = Seen { survey: &survey, rows: &rows };
        missing.retain(|name| !seen.exists(name));
        names.extend(seen.names());
    }
    match missing.first() {
        Some(name) if !names.is_empty() => Err(IngestError::MissingKept {
            column: (*name).clone(),
            columns: names.into_iter().take(LISTED_MAX).collect::<Vec<_>>().join(", "),
        }),
        _ => Ok(()),
    }
}
