//! The form of the answers to choice questions in one file.

use super::IngestError;
use super::choices::{Meanings, Named, Reading, letter_of};
use super::fault::Contradiction;
use crate::domain::Origin;

/// The form of the answers in one file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct FileAnswers {
    /// The reading of golds that are not labels, if there are such golds.
    pub(super) reading: Option<Reading>,
    /// Whether a gold is first searched for among the labels.
    pub(super) takes_labels: bool,
    pub(super) has_labels: bool,
}

impl FileAnswers {
    /// Returns the form for a file whose answers have this reading.
    #[cfg(test)]
    pub(super) const fn of(reading: Reading) -> Self {
        Self { reading: Some(reading), takes_labels: true, has_labels: false }
    }

    /// Returns the error for a gold whose form contradicts the other golds of its file.
    pub(super) fn contradicted_by(self, contradiction: Contradiction, origin: &Origin) -> IngestError {
        let Contradiction { answer, found } = contradiction;
        let usual = match self.reading {
            Some(reading) => format!("input.answer_is is \"{}\": {}", reading.name(), reading.phrase()),
            None => "the file had no such answer when it was first read; run the same again".to_owned(),
        };
        IngestError::ContradictingAnswer { file: origin.file.clone(), line: origin.line, answer, found, usual }
    }
}

/// Describes a gold under a reading: `the text of a choice (B)`.
pub(super) fn told(meanings: &Meanings, reading: Reading) -> String {
    match meanings.under(reading) {
        Named::One(place) => format!("{} ({})", reading.phrase(), letter_of(place)),
        Named::Several => format!("{} (of several)", reading.phrase()),
        Named::Nothing => "nothing".to_owned(),
    }
}

/// Describes all possible meanings of a gold.
pub(super) fn all_told(meanings: &Meanings) -> String {
    meanings.readings().map(|reading| told(meanings, reading)).collect::<Vec<_>>().join(", or ")
}
