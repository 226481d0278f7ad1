//! The choices of a row, and the possible meanings of its gold.
//!
//! Choices are a list of texts or numbers; an object `{"text": [...], "label": [...]}`; a list of objects with a text
//! and a label; an object from labels to texts; or a text that contains one of these ([`super::literal`]). A gold is a
//! number or a text. This module determines the possible meanings of one gold; [`super::answers`] decides over a whole
//! file which meaning counts.

use serde_json::value::RawValue;
use unicode_normalization::UnicodeNormalization;

use super::fields::Fields;
use super::json_type::{JsonType, json_type};
use super::literal::{self, Literal};
use crate::config::AnswerIs;
use crate::domain::Query;

/// The choices of one row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Choices {
    /// Their texts, trimmed.
    pub(super) texts: Vec<String>,
    /// Their labels: none, or one per text.
    pub(super) labels: Vec<String>,
}

impl Choices {
    /// Parses the choices of a row.
    ///
    /// # Errors
    /// A description of the value.
    pub(super) fn read(raw: &RawValue) -> Result<Self, String> {
        literal::parse(raw.get()).ok_or_else(|| "no list".to_owned()).and_then(of_literal)
    }
}

fn of_literal(value: Literal) -> Result<Choices, String> {
    match value {
        Literal::List(items) if items.iter().any(|item| matches!(item, Literal::Table(_))) => of_tables(items),
        Literal::List(items) => Ok(Choices { texts: plain_texts(items)?, labels: Vec::new() }),
        Literal::Table(members) => of_table(members),
        Literal::Text(text) => match literal::looks_nested(&text).then(|| literal::parse(&text)).flatten() {
            // A text within a text is not parsed again.
            Some(Literal::Text(_)) | None => Err("a text that holds no list".to_owned()),
            Some(value) => of_literal(value),
        },
        Literal::Bare(word) => Err(format!("{word}, which is no list")),
        Literal::Null => Err("null".to_owned()),
    }
}

fn plain_texts(items: Vec<Literal>) -> Result<Vec<String>, String> {
    let text = |item: Literal| match item {
        Literal::Text(text) | Literal::Bare(text) => Ok(text.trim().to_owned()),
        Literal::Null => Err("a list that holds null".to_owned()),
        Literal::List(_) => Err("a list that holds a list".to_owned()),
        Literal::Table(_) => Err("a list that holds an object".to_owned()),
    };
    items.into_iter().map(text).collect()
}

/// Reads a list of objects, each a text with its label.
fn of_tables(items: Vec<Literal>) -> Result<Choices, String> {
    let mut choices = Choices::default();
    for item in items {
        let Literal::Table(mut members) = item else {
            return Err("a list that holds objects and other things".to_owned());
        };
        let mut take = |names: &[&str]| {
            let at = members.iter().position(|(name, _)| names.contains(&name.as_str()))?;
            match members.swap_remove(at).1 {
                Literal::Text(text) | Literal::Bare(text) => Some(text.trim().to_owned()),
                Literal::Null | Literal::List(_) | Literal::Table(_) => None,
            }
        };
        let (text, label) = (take(&["text", "content", "value"]), take(&["label", "key", "letter", "id"]));
        let (Some(text), Some(label)) = (text, label) else {
            return Err("a list of objects without a text and a label each".to_owned());
        };
        choices.texts.push(text);
        choices.labels.push(label);
    }
    Ok(choices)
}

/// Reads an object: of two lists, or from labels to texts.
fn of_table(members: Vec<(String, Literal)>) -> Result<Choices, String> {
    let list = |names: &[&str]| {
        let member = members.iter().find(|(name, _)| names.contains(&name.as_str()));
        member.and_then(|(_, value)| if let Literal::List(items) = value { Some(items.clone()) } else { None })
    };
    if let Some(texts) = list(&["text", "texts"]) {
        let (texts, labels) = (plain_texts(texts)?, list(&["label", "labels"]).map(plain_texts).transpose()?);
        let labels = labels.unwrap_or_default();
        if !labels.is_empty() && labels.len() != texts.len() {
            return Err(format!("{} texts with {} labels", texts.len(), labels.len()));
        }
        return Ok(Choices { texts, labels });
    }
    let is_label = |name: &str| {
        let is_letter = name.len() == 1 && name.starts_with(|c: char| c.is_ascii_alphabetic());
        is_letter || (name.len() <= 2 && name.parse::<u8>().is_ok())
    };
    if members.is_empty() || !members.iter().all(|(name, _)| is_label(name)) {
        return Err("an object without lists `text` and `label`".to_owned());
    }
    let mut members = members;
    // Objects are unordered: their labels determine the order.
    members.sort_by(|(left, _), (right, _)| (left.len(), left).cmp(&(right.len(), right)));
    // If rows share their columns, a missing member is null.
    members.retain(|(_, value)| *value != Literal::Null);
    let (labels, texts) = members.into_iter().unzip();
    Ok(Choices { texts: plain_texts(texts)?, labels })
}

