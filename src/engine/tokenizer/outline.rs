//! What a `tokenizer.json` holds, looked at before the library builds anything of it.
//!
//! The library believes the file: it compiles patterns for an engine that backtracks, lets normalizers multiply a text,
//! and numbers tokens as it is told. Limits, each far above any model's:
//!
//! - [`TOKENS_MAX`] tokens of up to [`TOKEN_BYTES_MAX`] bytes, [`NAMES_BYTES_MAX`] together, [`ADDED_MAX`] of them added;
//! - ids below the rows of the embedding;
//! - normalizers that replace text by at most [`GROWTH_MAX`] times as much, without patterns, each other kind once.

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use tokenizers::{AddedToken, ModelWrapper, NormalizerWrapper};

use super::cut::Cut;
use super::library::Parts;
use crate::error::{FileFault, malformed};

/// Tokens of a vocabulary; models have up to 262,208.
pub const TOKENS_MAX: usize = 1 << 21;
/// Bytes of a token's name; models have up to some 260, for runs of spaces.
pub const TOKEN_BYTES_MAX: usize = 1 << 10;
/// Bytes of all tokens' names; models have up to 4 MB.
pub const NAMES_BYTES_MAX: usize = 16 << 20;
/// Tokens that are taken out of a text whole; models have up to 6,500.
const ADDED_MAX: usize = 1 << 17;
/// By how much normalizers may lengthen a text, all of them together; a space becomes U+2581, of three bytes.
const GROWTH_MAX: usize = 4;
/// Steps of a normalizer; models have up to four.
const NORMALIZERS_MAX: usize = 32;
/// Bytes that a normalizer puts before a text, or in place of something.
const CONTENT_BYTES_MAX: usize = 256;
/// Models of the library that are run.
const MODELS: &str = "BPE, Unigram, WordLevel";

/// The parts of a `tokenizer.json` as texts.
#[derive(Deserialize)]
pub struct Outline<'a> {
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    added_tokens: Option<Vec<AddedEntry>>,
    #[serde(borrow, default)]
    normalizer: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pre_tokenizer: Option<&'a RawValue>,
    #[serde(borrow, default)]
    decoder: Option<&'a RawValue>,
    #[serde(borrow, default)]
    model: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct AddedEntry {
    #[serde(flatten)]
    token: AddedToken,
}

impl<'a> Outline<'a> {
    /// Finds the parts.
    ///
    /// # Errors
    /// [`FileFault::Malformed`] if it is no JSON object with such parts.
    pub fn read(json: &'a [u8]) -> Result<Self, FileFault> {
        let outline: Self =
            serde_json::from_slice(json).or_else(|error| malformed(format!("no JSON object: {error}")))?;
        match &outline.version {
            Some(version) if version != "1.0" => {
                Err(FileFault::Unsupported(format!("key version is {version:?}; supported: 1.0")))
            }
            _ => Ok(outline),
        }
    }

    /// Returns the decoder.
    ///
    /// # Errors
    /// [`FileFault::Unsupported`] if there is none.
    pub fn decoder(&self) -> Result<Value, FileFault> {
        match self.decoder {
            Some(raw) => value("decoder", raw),
            None => Err(FileFault::Unsupported("key decoder is missing".to_owned())),
        }
    }

    /// Checks the numbers, and builds what the library is made of; `rows` are the embedding's, if they are known.
    ///
    /// # Errors
    /// [`FileFault`], naming the key or the token.
    pub fn parts(self, rows: Option<usize>) -> Result<Parts, FileFault> {
        let Some(model) = self.model else { return malformed("key model is missing") };
        let added = self.added_tokens.unwrap_or_default();
        check_added(&added)?;
        check_model(model, added.len(), rows)?;
        let normalizer = match self.normalizer {
            Some(raw) => normalizer(&value("normalizer", raw)?)?,
            None => None,
        };
        let cut = match self.pre_tokenizer {
            Some(raw) => {
                let cut = Cut::from_json(&value("pre_tokenizer", raw)?);
                Some(cut.map_err(|why| FileFault::Unsupported(format!("key pre_tokenizer: {why}")))?)
            }
            None => None,
        };
        let model: ModelWrapper =
            serde_json::from_str(model.get()).or_else(|error| malformed(format!("key model: {error}")))?;
        Ok(Parts { model, normalizer, cut, added: added.into_iter().map(|entry| entry.token).collect() })
    }
}

fn value(key: &str, raw: &RawValue) -> Result<Value, FileFault> {
    serde_json::from_str(raw.get()).or_else(|error| malformed(format!("key {key}: {error}")))
}

fn check_added(added: &[AddedEntry]) -> Result<(), FileFault> {
    if added.len() > ADDED_MAX {
        return malformed(format!("key added_tokens has {} tokens; at most {ADDED_MAX} are read", added.len()));
    }
    let mut names = Names::default();
    added.iter().try_for_each(|entry| names.count(&entry.token.content)).or_else(malformed)
}

/// What a vocabulary's names come to.
#[derive(Debug, Default)]
struct Names {
    count: usize,
    bytes: usize,
}

impl Names {
    fn count(&mut self, name: &str) -> Result<(), String> {
        self.count += 1;
        self.bytes += name.len();
        if name.len() > TOKEN_BYTES_MAX {
            return Err(format!(
                "token \"{name:.40}...\" has {} bytes; at most {TOKEN_BYTES_MAX} are read",
                name.len()
            ));
        }
        if self.count > TOKENS_MAX || self.bytes > NAMES_BYTES_MAX {
            return Err(format!(
                "its vocabulary has more than {TOKENS_MAX} tokens or {NAMES_BYTES_MAX} bytes of names"
            ));
        }
        Ok(())
    }
}

