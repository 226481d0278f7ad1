//! The size of a row in a batch, before the row is written as JSON.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;

/// The bytes that an item counts in addition to its text; its JSON has at least as many.
const ITEM_BYTES: u64 = 1;

/// Returns the bytes of all texts of a row, and one for every other value.
pub(super) fn row_bytes(batch: &RecordBatch, row: usize) -> u64 {
    batch.columns().iter().map(|column| value_bytes(column, row)).sum()
}

/// Returns the bytes of one value. Descends as far as the column's type nests.
fn value_bytes(array: &dyn Array, row: usize) -> u64 {
    if row >= array.len() || array.is_null(row) {
        return ITEM_BYTES;
    }
    let all = |items: &dyn Array| (0..items.len()).map(|item| value_bytes(items, item)).sum::<u64>();
    let inner = match array.data_type() {
        DataType::Utf8View => array.as_string_view().value(row).len() as u64,
        DataType::Utf8 => array.as_string::<i32>().value(row).len() as u64,
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).len() as u64,
        DataType::List(_) => all(&array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => all(&array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => all(&array.as_fixed_size_list().value(row)),
        DataType::Struct(_) => array.as_struct().columns().iter().map(|member| value_bytes(member, row)).sum(),
        DataType::Dictionary(..) => {
            // The longest that it may be.
            let values = array.as_any_dictionary().values();
            (0..values.len()).map(|item| value_bytes(values, item)).max().unwrap_or_default()
        }
        _ => 0,
    };
    inner.saturating_add(ITEM_BYTES)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, DictionaryArray, Int64Array, ListArray, StringArray, StringViewArray};
    use arrow::datatypes::{Int8Type, Int32Type};

    use super::*;

    #[test]
    fn texts_count_wherever_they_stand_and_everything_else_counts_a_little() {
        let columns: [(&str, ArrayRef); 5] = [
            ("text", Arc::new(StringArray::from(vec![Some("abc"), None]))),
            ("view", Arc::new(StringViewArray::from(vec!["a text that is longer than a view", ""]))),
            ("number", Arc::new(Int64Array::from(vec![1, 2]))),
            ("list", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None]))),
            ("word", Arc::new(["ab", "abcd"].into_iter().collect::<DictionaryArray<Int8Type>>())),
        ];
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
        assert_eq!(row_bytes(&batch, 0), (3 + 1) + (33 + 1) + 1 + (2 + 1) + (4 + 1 + 1));
        assert_eq!(row_bytes(&batch, 1), 1 + 1 + 1 + 1 + (4 + 1 + 1));
    }
}
