//! Vocabularies of Hugging Face directories: `tokenizer.json` and the files beside it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::bytes::{SPACE_LETTER, Speller, Spelling, byte_of_name};
use super::library::{Library, guarded};
use super::outline::Outline;
use super::{END_OF_TURN_NAMES, Encoder, Vocabulary, sorted};
use crate::error::{EngineError, FileFault, shown};
use crate::weights::{JsonObject, ModelDirectory, Part, TOKENIZER_BYTES_MAX, read_bounded, read_json};

/// Maximum bytes of a chat template's file; models have up to 30 kB. The renderer has limits of its own.
const TEMPLATE_BYTES_MAX: u64 = 4 << 20;

impl Vocabulary {
    /// Reads `tokenizer.json`; the end-of-turn tokens that `generation_config.json`, `config.json` and
    /// `tokenizer_config.json` name; and the chat template, from `chat_template.jinja`, `chat_template.json` or
    /// `tokenizer_config.json` in this order.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] if `tokenizer.json` is missing or requires an unsupported feature;
    /// [`EngineError::Malformed`] for damaged or contradictory files, and for a token without a row in the embedding.
    pub fn from_directory(directory: &ModelDirectory) -> Result<Self, EngineError> {
        let path = directory.path().join("tokenizer.json");
        if !path.exists() {
            let detail = "it has no tokenizer.json; transformers writes one when it saves a fast tokenizer".to_owned();
            return Err(directory.unsupported(detail));
        }
        let rows = match directory.shape(Part::Embedding) {
            Some([rows, _]) => Some(*rows),
            _ => None,
        };
        let (library, spelling) = read_library(&path, rows)?;
        let names = library.vocabulary();
        if let (Some(rows), Some((id, name))) = (rows, names.last())
            && *id as usize >= rows
        {
            let detail = format!("token \"{name}\" has the id {id}, but the embedding has {rows} rows");
            return Err(EngineError::Malformed { path, detail: shown(&detail) });
        }
        let settings = directory.json("tokenizer_config.json")?;
        let special = |key: &str| settings.as_ref().map_or(Ok(None), |settings| special_text(settings, key));
        let bos_text = special("bos_token")?.unwrap_or_default();
        let eos_text = special("eos_token")?;
        let mut end_tokens = Vec::new();
        if let Some(generation) = directory.json("generation_config.json")? {
            end_tokens.extend(ids(&generation, "eos_token_id")?);
        }
        end_tokens.extend(ids(directory.config(), "eos_token_id")?);
        end_tokens.extend(eos_text.as_ref().and_then(|text| library.id(text)));
        if end_tokens.is_empty() {
            return Err(directory.malformed("none of its files names an end-of-sequence token".to_owned()));
        }
        check_end_tokens(directory, &end_tokens, rows.unwrap_or(names.len()))?;
        let added = library.added();
        let is_end_of_turn = |text: &str| END_OF_TURN_NAMES.contains(&text);
        end_tokens.extend(added.iter().filter(|(_, text)| is_end_of_turn(text)).map(|(id, _)| *id));
        let eos_text = eos_text.or_else(|| library.name(*end_tokens.first()?)).unwrap_or_default();
        Ok(Self {
            bytes: bytes(&names, &added, spelling),
            encoder: Encoder::Tokenizers(Box::new(library)),
            end_tokens: sorted(end_tokens),
            bos_text,
            eos_text,
            chat_template: chat_template(directory, settings.as_ref())?,
            adds_bos: None,
            trie: std::sync::OnceLock::new(),
        })
    }
}

/// Reads `tokenizer.json`: the encoder, and the spelling of bytes in the tokens' names.
fn read_library(path: &Path, rows: Option<usize>) -> Result<(Library, Spelling), EngineError> {
    let json = read_json(path, TOKENIZER_BYTES_MAX)?;
    let told = |fault: FileFault| fault.at(path);
    let outline = Outline::read(&json).map_err(told)?;
    let spelling = spelling(&outline.decoder().map_err(told)?).map_err(told)?;
    // The library reads the parts, and it panics on some of them.
    let parts = guarded(path, || Ok(outline.parts(rows)))?.map_err(told)?;
    Ok((Library::new(path, parts)?, spelling))
}

/// Maximum end-of-turn tokens of one model; models have up to five.
const END_TOKENS_MAX: usize = 256;

/// Checks that the ids can be sampled; `rows` is the number of embedding rows.
fn check_end_tokens(directory: &ModelDirectory, ids: &[u32], rows: usize) -> Result<(), EngineError> {
    if ids.len() > END_TOKENS_MAX {
        let count = ids.len();
        return Err(directory.malformed(format!("{count} end-of-sequence tokens are named; at most {END_TOKENS_MAX}")));
    }
    match ids.iter().find(|id| **id as usize >= rows) {
        Some(id) => Err(directory
            .malformed(format!("the end-of-sequence token has the id {id}, but the embedding has {rows} rows"))),
        None => Ok(()),
    }
}

/// Reads the spelling of bytes in the tokens' names from the decoder.
fn spelling(decoder: &Value) -> Result<Spelling, FileFault> {
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
        Err(FileFault::Unsupported(format!("key decoder is made of {kinds:?}; supported: ByteLevel, Metaspace")))
    }
}

/// Builds the table from id to bytes: added tokens represent their own text, ids without a name have no bytes. `names`
/// is sorted by id.
fn bytes(names: &[(u32, String)], added: &BTreeMap<u32, String>, spelling: Spelling) -> Vec<Box<[u8]>> {
    let speller = Speller::new(spelling);
    let size = names.last().map_or(0, |(id, _)| *id as usize + 1);
    let mut table: Vec<Box<[u8]>> = vec![Box::default(); size];
    for (id, name) in names {
        let Some(place) = table.get_mut(*id as usize) else { continue };
        *place = match (added.get(id), byte_of_name(name)) {
            (Some(text), _) => text.as_bytes().into(),
            (None, Some(byte)) if spelling == Spelling::SentencePiece => Box::from([byte]),
            (None, _) => speller.bytes(name),
        };
    }
    table
}

/// Reads one id or a list of ids.
fn ids(json: &JsonObject, key: &str) -> Result<Vec<u32>, EngineError> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match json.get(key) {
        None => Ok(Vec::new()),
        Some(Value::Array(_)) => Ok(json.list(key, "token ids", id)?.unwrap_or_default()),
        Some(value) => Ok(vec![id(value).ok_or_else(|| json.malformed("is not a token id", key))?]),
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
        let bytes = read_bounded(&path, TEMPLATE_BYTES_MAX)?;
        let told = |error: std::string::FromUtf8Error| EngineError::Malformed {
            path: path.clone(),
            detail: format!("it is not UTF-8 text: {error}"),
        };
        return String::from_utf8(bytes).map(Some).map_err(told);
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
