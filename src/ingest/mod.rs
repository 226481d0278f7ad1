//! Reads input files as rows: each row is a [`Query`], or an [`Exclusion`] with the row's fault.
//!
//! Formats, by the file's name: JSON (`.jsonl`, `.ndjson`, `.json-lines`, `.json`; one object per line, objects over
//! several lines, or one list of objects), CSV and TSV with a header (`.csv`, `.tsv`), all of these also with `.gz`
//! (any number of members) or `.zst`, and Parquet (`.parquet`). The encoding is UTF-8, or UTF-16 with a byte order
//! mark. Lines end with LF, CRLF or CR. Blank lines are not rows, but count as lines.
//!
//! # Files
//!
//! | file | role |
//! |---|---|
//! | `mod.rs` | [`read`], [`read_on`]: the iterator over all rows |
//! | `paths`, `input_file`, `format` | path patterns to files; the format from the name |
//! | `source` | one open file of any format |
//! | `stream`, `expansion` | text files: bytes to text; the bound on unpacked bytes |
//! | `records`, `values` | text to lines or CSV records; text to JSON values |
//! | `csv_rows` | CSV and TSV records as JSON objects |
//! | `parquet_rows`, `row_bytes`, `class_labels` | Parquet rows as JSON objects |
//! | `footer`, `thrift` | checks of the sizes that a Parquet file claims |
//! | [`Plan`], `shape`, `names`, `wanted` | the columns of the fields, decided once per file |
//! | `answers`, `file_answers`, `choices` | the form of the answers to choice questions, decided once per file |
//! | `row`, `row_values`, `fields`, `golds`, `chat`, `literal` | from a JSON object to a query's content or fault |
//! | `identity` | ids from content; repeated ids |
//! | `preview`, `texts` | a preview of each file; rows as texts for comparison |
//!
//! # Bounds
//!
//! Files are streamed. Memory holds one row of at most 16 MiB (or one batch of 128 Parquet rows) and, per query, an
//! entry of about 100 bytes that detects repeated ids. A fault of one row excludes only that row. An [`IngestError`] is
//! a fault of a whole file, which cannot be read at all or not to its end; it ends the iteration.
//!
//! This room does not interpret questions: [`crate::dedup`] finds duplicates under different ids.

#![warn(clippy::indexing_slicing)] // input files are untrusted

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

/// The columns of a query's fields.
pub use crate::config::FieldSettings as FieldNames;
pub use error::IngestError;
pub use identity::NOTE_BYTES;
pub use input_file::InputFile;
pub use options::InputOptions;
pub use paths::{digest_file, expand_paths, without_own_output};
pub use plan::Plan;
pub use preview::Preview;
pub use texts::{Line, Lines, TextRow, read_lines};

/// The rows of a table that need not be queries.
pub enum TableBytes {
    /// JSON lines, decompressed.
    Lines(Box<dyn BufRead + Send>),
    /// A Parquet file, at its start.
    Parquet(std::fs::File),
}

/// Opens a file of rows of any kind, JSON lines (also compressed) or Parquet, by the ending of its name.
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
    /// The exclusion of a row without a query.
    Excluded(Exclusion),
}

/// Reads the rows of all files in order.
///
/// The ordinal counts every row over all files, including excluded rows. The iterator ends after its first error.
/// Before the first row, the endings of all file names are checked, and the columns and answers of all files are
/// determined ([`Plan::settle`]).
///
/// # Errors
/// A file with an unknown ending; a file without rows; a file that cannot be opened or is damaged; a file without a
/// column for the question or the answer; a file whose answers to choice questions are ambiguous.
pub fn read(files: &[InputFile], options: &InputOptions) -> Rows {
    read_with_limit(files, options, ROW_BYTES_MAX)
}

/// Reads the rows after the first files, which were read before, with the plan of the earlier reading. After the last
/// row of each file, the file's bytes are compared with its digest.
///
/// `notes` are the notes of all queries in the files that are skipped ([`Rows::note`]): they detect ids that repeat an
/// id of those queries.
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

/// The beginning of an input that was read before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// The number of files.
    pub files: usize,
    /// The number of rows in these files.
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

/// Golds that exist and are unreadable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnreadGolds {
    /// The number of these golds.
    pub count: u64,
    /// The first of them in the order of rows: its ordinal, and `file:line: fault`.
    pub first: Option<(u64, String)>,
}

impl UnreadGolds {
    /// Counts one gold. Call it in the order of rows.
    pub fn add(&mut self, ordinal: u64, origin: &Origin, detail: &str) {
        self.count += 1;
        self.first.get_or_insert_with(|| (ordinal, format!("{}:{}: {detail}", origin.file, origin.line)));
    }

    /// Adds the counts of others from the same input.
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

    /// Returns the index of the file that contains the latest row.
    #[must_use]
    pub const fn file(&self) -> usize {
        self.next_file.saturating_sub(1)
    }

    /// Returns the golds of choice questions so far that name none of the choices.
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

/// The place of a row in the whole input.
struct Place<'a> {
    files: &'a [InputFile],
    index: usize,
    file: &'a InputFile,
    ordinal: u64,
}

type Noted = (Row, Option<[u8; NOTE_BYTES]>);

/// The interpretation of a file's rows.
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
            // An id column that was guessed is ignored where it repeats an id: each file may number its rows from the
            // start.
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
