//! Class labels of Hugging Face datasets: Parquet columns of whole numbers whose names are in the file's metadata.
//!
//! A number is replaced by the name at its index, counted from 0. A number without a name is kept as its digits. The
//! number -1, by which `datasets` marks a missing label, becomes null.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::error::ArrowError;
use serde_json::Value;

/// The metadata key that `datasets` writes.
const METADATA_KEY: &str = "huggingface";

/// The names of the classes, per column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ClassLabels(HashMap<String, Vec<String>>);

impl ClassLabels {
    /// Reads the names from a file's schema; metadata of another form has no names.
    pub(super) fn of(schema: &Schema) -> Self {
        let metadata = schema.metadata().get(METADATA_KEY).and_then(|text| serde_json::from_str::<Value>(text).ok());
        let features = metadata.as_ref().and_then(|value| value.pointer("/info/features")?.as_object());
        let names = |feature: &Value| -> Option<Vec<String>> {
            let is_label = feature.get("_type").is_some_and(|kind| kind == "ClassLabel");
            let names = feature.get("names")?.as_array().filter(|_| is_label)?;
            names.iter().map(|name| name.as_str().map(str::to_owned)).collect()
        };
        let labels = features.into_iter().flatten();
        Self(labels.filter_map(|(column, feature)| Some((column.clone(), names(feature)?))).collect())
    }

    /// Replaces numbers by names.
    pub(super) fn named(&self, batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
        let is_labelled = |field: &Arc<Field>| self.0.contains_key(field.name()) && field.data_type().is_integer();
        if !batch.schema().fields().iter().any(is_labelled) {
            return Ok(batch);
        }
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            match self.0.get(field.name()).filter(|_| is_labelled(field)) {
                Some(names) => {
                    fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
                    columns.push(names_of(column, names)?);
                }
                None => {
                    fields.push(Arc::clone(field));
                    columns.push(Arc::clone(column));
                }
            }
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
    }
}

fn names_of(column: &ArrayRef, names: &[String]) -> Result<ArrayRef, ArrowError> {
    let numbers = cast(column, &DataType::Int64)?;
    let name = |number: i64| match usize::try_from(number).ok().and_then(|place| names.get(place)) {
        Some(name) => Some(name.clone()),
        None if number == -1 => None,
        None => Some(number.to_string()),
    };
    let named: StringArray = numbers.as_primitive::<Int64Type>().iter().map(|number| number.and_then(name)).collect();
    Ok(Arc::new(named))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int8Array, Int64Array};

    use super::*;

    fn labels(metadata: &str) -> ClassLabels {
        let metadata = HashMap::from([(METADATA_KEY.to_owned(), metadata.to_owned())]);
        ClassLabels::of(&Schema::new_with_metadata(Vec::<Field>::new(), metadata))
    }

    #[test]
    fn numbers_become_names_and_what_has_none_stays_visible() {
        let labels = labels(
            r#"{"info": {"features": {"answer": {"names": ["A", "B"], "_type": "ClassLabel"},
            "question": {"dtype": "string", "_type": "Value"}}}}"#,
        );
        for numbers in [
            Arc::new(Int64Array::from(vec![Some(1), Some(0), Some(-1), None, Some(7)])) as ArrayRef,
            Arc::new(Int8Array::from(vec![Some(1), Some(0), Some(-1), None, Some(7)])),
        ] {
            let other = Arc::new(Int64Array::from(vec![1, 2, 3, 4, 5])) as ArrayRef;
            let batch = RecordBatch::try_from_iter([("answer", numbers), ("question", other)]).unwrap();
            let named = labels.named(batch).unwrap();
            let answers: Vec<Option<&str>> = named.column(0).as_string::<i32>().iter().collect();
            assert_eq!(answers, [Some("B"), Some("A"), None, None, Some("7")]);
            assert_eq!(named.column(1).data_type(), &DataType::Int64);
        }
    }

    #[test]
    fn metadata_of_another_shape_names_nothing() {
        for metadata in [
            "",
            "{}",
            "[1]",
            r#"{"info": {"features": []}}"#,
            r#"{"info": {"features": {"answer": {"names": ["A"], "_type": "Value"}}}}"#,
            r#"{"info": {"features": {"answer": {"names": [1], "_type": "ClassLabel"}}}}"#,
            r#"{"info": {"features": {"answer": {"_type": "ClassLabel"}}}}"#,
        ] {
            assert_eq!(labels(metadata), ClassLabels::default(), "{metadata}");
        }
    }
}
