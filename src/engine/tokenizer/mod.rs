//! Text to tokens and back, with the vocabulary of a GGUF file or of a model directory.
//!
//! The `tokenizers` crate encodes, or SentencePiece's own merging for GGUF files of that kind. A tokenizer without
//! verified support is rejected by name, because a wrong pre-tokenizer raises no error and only makes the output subtly
//! worse. Decoding is a table from token to bytes, so text grows by exact bytes and can be cut anywhere.

#![warn(clippy::indexing_slicing)] // what is read here comes from anywhere

mod bounds;
mod bytes;
mod cut;
mod gguf;
mod huggingface;
mod library;
mod outline;
mod pattern;
mod pre_tokenizer;
mod sentencepiece;
mod trie;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

#[cfg(any(test, feature = "testing"))]
pub(crate) use pattern::LLAMA3 as EXAMPLE_PATTERN;
pub(crate) use trie::TokenTrie;

use self::library::Library;
use self::sentencepiece::SentencePiece;
use super::error::EngineError;
use super::weights::Weights;

/// Names of end-of-turn tokens that a vocabulary may have in addition to the end-of-sequence token that its files name.
const END_OF_TURN_NAMES: &[&str] = &["<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "<|eom_id|>"];

/// A vocabulary with its encoder.
pub struct Vocabulary {
    encoder: Encoder,
    bytes: Vec<Box<[u8]>>,
    end_tokens: Vec<u32>,
    bos_text: String,
    eos_text: String,
    chat_template: Option<String>,
    adds_bos: Option<bool>,
    /// Built at the first call of [`Self::trie`].
    trie: OnceLock<TokenTrie>,
}

enum Encoder {
    Tokenizers(Box<Library>),
    SentencePiece(Box<SentencePiece>),
}

impl Vocabulary {
    /// Reads the vocabulary of a model (GGUF file or Hugging Face directory), without its weights.
    pub fn load(path: &std::path::Path) -> Result<Self, EngineError> {
        Self::from_weights(&Weights::open(path)?)
    }

    /// Reads the vocabulary of an open model, with its encoder, its end-of-turn tokens and the chat template.
    pub fn from_weights(weights: &Weights) -> Result<Self, EngineError> {
        match weights {
            Weights::Gguf(file) => Self::from_gguf(file),
            Weights::Directory(directory) => Self::from_directory(directory),
        }
    }

    /// Returns the token ids of a text. Special tokens written in the text are matched as such; none are added.
    ///
    /// A begin-of-sequence token is therefore present only if the chat template writes one, whatever the files say
    /// about adding one: prompts come from chat templates.
    ///
    /// For texts that are known to be short; texts from outside go through [`Self::encode_within`].
    ///
    /// # Errors
    /// [`EngineError::Malformed`] if the tokenizer fails; byte-level BPE never fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        match &self.encoder {
            Encoder::Tokenizers(library) => library.encode(text),
            Encoder::SentencePiece(encoder) => Ok(encoder.encode(text)),
        }
    }

    /// Returns the rows without a token, in order, of an embedding of `rows` rows: padding to a round number, and ids
    /// that the vocabulary leaves out.
    #[must_use]
    pub fn rows_without_token(&self, rows: usize) -> Vec<u32> {
        let ids = (0_u32..).take(rows);
        // A token that ends turns may be named by its id alone.
        ids.filter(|id| self.token_bytes(*id).is_empty() && !self.ends_turn(*id)).collect()
    }

    /// Returns the bytes of a token; empty for an id outside the vocabulary.
    #[must_use]
    pub fn token_bytes(&self, token: u32) -> &[u8] {
        self.bytes.get(token as usize).map_or(&[], |bytes| bytes)
    }

    /// Returns all tokens that may occur in a text, by their bytes. Tokens that end a turn or have a name such as
    /// `<|name|>` are left out, because they are not text.
    pub fn trie(&self) -> &TokenTrie {
        self.trie.get_or_init(|| {
            let is_named = |bytes: &[u8]| bytes.starts_with(b"<|") && bytes.ends_with(b"|>");
            TokenTrie::new(&self.bytes, |token| !self.ends_turn(token) && !is_named(self.token_bytes(token)))
        })
    }

    /// Returns the tokens that end the model's turn.
    #[must_use]
    pub fn end_tokens(&self) -> &[u32] {
        &self.end_tokens
    }

    /// Returns whether a token ends the model's turn.
    #[must_use]
    pub fn ends_turn(&self, token: u32) -> bool {
        self.end_tokens.contains(&token)
    }

    /// Returns the text of the begin-of-sequence token; empty if the model has none.
    #[must_use]
    pub fn bos_text(&self) -> &str {
        &self.bos_text
    }

    /// Returns whether the metadata of a GGUF file asks for the begin-of-sequence token before a text; `None` for a model
    /// directory, and for a file that does not say. [`Self::encode`] never adds the token.
    #[must_use]
    pub fn adds_bos(&self) -> Option<bool> {
        self.adds_bos
    }

    /// Returns the text of the end-of-sequence token.
    #[must_use]
    pub fn eos_text(&self) -> &str {
        &self.eos_text
    }

    /// Returns the chat template (Jinja) of the model.
    #[must_use]
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// Returns the number of tokens in the vocabulary.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }
}

/// Returns the ids sorted, without duplicates.
fn sorted(mut ids: Vec<u32>) -> Vec<u32> {
    ids.sort_unstable();
    ids.dedup();
    ids
}
