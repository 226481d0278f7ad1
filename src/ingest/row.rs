//! From one row, as the text of a JSON object, to the content of a query or the fault that excludes it.
//!
//! Every format comes through here, so that one rule decides for all of them. Values stay raw JSON until a field is
//! read: numbers are kept as they are written (`1.50` stays `1.50`), and fields that are not mapped are never
//! decoded. Of a duplicate key the last one counts. `null` is the same as absent.
//!
//! It does not know files, lines or other rows.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::InputOptions;
use super::answers::{FileAnswers, all_told};
use super::choices::{Choices, Meanings, Named, letter_of};
use super::literal::{self, Literal};
use crate::domain::{ExclusionReason, Kind};

/// Fewest and most choices of a choice question; the most is the number of letters.
const CHOICES_MIN: usize = 2;
const CHOICES_MAX: usize = 26;
/// Characters of a found value that a detail quotes.
const EXCERPT_CHARS: usize = 60;
/// Other names under which kinds are known in public data.
const KIND_ALIASES: [(&str, Kind); 2] = [("multiple_choice", Kind::Choice), ("integer", Kind::Numeric)];

/// Why a row is no query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: ExclusionReason,
    pub(super) detail: String,
    pub(super) scope: Scope,
}

/// What is wrong where a row is no query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// The row.
    Row,
    /// Its gold, which is there and cannot be read.
    Gold,
    /// How golds are read: this one is something else than the others of its file.
    File(Contradiction),
}

/// A gold that is something else than it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contradiction {
    /// The beginning of the gold.
    pub(super) answer: String,
    /// What it may be.
    pub(super) found: String,
}

impl Fault {
    /// Builds a fault from its reason and its one-sentence detail.
    pub(super) fn new(reason: ExclusionReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), scope: Scope::Row }
    }

    fn of_gold(detail: String) -> Self {
        Self { scope: Scope::Gold, ..Self::new(ExclusionReason::InvalidValue, detail) }
    }
}

/// What a row says of itself whether or not the rest of it is usable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) id: Option<String>,
    pub(super) source: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) category: Option<String>,
}

/// The content of a well-formed row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) kind: Kind,
    pub(super) question: String,
    pub(super) gold: String,
    pub(super) choices: Vec<String>,
    pub(super) tests: Vec<String>,
    pub(super) test_imports: Vec<String>,
    pub(super) entry_point: Option<String>,
}

/// Reads one row of a file whose choice questions have these answers.
pub(super) fn parse_row(text: &str, options: &InputOptions, answers: FileAnswers) -> (Head, Result<Body, Fault>) {
    let row = match Fields::parse(text) {
        Ok(row) => row,
        Err(fault) => return (Head::default(), Err(fault)),
    };
    let mut head = Head::default();
    let id = row.id(&options.fields.id).map(|id| head.id = id);
    let source = row.string(&options.fields.source).map(|source| {
        head.source = source.map(|source| source.trim().to_owned()).filter(|source| !source.is_empty());
    });
    // They decide nothing: a list or a number there is no reason to lose a row.
    let label = |name: &str| {
        let label = row.string(name).ok().flatten().map(|label| label.trim().to_owned());
        label.filter(|label| !label.is_empty())
    };
    head.subject = label(&options.fields.subject);
    head.category = label(&options.fields.category);
    let body = id.and(source).and_then(|()| read_body(&row, options, answers));
    (head, body)
}

/// Returns the gold of a choice question and what it may mean; `None` for any other row.
pub(super) fn meanings(text: &str, options: &InputOptions) -> Option<(String, Meanings)> {
    let name = &options.fields.choices;
    let first = name.split('.').next().unwrap_or_default();
    // Most rows of most files have no choices, and are not parsed for it; a name may be written with escapes.
    if !text.contains(first) && !text.contains("\\u") {
        return None;
    }
    let row = Fields::parse(text).ok()?;
    if read_kind(&row, options).ok()? != Kind::Choice {
        return None;
    }
    let choices = read_choices(&row, name).ok()?;
    let gold = gold_text(&row, &options.fields.answer).ok()?;
    let gold = gold.trim();
    Some((gold.to_owned(), Meanings::of(gold, &choices)))
}

