//! From input files to rows: a [`Query`], or an [`Exclusion`] that says what is wrong with the row.
//!
//! Formats, by the file's name: JSON lines (`.jsonl`, `.ndjson`, `.json-lines`) and CSV with a header (`.csv`), both
//! also with `.gz` (any number of members) or `.zst` on top, and Parquet (`.parquet`). UTF-8; a byte order mark is
//! skipped; lines end with LF or CRLF; blank lines are no rows, but count as lines.
//!
//! Reading streams. Memory holds one row of at most 16 MiB (or one batch of 128 Parquet rows) and, per query, an
//! entry of about 100 bytes to notice ids seen twice. Whatever is wrong with one row excludes that row only; an
//! [`IngestError`] is for a file that cannot be read at all, or not to its end, and ends the iteration.
//!
//! It does not know what a question means: duplicates under different ids are the business of [`crate::dedup`].

mod answers;
mod choices;
mod class_labels;
mod csv_rows;
mod error;
mod format;
mod identity;
mod literal;
mod parquet_rows;
mod paths;
mod records;
mod row;
mod texts;
#[cfg(test)]
mod answers_tests;
#[cfg(test)]
mod tests;

use std::io::BufRead;

use answers::FileAnswers;
use csv_rows::CsvRows;
use format::Layout;
use identity::{ContentHash, SeenIds};
use parquet_rows::ParquetRows;
use records::{Content, Framing, RecordReader};
use row::{Fault, Scope};

use crate::config::AnswerIs;
use crate::domain::{Exclusion, ExclusionReason, Kind, Origin, Query, QueryId, QueryLabels};

/// Where the fields of a query are in the input.
pub use crate::config::FieldSettings as FieldNames;
pub use answers::Answers;
pub use error::IngestError;
pub use identity::NOTE_BYTES;
pub use paths::{InputFile, digest_file, expand_paths};
pub use texts::{Line, Lines, TextRow, read_lines, read_text_row};

/// How the rows of a table that is no set of queries can be read.
pub enum TableBytes {
    /// JSON lines, decompressed.
    Lines(Box<dyn BufRead + Send>),
    /// A Parquet file, at its start.
    Parquet(std::fs::File),
}

/// Opens a file of rows of any kind, JSON lines (also compressed) or Parquet, by its name's ending.
///
/// # Errors
/// A file with another ending, or that cannot be opened.
pub fn open_table(file: &InputFile) -> Result<TableBytes, IngestError> {
    let format = format::format_of(file)?;
    match format.layout {
        Layout::JsonLines => Ok(TableBytes::Lines(format::open_text(file, format.compression)?)),
        Layout::Csv => Err(IngestError::UnknownFormat { file: file.name.clone() }),
        Layout::Parquet => {
            let unopenable = |source| IngestError::Unopenable { file: file.name.clone(), source };
            Ok(TableBytes::Parquet(fs_err::File::open(&file.path).map_err(unopenable)?.into_parts().0))
        }
    }
}

/// Most bytes of one row, line end not counted.
const ROW_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How rows are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InputOptions {
    /// Where the fields are.
    pub fields: FieldNames,
    /// One kind for all rows; the rows' own kinds are then not looked at.
    pub kind: Option<Kind>,
    /// What the answers of choice questions are.
    pub answer_is: AnswerIs,
}

/// One row of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// A well-formed query; no two of one run share an id.
    Query(Query),
    /// A row that gives no query, and why.
    Excluded(Exclusion),
}

/// Reads the rows of all files in order.
///
/// The ordinal counts every row over all files, excluded rows included. The iterator ends after its first error, and
/// all file names are checked for known endings before the first row. So are, where `answer_is` leaves it to the files,
/// the answers of all choice questions ([`Answers::settle`]).
///
/// # Errors
/// A file with an unknown ending, without rows, that cannot be opened or is damaged, a table without a column for
/// the question, or a file whose answers to choice questions leave a doubt.
pub fn read(files: &[InputFile], options: &InputOptions) -> Rows {
    read_with_limit(files, options, ROW_BYTES_MAX)
}

/// Reads the rows of all files but the first ones, which were read before. What the answers of choice questions are was
/// settled before.
///
/// `notes` are those of all queries among the rows that are passed over ([`Rows::note`]): ids are looked for among
/// them, too.
///
/// # Errors
/// As [`read`].
pub fn read_on(
    files: &[InputFile],
    options: &InputOptions,
    answers: &Answers,
    passed: &Passed,
    notes: impl Iterator<Item = [u8; NOTE_BYTES]>,
) -> Rows {
    let mut rows = read(files, options);
    notes.for_each(|note| rows.seen.remember(&note));
    Rows { next_file: passed.files, ordinal: passed.rows, answers: Some(answers.clone()), ..rows }
}

/// The beginning of an input, which was read before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// Files.
    pub files: usize,
    /// Rows in them.
    pub rows: u64,
}

