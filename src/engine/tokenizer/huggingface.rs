//! Vocabularies of Hugging Face directories: `tokenizer.json`, and what stands beside it.

use serde_json::Value;
use tokenizers::Tokenizer;

use super::bytes::{SPACE_LETTER, Speller, Spelling, byte_of_name};
use super::{END_OF_TURN_NAMES, Encoder, Vocabulary, sorted};
use crate::engine::error::EngineError;
use crate::engine::weights::{JsonObject, ModelDirectory};

impl Vocabulary {
    /// Reads `tokenizer.json`; the end-of-turn tokens that `generation_config.json`, `config.json` and
    /// `tokenizer_config.json` name; and the chat template, from `chat_template.jinja`, `chat_template.json` or
    /// `tokenizer_config.json` in this order.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] if there is no `tokenizer.json` or its decoder is unknown;
    /// [`EngineError::Malformed`] for damaged or contradictory files.
    pub fn from_directory(directory: &ModelDirectory) -> Result<Self, EngineError> {
        let path = directory.path().join("tokenizer.json");
        let Some(json) = directory.json("tokenizer.json")? else {
            let detail = "it has no tokenizer.json; transformers writes one when it saves a fast tokenizer".to_owned();
            return Err(directory.unsupported(detail));
        };
        let refused = |error: tokenizers::Error| EngineError::Malformed {
            path: path.clone(),
            detail: error.to_string().lines().next().unwrap_or_default().to_owned(),
        };
        let mut tokenizer = Tokenizer::from_file(&path).map_err(refused)?;
        tokenizer.with_truncation(None).map_err(refused)?.with_padding(None);
        let spelling = spelling(&json)?;
        let settings = directory.json("tokenizer_config.json")?;
        let special = |key: &str| settings.as_ref().map_or(Ok(None), |settings| special_text(settings, key));
        let bos_text = special("bos_token")?.unwrap_or_default();
        let eos_text = special("eos_token")?;
        let mut end_tokens = Vec::new();
        if let Some(generation) = directory.json("generation_config.json")? {
            end_tokens.extend(ids(&generation, "eos_token_id")?);
        }
        end_tokens.extend(ids(directory.config(), "eos_token_id")?);
        end_tokens.extend(eos_text.as_ref().and_then(|text| tokenizer.token_to_id(text)));
        if end_tokens.is_empty() {
            return Err(directory.malformed("none of its files names an end-of-sequence token".to_owned()));
        }
        let added = tokenizer.get_added_tokens_decoder();
        let is_end_of_turn = |text: &str| END_OF_TURN_NAMES.contains(&text);
        end_tokens.extend(added.iter().filter(|(_, token)| is_end_of_turn(&token.content)).map(|(id, _)| *id));
        let eos_text = eos_text.or_else(|| tokenizer.id_to_token(*end_tokens.first()?)).unwrap_or_default();
        Ok(Self {
            bytes: bytes(&tokenizer, spelling),
            encoder: Encoder::Tokenizers(Box::new(tokenizer)),
            end_tokens: sorted(end_tokens),
            bos_text,
            eos_text,
            chat_template: chat_template(directory, settings.as_ref())?,
            trie: std::sync::OnceLock::new(),
        })
    }
}

/// Reads from the decoder how the tokens' names spell bytes.
fn spelling(json: &JsonObject) -> Result<Spelling, EngineError> {
    let Some(decoder) = json.get("decoder") else { return Err(json.unsupported("is missing", "decoder")) };
    let inner = decoder.get("decoders").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let steps: Vec<&Value> = std::iter::once(decoder).chain(inner).collect();
    let kinds: Vec<&str> = steps.iter().filter_map(|step| step.get("type")?.as_str()).collect();
    let replaces_space = steps.iter().any(|step| {
        step.pointer("/pattern/String").and_then(Value::as_str) == Some(SPACE_LETTER.encode_utf8(&mut [0; 4]))
    });
    if kinds.contains(&"ByteLevel") {
        Ok(Spelling::ByteLevel)
    } else if replaces_space || kinds.contains(&"Metaspace") {
        Ok(Spelling::SentencePiece)
    } else {
        Err(json.unsupported(&format!("is made of {kinds:?}; supported: ByteLevel, Metaspace"), "decoder"))
    }
}

/// Builds the table from id to bytes: added tokens stand for their own text, ids that are left out for nothing.
fn bytes(tokenizer: &Tokenizer, spelling: Spelling) -> Vec<Box<[u8]>> {
    let speller = Speller::new(spelling);
    let vocabulary = tokenizer.get_vocab(true);
    let added = tokenizer.get_added_tokens_decoder();
    let size = vocabulary.values().max().map_or(0, |id| *id as usize + 1);
    let mut table: Vec<Box<[u8]>> = vec![Box::default(); size];
    for (name, id) in &vocabulary {
        let Some(place) = table.get_mut(*id as usize) else { continue };
        *place = match (added.get(id), byte_of_name(name)) {
            (Some(token), _) => token.content.as_bytes().into(),
            (None, Some(byte)) if spelling == Spelling::SentencePiece => Box::from([byte]),
            (None, _) => speller.bytes(name),
        };
    }
    table
}

/// Reads one id or a list of them.
fn ids(json: &JsonObject, key: &str) -> Result<Vec<u32>, EngineError> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match json.get(key) {
        None => Ok(Vec::new()),
        Some(Value::Array(_)) => Ok(json.list(key, "token ids", id)?.unwrap_or_default()),
        Some(value) => Ok(vec![id(value).ok_or_else(|| json.malformed("is no token id", key))?]),
    }
}

/// Reads the text of a special token: a string, or an object with the text as `content`.
fn special_text(json: &JsonObject, key: &str) -> Result<Option<String>, EngineError> {
    let content = match json.get(key) {
        Some(Value::Object(_)) => json.object(key)?.and_then(|token| token.string("content").ok()?.map(str::to_owned)),
        _ => return Ok(json.string(key)?.map(str::to_owned)),
    };
    content.map(Some).ok_or_else(|| json.malformed("has no content", key))
}

fn chat_template(directory: &ModelDirectory, settings: Option<&JsonObject>) -> Result<Option<String>, EngineError> {
    let path = directory.path().join("chat_template.jinja");
    if path.exists() {
        return fs_err::read_to_string(&path).map(Some).map_err(|source| EngineError::Io { path, source });
    }
    let own_file = directory.json("chat_template.json")?;
    for json in own_file.iter().chain(settings) {
        let key = "chat_template";
        match json.get(key) {
            None => {}
            Some(Value::Array(named)) => {
                let default = named.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"));
                let template = default.and_then(|entry| entry.get("template")?.as_str());
                return template.map(|text| Some(text.to_owned())).ok_or_else(|| json.malformed("has no default", key));
            }
            Some(_) => return Ok(json.string(key)?.map(str::to_owned)),
        }
    }
    Ok(None)
}
