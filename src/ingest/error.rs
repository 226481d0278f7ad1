//! What ends reading altogether, as opposed to one bad row.

use std::error::Error;
use std::io;

use super::expansion::is_expanded;
use super::footer::COLUMNS_MAX;

/// An input that cannot be read on; single bad rows are [`crate::domain::Exclusion`]s instead.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// A path pattern is no valid glob.
    #[error("input pattern \"{pattern}\" is not a valid glob")]
    InvalidPattern {
        /// The pattern as given.
        pattern: String,
        /// Where the glob goes wrong.
        #[source]
        source: glob::PatternError,
    },
    /// A path pattern matches no file.
    #[error("input pattern \"{pattern}\" matches no file (looked in {searched})")]
    NoMatch {
        /// The pattern as given.
        pattern: String,
        /// The directories that were looked in, comma-separated.
        searched: String,
    },
    /// A directory could not be listed.
    #[error("input pattern \"{pattern}\" cannot be expanded")]
    Unlistable {
        /// The pattern as given.
        pattern: String,
        /// The directory and the system's error.
        #[source]
        source: glob::GlobError,
    },
    /// The file's name has none of the known endings.
    #[error("input file {file} has none of the known endings")]
    UnknownFormat {
        /// The file, as the config names it.
        file: String,
    },
    /// The file could not be opened.
    #[error("input file {file} cannot be opened")]
    Unopenable {
        /// The file, as the config names it.
        file: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The file could be opened but not be read to its end.
    #[error("input file {file} cannot be read{position}")]
    Unreadable {
        /// The file, as the config names it.
        file: String,
        /// " at line N" or " at row N" (1-based) where that is known, else empty.
        position: String,
        /// What the system or the decoder said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The file has no rows at all.
    #[error("input file {file} holds no rows")]
    NoRows {
        /// The file, as the config names it.
        file: String,
    },
    /// No row of a file has a field that every row needs.
    #[error(
        "input file {file} has no column \"{column}\" for the {field}, nor one of a common name; its columns are:{columns}\n\
         write which is which, for example:{mapping}"
    )]
    Unmapped {
        /// The file, as the config names it.
        file: String,
        /// The field of `[input.fields]`.
        field: &'static str,
        /// The column it is mapped to.
        column: String,
        /// The columns there are, each a line.
        columns: String,
        /// A mapping to copy.
        mapping: String,
    },
    /// Two columns of a table have a name that is asked for.
    #[error("input file {file} has several columns named \"{column}\"")]
    RepeatedColumn {
        /// The file, as the config names it.
        file: String,
        /// The name.
        column: String,
    },
    /// A table has more columns than any table of rows has.
    #[error("input file {file} has {columns} columns, expected at most {COLUMNS_MAX}")]
    TooManyColumns {
        /// The file, as the config names it.
        file: String,
        /// How many it has.
        columns: usize,
    },
    /// What a path names is there and is no file that can be read more than once.
    #[error("input {path} is {found}, not a file")]
    NoRegularFile {
        /// The path as given.
        path: String,
        /// What it is.
        found: &'static str,
    },
    /// A path names a file that the run itself writes.
    #[error("input {path} lies in the run's own output directory")]
    OwnOutput {
        /// The path as given.
        path: String,
    },
    /// No file has a column that is to be kept.
    #[error("input.keep names \"{column}\", which no row has; the columns are: {columns}")]
    MissingKept {
        /// The column.
        column: String,
        /// The columns there are.
        columns: String,
    },
    /// The file is not what it was when it was hashed.
    #[error("input file {file} changed while it was read")]
    Changed {
        /// The file, as the config names it.
        file: String,
    },
    /// A mapped Parquet column has a type that holds no text, number or list.
    #[error("input file {file} has column \"{column}\" of type {found}, which is no text, number, boolean or list")]
    UnsupportedColumn {
        /// The file, as the config names it.
        file: String,
        /// The column.
        column: String,
        /// Its Arrow type.
        found: String,
    },
    /// The answers of a file's choice questions can be read in more than one way.
    #[error("input file {file}, line {line}: the answer \"{answer}\" is {meanings}, and the file does not tell which")]
    AmbiguousAnswers {
        /// The file, as the config names it.
        file: String,
        /// 1-based line; 1-based row in Parquet.
        line: u64,
        /// The beginning of the answer.
        answer: String,
        /// What it may be.
        meanings: String,
        /// Whether it may be the text of a choice.
        names_texts: bool,
        /// Whether it may be the letter of a choice.
        names_letters: bool,
    },
    /// The answer of a choice question is none of the kind that the other answers are, or that the config says.
    #[error("input file {file}, line {line}: the answer \"{answer}\" is {found}, but {usual}")]
    ContradictingAnswer {
        /// The file, as the config names it.
        file: String,
        /// 1-based line; 1-based row in Parquet.
        line: u64,
        /// The beginning of the answer.
        answer: String,
        /// What it may be.
        found: String,
        /// What it should be, and why.
        usual: String,
    },
}

