//! Reads the rows of a table as JSON texts. A table is JSON lines (also compressed), a Parquet file, a directory of
//! Parquet files, or the rollouts of a run. One chunk of rows is in memory at a time.

use std::io::{BufRead, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use arrow::json::LineDelimitedWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use crate::ingest::{InputFile, TableBytes, open_table};
use crate::sys::files::temporary_dir;
use crate::sys::staged::StagedDir;

/// The maximum rows of a chunk.
const CHUNK_ROWS: usize = 4096;
/// The bytes after which a chunk of JSON lines ends.
const CHUNK_BYTES: usize = 8 << 20;

/// Consecutive rows of one file.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    text: Vec<u8>,
    rows: Vec<(Range<usize>, u64)>,
}

impl Chunk {
    /// Returns the rows: the JSON text and the 1-based number of the line (in Parquet: of the row) in the file.
    pub(super) fn rows(&self) -> Vec<(&[u8], u64)> {
        self.rows.iter().map(|(range, line)| (self.text.get(range.clone()).unwrap_or_default(), *line)).collect()
    }

    fn clear(&mut self) {
        self.text.clear();
        self.rows.clear();
    }
}

/// The files of a table. Can be read several times.
pub(super) struct Table {
    files: Vec<InputFile>,
    /// The copy of stdin; dropping the directory deletes it.
    _spooled: Option<StagedDir>,
}

impl Table {
    /// Finds the files of a path; `-` is JSON lines on stdin.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        if path.as_os_str() == "-" {
            let spooled = temporary_dir()?;
            let path = spooled.path().join("stdin.jsonl");
            let mut kept = fs_err::File::create(&path)?;
            std::io::copy(&mut std::io::stdin().lock(), &mut kept).context("cannot copy stdin to a temporary file")?;
            kept.flush()?;
            let file = InputFile { name: "stdin".to_owned(), path };
            return Ok(Self { files: vec![file], _spooled: Some(spooled) });
        }
        let file = |path: PathBuf| InputFile { name: path.display().to_string(), path };
        if !path.is_dir() {
            if !path.exists() {
                bail!("{} does not exist", path.display());
            }
            return Ok(Self { files: vec![file(path.to_owned())], _spooled: None });
        }
        let of_run = path.join("data").join("rollouts");
        let dir = if of_run.is_dir() { of_run } else { path.to_owned() };
        let mut paths = Vec::new();
        for entry in fs_err::read_dir(&dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == "parquet") {
                paths.push(path);
            }
        }
        if paths.is_empty() {
            bail!("{} has no Parquet files; name a file of rollouts, or the directory of a run", dir.display());
        }
        paths.sort();
        Ok(Self { files: paths.into_iter().map(file).collect(), _spooled: None })
    }

    /// Returns the files in reading order.
    pub(super) fn files(&self) -> &[InputFile] {
        &self.files
    }

    /// Returns whether all files are Parquet files.
    pub(super) fn is_parquet(&self) -> bool {
        self.files.iter().all(|file| file.path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("parquet")))
    }

    /// Starts reading. Of Parquet files, decodes only the named columns.
    pub(super) fn read<'a>(&'a self, columns: &'a [&'a str]) -> Reader<'a> {
        Reader { files: &self.files, columns, source: None, file: 0 }
    }
}

/// Opens a Parquet file; decodes only `columns`, or all columns if `None`.
pub(super) fn parquet_batches(
    file: &InputFile,
    columns: Option<&[&str]>,
) -> anyhow::Result<(arrow::datatypes::SchemaRef, ParquetRecordBatchReader)> {
    let damaged = || format!("cannot read {}", file.name);
    let TableBytes::Parquet(opened) = open_table(file)? else { bail!("{} is not a Parquet file", file.name) };
    let builder = ParquetRecordBatchReaderBuilder::try_new(opened).with_context(damaged)?;
    let schema = builder.schema().clone();
    let roots = schema
        .fields()
        .iter()
        .enumerate()
        .filter(|(_, field)| columns.is_none_or(|columns| columns.contains(&field.name().as_str())));
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots.map(|(index, _)| index));
    let reader = builder.with_projection(mask).with_batch_size(CHUNK_ROWS).build().with_context(damaged)?;
    Ok((schema, reader))
}

enum Source {
    Lines(Box<dyn BufRead + Send>, u64),
    Batches(ParquetRecordBatchReader, u64),
}

/// Reads rows chunk by chunk.
pub(super) struct Reader<'a> {
    files: &'a [InputFile],
    columns: &'a [&'a str],
    source: Option<Source>,
    file: usize,
}

impl Reader<'_> {
    /// Reads the next rows of one file into a chunk. Returns the index of the file, or `None` at the end.
    pub(super) fn next(&mut self, chunk: &mut Chunk) -> anyhow::Result<Option<usize>> {
        chunk.clear();
        while let Some(file) = self.files.get(self.file) {
            let source = match &mut self.source {
                Some(source) => source,
                none => none.insert(match open_table(file)? {
                    TableBytes::Lines(lines) => Source::Lines(lines, 0),
                    TableBytes::Parquet(_) => Source::Batches(parquet_batches(file, Some(self.columns))?.1, 0),
                }),
            };
            source.fill(chunk).with_context(|| format!("cannot read {}", file.name))?;
            if !chunk.rows.is_empty() {
                return Ok(Some(self.file));
            }
            self.source = None;
            self.file += 1;
        }
        Ok(None)
    }
}

impl Source {
    fn fill(&mut self, chunk: &mut Chunk) -> anyhow::Result<()> {
        match self {
            Self::Lines(lines, count) => {
                while chunk.rows.len() < CHUNK_ROWS && chunk.text.len() < CHUNK_BYTES {
                    let start = chunk.text.len();
                    if lines.read_until(b'\n', &mut chunk.text)? == 0 {
                        break;
                    }
                    *count += 1;
                    let line = chunk.text.get(start..).unwrap_or_default();
                    let end = start + line.trim_ascii_end().len();
                    if end > start {
                        chunk.rows.push((start..end, *count));
                    }
                }
            }
            Self::Batches(batches, count) => {
                let Some(batch) = batches.next().transpose()? else { return Ok(()) };
                LineDelimitedWriter::new(&mut chunk.text).write(&batch)?;
                let mut start = 0;
                for line in chunk.text.split_inclusive(|&byte| byte == b'\n') {
                    *count += 1;
                    chunk.rows.push((start..start + line.trim_ascii_end().len(), *count));
                    start += line.len();
                }
            }
        }
        Ok(())
    }
}
