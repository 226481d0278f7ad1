//! Text to tokens and back, from a GGUF file's or a directory's own vocabulary.
//!
//! Encoding is the `tokenizers` crate's, or SentencePiece's own merging for GGUF files of that kind. What is not known
//! to be handled right is refused by name, because a wrong pre-tokenizer raises no error and only makes the output
//! subtly worse. Decoding is a table from token to bytes, so that text grows by exact bytes and can be cut anywhere.

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

pub use pattern::LLAMA3 as EXAMPLE_PATTERN;
pub use trie::TokenTrie;

use self::library::Library;
use self::sentencepiece::SentencePiece;
use super::error::EngineError;
use super::weights::Weights;

/// Names under which vocabularies keep an end-of-turn token besides the one their files name as end of sequence.
const END_OF_TURN_NAMES: &[&str] = &["<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "<|eom_id|>"];

/// A vocabulary with its encoder.
pub struct Vocabulary {
    encoder: Encoder,
    bytes: Vec<Box<[u8]>>,
    end_tokens: Vec<u32>,
    bos_text: String,
    eos_text: String,
    chat_template: Option<String>,
    /// Built when it is first asked for.
    trie: OnceLock<TokenTrie>,
}

enum Encoder {
    Tokenizers(Box<Library>),
    SentencePiece(Box<SentencePiece>),
}

impl Vocabulary {
    /// Reads the vocabulary of a model (GGUF file or Hugging Face directory), without its weights.
    ///
    /// # Errors
    /// [`EngineError`] if the files cannot be read, are malformed or of a kind that is not supported.
    pub fn load(path: &std::path::Path) -> Result<Self, EngineError> {
        Self::from_weights(&Weights::open(path)?)
    }

    /// Reads the vocabulary of an open model, with its encoder, its end-of-turn tokens and the chat template.
    ///
    /// # Errors
    /// As [`Self::from_gguf`] and [`Self::from_directory`].
    pub fn from_weights(weights: &Weights) -> Result<Self, EngineError> {
        match weights {
            Weights::Gguf(file) => Self::from_gguf(file),
            Weights::Directory(directory) => Self::from_directory(directory),
        }
    }

    /// Returns the token ids of a text; special tokens written out in it count as themselves, none are added.
    ///
    /// So a begin-of-sequence token is there if the chat template writes one, and only then, whatever the files say of
    /// adding one: prompts come from chat templates.
    ///
    /// For texts whose length is known to be small; foreign ones go through [`Self::encode_within`].
    ///
    /// # Errors
    /// [`EngineError::Malformed`] if the tokenizer fails, which byte-level BPE does on no input.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        match &self.encoder {
            Encoder::Tokenizers(library) => library.encode(text),
            Encoder::SentencePiece(encoder) => Ok(encoder.encode(text)),
        }
    }

    /// Returns the rows of an embedding of `rows` rows for which there is no token, in order: what fills a matrix up to a
    /// round number, and ids that a vocabulary leaves out.
    #[must_use]
    pub fn rows_without_token(&self, rows: usize) -> Vec<u32> {
        let ids = (0_u32..).take(rows);
        // One that ends turns may be named by its number alone.
        ids.filter(|id| self.token_bytes(*id).is_empty() && !self.ends_turn(*id)).collect()
    }

    /// Returns the bytes a token stands for; empty for an id outside the vocabulary.
    #[must_use]
    pub fn token_bytes(&self, token: u32) -> &[u8] {
        self.bytes.get(token as usize).map_or(&[], |bytes| bytes)
    }

    /// Returns all tokens that may stand in a text, by their bytes: not those that end a turn or have a name in angle
    /// brackets, which are no text.
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

    /// Returns the text of the begin-of-sequence token, empty if there is none.
    #[must_use]
    pub fn bos_text(&self) -> &str {
        &self.bos_text
    }

    /// Returns the text of the end-of-sequence token.
    #[must_use]
    pub fn eos_text(&self) -> &str {
        &self.eos_text
    }

    /// Returns the chat template (Jinja) that the model carries.
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

/// Returns ids in order, each once.
fn sorted(mut ids: Vec<u32>) -> Vec<u32> {
    ids.sort_unstable();
    ids.dedup();
    ids
}