fn read_with_limit(files: &[InputFile], options: &InputOptions, bytes_max: usize) -> Rows {
    Rows {
        files: files.to_vec(),
        options: options.clone(),
        bytes_max,
        state: State::Unchecked,
        next_file: 0,
        ordinal: 0,
        seen: SeenIds::default(),
        note: None,
        answers: None,
        unread: UnreadGolds::default(),
    }
}

/// The iterator that [`read`] returns.
pub struct Rows {
    files: Vec<InputFile>,
    options: InputOptions,
    bytes_max: usize,
    state: State,
    next_file: usize,
    ordinal: u64,
    seen: SeenIds,
    note: Option<[u8; NOTE_BYTES]>,
    answers: Option<Answers>,
    unread: UnreadGolds,
}

/// Golds that are there and cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnreadGolds {
    /// How many.
    pub count: u64,
    /// The first in the order of rows: its ordinal, and `file:line: what is wrong`.
    pub first: Option<(u64, String)>,
}

impl UnreadGolds {
    /// Counts one; they come in the order of rows.
    pub fn add(&mut self, ordinal: u64, origin: &Origin, detail: &str) {
        self.count += 1;
        self.first.get_or_insert_with(|| (ordinal, format!("{}:{}: {detail}", origin.file, origin.line)));
    }

    /// Adds others, from among the same rows.
    pub fn join(&mut self, others: &Self) {
        self.count += others.count;
        let firsts = self.first.take().into_iter().chain(others.first.clone());
        self.first = firsts.min_by_key(|(ordinal, _)| *ordinal);
    }
}

enum State {
    Unchecked,
    BetweenFiles,
    InFile { file: usize, source: Box<Source>, is_empty: bool },
    Done,
}

/// One row before it is taken apart.
struct RawRow<'a> {
    /// 1-based line; 1-based row in Parquet.
    line: u64,
    /// A JSON object as text, or why there is none.
    content: Result<&'a str, Fault>,
}

enum Source {
    Lines { file: String, records: RecordReader, bytes_max: usize },
    Csv(CsvRows),
    Parquet(ParquetRows),
}

impl Source {
    fn open(file: &InputFile, options: &InputOptions, bytes_max: usize) -> Result<Self, IngestError> {
        let format = format::format_of(file)?;
        let text = || -> Result<Box<dyn BufRead + Send>, IngestError> { format::open_text(file, format.compression) };
        Ok(match format.layout {
            Layout::JsonLines => Self::Lines {
                file: file.name.clone(),
                records: RecordReader::new(text()?, Framing::Lines, bytes_max),
                bytes_max,
            },
            Layout::Csv => Self::Csv(CsvRows::open(file, text()?, &options.fields, bytes_max)?),
            Layout::Parquet => Self::Parquet(ParquetRows::open(file, &options.fields, bytes_max)?),
        })
    }

    /// Returns whether rows may have a field; of lines nobody knows before they are read.
    fn may_hold(&self, name: &str) -> bool {
        match self {
            Self::Lines { .. } => true,
            Self::Csv(rows) => rows.has_column(name),
            Self::Parquet(rows) => rows.has_column(name),
        }
    }

    fn next_row(&mut self) -> Result<Option<RawRow<'_>>, IngestError> {
        match self {
            Self::Lines { file, records, bytes_max } => next_line(file, records, *bytes_max),
            Self::Csv(rows) => rows.next_row(),
            Self::Parquet(rows) => rows.next_row(),
        }
    }
}

fn next_line<'a>(
    file: &str,
    records: &'a mut RecordReader,
    bytes_max: usize,
) -> Result<Option<RawRow<'a>>, IngestError> {
    let start = records.line();
    let record = records.next_record().map_err(|error| unreadable_at_line(file, start, error))?;
    Ok(record.map(|record| RawRow {
        line: record.line,
        content: match record.content {
            Content::Whole(bytes) => std::str::from_utf8(bytes).map_err(|error| {
                let place = error.valid_up_to() + 1;
                let detail = format!("the line is not UTF-8 from byte {place} on, expected UTF-8 text");
                Fault::new(ExclusionReason::InvalidUtf8, detail)
            }),
            Content::TooLong(bytes) => Err(too_long(bytes, bytes_max)),
            Content::Torn => Err(Fault::new(ExclusionReason::InvalidSyntax, "the line is torn")),
        },
    }))
}

fn too_long(bytes: u64, bytes_max: usize) -> Fault {
    let detail = format!("the row has {bytes} bytes, expected at most {bytes_max}");
    Fault::new(ExclusionReason::RowTooLong, detail)
}

fn unreadable_at_line(file: &str, line: u64, source: std::io::Error) -> IngestError {
    IngestError::Unreadable { file: file.to_owned(), position: format!(" at line {line}"), source: Box::new(source) }
}

impl Iterator for Rows {
    type Item = Result<Row, IngestError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance().transpose();
        if !matches!(item, Some(Ok(_))) {
            self.state = State::Done;
        }
        item
    }
}

impl Rows {
    /// Returns the note of the latest row, if it was a query.
    #[must_use]
    pub const fn note(&self) -> Option<[u8; NOTE_BYTES]> {
        self.note
    }

