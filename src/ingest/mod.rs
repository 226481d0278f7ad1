//! From input files to rows: a [`Query`], or an [`Exclusion`] that says what is wrong with the row.
//!
//! Formats, by the file's name: JSON (`.jsonl`, `.ndjson`, `.json-lines`, `.json`; one object a line, objects over
//! several lines, or one list of them), CSV and TSV with a header (`.csv`, `.tsv`), all also with `.gz` (any number of
//! members) or `.zst` on top, and Parquet (`.parquet`). UTF-8, or UTF-16 with a byte order mark; lines end with LF, CRLF
//! or CR; blank lines are no rows, but count as lines.
//!
//! Where the fields of a file are, and what its answers mean, is settled before its first row ([`Plan`]).
//!
//! Reading streams. Memory holds one row of at most 16 MiB (or one batch of 128 Parquet rows) and, per query, an
//! entry of about 100 bytes to notice ids seen twice. Whatever is wrong with one row excludes that row only; an
//! [`IngestError`] is for a file that cannot be read at all, or not to its end, and ends the iteration.
//!
//! It does not know what a question means: duplicates under different ids are the business of [`crate::dedup`].

#![warn(clippy::indexing_slicing)] // what is read here comes from anywhere

mod answers;
mod chat;
mod choices;
mod class_labels;
mod csv_rows;
mod error;
mod expansion;
mod fault;
mod fields;
mod file_answers;
mod footer;
mod format;
mod golds;
mod identity;
mod input_file;
mod json_type;
mod literal;
mod names;
mod options;
mod parquet_rows;
mod paths;
mod plan;
mod preview;
mod raw_row;
mod records;
mod row;
mod row_bytes;
mod row_values;
mod shape;
mod source;
mod stream;
mod texts;
mod thrift;
mod values;
mod wanted;
#[cfg(any(test, feature = "testing"))]
pub mod fuzz;
#[cfg(test)]
mod answers_tests;
#[cfg(test)]
mod bombs_tests;
#[cfg(test)]
mod shapes_tests;
#[cfg(test)]
mod tests;

use std::io::BufRead;

use fault::{Fault, Scope};
use file_answers::FileAnswers;
use format::Layout;
use identity::{ContentHash, SeenIds};
use raw_row::{ROW_BYTES_MAX, RawRow};
use shape::Shape;
use source::{Mended, Source};
use wanted::Wanted;

use crate::domain::{Exclusion, ExclusionReason, Origin, Query, QueryId, QueryLabels};

/// Where the fields of a query are in the input.
pub use crate::config::FieldSettings as FieldNames;
pub use error::IngestError;
pub use identity::NOTE_BYTES;
pub use input_file::InputFile;
pub use options::InputOptions;
pub use paths::{digest_file, expand_paths, without_own_output};
pub use plan::Plan;
pub use preview::Preview;
pub use texts::{Line, Lines, TextRow, read_lines};

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
        Layout::Json => Ok(TableBytes::Lines(stream::open_text(file, format.compression)?.text)),
        Layout::Csv | Layout::Tsv => Err(IngestError::UnknownFormat { file: file.name.clone() }),
        Layout::Parquet => {
            let unopenable = |source| IngestError::Unopenable { file: file.name.clone(), source };
            let mut opened = fs_err::File::open(&file.path).map_err(unopenable)?.into_parts().0;
            footer::check(&mut opened).map_err(|source| IngestError::Unreadable {
                file: file.name.clone(),
                position: String::new(),
                source: Box::new(source),
            })?;
            Ok(TableBytes::Parquet(opened))
        }
    }
}

/// One row of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "nearly all rows are queries")]
pub enum Row {
    /// A well-formed query; no two of one run share an id.
    Query(Query),
    /// A row that gives no query, and why.
    Excluded(Exclusion),
}

/// Reads the rows of all files in order.
///
/// The ordinal counts every row over all files, excluded rows included. The iterator ends after its first error, and
/// all file names are checked for known endings, and all files for what their fields and answers are ([`Plan::settle`]),
/// before the first row.
///
/// # Errors
/// A file with an unknown ending, without rows, that cannot be opened or is damaged, without a field for the question or
/// the answer, or a file whose answers to choice questions leave a doubt.
pub fn read(files: &[InputFile], options: &InputOptions) -> Rows {
    read_with_limit(files, options, ROW_BYTES_MAX)
}

