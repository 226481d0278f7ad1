//! A model's files, found.

use std::path::PathBuf;

/// A model whose files are on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedModel {
    /// A GGUF file, or a directory with `config.json`, a tokenizer and safetensors.
    pub path: PathBuf,
    /// What the model is called in the data: a file or directory name, or a Hub id.
    pub name: String,
    /// The commit of the Hub repository that the files are from.
    pub commit: Option<String>,
}
