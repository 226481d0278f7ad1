//! Text to tokens and back, from a GGUF file's or a directory's own vocabulary.
//!
//! Encoding is the `tokenizers` crate's, or SentencePiece's own merging for GGUF files of that kind. What is not known
//! to be handled right is refused by name, because a wrong pre-tokenizer raises no error and only makes the output
//! subtly worse. Decoding is a table from token to bytes, so that text grows by exact bytes and can be cut anywhere.

mod bytes;
mod gguf;
mod huggingface;
mod pre_tokenizer;
mod sentencepiece;
mod trie;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use tokenizers::Tokenizer;

pub use trie::TokenTrie;

use self::sentencepiece::SentencePiece;
use super::error::EngineError;

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
    Tokenizers(Box<Tokenizer>),
    SentencePiece(Box<SentencePiece>),
}

impl Vocabulary {
    /// Reads the vocabulary of a model (GGUF file or Hugging Face directory), without its weights.
    ///
    /// # Errors
    /// [`EngineError`] if the files cannot be read, are malformed or of a kind that is not supported.
    pub fn load(path: &std::path::Path) -> Result<Self, EngineError> {
        super::weights::Weights::open(path)?.vocabulary()
    }

    /// Returns the token ids of a text; special tokens written out in it count as themselves, none are added.
    ///
    /// So a begin-of-sequence token is there if the chat template writes one, and only then, whatever the files say of
    /// adding one: prompts come from chat templates.
    ///
    /// # Errors
    /// [`EngineError::Stopped`] if the tokenizer fails, which byte-level BPE does on no input.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        match &self.encoder {
            Encoder::Tokenizers(tokenizer) => {
                let encoding = tokenizer.encode_fast(text, false);
                let encoding = encoding.map_err(|error| EngineError::Stopped(error.to_string()))?;
                Ok(encoding.get_ids().to_vec())
            }
            Encoder::SentencePiece(encoder) => Ok(encoder.encode(text)),
        }
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
