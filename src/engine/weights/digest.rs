//! The SHA-256 identity of a model's files.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use thinkloom_domain::digest::{sha256, sha256_of_reader};

use super::Weights;
use crate::error::EngineError;

impl Weights {
    /// Returns the SHA-256, in hex, of everything in the files that decides the model's output: for a single GGUF file
    /// its bytes, else the lines `NAME SHA-256` of all files, sorted by name (for a directory: the safetensors,
    /// `config.json`, `generation_config.json`, the tokenizer's files and the chat template). Reads every byte at each
    /// call; no result is cached.
    pub fn digest(&self) -> Result<String, EngineError> {
        match self {
            Self::Gguf(file) => match file.paths().as_slice() {
                [path] => file_sha256(path),
                paths => digest_of(&paths.iter().map(|path| path.to_path_buf()).collect::<Vec<_>>()),
            },
            Self::Directory(directory) => digest_of(&directory.deciding_files()),
        }
    }
}

fn digest_of(paths: &[PathBuf]) -> Result<String, EngineError> {
    let hashes: Vec<String> = paths.par_iter().map(|path| file_sha256(path)).collect::<Result<_, _>>()?;
    let line = |(path, hash): (&PathBuf, String)| {
        format!("{} {hash}\n", path.file_name().unwrap_or_default().to_string_lossy())
    };
    Ok(sha256(paths.iter().zip(hashes).map(line).collect::<String>()))
}

/// Returns the SHA-256 of a file's bytes, in hex.
fn file_sha256(path: &Path) -> Result<String, EngineError> {
    let hash = fs_err::File::open(path).and_then(sha256_of_reader);
    hash.map_err(|source| EngineError::Io { path: path.to_owned(), source })
}
