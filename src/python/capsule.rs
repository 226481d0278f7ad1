//! Arrow data from and to other libraries, without a copy: the PyCapsule interface of Arrow's C data interface.

use std::ffi::CStr;

use arrow::array::{ArrayReader, ArrayRef, RecordBatchReader, make_array};
use arrow::datatypes::{DataType, Schema};
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi};
use arrow::ffi_stream::{ArrayStreamReader, FFI_ArrowArrayStream, RecordBatchStreamReader};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use crate::errors::failed;

const STREAM: &CStr = c"arrow_array_stream";
const ARRAY: &CStr = c"arrow_array";
const SCHEMA: &CStr = c"arrow_schema";

/// Returns batches as the capsule that `__arrow_c_stream__` returns.
pub(crate) fn stream<'py>(
    py: Python<'py>,
    reader: Box<dyn RecordBatchReader + Send>,
) -> PyResult<Bound<'py, PyCapsule>> {
    PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(reader), STREAM)
}

/// Returns a schema as the capsule that `__arrow_c_schema__` returns.
pub(crate) fn schema<'py>(py: Python<'py>, schema: &Schema) -> PyResult<Bound<'py, PyCapsule>> {
    PyCapsule::new_with_value(py, FFI_ArrowSchema::try_from(schema).map_err(failed)?, SCHEMA)
}

/// Returns the batches of a table; `None` if the object is no Arrow table.
pub(crate) fn table(value: &Bound<'_, PyAny>) -> PyResult<Option<RecordBatchStreamReader>> {
    let Some(capsule) = exported(value, "__arrow_c_stream__")? else { return Ok(None) };
    let pointer = capsule.cast::<PyCapsule>()?.pointer_checked(Some(STREAM))?.cast::<FFI_ArrowArrayStream>();
    // SAFETY: a capsule of this name holds a valid stream, which the reader takes over: it marks the capsule's as
    // released.
    let reader = unsafe { RecordBatchStreamReader::from_raw(pointer.as_ptr()) };
    reader.map(Some).map_err(|error| PyTypeError::new_err(format!("the Arrow data are no table: {error}")))
}

/// Returns the chunks of a column with their type; `None` if the object is no Arrow column.
pub(crate) fn column(value: &Bound<'_, PyAny>) -> PyResult<Option<(DataType, Vec<ArrayRef>)>> {
    if let Some(pair) = exported(value, "__arrow_c_array__")? {
        let pair = pair.cast_into::<PyTuple>()?;
        let (schema, array) = (pair.get_item(0)?, pair.get_item(1)?);
        let schema = schema.cast::<PyCapsule>()?.pointer_checked(Some(SCHEMA))?.cast::<FFI_ArrowSchema>();
        let array = array.cast::<PyCapsule>()?.pointer_checked(Some(ARRAY))?.cast::<FFI_ArrowArray>();
        // SAFETY: capsules of these names hold valid values. The array is moved out, and an empty one, which needs no
        // release, takes its place; the schema is only read.
        let (array, schema) = unsafe { (FFI_ArrowArray::from_raw(array.as_ptr()), schema.as_ref()) };
        // SAFETY: both come from one call of `__arrow_c_array__`, and so describe each other.
        let data = unsafe { from_ffi(array, schema) }.map_err(failed)?;
        return Ok(Some((data.data_type().clone(), vec![make_array(data)])));
    }
    let Some(capsule) = exported(value, "__arrow_c_stream__")? else { return Ok(None) };
    let pointer = capsule.cast::<PyCapsule>()?.pointer_checked(Some(STREAM))?.cast::<FFI_ArrowArrayStream>();
    // SAFETY: a capsule of this name holds a valid stream, which the reader takes over.
    let reader = unsafe { ArrayStreamReader::from_raw(pointer.as_ptr()) }.map_err(failed)?;
    let kind = reader.field().data_type().clone();
    Ok(Some((kind, reader.collect::<Result<_, _>>().map_err(failed)?)))
}

fn exported<'py>(value: &Bound<'py, PyAny>, method: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
    match value.getattr_opt(method)? {
        // A class has the method, too, and is no data.
        Some(found) if found.is_callable() && !value.is_instance_of::<pyo3::types::PyType>() => found.call0().map(Some),
        _ => Ok(None),
    }
}
