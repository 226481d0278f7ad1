//! `[input.fields]`: the columns of the input that hold the fields of a query.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// `[input.fields]`. A name with dots that is not a column itself is a path into nested objects: `extra_info.answer`.
/// Several names joined by `+` are read as one text (or, for choices, as one list): `context+question`. If a field is
/// not named here and no row has its default name, thinkloom looks for names that are common in public data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FieldSettings {
    /// Id of the row; rows without one get a hash of their content.
    pub id: String,
    /// The question: a text, or a chat, whose last message of the user is the question.
    pub question: String,
    /// The reference answer; in a chat, the assistant's message after the question.
    pub answer: String,
    /// The kind.
    pub kind: String,
    /// The choices: a list of texts, or an object or a list of objects with texts and labels.
    pub choices: String,
    /// The tests of a program: a list, a string, or an object of inputs and outputs.
    pub tests: String,
    /// Import statements that the tests need.
    pub test_imports: String,
    /// The function that is tested.
    pub entry_point: String,
    /// The dataset of the row.
    pub source: String,
    /// The subject of the question, copied to the output.
    pub subject: String,
    /// The category; without one, a heuristic sets math, code, science or general.
    pub category: String,
    /// The fields that the config names; thinkloom does not look for other names of these.
    #[serde(skip)]
    #[schemars(skip)]
    pub written: Written,
}

/// Fields that a config names. Two settings that name the same columns are equal, whoever named them.
#[derive(Debug, Clone, Default)]
pub struct Written(BTreeSet<&'static str>);

impl PartialEq for Written {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Written {}

impl Default for FieldSettings {
    fn default() -> Self {
        Self {
            id: "id".to_owned(),
            question: "question".to_owned(),
            answer: "answer".to_owned(),
            kind: "kind".to_owned(),
            choices: "choices".to_owned(),
            tests: "tests".to_owned(),
            test_imports: "test_imports".to_owned(),
            entry_point: "entry_point".to_owned(),
            source: "source".to_owned(),
            subject: "subject".to_owned(),
            category: "category".to_owned(),
            written: Written::default(),
        }
    }
}

impl FieldSettings {
    /// Returns whether the name of a field was chosen: it is in the config, or is not the default one.
    #[must_use]
    pub fn is_chosen(&self, field: &str) -> bool {
        let name = |(known, name): (&'static str, &str)| (known == field).then(|| name.to_owned());
        let differs = || self.names().into_iter().find_map(name) != Self::default().names().into_iter().find_map(name);
        self.written.0.contains(field) || differs()
    }

    /// Returns names that no column has.
    #[must_use]
    pub fn none() -> Self {
        let mut none = Self::default();
        Self::default().names().into_iter().for_each(|(field, _)| none.set(field, ""));
        none
    }

    /// Returns every field with its name in the input.
    #[must_use]
    pub fn names(&self) -> [(&'static str, &str); 11] {
        [
            ("id", &self.id),
            ("question", &self.question),
            ("answer", &self.answer),
            ("kind", &self.kind),
            ("choices", &self.choices),
            ("tests", &self.tests),
            ("test_imports", &self.test_imports),
            ("entry_point", &self.entry_point),
            ("source", &self.source),
            ("subject", &self.subject),
            ("category", &self.category),
        ]
    }

    /// Names a field.
    pub fn set(&mut self, field: &str, name: &str) {
        let place = match field {
            "id" => &mut self.id,
            "question" => &mut self.question,
            "answer" => &mut self.answer,
            "kind" => &mut self.kind,
            "choices" => &mut self.choices,
            "tests" => &mut self.tests,
            "test_imports" => &mut self.test_imports,
            "entry_point" => &mut self.entry_point,
            "source" => &mut self.source,
            "subject" => &mut self.subject,
            "category" => &mut self.category,
            _ => return,
        };
        name.clone_into(place);
    }
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Table {
    id: Option<String>,
    question: Option<String>,
    answer: Option<String>,
    kind: Option<String>,
    choices: Option<String>,
    tests: Option<String>,
    test_imports: Option<String>,
    entry_point: Option<String>,
    source: Option<String>,
    subject: Option<String>,
    category: Option<String>,
}

impl<'de> Deserialize<'de> for FieldSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = Table::deserialize(deserializer)?;
        let named = [
            ("id", table.id),
            ("question", table.question),
            ("answer", table.answer),
            ("kind", table.kind),
            ("choices", table.choices),
            ("tests", table.tests),
            ("test_imports", table.test_imports),
            ("entry_point", table.entry_point),
            ("source", table.source),
            ("subject", table.subject),
            ("category", table.category),
        ];
        let mut settings = Self::default();
        for (field, name) in named {
            if let Some(name) = name {
                settings.set(field, &name);
                settings.written.0.insert(field);
            }
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_config_names_is_chosen_even_where_it_is_the_default() {
        let settings: FieldSettings = toml::from_str("question = \"question\"\nanswer = \"gold\"").unwrap();
        assert_eq!((settings.question.as_str(), settings.answer.as_str()), ("question", "gold"));
        assert!(settings.is_chosen("question") && settings.is_chosen("answer") && !settings.is_chosen("id"));
        assert!(!FieldSettings::default().is_chosen("question"));
        assert!(FieldSettings { id: "uid".to_owned(), ..FieldSettings::default() }.is_chosen("id"));
        assert!(toml::from_str::<FieldSettings>("questoin = \"q\"").is_err());
    }

    #[test]
    fn every_field_can_be_named() {
        let mut settings = FieldSettings::default();
        for (field, _) in FieldSettings::default().names() {
            settings.set(field, &format!("my {field}"));
        }
        assert!(settings.names().iter().all(|(field, name)| *name == format!("my {field}")));
        let text = toml::to_string(&settings).unwrap();
        assert_eq!(toml::from_str::<FieldSettings>(&text).unwrap(), settings);
    }
}
