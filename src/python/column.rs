//! Arguments of a batch: lists, tuples, numpy arrays, Arrow columns, or one value for all rows.

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyFloat, PyInt, PyMapping, PyMemoryView, PyString};

use crate::capsule;
use crate::errors::{failed, fault_of, type_name, unicode};

/// A cell, or why it is none, in words.
pub(crate) type Cell<T> = Result<Option<T>, String>;

/// One value for each row, or one for all.
pub(crate) enum Column<T> {
    /// The same value in every row.
    One(Cell<T>),
    /// A value for each row.
    Each(Vec<Cell<T>>),
}

impl<T> Column<T> {
    /// Returns the cell of a row; a missing row counts as empty.
    pub(crate) fn at(&self, row: usize) -> Result<Option<&T>, &str> {
        let cell = match self {
            Self::One(cell) => Some(cell),
            Self::Each(cells) => cells.get(row),
        };
        cell.map_or(Ok(None), |cell| cell.as_ref().map(Option::as_ref).map_err(String::as_str))
    }

    /// Returns the number of rows, if the column has rows of its own.
    fn rows(&self) -> Option<usize> {
        match self {
            Self::One(_) => None,
            Self::Each(cells) => Some(cells.len()),
        }
    }
}

/// Returns the common number of rows of named columns.
///
/// # Errors
/// `ValueError` that names two columns of different lengths.
pub(crate) fn common_rows(columns: &[(&str, Option<usize>)]) -> PyResult<usize> {
    let mut known: Option<(&str, usize)> = None;
    for &(name, rows) in columns {
        let Some(rows) = rows else { continue };
        match known {
            Some((first, other)) if other != rows => {
                return Err(PyValueError::new_err(format!("{first} has {other} rows, and {name} has {rows}")));
            }
            _ => known = Some((name, rows)),
        }
    }
    known.map(|(_, rows)| rows).ok_or_else(|| PyValueError::new_err("no argument has rows"))
}

impl<T> Column<T> {
    /// Returns the pair that [`common_rows`] takes.
    pub(crate) fn counted<'a>(&self, name: &'a str) -> (&'a str, Option<usize>) {
        (name, self.rows())
    }
}

/// Reads a text; a missing one is `None`.
pub(crate) fn text(argument: &str, value: &Bound<'_, PyAny>) -> PyResult<Cell<String>> {
    if is_missing(value) {
        return Ok(Ok(None));
    }
    Ok(match value.cast::<PyString>() {
        Ok(text) => unicode(argument, text).map(Some),
        Err(_) => Err(format!("{argument} is {}, expected str", type_name(value))),
    })
}

/// Returns whether a value is None, or what a masked array of numpy has in place of a masked value.
fn is_missing(value: &Bound<'_, PyAny>) -> bool {
    value.is_none() || value.get_type().name().is_ok_and(|name| name == "MaskedConstant")
}

/// Reads a reference answer: a text, or a number as JSON writes it.
///
/// # Errors
/// What ends the caller: Ctrl-C during a method of the value.
pub(crate) fn gold(argument: &str, value: &Bound<'_, PyAny>) -> PyResult<Cell<String>> {
    if is_missing(value) {
        return Ok(Ok(None));
    }
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(unicode(argument, text).map(Some));
    }
    let py = value.py();
    let fault = || Ok(Err(format!("{argument} is {}, expected str, int or float", type_name(value))));
    if value.is_instance_of::<PyBool>() {
        return fault();
    }
    if value.is_instance_of::<PyInt>() {
        return Ok(match value.str() {
            Ok(text) => unicode(argument, &text).map(Some),
            Err(error) => Err(format!("{argument}: {}", fault_of(py, error)?)),
        });
    }
    if value.is_instance_of::<PyFloat>() {
        return Ok(number(argument, value.extract::<f64>()?).map(Some));
    }
    // numpy's numbers.
    match value.call_method0("item") {
        Ok(item) if item.is_instance_of::<PyBool>() => fault(),
        Ok(item) if item.is_instance_of::<PyInt>() || item.is_instance_of::<PyFloat>() => gold(argument, &item),
        Ok(_) => fault(),
        Err(error) => fault_of(py, error).and_then(|_| fault()),
    }
}

fn number(argument: &str, value: f64) -> Result<String, String> {
    let written = serde_json::Number::from_f64(value).map(|number| number.to_string());
    written.ok_or_else(|| format!("{argument} is {value}, which is no answer"))
}

/// Reads the texts of one row, such as its choices.
pub(crate) fn texts(argument: &str, value: &Bound<'_, PyAny>) -> PyResult<Cell<Vec<String>>> {
    if value.is_none() {
        return Ok(Ok(None));
    }
    if !is_sequence(value) {
        return Ok(Err(format!("{argument} is {}, expected a list of str", type_name(value))));
    }
    let mut found = Vec::new();
    for item in items(argument, value)? {
        match text(argument, &item)? {
            Ok(Some(text)) => found.push(text),
            Ok(None) => return Ok(Err(format!("{argument} has None among its texts"))),
            Err(fault) => return Ok(Err(fault)),
        }
    }
    Ok(Ok(Some(found)))
}

/// Returns the items of a sequence. Its length is not trusted.
///
/// # Errors
/// `TypeError` that names the argument if its iterator fails.
pub(crate) fn items<'py>(argument: &str, value: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let py = value.py();
    let told = |error: PyErr| match fault_of(py, error) {
        Ok(fault) => PyTypeError::new_err(format!("{argument}: {fault}")),
        Err(ending) => ending,
    };
    let mut found = Vec::new();
    for item in value.try_iter().map_err(told)? {
        found.push(item.map_err(told)?);
    }
    Ok(found)
}