fn read_body(row: &Fields<'_>, options: &InputOptions, answers: FileAnswers) -> Result<Body, Fault> {
    let fields = &options.fields;
    let kind = read_kind(row, options)?;
    let question = match row.string(&fields.question)? {
        None => return Err(missing(&fields.question, "is absent", "the question's text")),
        Some(text) if text.trim().is_empty() => {
            return Err(missing(&fields.question, "is empty", "the question's text"));
        }
        Some(text) => text.trim().to_owned(),
    };
    let choices = if kind == Kind::Choice { read_choices(row, &fields.choices)? } else { Choices::default() };
    let is_code = kind == Kind::Code;
    let tests = if is_code { read_tests(row, &fields.tests)? } else { Vec::new() };
    let test_imports = if is_code { read_lines(row, &fields.test_imports)? } else { Vec::new() };
    let entry_point = if is_code { row.string(&fields.entry_point)? } else { None };
    let entry_point = entry_point.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    let gold = read_gold(row, &fields.answer, kind, &tests)?;
    let gold = if kind == Kind::Choice { choice_letter(&gold, &choices, &fields.answer, answers)? } else { gold };
    let choices = choices.texts;
    Ok(Body { kind, question, gold, choices, tests, test_imports, entry_point })
}

/// Returns the kind that is set for all rows, else the row's own, else what its other fields suggest.
fn read_kind(row: &Fields<'_>, options: &InputOptions) -> Result<Kind, Fault> {
    let fields = &options.fields;
    if let Some(kind) = options.kind {
        return Ok(kind);
    }
    let name = row.string(&fields.kind)?.unwrap_or_default();
    let name = name.trim();
    if name.is_empty() {
        return Ok(if row.holds_choices(&fields.choices) {
            Kind::Choice
        } else if row.holds_something(&fields.tests) {
            Kind::Code
        } else {
            Kind::Math
        });
    }
    let alias = KIND_ALIASES.iter().find(|(alias, _)| *alias == name).map(|&(_, kind)| kind);
    alias.or_else(|| name.parse().ok()).ok_or_else(|| {
        let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        let detail = format!("field `{}` is \"{}\", expected one of: {}", fields.kind, excerpt(name), known.join(", "));
        Fault::new(ExclusionReason::UnknownKind, detail)
    })
}

fn read_choices(row: &Fields<'_>, name: &str) -> Result<Choices, Fault> {
    const EXPECTED: &str = "a list of texts, or an object of texts and labels";
    let Some(raw) = row.get(name) else {
        return Err(missing(name, "is absent", "the list of choices that kind choice needs"));
    };
    let choices = Choices::read(raw).map_err(|found| {
        let detail = format!("field `{name}` is {found} ({}), expected {EXPECTED}", excerpt(raw.get()));
        Fault::new(ExclusionReason::WrongType, detail)
    })?;
    let count = choices.texts.len();
    if !(CHOICES_MIN..=CHOICES_MAX).contains(&count) {
        let detail = format!("field `{name}` holds {count} choices, expected {CHOICES_MIN} to {CHOICES_MAX}");
        return Err(Fault::new(ExclusionReason::InvalidValue, detail));
    }
    Ok(choices)
}

/// Reads the tests of a code row: a list, or one string or object as one test. Blank tests are left out. A list of strings
/// that is written into a string is taken apart, because prompts show assertions; all else that is nested is kept as its
/// text, which the verifier takes apart.
fn read_tests(row: &Fields<'_>, name: &str) -> Result<Vec<String>, Fault> {
    const EXPECTED: &str = "a list of strings, lists or objects, or one of them";
    let items = match row.get(name) {
        None => return Ok(Vec::new()),
        Some(raw) if matches!(json_type(raw), JsonType::String | JsonType::Object) => vec![raw],
        Some(raw) => serde_json::from_str(raw.get()).map_err(|_| wrong_type(name, raw, EXPECTED))?,
    };
    let mut tests = Vec::with_capacity(items.len());
    for item in items {
        match json_type(item) {
            JsonType::String => {
                let text = decode_string(item, name)?;
                tests.extend(listed(&text).unwrap_or_else(|| vec![text]));
            }
            JsonType::Object | JsonType::List => tests.push(item.get().to_owned()),
            JsonType::Null => {}
            JsonType::Boolean | JsonType::Number => return Err(wrong_item(name, item, EXPECTED)),
        }
    }
    Ok(tests.into_iter().filter(|test| !test.trim().is_empty()).collect())
}