impl Fields<'_> {
    /// Returns whether the row has choices, or an invalid value in their place.
    pub(super) fn holds_choices(&self, name: &str) -> bool {
        if self.get(name).is_none() {
            return joined_choices(self, name).is_some();
        }
        let is_empty = |raw| Choices::read(raw).is_ok_and(|choices| choices.texts.is_empty());
        self.holds_something(name) && self.get(name).is_some_and(|raw| !is_empty(raw))
    }
}

/// Reads the choices in columns whose names are joined by `+`; each is a text.
pub(super) fn joined_choices(row: &Fields<'_>, name: &str) -> Option<Choices> {
    let parts: Vec<&str> = name.split('+').map(str::trim).collect();
    if parts.len() < 2 {
        return None;
    }
    let text = |part: &&str| {
        row.get(part).and_then(|raw| match json_type(raw) {
            JsonType::String => serde_json::from_str::<String>(raw.get()).ok(),
            JsonType::Number | JsonType::Boolean => Some(raw.get().to_owned()),
            _ => None,
        })
    };
    let present: Vec<(&str, String)> =
        parts.iter().filter_map(|part| Some((*part, text(part)?.trim().to_owned()))).collect();
    if present.is_empty() {
        return None;
    }
    // Column names are labels if they are letters; a row may have fewer choices than there are columns.
    let is_label = |name: &str| name.len() == 1 && name.starts_with(|c: char| c.is_ascii_alphabetic());
    let labels =
        present.iter().map(|(name, _)| *name).filter(|name| is_label(name)).map(str::to_owned).collect::<Vec<_>>();
    let texts: Vec<String> = present.into_iter().map(|(_, text)| text).collect();
    let labels = if labels.len() == texts.len() { labels } else { Vec::new() };
    Some(Choices { texts, labels })
}

/// One interpretation of a gold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reading {
    /// The letter of a choice.
    Letter,
    /// The number of a choice, from 0.
    Index0,
    /// The number of a choice, from 1.
    Index1,
    /// The text of a choice.
    Text,
}

impl Reading {
    /// Every reading, in the order of preference among equal readings.
    pub(super) const ALL: [Self; 4] = [Self::Letter, Self::Index0, Self::Index1, Self::Text];

    /// Returns the reading that a setting names; `None` for `auto`.
    pub(super) const fn of(setting: AnswerIs) -> Option<Self> {
        match setting {
            AnswerIs::Auto => None,
            AnswerIs::Letter => Some(Self::Letter),
            AnswerIs::Index0 => Some(Self::Index0),
            AnswerIs::Index1 => Some(Self::Index1),
            AnswerIs::Text => Some(Self::Text),
        }
    }

    /// Returns the value of `input.answer_is` that names the reading.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Letter => "letter",
            Self::Index0 => "index0",
            Self::Index1 => "index1",
            Self::Text => "text",
        }
    }

    /// Returns the meaning of a gold under this reading, as a phrase for a sentence.
    pub(super) const fn phrase(self) -> &'static str {
        match self {
            Self::Letter => "the letter of a choice",
            Self::Index0 => "the number of a choice, counted from 0",
            Self::Index1 => "the number of a choice, counted from 1",
            Self::Text => "the text of a choice",
        }
    }
}

/// The choice that a gold names under a reading, by its 0-based index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// No choice.
    Nothing,
    /// One choice.
    One(usize),
    /// Several choices, whose texts differ only in case or type, or whose labels are equal.
    Several,
}

impl Named {
    fn of(mut places: impl Iterator<Item = usize>) -> Self {
        match (places.next(), places.next()) {
            (None, _) => Self::Nothing,
            (Some(place), None) => Self::One(place),
            (Some(_), Some(_)) => Self::Several,
        }
    }
}

/// The possible meanings of a gold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meanings {
    /// The meaning by the labels of the choices.
    pub(super) label: Named,
    by_reading: [Named; 4],
}

