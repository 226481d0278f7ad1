//! Decides, over a whole file, the form of its answers to choice questions: letters, numbers from 0 or from 1, or texts.
//!
//! A gold `1` beside the choices `2, 1, 0, 3` is the first choice if choices are counted from 1, and the second if they
//! are counted from 0 or if the gold is a text; no single row decides which. Therefore all choice rows of a file are
//! examined before the first row is used. A reading is possible if, under it, every gold with a meaning names a choice.
//! The file gets its only possible reading. A gold that is a label of its own row's choices needs no reading. Each file
//! is decided separately, because files may come from different datasets, and because an added file must not change the
//! rows of the others.
//!
//! A file is rejected, with the setting to write, if
//! - several readings are possible and differ in some row (only numbers 1, 2, 3 beside four choices);
//! - no reading is possible, because rows contradict each other;
//! - fewer rows contradict another reading than rows have different choices under the two readings: the few rows may be
//!   the bad ones. The exception is counting from 0 or from 1: one 0, or one number as large as the row's number of
//!   choices, decides between them, since every row has another choice under them.

use super::choices::{Meanings, Named, Reading};
use super::fields::excerpt;
use super::file_answers::{FileAnswers, all_told, told};
use super::raw_row::{ROW_BYTES_MAX, RawRow};
use super::shape::Shape;
use super::source::{Mended, Source};
use super::wanted::Wanted;
use super::{FieldNames, IngestError, InputFile, row};
use crate::config::AnswerIs;
use crate::domain::Kind;

/// The form of the answers to choice questions in each file of an input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answers {
    files: Vec<FileAnswers>,
}

impl Answers {
    /// Examines all choice rows of all files if `input.answer_is` leaves the decision to them; reads nothing otherwise.
    ///
    /// # Errors
    /// A file whose answers are ambiguous or contradict each other, and every fault that makes a file unreadable.
    pub(super) fn settle(files: &[InputFile], shapes: &[Shape], answer_is: AnswerIs) -> Result<Self, IngestError> {
        let takes_labels = matches!(answer_is, AnswerIs::Auto | AnswerIs::Letter);
        let of_file = |(file, shape): (&InputFile, &Shape)| {
            if let Some(reading) = Reading::of(answer_is) {
                return Ok(FileAnswers { reading: Some(reading), takes_labels, has_labels: false });
            }
            if shape.kind.is_some_and(|kind| kind != Kind::Choice) {
                return Ok(FileAnswers::default());
            }
            let evidence = Evidence::gather(file, shape)?;
            let reading = evidence.decide().map_err(|doubt| doubt.of_file(file))?;
            Ok(FileAnswers { reading, takes_labels, has_labels: evidence.labelled > 0 })
        };
        Ok(Self { files: files.iter().zip(shapes).map(of_file).collect::<Result<_, IngestError>>()? })
    }

    pub(super) fn of_file(&self, index: usize) -> FileAnswers {
        self.files.get(index).copied().unwrap_or_default()
    }

    /// Returns the decisions as text, for people and for a run's identity: one name if all files with choices agree,
    /// otherwise `file: name` for each file; `None` if no file has choices.
    #[must_use]
    pub(super) fn describe(&self, files: &[InputFile]) -> Option<String> {
        let name = |answers: &FileAnswers| match (answers.reading, answers.has_labels) {
            (Some(reading), true) => Some(format!("label or {}", reading.name())),
            (Some(reading), false) => Some(reading.name().to_owned()),
            (None, true) => Some("label".to_owned()),
            (None, false) => None,
        };
        let named: Vec<(&str, String)> = files
            .iter()
            .zip(&self.files)
            .filter_map(|(file, answers)| Some((file.name.as_str(), name(answers)?)))
            .collect();
        let (_, first) = named.first()?;
        if named.iter().all(|(_, name)| name == first) {
            return Some(first.clone());
        }
        Some(named.iter().map(|(file, name)| format!("{file}: {name}")).collect::<Vec<_>>().join(", "))
    }
}