/// Reads a list of strings, or one string: of lines, or of a list as Python or JSON writes it.
fn read_lines(row: &Fields<'_>, name: &str) -> Result<Vec<String>, Fault> {
    let lines = match row.get(name) {
        Some(raw) if json_type(raw) == JsonType::String => {
            let text = decode_string(raw, name)?;
            listed(&text).unwrap_or_else(|| vec![text])
        }
        _ => row.strings(name, "a list of strings or one string")?.unwrap_or_default(),
    };
    Ok(lines.into_iter().filter(|line| !line.trim().is_empty()).collect())
}

/// Returns the strings of a list that is written into a text.
fn listed(text: &str) -> Option<Vec<String>> {
    if !text.trim_start().starts_with('[') {
        return None;
    }
    let Literal::List(items) = literal::parse(text)? else { return None };
    let string = |item: Literal| if let Literal::Text(text) = item { Some(text) } else { None };
    items.into_iter().map(string).collect()
}

/// Returns a gold as it is written; empty if there is none.
fn gold_text(row: &Fields<'_>, name: &str) -> Result<String, Fault> {
    match row.get(name) {
        None => Ok(String::new()),
        Some(raw) => match json_type(raw) {
            JsonType::String => decode_string(raw, name),
            JsonType::Number => Ok(raw.get().to_owned()),
            _ => Err(wrong_type(name, raw, "a string or a number")),
        },
    }
}

fn read_gold(row: &Fields<'_>, name: &str, kind: Kind, tests: &[String]) -> Result<String, Fault> {
    let text = gold_text(row, name)?;
    if text.trim().is_empty() {
        if kind == Kind::Code && !tests.is_empty() {
            return Ok(String::new());
        }
        let expected = if kind == Kind::Code { "a reference answer or tests" } else { "a reference answer" };
        let found = if row.get(name).is_none() { "absent" } else { "empty" };
        let detail = format!("field `{name}` is {found}, expected {expected}");
        return Err(Fault::new(ExclusionReason::MissingGold, detail));
    }
    // Indentation belongs to a program.
    Ok(if kind == Kind::Code { text } else { text.trim().to_owned() })
}

/// Returns the upper-case letter of the choice that a gold names: by its label, else as the golds of its file do.
fn choice_letter(gold: &str, choices: &Choices, name: &str, answers: FileAnswers) -> Result<String, Fault> {
    let meanings = Meanings::of(gold, choices);
    let (named, what) = match (meanings.label, answers.reading) {
        (label, _) if answers.takes_labels && label != Named::Nothing => (label, "the label of a choice"),
        (_, Some(reading)) => (meanings.under(reading), reading.phrase()),
        (_, None) => (Named::Nothing, "the letter, number or text of a choice"),
    };
    let problem = match named {
        Named::One(place) => return Ok(letter_of(place)),
        Named::Several => "stands for several choices",
        Named::Nothing => "names no choice",
    };
    let count = choices.texts.len();
    let detail = format!(
        "field `{name}` is \"{}\", which {problem}, expected {what}, of which there are {count}",
        excerpt(gold)
    );
    let fault = Fault::of_gold(detail);
    if named == Named::Nothing && meanings.readings().next().is_some() {
        let (answer, found) = (excerpt(gold), all_told(&meanings));
        return Err(Fault { scope: Scope::File(Contradiction { answer, found }), ..fault });
    }
    Err(fault)
}

/// The fields of one row, still raw.
pub(super) struct Fields<'a> {
    object: HashMap<String, &'a RawValue>,
}

