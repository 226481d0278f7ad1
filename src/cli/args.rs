//! Command-line arguments that several commands share.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::{self, ConfigError, LoadedConfig};

/// The config file of commands without `-c`.
const DEFAULT_CONFIG: &str = "thinkloom.toml";

/// The sources of the settings: a file, and overrides on the command line.
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// The config file.
    #[arg(short, long, default_value = DEFAULT_CONFIG)]
    pub(super) config: PathBuf,
    /// Override a setting, for example --set sampling.seed=1 (repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) overrides: Vec<String>,
}

impl ConfigArgs {
    pub(super) fn load(&self) -> Result<LoadedConfig, ConfigError> {
        config::load(&self.config, &self.overrides)
    }

    /// Loads the config file; if it is the default one and is missing, returns the defaults with the overrides.
    pub(super) fn load_or_default(&self) -> Result<LoadedConfig, ConfigError> {
        if self.config != Path::new(DEFAULT_CONFIG) || self.config.exists() {
            return self.load();
        }
        let settings = config::parse_with_overrides("", "the command line", &self.overrides)?;
        Ok(LoadedConfig { settings, dir: PathBuf::from(".") })
    }
}

/// Rejects an output path that is also an input: writing the output would destroy the input.
pub(super) fn refuse_overwriting<'a>(
    output: Option<&Path>,
    inputs: impl IntoIterator<Item = &'a Path>,
) -> anyhow::Result<()> {
    // A file that does not exist cannot be an input.
    let Some(output) = output.and_then(|path| path.canonicalize().ok()) else { return Ok(()) };
    let is_input = inputs.into_iter().any(|input| input.canonicalize().is_ok_and(|input| input == output));
    anyhow::ensure!(!is_input, "the output {} is also an input; name another file", output.display());
    Ok(())
}
