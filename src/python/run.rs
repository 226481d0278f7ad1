//! `Run`: the tables of a run, which other libraries read without a copy, and its status.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, RecordBatchReader};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use pyo3::exceptions::{PyFileNotFoundError, PyKeyError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyString, PyType};
use thinkloom::cli::embedded::run_status;
use thinkloom::domain::Query;
use thinkloom::ledger::{FILE_NAME as LEDGER_FILE, IntakeRow, Reader, RunRecord};
use thinkloom::shards::Table as Published;

use crate::capsule;
use crate::column::{is_sequence, items};
use crate::errors::{detached, failed, text_of, wrong_type};

/// The rows of a batch.
const BATCH_ROWS: usize = 4096;

/// The output directory of a run, which may be in progress.
///
/// `samples` are the training rows, `rollouts` every response of both modes with its verdict, `exclusions` every query
/// without a sample with its reason (all three as far as they are published), and `queries` the queries of the input.
/// Each is a `Table`, which pyarrow, polars, pandas, DuckDB and datasets read by its PyCapsule interface:
/// `pyarrow.table(run.samples)`, `polars.DataFrame(run.samples)`, `pandas.DataFrame.from_arrow(run.samples)`.
///
/// Raises FileNotFoundError if the directory has no run.
#[pyclass(frozen, module = "thinkloom")]
pub(crate) struct Run {
    path: PathBuf,
}

#[pymethods]
impl Run {
    #[new]
    fn new(path: PathBuf) -> PyResult<Self> {
        // The working directory may change.
        let path = std::path::absolute(&path).unwrap_or(path);
        if !path.join(LEDGER_FILE).is_file() {
            let fault = format!("{} has no run: it has no file {LEDGER_FILE}", path.display());
            return Err(PyFileNotFoundError::new_err(fault));
        }
        Ok(Self { path })
    }

    /// The directory.
    #[getter]
    fn path(&self) -> &Path {
        &self.path
    }

    /// The training rows, one for each query with a decision.
    #[getter]
    fn samples(&self, py: Python<'_>) -> PyResult<Table> {
        Table::published(py, &self.path, Published::Samples)
    }

    /// Every response of both modes, with its verdict.
    #[getter]
    fn rollouts(&self, py: Python<'_>) -> PyResult<Table> {
        Table::published(py, &self.path, Published::Rollouts)
    }

    /// Every query without a sample, with its reason.
    #[getter]
    fn exclusions(&self, py: Python<'_>) -> PyResult<Table> {
        Table::published(py, &self.path, Published::Exclusions)
    }

    /// The queries of the input, without bad rows and duplicates.
    #[getter]
    fn queries(&self) -> Table {
        Table { source: Source::Ledger(self.path.clone()), schema: query_schema() }
    }

    /// Returns what `thinkloom status --json` prints; with `check`, every invariant is audited.
    #[pyo3(signature = (check=false))]
    fn status<'py>(&self, py: Python<'py>, check: bool) -> PyResult<Bound<'py, PyAny>> {
        let status = detached(py, || run_status(&self.path, check))?.map_err(failed)?;
        py.import("json")?.call_method1("loads", (status.to_string(),))
    }

    fn __repr__(&self) -> String {
        format!("Run({:?})", self.path.display().to_string())
    }

    /// Lets workers send values to each other.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, (PathBuf,)) {
        (slf.get_type(), (slf.get().path.clone(),))
    }
}

/// Where a table's rows are.
#[derive(Clone)]
enum Source {
    /// Parquet files of one schema, in order.
    Files(Vec<PathBuf>),
    /// The queries in the ledger of a directory.
    Ledger(PathBuf),
}

/// A table of a run. It holds no rows: each reader gets its own stream of batches from the files.
#[pyclass(frozen, module = "thinkloom")]
pub(crate) struct Table {
    source: Source,
    schema: SchemaRef,
}

