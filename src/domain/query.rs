//! One well-formed query of the input.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::stable_names;

/// The identity of a query: the input's own id, or a hash of its content.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QueryId(pub String);

impl fmt::Display for QueryId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The kind of a query's answer; decides the prompt's wording and the verifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, schemars::JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub enum Kind {
    /// A mathematical expression, LaTeX or plain.
    Math,
    /// One number.
    Numeric,
    /// One of the listed choices; the gold is a letter.
    Choice,
    /// A short text.
    Text,
    /// A program; verified by running its tests in a sandbox.
    Code,
}

stable_names!(Kind {
    Math => "math",
    Numeric => "numeric",
    Choice => "choice",
    Text => "text",
    Code => "code",
});

/// Where a row came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The input file, as the config names it.
    pub file: String,
    /// 1-based line in a text file; 1-based row in a Parquet file.
    pub line: u64,
}

/// A well-formed query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// The id, unique within a run.
    pub id: QueryId,
    /// 0-based position among all input rows of the run, bad rows included.
    pub ordinal: u64,
    /// The query's dataset: the row's own `source`, or the input file's name.
    pub source: String,
    /// File and line.
    pub origin: Origin,
    /// The kind of the answer.
    pub kind: Kind,
    /// The question as written in the input, trimmed.
    pub question: String,
    /// The reference answer: a letter for a choice, and empty only for code with tests.
    pub gold: String,
    /// The texts of the choices in order A, B, C...; empty unless the kind is `choice`.
    pub choices: Vec<String>,
    /// Test programs, assertions, or JSON objects with inputs and outputs; empty unless the kind is `code`.
    pub tests: Vec<String>,
    /// Import statements that the tests need; empty unless the kind is `code`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub test_imports: Vec<String>,
    /// The tested function; optional, and only if the kind is `code`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_point: Option<String>,
    /// Columns that decide nothing.
    #[serde(default)]
    pub labels: QueryLabels,
}

/// Columns of the input that accompany a query.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryLabels {
    /// The subject that the input names.
    pub subject: Option<String>,
    /// The category that the input names.
    pub category: Option<String>,
    /// The earliest query that is a near-duplicate and has another answer.
    pub variant_of: Option<QueryId>,
    /// The columns that `input.keep` names, as a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<String>,
}

impl Query {
    /// Returns an empty query of a kind, for queries that code builds and no file holds.
    #[must_use]
    pub fn blank(kind: Kind) -> Self {
        Self {
            id: QueryId(String::new()),
            ordinal: 0,
            source: String::new(),
            origin: Origin { file: String::new(), line: 1 },
            kind,
            question: String::new(),
            gold: String::new(),
            choices: Vec::new(),
            tests: Vec::new(),
            test_imports: Vec::new(),
            entry_point: None,
            labels: QueryLabels::default(),
        }
    }

    /// The most tests that the user's text shows.
    const TESTS_SHOWN_MAX: usize = 3;

    /// Returns the letter of the choice at 0-based `index` (`A` for 0), for up to 26 choices.
    #[must_use]
    pub fn choice_letter(index: usize) -> Option<char> {
        u8::try_from(index).ok().filter(|&index| index < 26).map(|index| char::from(b'A' + index))
    }

    /// Returns the user's text: the question, with its lettered options for a choice, or with the required name and
    /// tests of a program as far as the question does not state them.
    #[must_use]
    pub fn user_text(&self) -> String {
        let mut text = self.question.clone();
        for (index, choice) in self.choices.iter().enumerate() {
            let letter = Self::choice_letter(index).unwrap_or('?');
            text.push_str(&format!("\n{letter}. {choice}"));
        }
        if let Some(demand) = self.demand() {
            text.push_str(&format!("\n\n{demand}"));
        }
        text
    }

    /// Returns the demands of a program's tests that the question does not state: the function's name, or some
    /// assertions.
    fn demand(&self) -> Option<String> {
        let called = |program: &str| {
            let call = program.lines().rev().find(|line| line.starts_with("check("))?;
            Some(call.strip_prefix("check(")?.split(')').next()?.trim().to_owned())
        };
        let name = self.entry_point.clone().or_else(|| self.tests.iter().find_map(|test| called(test)));
        if let Some(name) = name {
            let is_said =
                self.question.contains(&format!("def {name}(")) || self.question.contains(&format!("`{name}`"));
            return (!is_said).then(|| format!("Name the function `{name}`."));
        }
        let is_assertion = |test: &&String| test.trim_start().starts_with("assert") && !test.trim().contains('\n');
        let assertions: Vec<&str> = self.tests.iter().filter(is_assertion).map(|test| test.trim()).collect();
        let shown = assertions.get(..assertions.len().min(Self::TESTS_SHOWN_MAX))?;
        (!shown.is_empty()).then(|| format!("Your code must pass these tests:\n{}", shown.join("\n")))
    }
}
