//! Arguments that several commands have.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::{self, ConfigError, LoadedConfig};

/// Where settings come from.
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// The config file.
    #[arg(short, long, default_value = "thinkloom.toml")]
    pub(super) config: PathBuf,
    /// Override a setting, for example --set sampling.seed=1 (repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) overrides: Vec<String>,
}

impl ConfigArgs {
    pub(super) fn load(&self) -> Result<LoadedConfig, ConfigError> {
        config::load(&self.config, &self.overrides)
    }
}

/// Refuses an output that is one of the inputs: writing it would destroy what is read.
pub(super) fn refuse_overwriting<'a>(
    output: Option<&Path>,
    inputs: impl IntoIterator<Item = &'a Path>,
) -> anyhow::Result<()> {
    // What is not there yet is no input.
    let Some(output) = output.and_then(|path| path.canonicalize().ok()) else { return Ok(()) };
    let is_input = inputs.into_iter().any(|input| input.canonicalize().is_ok_and(|input| input == output));
    anyhow::ensure!(!is_input, "the output {} is an input; name another file", output.display());
    Ok(())
}