impl Table {
    fn published(py: Python<'_>, dir: &Path, table: Published) -> PyResult<Self> {
        detached(py, || -> anyhow::Result<Self> {
            let mut files = Vec::new();
            let dir = dir.join(table.dir());
            if dir.is_dir() {
                for entry in fs_err::read_dir(&dir)? {
                    let path = entry?.path();
                    if path.extension().is_some_and(|ending| ending == "parquet") {
                        files.push(path);
                    }
                }
            }
            files.sort();
            // A run of an earlier version has that version's columns.
            let schema = match files.first() {
                Some(file) => plain(opened(file)?.schema()),
                None => table.schema(),
            };
            Ok(Self { source: Source::Files(files), schema })
        })?
        .map_err(failed)
    }

    fn reader(&self) -> anyhow::Result<Box<dyn RecordBatchReader + Send>> {
        let schema = Arc::clone(&self.schema);
        Ok(match &self.source {
            Source::Files(files) => Box::new(FileBatches { schema, files: files.clone().into(), current: None }),
            Source::Ledger(dir) => Box::new(QueryBatches::open(dir, schema)?),
        })
    }
}

#[pymethods]
impl Table {
    /// The names of the columns.
    #[getter]
    fn column_names(&self) -> Vec<String> {
        self.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    /// The number of rows.
    #[getter]
    fn num_rows(&self, py: Python<'_>) -> PyResult<usize> {
        detached(py, || -> anyhow::Result<usize> {
            match &self.source {
                Source::Files(files) => {
                    let rows = |file: &PathBuf| Ok(opened(file)?.metadata().file_metadata().num_rows());
                    let rows: i64 = files.iter().map(rows).sum::<anyhow::Result<i64>>()?;
                    Ok(usize::try_from(rows)?)
                }
                Source::Ledger(dir) => {
                    let QueryBatches { reader, run, end, .. } = QueryBatches::open(dir, Arc::clone(&self.schema))?;
                    Ok(usize::try_from(end - reader.intake_exclusions(&run.input_digest, end)?)?)
                }
            }
        })?
        .map_err(failed)
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.num_rows(py)
    }

    /// Returns the table with these columns alone. Only they are read.
    ///
    /// Raises KeyError for a column that the table does not have.
    fn select(&self, columns: &Bound<'_, PyAny>) -> PyResult<Self> {
        if columns.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err("columns is str, expected a list of names"));
        }
        if !is_sequence(columns) {
            return Err(wrong_type("columns", columns, "a list of names"));
        }
        let columns = items("columns", columns)?.into_iter().map(|name| text_of("columns", &name));
        let columns = columns.collect::<PyResult<Vec<String>>>()?;
        let mut places = Vec::new();
        for name in &columns {
            let place = self.schema.index_of(name);
            let has = || format!("the table has no column {name:?}; its columns: {}", self.column_names().join(", "));
            places.push(place.map_err(|_| PyKeyError::new_err(has()))?);
        }
        let schema = Arc::new(self.schema.project(&places).map_err(failed)?);
        Ok(Self { source: self.source.clone(), schema })
    }

    /// Returns a stream of batches for Arrow libraries; `requested_schema` is ignored, as the protocol allows.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let _ = requested_schema;
        capsule::stream(py, detached(py, || self.reader())?.map_err(failed)?)
    }

    /// Returns the schema for Arrow libraries.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        capsule::schema(py, &self.schema)
    }

    fn __repr__(&self) -> String {
        format!("Table({})", self.column_names().join(", "))
    }
}

fn opened(path: &Path) -> anyhow::Result<ParquetRecordBatchReaderBuilder<std::fs::File>> {
    let file = fs_err::File::open(path)?.into_parts().0;
    let read = ParquetRecordBatchReaderBuilder::try_new(file);
    read.map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}

/// Returns a schema without metadata, which differ between files.
fn plain(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().clone()))
}

/// The batches of files, one file after another.
struct FileBatches {
    schema: SchemaRef,
    files: VecDeque<PathBuf>,
    current: Option<(PathBuf, ParquetRecordBatchReader)>,
}

impl FileBatches {
    fn open_next(&mut self) -> anyhow::Result<bool> {
        let Some(path) = self.files.pop_front() else { return Ok(false) };
        let builder = opened(&path)?.with_batch_size(BATCH_ROWS);
        let names = self.schema.fields().iter().map(|field| field.name().as_str());
        let mask = ProjectionMask::columns(builder.parquet_schema(), names);
        let reader = builder.with_projection(mask).build();
        self.current = Some((path.clone(), reader.map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?));
        Ok(true)
    }

