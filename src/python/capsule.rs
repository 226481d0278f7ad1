//! Arrow data from and to other libraries, without a copy: the PyCapsule interface of Arrow's C data interface.

use std::ffi::CStr;
use std::ptr::NonNull;

use arrow::array::{Array, ArrayReader, ArrayRef, RecordBatchReader, make_array};
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi};
use arrow::ffi_stream::{ArrayStreamReader, FFI_ArrowArrayStream, RecordBatchStreamReader};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::errors::{caught, failed, fault_of};

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
///
/// # Errors
/// `TypeError` that names the argument if the data are no table.
pub(crate) fn table(argument: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<RecordBatchStreamReader>> {
    let Some(capsule) = exported(argument, value, "__arrow_c_stream__")? else { return Ok(None) };
    let pointer = pointer::<FFI_ArrowArrayStream>(argument, &capsule, STREAM)?;
    // SAFETY: a capsule of this name holds a valid stream, which the reader takes over: it marks the capsule's as
    // released.
    let reader = guarded(argument, || unsafe { RecordBatchStreamReader::from_raw(pointer.as_ptr()) })?;
    Ok(Some(reader))
}

/// Returns the chunks of a column with their type; `None` if the object is no Arrow column.
///
/// # Errors
/// `TypeError` that names the argument if the data contradict themselves. Nobody else has validated them.
pub(crate) fn column(argument: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<(DataType, Vec<ArrayRef>)>> {
    if let Some(pair) = exported(argument, value, "__arrow_c_array__")? {
        let of_pair = |at: usize| pair.get_item(at).map_err(|_| unusable(argument, "__arrow_c_array__ gave no pair"));
        let schema = pointer::<FFI_ArrowSchema>(argument, &of_pair(0)?, SCHEMA)?;
        let array = pointer::<FFI_ArrowArray>(argument, &of_pair(1)?, ARRAY)?;
        let array = guarded(argument, || {
            // SAFETY: capsules of these names hold valid values. The array is moved out, and an empty one, which needs
            // no release, takes its place; the schema is only read.
            let (array, schema) = unsafe { (FFI_ArrowArray::from_raw(array.as_ptr()), schema.as_ref()) };
            if array.is_released() {
                return Err(ArrowError::CDataInterface("the array was read before".to_owned()));
            }
            // SAFETY: both come from one call of `__arrow_c_array__`, and so describe each other.
            let data = unsafe { from_ffi(array, schema) }?;
            data.validate_full()?;
            Ok(make_array(data))
        })?;
        return Ok(Some((array.data_type().clone(), vec![array])));
    }
    let Some(capsule) = exported(argument, value, "__arrow_c_stream__")? else { return Ok(None) };
    let pointer = pointer::<FFI_ArrowArrayStream>(argument, &capsule, STREAM)?;
    guarded(argument, || {
        // SAFETY: a capsule of this name holds a valid stream, which the reader takes over.
        let reader = unsafe { ArrayStreamReader::from_raw(pointer.as_ptr()) }?;
        let kind = reader.field().data_type().clone();
        let mut chunks = Vec::new();
        for chunk in reader {
            let chunk = chunk?;
            chunk.to_data().validate_full()?;
            chunks.push(chunk);
        }
        Ok(Some((kind, chunks)))
    })
}

/// Returns the pointer of a capsule with this name.
fn pointer<T>(argument: &str, capsule: &Bound<'_, PyAny>, name: &CStr) -> PyResult<NonNull<T>> {
    let found = capsule.cast::<PyCapsule>().ok().and_then(|capsule| capsule.pointer_checked(Some(name)).ok());
    let fault = || unusable(argument, &format!("it gave no capsule {}", name.to_string_lossy()));
    found.map(NonNull::cast).ok_or_else(fault)
}

/// Reads data of another library. arrow panics where lengths and types contradict each other.
fn guarded<T>(argument: &str, read: impl FnOnce() -> Result<T, ArrowError>) -> PyResult<T> {
    match caught(read) {
        Ok(read) => read.map_err(|error| unusable(argument, &error.to_string())),
        Err(panic) => Err(unusable(argument, &panic)),
    }
}

fn unusable(argument: &str, fault: &str) -> PyErr {
    PyTypeError::new_err(format!("{argument} has unusable Arrow data: {fault}"))
}

/// Calls an exporting method, if the object has it.
fn exported<'py>(argument: &str, value: &Bound<'py, PyAny>, method: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
    match value.getattr_opt(method)? {
        // A class has the method, too, and is no data.
        Some(found) if found.is_callable() && !value.is_instance_of::<pyo3::types::PyType>() => {
            let told = |error: PyErr| Ok(unusable(argument, &fault_of(value.py(), error)?));
            found.call0().map(Some).map_err(|error| told(error).unwrap_or_else(|ending| ending))
        }
        _ => Ok(None),
    }
}