    /// Returns the index of the file that the latest row came from.
    #[must_use]
    pub const fn file(&self) -> usize {
        self.next_file.saturating_sub(1)
    }

    /// Returns the golds so far that choice questions have and that name none of their choices.
    #[must_use]
    pub const fn unread_golds(&self) -> &UnreadGolds {
        &self.unread
    }

    fn advance(&mut self) -> Result<Option<Row>, IngestError> {
        loop {
            match &mut self.state {
                State::Done => return Ok(None),
                State::Unchecked => {
                    for file in &self.files {
                        format::format_of(file)?;
                    }
                    if self.answers.is_none() {
                        self.answers = Some(Answers::settle(&self.files, &self.options)?);
                    }
                    self.state = State::BetweenFiles;
                }
                State::BetweenFiles => {
                    let index = self.next_file;
                    let Some(file) = self.files.get(index) else { return Ok(None) };
                    let source = Box::new(Source::open(file, &self.options, self.bytes_max)?);
                    self.next_file += 1;
                    self.state = State::InFile { file: index, source, is_empty: true };
                }
                State::InFile { file: index, source, is_empty } => {
                    let Some(file) = self.files.get(*index) else { return Ok(None) };
                    if let Some(raw) = source.next_row()? {
                        *is_empty = false;
                        let ordinal = self.ordinal;
                        self.ordinal += 1;
                        let place = Place { files: &self.files, index: *index, file, ordinal };
                        let answers = self.answers.as_ref().map(|answers| answers.of_file(*index)).unwrap_or_default();
                        let reader = RowReader { options: &self.options, answers, unread: &mut self.unread };
                        let (row, note) = to_row(raw, reader, &place, &mut self.seen)?;
                        self.note = note;
                        return Ok(Some(row));
                    }
                    if *is_empty {
                        return Err(IngestError::NoRows { file: file.name.clone() });
                    }
                    self.state = State::BetweenFiles;
                }
            }
        }
    }
}

/// Where a row stands in the whole input.
struct Place<'a> {
    files: &'a [InputFile],
    index: usize,
    file: &'a InputFile,
    ordinal: u64,
}

type Noted = (Row, Option<[u8; NOTE_BYTES]>);

/// How the rows of a file are read.
struct RowReader<'a> {
    options: &'a InputOptions,
    answers: FileAnswers,
    unread: &'a mut UnreadGolds,
}

fn to_row(raw: RawRow<'_>, reader: RowReader<'_>, place: &Place<'_>, seen: &mut SeenIds) -> Result<Noted, IngestError> {
    let RowReader { options, answers, unread } = reader;
    let (head, body) = match raw.content {
        Ok(text) => row::parse_row(text, options, answers),
        Err(fault) => (row::Head::default(), Err(fault)),
    };
    let source = head.source.unwrap_or_else(|| base_name(place.file));
    let origin = Origin { file: place.file.name.clone(), line: raw.line };
    let ordinal = place.ordinal;
    let (id, fault) = match body {
        Err(fault) => (head.id, fault),
        Ok(body) => {
            let content = ContentHash::of(&body);
            let id = head.id.unwrap_or_else(|| content.to_id());
            match repeated_id(&id, content, raw.line, place, seen) {
                Some(fault) => (Some(id), fault),
                None => {
                    let row::Body { kind, question, gold, choices, tests, test_imports, entry_point } = body;
                    let file = u32::try_from(place.index).unwrap_or(u32::MAX);
                    let note = identity::note(&id, content, file, raw.line);
                    let (subject, category) = (head.subject, head.category);
                    let query = Query {
                        id: QueryId(id),
                        ordinal,
                        source,
                        origin,
                        kind,
                        question,
                        gold,
                        choices,
                        tests,
                        test_imports,
                        entry_point,
                        labels: QueryLabels { subject, category, variant_of: None },
                    };
                    return Ok((Row::Query(query), Some(note)));
                }
            }
        }
    };
    let Fault { reason, detail, scope } = fault;
    match scope {
        Scope::Row => {}
        Scope::Gold => unread.add(ordinal, &origin, &detail),
        Scope::File(contradiction) => return Err(answers.contradicted_by(contradiction, &origin)),
    }
    Ok((Row::Excluded(Exclusion { query_id: id.map(QueryId), ordinal, source, origin, reason, detail }), None))
}

fn repeated_id(id: &str, content: ContentHash, line: u64, place: &Place<'_>, seen: &mut SeenIds) -> Option<Fault> {
    let file = u32::try_from(place.index).unwrap_or(u32::MAX);
    let first = seen.note(id, content, file, line)?;
    let name = place.files.get(first.file as usize).map_or("?", |file| file.name.as_str());
    Some(if first.same_content {
        Fault::new(ExclusionReason::Duplicate, format!("same id and content as {name}:{}", first.line))
    } else {
        let detail = format!("same id as {name}:{} with other content, expected one content per id", first.line);
        Fault::new(ExclusionReason::DuplicateId, detail)
    })
}

fn base_name(file: &InputFile) -> String {
    file.path.file_name().map_or_else(|| file.name.clone(), |name| name.to_string_lossy().into_owned())
}
