//! The SHA-256 identity of a model's files.

use std::io::Read;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

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
    let mut hasher = Sha256::new();
    for (path, hash) in paths.iter().zip(hashes) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        hasher.update(format!("{name} {hash}\n"));
    }
    Ok(hex::encode(hasher.finalize()))
}

/// Returns the SHA-256 of a file's bytes, in hex.
fn file_sha256(path: &Path) -> Result<String, EngineError> {
    let io = |source| EngineError::Io { path: path.to_owned(), source };
    let mut file = fs_err::File::open(path).map_err(io)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 1 << 20];
    loop {
        let count = file.read(&mut buffer).map_err(io)?;
        if count == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        #[expect(clippy::indexing_slicing, reason = "a reader fills no more than the buffer")]
        hasher.update(&buffer[..count]);
    }
}