impl<'a> Fields<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, Fault> {
        let object_error = match serde_json::from_str(text) {
            Ok(object) => return Ok(Self { object }),
            Err(error) => error,
        };
        let error = match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) if json_type(raw) != JsonType::Object => {
                let found = format!("{} ({})", json_type(raw).phrase(), excerpt(raw.get()));
                let detail = format!("the row is {found}, expected a JSON object");
                return Err(Fault::new(ExclusionReason::WrongType, detail));
            }
            Ok(_) => object_error,
            Err(error) => error,
        };
        let cause = if error.is_eof() { "it ends too early" } else { "a syntax error" };
        let detail = format!("the row is not valid JSON: {cause} at column {}", error.column());
        Err(Fault::new(ExclusionReason::InvalidSyntax, detail))
    }

    /// Returns a field that is there and not null. A name with dots is first taken literally, then as a path.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        lookup(&self.object, name).filter(|raw| json_type(raw) != JsonType::Null)
    }

    pub(super) fn string(&self, name: &str) -> Result<Option<String>, Fault> {
        let Some(raw) = self.get(name) else { return Ok(None) };
        if json_type(raw) != JsonType::String {
            return Err(wrong_type(name, raw, "a string"));
        }
        decode_string(raw, name).map(Some)
    }

    pub(super) fn strings(&self, name: &str, expected: &str) -> Result<Option<Vec<String>>, Fault> {
        let Some(raw) = self.get(name) else { return Ok(None) };
        let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) else {
            return Err(wrong_type(name, raw, expected));
        };
        let mut strings = Vec::with_capacity(items.len());
        for item in items {
            if json_type(item) != JsonType::String {
                return Err(wrong_item(name, item, expected));
            }
            strings.push(decode_string(item, name)?);
        }
        Ok(Some(strings))
    }

    /// Returns the row's id: a string that is not blank, or an integer as it is written.
    fn id(&self, name: &str) -> Result<Option<String>, Fault> {
        let Some(raw) = self.get(name) else { return Ok(None) };
        match json_type(raw) {
            JsonType::String => Ok(Some(decode_string(raw, name)?).filter(|id| !id.trim().is_empty())),
            JsonType::Number if !raw.get().contains(['.', 'e', 'E']) => Ok(Some(raw.get().to_owned())),
            _ => Err(wrong_type(name, raw, "a string or an integer")),
        }
    }

    /// Returns whether there are choices, or something in their place that is none.
    fn holds_choices(&self, name: &str) -> bool {
        let is_empty = |raw| Choices::read(raw).is_ok_and(|choices| choices.texts.is_empty());
        self.holds_something(name) && self.get(name).is_some_and(|raw| !is_empty(raw))
    }

    fn holds_something(&self, name: &str) -> bool {
        self.get(name).is_some_and(|raw| match json_type(raw) {
            JsonType::List => serde_json::from_str::<Vec<&RawValue>>(raw.get()).is_ok_and(|items| !items.is_empty()),
            JsonType::String => serde_json::from_str::<String>(raw.get()).is_ok_and(|text| !text.trim().is_empty()),
            _ => true,
        })
    }
}

fn lookup<'a>(object: &HashMap<String, &'a RawValue>, name: &str) -> Option<&'a RawValue> {
    if let Some(raw) = object.get(name) {
        return Some(raw);
    }
    let (first, rest) = name.split_once('.')?;
    let inner: HashMap<String, &'a RawValue> = serde_json::from_str(object.get(first)?.get()).ok()?;
    lookup(&inner, rest)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JsonType {
    Null,
    Boolean,
    Number,
    String,
    List,
    Object,
}

impl JsonType {
    fn phrase(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::List => "a list",
            Self::Object => "an object",
        }
    }
}

/// Returns the type of a valid JSON value, which its first byte tells.
fn json_type(raw: &RawValue) -> JsonType {
    match raw.get().trim_start().bytes().next() {
        Some(b'{') => JsonType::Object,
        Some(b'[') => JsonType::List,
        Some(b'"') => JsonType::String,
        Some(b't' | b'f') => JsonType::Boolean,
        Some(b'n') | None => JsonType::Null,
        Some(_) => JsonType::Number,
    }
}

fn decode_string(raw: &RawValue, name: &str) -> Result<String, Fault> {
    serde_json::from_str(raw.get()).map_err(|_| {
        let detail = format!("field `{name}` holds an escape that stands for no character, expected valid Unicode");
        Fault::new(ExclusionReason::InvalidSyntax, detail)
    })
}

fn missing(name: &str, found: &str, expected: &str) -> Fault {
    Fault::new(ExclusionReason::MissingField, format!("field `{name}` {found}, expected {expected}"))
}

fn wrong_type(name: &str, raw: &RawValue, expected: &str) -> Fault {
    let found = json_type(raw).phrase();
    let detail = format!("field `{name}` is {found} ({}), expected {expected}", excerpt(raw.get()));
    Fault::new(ExclusionReason::WrongType, detail)
}

fn wrong_item(name: &str, item: &RawValue, expected: &str) -> Fault {
    let found = format!("a list that holds {} ({})", json_type(item).phrase(), excerpt(item.get()));
    Fault::new(ExclusionReason::WrongType, format!("field `{name}` is {found}, expected {expected}"))
}

/// Returns the beginning of a value, short enough for one line of a table.
pub(super) fn excerpt(text: &str) -> String {
    let mut characters = text.chars();
    let mut short: String = characters.by_ref().take(EXCERPT_CHARS).collect();
    if characters.next().is_some() {
        short.push_str("...");
    }
    short
}

#[cfg(test)]
#[path = "row_tests.rs"]
mod tests;
