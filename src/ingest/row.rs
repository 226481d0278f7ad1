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
use crate::domain::{ExclusionReason, Kind, Query};

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
}

impl Fault {
    /// Builds a fault from its reason and its one-sentence detail.
    pub(super) fn new(reason: ExclusionReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
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

/// Reads one row.
pub(super) fn parse_row(text: &str, options: &InputOptions) -> (Head, Result<Body, Fault>) {
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
    let body = id.and(source).and_then(|()| read_body(&row, options));
    (head, body)
}

fn read_body(row: &Fields<'_>, options: &InputOptions) -> Result<Body, Fault> {
    let fields = &options.fields;
    let kind = read_kind(row, options)?;
    let question = match row.string(&fields.question)? {
        None => return Err(missing(&fields.question, "is absent", "the question's text")),
        Some(text) if text.trim().is_empty() => {
            return Err(missing(&fields.question, "is empty", "the question's text"));
        }
        Some(text) => text.trim().to_owned(),
    };
    let choices = if kind == Kind::Choice { read_choices(row, &fields.choices)? } else { Vec::new() };
    let is_code = kind == Kind::Code;
    let tests = if is_code { read_tests(row, &fields.tests)? } else { Vec::new() };
    let test_imports = if is_code { read_lines(row, &fields.test_imports)? } else { Vec::new() };
    let entry_point = if is_code { row.string(&fields.entry_point)? } else { None };
    let entry_point = entry_point.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    let gold = read_gold(row, &fields.answer, kind, &choices, &tests)?;
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
        return Ok(if row.holds_something(&fields.choices) {
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

fn read_choices(row: &Fields<'_>, name: &str) -> Result<Vec<String>, Fault> {
    let Some(choices) = row.strings(name, "a list of strings")? else {
        return Err(missing(name, "is absent", "the list of choices that kind choice needs"));
    };
    if choices.len() < CHOICES_MIN || choices.len() > CHOICES_MAX {
        let detail = format!("field `{name}` holds {} choices, expected {CHOICES_MIN} to {CHOICES_MAX}", choices.len());
        return Err(Fault::new(ExclusionReason::InvalidValue, detail));
    }
    Ok(choices.into_iter().map(|choice| choice.trim().to_owned()).collect())
}

/// Reads the tests of a code row: a list, or one string or object as one test. Blank tests are left out; objects (of
/// inputs and outputs) are kept as JSON texts.
fn read_tests(row: &Fields<'_>, name: &str) -> Result<Vec<String>, Fault> {
    const EXPECTED: &str = "a list of strings or objects, or one string or object";
    let items = match row.get(name) {
        None => return Ok(Vec::new()),
        Some(raw) if matches!(json_type(raw), JsonType::String | JsonType::Object) => vec![raw],
        Some(raw) => serde_json::from_str(raw.get()).map_err(|_| wrong_type(name, raw, EXPECTED))?,
    };
    let mut tests = Vec::with_capacity(items.len());
    for item in items {
        tests.push(match json_type(item) {
            JsonType::String => decode_string(item, name)?,
            JsonType::Object => item.get().to_owned(),
            _ => return Err(wrong_item(name, item, EXPECTED)),
        });
    }
    Ok(tests.into_iter().filter(|test| !test.trim().is_empty()).collect())
}

/// Reads a list of strings, or one string with lines.
fn read_lines(row: &Fields<'_>, name: &str) -> Result<Vec<String>, Fault> {
    let lines = match row.get(name) {
        Some(raw) if json_type(raw) == JsonType::String => vec![decode_string(raw, name)?],
        _ => row.strings(name, "a list of strings or one string")?.unwrap_or_default(),
    };
    Ok(lines.into_iter().filter(|line| !line.trim().is_empty()).collect())
}

fn read_gold(row: &Fields<'_>, name: &str, kind: Kind, choices: &[String], tests: &[String]) -> Result<String, Fault> {
    let text = match row.get(name) {
        None => String::new(),
        Some(raw) => match json_type(raw) {
            JsonType::String => decode_string(raw, name)?,
            JsonType::Number => raw.get().to_owned(),
            _ => return Err(wrong_type(name, raw, "a string or a number")),
        },
    };
    if text.trim().is_empty() {
        if kind == Kind::Code && !tests.is_empty() {
            return Ok(String::new());
        }
        let expected = if kind == Kind::Code { "a reference answer or tests" } else { "a reference answer" };
        let found = if row.get(name).is_none() { "absent" } else { "empty" };
        let detail = format!("field `{name}` is {found}, expected {expected}");
        return Err(Fault::new(ExclusionReason::MissingGold, detail));
    }
    match kind {
        Kind::Choice => choice_letter(text.trim(), choices, name),
        // Indentation belongs to a program.
        Kind::Code => Ok(text),
        Kind::Math | Kind::Numeric | Kind::Text => Ok(text.trim().to_owned()),
    }
}

/// Returns the upper-case letter of the choice that a gold names, by its letter or by its exact text.
///
/// An upper-case letter is a letter even where some choice reads just like it (choices are often symbols). A
/// lower-case letter that is also the text of another choice could mean either, and is refused.
fn choice_letter(gold: &str, choices: &[String], name: &str) -> Result<String, Fault> {
    let letter_at = |index: usize| Query::choice_letter(index).map(String::from).unwrap_or_default();
    let by_letter = (0..choices.len()).find(|&index| letter_at(index).eq_ignore_ascii_case(gold));
    let by_text: Vec<usize> =
        (0..choices.len()).filter(|&index| choices.get(index).is_some_and(|c| c == gold)).collect();
    let is_upper = gold.bytes().all(|byte| byte.is_ascii_uppercase());
    let problem = match (by_letter, by_text.as_slice()) {
        (Some(index), []) => return Ok(letter_at(index)),
        (Some(index), texts) if is_upper || texts == [index] => return Ok(letter_at(index)),
        (None, &[index]) => return Ok(letter_at(index)),
        (Some(_), _) => "is the letter of one choice and the text of another",
        (None, []) => "names no choice",
        (None, _) => "is the text of several choices",
    };
    let last = letter_at(choices.len().saturating_sub(1));
    let detail = format!(
        "field `{name}` is \"{}\", which {problem}, expected a letter from A to {last} or the exact text of one choice",
        excerpt(gold)
    );
    Err(Fault::new(ExclusionReason::InvalidValue, detail))
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
fn excerpt(text: &str) -> String {
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
