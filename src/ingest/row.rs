//! Converts one row, the text of a JSON object, to the content of a query or to the fault that excludes the row.
//!
//! Rows of every format pass through this module, so that one rule decides for all formats. Values stay raw JSON until
//! a field is read: numbers keep their spelling (`1.50` stays `1.50`), and unmapped fields are never decoded. If a key
//! is repeated, the last one counts. `null` counts as absent.
//!
//! This module does not know files, lines or other rows.

use super::choices::{Choices, Meanings, Named, joined_choices, letter_of};
use super::fault::{Contradiction, Fault, Scope};
use super::fields::{Fields, decode_string, excerpt, missing, wrong_item, wrong_type};
use super::file_answers::{FileAnswers, all_told};
use super::json_type::{JsonType, json_type};
use super::literal::{self, Literal};
use super::row_values::{gold_text, kind_named, read_question};
use super::shape::Shape;
use crate::domain::{ExclusionReason, Kind};

/// The minimum and the maximum number of choices; the maximum is the number of letters.
const CHOICES_MIN: usize = 2;
const CHOICES_MAX: usize = 26;

/// The parts of a row that are known whether or not the rest of the row is usable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) id: Option<String>,
    pub(super) source: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) category: Option<String>,
    /// The kept columns, as a JSON object.
    pub(super) extra: Option<String>,
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

/// Reads one row of a file with this shape and this form of answers to choice questions.
pub(super) fn parse_row(text: &str, shape: &Shape, answers: FileAnswers) -> (Head, Result<Body, Fault>) {
    let row = match Fields::parse(text) {
        Ok(row) => row,
        Err(fault) => return (Head::default(), Err(fault)),
    };
    let mut head = Head::default();
    let id = row.id(&shape.fields.id).map(|id| head.id = id);
    let source = row.string(&shape.fields.source).map(|source| {
        head.source = source.map(|source| source.trim().to_owned()).filter(|source| !source.is_empty());
    });
    // Labels decide nothing, so a list or a number in their place does not exclude the row.
    let label = |name: &str| {
        let label = row.string(name).ok().flatten().map(|label| label.trim().to_owned());
        label.filter(|label| !label.is_empty())
    };
    head.subject = label(&shape.fields.subject);
    head.category = label(&shape.fields.category);
    head.extra = kept(&row, &shape.keep);
    let body = id.and(source).and_then(|()| read_body(&row, shape, answers));
    (head, body)
}

/// Returns the kept columns as a JSON object, each under its name; `None` if the row has none of them.
fn kept(row: &Fields<'_>, keep: &[String]) -> Option<String> {
    let mut json = String::new();
    for (name, raw) in keep.iter().filter_map(|name| Some((name, row.get(name)?))) {
        json.push(if json.is_empty() { '{' } else { ',' });
        json.push_str(&serde_json::Value::from(name.as_str()).to_string());
        json.push(':');
        json.push_str(raw.get());
    }
    if json.is_empty() { None } else { Some(json + "}") }
}

/// Returns the gold of a choice question and its possible meanings; `None` for any other row.
pub(super) fn meanings(text: &str, shape: &Shape) -> Option<(String, Meanings)> {
    let name = &shape.fields.choices;
    let first = name.split(['.', '+']).next().unwrap_or_default();
    // Most rows of most files have no choices. They are not parsed for this search; a name may be written with escapes.
    if !text.contains(first) && !text.contains("\\u") {
        return None;
    }
    let row = Fields::parse(text).ok()?;
    if read_kind(&row, shape).ok()? != Kind::Choice {
        return None;
    }
    let choices = read_choices(&row, name).ok()?;
    let gold = gold_text(&row, &shape.fields.answer, Kind::Choice, "").ok()?;
    let gold = gold.trim();
    Some((gold.to_owned(), Meanings::of(gold, &choices)))
}

