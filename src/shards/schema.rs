//! The fixed schema of each published table.
//!
//! Every column is nullable, list items and struct members too: the common loaders turn required fields into nullable
//! ones and then report different schemas. No schema is inferred from rows, so that a table's files always agree.
//! Descriptions come from the doc comments of the row types, and a test compares the columns of both.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use schemars::schema_for;
use serde::Serialize;

use super::rows::{ExclusionRow, RolloutRow, SampleRow};

/// The version of the tables. The version grows whenever a column is added, renamed, retyped or dropped, or the layout
/// of files changes.
pub const TABLES_VERSION: u32 = 6;

/// One of the published tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// The training rows, one per query that has a decision.
    Samples,
    /// Every response of both modes, with its verdict.
    Rollouts,
    /// Every query that gave no sample, with its reason.
    Exclusions,
}

/// The type of a column.
#[derive(Debug, Clone, Copy)]
enum ColumnType {
    Text,
    Int32,
    Int64,
    Float64,
    Bool,
    Messages,
}

use ColumnType::{Bool, Float64, Int32, Int64, Messages, Text};

const SAMPLES: &[(&str, ColumnType)] = &[
    ("query_id", Text),
    ("ordinal", Int64),
    ("source", Text),
    ("kind", Text),
    ("question", Text),
    ("gold", Text),
    ("mode", Text),
    ("mode_reason", Text),
    ("pass_rate_on", Float64),
    ("pass_rate_off", Float64),
    ("sampled_on", Int32),
    ("sampled_off", Int32),
    ("correct_on", Int32),
    ("correct_off", Int32),
    ("other_mode_on", Int32),
    ("other_mode_off", Int32),
    ("difficulty", Text),
    ("difficulty_score", Float64),
    ("difficulty_low", Float64),
    ("difficulty_high", Float64),
    ("justification", Text),
    ("judge_model", Text),
    ("justification_status", Text),
    ("thinking", Text),
    ("answer", Text),
    ("messages", Messages),
    ("prompt", Text),
    ("completion", Text),
    ("completion_tokens", Int32),
    ("policy_model", Text),
    ("policy_revision", Text),
    ("prompt_version", Text),
    ("seed", Int64),
    ("subject", Text),
    ("category", Text),
    ("variant_of", Text),
    ("extra", Text),
];

const ROLLOUTS: &[(&str, ColumnType)] = &[
    ("query_id", Text),
    ("ordinal", Int64),
    ("mode", Text),
    ("sample_index", Int32),
    ("seed", Int64),
    ("prompt", Text),
    ("text", Text),
    ("thinking", Text),
    ("answer", Text),
    ("finish_reason", Text),
    ("verdict", Text),
    ("extracted", Text),
    ("verdict_reason", Text),
    ("prompt_tokens", Int32),
    ("completion_tokens", Int32),
    ("policy_model", Text),
    ("observed_mode", Text),
    ("forced_close", Text),
    ("logprob_sum", Float64),
    ("length_estimated", Bool),
];

const EXCLUSIONS: &[(&str, ColumnType)] = &[
    ("query_id", Text),
    ("ordinal", Int64),
    ("source", Text),
    ("line", Int64),
    ("reason", Text),
    ("detail", Text),
    ("file", Text),
];

impl Table {
    /// Every table, in the order in which they are documented.
    pub const ALL: [Self; 3] = [Self::Samples, Self::Rollouts, Self::Exclusions];