/// A row that is evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sighting {
    line: u64,
    gold: String,
    meanings: Meanings,
}

/// Rows that are evidence: their number, and the first of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Sightings {
    count: u64,
    first: Option<Sighting>,
}

impl Sightings {
    fn add(&mut self, line: u64, gold: &str, meanings: &Meanings) {
        self.count += 1;
        self.first.get_or_insert_with(|| Sighting { line, gold: gold.to_owned(), meanings: *meanings });
    }
}

/// The combined evidence of the choice rows of one file.
#[derive(Debug, Default)]
struct Evidence {
    /// Golds that are labels.
    labelled: u64,
    /// Other golds with a meaning.
    rows: u64,
    /// Per reading: golds that have a meaning, but none under it.
    against: [Sightings; 4],
    /// Per pair of readings: golds that name different choices under them.
    apart: [[Sightings; 4]; 4],
}

#[expect(clippy::indexing_slicing, reason = "the tables have an entry for each reading")]
impl Evidence {
    fn gather(file: &InputFile, shape: &Shape) -> Result<Self, IngestError> {
        // Other columns of tables are not read, because they decide nothing here.
        let FieldNames { kind, choices, answer, question, .. } = shape.fields.clone();
        let fields = FieldNames { kind, choices, answer, question, ..FieldNames::none() };
        let mut source = Source::open(file, &Wanted::of(&fields, &[]), ROW_BYTES_MAX)?;
        let mut evidence = Self::default();
        let first = fields.choices.split(['.', '+']).next().unwrap_or_default();
        if source
            .columns()
            .is_some_and(|columns| !columns.iter().any(|column| *column == fields.choices || column == first))
        {
            return Ok(evidence);
        }
        let mut mended = Mended::default();
        while let Some(RawRow { line, content }) = source.next_row(&mut mended)? {
            let Some((gold, meanings)) = content.ok().and_then(|text| row::meanings(text, shape)) else { continue };
            evidence.add(line, &gold, &meanings);
        }
        Ok(evidence)
    }

    fn add(&mut self, line: u64, gold: &str, meanings: &Meanings) {
        if meanings.label != Named::Nothing {
            self.labelled += 1;
            return;
        }
        if meanings.readings().next().is_none() {
            return;
        }
        self.rows += 1;
        for reading in Reading::ALL {
            if meanings.under(reading) == Named::Nothing {
                self.against[reading as usize].add(line, gold, meanings);
                continue;
            }
            let others = meanings.readings().filter(|other| *other > reading);
            for other in others.filter(|other| meanings.under(*other) != meanings.under(reading)) {
                self.apart[reading as usize][other as usize].add(line, gold, meanings);
            }
        }
    }

    /// Returns the rows with different choices under two readings.
    fn apart(&self, one: Reading, other: Reading) -> &Sightings {
        &self.apart[one.min(other) as usize][one.max(other) as usize]
    }

    fn decide(&self) -> Result<Option<Reading>, Doubt> {
        if self.rows == 0 {
            return Ok(None);
        }
        let possible: Vec<Reading> =
            Reading::ALL.into_iter().filter(|reading| self.against[*reading as usize].count == 0).collect();
        let Some(&chosen) = possible.first() else { return Err(self.contradiction()) };
        let is_counted = |reading: Reading| matches!(reading, Reading::Index0 | Reading::Index1);
        let rival = Reading::ALL.into_iter().filter(|other| *other != chosen).find(|&other| {
            let (against, apart) = (self.against[other as usize].count, self.apart(chosen, other).count);
            let is_told_by_one = is_counted(chosen) && is_counted(other) && against > 0;
            apart > against && !is_told_by_one
        });
        let Some(rival) = rival else { return Ok(Some(chosen)) };
        match &self.apart(chosen, rival).first {
            Some(sighting) => Err(Doubt::Ambiguous(sighting.clone(), [chosen, rival])),
            None => Ok(Some(chosen)),
        }
    }