fn read_body(row: &Fields<'_>, shape: &Shape, answers: FileAnswers) -> Result<Body, Fault> {
    let fields = &shape.fields;
    let kind = read_kind(row, shape)?;
    let question = match read_question(row, &fields.question, shape.stock_system.as_deref())? {
        Some(question) => question,
        None if row.get(&fields.question).is_some() => {
            return Err(missing(&fields.question, "is empty", "the question's text"));
        }
        None => return Err(missing(&fields.question, "is absent", "the question's text")),
    };
    let choices = if kind == Kind::Choice { read_choices(row, &fields.choices)? } else { Choices::default() };
    let is_code = kind == Kind::Code;
    let tests = if is_code { read_tests(row, &fields.tests)? } else { Vec::new() };
    let test_imports = if is_code { read_lines(row, &fields.test_imports)? } else { Vec::new() };
    let entry_point = if is_code { row.string(&fields.entry_point)? } else { None };
    let entry_point = entry_point.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    let gold = read_gold(row, &fields.answer, kind, &question, &tests)?;
    let gold = if kind == Kind::Choice { choice_letter(&gold, &choices, &fields.answer, answers)? } else { gold };
    let choices = choices.texts;
    Ok(Body { kind, question, gold, choices, tests, test_imports, entry_point })
}

/// Returns the kind that is set for all rows; otherwise the row's own kind; otherwise the kind that its other fields
/// suggest.
fn read_kind(row: &Fields<'_>, shape: &Shape) -> Result<Kind, Fault> {
    let fields = &shape.fields;
    if let Some(kind) = shape.kind {
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
            shape.usual_kind()
        });
    }
    kind_named(name).ok_or_else(|| {
        let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        let detail = format!("field `{}` is \"{}\", expected one of: {}", fields.kind, excerpt(name), known.join(", "));
        Fault::new(ExclusionReason::UnknownKind, detail)
    })
}

fn read_choices(row: &Fields<'_>, name: &str) -> Result<Choices, Fault> {
    const EXPECTED: &str = "a list of texts, or an object of texts and labels";
    let choices = match row.get(name) {
        Some(raw) => Choices::read(raw).map_err(|found| {
            let detail = format!("field `{name}` is {found} ({}), expected {EXPECTED}", excerpt(raw.get()));
            Fault::new(ExclusionReason::WrongType, detail)
        })?,
        None => joined_choices(row, name)
            .ok_or_else(|| missing(name, "is absent", "the list of choices that kind choice needs"))?,
    };
    let count = choices.texts.len();
    if !(CHOICES_MIN..=CHOICES_MAX).contains(&count) {
        let detail = format!("field `{name}` holds {count} choices, expected {CHOICES_MIN} to {CHOICES_MAX}");
        return Err(Fault::new(ExclusionReason::InvalidValue, detail));
    }
    Ok(choices)
}

/// Reads the tests of a code row: a list, or one string or object as one test. Blank tests are omitted. A string that
/// contains a list of strings is split, because prompts show assertions. Any other nested value stays a text, which the
/// verifier parses.
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

/// Reads a list of strings, or one string: lines, or a list as Python or JSON writes it.
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

/// Returns the strings of a list that a text contains.
fn listed(text: &str) -> Option<Vec<String>> {
    if !text.trim_start().starts_with('[') {
        return None;
    }
    let Literal::List(items) = literal::parse(text)? else { return None };
    let string = |item: Literal| if let Literal::Text(text) = item { Some(text) } else { None };
    items.into_iter().map(string).collect()
}

fn read_gold(row: &Fields<'_>, name: &str, kind: Kind, question: &str, tests: &[String]) -> Result<String, Fault> {
    let text = gold_text(row, name, kind, question)?;
    if text.trim().is_empty() {
        if kind == Kind::Code && !tests.is_empty() {
            return Ok(String::new());
        }
        let expected = if kind == Kind::Code { "a reference answer or tests" } else { "a reference answer" };
        let found = if row.get(name).is_none() { "absent" } else { "empty" };
        let detail = format!("field `{name}` is {found}, expected {expected}");
        return Err(Fault::new(ExclusionReason::MissingGold, detail));
    }
    // Indentation is part of a program.
    Ok(if kind == Kind::Code { text } else { text.trim().to_owned() })
}

/// Returns the upper-case letter of the choice that a gold names: by its label, otherwise by the form of the file's
/// golds.
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

#[cfg(test)]
#[path = "row_tests.rs"]
mod tests;