impl Meanings {
    /// Determines the possible meanings of a trimmed gold among choices.
    pub(super) fn of(gold: &str, choices: &Choices) -> Self {
        let Choices { texts, labels } = choices;
        let within = |place: Option<usize>| match place.filter(|place| *place < texts.len()) {
            Some(place) => Named::One(place),
            None => Named::Nothing,
        };
        let whole = whole_number(gold);
        let places = |list: &[String], is_it: &dyn Fn(&str) -> bool| {
            Named::of(list.iter().enumerate().filter(|(_, item)| is_it(item)).map(|(place, _)| place))
        };
        let label = match places(labels, &|label| label == gold) {
            // A number may be written as 3 or 3.0.
            Named::Nothing => places(labels, &|label| whole.is_some() && whole_number(label) == whole),
            named => named,
        };
        // Choices with the same text are the same answer: the first one represents them.
        let same = within(texts.iter().position(|text| text == gold));
        let text = [&(|text: &str| folded(text) == folded(gold)) as &dyn Fn(&str) -> bool, &|text: &str| {
            whole.is_some() && whole_number(text) == whole
        }];
        let alike = text.into_iter().map(|is_it| places(texts, is_it)).find(|named| *named != Named::Nothing);
        let text = if same == Named::Nothing { alike.unwrap_or(Named::Nothing) } else { same };
        let by_reading = [
            within(letter_place(gold, texts)),
            within(whole),
            within(whole.and_then(|number| number.checked_sub(1))),
            text,
        ];
        Self { label, by_reading }
    }

    /// Returns the meaning of the gold under a reading.
    #[expect(clippy::indexing_slicing, reason = "there is a place for every reading")]
    pub(super) const fn under(&self, reading: Reading) -> Named {
        self.by_reading[reading as usize]
    }

    /// Returns the readings under which the gold names a choice.
    pub(super) fn readings(&self) -> impl Iterator<Item = Reading> + '_ {
        Reading::ALL.into_iter().filter(|reading| self.under(*reading) != Named::Nothing)
    }
}

/// Returns the value of a non-negative whole number, written in digits or as a float without a fraction.
fn whole_number(text: &str) -> Option<usize> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_whole = !whole.is_empty() && is_digits(whole) && fraction.bytes().all(|byte| byte == b'0');
    if is_whole { whole.parse().ok() } else { None }
}

/// Returns the index of a letter in a gold: `B`, `b`, `(B)`, `B.`, or a letter followed by the choice's own text.
fn letter_place(gold: &str, texts: &[String]) -> Option<usize> {
    let place = |letter: char| (letter.to_ascii_uppercase() as usize).checked_sub('A' as usize);
    let inner = gold.strip_prefix(['(', '[']).unwrap_or(gold);
    let mut rest = inner.chars();
    let letter = rest.next().filter(char::is_ascii_alphabetic)?;
    let rest = rest.as_str();
    if matches!(rest, "" | "." | ")" | "]" | ":" | ".)" | ").") {
        return place(letter);
    }
    let text = rest.strip_prefix([')', ']', '.', ':'])?.trim();
    let place = place(letter)?;
    texts.get(place).is_some_and(|own| folded(own) == folded(text)).then_some(place)
}