    /// Returns the reading that most rows allow, and the first row that does not allow it.
    fn contradiction(&self) -> Doubt {
        let usual = Reading::ALL.into_iter().min_by_key(|reading| self.against[*reading as usize].count);
        let usual = usual.unwrap_or(Reading::Letter);
        let against = &self.against[usual as usize];
        let sighting = against.first.clone().unwrap_or_else(|| Sighting {
            line: 0,
            gold: String::new(),
            meanings: Meanings::of("", &super::choices::Choices::default()),
        });
        Doubt::Contradiction { sighting, usual, fitting: self.rows - against.count }
    }
}

/// The reason why a file has no reading.
#[derive(Debug)]
enum Doubt {
    /// Two readings are possible, and this row has different choices under them.
    Ambiguous(Sighting, [Reading; 2]),
    /// Most rows have one reading, and this row contradicts it.
    Contradiction { sighting: Sighting, usual: Reading, fitting: u64 },
}

impl Doubt {
    fn of_file(self, file: &InputFile) -> IngestError {
        let file = file.name.clone();
        match self {
            Self::Ambiguous(Sighting { line, gold, meanings }, readings) => IngestError::AmbiguousAnswers {
                file,
                line,
                answer: excerpt(&gold),
                meanings: readings.map(|reading| told(&meanings, reading)).join(", or "),
                names_texts: readings.contains(&Reading::Text),
                names_letters: readings.contains(&Reading::Letter),
            },
            Self::Contradiction { sighting: Sighting { line, gold, meanings }, usual, fitting } => {
                let answer = excerpt(&gold);
                let usual = format!("{fitting} answers of the file are each {}", usual.phrase());
                IngestError::ContradictingAnswer { file, line, answer, found: all_told(&meanings), usual }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::choices::Choices;
    use super::*;

    /// Decides over rows of a gold and its choices, separated by blanks.
    fn decide(rows: &[(&str, &str)]) -> Result<Option<Reading>, Doubt> {
        let mut evidence = Evidence::default();
        for (line, (gold, texts)) in (1..).zip(rows) {
            let texts = texts.split(' ').map(str::to_owned).collect();
            evidence.add(line, gold, &Meanings::of(gold, &Choices { texts, labels: Vec::new() }));
        }
        evidence.decide()
    }

    fn decided(rows: &[(&str, &str)]) -> Option<Reading> {
        decide(rows).unwrap_or_else(|doubt| panic!("{rows:?}: {doubt:?}"))
    }

    #[track_caller]
    fn assert_ambiguous(rows: &[(&str, &str)], line: u64, readings: [Reading; 2]) {
        match decide(rows) {
            Err(Doubt::Ambiguous(sighting, found)) => assert_eq!((sighting.line, found), (line, readings), "{rows:?}"),
            other => panic!("{rows:?}: {other:?}"),
        }
    }

    const WORDS: &str = "ice sand fire wood";

    #[test]
    fn one_zero_or_one_number_as_large_as_the_choices_tells_where_counting_starts() {
        use Reading::{Index0, Index1};
        assert_eq!(decided(&[("1", WORDS), ("2", WORDS), ("0", WORDS)]), Some(Index0));
        assert_eq!(decided(&[("1", WORDS), ("2", WORDS), ("4", WORDS)]), Some(Index1));
        // The number of choices may differ from row to row.
        assert_eq!(decided(&[("1", WORDS), ("3", WORDS), ("2", "ice sand")]), Some(Index1));
        assert_ambiguous(&[("1", WORDS), ("2", WORDS), ("3", WORDS)], 1, [Index0, Index1]);
        assert!(matches!(decide(&[("0", WORDS), ("4", WORDS)]), Err(Doubt::Contradiction { .. })));
        // A gold without a meaning under any reading is no evidence: it is one bad row.
        assert_eq!(decided(&[("0", WORDS), ("7", WORDS), ("-1", WORDS), ("iron", WORDS)]), Some(Index0));
    }

    #[test]
    fn letters_and_texts_are_told_by_the_file_even_where_a_choice_reads_like_a_letter() {
        assert_eq!(decided(&[("B", WORDS), ("c", WORDS)]), Some(Reading::Letter));
        assert_eq!(decided(&[("fire", WORDS), ("ICE", WORDS)]), Some(Reading::Text));
        assert_eq!(decided(&[("B", WORDS), ("C", "A C G T")]), Some(Reading::Letter));
        assert_eq!(decided(&[("fire", WORDS), ("C", "A C G T")]), Some(Reading::Text));
        assert_eq!(decided(&[("B", "A B C D")]), Some(Reading::Letter), "it is the same choice either way");
        assert_ambiguous(&[("C", "A C G T")], 1, [Reading::Letter, Reading::Text]);
        assert_eq!(decided(&[]), None);
        assert_eq!(decided(&[("gold", WORDS)]), None);
    }

    #[test]
    fn numbers_that_are_texts_and_indices_follow_the_rest_of_the_file_or_refuse_it() {
        use Reading::{Index0, Index1, Text};
        let both = ("1", "2 1 0 3");
        assert_eq!(decided(&[("0", WORDS), ("3", WORDS), both]), Some(Index0));
        assert_eq!(decided(&[("17", "17 4 3 2"), ("29", "3 29 2 1"), ("1", "2 3 1 4")]), Some(Text));
        assert_ambiguous(&[both], 1, [Index0, Index1]);
        assert_ambiguous(&[("0", "2 1 0 3"), ("3", "0 3 2 1")], 1, [Index0, Text]);
        // One row against many rows may be a bad one.
        let many = ("1", "1 5 3 2");
        assert_ambiguous(&[many, ("0", WORDS), many, ("0", "3 0 1 2"), many], 1, [Index0, Text]);
        assert_eq!(decided(&[("1", "0 1 2 3"), ("0", "0 1 2 3")]), Some(Index0), "it is the same choice either way");
    }

    #[test]
    fn rows_that_contradict_each_other_are_named_with_what_most_rows_are() {
        for (rows, at, reading) in [
            (&[("B", WORDS), ("C", WORDS), ("2", WORDS)][..], 3, Reading::Letter),
            (&[("0", WORDS), ("fire", WORDS), ("1", WORDS)], 2, Reading::Index0),
            (&[("fire", WORDS), ("ice", WORDS), ("A", WORDS)], 3, Reading::Text),
        ] {
            match decide(rows) {
                Err(Doubt::Contradiction { sighting, usual, fitting }) => {
                    assert_eq!((sighting.line, usual, fitting), (at, reading, 2), "{rows:?}");
                }
                other => panic!("{rows:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn labels_need_no_reading_and_rows_without_them_keep_theirs() {
        let labelled = Choices {
            texts: ["4", "6", "8", "3"].map(str::to_owned).to_vec(),
            labels: ["1", "2", "3", "4"].map(str::to_owned).to_vec(),
        };
        let mut evidence = Evidence::default();
        evidence.add(1, "3", &Meanings::of("3", &labelled));
        assert_eq!((evidence.decide().unwrap(), evidence.labelled), (None, 1));
        evidence.add(2, "B", &Meanings::of("B", &labelled));
        assert_eq!(evidence.decide().unwrap(), Some(Reading::Letter));
    }

    #[test]
    fn what_was_found_is_told_in_one_word_where_files_agree() {
        let file = |name: &str| InputFile { name: name.to_owned(), path: name.into() };
        let files = ["a", "b", "c"].map(file);
        let of = |reading, has_labels| FileAnswers { reading, takes_labels: true, has_labels };
        let told = |files_answers: &[FileAnswers]| Answers { files: files_answers.to_vec() }.describe(&files);
        let index0 = of(Some(Reading::Index0), false);
        assert_eq!(told(&[index0, of(None, false), index0]).as_deref(), Some("index0"));
        assert_eq!(told(&[index0, of(None, true)]).as_deref(), Some("a: index0, b: label"));
        assert_eq!(told(&[of(Some(Reading::Letter), true)]).as_deref(), Some("label or letter"));
        assert_eq!(told(&[of(None, false)]), None);
    }
}
