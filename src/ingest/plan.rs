//! The decisions about the files of an input before their rows are read.

use super::answers::Answers;
use super::file_answers::FileAnswers;
use super::shape::{self, Shape};
use super::{IngestError, InputFile, InputOptions, format};
use crate::config::AnswerIs;

/// The interpretation of each file: the columns of its fields, and the form of the answers to its choice questions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    shapes: Vec<Shape>,
    answers: Answers,
    is_auto: bool,
}

impl Plan {
    /// Examines the beginning of every file and, if `input.answer_is` leaves the decision to the files, all choice
    /// rows.
    ///
    /// # Errors
    /// A file without a column for the question or the answer; a file whose answers are ambiguous or contradict each
    /// other; a kept column that no file has; and every fault that makes a file unreadable.
    pub fn settle(files: &[InputFile], options: &InputOptions) -> Result<Self, IngestError> {
        for file in files {
            format::format_of(file)?;
        }
        let shapes = files.iter().map(|file| Shape::settle(file, options)).collect::<Result<Vec<_>, _>>()?;
        shape::missing_kept(files, options)?;
        let answers = Answers::settle(files, &shapes, options.answer_is)?;
        Ok(Self { shapes, answers, is_auto: options.answer_is == AnswerIs::Auto })
    }

    pub(super) fn shape(&self, index: usize) -> Shape {
        self.shapes.get(index).cloned().unwrap_or_default()
    }

    pub(super) fn answers(&self, index: usize) -> FileAnswers {
        self.answers.of_file(index)
    }

    /// Returns the form of the answers to choice questions, if the files decided it and have choice questions.
    #[must_use]
    pub fn describe_answers(&self, files: &[InputFile]) -> Option<String> {
        if self.is_auto { self.answers.describe(files) } else { None }
    }

    /// Returns all decisions about a file's fields, for a digest.
    #[must_use]
    pub fn key(&self, index: usize) -> String {
        self.shapes.get(index).map(Shape::key).unwrap_or_default()
    }

    /// Returns the guesses and remarks for the user: one line per file that has any, and one line for all files of one
    /// dataset.
    #[must_use]
    pub fn remarks(&self, files: &[InputFile]) -> Vec<String> {
        let mut found: Vec<(String, Vec<&str>)> = Vec::new();
        for (file, shape) in files.iter().zip(&self.shapes) {
            let guessed =
                shape.guessed().map(|lines| format!("fields were guessed; to write under [input.fields]: {lines}"));
            let lines: Vec<String> = guessed.into_iter().chain(shape.remarks()).collect();
            if lines.is_empty() {
                continue;
            }
            let text = lines.join("; ");
            match found.iter_mut().find(|(known, _)| *known == text) {
                Some((_, names)) => names.push(&file.name),
                None => found.push((text, vec![&file.name])),
            }
        }
        let line = |(text, names): (String, Vec<&str>)| match names.as_slice() {
            [first, _, .., last] => format!("{first} to {last} ({} files): {text}", names.len()),
            _ => format!("{}: {text}", names.join(", ")),
        };
        found.into_iter().map(line).collect()
    }
}