    /// Returns the stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Samples => "samples",
            Self::Rollouts => "rollouts",
            Self::Exclusions => "exclusions",
        }
    }

    /// Returns the directory of the table's files, relative to the output directory.
    #[must_use]
    pub const fn dir(self) -> &'static str {
        match self {
            Self::Samples => "data/samples",
            Self::Rollouts => "data/rollouts",
            Self::Exclusions => "data/exclusions",
        }
    }

    /// Returns the file of the shard with this 0-based index, relative to the output directory.
    ///
    /// Names sort by index up to 99999.
    #[must_use]
    pub fn file_name(self, index: u32) -> String {
        format!("{}/train-{index:05}.parquet", self.dir())
    }

    /// Returns the table's Arrow schema; all fields are nullable and carry no metadata.
    #[must_use]
    pub fn schema(self) -> SchemaRef {
        let fields: Fields =
            self.columns().iter().map(|&(name, column)| Field::new(name, arrow(column), true)).collect();
        Arc::new(Schema::new(fields))
    }

    const fn columns(self) -> &'static [(&'static str, ColumnType)] {
        match self {
            Self::Samples => SAMPLES,
            Self::Rollouts => ROLLOUTS,
            Self::Exclusions => EXCLUSIONS,
        }
    }

    /// Returns the JSON Schema of the row type, whose descriptions are the fields' doc comments.
    fn row_schema(self) -> schemars::Schema {
        match self {
            Self::Samples => schema_for!(SampleRow),
            Self::Rollouts => schema_for!(RolloutRow),
            Self::Exclusions => schema_for!(ExclusionRow),
        }
    }
}

fn arrow(column: ColumnType) -> DataType {
    match column {
        Text => DataType::Utf8,
        Int32 => DataType::Int32,
        Int64 => DataType::Int64,
        Float64 => DataType::Float64,
        Bool => DataType::Boolean,
        Messages => {
            let members = ["role", "content"].map(|name| Field::new(name, DataType::Utf8, true));
            // "element" is the Parquet format's name of a list's item. Other names survive only in Arrow's own
            // metadata, which is not written.
            DataType::List(Arc::new(Field::new("element", DataType::Struct(Fields::from_iter(members)), true)))
        }
    }
}

/// Returns the type as `pyarrow` prints it.
const fn type_name(column: ColumnType) -> &'static str {
    match column {
        Text => "string",
        Int32 => "int32",
        Int64 => "int64",
        Float64 => "double",
        Bool => "bool",
        Messages => "list<element: struct<role: string, content: string>>",
    }
}

/// One column of a table, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ColumnDescription {
    /// The column's name.
    pub name: &'static str,
    /// Its type, as `pyarrow` prints it.
    #[serde(rename = "type")]
    pub type_name: &'static str,
    /// One line: the column's content, and when it is null.
    pub description: String,
}

/// Returns the table's columns in file order.
#[must_use]
pub fn describe(table: Table) -> Vec<ColumnDescription> {
    let row = table.row_schema();
    let properties = row.get("properties");
    let description = |name: &str| {
        let text = properties.and_then(|all| all.get(name)).and_then(|column| column.get("description"));
        text.and_then(|text| text.as_str()).unwrap_or_default().to_owned()
    };
    let columns = table.columns().iter();
    columns
        .map(|&(name, column)| ColumnDescription { name, type_name: type_name(column), description: description(name) })
        .collect()
}

/// Returns [`describe`] as pretty JSON that ends in a newline: an array of `{name, type, description}`.
#[must_use]
pub fn describe_json(table: Table) -> String {
    let mut text = serde_json::to_string_pretty(&describe(table)).expect("strings always serialise");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn file_names_are_stable_and_sort_by_index() {
        assert_eq!(Table::Samples.file_name(0), "data/samples/train-00000.parquet");
        assert_eq!(Table::Rollouts.file_name(42), "data/rollouts/train-00042.parquet");
        assert!(Table::Exclusions.file_name(99_998) < Table::Exclusions.file_name(99_999));
    }

    #[test]
    fn schema_and_row_type_have_the_same_columns_and_each_is_described_in_one_line() {
        for table in Table::ALL {
            let row = table.row_schema();
            let members: BTreeSet<String> =
                row.get("properties").unwrap().as_object().unwrap().keys().cloned().collect();
            let columns = describe(table);
            assert_eq!(members, columns.iter().map(|column| column.name.to_owned()).collect());
            for column in columns {
                let text = &column.description;
                assert!(text.len() > 10 && !text.contains('\n') && text.is_ascii(), "{}: {text:?}", column.name);
            }
        }
    }

    #[test]
    fn everything_is_nullable() {
        for table in Table::ALL {
            for field in table.schema().fields() {
                assert!(field.is_nullable());
                let DataType::List(item) = field.data_type() else { continue };
                let DataType::Struct(members) = item.data_type() else { panic!("{item:?}") };
                assert!(item.is_nullable() && members.iter().all(|member| member.is_nullable()));
            }
        }
    }
}