/// Returns whether an object is a list of values in an order, and not one value.
pub(crate) fn is_sequence(value: &Bound<'_, PyAny>) -> bool {
    let is_one = value.is_instance_of::<PyString>()
        || value.is_instance_of::<PyBytes>()
        || value.is_instance_of::<PyByteArray>()
        || value.is_instance_of::<PyMemoryView>()
        || value.is_instance_of::<PyMapping>();
    // An array of numpy without an axis has the methods, and no length.
    !is_one && value.hasattr("__getitem__").unwrap_or(false) && value.len().is_ok()
}

/// Returns the chunks of an Arrow column. Columns of pandas and polars that are no Arrow data, such as objects of several
/// types, are None, and are read item by item.
fn chunks(argument: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<(DataType, Vec<ArrayRef>)>> {
    match capsule::column(argument, value) {
        Err(error) if value.hasattr("to_list")? => fault_of(value.py(), error).map(|_| None),
        read => read,
    }
}

/// Reads a column of texts. `scalar` reads one cell: [`text`] or [`gold`].
///
/// # Errors
/// `TypeError` that names the argument if it is neither a value nor a sequence, or an Arrow column of another type.
pub(crate) fn of_texts(
    argument: &'static str,
    value: &Bound<'_, PyAny>,
    scalar: fn(&str, &Bound<'_, PyAny>) -> PyResult<Cell<String>>,
    takes_numbers: bool,
) -> PyResult<Column<String>> {
    if let Some((kind, chunks)) = chunks(argument, value)? {
        return of_arrow(argument, &kind, &chunks, takes_numbers).map(Column::Each);
    }
    if is_sequence(value) {
        let cells = items(argument, value)?.into_iter().map(|item| scalar(argument, &item));
        return cells.collect::<PyResult<Vec<_>>>().map(Column::Each);
    }
    match scalar(argument, value)? {
        Ok(cell) => Ok(Column::One(Ok(cell))),
        Err(fault) => Err(PyTypeError::new_err(format!("{fault}, or a list, an array or an Arrow column of these"))),
    }
}

/// Reads a column of lists of texts; one list of texts counts for all rows.
pub(crate) fn of_lists(argument: &'static str, value: &Bound<'_, PyAny>) -> PyResult<Column<Vec<String>>> {
    if value.is_none() {
        return Ok(Column::One(Ok(None)));
    }
    if let Some((kind, chunks)) = chunks(argument, value)? {
        return match kind {
            _ if is_text(&kind) => of_arrow(argument, &kind, &chunks, false).map(shared),
            _ => of_arrow_lists(argument, &kind, &chunks).map(Column::Each),
        };
    }
    if !is_sequence(value) {
        let fault = format!("{argument} is {}, expected a list of str, or such a list for each row", type_name(value));
        return Err(PyTypeError::new_err(fault));
    }
    let items = items(argument, value)?;
    if items.iter().any(|item| item.is_instance_of::<PyString>()) && !items.iter().any(is_sequence) {
        return texts(argument, value).map(Column::One);
    }
    items.iter().map(|item| texts(argument, item)).collect::<PyResult<Vec<_>>>().map(Column::Each)
}

fn shared(cells: Vec<Cell<String>>) -> Column<Vec<String>> {
    let all: Result<Option<Vec<String>>, String> = cells.into_iter().collect();
    Column::One(all)
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

fn of_arrow(argument: &str, kind: &DataType, chunks: &[ArrayRef], takes_numbers: bool) -> PyResult<Vec<Cell<String>>> {
    let mut cells = Vec::new();
    if takes_numbers && kind.is_floating() {
        for chunk in chunks {
            let numbers = cast(chunk, &DataType::Float64).map_err(failed)?;
            let numbers = numbers.as_primitive::<arrow::datatypes::Float64Type>();
            cells.extend(numbers.iter().map(|value| value.map(|value| number(argument, value)).transpose()));
        }
        return Ok(cells);
    }
    if !(is_text(kind) || takes_numbers && kind.is_integer()) {
        let expected = if takes_numbers { "strings or numbers" } else { "strings" };
        return Err(PyTypeError::new_err(format!("{argument} is an Arrow column of {kind}, expected {expected}")));
    }
    for chunk in chunks {
        let texts = cast(chunk, &DataType::Utf8).map_err(failed)?;
        cells.extend(texts.as_string::<i32>().iter().map(|text| Ok(text.map(str::to_owned))));
    }
    Ok(cells)
}

fn of_arrow_lists(argument: &str, kind: &DataType, chunks: &[ArrayRef]) -> PyResult<Vec<Cell<Vec<String>>>> {
    let is_list = match kind {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => is_text(item.data_type()),
        _ => false,
    };
    if !is_list {
        let fault = format!("{argument} is an Arrow column of {kind}, expected lists of strings");
        return Err(PyTypeError::new_err(fault));
    }
    let plain = DataType::List(std::sync::Arc::new(Field::new("item", DataType::Utf8, true)));
    let mut cells = Vec::new();
    for chunk in chunks {
        let lists = cast(chunk, &plain).map_err(failed)?;
        let lists = lists.as_list::<i32>();
        cells.extend(lists.iter().map(|list| list.map(|list| of_list(argument, list.as_string::<i32>())).transpose()));
    }
    Ok(cells)
}

fn of_list(argument: &str, list: &StringArray) -> Result<Vec<String>, String> {
    let has_null = || format!("{argument} has a null among its texts");
    list.iter().map(|text| text.map(str::to_owned).ok_or_else(has_null)).collect()
}
