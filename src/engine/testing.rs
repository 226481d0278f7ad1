//! The tiny committed model, for tests of this crate.

use std::path::PathBuf;

use super::tokenizer::Vocabulary;
use super::weights::GgufFile;

/// Returns the path of `fixtures/tiny-llama.gguf`, which `tests/tools/make_tiny_model.py` wrote.
pub fn tiny_model_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama.gguf")
}

/// Loads its vocabulary: one token per byte, and a few special tokens.
pub fn tiny_vocabulary() -> Vocabulary {
    Vocabulary::from_gguf(&GgufFile::open(&tiny_model_path()).unwrap()).unwrap()
}
