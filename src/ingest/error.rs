//! Errors that end the reading of the input. A single unusable row is an exclusion instead.

use std::error::Error;
use std::io;

use super::expansion::is_expanded;
use super::footer::COLUMNS_MAX;

/// An unusable input; a single unusable row is a [`crate::domain::Exclusion`] instead.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// A path pattern is not a valid glob.
    #[error("input pattern \"{pattern}\" is not a valid glob")]
    InvalidPattern {
        /// The pattern as given.
        pattern: String,
        /// The error in the glob.
        #[source]
        source: glob::PatternError,
    },
    /// A path pattern matches no file.
    #[error("input pattern \"{pattern}\" matches no file (looked in {searched})")]
    NoMatch {
        /// The pattern as given.
        pattern: String,
        /// The searched directories, comma-separated.
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
    /// The file's name does not end in a known extension.
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
    /// The file was opened but cannot be read to its end.
    #[error("input file {file} cannot be read{position}")]
    Unreadable {
        /// The file, as the config names it.
        file: String,
        /// " at line N" or " at row N" (1-based) if it is known, otherwise empty.
        position: String,
        /// The error of the system or the decoder.
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
        "input file {file} has no column \"{column}\" for the {field}, and none with a common name; its columns \
         are:{columns}\n\
         name the columns, for example:{mapping}"
    )]
    Unmapped {
        /// The file, as the config names it.
        file: String,
        /// The field of `[input.fields]`.
        field: &'static str,
        /// The column name that the config sets for the field.
        column: String,
        /// The existing columns, one a line.
        columns: String,
        /// A mapping to copy.
        mapping: String,
    },
    /// Two columns of a table have the same requested name.
    #[error("input file {file} has several columns named \"{column}\"")]
    RepeatedColumn {
        /// The file, as the config names it.
        file: String,
        /// The name.
        column: String,
    },
    /// A table has more columns than a plausible input.
    #[error("input file {file} has {columns} columns, expected at most {COLUMNS_MAX}")]
    TooManyColumns {
        /// The file, as the config names it.
        file: String,
        /// The number of columns.
        columns: usize,
    },
    /// A path names something that exists but is not a regular file, so that it cannot be read more than once.
    #[error("input {path} is {found}, not a file")]
    NoRegularFile {
        /// The path as given.
        path: String,
        /// What the path names: a pipe, a directory, ...
        found: &'static str,
    },
    /// A path names a file that the run writes.
    #[error("input {path} is in the output directory of the run")]
    OwnOutput {
        /// The path as given.
        path: String,
    },
    /// No file has a column of `input.keep`.
    #[error("input.keep names \"{column}\", which no row has; the columns are: {columns}")]
    MissingKept {
        /// The column.
        column: String,
        /// The existing columns.
        columns: String,
    },
    /// The content of the file differs from the content that was hashed.
    #[error("input file {file} changed while it was read")]
    Changed {
        /// The file, as the config names it.
        file: String,
    },
    /// A mapped Parquet column has an unsupported type.
    #[error("input file {file} has column \"{column}\" of type {found}, expected text, number, boolean or list")]
    UnsupportedColumn {
        /// The file, as the config names it.
        file: String,
        /// The column.
        column: String,
        /// Its Arrow type.
        found: String,
    },
    /// The answers of a file's choice questions can be interpreted in more than one way.
    #[error(
        "input file {file}, line {line}: the answer \"{answer}\" is {meanings}, and the file does not decide \
             which"
    )]
    AmbiguousAnswers {
        /// The file, as the config names it.
        file: String,
        /// 1-based line; 1-based row in Parquet.
        line: u64,
        /// The beginning of the answer.
        answer: String,
        /// The possible interpretations.
        meanings: String,
        /// Whether the answer may be the text of a choice.
        names_texts: bool,
        /// Whether the answer may be the letter of a choice.
        names_letters: bool,
    },
    /// The answer of a choice question has another form than the other answers, or than the config sets.
    #[error("input file {file}, line {line}: the answer \"{answer}\" is {found}, but {usual}")]
    ContradictingAnswer {
        /// The file, as the config names it.
        file: String,
        /// 1-based line; 1-based row in Parquet.
        line: u64,
        /// The beginning of the answer.
        answer: String,
        /// The possible interpretations.
        found: String,
        /// The expected form, and why.
        usual: String,
    },
}

impl IngestError {
    /// Returns the remedy for the user, as one sentence without a full stop.
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
                "different rows do not compress this well: check the program that wrote the file, or write the file \
                 uncompressed"
            }
            Self::Unreadable { source, .. } if source.to_string().contains("too much memory") => {
                "the zstd window is larger than 2 GiB: compress the file again (at most `zstd --long=31`)"
            }
            Self::Unreadable { source, .. } if source.to_string().contains("expected at most") => {
                "the file exceeds a limit: write it again with smaller pages and fewer columns"
            }
            Self::Unreadable { .. } => "the file may be damaged or truncated: download or write it again",
            Self::NoRows { .. } => "remove the file from input.paths, or check that it was written completely",
            Self::Unmapped { .. } => {
                "set the columns' names under [input.fields]; dots reach into objects (`thinkloom help data`)"
            }
            Self::RepeatedColumn { .. } => "rename one of them, or map another column under [input.fields]",
            Self::TooManyColumns { .. } => "check that the file is a table with a header and one row per line",
            Self::NoRegularFile { .. } => {
                "thinkloom reads inputs more than once: write the data to a file, and name \
                                        the file"
            }
            Self::OwnOutput { .. } => {
                "a run must not read files that it writes: choose another output directory with -o, or remove the path \
                 from input.paths"
            }
            Self::MissingKept { .. } => "correct the name or remove it from input.keep; dots reach into objects",
            Self::Changed { .. } => {
                "thinkloom stored nothing of this file: run the same command again when no program \
                                     writes to the file"
            }
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
                "set input.answer_is to the form of the answers (letter, index0, index1, text), and correct or remove \
                 rows with another form"
            }
            Self::UnsupportedColumn { .. } => {
                "write the column as a string, or map another column under \
                                        [input.fields]"
            }
        })
    }
}
