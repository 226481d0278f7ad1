//! Shared helpers: temporary run directories, the binary under test, and independent readers of its output.

mod hub_server;
mod process;
mod read;
mod scripted_server;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

pub use crate::mock::Mock;
pub use hub_server::{Fault, HubServer, sha256, small_hash};
pub use process::{Outcome, Running, program, program_at, until};
pub use read::{Ledger, data_hashes, files_below, hash_of, rows};
pub use scripted_server::{Said, ScriptedServer};

/// Returns the repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the path of a file under `fixtures/`.
pub fn fixture(name: &str) -> PathBuf {
    root().join("fixtures").join(name)
}

/// Settings of a test run where nothing else is said: dotted key and TOML value.
const SETTINGS: &[(&str, &str)] = &[
    ("input.paths", "[\"queries.jsonl\"]"),
    ("policy.slots", "8"),
    ("policy.threads", "1"),
    ("sampling.samples_per_mode", "3"),
    ("sampling.think_on_tokens_max", "48"),
    ("sampling.think_off_tokens_max", "16"),
    ("select.random_mode_rate", "0.0"),
    ("judge.backend", "\"none\""),
    // Servers that fail at random may do so many times in a row.
    ("judge.patience_s", "300"),
    ("policy.patience_s", "300"),
    ("output.queries_per_shard", "5"),
];

/// A temporary directory with a config and an input file, in which runs are made; removed when dropped.
pub struct Workspace {
    folder: TempDir,
}

impl Workspace {
    /// Makes a workspace with `count` numeric queries whose golds are what the tiny model says: 1 to 4.
    pub fn new(count: usize, settings: &[(&str, &str)]) -> Self {
        Self::with_input(queries(count).as_bytes(), settings)
    }

    /// Makes a workspace whose `queries.jsonl` has this content. `settings` are dotted keys with TOML values.
    pub fn with_input(input: &[u8], settings: &[(&str, &str)]) -> Self {
        let workspace = Self { folder: TempDir::with_prefix("thinkloom-it-").unwrap() };
        std::fs::write(workspace.path("queries.jsonl"), input).unwrap();
        workspace.configure(settings);
        workspace
    }

    /// Writes the config anew: the defaults of tests, with these settings in their place; the last of a key counts.
    pub fn configure(&self, settings: &[(&str, &str)]) {
        let model = json!(fixture("tiny-llama.gguf")).to_string();
        let all: BTreeMap<&str, &str> =
            [("policy.model", model.as_str())].into_iter().chain(SETTINGS.iter().chain(settings).copied()).collect();
        let text: String = all.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        std::fs::write(self.path("thinkloom.toml"), text).unwrap();
    }

    /// Returns the path of something in the workspace.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the default output directory.
    pub fn out(&self) -> PathBuf {
        self.path("out")
    }

    /// Returns `thinkloom run` on the config, with these arguments added, not started yet.
    pub fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = program();
        command.arg("run").arg("-c").arg(self.path("thinkloom.toml")).args(arguments);
        command
    }

    /// Runs `thinkloom run` on the config, with these arguments added, to its end.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(&mut self.command(arguments))
    }

    /// Runs the config to its end in the output directory `name` and returns that directory.
    pub fn run_whole(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let all: Vec<&str> = ["-o", name].iter().chain(arguments).copied().collect();
        let mut command = self.command(&all);
        Outcome::of(command.current_dir(self.folder.path())).assert_code(0);
        self.path(name)
    }
}

/// Returns JSON lines of `count` numeric queries with golds 1 to 4 in turn.
pub fn queries(count: usize) -> String {
    let line = |index: usize| {
        let gold = (index % 4 + 1).to_string();
        let question = format!("Which number belongs to card {index}?");
        json!({"id": format!("q{index:03}"), "question": question, "answer": gold, "kind": "numeric", "source": "cards"})
    };
    (0..count).map(|index| format!("{}\n", line(index))).collect()
}

/// Returns an argument of a JSON value as text.
pub fn text<'a>(row: &'a serde_json::Value, column: &str) -> &'a str {
    row[column].as_str().unwrap_or_else(|| panic!("{column} is no text in {row}"))
}

/// A stream of numbers that is a function of its seed alone (splitmix64).
pub struct Random(pub u64);

impl Random {
    /// Returns the next number in `0..end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}