/// Checks names of tokens that stand in a list.
///
/// # Errors
/// A text that says which is too long, or that there are too many.
pub fn check_names<'a>(names: impl IntoIterator<Item = &'a String>) -> Result<(), String> {
    let mut counted = Names::default();
    names.into_iter().try_for_each(|name| counted.count(name))
}

/// What is looked at of a model.
#[derive(Deserialize)]
struct ModelOutline {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    vocab: Vocab,
    #[serde(default)]
    dropout: Option<f64>,
}

fn check_model(raw: &RawValue, added: usize, rows: Option<usize>) -> Result<(), FileFault> {
    let outline: ModelOutline =
        serde_json::from_str(raw.get()).or_else(|error| malformed(format!("key model: {error}")))?;
    // Early files do not name the kind; all of them are BPE.
    let kind = outline.kind.as_deref().unwrap_or("BPE");
    if !MODELS.split(", ").any(|known| known == kind) {
        return Err(FileFault::Unsupported(format!("key model.type is {kind:?}; supported: {MODELS}")));
    }
    if outline.dropout.is_some_and(|dropout| dropout != 0.0) {
        // Merges would be left out at random: one text would have other tokens each time.
        return Err(FileFault::Unsupported("key model.dropout is not 0".to_owned()));
    }
    let Vocab { names, highest } = outline.vocab;
    // Without an embedding to hold against, ids may leave gaps, but not be mostly gaps.
    let bound = rows.unwrap_or(2 * (names.count + added) + (1 << 16));
    match highest {
        Some((id, name)) if id >= bound as u64 => match rows {
            Some(rows) => malformed(format!("token \"{name}\" has the id {id}, but the embedding has {rows} rows")),
            None => {
                malformed(format!("token \"{name}\" has the id {id}, but there are {} tokens", names.count + added))
            }
        },
        _ => Ok(()),
    }
}

/// A vocabulary: an object of ids by name, or a list of names with scores.
#[derive(Debug, Default)]
struct Vocab {
    names: Names,
    /// The highest id with its name.
    highest: Option<(u64, String)>,
}

impl<'de> Deserialize<'de> for Vocab {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VocabVisitor)
    }
}

struct VocabVisitor;

impl<'de> Visitor<'de> for VocabVisitor {
    type Value = Vocab;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an object of ids or a list of tokens")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocab, A::Error> {
        let mut vocab = Vocab::default();
        while let Some((name, id)) = map.next_entry::<String, u64>()? {
            vocab.names.count(&name).map_err(serde::de::Error::custom)?;
            if vocab.highest.as_ref().is_none_or(|(highest, _)| id > *highest) {
                vocab.highest = Some((id, name));
            }
        }
        Ok(vocab)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vocab, A::Error> {
        let mut vocab = Vocab::default();
        while let Some((name, _)) = list.next_element::<(String, IgnoredAny)>()? {
            vocab.names.count(&name).map_err(serde::de::Error::custom)?;
        }
        vocab.highest = vocab.names.count.checked_sub(1).map(|last| (last as u64, "the last one".to_owned()));
        Ok(vocab)
    }
}

/// Reads a normalizer whose steps, all together, lengthen a text by a known factor at most.
fn normalizer(json: &Value) -> Result<Option<NormalizerWrapper>, FileFault> {
    let (mut waiting, mut kinds, mut steps, mut growth, mut prepended) = (vec![json], Vec::new(), 0, 1_usize, 0);
    while let Some(step) = waiting.pop() {
        let kind = step.get("type").and_then(Value::as_str).unwrap_or_default();
        let unsupported = |what: &str| Err(FileFault::Unsupported(format!("key normalizer: {kind:?} {what}")));
        let content = |key: &str| step.get(key).and_then(Value::as_str).unwrap_or_default();
        match kind {
            "Sequence" => {
                waiting.extend(step.get("normalizers").and_then(Value::as_array).into_iter().flatten().rev());
            }
            "Replace" => {
                let Some(pattern) =
                    step.pointer("/pattern/String").and_then(Value::as_str).filter(|text| !text.is_empty())
                else {
                    return unsupported("has a pattern that is no text; supported: texts");
                };
                if pattern.len().max(content("content").len()) > CONTENT_BYTES_MAX {
                    return unsupported(&format!("has texts of more than {CONTENT_BYTES_MAX} bytes"));
                }
                growth = growth.saturating_mul(content("content").len().div_ceil(pattern.len()).max(1));
            }
            "Prepend" => prepended += content("prepend").len(),
            "NFC" | "NFD" | "NFKC" | "NFKD" | "Lowercase" | "Strip" | "StripAccents" | "Nmt" | "ByteLevel"
            | "BertNormalizer" | "Bert" => {
                // Once is enough for any of them, and two by turns may lengthen a text each time.
                let group = if kind.starts_with("NF") { "NF" } else { kind };
                if kinds.contains(&group) {
                    return unsupported("stands there twice");
                }
                kinds.push(group);
            }
            _ => return unsupported("is not known to be safe"),
        }
        if growth > GROWTH_MAX || prepended > CONTENT_BYTES_MAX {
            return unsupported(&format!("lengthens texts; supported: up to {GROWTH_MAX} times"));
        }
        steps += 1;
        if steps > NORMALIZERS_MAX {
            return unsupported(&format!("is one of more than {NORMALIZERS_MAX} steps"));
        }
    }
    serde_json::from_value(json.clone()).map(Some).or_else(|error| malformed(format!("key normalizer: {error}")))
}

#[cfg(test)]
#[path = "outline_tests.rs"]
mod tests;
