//! `thinkloom init`

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;

use super::failure::{Failure, print};
use crate::sys::staged::write_whole;

/// The commented default config.
const CONFIG: &str = include_str!("init_config.toml");

/// A few sample queries.
const QUERIES: &str = r#"{"id": "add", "question": "What is 2 + 3?", "answer": "5", "kind": "numeric"}
{"id": "half", "question": "Write one half plus one quarter as a fraction.", "answer": "\\frac{3}{4}", "kind": "math"}
{"id": "ice", "question": "What is ice made of?", "choices": ["stone", "water", "sand"], "answer": "B", "kind": "choice"}
{"id": "france", "question": "What is the capital of France?", "answer": "Paris", "kind": "text"}
"#;

/// Arguments of `init`.
#[derive(Debug, Args)]
#[command(after_help = "Example: thinkloom init my-dataset\nGuide: thinkloom help config, data")]
pub(super) struct InitArgs {
    /// The target directory; default: the working directory.
    #[arg(default_value = ".")]
    dir: PathBuf,
}

/// Runs the command.
pub(super) fn run(args: &InitArgs) -> Result<(), Failure> {
    write_files(&args.dir).map_err(Failure::Other)?;
    print(&format!("wrote thinkloom.toml and queries.jsonl to {}\n", args.dir.display()))
}

fn write_files(dir: &Path) -> anyhow::Result<()> {
    fs_err::create_dir_all(dir)?;
    // The config is written last: if it exists, the queries exist.
    let files = [("queries.jsonl", QUERIES), ("thinkloom.toml", CONFIG)];
    let is_done = dir.join("thinkloom.toml").exists();
    for (name, content) in files.into_iter().rev() {
        let path = dir.join(name);
        // A killed start may have left the queries with this very content.
        let is_left = !is_done && fs_err::read(&path).is_ok_and(|found| found == content.as_bytes());
        if path.exists() && !is_left {
            bail!("{} already exists; nothing was written", path.display());
        }
    }
    for (name, content) in files {
        write_whole(&dir.join(name), ".thinkloom-init-", content.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, parse_with_overrides};

    #[test]
    fn the_written_config_spells_out_the_defaults() {
        let settings = parse_with_overrides(CONFIG, "init", &[]).unwrap();
        let mut expected = Settings::default();
        expected.input.paths = vec!["queries.jsonl".to_owned()];
        assert_eq!(settings, expected);
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        write_files(folder.path()).unwrap();
        let error = write_files(folder.path()).unwrap_err().to_string();
        assert!(error.contains("thinkloom.toml already exists"), "{error}");
    }

    #[test]
    fn a_start_that_was_killed_half_way_is_gone_on_with_and_files_of_others_are_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("queries.jsonl"), QUERIES).unwrap();
        write_files(folder.path()).unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("thinkloom.toml")).unwrap(), CONFIG);
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join("queries.jsonl"), "mine").unwrap();
        let error = write_files(other.path()).unwrap_err().to_string();
        assert!(error.contains("queries.jsonl already exists"), "{error}");
        assert!(!other.path().join("thinkloom.toml").exists());
    }
}
