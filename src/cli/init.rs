//! `thinkloom init`

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use super::{Failure, print};

/// The commented default config.
const CONFIG: &str = include_str!("init_config.toml");

/// A few queries to start with.
const QUERIES: &str = r#"{"id": "add", "question": "What is 2 + 3?", "answer": "5", "kind": "numeric"}
{"id": "half", "question": "Write one half plus one quarter as a fraction.", "answer": "\\frac{3}{4}", "kind": "math"}
{"id": "ice", "question": "What is ice made of?", "choices": ["stone", "water", "sand"], "answer": "B", "kind": "choice"}
{"id": "france", "question": "What is the capital of France?", "answer": "Paris", "kind": "text"}
"#;

/// Arguments of `init`.
#[derive(Debug, Args)]
#[command(after_help = "Example: thinkloom init my-dataset")]
pub struct InitArgs {
    /// Where to write; the working directory otherwise.
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
    let files = [("thinkloom.toml", CONFIG), ("queries.jsonl", QUERIES)];
    for (name, _) in files {
        let path = dir.join(name);
        if path.exists() {
            bail!("{} is there already; nothing was written", path.display());
        }
    }
    for (name, content) in files {
        fs_err::write(dir.join(name), content).context("cannot write")?;
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
        assert!(error.contains("thinkloom.toml is there already"), "{error}");
    }
}
