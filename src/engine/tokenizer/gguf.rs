//! Vocabularies of GGUF files.

use std::collections::HashMap;

use candle_core::quantized::gguf_file::Value;
use tokenizers::AddedToken;
use tokenizers::models::bpe::{BPE, Vocab};

use super::bytes::{Speller, Spelling, byte_of_name};
use super::library::{Library, Parts, guarded};
use super::outline::check_names;
use super::pre_tokenizer::{KNOWN, Recipe};
use super::sentencepiece::{SentencePiece, TokenKind};
use super::{END_OF_TURN_NAMES, Encoder, Vocabulary, sorted};
use crate::error::EngineError;
use crate::weights::GgufFile;

/// Names, kinds and ids of the tokens, before an encoder is built.
struct Tokens<'a> {
    file: &'a GgufFile,
    names: Vec<String>,
    ids: HashMap<String, u32>,
    kinds: Vec<TokenKind>,
}

impl Vocabulary {
    /// Reads the vocabulary, merges or scores, special tokens and chat template of a GGUF file.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] for a tokenizer model or pre-tokenizer without verified support;
    /// [`EngineError::Malformed`] for missing or contradictory metadata.
    pub fn from_gguf(file: &GgufFile) -> Result<Self, EngineError> {
        let model = file.string("tokenizer.ggml.model")?.unwrap_or("none");
        let spelling = match model {
            "gpt2" => Spelling::ByteLevel,
            "llama" => Spelling::SentencePiece,
            _ => {
                let supported = "gpt2 (byte-level BPE), llama (SentencePiece BPE)";
                return Err(file.unsupported(format!("its tokenizer model is \"{model}\"; supported: {supported}")));
            }
        };
        let tokens = Tokens::read(file)?;
        let encoder = match spelling {
            Spelling::ByteLevel => Encoder::Tokenizers(Box::new(tokens.byte_level()?)),
            Spelling::SentencePiece => Encoder::SentencePiece(Box::new(tokens.sentencepiece()?)),
        };
        let (_, bos_text) = tokens.named_by("tokenizer.ggml.bos_token_id")?;
        let (eos, eos_text) = tokens.named_by("tokenizer.ggml.eos_token_id")?;
        let mut end_tokens: Vec<u32> = eos.into_iter().collect();
        for key in ["tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"] {
            end_tokens.extend(tokens.named_by(key)?.0);
        }
        end_tokens.extend(END_OF_TURN_NAMES.iter().filter_map(|name| tokens.ids.get(*name)));
        if end_tokens.is_empty() {
            return Err(file.malformed("the metadata names no end-of-sequence token".to_owned()));
        }
        Ok(Self {
            encoder,
            bytes: tokens.bytes(spelling),
            end_tokens: sorted(end_tokens),
            bos_text,
            eos_text,
            chat_template: file.string("tokenizer.chat_template")?.map(str::to_owned),
            adds_bos: file.boolean("tokenizer.ggml.add_bos_token")?,
            trie: std::sync::OnceLock::new(),
        })
    }
}

impl<'a> Tokens<'a> {
    fn read(file: &'a GgufFile) -> Result<Self, EngineError> {
        let key = "tokenizer.ggml.tokens";
        let names = strings(file, key)?;
        let names = names.ok_or_else(|| file.malformed(format!("metadata key {key} is missing")))?;
        if names.is_empty() {
            return Err(file.malformed("the vocabulary is empty".to_owned()));
        }
        check_names(&names).map_err(|detail| file.malformed(format!("{key}: {detail}")))?;
        match file.shape("token_embd.weight") {
            Some([rows, _]) if names.len() > *rows => {
                let name = names.get(*rows).map_or("", String::as_str);
                let detail = format!("token \"{name}\" has the id {rows}, but the embedding has {rows} rows");
                return Err(file.malformed(detail));
            }
            _ => {}
        }
        let mut ids = HashMap::with_capacity(names.len());
        // Several tokens without a name may pad a vocabulary.
        for (name, id) in names.iter().zip(0_u32..).filter(|(name, _)| !name.is_empty()) {
            if let Some(first) = ids.insert(name.clone(), id) {
                return Err(file.malformed(format!("{key} has \"{name}\" at {first} and {id}")));
            }
        }
        let key = "tokenizer.ggml.token_type";
        let number = |value: &Value| match value {
            Value::I32(number) => u64::try_from(*number).ok(),
            Value::U32(number) => Some(u64::from(*number)),
            _ => None,
        };
        let numbers = file.array(key, "numbers", number)?.unwrap_or_else(|| vec![1; names.len()]);
        if numbers.len() != names.len() {
            return Err(file.malformed(format!("{key} has {} entries for {} tokens", numbers.len(), names.len())));
        }
        let kinds = numbers.into_iter().map(TokenKind::from_number).collect();
        Ok(Self { file, names, ids, kinds })
    }