/// Converts a text to the form in which choices and golds are compared.
fn folded(text: &str) -> String {
    let plain = text.nfkc().map(|c| match c {
        '\u{2018}' | '\u{2019}' | '\u{2032}' => '\'',
        '\u{201c}' | '\u{201d}' => '"',
        '\u{2212}' | '\u{2010}' | '\u{2011}' | '\u{2013}' => '-',
        other => other,
    });
    let lower: String = plain.flat_map(char::to_lowercase).collect();
    lower.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the letter of the choice at an index.
pub(super) fn letter_of(place: usize) -> String {
    Query::choice_letter(place).map(String::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Choices, String> {
        Choices::read(serde_json::from_str(json).unwrap())
    }

    fn owned(items: &[&str]) -> Vec<String> {
        items.iter().map(|&item| item.to_owned()).collect()
    }

    fn choices(texts: &[&str], labels: &[&str]) -> Choices {
        Choices { texts: owned(texts), labels: owned(labels) }
    }

    #[test]
    fn choices_are_read_from_every_shape_that_datasets_have() {
        for json in [
            r#"["x", " y "]"#,
            r#""['x', 'y']""#,
            r#""['x' 'y']""#,
            r#""[\"x\", \"y\"]""#,
            r#"{"text": ["x", "y"]}"#,
            r#""array(['x', 'y'], dtype=object)""#,
        ] {
            assert_eq!(read(json), Ok(choices(&["x", "y"], &[])), "{json}");
        }
        for json in [
            r#"{"text": ["x", "y"], "label": ["1", "2"]}"#,
            r#"{"text": ["x", "y"], "label": [1, 2]}"#,
            r#"[{"label": "1", "text": "x"}, {"text": "y", "label": 2}]"#,
            r#"{"2": "y", "1": "x"}"#,
            r#""{'text': array(['x', 'y'], dtype=object), 'label': array(['1', '2'], dtype=object)}""#,
        ] {
            assert_eq!(read(json), Ok(choices(&["x", "y"], &["1", "2"])), "{json}");
        }
        assert_eq!(read(r#"{"B": "y", "A": "x", "C": null}"#), Ok(choices(&["x", "y"], &["A", "B"])));
        assert_eq!(read("[1, 2.50, true]"), Ok(choices(&["1", "2.50", "true"], &[])));
        assert_eq!(read("[]"), Ok(Choices::default()));
    }

    #[test]
    fn what_holds_no_choices_is_refused_with_what_it_is() {
        for (json, part) in [
            ("\"a\"", "a text that holds no list"),
            (r#""\"['a']\"""#, "a text that holds no list"),
            ("5", "5, which is no list"),
            ("{}", "an object without lists"),
            (r#"{"first": "a"}"#, "an object without lists"),
            (r#"{"text": ["a", "b"], "label": ["A"]}"#, "2 texts with 1 labels"),
            (r#"["a", null]"#, "holds null"),
            (r#"["a", ["b"]]"#, "holds a list"),
            (r#"[{"text": "a", "label": "A"}, "b"]"#, "objects and other things"),
            (r#"[{"text": "a"}]"#, "without a text and a label"),
        ] {
            let found = read(json).unwrap_err();
            assert!(found.contains(part), "{json}: {found}");
        }
    }

    #[test]
    fn a_gold_means_a_letter_a_number_or_a_text_or_several_of_these() {
        use Named::{Nothing, One, Several};
        let of = |gold: &str, texts: &[&str]| Meanings::of(gold, &choices(texts, &[])).by_reading;
        let words = ["ice", "Ohm\u{2019}s law", "sand"];
        for letter in ["B", "b", "(B)", "B.", "b)", "[B]", "B. Ohm's law", "(B) ohm\u{2019}s  law"] {
            assert_eq!(of(letter, &words), [One(1), Nothing, Nothing, Nothing], "{letter}");
        }
        for nothing in ["D", "B. sand", "Bx", "5", "-1", "1.5", "", "()", "\u{e9}"] {
            assert_eq!(of(nothing, &words), [Nothing; 4], "{nothing}");
        }
        assert_eq!(of("Ohm's law", &words), [Nothing, Nothing, Nothing, One(1)]);
        assert_eq!(of("0", &words), [Nothing, One(0), Nothing, Nothing]);
        assert_eq!(of("3", &words), [Nothing, Nothing, One(2), Nothing]);
        assert_eq!(of("2.0", &words), [Nothing, One(2), One(1), Nothing]);
        assert_eq!(of("1", &["2", "1", "0", "3"]), [Nothing, One(1), One(0), One(1)]);
        assert_eq!(of("2.0", &["2", "1"]), [Nothing, Nothing, One(1), One(0)]);
        assert_eq!(of("C", &["A", "C", "G"]), [One(2), Nothing, Nothing, One(1)]);
        assert_eq!(of("same", &["x", "same", "same"]), [Nothing, Nothing, Nothing, One(1)]);
        assert_eq!(of("SAME", &["same", "Same"]), [Nothing, Nothing, Nothing, Several]);
        // An exact match precedes a match that differs in case.
        assert_eq!(of("a", &["x", "y", "A", "a"]), [One(0), Nothing, Nothing, One(3)]);
    }

    #[test]
    fn labels_name_their_own_choices() {
        let label = |gold: &str, labels: &[&str]| Meanings::of(gold, &choices(&["x", "y"], labels)).label;
        assert_eq!(label("2", &["1", "2"]), Named::One(1));
        assert_eq!(label("2.0", &["1", "2"]), Named::One(1));
        assert_eq!(label("A", &["B", "A"]), Named::One(1));
        assert_eq!(label("3", &["1", "2"]), Named::Nothing);
        assert_eq!(label("A", &["A", "A"]), Named::Several);
        assert_eq!(label("A", &[]), Named::Nothing);
    }
}
