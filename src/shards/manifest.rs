//! `manifest.json`: the identity of the dataset, its numbers of rows, and one hash per file.
//!
//! Pretty JSON with sorted keys and without times, so that equal datasets have equal manifests. Readers ignore unknown
//! keys; a `tables_version` above [`TABLES_VERSION`] is rejected.

#![warn(clippy::indexing_slicing)] // what is read here comes from anywhere

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ShardError, TABLES_VERSION};

/// The manifest of one output directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The program's version.
    pub thinkloom_version: String,
    /// The version of the tables' schemas.
    pub tables_version: u32,
    /// The hash over everything that decides the dataset.
    pub fingerprint: String,
    /// The inputs of the fingerprint, by name.
    pub identity: BTreeMap<String, String>,
    /// The sampled model.
    pub policy: SampledModel,
    /// The version of the prompts.
    pub prompt_version: String,
    /// Keys that were left out of request bodies, by the settings or because servers refuse them, for `policy` and
    /// `judge`. The limit of tokens is listed if it was sent as `max_completion_tokens`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<String, Vec<String>>,
    /// Numbers of rows.
    pub counts: Counts,
    /// Input rows that are not settled; omitted from a finished dataset's manifest.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub outstanding: u64,
    /// Every published shard, in any order; written sorted by name.
    pub files: Vec<FileEntry>,
}

/// The sampled model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampledModel {
    /// Its name or path.
    pub model: String,
    /// Its revision or weights hash.
    pub revision: String,
}

/// Row counts of the whole dataset.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Input rows.
    pub queries: u64,
    /// Rows of `samples`.
    pub samples: u64,
    /// Rows of `rollouts`.
    pub rollouts: u64,
    /// Rows of `exclusions`.
    pub exclusions: u64,
    /// Rows of `exclusions` by reason.
    pub exclusions_by_reason: BTreeMap<String, u64>,
}

/// One published shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Path relative to the output directory.
    pub name: String,
    /// SHA-256 in lower-case hex.
    pub sha256: String,
    /// Rows in the file.
    pub rows: u64,
    /// Size of the file.
    pub bytes: u64,
    /// First query ordinal of the shard's range.
    pub first_ordinal: u64,
    /// One past the last query ordinal of the shard's range.
    pub end_ordinal: u64,
    /// Whether the file lacks rows of its range. The file is then written again, under the same name, once those rows
    /// are settled. Omitted for complete files.
    #[serde(default, skip_serializing_if = "is_false")]
    pub partial: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl Manifest {
    /// Returns whether every input row is settled in the dataset.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.outstanding == 0
    }

    /// Returns the file's content: pretty JSON, keys and files sorted, with a newline at the end.
    #[must_use]
    pub fn to_json(&self) -> Bytes {
        let mut sorted = self.clone();
        sorted.files.sort_by(|left, right| left.name.cmp(&right.name));
        let value = serde_json::to_value(&sorted).expect("maps with text keys always serialise");
        let mut text = serde_json::to_string_pretty(&sort_keys(value)).expect("a JSON value always serialises");
        text.push('\n');
        Bytes::from(text)
    }

    /// Parses a manifest.
    ///
    /// # Errors
    /// [`ShardError::InvalidManifest`] if it is not a manifest, [`ShardError::NewerTables`] if a newer program wrote
    /// it.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ShardError> {
        /// Parsed first: a newer manifest may lack the other members.
        #[derive(Deserialize)]
        struct Version {
            tables_version: u32,
        }
        let Version { tables_version } = serde_json::from_slice(bytes)?;
        if tables_version > TABLES_VERSION {
            return Err(ShardError::NewerTables { found: tables_version, known: TABLES_VERSION });
        }
        Ok(serde_json::from_slice(bytes)?)
    }
}

/// Sorts object keys at every depth. Whether `serde_json` sorts keys depends on the features of the whole build.
fn sort_keys(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let sorted: BTreeMap<String, Value> =
                members.into_iter().map(|(key, member)| (key, sort_keys(member))).collect();
            Value::Object(sorted.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sort_keys).collect()),
        other => other,
    }
}

#[cfg(test)]
pub(super) fn example() -> Manifest {
    let file = |name: &str, rows| FileEntry {
        name: name.to_owned(),
        sha256: crate::domain::digest::sha256(name.as_bytes()),
        rows,
        bytes: 1234,
        first_ordinal: 0,
        end_ordinal: 3,
        partial: false,
    };
    Manifest {
        thinkloom_version: "0.1.0".to_owned(),
        tables_version: TABLES_VERSION,
        fingerprint: "f00d".to_owned(),
        identity: BTreeMap::from([("select.tie_margin".to_owned(), "0.1".to_owned())]),
        policy: SampledModel { model: "tiny | \"model\"".to_owned(), revision: "abc".to_owned() },
        prompt_version: "p1".to_owned(),
        left_out: BTreeMap::new(),
        counts: Counts {
            queries: 3,
            samples: 2,
            rollouts: 12,
            exclusions: 1,
            exclusions_by_reason: BTreeMap::from([("unsolved".to_owned(), 1)]),
        },
        outstanding: 0,
        files: vec![file("data/samples/train-00000.parquet", 2), file("data/exclusions/train-00000.parquet", 1)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifest_round_trips_with_sorted_keys_and_files() {
        let manifest = example();
        let bytes = manifest.to_json();
        let text = std::str::from_utf8(&bytes).unwrap();
        let keys = ["\"counts\"", "\"files\"", "\"fingerprint\"", "\"identity\"", "\"policy\"", "\"prompt_version\""];
        let places: Vec<usize> = keys.iter().map(|key| text.find(key).unwrap()).collect();
        assert!(places.is_sorted(), "{text}");
        assert!(text.find("data/exclusions").unwrap() < text.find("data/samples").unwrap());
        assert!(text.ends_with("}\n"));

        let read = Manifest::from_json(&bytes).unwrap();
        assert_eq!(read.counts, manifest.counts);
        assert_eq!(read.to_json(), bytes);
    }

    #[test]
    fn only_an_unfinished_dataset_says_what_is_outstanding() {
        let mut manifest = example();
        let text = String::from_utf8(manifest.to_json().to_vec()).unwrap();
        assert!(!text.contains("partial") && !text.contains("outstanding"), "{text}");
        assert!(Manifest::from_json(text.as_bytes()).unwrap().is_finished());
        manifest.outstanding = 2;
        manifest.files[0].partial = true;
        let read = Manifest::from_json(&manifest.to_json()).unwrap();
        assert!(!read.is_finished() && read.files.iter().filter(|file| file.partial).count() == 1);
        assert_eq!(read.to_json(), manifest.to_json());
    }

    #[test]
    fn order_of_files_does_not_change_the_bytes() {
        let manifest = example();
        let mut reversed = manifest.clone();
        reversed.files.reverse();
        assert_eq!(manifest.to_json(), reversed.to_json());
    }

    #[test]
    fn newer_and_broken_manifests_are_refused() {
        let newer = Manifest::from_json(br#"{"tables_version": 7, "unheard_of": true}"#).unwrap_err();
        assert!(matches!(newer, ShardError::NewerTables { found: 7, known: 6 }), "{newer}");
        assert!(matches!(Manifest::from_json(b"{}"), Err(ShardError::InvalidManifest { .. })));
        assert!(matches!(Manifest::from_json(br#"{"tables_version": 1}"#), Err(ShardError::InvalidManifest { .. })));
    }
}