    fn byte_level(&self) -> Result<Library, EngineError> {
        let file = self.file;
        let pre = file.string("tokenizer.ggml.pre")?.unwrap_or("default");
        let recipe = Recipe::by_name(pre);
        let recipe =
            recipe.ok_or_else(|| file.unsupported(format!("its pre-tokenizer is \"{pre}\"; supported: {KNOWN}")))?;
        let key = "tokenizer.ggml.merges";
        let merges = strings(file, key)?.ok_or_else(|| file.malformed(format!("metadata key {key} is missing")))?;
        let pair = |merge: &String| {
            let (left, right) = merge.split_once(' ')?;
            Some((left.to_owned(), right.to_owned()))
        };
        let merges: Option<Vec<(String, String)>> = merges.iter().map(pair).collect();
        let merges = merges.ok_or_else(|| file.malformed(format!("{key} has an entry that is not a pair")))?;
        #[expect(clippy::disallowed_methods, reason = "from map to map")]
        let ids: Vocab = self.ids.iter().map(|(name, id)| (name.clone(), *id)).collect();
        let model = BPE::builder().vocab_and_merges(ids, merges).ignore_merges(recipe.ignores_merges);
        let model = guarded(file.path(), || model.build())?;
        let mut special: Vec<&String> = self.matched_whole().collect();
        // llama.cpp treats these tokens as markup even if the file declares them as ordinary.
        special.extend(self.names.iter().filter(|name| END_OF_TURN_NAMES.contains(&name.as_str())));
        let added = special.into_iter().map(|name| AddedToken::from(name.clone(), true)).collect();
        let cut = recipe.cut().map_err(|detail| file.unsupported(detail))?;
        let parts = Parts { model: model.into(), normalizer: recipe.normalizer(), cut: Some(cut), added };
        Library::new(file.path(), parts)
    }

    fn sentencepiece(&self) -> Result<SentencePiece, EngineError> {
        let key = "tokenizer.ggml.scores";
        let score = |value: &Value| match value {
            Value::F32(score) if score.is_finite() => Some(*score),
            _ => None,
        };
        let scores = self.file.array(key, "finite floats", score)?;
        let scores = scores.ok_or_else(|| self.file.malformed(format!("metadata key {key} is missing")))?;
        if scores.len() != self.names.len() {
            let (scores, tokens) = (scores.len(), self.names.len());
            return Err(self.file.malformed(format!("{key} has {scores} entries for {tokens} tokens")));
        }
        for key in ["tokenizer.ggml.remove_extra_whitespaces"] {
            if self.file.boolean(key)?.unwrap_or(false) {
                return Err(self.file.unsupported(format!("metadata key {key} is true; supported: false")));
            }
        }
        let adds_space = self.file.boolean("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
        SentencePiece::new(&self.names, &self.kinds, scores, adds_space).map_err(|detail| self.file.malformed(detail))
    }

    fn matched_whole(&self) -> impl Iterator<Item = &String> {
        self.names.iter().zip(&self.kinds).filter(|(_, kind)| kind.is_matched_whole()).map(|(name, _)| name)
    }

    /// Returns the id and the text of the token that a key names.
    fn named_by(&self, key: &str) -> Result<(Option<u32>, String), EngineError> {
        let Some(id) = self.file.unsigned(key)? else { return Ok((None, String::new())) };
        let name = usize::try_from(id).ok().and_then(|id| self.names.get(id));
        let name = name.ok_or_else(|| self.file.malformed(format!("{key} is {id}, outside the vocabulary")))?;
        Ok((u32::try_from(id).ok(), name.clone()))
    }

    /// Builds the table from id to bytes: ordinary tokens are spelled, special tokens represent their own name, and
    /// padding tokens have no bytes.
    fn bytes(&self, spelling: Spelling) -> Vec<Box<[u8]>> {
        let speller = Speller::new(spelling);
        let bytes = |(name, kind): (&String, &TokenKind)| match (kind, spelling) {
            (TokenKind::Byte, Spelling::SentencePiece) => match byte_of_name(name) {
                Some(byte) => Box::from([byte]),
                None => name.as_bytes().into(),
            },
            (TokenKind::Normal | TokenKind::Byte, _) | (TokenKind::Unused, Spelling::SentencePiece) => {
                speller.bytes(name)
            }
            _ => name.as_bytes().into(),
        };
        let is_padding = |id: usize, name: &str, kind: &TokenKind| {
            // llama.cpp's converter gives this name to embedding rows that have no token.
            *kind == TokenKind::Unused && *name == format!("[PAD{id}]")
        };
        let named = self.names.iter().zip(&self.kinds).enumerate();
        named
            .map(|(id, (name, kind))| if is_padding(id, name, kind) { Box::default() } else { bytes((name, kind)) })
            .collect()
    }
}

fn strings(file: &GgufFile, key: &str) -> Result<Option<Vec<String>>, EngineError> {
    file.array(key, "strings", |value| match value {
        Value::String(text) => Some(text.clone()),
        _ => None,
    })
}