/// Reads the rows of all files but the first ones, which were read before, as they were settled to be read. Behind the
/// last row of each file its bytes are compared with its digest.
///
/// `notes` are those of all queries among the rows that are passed over ([`Rows::note`]): ids are looked for among
/// them, too.
///
/// # Errors
/// As [`read`]; and [`IngestError::Changed`] for a file whose bytes have another digest.
pub fn read_on(
    files: &[InputFile],
    plan: &Plan,
    digests: &[String],
    passed: &Passed,
    notes: impl Iterator<Item = [u8; NOTE_BYTES]>,
) -> Rows {
    let mut rows = read(files, &InputOptions::default());
    notes.for_each(|note| rows.seen.remember(&note));
    let (plan, digests) = (Some(plan.clone()), digests.to_vec());
    Rows { next_file: passed.files, ordinal: passed.rows, plan, digests, ..rows }
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
        plan: None,
        digests: Vec::new(),
        mended: Mended::default(),
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
    plan: Option<Plan>,
    digests: Vec<String>,
    mended: Mended,
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
    InFile { file: usize, source: Box<Source>, shape: Box<Shape>, answers: FileAnswers, is_empty: bool },
    Done,
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
                    if self.plan.is_none() {
                        self.plan = Some(Plan::settle(&self.files, &self.options)?);
                    }
                    self.state = State::BetweenFiles;
                }
                State::BetweenFiles => {
                    let index = self.next_file;
                    let Some(file) = self.files.get(index) else { return Ok(None) };
                    let shape = self.plan.as_ref().map(|plan| plan.shape(index)).unwrap_or_default();
                    let wanted = Wanted::of(&shape.fields, &shape.keep);
                    let source = Box::new(Source::open(file, &wanted, self.bytes_max)?);
                    let answers = self.plan.as_ref().map(|plan| plan.answers(index)).unwrap_or_default();
                    self.next_file += 1;
                    self.state = State::InFile { file: index, source, shape: Box::new(shape), answers, is_empty: true };
                }
                State::InFile { file: index, source, shape, answers, is_empty } => {
                    let Some(file) = self.files.get(*index) else { return Ok(None) };
                    if let Some(raw) = source.next_row(&mut self.mended)? {
                        *is_empty = false;
                        let ordinal = self.ordinal;
                        self.ordinal += 1;
                        let place = Place { files: &self.files, index: *index, file, ordinal };
                        let reader = RowReader { shape, answers: *answers, unread: &mut self.unread };
                        let (row, note) = to_row(raw, reader, &place, &mut self.seen)?;
                        self.note = note;
                        return Ok(Some(row));
                    }
                    if *is_empty {
                        return Err(IngestError::NoRows { file: file.name.clone() });
                    }
                    if let Some(digest) = self.digests.get(*index) {
                        source.check(digest)?;
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
    shape: &'a Shape,
    answers: FileAnswers,
    unread: &'a mut UnreadGolds,
}

fn to_row(raw: RawRow<'_>, reader: RowReader<'_>, place: &Place<'_>, seen: &mut SeenIds) -> Result<Noted, IngestError> {
    let RowReader { shape, answers, unread } = reader;
    let (head, body) = match raw.content {
        Ok(text) => row::parse_row(text, shape, answers),
        Err(fault) => (row::Head::default(), Err(fault)),
    };
    let source = head.source.unwrap_or_else(|| base_name(place.file));
    let origin = Origin { file: place.file.name.clone(), line: raw.line };
    let ordinal = place.ordinal;
    let (id, fault) = match body {
        Err(fault) => (head.id, fault),
        Ok(body) => {
            let content = ContentHash::of(&body);
            let mut id = head.id.unwrap_or_else(|| content.to_id());
            // A column that nobody said to be the id is none where it repeats: in every file it may begin anew.
            if shape.is_id_guessed && seen.is_known(&id) {
                id = content.to_id();
            }
            match repeated_id(&id, content, raw.line, place, seen) {
                Some(fault) => (Some(id), fault),
                None => {
                    let row::Body { kind, question, gold, choices, tests, test_imports, entry_point } = body;
                    let file = u32::try_from(place.index).unwrap_or(u32::MAX);
                    let note = identity::note(&id, content, file, raw.line);
                    let row::Head { subject, category, extra, .. } = head;
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
                        labels: QueryLabels { subject, category, variant_of: None, extra },
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