    /// Puts a batch's columns into the table's order.
    fn ordered(&self, path: &Path, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let columns = self.schema.fields().iter().map(|field| batch.column_by_name(field.name()).cloned());
        let differs = || {
            ArrowError::SchemaError(format!(
                "{} has other columns than the table's first file; `thinkloom run` writes it again",
                path.display()
            ))
        };
        let columns = columns.collect::<Option<Vec<_>>>().ok_or_else(differs)?;
        // A table without columns has rows, too.
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options).map_err(|_| differs())
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        loop {
            let Some((path, reader)) = &mut self.current else {
                if self.open_next().map_err(|error| ArrowError::ExternalError(error.into()))? {
                    continue;
                }
                return Ok(None);
            };
            match reader.next() {
                Some(batch) => {
                    let path = path.clone();
                    let batch =
                        batch.map_err(|error| ArrowError::ParquetError(format!("{}: {error}", path.display())))?;
                    return self.ordered(&path, &batch).map(Some);
                }
                None => self.current = None,
            }
        }
    }
}

impl Iterator for FileBatches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}

impl RecordBatchReader for FileBatches {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// Returns the columns of the table of queries.
fn query_schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let texts = |name: &str| Field::new(name, DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))), true);
    let number = |name: &str| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![
        text("query_id"),
        number("ordinal"),
        text("source"),
        text("file"),
        number("line"),
        text("kind"),
        text("question"),
        text("gold"),
        texts("choices"),
        texts("tests"),
        texts("test_imports"),
        text("entry_point"),
        text("subject"),
        text("category"),
        text("variant_of"),
        text("extra"),
    ]))
}

fn query_value(query: Query) -> serde_json::Value {
    let labels = query.labels;
    serde_json::json!({
        "query_id": query.id.0,
        "ordinal": query.ordinal,
        "source": query.source,
        "file": query.origin.file,
        "line": query.origin.line,
        "kind": query.kind.name(),
        "question": query.question,
        "gold": query.gold,
        "choices": query.choices,
        "tests": query.tests,
        "test_imports": query.test_imports,
        "entry_point": query.entry_point,
        "subject": labels.subject,
        "category": labels.category,
        "variant_of": labels.variant_of.map(|id| id.0),
        "extra": labels.extra,
    })
}

/// The batches of the queries in a ledger.
struct QueryBatches {
    schema: SchemaRef,
    reader: Reader,
    run: RunRecord,
    next: u64,
    end: u64,
}

impl QueryBatches {
    fn open(dir: &Path, schema: SchemaRef) -> anyhow::Result<Self> {
        let reader = Reader::open(dir)?;
        let none = || anyhow::anyhow!("the ledger in {} has no run", dir.display());
        let run = reader.latest_run()?.ok_or_else(none)?;
        let rows = reader.intake_rows(&run.input_digest)?;
        let end = run.row_limit.map_or(rows, |limit| limit.min(rows));
        Ok(Self { schema, reader, run, next: 0, end })
    }

    fn next_batch(&mut self) -> anyhow::Result<Option<RecordBatch>> {
        while self.next < self.end {
            let first = self.next;
            self.next = self.end.min(first + BATCH_ROWS as u64);
            let rows = self.reader.intake(&self.run.input_digest, first, self.next)?;
            let queries: Vec<_> = rows
                .into_iter()
                .filter_map(|row| match row {
                    IntakeRow::Query(query) => Some(query_value(query)),
                    IntakeRow::Excluded(_) => None,
                })
                .collect();
            let mut decoder = arrow::json::ReaderBuilder::new(query_schema()).build_decoder()?;
            decoder.serialize(&queries)?;
            let Some(batch) = decoder.flush()? else { continue };
            let columns = self.schema.fields().iter().map(|field| batch.schema_ref().index_of(field.name()));
            return Ok(Some(batch.project(&columns.collect::<Result<Vec<_>, _>>()?)?));
        }
        Ok(None)
    }
}

impl Iterator for QueryBatches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().map_err(|error| ArrowError::ExternalError(error.into())).transpose()
    }
}

impl RecordBatchReader for QueryBatches {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