impl IngestError {
    /// Returns what a user can do about it, as one sentence without a full stop.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::InvalidPattern { .. } => "write [[] for a literal bracket in input.paths",
            Self::NoMatch { .. } => {
                "check input.paths; relative paths are looked up in the listed directories, and a directory itself \
                 needs a glob such as \"dir/*.jsonl\""
            }
            Self::Unlistable { .. } | Self::Unopenable { .. } => "check that the path exists and may be read",
            Self::UnknownFormat { .. } => {
                "name it .jsonl, .ndjson, .json-lines, .json, .csv or .tsv (each also with .gz or .zst), or .parquet"
            }
            Self::Unreadable { source, .. } if is_expanded(source.as_ref()) => {
                "rows that say different things do not pack so well: look at what wrote the file, or write it unpacked"
            }
            Self::Unreadable { source, .. } if source.to_string().contains("too much memory") => {
                "its window is larger than 2 GiB: pack it again (`zstd --long=31` at most)"
            }
            Self::Unreadable { source, .. } if source.to_string().contains("expected at most") => {
                "the file claims more than is read: write it again with smaller pages and fewer columns"
            }
            Self::Unreadable { .. } => "the file looks damaged or truncated: fetch or write it again",
            Self::NoRows { .. } => "take it out of input.paths, or check that it was written completely",
            Self::Unmapped { .. } => {
                "set the columns' names under [input.fields]; dots reach into objects (`thinkloom help data`)"
            }
            Self::RepeatedColumn { .. } => "rename one of them, or map another column under [input.fields]",
            Self::TooManyColumns { .. } => "check that it is the table of rows, with one row a line and a header",
            Self::NoRegularFile { .. } => "it is read more than once: write what it gives to a file, and name that",
            Self::OwnOutput { .. } => {
                "what a run reads does not change while it runs: choose another output directory with -o, or take the path \
                 out of input.paths"
            }
            Self::MissingKept { .. } => "correct the name or take it out of input.keep; dots reach into objects",
            Self::Changed { .. } => "nothing of it was stored: run the same again once nobody writes to it",
            Self::AmbiguousAnswers { names_letters: true, .. } => {
                "set input.answer_is = \"letter\" if answers are letters, or \"text\" if they are texts of choices"
            }
            Self::AmbiguousAnswers { names_texts: true, .. } => {
                "set input.answer_is = \"index0\" or \"index1\" if answers are numbers of choices, counted from 0 or from 1, \
                 or \"text\" if they are texts of choices"
            }
            Self::AmbiguousAnswers { .. } => {
                "set input.answer_is = \"index0\" if the dataset counts its choices from 0, or \"index1\" if from 1"
            }
            Self::ContradictingAnswer { .. } => {
                "set input.answer_is to what the answers are (letter, index0, index1, text), and mend or remove rows that \
                 are something else"
            }
            Self::UnsupportedColumn { .. } => "write the column as a string, or map another one under [input.fields]",
        })
    }
}
