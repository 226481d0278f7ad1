//! Text to tokens and back, from a GGUF file's own vocabulary.
//!
//! Encoding is the `tokenizers` crate's byte-level BPE, with the pre-tokenizer that the file names; a name that is not
//! known to be handled right is refused, because a wrong pre-tokenizer raises no error and only makes the output
//! subtly worse. Decoding is a table from token to bytes, so that text grows by exact bytes and can be cut anywhere.

use std::collections::HashMap;

use candle_core::quantized::gguf_file::Value;
use candle_core::quantized::tokenizer::TokenizerFromGguf;
use tokenizers::Tokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;

use super::error::EngineError;
use super::weights::GgufFile;

/// Pre-tokenizers (GGUF key `tokenizer.ggml.pre`) whose token ids are known to be right.
const KNOWN_PRE_TOKENIZERS: &[&str] = &["smollm", "llama3", "smaug-bpe", "qwen2", "lfm2"];

/// Names under which vocabularies keep an end-of-turn token besides `tokenizer.ggml.eos_token_id`.
const END_OF_TURN_NAMES: &[&str] = &["<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "<|eom_id|>"];

/// A vocabulary with its encoder.
pub struct Vocabulary {
    tokenizer: Tokenizer,
    bytes: Vec<Box<[u8]>>,
    end_tokens: Vec<u32>,
    bos_text: String,
    eos_text: String,
    chat_template: Option<String>,
}

impl Vocabulary {
    /// Reads the vocabulary, merges, special tokens and chat template of a GGUF file.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] for a tokenizer model or pre-tokenizer that is not known to be handled right;
    /// [`EngineError::Malformed`] for missing or contradictory metadata.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, EngineError> {
        let model = file.string("tokenizer.ggml.model")?.unwrap_or("none");
        if model != "gpt2" {
            return Err(
                file.unsupported(format!("its tokenizer model is \"{model}\"; supported: gpt2 (byte-level BPE)"))
            );
        }
        let pre = file.string("tokenizer.ggml.pre")?.unwrap_or("default").to_owned();
        if !KNOWN_PRE_TOKENIZERS.contains(&pre.as_str()) {
            let known = KNOWN_PRE_TOKENIZERS.join(", ");
            return Err(file.unsupported(format!("its pre-tokenizer is \"{pre}\"; supported: {known}")));
        }
        let mut tokenizer = Tokenizer::from_gguf(file.content()).map_err(|error| {
            file.malformed(format!("tokenizer: {}", error.to_string().lines().next().unwrap_or("")))
        })?;
        if pre == "smollm" {
            // candle falls back to GPT-2's pre-tokenizer with a prefix space here, which is wrong for this vocabulary:
            // SmolLM splits digits one by one and adds no space.
            let parts = vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()];
            tokenizer.with_pre_tokenizer(Some(Sequence::new(parts)));
        }
        let names = token_names(file)?;
        let bytes = token_bytes(file, &names)?;
        let token_text = |key: &str| -> Result<(Option<u32>, String), EngineError> {
            let Some(id) = file.unsigned(key)? else { return Ok((None, String::new())) };
            let index = usize::try_from(id).unwrap_or(usize::MAX);
            let text =
                names.get(index).ok_or_else(|| file.malformed(format!("{key} is {id}, outside the vocabulary")))?;
            Ok((u32::try_from(id).ok(), text.clone()))
        };
        let (_, bos_text) = token_text("tokenizer.ggml.bos_token_id")?;
        let (eos, eos_text) = token_text("tokenizer.ggml.eos_token_id")?;
        let (eot, _) = token_text("tokenizer.ggml.eot_token_id")?;
        let mut end_tokens: Vec<u32> = eos.into_iter().chain(eot).collect();
        end_tokens.extend(END_OF_TURN_NAMES.iter().filter_map(|name| tokenizer.token_to_id(name)));
        end_tokens.sort_unstable();
        end_tokens.dedup();
        if end_tokens.is_empty() {
            return Err(file.malformed("no end-of-sequence token is named".to_owned()));
        }
        let chat_template = file.string("tokenizer.chat_template")?.map(str::to_owned);
        Ok(Self { tokenizer, bytes, end_tokens, bos_text, eos_text, chat_template })
    }

    /// Returns the token ids of a text; special tokens written out in it count as themselves, none are added.
    ///
    /// # Errors
    /// [`EngineError::Stopped`] if the tokenizer fails, which byte-level BPE does on no input.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        let encoding = self.tokenizer.encode_fast(text, false);
        encoding.map(|encoding| encoding.get_ids().to_vec()).map_err(|error| EngineError::Stopped(error.to_string()))
    }

    /// Returns the bytes a token stands for; empty for an id outside the vocabulary.
    #[must_use]
    pub fn token_bytes(&self, token: u32) -> &[u8] {
        self.bytes.get(token as usize).map_or(&[], |bytes| bytes)
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

    /// Returns the chat template (Jinja) that the file carries.
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

fn token_names(file: &GgufFile) -> Result<Vec<String>, EngineError> {
    let Some(Value::Array(values)) = file.content().metadata.get("tokenizer.ggml.tokens") else {
        return Err(file.malformed("metadata key tokenizer.ggml.tokens is missing".to_owned()));
    };
    values
        .iter()
        .map(|value| match value {
            Value::String(text) => Ok(text.clone()),
            _ => Err(file.malformed("tokenizer.ggml.tokens holds something that is no string".to_owned())),
        })
        .collect()
}

/// Builds the table from token id to bytes: special tokens stand for their own name, others are spelt in GPT-2's byte
/// alphabet.
fn token_bytes(file: &GgufFile, names: &[String]) -> Result<Vec<Box<[u8]>>, EngineError> {
    let types = match file.content().metadata.get("tokenizer.ggml.token_type") {
        Some(Value::Array(values)) => values.as_slice(),
        _ => &[],
    };
    let alphabet = byte_alphabet();
    let spelt = |name: &String| -> Box<[u8]> {
        let bytes: Option<Vec<u8>> = name.chars().map(|letter| alphabet.get(&letter).copied()).collect();
        bytes.unwrap_or_else(|| name.clone().into_bytes()).into_boxed_slice()
    };
    // llama.cpp's token types: 1 is normal, 6 is byte; everything else (unknown, control, user-defined, unused) is
    // written out as it is.
    let is_spelt = |index: usize| match types.get(index) {
        Some(Value::I32(kind)) => matches!(kind, 1 | 6),
        Some(Value::U32(kind)) => matches!(kind, 1 | 6),
        _ => true,
    };
    if names.is_empty() {
        return Err(file.malformed("the vocabulary is empty".to_owned()));
    }
    Ok(names
        .iter()
        .enumerate()
        .map(|(index, name)| if is_spelt(index) { spelt(name) } else { name.clone().into_bytes().into_boxed_slice() })
        .collect())
}

/// Returns GPT-2's byte alphabet: printable Latin-1 bytes stand for themselves, the others for U+0100 and up in order.
fn byte_alphabet() -> HashMap<char, u8> {
    let mut alphabet = HashMap::with_capacity(256);
    let mut next = 0x100_u32;
    for byte in 0..=255_u8 {
        let is_printable = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let letter = if is_printable {
            char::from(byte)
        } else {
            let letter = char::from_u32(next).unwrap_or('\u{fffd}');
            next += 1;
            letter
        };
        alphabet.insert(letter, byte);
    }
    alphabet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_alphabet_is_gpt2s() {
        let alphabet = byte_alphabet();
        assert_eq!(alphabet.len(), 256);
        assert_eq!(alphabet.get(&'A'), Some(&b'A'));
        assert_eq!(alphabet.get(&'\u{120}'), Some(&b' '));
        assert_eq!(alphabet.get(&'\u{10a}'), Some(&b'\n'));
    }
}
