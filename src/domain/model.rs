//! The location of a model's files.

use std::path::PathBuf;

/// A model whose files are on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedModel {
    /// A GGUF file, or a directory with `config.json`, a tokenizer and safetensors.
    pub path: PathBuf,
    /// The model's name in the data: a file or directory name, or a Hub id.
    pub name: String,
    /// The commit of the Hub repository, if the files come from the Hub.
    pub commit: Option<String>,
}
